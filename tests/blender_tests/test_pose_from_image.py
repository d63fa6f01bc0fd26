# SPDX-License-Identifier: Apache-2.0
"""*Pose from Image* from file to keys, and what the user is told when it does not work."""

import os
import time

import bpy
import numpy as np
import pytest
from numpy_body import pose_body, random_quats

FAKE_TRANSL, FAKE_SEED = (0.0, 1.05, 0.0), 7  # what tests/support/fake_solver.py answers


def keyed(armature):
    """F-curves of the armature by path and index, in every Blender."""
    action = armature.animation_data.action
    if hasattr(action, "fcurves"):
        curves = action.fcurves
    else:
        curves = action.layers[0].strips[0].channelbag(armature.animation_data.action_slot).fcurves
    return {
        (curve.data_path, curve.array_index): [tuple(point.co) for point in curve.keyframe_points] for curve in curves
    }


def rotation_keys(armature, bone):
    curves = keyed(armature)
    rows = [curves[f'pose.bones["{bone}"].rotation_quaternion', index] for index in range(4)]
    return {int(point[0][0]): np.array([value for _, value in point]) for point in zip(*rows, strict=True)}


def bodies():
    return [thing for thing in bpy.data.objects if thing.type == "ARMATURE"]


def pose(path, **settings):
    for name, value in settings.items():
        setattr(bpy.context.scene.ikol, name, value)
    return bpy.ops.ikol.pose_from_image(filepath=str(path))


def test_the_person_stands_in_the_solved_pose(body, part):
    names = part("core.rig").JOINT_NAMES
    record = part("blender.bodies").read_record(body)
    expected = pose_body(FAKE_TRANSL, random_quats(FAKE_SEED), record.solution.pose.betas).joints
    found = np.array([body.matrix_world @ body.pose.bones[name].head for name in names])
    expected = np.stack([expected[:, 0], -expected[:, 2], expected[:, 1]], axis=1)
    assert np.abs(found - expected).max() < 1e-4  # float32 over a chain of nine bones


def test_every_rotation_and_the_translation_are_keyed_on_the_current_frame(solver, photo, part):
    bpy.context.scene.frame_set(12)
    pose(photo)
    curves = keyed(bodies()[0])
    assert len(curves) == 24 * 4 + 3
    assert {frame for points in curves.values() for frame, _ in points} == {12.0}
    for name in part("core.rig").JOINT_NAMES:
        assert rotation_keys(bodies()[0], name).keys() == {12}


def test_the_active_body_gets_another_key_and_keeps_the_others(body, photo):
    before = keyed(body)
    bpy.context.scene.frame_set(20)
    bpy.context.view_layer.objects.active = body
    assert pose(photo, target="ACTIVE") == {"FINISHED"}
    assert bodies() == [body]
    after = keyed(body)
    for channel, points in before.items():
        assert points[0] in after[channel]
    assert rotation_keys(body, "L_Elbow").keys() == {1, 20}


def test_the_active_body_keeps_its_shape(body, photo, solver):
    (mesh,) = (child for child in body.children if child.type == "MESH")
    mesh.data.shape_keys.key_blocks["Shape000"].value = 2.0
    pose(photo, target="ACTIVE")
    assert mesh.data.shape_keys.key_blocks["Shape000"].value == pytest.approx(2.0)
    last = solver.requests("Solve")[-1]
    assert last["request"]["solve_shape"] is False
    assert last["arrays"]["initial.betas"][0] == pytest.approx(2.0)


def test_the_sign_of_quaternions_is_that_of_the_key_before(body, photo):
    elbow = body.pose.bones["L_Elbow"]
    elbow.rotation_quaternion = -elbow.rotation_quaternion
    elbow.keyframe_insert("rotation_quaternion", frame=1)
    bpy.context.scene.frame_set(5)
    pose(photo, target="ACTIVE")
    keys = rotation_keys(body, "L_Elbow")
    assert np.dot(keys[1], keys[5]) > 0
    assert abs(np.dot(keys[5], random_quats(FAKE_SEED)[18])) > 1 - 1e-6


