# SPDX-License-Identifier: Apache-2.0
"""Moved handles: the body follows, one undo step, keys by the user's settings; Blender's move tool is a stand-in.

bpy as a module has no event loop: the test looks as often as Blender's timer would.
"""

import os
import signal
import time
from itertools import pairwise

import bpy
import pytest
from mathutils import Quaternion, Vector

HAND = "IKOL Left Hand"


@pytest.fixture
def watch(part, monkeypatch):
    """Moves handles as Blender's move tool does: `drag` moves, looks, and lets go."""
    live_handles = part("blender.live_handles")

    class Watch:
        by_tool = False

        def tick(self):
            bpy.context.view_layer.update()
            return live_handles.tick()

        def until_quiet(self, seconds=20.0):
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline:
                if self.tick() is None and bpy.context.view_layer is not None:
                    return True
                time.sleep(0.002)
            return False

        def look(self, seconds=0.4, until=None):
            """Tick for some time; with a condition, until it holds, however slow the machine is."""
            deadline = time.monotonic() + (seconds if until is None else 20.0)
            while time.monotonic() < deadline and not (until is not None and until()):
                self.tick()
                time.sleep(0.002)

        def drag(self, name, offset, steps=4, pushes=True):
            """As G, mouse moves, and a click, at whose end Blender makes its undo step."""
            self.by_tool = True
            thing = bpy.data.objects[name]
            for _ in range(steps):
                thing.location += Vector(offset) / steps
                self.look(0.1)
            if pushes:
                push("Move")
            self.by_tool = False
            assert self.until_quiet()

    found = Watch()
    monkeypatch.setattr(live_handles, "tool_runs", lambda _context: found.by_tool)
    monkeypatch.setattr(live_handles, "SETTLE_SECONDS", 10.0)  # a loaded machine must not make answers late
    yield found
    live_handles.watch().forget()
    bpy.context.scene.tool_settings.use_keyframe_insert_auto = False


def window():
    return bpy.context.temp_override(window=bpy.context.window_manager.windows[0])


def push(message):
    with window():
        bpy.ops.ed.undo_push(message=message)


def undo():
    with window():
        bpy.ops.ed.undo()
    bpy.context.view_layer.update()


def redo():
    with window():
        bpy.ops.ed.redo()
    bpy.context.view_layer.update()


@pytest.fixture
def ready(body, watch):
    """The posed body, with the solver's first handles seen and an undo step before the drag."""
    watch.until_quiet()
    push("before")
    return bpy.data.objects[body.name]


def state(part, name):
    """Evidence, handle and pose of a body, as plain values."""
    armature = bpy.data.objects[name]
    record = part("blender.bodies").read_record(armature)
    pose = tuple(tuple(bone.rotation_quaternion) for bone in armature.pose.bones)
    return record.edits, tuple(bpy.data.objects[HAND].location), pose


def keys_of(armature):
    curves = [curve for curve in _fcurves(armature) if "Head" in curve.data_path]
    return {curve.array_index: {point.co.x: point.co.y for point in curve.keyframe_points} for curve in curves}


def _fcurves(armature):
    action = armature.animation_data.action
    if hasattr(action, "fcurves"):
        return action.fcurves
    return [c for layer in action.layers for strip in layer.strips for bag in strip.channelbags for c in bag.fcurves]


def test_a_moved_handle_is_solved_while_it_moves(ready, watch, solver, part):
    head = ready.pose.bones["Head"]
    before = head.rotation_quaternion.copy()
    watch.by_tool = True
    bpy.data.objects[HAND].location.z += 0.1
    watch.look(until=lambda: head.rotation_quaternion != before)
    assert head.rotation_quaternion.rotation_difference(before).angle == pytest.approx(0.2, abs=1e-3)  # the fake nods
    entry = solver.requests("Solve")[-1]
    blocks = {block["type"]: block for block in entry["request"]["evidence"]}
    assert blocks["keypoints_3d"]["names"] == ["L_Wrist"]
    x, y, z = bpy.data.objects[HAND].matrix_world.translation
    index = [block["type"] for block in entry["request"]["evidence"]].index("keypoints_3d")
    assert entry["arrays"][f"evidence.{index}.points"][0] == pytest.approx([x, z, -y], abs=1e-5)


def test_a_command_takes_over_a_movement_that_waits_for_its_answer(ready, watch, solver, part):
    thing = bpy.data.objects[HAND]
    bpy.data.objects["IKOL Head"].location.z += 0.1
    watch.tick()  # asked; the answer is not looked at before the command's is applied
    thing.location.z += 0.2
    assert bpy.ops.ikol.resolve() == {"FINISHED"}
    evidence, place, _ = state(part, ready.name)
    assert evidence["L_Wrist"].position[1] == pytest.approx(thing.matrix_world.translation.z, abs=1e-5)
    watch.look(1.0)
    assert watch.until_quiet()
    assert state(part, ready.name)[:2] == (evidence, place)


