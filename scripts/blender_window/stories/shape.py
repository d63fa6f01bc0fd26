# SPDX-License-Identifier: Apache-2.0
"""The shape in the window: a slider dragged by the mouse with bones that follow, undo, a measurement typed in, export.

Needs a high screen (`run --size 1500x2000`): the whole tab on one picture.
"""

import os
import sys
from pathlib import Path

import bpy
import numpy as np

sys.path.insert(0, os.environ["IKOL_WINDOW_DRIVER"])
from driver import COPY_PATH, SETTLE, Driver, Wait
from ikol_user import PACKAGE, PICTURES, User, bodies, notice, preferences

PHOTO = PICTURES / "front_step.jpg"
BONE_TOLERANCE = 2e-4  # metres; bones are moved when they are a tenth of a millimetre off
FILES = Path("/tmp/ikol_shape")


def part(name: str) -> object:
    """A module of the extension."""
    return sys.modules[f"{PACKAGE}.{name}"]


def open_shape() -> None:
    """Show the panel Shape open; before it is drawn for the first time."""
    kind = part("blender.panel_body").IKOL_PT_shape
    bpy.utils.unregister_class(kind)
    kind.bl_options = set()
    bpy.utils.register_class(kind)


def betas() -> tuple[float, ...]:
    """The shape as the sliders have it."""
    return part("blender.armature").read_betas(bodies()[0], (0.0,) * 10)


def bones_off() -> float:
    """How far bones are from the joints of that shape, metres."""
    body = part("blender.own_body").current_body()
    wanted = part("core.pose_conversion").to_blender(body.rest_joints(betas()))
    heads = np.array([bodies()[0].data.bones[name].head_local for name in body.tree.names])
    return float(np.abs(heads - wanted).max())


def drag_slider(driver: Driver) -> Wait:
    """Drag the first slider: after each step of the mouse the bones are where the shape has the joints."""
    place = yield from driver.find_button("Shape000", driver.region("UI"), across=0.7, chord=COPY_PATH)
    if not driver.check("the slider is in the panel", place):
        return
    before = betas()
    driver.input.move(*place)
    yield 0.3
    driver.input.press()
    yield SETTLE
    off, values = [], []
    for step in range(1, 6):
        driver.input.move(place[0] + 10 * step, place[1])
        yield 1.0
        off.append(bones_off())
        values.append(betas()[0])
    driver.snap("2_slider_held")
    driver.input.release()
    yield 1.0
    driver.check("the slider moved while it was held", len({round(value, 3) for value in values}) > 1, values)
    # drawn by software, the window may be a step behind the mouse when the slider has just jumped
    driver.check("bones followed while it was held", max(off[-2:]) < BONE_TOLERANCE, off)
    driver.check("the mode is as it was", bpy.context.mode == "OBJECT", bpy.context.mode)
    yield from driver.picture("3_slider_let_go")
    yield from driver.hover_viewport()
    yield from driver.press_key("ctrl+z")
    yield 1.0
    off = max(abs(a - b) for a, b in zip(betas(), before, strict=True))
    driver.check("one undo brings the slider back", off < 1e-5, betas()[0])
    driver.check("and the bones", bones_off() < BONE_TOLERANCE, bones_off())
    yield from driver.press_key("ctrl+shift+z")
    yield 1.0
    driver.check("redo brings both again", bones_off() < BONE_TOLERANCE, (bones_off(), betas()[0]))


def type_height(driver: Driver) -> Wait:
    """Type a height into its field."""
    place = yield from driver.find_button("ikol.height", driver.region("UI"), across=0.7, chord=COPY_PATH)
    if not driver.check("the height is in the panel", place):
        return
    yield from driver.click(*place, clicks=2)
    yield SETTLE
    yield from driver.press_key("ctrl+a")
    driver.input.write("1.85")
    yield SETTLE
    yield from driver.press_key("Return")
    yield 1.0
    height = bodies()[0].ikol.height
    driver.check("the body has the height that was typed in", abs(height - 1.85) < 1e-4, height)
    driver.check("and its bones", bones_off() < BONE_TOLERANCE, bones_off())
    yield from driver.picture("4_height_typed")


def pose_and_assets(driver: Driver, user: User) -> Wait:
    """Save the pose, write files, read a motion again."""
    FILES.mkdir(exist_ok=True)
    with driver.context():
        bpy.ops.ikol.save_pose(name="Stepping")
        for form, suffix in (("FBX", "fbx"), ("GLTF", "glb"), ("BVH", "bvh")):
            answer = bpy.ops.ikol.export(
                filepath=str(FILES / f"body.{suffix}"), form=form, preset="SMPL", frames="CURRENT"
            )
            driver.check(f"{form} is written", answer == {"FINISHED"} and (FILES / f"body.{suffix}").is_file(), answer)
    driver.check("the asset has a picture", tuple(bpy.data.actions["Stepping"].preview.image_size) == (128, 128))
    count = len(bodies())
    user.begin(lambda: bpy.ops.ikol.import_motion("INVOKE_DEFAULT", filepath=str(FILES / "body.bvh")))
    found = yield from driver.wait_until(lambda: len(bodies()) > count, 60.0)
    driver.check("a motion is read while the window lives", found, notice())
    bodies()[-1].location.x += 1.2
    yield 1.0
    yield from driver.picture("5_imported")