def test_all_persons_share_one_camera(solver, photo):
    solver.behave(persons=3)
    pose(photo, persons="ALL")
    assert len(bodies()) == 3
    assert len(bpy.data.cameras) == 1
    assert {body["ikol_camera"].name for body in bodies()} == {"IKOL Camera"}
    solves = solver.requests("Solve")
    # each is solved with a camera of its own, so that all of them say which way is up
    assert all(solve["request"]["camera"].get("rotation") is None for solve in solves[:3])
    assert all(solve["request"]["camera"]["rotation"] is not None for solve in solves[3:])
    assert [len(bpy.data.collections[f"{body.name} Handles"].objects) for body in bodies()] == [13, 13, 13]


def test_only_the_largest_person_when_the_user_wants_one(solver, photo):
    solver.behave(persons=3)
    pose(photo, persons="BEST")
    assert len(bodies()) == 1
    assert solver.requests("Detect")[0]["request"]["max_persons"] == 4  # only what was found can be compared
    assert len(solver.requests("Solve")) == 1


def test_a_second_person_that_cannot_be_solved_is_left_out_with_a_warning(solver, photo, part):
    solver.behave("fail_second", persons=2)
    pose(photo)
    assert len(bodies()) == 1
    warnings = part("blender.runtime").get().result.warnings
    assert warnings == ("Person 2 was left out: the keypoints contradict each other",)


def test_handles_stand_on_the_solved_joints(body, part):
    record = part("blender.bodies").read_record(body)
    handles = part("blender.handles").find_handles(bpy.context.scene, body)
    assert len(handles) == 13
    bpy.context.view_layer.update()
    for name, thing in handles.items():
        x, y, z = record.solution.points[name]
        assert tuple(thing.matrix_world.translation) == pytest.approx((x, -z, y), abs=1e-5)
        bone = body.pose.bones[name]
        assert (thing.matrix_world.translation - body.matrix_world @ bone.head).length < 1e-4
    assert handles["L_Wrist"].name == "IKOL Left Hand"
    assert handles["L_Wrist"].empty_display_type == "CUBE"
    assert handles["L_Elbow"].empty_display_type == "SPHERE"


def test_the_scene_looks_through_the_camera_of_the_photograph(body):
    assert bpy.context.scene.camera is body["ikol_camera"]


def test_one_undo_takes_everything_back(solver, photo):
    bpy.ops.mesh.primitive_cube_add()
    bpy.ops.ed.undo_push(message="before")
    resolution = bpy.context.scene.render.resolution_x
    bpy.ops.ikol.pose_from_image("EXEC_DEFAULT", True, filepath=str(photo))  # True: push undo as in a window
    assert len(bodies()) == 1
    with bpy.context.temp_override(window=bpy.context.window_manager.windows[0]):
        bpy.ops.ed.undo()
    assert not bodies()
    assert not bpy.data.cameras
    assert bpy.context.scene.render.resolution_x == resolution


def test_the_file_knows_the_evidence_after_it_is_opened_again(body, part, tmp_path):
    record = part("blender.bodies").read_record(body)
    name = body.name
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "pose.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "pose.blend"))
    again = bpy.data.objects[name]
    assert part("blender.bodies").read_record(again) == record
    assert part("blender.bodies").body_camera(again).name == "IKOL Camera"
    assert len(part("blender.handles").find_handles(bpy.context.scene, again)) == 13


def test_opening_a_file_drops_the_request_that_runs(solver, photo, part):
    solver.behave("slow", seconds=30)
    living = part("blender.runtime").get()
    jobs = part("core.jobs")
    job = jobs.Job(part("core.picture_jobs").pose_from_image(photo.name, photo.read_bytes()))
    living.solver.submit(job, living.config())
    while job.state is not jobs.JobState.RUNNING:
        living.pump()
        time.sleep(0.005)
    bpy.ops.wm.read_homefile(use_empty=True)
    assert job.state is jobs.JobState.CANCELLED
    assert living.solver.job is None


