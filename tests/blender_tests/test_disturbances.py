# SPDX-License-Identifier: Apache-2.0
"""A drag or a solve is under way, and something else happens: another file or scene, undo, deletion, another mode."""

import os
import signal
import time

import bpy
import pytest

HAND = "IKOL Left Hand"


def window():
    return bpy.context.temp_override(window=bpy.context.window_manager.windows[0])


def until(condition, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.002)


@pytest.fixture
def frozen(part):
    """The solver process stands still for the time of a `with`."""

    class Frozen:
        def __enter__(self):
            self.pid = part("blender.runtime").get().solver.pid
            os.kill(self.pid, signal.SIGSTOP)

        def __exit__(self, *_):
            os.kill(self.pid, signal.SIGCONT)

    return Frozen()


@pytest.fixture
def drag(body, part):
    """A drag of the body that has got one answer."""
    drag = part("blender.live").LiveDrag(bpy.context, body)
    drag.update(nudged(part, drag))
    until(lambda: drag.pump(bpy.context) or drag.is_settled)
    yield drag
    part("blender.live_handles").watch().forget()
    part("blender.runtime").get().free_live()


def nudged(part, drag, pixels=4.0):
    return part("core.photo_view").nudged(drag.record, ("nose",), (pixels, 0.0))


def pose_of(name):
    return [tuple(bone.rotation_quaternion) for bone in bpy.data.objects[name].pose.bones]


def tick(part):
    bpy.context.view_layer.update()
    part("blender.live_edit")._tick()
    part("blender.live")._tick()
    part("blender.live_handles").tick()


def look(part, seconds=0.5):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        tick(part)
        time.sleep(0.005)


def key_frames(armature):
    action = armature.animation_data.action
    curves = action.fcurves if hasattr(action, "fcurves") else action.layers[0].strips[0].channelbags[0].fcurves
    return {key.co.x for curve in curves for key in curve.keyframe_points}


def test_a_late_answer_does_not_reach_the_body_of_another_file(drag, part, frozen, tmp_path):
    name, path = drag.name, str(tmp_path / "same.blend")
    drag.cancel(bpy.context)
    bpy.ops.wm.save_as_mainfile(filepath=path)
    again = part("blender.live").LiveDrag(bpy.context, bpy.data.objects[name])
    with frozen:
        again.update(nudged(part, again))
        again.finish(bpy.context, "Drag Keypoint")
        bpy.ops.wm.open_mainfile(filepath=path)
        before, evidence = pose_of(name), bpy.data.objects[name]["ikol_evidence"]
    look(part)
    assert pose_of(name) == before
    assert bpy.data.objects[name]["ikol_evidence"] == evidence


@pytest.mark.parametrize("kind", ["slider", "handle"])
def test_another_file_in_the_middle_of_a_movement(drag, part, frozen, tmp_path, kind):
    name, path = drag.name, str(tmp_path / "same.blend")
    drag.cancel(bpy.context)
    bpy.ops.wm.save_as_mainfile(filepath=path)
    look(part, 0.1)
    with frozen:
        if kind == "slider":
            live_edit = part("blender.live_edit")
            edit = live_edit._Edit(part("blender.live").LiveDrag(bpy.context, bpy.data.objects[name]), "Shape")
            edit.change(lambda record: part("core.photo_view").nudged(record, ("nose",), (3.0, 0.0)))
            live_edit._Holder.edit = edit
        else:
            bpy.data.objects[HAND].location.z += 0.1
        look(part, 0.1)
        bpy.ops.wm.open_mainfile(filepath=path)
        before, evidence = pose_of(name), bpy.data.objects[name]["ikol_evidence"]
    look(part, 1.0)
    assert pose_of(name) == before
    assert bpy.data.objects[name]["ikol_evidence"] == evidence
    assert part("blender.runtime").get().notice is None


def test_another_scene_in_the_middle_of_a_drag_gets_no_key(drag, part, frozen):
    armature = bpy.data.objects[drag.name]
    frames, first = key_frames(armature), bpy.context.window_manager.windows[0].scene
    with frozen:
        drag.update(nudged(part, drag))
        drag.finish(bpy.context, "Drag Keypoint")
        other = bpy.data.scenes.new("Other")
        other.frame_current = 20
        bpy.context.window_manager.windows[0].scene = other
        assert bpy.context.scene == other
    look(part)
    assert "ikol_drag" not in armature
    assert key_frames(armature) == frames
    bpy.context.window_manager.windows[0].scene = first
    look(part, 0.1)
    handles = part("blender.handles").find_handles(first, armature)
    assert not any("ikol_drag" in thing for thing in handles.values())


