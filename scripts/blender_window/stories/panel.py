# SPDX-License-Identifier: Apache-2.0
"""Every sub-panel of the sidebar as a user may see it: dark and light theme, twice the resolution scale, German.

Needs a high screen (`run --size 1600x2600`): all panels on one picture. The pictures are to be judged by eye;
what can be checked is checked.
"""

import os
import sys
from pathlib import Path

import bpy

sys.path.insert(0, os.environ["IKOL_WINDOW_DRIVER"])
from driver import COPY_PATH, SETTLE, Driver, Wait
from ikol_user import PACKAGE, PICTURES, TAB, User, bodies, job, notice, preferences, solver_state

PHOTO = PICTURES / "front_step.jpg"


def part(name: str) -> object:
    """A module of the extension."""
    return sys.modules[f"{PACKAGE}.{name}"]


def record() -> object:
    """What is stored on the body."""
    return part("blender.bodies").read_record(bodies()[0])


def settled() -> bool:
    """Whether nothing is asked of the solver."""
    living = part("blender.runtime").get()
    return job() is None and living.live_owner is None and living.late_drag is None


def open_panels() -> None:
    """Register the panels that are closed at first anew, as open ones; before they are drawn for the first time."""
    registration = part("blender.registration")
    for kind in registration.CLASSES:
        if issubclass(kind, bpy.types.Panel) and "DEFAULT_CLOSED" in getattr(kind, "bl_options", ()):
            bpy.utils.unregister_class(kind)
            kind.bl_options = set()
            bpy.utils.register_class(kind)


def edit_points(driver: Driver, user: User) -> Wait:
    """Select a point in the list, lock it out of reach, change a tolerance."""
    window = bpy.context.window_manager.ikol
    index = part("blender.keypoint_properties").LISTED.index
    with driver.context():
        window.index = index("left_wrist")
        window.tolerance_px = 25.0
        window.tolerance_px = 30.0
    yield from driver.wait_until(lambda: record().edits and settled(), 20.0)
    yield 1.0
    edit = record().edits.get("left_wrist")
    driver.check("a moved slider is stored", edit is not None and abs(edit.tolerance_px - 30.0) < 0.01, edit)
    with driver.context():
        window.index = index("nose")
        bpy.ops.ikol.mute_points()
    yield from driver.wait_until(settled, 20.0)
    yield from driver.hover_viewport()
    yield from driver.press_key("ctrl+z")
    yield SETTLE
    driver.check("one undo takes the mute back", "nose" not in record().edits, record().edits)
    driver.check("and leaves the slider's edit", "left_wrist" in record().edits, record().edits)
    yield from drag_slider(driver)
    with driver.context():
        window.index = index("L_Wrist")
    handle = bpy.context.view_layer.objects.active
    driver.check("a line with a handle selects the handle", handle.get("ikol_point") == "L_Wrist", handle.name)
    handle.location.x += 0.7
    bpy.context.scene.ikol.part = "LEFT_ARM"
    with driver.context():
        bpy.ops.ikol.resolve("INVOKE_DEFAULT")
    yield from driver.wait_until(settled, 20.0)
    with driver.context():
        bpy.ops.ikol.lock_points()
    yield from driver.wait_until(lambda: record().solution.unreached, 20.0)
    driver.check("a lock out of reach is reported", record().solution.unreached, record().solution.unreached)
    yield from driver.picture("1_locked_out_of_reach")


