# SPDX-License-Identifier: Apache-2.0
"""The shape in the window: a slider dragged with bones and pose that follow, undo, a typed measurement, files.

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
SLIDER_STEPS, SLIDER_PIXELS = 10, 20
ENDS = ("L_Ankle", "R_Ankle", "L_Wrist", "R_Wrist", "Head")


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
    return part("blender.armature").read_betas(bodies()[0], ())


def bones_off() -> float:
    """How far bones are from the joints of that shape, metres."""
    body = part("blender.own_body").current_body()
    wanted = part("core.pose_conversion").to_blender(body.rest_joints(betas()))
    heads = np.array([bodies()[0].data.bones[name].head_local for name in body.tree.names])
    return float(np.abs(heads - wanted).max())


def pose() -> np.ndarray:
    """The rotations of all bones, (J, 4)."""
    names = part("core.rig").JOINT_NAMES
    bones = bodies()[0].pose.bones
    return np.array([bones[name].matrix_basis.to_quaternion() for name in names])


def solved_beta() -> float:
    """The first beta of the newest solved pose; the window, drawn by software, may be a second behind."""
    return part("blender.live_edit").newest_record(bodies()[0]).solution.pose.betas[0]


def current() -> object:
    """The pose that the bones have now, in the shape of the sliders."""
    return part("blender.posing").read_pose(bodies()[0], betas())


def seen(posed: object, shape: tuple[float, ...]) -> np.ndarray:
    """Where the photograph has the ends of the limbs of a pose in a shape, pixels."""
    camera = part("blender.bodies").read_record(bodies()[0]).camera
    shaped = part("core.record").Pose(posed.transl, posed.local_quat, shape)
    places = part("core.motion_file").joint_places(part("blender.own_body").current_body(), shaped)
    pixels = part("core.pose_conversion").project(camera, places)
    return np.array([pixels[part("core.rig").JOINT_NAMES.index(name)] for name in ENDS])


def drag_slider(driver: Driver) -> Wait:
    """Drag the first slider: after each step of the mouse bones and pose are where shape and photograph have them."""
    place = yield from driver.find_button("ikol_shape.betas[0]", driver.region("UI"), across=0.7, chord=COPY_PATH)
    if not driver.check("the slider is in the panel", place):
        return
    before, posed, start = betas(), pose(), current()
    driver.input.move(*place)
    yield 0.3
    driver.input.press()
    yield SETTLE
    off = []
    for _ in range(SLIDER_STEPS):
        driver.input.shift(SLIDER_PIXELS, 0)
        yield 0.5
        off.append(bones_off())
    # drawn by software, the window may be seconds behind the mouse
    moved = yield from driver.wait_until(lambda: betas()[0] - before[0] > 1.0, 10.0)
    driver.check("the slider moved while it was held", moved, betas()[0])
    finely = betas()[0] - before[0] < 1.2 * SLIDER_STEPS * SLIDER_PIXELS * 0.01
    driver.check("by a hundredth for each pixel of the mouse", finely, betas()[0])
    solved = yield from driver.wait_until(lambda: abs(solved_beta() - betas()[0]) < 1e-5, 10.0)
    driver.check("the pose was solved while it was held", solved, (solved_beta(), betas()[0]))
    off.append(bones_off())
    kept, now = (np.linalg.norm(seen(each, betas()) - seen(start, before), axis=1).max() for each in (start, current()))
    driver.check("the ends of the limbs stay nearer to the photograph", now < 0.6 * kept, (now, kept))
    driver.snap("2_slider_held")
    driver.input.release()
    yield 1.0
    driver.check("bones followed while it was held", max(off[-2:]) < BONE_TOLERANCE, off)
    driver.check("the mode is as it was", bpy.context.mode == "OBJECT", bpy.context.mode)
    yield from driver.picture("3_slider_let_go")
    solved, value = pose(), betas()[0]
    yield from driver.hover_viewport()
    yield from driver.press_key("ctrl+z")
    yield 1.0
    off = max(abs(a - b) for a, b in zip(betas(), before, strict=True))
    driver.check("one undo brings the slider back", off < 1e-5, betas()[0])
    driver.check("and the bones", bones_off() < BONE_TOLERANCE, bones_off())
    driver.check("and the pose", np.abs(pose() - posed).max() < 1e-5, np.abs(pose() - posed).max())
    yield from driver.press_key("ctrl+shift+z")
    yield from driver.wait_until(lambda: np.abs(pose() - solved).max() < 1e-6, 20.0)
    driver.check("redo brings both again", bones_off() < BONE_TOLERANCE, (bones_off(), betas()[0]))
    driver.check("the last value of the slider", abs(betas()[0] - value) < 1e-5, (betas()[0], value))
    driver.check("and its pose", np.abs(pose() - solved).max() < 1e-6, np.abs(pose() - solved).max())


def type_height(driver: Driver) -> Wait:
    """Type a height into its field."""
    before, posed = betas(), pose()
    place = yield from driver.find_button("ikol_shape.height", driver.region("UI"), across=0.7, chord=COPY_PATH)
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
    solved = yield from driver.wait_until(lambda: np.abs(pose() - posed).max() > 1e-4, 20.0)
    driver.check("and a pose of its own", solved, np.abs(pose() - posed).max())
    yield 2.0
    yield from driver.picture("4_height_typed")
    yield from driver.hover_viewport()
    yield from driver.press_key("ctrl+z")
    yield from driver.wait_until(lambda: np.abs(pose() - posed).max() < 1e-6, 20.0)
    off = max(abs(a - b) for a, b in zip(betas(), before, strict=True))
    driver.check("one undo takes the height back", off < 1e-5, off)
    # the step before is the slider's, which was made in its middle: what came later is remembered
    driver.check("with the pose", np.abs(pose() - posed).max() < 1e-6, np.abs(pose() - posed).max())


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


def many_betas(driver: Driver, user: User) -> Wait:
    """Pose a photograph with a body of 300 betas; its sliders are on thirty pages."""
    with np.load(part("blender.own_body").DEFAULT_BODY_PATH) as data:
        arrays = {key: data[key] for key in ("v_template", "shapedirs", "J_regressor", "weights", "kintree_table", "f")}
    turns = np.random.default_rng(1).normal(size=(3, 3, 290)) / np.arange(10, 300)
    more = np.einsum("vc,cdb->vdb", arrays["v_template"], 0.1 * turns)
    arrays["shapedirs"] = np.concatenate([arrays["shapedirs"][..., :10], more], axis=2).astype(np.float32)
    path = FILES / "many.npz"
    np.savez(path, **arrays)
    for armature in list(bodies()):
        bpy.data.objects.remove(armature)
    preferences().body_file = str(path)
    posed = yield from user.pose_photograph(PHOTO)
    driver.check("a body of 300 betas is posed", posed and len(betas()) == 300, notice())
    bpy.context.window_manager.ikol_shape.page = 2
    before = pose()
    bpy.context.window_manager.ikol_shape.betas[2] = 4.0
    yield from driver.wait_until(lambda: np.abs(pose() - before).max() > 1e-4, 20.0)
    driver.check("a slider of the second page is the thirteenth beta", abs(betas()[12] - 4.0) < 1e-6, betas()[10:20])
    driver.check("with its pose", np.abs(pose() - before).max() > 1e-4, np.abs(pose() - before).max())
    yield 3.0
    yield from driver.picture("8_many_betas")
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
    yield from many_betas(driver, user)
    yield from asset_browser(driver)


driver = Driver()
driver.play(story)