def test_what_the_add_on_places_is_no_movement(ready, watch, solver):
    watch.drag(HAND, (0, 0, 0.1))
    asked = len(solver.requests("Solve"))
    watch.look(0.5)
    assert len(solver.requests("Solve")) == asked


def test_the_initial_pose_is_that_at_the_start_and_the_search_begins_at_the_newest(ready, watch, solver):
    watch.drag(HAND, (0, 0, 0.1), steps=4)
    first, *_, last = solver.requests("Solve")[1:]  # the first one of all was the photograph's
    assert last["arrays"]["initial.local_quat"] == first["arrays"]["initial.local_quat"]
    assert last["arrays"]["start.local_quat"] != first["arrays"]["start.local_quat"]
    assert last["request"]["solve_shape"] is False


def test_one_undo_restores_evidence_handle_and_pose_and_redo_brings_them_back(ready, watch, part):
    name = ready.name
    before = state(part, name)
    watch.drag(HAND, (0, 0, 0.1))
    after = state(part, name)
    assert after[0]["L_Wrist"].position is not None
    assert after[2] != before[2]
    undo()
    assert state(part, name) == before
    watch.until_quiet()
    assert state(part, name) == before
    redo()
    watch.until_quiet()
    edits, place, _ = state(part, name)
    assert edits["L_Wrist"].position == pytest.approx(after[0]["L_Wrist"].position, abs=1e-5)
    assert place == pytest.approx(after[1], abs=1e-6)
    assert bpy.data.objects[name].get("ikol_drag") is None


@pytest.mark.parametrize("is_remembered", [True, False])
def test_a_step_made_before_the_last_answer_is_completed_when_redo_comes_back_to_it(
    ready, watch, part, solver, is_remembered
):
    name = ready.name
    watch.by_tool = True
    thing = bpy.data.objects[HAND]
    thing.location.z += 0.05
    handles = part("blender.live_handles").watch()
    watch.look(until=lambda: name in handles._drags and handles._drags[name].drag.answers)
    thing.location.z += 0.05
    pid = part("blender.runtime").get().solver.pid
    os.kill(pid, signal.SIGSTOP)
    watch.tick()  # asked, not yet answered
    push("Move")
    os.kill(pid, signal.SIGCONT)
    watch.by_tool = False
    assert watch.until_quiet()
    final, after = bpy.data.objects[HAND].location.z, state(part, name)
    undo()
    redo()
    assert "ikol_drag" in bpy.data.objects[name]
    if not is_remembered:  # as after many steps
        part("blender.live_memory")._LATER.clear()
    asked = len(solver.requests("Solve"))
    assert watch.until_quiet()
    entry = solver.requests("Solve")[-1]
    assert len(solver.requests("Solve")) == asked + (not is_remembered)
    assert entry["arrays"]["initial.local_quat"] == solver.requests("Solve")[1]["arrays"]["initial.local_quat"]
    assert "ikol_drag" not in bpy.data.objects[name]
    assert not is_remembered or state(part, name) == after
    edit = part("blender.bodies").read_record(bpy.data.objects[name]).edits["L_Wrist"]
    assert edit.position[1] == pytest.approx(final, abs=1e-6)  # SMPL's y is Blender's z


def test_undo_takes_the_key_back_too(ready, watch):
    name = ready.name
    before = keys_of(ready)
    watch.drag(HAND, (0, 0, 0.1))
    assert keys_of(bpy.data.objects[name]) != before
    undo()
    assert keys_of(bpy.data.objects[name]) == before


def test_a_cancelled_tool_leaves_everything_as_it_was(ready, watch, part):
    name = ready.name
    before, keys = state(part, name), keys_of(ready)
    watch.by_tool = True
    thing = bpy.data.objects[HAND]
    start = thing.location.copy()
    thing.location.z += 0.2
    watch.look()
    assert state(part, name) != before
    thing.location = start
    watch.look(0.05)
    watch.by_tool = False
    assert watch.until_quiet()
    edits, place, pose = state(part, name)
    assert edits == before[0]
    assert place == pytest.approx(before[1], abs=1e-6)
    assert pose == before[2]
    assert keys_of(ready) == keys


def test_a_turned_hand_is_an_orientation_and_a_turned_elbow_is_nothing(ready, watch, solver):
    watch.by_tool = True
    turn = Quaternion((0, 0, 1), 0.5)
    for name in (HAND, "IKOL Left Elbow"):
        thing = bpy.data.objects[name]
        thing.rotation_quaternion = turn @ thing.rotation_quaternion
    watch.look()
    blocks = {block["type"]: block for block in solver.requests("Solve")[-1]["request"]["evidence"]}
    assert blocks["orientations"]["names"] == ["L_Wrist"]
    assert "keypoints_3d" not in blocks


