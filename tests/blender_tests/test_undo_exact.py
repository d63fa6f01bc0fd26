# SPDX-License-Identifier: Apache-2.0
"""Undo and redo bring back exactly what was there, whatever was dragged and whenever the answers came.

The fake solver answers here otherwise each time, from wherever the search began: a step that was only solved again
would not be what it was.
"""

import time
from types import SimpleNamespace

import bpy
import pytest

HAND = "IKOL Left Hand"


@pytest.fixture
def scene_of(body, solver, part, monkeypatch):
    """The posed body before an edit, as in a window: edits wait for their timers, which the test lets tick."""
    solver.behave("wander")
    part("blender.runtime").get().solver.close()  # it reads how to behave when it starts
    live_edit = part("blender.live_edit")
    app = SimpleNamespace(background=False, timers=SimpleNamespace(is_registered=lambda _timer: True))
    monkeypatch.setattr(live_edit, "bpy", SimpleNamespace(app=app, context=bpy.context, types=bpy.types))
    monkeypatch.setattr(part("blender.live_handles"), "tool_runs", lambda _context: False)
    settle(part)
    push("before")
    name = body.name
    yield lambda: everything(part, name)
    part("blender.live_handles").watch().forget()
    part("blender.runtime").get().free_live()


late = pytest.mark.parametrize("is_late", [False, True])
"""Whether the undo step is made before the last answer."""


def window():
    return bpy.context.temp_override(window=bpy.context.window_manager.windows[0])


def push(message):
    bpy.context.view_layer.update()
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


def until(condition, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.002)


def settle(part):
    """Let all timers tick until nothing is waited for any more."""
    live, live_edit, handles = part("blender.live"), part("blender.live_edit"), part("blender.live_handles")

    def is_quiet():
        bpy.context.view_layer.update()
        edit = live_edit._Holder.edit
        live_edit._tick()
        waits = [handles.tick(), live._tick()]
        return waits == [None, None] and (edit is None or edit.drag.is_settled)

    until(is_quiet)
    assert part("blender.runtime").get().notice is None


def everything(part, name):
    """Bones, shape, evidence, handles with their colours, and keys, as plain numbers."""
    armature = bpy.data.objects[name]
    record = part("blender.bodies").read_record(armature)
    bones = part("blender.posing").remember_bones(armature)
    betas = part("blender.armature").read_betas(armature, ())
    heads = {bone.name: tuple(bone.head_local) for bone in armature.data.bones}
    handles = part("blender.handles").find_handles(bpy.context.scene, armature)
    places = {point: (*thing.location, *thing.rotation_quaternion, *thing.color) for point, thing in handles.items()}
    places = {(point, index): number for point, numbers in places.items() for index, number in enumerate(numbers)}
    action = armature.animation_data.action
    curves = action.fcurves if hasattr(action, "fcurves") else action.layers[0].strips[0].channelbags[0].fcurves
    keys = {
        (curve.data_path, curve.array_index, key.co.x): key.co.y for curve in curves for key in curve.keyframe_points
    }
    return {"bones": bones, "betas": betas, "heads": heads, "record": record, "handles": places, "keys": keys}


def assert_same(now, wanted):
    for kind, value in wanted.items():
        # handles are placed by the record or by the bones, keys are normalised once more: the last bit of a float32
        assert now[kind] == (pytest.approx(value, abs=1e-6) if kind in {"handles", "keys"} else value), kind


def there_and_back(part, scene_of, before, after):
    """Undo and redo three times; each brings back all of what was there."""
    assert after["record"] != before["record"] or after["betas"] != before["betas"]
    assert after["bones"] != before["bones"]
    for _ in range(3):
        undo()
        settle(part)
        assert_same(scene_of(), before)
        redo()
        settle(part)
        assert_same(scene_of(), after)
    push("something else")
    undo()
    settle(part)
    assert_same(scene_of(), after)


@late
def test_a_slider_of_the_shape(scene_of, is_late, body, part):
    before = scene_of()
    for value in (0.5, 1.0, 1.5):
        bpy.context.window_manager.ikol_shape.betas[1] = value
        part("blender.live_edit")._tick()  # the first makes the step, in the slider's middle
        if not is_late:
            settle(part)
    part("blender.live_edit").finish()
    settle(part)
    after = scene_of()
    assert after["betas"][1] == 1.5
    there_and_back(part, scene_of, before, after)