def correctives(driver: Driver) -> Wait:
    """Turn a bone by the mouse on a body with pose correctives: they follow before the mouse is let go."""
    with np.load(part("blender.own_body").DEFAULT_BODY_PATH) as data:
        arrays = {key: data[key] for key in ("v_template", "shapedirs", "J_regressor", "weights", "kintree_table", "f")}
    count = len(arrays["v_template"])
    bulge = np.zeros((count, 3, 207), dtype=np.float32)
    elbow = 18  # its rotation about Y bends it; whatever is near it swells
    bulge[:, 2, 9 * (elbow - 1) + 2] = 0.1 * arrays["weights"][:, elbow] * arrays["weights"][:, elbow - 2]
    path = FILES / "correctives.npz"
    np.savez(path, posedirs=bulge, **arrays)
    preferences().body_file = str(path)
    yield 2.0
    with driver.context():
        armature = part("blender.armature").build_body(
            bpy.context, part("blender.own_body").current_body(), (0.0,) * 10
        )
        for thing in bpy.context.scene.objects:
            thing.select_set(thing == armature)
        bpy.context.view_layer.objects.active = armature
        bpy.ops.object.mode_set(mode="POSE")
        for bone in armature.pose.bones:
            (bone if hasattr(bone, "select") else bone.bone).select = bone.name == "L_Elbow"
        armature.data.bones.active = armature.data.bones["L_Elbow"]
        bpy.ops.ed.undo_push(message="Correctives")
    blocks = part("blender.armature").find_mesh(armature).data.shape_keys.key_blocks
    name = f"Pose{9 * (elbow - 1) + 2:03d}"
    yield from driver.hover_viewport()
    left, top, width, height = driver.box(driver.region("WINDOW"))
    driver.input.move(left + width // 3, top + height // 3)
    yield SETTLE
    driver.input.key("r")
    yield SETTLE
    values = []
    for step in range(1, 5):
        driver.input.move(left + width // 3 + 60 * step, top + height // 3 + 40 * step)
        yield 1.5
        values.append(blocks[name].value)
    driver.check("correctives follow while a bone is turned", len({round(value, 3) for value in values}) > 2, values)
    turned = armature.pose.bones["L_Elbow"].matrix_basis.to_3x3()
    driver.check("as SMPL has them", abs(values[-1] - turned[0][2]) < 0.05, (values[-1], turned[0][2]))
    driver.snap("7_corrective_held")
    driver.input.press()
    driver.input.release()
    yield 1.0
    turned = armature.pose.bones["L_Elbow"].matrix_basis.to_3x3()
    driver.check("and stay", abs(blocks[name].value - turned[0][2]) < 1e-5, (blocks[name].value, turned[0][2]))
    body = armature.name
    yield from driver.press_key("ctrl+z")
    yield 1.0
    armature = bpy.data.objects[body]  # undo makes objects anew
    blocks = part("blender.armature").find_mesh(armature).data.shape_keys.key_blocks
    driver.check("undo takes them back", abs(blocks[name].value) < 1e-5, blocks[name].value)
    preferences().body_file = ""


def asset_browser(driver: Driver) -> Wait:
    """Look at the pose in the asset browser."""
    area = driver.area()
    with driver.context():
        bpy.ops.screen.area_split(direction="HORIZONTAL", factor=0.3)
    yield SETTLE
    areas = bpy.context.window_manager.windows[0].screen.areas
    new = next(other for other in areas if other.type == "VIEW_3D" and other != area)
    new.ui_type = "ASSETS"
    yield 2.0
    new.spaces.active.params.asset_library_reference = "LOCAL"
    yield 3.0
    yield from driver.picture("6_asset_browser")


def story(driver: Driver) -> Wait:
    """Pose a photograph, then its shape."""
    user = User(driver)
    yield 2.0
    open_shape()
    yield from user.open_panel()
    yield from user.name_solver()
    posed = yield from user.pose_photograph(PHOTO)
    driver.check("the photograph is posed", posed, notice())
    yield from driver.picture("1_posed")
    yield from drag_slider(driver)
    yield from type_height(driver)
    yield from pose_and_assets(driver, user)
    yield from correctives(driver)
    with driver.context():
        bpy.ops.object.mode_set(mode="OBJECT")
    yield from asset_browser(driver)


driver = Driver()
driver.play(story)