def test_a_deleted_body_in_the_middle_of_a_handles_movement(body, part, frozen):
    look(part, 0.2)
    watch = part("blender.live_handles").watch()
    with frozen:
        bpy.data.objects[HAND].location.z += 0.1
        look(part, 0.1)
        assert watch._drags
        bpy.data.objects.remove(body)
    look(part, 0.7)
    assert "is gone" in str(part("blender.runtime").get().notice)
    assert not watch._drags


def test_a_deleted_camera_in_the_middle_of_a_drag(drag, part):
    camera = part("blender.bodies").body_camera(bpy.data.objects[drag.name])
    bpy.data.objects.remove(camera)
    drag.update(nudged(part, drag))
    answers = drag.answers
    until(lambda: drag.pump(bpy.context) is not None and drag.answers > answers)
    drag.finish(bpy.context, "Drag Keypoint")
    part("blender.live").LiveDrag(bpy.context, bpy.data.objects[drag.name]).cancel(bpy.context)  # the next one begins


def test_a_deleted_handle_in_the_middle_of_a_drag(drag, part):
    bpy.data.objects.remove(bpy.data.objects[HAND])
    drag.update(nudged(part, drag))
    answers = drag.answers
    until(lambda: drag.pump(bpy.context) is not None and drag.answers > answers)
    drag.finish(bpy.context, "Drag Keypoint")
    assert part("blender.runtime").get().notice is None


def test_edit_mode_in_the_middle_of_a_drag(drag, part):
    armature = bpy.data.objects[drag.name]
    bpy.context.view_layer.objects.active = armature
    bpy.ops.object.mode_set(mode="EDIT")
    drag.update(nudged(part, drag))
    answers = drag.answers
    until(lambda: drag.pump(bpy.context) is not None and drag.answers > answers)
    drag.finish(bpy.context, "Drag Keypoint")
    assert armature.mode == "EDIT"
    bpy.ops.object.mode_set(mode="OBJECT")


@pytest.mark.parametrize("what", ["rename", "remove"])
def test_a_body_that_goes_while_it_is_solved_again(body, part, solver, what, monkeypatch):
    runtime = part("blender.runtime")
    pump, name = runtime.Runtime.pump, body.name

    def disturb(living):
        pump(living)
        thing = bpy.data.objects.get(name)
        if living.solver.job is not None and living.solver.state.phase.value == "busy" and thing is not None:
            if what == "rename":
                thing.name = "Renamed"
            else:
                bpy.data.objects.remove(thing)

    solver.behave("slow", seconds=0.3)
    runtime.get().solver.close()
    monkeypatch.setattr(runtime.Runtime, "pump", disturb)
    with pytest.raises(RuntimeError, match="is gone; nothing was changed"):
        bpy.ops.ikol.resolve()


def test_undo_of_the_body_itself_while_a_slider_moves(body, part):
    live_edit, live = part("blender.live_edit"), part("blender.live")
    bpy.ops.object.select_all(action="DESELECT")
    name = body.name
    live.push_undo("posed")
    edit = live_edit._Edit(live.LiveDrag(bpy.context, body), "Shape")
    edit.change(lambda record: part("core.photo_view").nudged(record, ("nose",), (3.0, 0.0)))
    edit.pause = 60.0
    live_edit._Holder.edit = edit
    live_edit._tick()
    for _ in range(6):
        with window():
            if not bpy.ops.ed.undo.poll():
                break
            bpy.ops.ed.undo()
        look(part, 0.05)
    look(part, 0.5)
    assert live_edit._Holder.edit is None
    assert name not in bpy.data.objects or part("blender.runtime").get().notice is None


def test_undo_while_the_body_is_solved_again_ends_the_solve_and_keeps_what_undo_brought_back(
    body, part, solver, monkeypatch
):
    runtime, live, name = part("blender.runtime"), part("blender.live"), body.name
    live.push_undo("posed")
    before = pose_of(name)
    assert bpy.ops.ikol.drag_point(point="left_wrist", offset=(20.0, 0.0)) == {"FINISHED"}  # makes its step
    pump, undone = runtime.Runtime.pump, []

    def disturb(living):
        pump(living)
        if living.solver.job is not None and living.solver.state.phase.value == "busy" and not undone:
            with window():
                undone.append(bpy.ops.ed.undo())

    solver.behave("slow", seconds=0.3)
    runtime.get().solver.close()
    monkeypatch.setattr(runtime.Runtime, "pump", disturb)
    assert bpy.ops.ikol.resolve() == {"CANCELLED"}
    assert undone == [{"FINISHED"}]
    assert "left_wrist" not in part("blender.bodies").read_record(bpy.data.objects[name]).edits
    look(part, 0.3)
    assert "ikol_drag" not in bpy.data.objects[name]
    assert pose_of(name) == before
