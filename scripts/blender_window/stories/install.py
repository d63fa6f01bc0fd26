# SPDX-License-Identifier: Apache-2.0
"""Installing the solver from the page of the preferences: it begins, shows how far it is, and ends or is cancelled.

Whether it gets its packages depends on the network of this machine: the story wants a state that a user can go on from,
and takes the pictures. Without a network that is the sentence and its button.
"""

import os
import sys

import bpy

sys.path.insert(0, os.environ["IKOL_WINDOW_DRIVER"])
from driver import Driver, Wait
from ikol_user import PACKAGE, User, phase, preferences

WATCHED = 12.0
"""Seconds for which the installation is left to itself before it is cancelled: a whole one needs gigabytes here."""


def installation() -> object:
    """What the page shows; read to know when to go on, never changed."""
    return sys.modules[f"{PACKAGE}.blender.runtime"].get().installation


def story(driver: Driver) -> Wait:
    """From a fresh install to an installation that was begun."""
    user = User(driver)
    yield from user.open_panel()
    driver.check("a fresh install says that the solver is not set up", phase() == "not_installed", phase())
    pressed = yield from user.press("ikol.open_preferences")
    yield 1.5
    driver.check("its big button opens the preferences", pressed and len(bpy.context.window_manager.windows) == 2)
    page = driver.region("WINDOW", "PREFERENCES")
    bpy.context.preferences.system.use_online_access = False
    button = yield from driver.find_button("ikol.install_solver", page, across=0.3)
    if not driver.check("the page has the button that installs", button):
        yield from driver.picture("1_page")
        return
    yield from driver.picture("1_page")
    yield from driver.click(*button)
    yield 1.0
    driver.check("offline nothing begins, and the page says why", installation().error, str(installation().error))
    yield from driver.picture("2_offline")
    bpy.context.preferences.system.use_online_access = True
    preferences().variant = "auto"
    yield 0.5
    button = yield from driver.find_button("ikol.install_solver", page, across=0.3)
    if not driver.check("the button is still there", button):
        return
    yield from driver.click(*button)
    yield 0.5
    began = installation().is_running
    driver.check("it begins, or says why not", began or installation().error, str(installation().error))
    yield from driver.picture("3_running")
    driver.reset_pause()
    yield from driver.wait_until(lambda: not installation().is_running, WATCHED)
    driver.answered("the window answered while it was installed")
    yield from driver.picture("4_later")
    if installation().is_running:
        button = yield from driver.find_button("ikol.cancel_install", page, across=0.3)
        if driver.check("it can be cancelled", button):
            yield from driver.click(*button)
            yield 1.0
            driver.check("it is cancelled", not installation().is_running)
    else:
        driver.check("a failure is a sentence with a fix", installation().error is None or installation().error.fix)
    yield from driver.picture("5_end")


Driver().play(story)
