# SPDX-License-Identifier: Apache-2.0
"""Rigs before the photograph itself: seen by their own camera where it shows the person, in one click, and exported."""

from pathlib import Path

import bpy
import numpy as np
import pytest
from bpy_extras.object_utils import world_to_camera_view

ROOT = Path(__file__).resolve().parents[2]
SOLVER_PYTHON = ROOT / ".venv" / "bin" / "python"
PHOTO = ROOT / "samples" / "front_step.jpg"
FOOT = 0.01  # metres of a planted sole above the floor
ROUND_TRIP = 1e-4  # metres between a bone and the one that came back

LIMBS = tuple((f"{letter}_{joint}", f"{side}_{joint.lower()}") for letter, side in (("L", "left"), ("R", "right"))
              for joint in ("Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle"))  # fmt: skip


@pytest.fixture(scope="module")
def solver(extension, part):
    """An empty file, and the real solver."""
    preferences = bpy.context.preferences.addons[extension.__name__].preferences
    preferences.solver_python = str(SOLVER_PYTHON)
    bpy.ops.wm.read_homefile(use_empty=True)
    yield
    part("blender.runtime").get().solver.close()
    preferences.solver_python = ""


@pytest.fixture(scope="module")
def body(solver):
    """The IKOL body after Pose from Image, and its camera."""
    assert bpy.ops.ikol.pose_from_image(filepath=str(PHOTO)) == {"FINISHED"}
    return bpy.context.view_layer.objects.active.name


@pytest.fixture
def rigs(solver):
    """Makes rigs by style; they are removed afterwards, with what else was made."""
    from blender_rigs import build_rig

    before = set(bpy.data.objects)
    yield build_rig
    for thing in set(bpy.data.objects) - before:
        bpy.data.objects.remove(thing)


def pose(rig, body, **choices):
    from blender_rigs import activate

    activate(rig)
    rig.ikol_rig.source = bpy.data.objects[body]
    for name, value in choices.items():
        setattr(rig.ikol_rig, name, value)
    assert bpy.ops.ikol.pose_rig() == {"FINISHED"}


def seen(camera, place):
    """Give the pixel at which Blender's camera sees a place of the scene."""
    render = bpy.context.scene.render
    x, y, _ = world_to_camera_view(bpy.context.scene, camera, place)
    return np.array((x * render.resolution_x, (1.0 - y) * render.resolution_y))


def limbs_px(part, rig, body, camera, *, is_mirrored=False):
    """Give how far the rig's limbs are from the photograph's keypoints as Blender sees them, in pixels.

    A landmark is not its joint; by how much it is beside it on the picture the body tells.
    """
    record = part("blender.bodies").read_record(bpy.data.objects[body])
    detected = {
        name: np.array(at)
        for block in record.evidence
        if type(block).__name__ == "Keypoints2D"
        for name, at in zip(block.names, block.points, strict=True)
    }
    project = part("core.pose_conversion").project
    bones = {row.name: row.bone for row in rig.ikol_rig.joints}
    bpy.context.view_layer.update()
    missed = []
    for joint, landmark in LIMBS:
        points = record.solution.points
        beside = project(record.camera, points[landmark]) - project(record.camera, points[joint])
        own = f"{'R' if joint[0] == 'L' else 'L'}{joint[1:]}" if is_mirrored else joint
        at = seen(camera, rig.matrix_world @ rig.pose.bones[bones[own]].head)
        missed.append(float(np.linalg.norm(at + beside - detected[landmark])))
    return np.array(missed)


def soles(part, rig, body, *, is_mirrored=False):
    scene, contacts = part("blender.rig_scene"), part("core.rig_contacts")
    source = bpy.data.objects[body]
    theirs = scene.source_skeleton(source)
    (found,) = contacts.find_contacts([scene.read_source(source, theirs, True)])
    now = scene.read_source(rig, scene.rig_skeleton(rig), True)
    sides = {"L": "R", "R": "L"} if is_mirrored else {"L": "L", "R": "R"}
    return [abs(float(now.place(sides[foot.point[0]] + foot.point[1:])[1])) for foot in found.feet]


@pytest.mark.parametrize(
    ("style", "legs", "down", "scale"),
    [("Mixamo", 1.15, 0, 1.0), ("Unreal", 0.85, 50, 1.0), ("VRM J_Bip", 1.0, 0, 2.5)],
)
def test_the_rigs_own_camera_sees_it_where_the_photograph_shows_the_person(rigs, body, part, style, legs, down, scale):
    rig = rigs(style, legs, down)
    rig.scale = (scale,) * 3
    theirs = part("blender.bodies").body_camera(bpy.data.objects[body])
    stood = theirs.matrix_world.copy()
    pose(rig, body)
    camera = rig.ikol_rig.camera
    assert bpy.context.scene.camera == camera
    assert camera.data.background_images[0].image == theirs.data.background_images[0].image
    assert theirs.matrix_world == stood
    assert (camera.matrix_world.to_3x3().col[2] - stood.to_3x3().col[2]).length < 1e-5  # moved, not turned
    missed = limbs_px(part, rig, body, camera)
    # of 1080 x 1920: what the proportions leave, 5 to 8, and as much for landmarks that lie beside the joints
    assert np.median(missed) < 15.0
    assert max(soles(part, rig, body)) < FOOT * scale
    pose(rig, body, place="SCENE")
    assert np.median(limbs_px(part, rig, body, theirs)) > 2.0 * np.median(missed)