def test_a_slider_within_its_pause(scene_of, body, part):
    before, name = scene_of(), body.name
    for value in (0.5, 1.0):
        bpy.context.window_manager.ikol_shape.betas[1] = value
        settle(part)
    after = scene_of()
    newest = part("blender.live_edit").newest_record(bpy.data.objects[name])
    undo()
    settle(part)
    assert_same(scene_of(), before)
    redo()
    settle(part)
    # keys are set when the slider is let go, and the record is stored with its solution: redo brings the end of it
    assert_same(scene_of(), {kind: after[kind] for kind in ("bones", "betas", "heads")} | {"record": newest})


def test_a_typed_measurement(scene_of, body, part):
    before = scene_of()
    bpy.context.window_manager.ikol_shape.height = 1.85
    part("blender.live_edit")._tick()
    settle(part)
    part("blender.live_edit").finish()
    after = scene_of()
    assert bpy.context.window_manager.ikol_shape.height == pytest.approx(1.85, abs=1e-5)
    there_and_back(part, scene_of, before, after)


def test_a_slider_without_a_solver(scene_of, preferences, body, part):
    part("blender.runtime").get().solver.close()
    preferences.solver_python = ""
    before = scene_of()
    for value in (0.5, 1.0):
        bpy.context.window_manager.ikol_shape.betas[1] = value
        part("blender.live_edit")._tick()
    part("blender.live_edit").finish()
    after = scene_of()
    assert after["betas"] != before["betas"]
    for _ in range(2):
        undo()
        settle(part)
        assert_same(scene_of(), before)
        redo()
        settle(part)
        assert_same(scene_of(), after)
    assert part("blender.runtime").get().notice is None


@late
def test_a_drag_over_the_photograph(scene_of, is_late, body, part):
    before = scene_of()
    drag = part("blender.live").LiveDrag(bpy.context, body)
    for answers, offset in ((1, (3.0, 0.0)), (0 if is_late else 2, (5.0, 2.0))):
        drag.update(part("core.photo_view").nudged(drag.record, ("nose",), offset))
        until(lambda answers=answers: drag.pump(bpy.context) is not None and drag.answers >= answers)
    drag.finish(bpy.context, "Drag Keypoint")
    settle(part)
    there_and_back(part, scene_of, before, scene_of())


def test_a_panel_edit_is_finished_before_its_answer(scene_of, body, part):
    before = scene_of()
    mute = part("core.keypoints").mute
    part("blender.live_edit").begin(bpy.context, body, lambda record: mute(record, ("nose",)), "Mute Keypoint")
    settle(part)
    there_and_back(part, scene_of, before, scene_of())


@late
def test_a_handle(scene_of, is_late, body, part, monkeypatch):
    handles, tool = part("blender.live_handles"), ["runs"]
    monkeypatch.setattr(handles, "tool_runs", lambda _context: bool(tool))
    before, name = scene_of(), body.name

    def is_answered(answers):
        bpy.context.view_layer.update()
        handles.tick()
        return handles.watch()._drags[name].drag.answers >= answers

    for answers in (1, 0 if is_late else 2):
        bpy.data.objects[HAND].location.z += 0.05
        until(lambda answers=answers: is_answered(answers))
    push("Move")  # Blender's, when its tool ends
    tool.clear()
    settle(part)
    there_and_back(part, scene_of, before, scene_of())


def test_a_handle_moved_again_before_the_answer_is_two_steps(scene_of, body, part, monkeypatch):
    handles, tool = part("blender.live_handles"), []
    monkeypatch.setattr(handles, "tool_runs", lambda _context: bool(tool))
    before, places = scene_of(), []
    for _ in range(2):
        tool.append("runs")
        bpy.data.objects[HAND].location.z += 0.05
        bpy.context.view_layer.update()
        handles.tick()
        push("Move")
        tool.clear()
        places.append(bpy.data.objects[HAND].location.z)
        bpy.context.view_layer.update()
        handles.tick()
    settle(part)
    after = scene_of()
    undo()  # of the step that the add-on made, as no answer was in Blender's own
    undo()
    settle(part)
    assert bpy.data.objects[HAND].location.z == pytest.approx(places[0], abs=1e-6)
    undo()
    settle(part)
    assert_same(scene_of(), before)
    for _ in range(3):
        redo()
    settle(part)
    assert_same(scene_of(), after)


def test_a_step_that_nobody_remembers_is_solved_again(scene_of, body, part, solver):
    before, name = scene_of(), body.name
    shape = bpy.context.window_manager.ikol_shape
    shape.betas[1] = 0.5
    part("blender.live_edit")._tick()
    settle(part)
    part("blender.live_memory")._LATER.clear()  # as after many steps
    undo()
    settle(part)
    assert_same(scene_of(), before)
    asked = len(solver.requests("Solve"))
    redo()
    settle(part)
    assert len(solver.requests("Solve")) == asked + 1
    assert "ikol_drag" not in bpy.data.objects[name]
