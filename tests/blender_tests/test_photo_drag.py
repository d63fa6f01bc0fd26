# SPDX-License-Identifier: Apache-2.0
"""A drag over the photograph with a stand-in for the window: mouse events in, record, pose and undo steps out."""

import time
from types import FunctionType, SimpleNamespace

import bpy
import pytest

STEP = (2.0, 3.0)
"""Pixels of the region for one of the picture; unequal, so that no axis can be mistaken."""
TOP = 900.0


@pytest.fixture
def window(part, body, monkeypatch):
    """A 3D view that shows the picture's top left corner at (0, 900), with what a modal command asks of it."""
    scene, drag = part("blender.photo_scene"), part("blender.photo_drag")
    view = part("core.photo_view").PhotoView((0.0, TOP), (STEP[0], 0.0), (0.0, -STEP[1]))
    window = SimpleNamespace(timers=[], status=[], steps=[], window=None, screen=None)
    window.scene, window.preferences, window.view_layer = (
        bpy.context.scene,
        bpy.context.preferences,
        bpy.context.view_layer,
    )
    window.window_manager = SimpleNamespace(
        event_timer_add=lambda seconds, window: object() if seconds else None,
        event_timer_remove=lambda _timer: window.timers.append("removed"),
        modal_handler_add=lambda _operator: None,
    )
    window.workspace = SimpleNamespace(status_text_set=window.status.append)

    def photo_scene(_context):
        armature = bpy.data.objects[body.name]
        return scene.PhotoScene(armature, scene.newest_record(armature), view, 1.0)

    monkeypatch.setattr(drag, "photo_scene", photo_scene)
    monkeypatch.setattr(part("blender.live"), "push_undo", window.steps.append)
    monkeypatch.setattr(drag, "push_undo", window.steps.append)
    window.view = view
    yield window
    scene.STATE.dragged = None


@pytest.fixture
def command(part):
    """The drag's own methods on a plain object: Blender makes no operator objects without a window."""
    drag = part("blender.photo_drag")
    names = {name: value for name, value in vars(drag.IKOL_OT_drag_point).items() if isinstance(value, FunctionType)}
    reports = []
    names["report"] = lambda _self, kind, text: reports.append((kind, text))
    names["reports"] = reports
    return type("Drag", (drag.PhotoOperator,), names)()


def event(kind, at=(0, 0), value="PRESS", shift=False):
    return SimpleNamespace(type=kind, value=value, shift=shift, mouse_region_x=at[0], mouse_region_y=at[1])


def press(command, window, body, part, name="left_wrist"):
    record = part("blender.bodies").read_record(body)
    pixel = part("core.keypoints").target_pixel(record, name)
    at = window.view.to_region(pixel)
    assert command.invoke(window, event("LEFTMOUSE", at)) == {"RUNNING_MODAL"}
    return at, pixel


def pump_until(command, window, condition):
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        result = command.modal(window, event("TIMER", value="NOTHING"))
        if condition(result):
            return result
        time.sleep(0.005)
    raise AssertionError("it did not happen")


def release(command, window, at):
    """Let the button go and wait for the end of the command."""
    result = command.modal(window, event("LEFTMOUSE", at, "RELEASE"))
    if result != {"RUNNING_MODAL"}:
        return result
    return pump_until(command, window, lambda result: result != {"RUNNING_MODAL"})


def test_the_point_follows_the_mouse_at_once_and_the_body_with_the_answer(command, window, body, part):
    scene, bodies = part("blender.photo_scene"), part("blender.bodies")
    head = body.pose.bones["Head"].rotation_quaternion.copy()
    (x, y), pixel = press(command, window, body, part)
    command.modal(window, event("MOUSEMOVE", (x + 60, y - 30)))
    moved = (pixel[0] + 30, pixel[1] + 10)
    assert scene.newest_record(body).edits["left_wrist"].pixel == pytest.approx(moved)
    assert not bodies.read_record(body).edits  # nothing is stored before the end
    pump_until(command, window, lambda _: body.pose.bones["Head"].rotation_quaternion != head)
    assert release(command, window, (x + 60, y - 30)) == {"FINISHED"}
    assert bodies.read_record(body).edits["left_wrist"].pixel == pytest.approx(moved)
    assert window.steps == ["Drag Keypoint"]
    assert window.timers == ["removed"]
    assert window.status[-1] is None
    assert scene.STATE.dragged is None


def test_all_selected_points_go_along(command, window, body, part):
    part("blender.selection").select_points(body, ["left_wrist", "nose"], "nose")
    (x, y), _ = press(command, window, body, part)
    command.modal(window, event("MOUSEMOVE", (x + 20, y)))
    assert set(part("blender.photo_scene").newest_record(body).edits) == {"left_wrist", "nose"}
    assert part("blender.selection").active_point(body) == "left_wrist"
    command.cancel(window)