def test_the_camera_is_taken_again_and_not_another_one(rigs, body):
    rig = rigs("Mixamo")
    pose(rig, body)
    camera, count = rig.ikol_rig.camera, (len(bpy.data.objects), len(bpy.data.cameras))
    place = camera.matrix_world.copy()
    pose(rig, body)
    assert rig.ikol_rig.camera == camera
    assert (len(bpy.data.objects), len(bpy.data.cameras)) == count
    assert (camera.matrix_world.translation - place.translation).length < 0.02  # the rounds begin anew


def test_a_body_that_was_posed_otherwise_is_followed_and_not_the_photograph(rigs, body):
    rig = rigs("Mixamo")
    knee = bpy.data.objects[body].pose.bones["L_Knee"]
    before = knee.rotation_quaternion.copy()
    knee.rotation_quaternion = (0.8, 0.6, 0.0, 0.0)
    bpy.context.view_layer.update()
    try:
        pose(rig, body)
    finally:
        knee.rotation_quaternion = before
        bpy.context.view_layer.update()
    assert rig.ikol_rig.camera is None


def test_before_a_camera_of_the_scene_the_rig_covers_the_person_and_the_camera_stays(rigs, body, part):
    rig = rigs("Mixamo", 1.15)
    theirs = part("blender.bodies").body_camera(bpy.data.objects[body])
    stood, names = theirs.matrix_world.copy(), set(bpy.data.cameras)
    pose(rig, body, place="SCENE")
    like_body = limbs_px(part, rig, body, theirs)
    bpy.context.scene.ikol.camera = "SCENE"
    try:
        pose(rig, body, place="PHOTO")
    finally:
        bpy.context.scene.ikol.camera = "NEW"
    assert rig.ikol_rig.camera is None
    assert theirs.matrix_world == stood
    assert set(bpy.data.cameras) == names
    missed = limbs_px(part, rig, body, theirs)
    print(f"a camera of the scene: {np.median(missed):.1f} px, like the body {np.median(like_body):.1f} px")
    assert missed.mean() < 0.6 * like_body.mean()
    assert max(soles(part, rig, body)) < FOOT


def test_a_mirrored_rig_is_seen_where_the_photograph_shows_the_person(rigs, body, part):
    rig = rigs("Mixamo", 1.15)
    rig.scale.x = -1.0
    theirs = part("blender.bodies").body_camera(bpy.data.objects[body])
    pose(rig, body, place="SCENE")
    like_body = limbs_px(part, rig, body, theirs, is_mirrored=True)
    pose(rig, body, place="PHOTO")
    missed = limbs_px(part, rig, body, rig.ikol_rig.camera, is_mirrored=True)
    print(f"mirrored: {np.median(missed):.1f} px, like the body {np.median(like_body):.1f} px")
    assert np.median(missed) < 15.0
    assert missed.mean() < 0.6 * like_body.mean()
    assert max(soles(part, rig, body, is_mirrored=True)) < FOOT


def test_an_unevenly_scaled_rig_goes_where_the_body_stands(rigs, body):
    rig = rigs("Mixamo")
    rig.scale.x = 1.2
    pose(rig, body)
    assert rig.ikol_rig.camera is None