def test_handles_without_an_edit_follow_and_placed_ones_stay(ready, watch, part):
    watch.drag(HAND, (0, 0, 0.1))
    record = part("blender.bodies").read_record(ready)
    bpy.context.view_layer.update()
    for point, thing in part("blender.handles").find_handles(bpy.context.scene, ready).items():
        x, y, z = record.edits[point].position if point in record.edits else record.solution.points[point]
        assert tuple(thing.matrix_world.translation) == pytest.approx((x, -z, y), abs=1e-5), point


def test_keys_on_the_frame_are_updated_and_marked(ready, watch):
    watch.drag(HAND, (0, 0, 0.1))
    assert all(set(points) == {1.0} for points in keys_of(ready).values())
    values = [keys_of(ready)[index][1.0] for index in range(4)]
    assert values == pytest.approx(list(ready.pose.bones["Head"].rotation_quaternion), abs=1e-6)
    kinds = {point.type for curve in _fcurves(ready) for point in curve.keyframe_points}
    assert kinds == {"GENERATED"}


def test_without_a_key_here_and_without_auto_keying_the_user_is_told(ready, watch, part):
    bpy.context.scene.frame_set(10)
    watch.until_quiet()
    watch.drag(HAND, (0, 0, 0.1))
    assert all(set(points) == {1.0} for points in keys_of(ready).values())
    notice = part("blender.runtime").get().notice
    assert "has no key on this frame" in str(notice)
    assert notice.fix.value == "key_pose"
    assert bpy.ops.ikol.key_pose() == {"FINISHED"}
    assert part("blender.runtime").get().notice is None
    assert all(set(points) == {1.0, 10.0} for points in keys_of(ready).values())


def test_auto_keying_sets_keys_and_undo_takes_them_back(ready, watch):
    name = ready.name
    bpy.context.scene.tool_settings.use_keyframe_insert_auto = True
    bpy.context.scene.frame_set(10)
    watch.until_quiet()
    push("frame")
    watch.drag(HAND, (0, 0, 0.1))
    assert all(set(points) == {1.0, 10.0} for points in keys_of(bpy.data.objects[name]).values())
    undo()
    assert all(set(points) == {1.0} for points in keys_of(bpy.data.objects[name]).values())


def test_a_bone_keeps_the_rotation_mode_that_the_user_chose(ready, watch):
    head = ready.pose.bones["Head"]
    head.rotation_mode = "XYZ"
    before = head.matrix_basis.to_quaternion()
    watch.drag(HAND, (0, 0, 0.1))
    assert head.rotation_mode == "XYZ"
    assert head.matrix_basis.to_quaternion().rotation_difference(before).angle == pytest.approx(0.2, abs=1e-3)


def test_a_locked_bone_does_not_move_and_the_solver_knows(ready, watch, solver):
    head = ready.pose.bones["Head"]
    head.lock_rotation = (True, True, True)
    before = tuple(head.rotation_quaternion)
    watch.drag(HAND, (0, 0, 0.1))
    assert tuple(head.rotation_quaternion) == before
    joints = solver.requests("Solve")[-1]["request"]["joints"]
    assert len(joints) == 23
    assert "Head" not in joints


def test_a_handle_that_follows_another_object_counts_where_it_is(ready, watch, solver):
    target = bpy.data.objects.new("Prop", None)
    bpy.context.collection.objects.link(target)
    target.location = (0.5, -0.2, 1.2)
    constraint = bpy.data.objects[HAND].constraints.new("COPY_LOCATION")
    constraint.target = target
    watch.look()
    index, block = next(
        (index, block)
        for index, block in enumerate(solver.requests("Solve")[-1]["request"]["evidence"])
        if block["type"] == "keypoints_3d"
    )
    assert block["names"] == ["L_Wrist"]
    points = solver.requests("Solve")[-1]["arrays"][f"evidence.{index}.points"]
    assert points[0] == pytest.approx([0.5, 1.2, 0.2], abs=1e-5)


def test_a_frame_change_is_no_movement(ready, watch, solver):
    thing = bpy.data.objects[HAND]
    thing.keyframe_insert("location", frame=1)
    thing.location.z += 0.3
    thing.keyframe_insert("location", frame=10)
    bpy.context.scene.frame_set(1)
    watch.until_quiet()
    asked = len(solver.requests("Solve"))
    bpy.context.scene.frame_set(10)
    watch.look()
    assert len(solver.requests("Solve")) == asked


