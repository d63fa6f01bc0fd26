# SPDX-License-Identifier: Apache-2.0
"""Handles that keys, constraints or parents place: they count also when they stand still, and only where they are."""

import bpy
import pytest

HAND, FOOT = "IKOL Left Hand", "IKOL Left Foot"


def points_of(entry):
    """The places in space of a question to the solver, by point."""
    for index, block in enumerate(entry["request"]["evidence"]):
        if block["type"] == "keypoints_3d":
            return dict(zip(block["names"], entry["arrays"][f"evidence.{index}.points"], strict=True))
    return {}


def place(armature, name):
    """Where a handle is in the SMPL world of the body, which stands at the origin."""
    bpy.context.view_layer.update()
    x, y, z = (armature.matrix_world.inverted() @ bpy.data.objects[name].matrix_world).translation
    return pytest.approx([x, z, -y], abs=1e-5)


def drag(part, armature, point="R_Wrist"):
    """One live drag of another joint, without a mouse."""
    live, keypoints = part("blender.live"), part("core.keypoints")
    found = live.LiveDrag(bpy.context, armature)
    x, y, z = found.record.solution.points[point]
    found.update(keypoints.move_positions(found.record, {point: (x, y + 0.01, z)}))
    part("blender.runtime").get().solver.settle(20.0)
    found.pump(bpy.context)
    found.finish(bpy.context, "Move")


def key(name, last, offset=0.0):
    thing = bpy.data.objects[name]
    thing.keyframe_insert("location", frame=1)
    thing.location.z += offset
    thing.keyframe_insert("location", frame=last)
    bpy.context.scene.frame_set(1)


@pytest.mark.parametrize("use_picture", [True, False])
def test_a_keyed_handle_that_stands_still_counts_on_every_frame(body, solver, use_picture):
    key(FOOT, 3)
    asked = len(solver.requests("Solve"))
    assert bpy.ops.ikol.solve_range(frame_start=1, frame_end=3, use_picture=use_picture) == {"FINISHED"}
    entries = solver.requests("Solve")[asked:]
    assert len(entries) == 3
    for entry in entries:
        assert points_of(entry)["L_Ankle"] == place(body, FOOT)


def test_the_places_of_one_frame_are_not_kept_as_edits(body, solver, part):
    key(HAND, 5, 0.2)
    bpy.context.scene.frame_set(5)
    assert bpy.ops.ikol.solve_range(frame_start=1, frame_end=5) == {"FINISHED"}
    assert part("blender.bodies").read_record(body).edits == {}


def test_what_the_user_says_while_frames_are_solved_is_kept(body, part, monkeypatch):
    bodies, keypoints = part("blender.bodies"), part("core.keypoints")
    operator = part("blender.key_operators").IKOL_OT_solve_range
    apply = operator.apply

    def late(self, context, result):
        bodies.write_record(body, keypoints.mute(bodies.read_record(body), ("nose",)))
        return apply(self, context, result)

    monkeypatch.setattr(operator, "apply", late)
    assert bpy.ops.ikol.solve_range(frame_start=1, frame_end=2) == {"FINISHED"}
    assert bodies.read_record(body).edits["nose"].is_muted


def test_a_drag_of_another_joint_keeps_a_keyed_hand_at_its_handle(body, solver, part):
    key(HAND, 5, 0.2)
    for frame in (1, 5):
        bpy.context.scene.frame_set(frame)
        drag(part, body)
        points = points_of(solver.requests("Solve")[-1])
        assert points.keys() == {"L_Wrist", "R_Wrist"}
        assert points["L_Wrist"] == place(body, HAND)
    assert set(part("blender.bodies").read_record(body).edits) == {"R_Wrist"}


def test_a_handle_that_is_only_turned_by_keys_says_nothing_of_its_place(body, part):
    handles = part("blender.handles")
    thing = bpy.data.objects[HAND]
    thing.keyframe_insert("rotation_quaternion", frame=1)
    driven = handles.find_driven(body, handles.find_handles(bpy.context.scene, body))
    assert (driven.moved, driven.turned) == (set(), {"L_Wrist"})
    bpy.data.objects[FOOT].constraints.new("COPY_LOCATION")
    driven = handles.find_driven(body, handles.find_handles(bpy.context.scene, body))
    assert (driven.moved, driven.turned) == ({"L_Ankle"}, {"L_Wrist"})
    bpy.data.objects[FOOT].constraints[0].influence = 0.0
    thing.hide_viewport = True  # then Blender does not evaluate its keys
    driven = handles.find_driven(body, handles.find_handles(bpy.context.scene, body))
    assert (driven.moved, driven.turned) == (set(), set())


def test_a_handle_on_another_bone_of_its_body_is_read_where_it_is(body, part):
    handles = part("blender.handles")
    thing = bpy.data.objects[HAND]
    before = handles.read_handles(body, {"L_Wrist": thing})["L_Wrist"]
    at = thing.matrix_world.copy()
    thing.parent_bone = "Head"
    thing.matrix_world = at
    bpy.context.view_layer.update()
    assert handles.is_driven(thing, body)
    now = handles.read_handles(body, {"L_Wrist": thing})["L_Wrist"]
    assert now.position == pytest.approx(before.position, abs=1e-5)