def test_over_all_frames_the_photograph_has_a_say_wherever_the_body_is_as_it_shows(rigs, body, part):
    rig, scene, person = rigs("Mixamo", 1.15), bpy.context.scene, bpy.data.objects[body]
    elbow, kept, now = person.pose.bones["L_Elbow"], (scene.frame_start, scene.frame_end), scene.frame_current
    before = elbow.rotation_quaternion.copy()
    scene.frame_start, scene.frame_end = now, now + 4
    elbow.rotation_quaternion = (0.8, 0.0, -0.6, 0.0)
    elbow.keyframe_insert("rotation_quaternion", frame=now + 4)
    scene.frame_set(now)
    try:
        from blender_rigs import activate

        activate(rig)
        rig.ikol_rig.source = person
        assert bpy.ops.ikol.pose_rig(whole_range=True) == {"FINISHED"}
        camera, missed, wrists = rig.ikol_rig.camera, [], []
        assert camera is not None
        wrist = rig.pose.bones["mixamorig:LeftHand"]
        for frame in range(now, now + 5):
            scene.frame_set(frame)
            missed.append(limbs_px(part, rig, body, camera))
            wrists.append(np.array(rig.matrix_world @ wrist.head))
        scene.frame_set(now)
    finally:
        elbow.keyframe_delete("rotation_quaternion", frame=now + 4)
        elbow.rotation_quaternion = before
        scene.frame_start, scene.frame_end = kept
        scene.frame_set(now)
    moved = [number for number, (joint, _) in enumerate(LIMBS) if joint == "L_Wrist"]
    still = np.delete(np.array(missed), moved, axis=1)
    print(f"all frames: {np.median(still):.1f} px; the wrist that leaves it {missed[-1][moved][0]:.0f} px")
    assert (np.median(still, axis=1) < 15.0).all()
    assert missed[-1][moved][0] > 40.0
    assert np.linalg.norm(wrists[-1] - wrists[0]) > 0.15


def test_one_click_from_the_photograph_to_the_rig(rigs, part):
    from blender_rigs import activate

    rig = rigs("Unreal", 1.15, 50)
    activate(rig)
    assert bpy.ops.ikol.pose_rig_from_image(filepath=str(PHOTO)) == {"FINISHED"}
    source = rig.ikol_rig.source
    assert source is not None
    assert not source.visible_get()
    assert bpy.context.view_layer.objects.active == rig
    assert rig.animation_data.action is not None
    assert np.median(limbs_px(part, rig, source.name, rig.ikol_rig.camera)) < 15.0
    bodies = len(part("blender.bodies").find_bodies(bpy.context.scene))
    assert bpy.ops.ikol.pose_rig_from_image(filepath=str(PHOTO)) == {"FINISHED"}  # the same body takes the next picture
    assert rig.ikol_rig.source == source
    assert len(part("blender.bodies").find_bodies(bpy.context.scene)) == bodies
    bpy.ops.ikol.show_rig_source()
    assert source.visible_get()


def test_one_click_with_a_rig_whose_bones_are_not_found_makes_no_body(rigs, part):
    from blender_rigs import activate

    rig = rigs("Mixamo")
    bpy.ops.ikol.find_rig_bones()
    rig.ikol_rig.joints["L_Knee"].bone = ""
    before = len(part("blender.bodies").find_bodies(bpy.context.scene))
    activate(rig)
    with pytest.raises(RuntimeError, match="(?i)no bone is known as L_Knee"):
        bpy.ops.ikol.pose_rig_from_image(filepath=str(PHOTO))
    assert len(part("blender.bodies").find_bodies(bpy.context.scene)) == before


def test_keyed_handles_of_solved_frames_act_on_the_rig_in_each_frame(rigs, body, part):
    """The last test with this body: its pose is keyed on more frames."""
    from blender_rigs import activate

    scene, person = bpy.context.scene, bpy.data.objects[body]
    now = scene.frame_current
    activate(person)
    handle = part("blender.handles").find_handles(scene, person)["L_Wrist"]
    handle.keyframe_insert("location", frame=now)
    handle.location.z += 0.25
    handle.location.y -= 0.1
    handle.keyframe_insert("location", frame=now + 2)
    scene.frame_set(now)
    assert bpy.ops.ikol.solve_range(frame_start=now, frame_end=now + 2) == {"FINISHED"}
    rig = rigs("Mixamo", 1.15)
    activate(rig)
    rig.ikol_rig.source = person
    scene.frame_start, scene.frame_end = now, now + 2
    assert bpy.ops.ikol.pose_rig(whole_range=True) == {"FINISHED"}
    theirs, own = part("blender.bodies").body_camera(person), rig.ikol_rig.camera
    assert own is not None
    moved, legs = [], []
    for frame in range(now, now + 3):
        scene.frame_set(frame)
        wrist = seen(theirs, person.matrix_world @ person.pose.bones["L_Wrist"].head)
        mine = seen(own, rig.matrix_world @ rig.pose.bones["mixamorig:LeftHand"].head)
        moved.append((wrist, mine))
        missed = limbs_px(part, rig, body, own)
        legs.append(
            [far for far, (joint, _) in zip(missed, LIMBS, strict=True) if joint[2:] in ("Hip", "Knee", "Ankle")]
        )
    off = [float(np.linalg.norm(wrist - mine)) for wrist, mine in moved]
    way = float(np.linalg.norm(moved[-1][1] - moved[0][1]))
    print(f"keyed handle: the wrist goes {way:.0f} px, {max(off):.1f} px beside the body's; legs {np.median(legs):.1f}")
    assert way > 60.0
    assert max(off) < 15.0  # the rig's arms are shorter than the body's, its keypoints pull a little
    assert np.median(legs) < 15.0
