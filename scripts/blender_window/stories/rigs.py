# SPDX-License-Identifier: Apache-2.0
"""Rigs of the field's names, each posed from the same photograph with the panel's button, to be judged by eye."""

import os
import sys
from pathlib import Path

import bpy

sys.path.insert(0, os.environ["IKOL_WINDOW_DRIVER"])
sys.path.insert(0, str(Path.home() / "ikol" / "tests" / "support"))
from blender_rigs import activate, build_rig, rigify_rigs

from driver import SETTLE, Driver, Wait
from ikol_user import PACKAGE, PICTURES, POSE_SECONDS, User, bodies, job, notice

RIGS = (("mixamo", "Mixamo", 1.0, 0), ("unreal", "Unreal", 1.0, 50), ("vrm", "VRM J_Bip", 1.0, 0),
        ("long_legs", "Mixamo", 1.15, 0), ("short_legs", "Unreal", 0.85, 50),
        ("mirrored", "Mixamo", 1.0, 0))  # fmt: skip
APART = 0.8
"""Metres between the rigs where all stand side by side."""
MET = 15.0
"""Pixels of 1920, the median of all keypoints: proportions."""


def story(driver: Driver) -> Wait:
    """Pose a body, then each rig like it, and look at it in the photograph's camera and from the side."""
    user = User(driver)
    show_only_rig_panels()
    yield 2.0
    yield from user.open_panel()
    yield from user.name_solver()
    with driver.context():
        made = {name: build_rig(style, legs, down) for name, style, legs, down in RIGS}
        made["mirrored"].scale.x = -1.0
    first = next(iter(made.values()))
    yield from one_click(driver, user, first)
    body = bodies()[0]
    with driver.context():
        made["metarig"], made["rigify"] = rigify_rigs()
    for rig in made.values():
        rig.show_in_front = True
    for collection in made["rigify"].data.collections_all:  # not the controls, but what they move
        collection.is_visible = collection.name == "DEF"
    view = driver.area().spaces.active.region_3d
    for name, rig in made.items():
        for thing in bpy.context.view_layer.objects:
            thing.hide_set(thing != rig)  # cameras of the others, too
        activate(rig)
        rig.ikol_rig.source = body
        yield SETTLE
        user.begin(lambda: bpy.ops.ikol.pose_rig("INVOKE_DEFAULT"))
        ended = yield from driver.wait_until(lambda: job() is None, 60.0)
        yield SETTLE
        followers = sys.modules[f"{PACKAGE}.blender.rig_writing"].followers
        skeleton = sys.modules[f"{PACKAGE}.blender.rig_scene"].rig_skeleton(rig)
        driver.check(f"{name} is posed", ended and rig.animation_data is not None, notice() or followers(rig, skeleton))
        result = sys.modules[f"{PACKAGE}.blender.runtime"].get().result
        camera = rig.ikol_rig.camera
        driver.check(f"{name} is seen by a camera of its own", bpy.context.scene.camera == camera, camera)
        driver.check(f"{name} is met on the photograph", 0.0 <= result.rig_px < MET, f"{result.rig_px:.1f} px")
        view.view_camera_zoom, view.view_camera_offset = 17.0, (0.02, 0.13)
        yield SETTLE
        yield from driver.hover_viewport()
        yield from driver.picture(name)
    for thing in bpy.context.view_layer.objects:
        thing.hide_set(thing not in made.values())
    for number, rig in enumerate(made.values()):
        rig.location.x += APART * (number - (len(made) - 1) / 2)
    with driver.context():
        driver.area().spaces.active.region_3d.view_perspective = "ORTHO"
        bpy.ops.object.select_all(action="DESELECT")
        for name, rig in made.items():
            rig.select_set(name != "rigify")  # whose root is as wide as a room
        bpy.ops.view3d.view_axis(type="FRONT")
        bpy.ops.view3d.view_selected()
        view.view_distance *= 1.5
        bpy.ops.object.select_all(action="DESELECT")
    yield SETTLE
    yield from driver.picture("all")
    with driver.context():
        bpy.ops.view3d.view_axis(type="RIGHT")
    yield from driver.picture("all_side")
    name = made["rigify"].name
    yield from driver.hover_viewport()
    yield from driver.press_key("ctrl+z")
    yield SETTLE
    rig = bpy.data.objects[name]  # undo has made all objects anew
    driver.check("one undo takes the last pose back", rig.animation_data is None or rig.animation_data.action is None)


def one_click(driver: Driver, user: User, rig: bpy.types.Object) -> Wait:
    """With only a rig in the scene: press the button, choose the photograph in the file browser, look at the rig."""
    for other in bpy.context.view_layer.objects:
        other.hide_set(other != rig)
    activate(rig)
    rig.show_in_front = True
    yield SETTLE
    pressed = yield from user.press("ikol.pick_rig_image")
    chosen = yield from user.choose_file(PICTURES / "front_step.jpg")
    driver.check("the photograph is chosen", pressed and chosen, notice())
    driver.reset_pause()  # opening and closing the file browser is Blender's own work
    is_posed = yield from driver.wait_until(lambda: rig.animation_data is not None and job() is None, POSE_SECONDS)
    yield SETTLE
    driver.check("one click poses the rig by the photograph", is_posed, notice())
    driver.check("the body that was made for it is hidden", not any(body.visible_get() for body in bodies()))
    driver.check("the rig is active still", bpy.context.view_layer.objects.active == rig)
    view = driver.area().spaces.active.region_3d
    driver.check("the view looks through the rig's camera", view.view_perspective == "CAMERA")
    yield from driver.hover_viewport()
    yield from driver.picture("one_click")


def show_only_rig_panels() -> None:
    """Register the panels anew before they are drawn: those of the rig open, the others closed."""
    panels = [
        kind for kind in sys.modules[f"{PACKAGE}.blender.registration"].CLASSES if issubclass(kind, bpy.types.Panel)
    ]
    for kind in reversed(panels):
        bpy.utils.unregister_class(kind)
    for kind in panels:
        is_shown = kind.__name__ in ("IKOL_PT_main", "IKOL_PT_rig", "IKOL_PT_rig_bones")
        kind.bl_options = set() if is_shown else {"DEFAULT_CLOSED"}
        bpy.utils.register_class(kind)


driver = Driver()
driver.play(story)