def drag_slider(driver: Driver) -> Wait:
    """Drag the tolerance by the mouse: the body is solved meanwhile, and all of it is one undo step."""
    with driver.context():
        bpy.context.window_manager.ikol.index = part("blender.keypoint_properties").LISTED.index("left_knee")
    yield SETTLE
    place = yield from driver.find_button("tolerance_px", driver.region("UI"), chord=COPY_PATH)
    if not driver.check("the slider is in the panel Keypoints", place):
        return
    driver.input.move(*place)
    yield 0.3
    driver.input.press()
    yield SETTLE  # a redraw of so high a window takes long: events that come together are one click
    for step in range(1, 6):
        driver.input.move(place[0] + 10 * step, place[1])
        yield SETTLE
    driver.input.release()
    yield from driver.wait_until(settled, 20.0)
    yield 1.5
    edit = record().edits.get("left_knee")
    driver.check("a slider dragged by the mouse is stored", edit is not None and edit.tolerance_px, edit)
    yield from driver.hover_viewport()
    yield from driver.press_key("ctrl+z")
    yield SETTLE
    driver.check("one undo takes the whole drag back", "left_knee" not in record().edits, record().edits)
    driver.check("and nothing else", "left_wrist" in record().edits, record().edits)


def set_theme(name: str) -> None:
    """Take one of the themes that come with Blender."""
    folder = next(Path(path) for path in bpy.utils.preset_paths("interface_theme"))
    bpy.ops.script.execute_preset(filepath=str(folder / name), menu_idname="USERPREF_MT_interface_theme_presets")


def pie_menu(driver: Driver, name: str) -> Wait:
    """Open the pie menu by its keys, take a picture, and leave it."""
    yield from driver.hover_viewport()
    yield from driver.press_key("ctrl+alt+i")
    yield 2.0  # it unfolds
    yield from driver.picture(name)
    yield from driver.press_key("Escape")


def preferences_page(driver: Driver, name: str) -> Wait:
    """Open the preferences at the extension, take a picture, and close them."""
    with driver.context():
        bpy.ops.ikol.open_preferences()
    yield 2.0
    yield from driver.picture(name)
    preferences_window = bpy.context.window_manager.windows[-1]
    with bpy.context.temp_override(window=preferences_window):
        bpy.ops.wm.window_close()
    yield SETTLE


def story(driver: Driver) -> Wait:
    """Pose, edit, and look at the panel in each of its dresses."""
    user = User(driver)
    yield 2.0
    open_panels()
    yield from user.open_panel()
    yield from driver.picture("0_not_set_up")
    yield from user.name_solver()
    posed = yield from user.pose_photograph(PHOTO)
    driver.check("the photograph is posed", posed, notice())
    yield from driver.wait_until(lambda: solver_state().is_ready, 30.0)
    yield from edit_points(driver, user)
    yield 4.0  # the statistics come
    yield from driver.picture("2_dark")
    yield from pie_menu(driver, "3_pie")
    yield from preferences_page(driver, "4_preferences")
    set_theme("Blender_Light.xml")
    yield from driver.picture("5_light")
    view = bpy.context.preferences.view
    view.language = "de_DE"
    view.use_translate_interface = view.use_translate_tooltips = True
    yield 1.0
    yield from driver.picture("6_german")
    yield from pie_menu(driver, "7_german_pie")
    driver.check("the tab is still shown", driver.region("UI").active_panel_category == TAB)
    set_theme("Blender_Dark.xml")
    view.ui_scale = 2.0
    yield 2.0
    yield from driver.picture("8_german_twice")
    view.language = "en_US"
    yield 1.0
    yield from driver.picture("9_twice")
    view.ui_scale = 1.0
    bpy.context.scene.ikol.part = "BONES"
    yield from driver.picture("10_selected_bones")
    bpy.context.scene.ikol.part = "ALL"
    preferences().solver_python = "/nowhere/python"
    yield 1.0
    user.begin(lambda: bpy.ops.ikol.resolve("INVOKE_DEFAULT"))
    yield 1.0
    yield from driver.picture("11_error")
    with driver.context():
        bpy.ops.ikol.copy_report()
    report = bpy.context.window_manager.clipboard
    driver.check("the report is on the clipboard", "/nowhere/python" in report, len(report))
    driver.check("and does not tell the home folder", str(Path.home()) not in report)


driver = Driver()
driver.play(story)
