# SPDX-License-Identifier: Apache-2.0
"""*Re-solve* and *Solve Keypoints*: what the user changed is what the solver is asked."""

import json
import math

import bpy
import numpy as np
import pytest
from mathutils import Quaternion, Vector
from numpy_body import pose_body, random_quats


@pytest.fixture
def wrist(body):
    """The handle of the left hand, moved ten centimetres up."""
    thing = bpy.data.objects["IKOL Left Hand"]
    thing.location.z += 0.1
    return thing


def last_solve(solver):
    return solver.requests("Solve")[-1]


def evidence_by_tag(entry):
    return {block["type"]: (index, block) for index, block in enumerate(entry["request"]["evidence"])}


def test_a_moved_keypoint_becomes_strong_evidence_and_the_rest_stays(solver, wrist):
    assert bpy.ops.ikol.resolve() == {"FINISHED"}
    entry = last_solve(solver)
    index, placed = evidence_by_tag(entry)["keypoints_3d"]
    assert placed["names"] == ["L_Wrist"]
    x, y, z = wrist.matrix_world.translation
    assert entry["arrays"][f"evidence.{index}.points"][0] == pytest.approx([x, z, -y], abs=1e-5)
    assert entry["arrays"][f"evidence.{index}.sigma"] == pytest.approx([0.005])
    _, seen = evidence_by_tag(entry)["keypoints_2d"]
    assert len(seen["names"]) == 33  # the picture keeps its say, but the user's 5 mm are worth more


def test_it_starts_from_the_pose_that_the_bones_have_now(solver, body):
    knee = body.pose.bones["R_Knee"]
    knee.rotation_quaternion = Quaternion((1, 0, 0), math.radians(40))
    body.pose.bones["Pelvis"].location.x = 0.25
    bpy.ops.ikol.resolve()
    arrays = last_solve(solver)["arrays"]
    assert arrays["initial.local_quat"][5] == pytest.approx(list(knee.rotation_quaternion), abs=1e-6)
    assert arrays["initial.transl"] == pytest.approx([0.25, 1.05, 0.0], abs=1e-6)
    assert last_solve(solver)["request"]["solve_shape"] is False


def test_a_placed_keypoint_stays_where_the_user_put_it_and_is_kept(solver, body, wrist):
    place = wrist.matrix_world.translation.copy()
    place.z += 0.1
    bpy.ops.ikol.resolve()
    bpy.context.view_layer.update()
    assert (wrist.matrix_world.translation - place).length < 1e-5
    assert tuple(wrist.color) == pytest.approx((0.20, 0.55, 1.00, 1.0))
    bpy.data.objects["IKOL Right Foot"].location.x += 0.05
    bpy.ops.ikol.resolve()
    _, placed = evidence_by_tag(last_solve(solver))["keypoints_3d"]
    assert placed["names"] == ["L_Wrist", "R_Ankle"]


def test_unmoved_keypoints_go_to_the_new_solution_and_are_not_taken_for_moved(solver, body, wrist):
    bpy.ops.ikol.resolve()  # the fake solver nods: the points of the head have new places
    bpy.ops.ikol.resolve()
    _, placed = evidence_by_tag(last_solve(solver))["keypoints_3d"]
    assert placed["names"] == ["L_Wrist"]


@pytest.fixture
def auto_keying():
    tool = bpy.context.scene.tool_settings
    tool.use_keyframe_insert_auto = True
    yield
    bpy.context.scene.tool_settings.use_keyframe_insert_auto = False


def key_frames(armature, bone):
    animation = armature.animation_data
    action = animation.action
    if not hasattr(action, "fcurves"):  # Blender 5
        action = action.layers[0].strips[0].channelbag(animation.action_slot)
    path = f'pose.bones["{bone}"].rotation_quaternion'
    return {point.co[0] for curve in action.fcurves if curve.data_path == path for point in curve.keyframe_points}


