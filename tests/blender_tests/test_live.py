# SPDX-License-Identifier: Apache-2.0
"""One drag from its start to its undo step: what finish stores, what cancel gives back, what goes wrong meanwhile."""

import os
import signal
import time

import bpy
import pytest


def undo():
    with bpy.context.temp_override(window=bpy.context.window_manager.windows[0]):
        bpy.ops.ed.undo()


@pytest.fixture
def begin(body, part):
    """Begins a drag of the posed body."""
    bpy.context.view_layer.update()
    part("blender.live").push_undo("before")
    armature = bpy.data.objects[body.name]

    def make(joints=()):
        return part("blender.live").LiveDrag(bpy.context, armature, joints)

    yield make
    part("blender.runtime").get().free_live()


def raised(part, drag, metres=0.1):
    x, y, z = drag.record.solution.points["L_Wrist"]
    return part("core.keypoints").move_positions(drag.record, {"L_Wrist": (x, y + metres, z)})


def pump(drag, seconds=20.0):
    """Look until every wish is fulfilled, as a timer does; return how often something changed."""
    changes, deadline = 0, time.monotonic() + seconds
    while time.monotonic() < deadline:
        changes += drag.pump(bpy.context)
        if drag.is_settled:
            return changes
        time.sleep(0.002)
    raise AssertionError("the drag did not settle")


def pose_of(name):
    return [tuple(bone.rotation_quaternion) for bone in bpy.data.objects[name].pose.bones]


def test_finish_stores_and_one_undo_takes_all_back(begin, part):
    drag = begin()
    before = pose_of(drag.name)
    drag.update(raised(part, drag))
    assert pump(drag) == 1
    drag.finish(bpy.context, "Drag")
    read = part("blender.bodies").read_record
    assert read(bpy.data.objects[drag.name]).edits["L_Wrist"].position is not None
    assert pose_of(drag.name) != before
    undo()
    assert not read(bpy.data.objects[drag.name]).edits
    assert pose_of(drag.name) == before


def test_cancel_gives_everything_back(begin, part):
    drag = begin()
    armature = bpy.data.objects[drag.name]
    before, text = pose_of(drag.name), armature["ikol_evidence"]
    places = {thing.name: tuple(thing.location) for thing in bpy.data.objects if thing.type == "EMPTY"}
    drag.update(raised(part, drag))
    pump(drag)
    drag.cancel(bpy.context)
    assert pose_of(drag.name) == before
    assert armature["ikol_evidence"] == text
    for name, place in places.items():
        assert tuple(bpy.data.objects[name].location) == pytest.approx(place, abs=1e-6)


def test_of_many_wishes_the_newest_is_fulfilled(begin, part, solver):
    drag = begin()
    asked = len(solver.requests("Solve"))
    for number in range(50):
        drag.update(raised(part, drag, 0.01 * number))
    pump(drag)
    entries = solver.requests("Solve")[asked:]
    assert len(entries) < 5
    index = [block["type"] for block in entries[-1]["request"]["evidence"]].index("keypoints_3d")
    height = entries[-1]["arrays"][f"evidence.{index}.points"][0][1]
    assert height == pytest.approx(drag.record.edits["L_Wrist"].position[1], abs=1e-6)


def test_only_the_joints_of_the_part_are_sent(begin, part, solver):
    drag = begin(("L_Shoulder", "L_Elbow"))
    drag.update(raised(part, drag))
    pump(drag)
    assert solver.requests("Solve")[-1]["request"]["joints"] == ["L_Shoulder", "L_Elbow"]


def test_a_killed_solver_comes_back_in_the_middle_of_a_drag(begin, part):
    drag = begin()
    drag.update(raised(part, drag))
    pump(drag)
    os.kill(part("blender.runtime").get().solver.pid, signal.SIGKILL)
    drag.update(raised(part, drag, 0.2))
    began = time.monotonic()
    assert pump(drag) == 1
    assert drag.error is None
    assert time.monotonic() - began < 15


def test_no_look_waits_for_a_frozen_solver(begin, part):
    drag = begin()
    drag.update(raised(part, drag))
    pump(drag)
    pid = part("blender.runtime").get().solver.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        slowest = 0.0
        for number in range(100):
            began = time.perf_counter()
            drag.update(raised(part, drag, 0.01 * number))
            drag.pump(bpy.context)
            slowest = max(slowest, time.perf_counter() - began)
        assert slowest < 0.1, f"{slowest * 1e3:.0f} ms"  # 1 ms alone; other processes may take the core meanwhile
        assert not drag.is_settled
    finally:
        os.kill(pid, signal.SIGCONT)
    assert pump(drag) >= 1


def test_a_deleted_body_ends_the_drag_with_a_sentence(begin, part):
    drag = begin()
    drag.update(raised(part, drag))
    bpy.data.objects.remove(bpy.data.objects[drag.name])
    with pytest.raises(part("core.errors").SceneError, match="is gone"):
        pump(drag)


def test_a_dropped_drag_leaves_the_solver_to_the_next_one(begin, part):
    first = begin()
    first.update(raised(part, first))
    del first
    second = begin()
    second.update(raised(part, second))
    assert pump(second) >= 1