@pytest.mark.parametrize("kind", ["ESC", "RIGHTMOUSE"])
def test_a_cancelled_drag_leaves_nothing_behind(command, window, body, part, kind):
    before = body["ikol_evidence"]
    head = body.pose.bones["Head"].rotation_quaternion.copy()
    (x, y), _ = press(command, window, body, part)
    command.modal(window, event("MOUSEMOVE", (x + 60, y)))
    pump_until(command, window, lambda _: body.pose.bones["Head"].rotation_quaternion != head)
    assert command.modal(window, event(kind)) == {"CANCELLED"}
    assert body.pose.bones["Head"].rotation_quaternion == head
    assert body["ikol_evidence"] == before
    assert window.steps == []
    assert part("blender.photo_scene").STATE.dragged is None


def test_a_click_selects_one_point_and_moves_nothing(command, window, body, part, solver):
    part("blender.selection").select_points(body, ["left_wrist", "nose"], "nose")
    solves = len(solver.requests("Solve"))
    (x, y), _ = press(command, window, body, part)
    command.modal(window, event("MOUSEMOVE", (x + 2, y)))
    assert command.modal(window, event("LEFTMOUSE", (x + 2, y), "RELEASE")) == {"FINISHED"}
    assert part("blender.selection").selected_points(body) == ("left_wrist",)
    assert window.steps == ["Select Keypoint"]
    assert len(solver.requests("Solve")) == solves


def test_an_empty_place_is_left_to_the_box(command, window, body):
    assert command.invoke(window, event("LEFTMOUSE", (5000, 5000))) == {"PASS_THROUGH"}


def test_shift_makes_the_point_slower_than_the_mouse(command, window, body, part):
    (x, y), pixel = press(command, window, body, part)
    command.modal(window, event("MOUSEMOVE", (x + 200, y), shift=True))
    moved = part("blender.photo_scene").newest_record(body).edits["left_wrist"].pixel
    assert moved == pytest.approx((pixel[0] + 10, pixel[1]))
    command.cancel(window)


def test_while_the_solver_is_silent_the_point_moves_on_and_the_edit_is_kept(command, window, body, part, solver):
    living = part("blender.runtime").get()
    living.solver.stop()
    solver.behave("mute")
    (x, y), pixel = press(command, window, body, part)
    command.modal(window, event("MOUSEMOVE", (x + 60, y)))
    pump_until(command, window, lambda _: any(text and "waiting for the solver" in text for text in window.status))
    command.modal(window, event("MOUSEMOVE", (x + 80, y)))
    assert release(command, window, (x + 80, y)) == {"FINISHED"}
    record = part("blender.bodies").read_record(body)
    assert record.edits["left_wrist"].pixel == pytest.approx((pixel[0] + 40, pixel[1]))


def test_a_drag_that_cannot_begin_says_why(command, window, body, part, preferences):
    (x, y), _ = press(command, window, body, part)
    bpy.context.scene.ikol.part = "BONES"
    assert command.modal(window, event("MOUSEMOVE", (x + 60, y))) == {"CANCELLED"}
    (report,) = command.reports
    assert report[0] == {"ERROR"}
    assert "no bone is selected" in report[1].lower()
    assert window.timers == ["removed"]


def test_the_armature_may_go_in_the_middle(command, window, body, part):
    (x, y), _ = press(command, window, body, part)
    command.modal(window, event("MOUSEMOVE", (x + 60, y)))
    bpy.data.objects.remove(body)
    result = pump_until(command, window, lambda result: result != {"RUNNING_MODAL"})
    assert result == {"CANCELLED"}
    assert "is gone" in command.reports[0][1]


def test_a_view_that_is_turned_away_leaves_the_point_where_it_is(command, window, body, part, monkeypatch):
    drag, errors, scene = part("blender.photo_drag"), part("core.errors"), part("blender.photo_scene")

    def turned_away(_context):
        raise errors.SceneError("the view does not look through the camera of the photograph")

    (x, y), _ = press(command, window, body, part)
    command.modal(window, event("MOUSEMOVE", (x + 60, y)))
    before = scene.newest_record(body).edits
    monkeypatch.setattr(drag, "photo_scene", turned_away)
    assert command.modal(window, event("MOUSEMOVE", (x + 90, y))) == {"RUNNING_MODAL"}
    assert scene.newest_record(body).edits == before
    assert release(command, window, (x + 90, y)) == {"FINISHED"}