def test_the_new_pose_is_keyed_on_the_current_frame(body, wrist, auto_keying):
    bpy.context.scene.frame_set(9)
    before = body.pose.bones["Head"].rotation_quaternion.copy()
    bpy.ops.ikol.resolve()
    after = body.pose.bones["Head"].rotation_quaternion
    assert before.rotation_difference(after).angle == pytest.approx(0.2, abs=1e-4)  # twice the fake's half angle
    bpy.context.scene.frame_set(1)
    bpy.context.view_layer.update()
    assert body.pose.bones["Head"].rotation_quaternion.rotation_difference(before).angle < 1e-4
    bpy.context.scene.frame_set(9)


def test_without_auto_keying_a_frame_gets_no_keys_and_the_user_is_told(body, part):
    bpy.context.scene.frame_set(9)
    before = body.pose.bones["Head"].rotation_quaternion.copy()
    assert bpy.ops.ikol.resolve() == {"FINISHED"}
    assert key_frames(body, "Head") == {1.0}
    assert "has no key on this frame" in str(part("blender.runtime").get().notice)
    bpy.context.scene.frame_set(1)
    bpy.ops.ikol.resolve()  # a key that is there follows the pose
    bpy.context.scene.frame_set(2)
    bpy.context.view_layer.update()
    assert before.rotation_difference(body.pose.bones["Head"].rotation_quaternion).angle > 0.1


def test_only_the_part_that_moved_is_keyed(body, auto_keying):
    bpy.context.scene.frame_set(9)
    assert bpy.ops.ikol.solve_part(part="LEFT_ARM") == {"FINISHED"}
    assert key_frames(body, "L_Elbow") == {1.0, 9.0}
    assert key_frames(body, "Head") == {1.0}


def test_what_is_edited_while_it_runs_is_kept(body, wrist, part, monkeypatch):
    bodies, keypoints = part("blender.bodies"), part("core.keypoints")
    living = type(part("blender.runtime").get())
    pump, edited = living.pump, []

    def pump_with_an_edit(self):
        if not edited:
            edited.append(True)
            record = keypoints.mute(bodies.read_record(body), ("nose",))
            bodies.write_record(body, keypoints.lock(record, ("L_Wrist",)))
        pump(self)

    monkeypatch.setattr(living, "pump", pump_with_an_edit)
    before = bodies.read_record(body).solution
    assert bpy.ops.ikol.resolve() == {"FINISHED"}
    record = bodies.read_record(body)
    assert record.edits["nose"].is_muted
    assert record.edits["L_Wrist"].is_locked
    x, y, z = wrist.matrix_world.translation
    assert record.edits["L_Wrist"].position == pytest.approx((x, z, -y), abs=1e-5)
    assert record.solution != before


def test_a_late_answer_does_not_undo_it(body, part):
    live, bodies = part("blender.live"), part("blender.bodies")
    drag = live.LiveDrag(bpy.context, body)
    drag.update(part("core.keypoints").mute(drag.record, ("nose",)))
    drag.finish(bpy.context, "Late")
    assert "ikol_drag" in body
    assert bpy.ops.ikol.resolve() == {"FINISHED"}
    assert "ikol_drag" not in body
    assert part("blender.runtime").get().late_drag is None
    assert bodies.read_record(body).edits["nose"].is_muted


def test_it_works_with_a_keypoint_active(solver, wrist):
    bpy.context.view_layer.objects.active = wrist
    assert bpy.ops.ikol.resolve() == {"FINISHED"}
    assert bpy.context.view_layer.objects.active is wrist


def test_the_camera_is_the_one_in_the_scene(solver, body):
    camera = bpy.context.scene.camera
    camera.data.lens *= 2
    camera.location.x += 1.0
    before = body["ikol_evidence"]
    bpy.ops.ikol.resolve()
    sent, stored = last_solve(solver)["request"]["camera"], json.loads(before)["solution"]["camera"]
    assert sent["focal_x"] == pytest.approx(2 * stored["focal_x"], rel=1e-5)
    assert sent["focal_source"] == "given"
    moved = -np.array(sent["rotation"]).reshape(3, 3).T @ sent["translation"]
    was = -np.array(stored["rotation"]).reshape(3, 3).T @ stored["translation"]
    assert moved - was == pytest.approx([1.0, 0.0, 0.0], abs=1e-5)


