# SPDX-License-Identifier: Apache-2.0
"""Every photograph in ~/Pictures, one after the other in the same Blender: a picture of each, to be judged by eye."""

import os
import sys

import bpy

sys.path.insert(0, os.environ["IKOL_WINDOW_DRIVER"])
from driver import SETTLE, Driver, Wait
from ikol_user import PICTURES, User, bodies, notice, result_of

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


def story(driver: Driver) -> Wait:
    """Pose, photograph, undo, next."""
    user = User(driver)
    yield 2.0
    yield from user.open_panel()
    yield from user.name_solver()
    for path in sorted(path for path in PICTURES.iterdir() if path.suffix in SUFFIXES):
        posed = yield from user.pose_photograph(path)
        said = f"{len(bodies())} bodies, {result_of(bodies()[0]).reprojection_px:.1f} px" if posed else notice()
        driver.check(f"{path.name} is posed", posed, said)
        yield from driver.picture(path.stem)
        if not posed:
            continue
        with driver.context():
            bpy.ops.view3d.view_axis(type="RIGHT")
            bpy.ops.view3d.view_selected()
        yield from driver.picture(f"{path.stem}_side")
        yield from driver.hover_viewport()
        yield from driver.press_key("ctrl+z")
        yield SETTLE


driver = Driver()
driver.play(story)