FAILURES = {
    "text.jpg": (b"this is no picture", "text.jpg is not a JPEG, PNG or WebP picture"),
    "empty.png": (b"", "empty.png is empty"),
    "cut.jpg": (b"\xff\xd8\xff\xe0\x00\x10JFIF" + b"\0" * 40, "picture cannot be read"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_file_that_is_no_photograph_gives_a_sentence(solver, tmp_path, name, part):
    content, sentence = FAILURES[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RuntimeError, match=sentence) as error:
        pose(tmp_path / name)
    assert "Traceback" not in str(error.value)
    assert sentence in str(part("blender.runtime").get().notice)
    assert not bodies()


def test_a_missing_file_gives_a_sentence(solver, tmp_path):
    with pytest.raises(RuntimeError, match=r"There is no file gone\.jpg; choose one that exists"):
        pose(tmp_path / "gone.jpg")


def test_a_file_that_is_too_large_is_not_read(solver, tmp_path):
    path = tmp_path / "huge.jpg"
    with path.open("wb") as file:
        file.truncate(65 * 2**20)
    with pytest.raises(RuntimeError, match=r"huge\.jpg has 65 MB, at most 64 MB are read; save it smaller"):
        pose(path)


def test_nobody_on_the_picture_gives_a_sentence_that_says_what_to_do(solver, photo):
    solver.behave(persons=0)
    with pytest.raises(RuntimeError, match=r"No person was found on photo\.png; set Persons to Choose and draw a box"):
        pose(photo)
    assert not bodies()
    solver.behave(persons=1)


def test_without_a_solver_the_user_is_offered_to_install_it(scene, photo, preferences, part):
    preferences.solver_python = ""
    with pytest.raises(RuntimeError, match="The solver is not installed"):
        pose(photo)
    assert part("blender.runtime").get().notice.fix.value == "install"


MODES = {
    "exit_at_start": "The solver ended unexpectedly with code 5",
    "missing_module": "The solver's Python lacks the module solver_server",
    "refuse": "The socket could not be made",
    "chatter": "The solver's Python prints something else",
    "old_version": "Protocol 1.0 cannot talk to protocol 2.0",
    "crash_on_detect": "The solver ended unexpectedly with code 3",
    "nan": "every number of a message must be finite|numbers that are not finite",
    "problem": "Torch could not be loaded",
}


@pytest.mark.parametrize("mode", MODES)
def test_a_solver_that_fails_gives_a_sentence_and_the_next_command_works(solver, photo, mode):
    solver.behave(mode)
    with pytest.raises(RuntimeError, match=MODES[mode]):
        pose(photo)
    assert not bodies()
    if mode == "nan":
        bpy.ops.ikol.stop_solver()  # the others have ended by themselves
    solver.behave()
    assert pose(photo) == {"FINISHED"}


def test_a_connection_made_anew_is_introduced_again(solver, photo):
    solver.behave("forget_hello")
    assert pose(photo) == {"FINISHED"}
    assert len(solver.requests("Hello")) == 2


def test_a_killed_solver_is_noticed_and_started_again(body, photo, part):
    living = part("blender.runtime").get()
    os.kill(living.solver.pid, 9)
    begin = time.monotonic()
    while living.solver.state.phase.value == "running" and time.monotonic() - begin < 5:
        living.pump()
        time.sleep(0.005)
    assert living.solver.state.message.startswith("the solver ended unexpectedly by signal 9")
    assert time.monotonic() - begin < 2
    assert pose(photo) == {"FINISHED"}


def test_cancelling_ends_the_command_and_the_next_one_works(solver, photo, cancel_after):
    solver.behave("slow", seconds=20)
    never_mind = cancel_after(seconds=0.5)
    begin = time.monotonic()
    assert pose(photo) == {"CANCELLED"}
    assert time.monotonic() - begin < 10
    assert not bodies()
    never_mind()
    bpy.ops.ikol.stop_solver()
    solver.behave()
    assert pose(photo) == {"FINISHED"}