def test_handles_go_along_when_bones_are_posed(ready, watch, solver):
    asked = len(solver.requests("Solve"))
    ready.pose.bones["L_Shoulder"].rotation_quaternion = (1, 0, 0, 0)
    ready.pose.bones["root"].location = (0.3, 0.1, 0.0)
    watch.look()
    for name, bone in ((HAND, "L_Wrist"), ("IKOL Hips", "Pelvis")):
        head = ready.matrix_world @ ready.pose.bones[bone].head
        assert (bpy.data.objects[name].matrix_world.translation - head).length < 1e-4
    bpy.context.scene.frame_set(30)  # the key comes back: the arm is where it was
    watch.look()
    head = ready.matrix_world @ ready.pose.bones["L_Wrist"].head
    assert (bpy.data.objects[HAND].matrix_world.translation - head).length < 1e-4
    assert len(solver.requests("Solve")) == asked


def test_animated_handles_are_solved_on_every_frame(ready, watch, solver):
    thing = bpy.data.objects[HAND]
    thing.keyframe_insert("location", frame=1)
    thing.location.z += 0.3
    thing.keyframe_insert("location", frame=5)
    asked = len(solver.requests("Solve"))
    assert bpy.ops.ikol.solve_range(frame_start=1, frame_end=5) == {"FINISHED"}
    entries = solver.requests("Solve")[asked:]
    assert len(entries) == 5
    assert all(set(points) == {1.0, 2.0, 3.0, 4.0, 5.0} for points in keys_of(ready).values())
    assert bpy.context.scene.frame_current == 1
    starts = [entry["arrays"]["initial.local_quat"] for entry in entries]
    assert starts[1] != starts[0]


def test_solving_frames_can_be_given_up_and_leaves_nothing(ready, watch, solver, cancel_after):
    thing = bpy.data.objects[HAND]
    thing.keyframe_insert("location", frame=1)
    thing.location.z += 0.3
    thing.keyframe_insert("location", frame=50)
    bpy.context.scene.frame_set(7)
    before = keys_of(ready)
    solver.behave("slow", seconds=0.2)
    bpy.ops.ikol.stop_solver()  # the next one is slow
    cancel_after(fraction=0.1)
    assert bpy.ops.ikol.solve_range(frame_start=1, frame_end=50) == {"CANCELLED"}
    assert keys_of(ready) == before
    assert bpy.context.scene.frame_current == 7


def test_quaternions_are_continuous_over_the_frames(ready, watch):
    assert bpy.ops.ikol.solve_range(frame_start=1, frame_end=40) == {"FINISHED"}  # the fake nods 0.2 rad a frame
    points = keys_of(ready)
    frames = sorted(points[0])
    assert len(frames) == 40
    for one, two in pairwise(frames):
        assert sum(points[index][one] * points[index][two] for index in range(4)) > 0.9


def test_a_copy_has_handles_of_its_own(ready, watch, solver, part):
    for thing in bpy.context.scene.objects:
        thing.select_set(True)
    bpy.ops.object.duplicate()
    copy = next(thing for thing in bpy.context.selected_objects if thing.type == "ARMATURE")
    handles = part("blender.handles").find_handles(bpy.context.scene, copy)
    assert len(handles) == 13
    watch.until_quiet()
    before = tuple(ready.pose.bones["Head"].rotation_quaternion)
    watch.drag(handles["L_Wrist"].name, (0, 0, 0.1), pushes=False)
    assert tuple(ready.pose.bones["Head"].rotation_quaternion) == before
    assert "L_Wrist" in part("blender.bodies").read_record(copy).edits
    assert not part("blender.bodies").read_record(ready).edits


def test_two_bodies_are_dragged_at_the_same_time(solver, photo, watch, part):
    solver.behave(persons=2)
    bpy.ops.ikol.pose_from_image(filepath=str(photo))
    bodies = part("blender.bodies").find_bodies(bpy.context.scene)
    watch.until_quiet()
    before = [tuple(body.pose.bones["Head"].rotation_quaternion) for body in bodies]
    watch.by_tool = True
    for body in bodies:
        part("blender.handles").find_handles(bpy.context.scene, body)["L_Wrist"].location.z += 0.1
    watch.look(1.0)
    for body, was in zip(bodies, before, strict=True):
        assert tuple(body.pose.bones["Head"].rotation_quaternion) != was
    watch.by_tool = False
    assert watch.until_quiet()
    assert all("L_Wrist" in part("blender.bodies").read_record(body).edits for body in bodies)


def test_a_file_that_is_opened_again_goes_on(ready, watch, solver, part, tmp_path):
    watch.drag(HAND, (0, 0, 0.1))
    name = ready.name
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "drag.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "drag.blend"))
    watch.look(0.2)
    asked = len(solver.requests("Solve"))
    watch.drag(HAND, (0.1, 0, 0), pushes=False)
    assert len(solver.requests("Solve")) > asked
    assert "L_Wrist" in part("blender.bodies").read_record(bpy.data.objects[name]).edits