def test_a_deleted_camera_is_replaced_by_the_stored_one(solver, body):
    bpy.data.objects.remove(bpy.context.scene.camera)
    assert bpy.ops.ikol.resolve() == {"FINISHED"}
    assert last_solve(solver)["request"]["camera"]["focal_source"] == "default"


def test_moving_the_whole_body_moves_no_evidence(solver, body):
    stored = json.loads(body["ikol_evidence"])["solution"]["camera"]
    shift = Vector((2, 1, 0.5))
    body.location = shift
    bpy.context.scene.camera.location += shift
    bpy.ops.ikol.resolve()
    entry = last_solve(solver)
    assert "keypoints_3d" not in evidence_by_tag(entry)
    assert entry["request"]["camera"]["translation"] == pytest.approx(stored["translation"], abs=1e-5)
    assert entry["arrays"]["initial.transl"] == pytest.approx([0.0, 1.05, 0.0], abs=1e-6)


def test_without_a_body_the_button_says_what_to_select(solver):
    with pytest.raises(RuntimeError, match="Select a body that was made by Pose from Image"):
        bpy.ops.ikol.resolve()


def test_damaged_evidence_gives_a_sentence(solver, body):
    body["ikol_evidence"] = body["ikol_evidence"][:100]
    with pytest.raises(RuntimeError, match="evidence stored on this armature cannot be read"):
        bpy.ops.ikol.resolve()
    body["ikol_evidence"] = '{"version": 99}'
    with pytest.raises(RuntimeError, match=r"stored by a newer IKOL add-on \(version 99, this one reads 3\)"):
        bpy.ops.ikol.resolve()


def test_a_missing_bone_gives_a_sentence(solver, body):
    bpy.ops.object.mode_set(mode="EDIT")
    body.data.edit_bones.remove(body.data.edit_bones["L_Wrist"])
    bpy.ops.object.mode_set(mode="OBJECT")
    with pytest.raises(RuntimeError, match="lacks the bone L_Wrist"):
        bpy.ops.ikol.resolve()


@pytest.mark.parametrize("suffix", [".json", ".npz"])
def test_keypoints_of_a_file_pose_a_new_body_without_a_camera(solver, tmp_path, suffix):
    landmarks = pose_body((0, 1, 0), random_quats(1), np.zeros(10)).landmarks
    path = tmp_path / f"points{suffix}"
    points = np.array(list(landmarks.values()))
    if suffix == ".json":
        path.write_text(json.dumps({"names": list(landmarks), "points": points.tolist()}), encoding="utf-8")
    else:
        np.savez(path, names=np.array(list(landmarks)), points=points)
    assert bpy.ops.ikol.solve_keypoints(filepath=str(path)) == {"FINISHED"}
    entry = last_solve(solver)
    assert entry["request"]["camera"] is None
    assert entry["request"]["solve_shape"] is True
    assert entry["arrays"]["evidence.0.sigma"][0] == pytest.approx(0.02)
    assert not bpy.data.cameras
    assert bpy.context.view_layer.objects.active.type == "ARMATURE"


def test_a_keypoint_file_with_unknown_names_gives_a_sentence(solver, tmp_path):
    path = tmp_path / "points.json"
    path.write_text(json.dumps({"names": ["a", "b", "c", "tail"], "points": [[0, 0, 0]] * 4}), encoding="utf-8")
    with pytest.raises(RuntimeError, match=r"points\.json cannot be used: unknown point 'a'"):
        bpy.ops.ikol.solve_keypoints(filepath=str(path))
