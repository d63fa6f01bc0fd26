# SPDX-License-Identifier: Apache-2.0
"""What needs a window, with a stand-in for it: the panel's drawing and the modal commands.

bpy as a module opens no window; the real one is tried by scripts/blender_window.
"""

import time
from types import SimpleNamespace

import bpy
import pytest


class RecordingLayout:
    """Takes every layout call and remembers texts, operators and progress bars."""

    def __init__(self, seen=None):
        self.seen = seen if seen is not None else SimpleNamespace(texts=[], operators=[], progress=[])

    def label(self, text="", **_options):
        self.seen.texts.append(text)

    def operator(self, name, text="", **_options):
        self.seen.operators.append((name, text))

    def progress(self, factor, text, **_options):
        self.seen.progress.append((factor, text))

    def prop(self, *_arguments, **_options):
        pass

    def _child(self, *_arguments, **_options):
        return RecordingLayout(self.seen)

    row = column = box = split = _child


def draw(panel):
    layout = RecordingLayout()
    instance = SimpleNamespace(layout=layout)
    instance._draw_notice = lambda *arguments: panel._draw_notice(instance, *arguments)
    panel.draw(instance, bpy.context)
    return layout.seen


def test_the_panel_has_one_big_button_that_follows_the_state(solver, preferences, part):
    panel = part("blender.panel").IKOL_PT_main
    assert draw(panel).operators[0] == ("ikol.start_solver", "Start Solver")
    bpy.ops.ikol.start_solver()
    assert draw(panel).operators[0] == ("ikol.pick_image", "Pose from Image")
    bpy.ops.ikol.stop_solver()
    preferences.solver_python = ""
    assert draw(panel).operators[0] == ("ikol.open_preferences", "Set Up Solver")


def test_the_panel_shows_an_error_as_a_sentence_with_its_fix(solver, photo, part):
    solver.behave("missing_module")
    with pytest.raises(RuntimeError):
        bpy.ops.ikol.pose_from_image(filepath=str(photo))
    seen = draw(part("blender.panel").IKOL_PT_main)
    assert "lacks the module solver_server" in " ".join(seen.texts)
    assert seen.operators[0] == ("ikol.open_preferences", "Open Preferences")


def test_the_panel_shows_device_and_numbers_of_the_body(body, part):
    panel, living = part("blender.panel"), part("blender.runtime").get()
    deadline = time.monotonic() + 10
    while not living.solver.state.is_ready and time.monotonic() < deadline:
        living.pump()
        time.sleep(0.005)
    assert "Solver ready (cpu)" in draw(panel.IKOL_PT_main).texts
    texts = draw(panel.IKOL_PT_body).texts
    assert "2.5 px (median)" in texts
    assert "40 mm, assumed" in texts  # 1.1 of the longer side is 39.6 mm
    assert ("ikol.resolve", "") in draw(panel.IKOL_PT_body).operators


def test_the_body_panel_says_what_to_do_without_a_body(scene, part):
    texts = draw(part("blender.panel").IKOL_PT_body).texts
    assert " ".join(texts) == "Drop a photograph into the 3D view, or select a body"


class Window:
    """The part of Blender's context that a modal command uses."""

    def __init__(self):
        self.timers, self.handlers, self.status = [], [], []
        self.window = self
        self.window_manager = SimpleNamespace(
            event_timer_add=lambda step, window: self.timers.append(step) or step,
            event_timer_remove=self.timers.remove,
            modal_handler_add=self.handlers.append,
        )
        self.workspace = SimpleNamespace(status_text_set=self.status.append)
        self.scene = bpy.context.scene


@pytest.fixture
def command(part, solver, photo):
    """A modal command that detects and solves, and counts how often it is applied."""
    operator, jobs = part("blender.solve_operator"), part("core.jobs")

    class Command(operator.SolveOperator):
        def __init__(self):
            self.reports, self.results = [], []

        def report(self, kind, text):
            self.reports.append((kind, text))

        def prepare(self, _context):
            return jobs.pose_from_image(photo.name, photo.read_bytes())

        def apply(self, _context, result):
            self.results.append(result)
            return "Done"

    return Command()


def run_modal(command, window, until, seconds=20):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        result = command.modal(window, SimpleNamespace(type="TIMER", value="NOTHING"))
        if until(result):
            return result
        time.sleep(0.005)
    raise AssertionError("the command did not end")


@pytest.fixture
def window(monkeypatch, part):
    window = Window()
    monkeypatch.setattr(part("blender.solve_operator"), "bpy", SimpleNamespace(app=SimpleNamespace(background=False)))
    return window


def test_a_modal_command_shows_progress_and_ends_once(command, window, solver):
    solver.behave("slow", seconds=0.4)
    assert command.invoke(window, None) == {"RUNNING_MODAL"}
    assert command.modal(window, SimpleNamespace(type="MOUSEMOVE", value="NOTHING")) == {"PASS_THROUGH"}
    result = run_modal(command, window, lambda result: result != {"PASS_THROUGH"})
    assert result == {"FINISHED"}
    assert len(command.results) == 1
    assert not window.timers
    assert any("Thinking" in text for text in window.status if text)
    assert window.status[-1] is None
    assert command.reports == [({"INFO"}, "Done")]


def test_escape_cancels_at_once_and_tells_the_solver(command, window, solver, part):
    solver.behave("slow", seconds=30)
    living = part("blender.runtime").get()
    command.invoke(window, None)
    run_modal(command, window, lambda _: living.solver.job is not None and living.solver.job.text == "Thinking")
    assert command.modal(window, SimpleNamespace(type="ESC", value="PRESS")) == {"CANCELLED"}
    assert living.solver.job is None
    assert not window.timers
    assert window.status[-1] is None
    deadline = time.monotonic() + 5
    while not solver.requests("Cancel") and time.monotonic() < deadline:
        living.pump()
        time.sleep(0.01)
    assert solver.requests("Cancel")[0]["request"]["target"] == solver.requests("Detect")[0]["request"]["id"]
    assert not command.results


def test_a_newer_command_takes_the_place_of_an_older_one(command, window, solver, part, photo):
    solver.behave("slow", seconds=0.3)
    jobs, living = part("core.jobs"), part("blender.runtime").get()
    command.invoke(window, None)
    run_modal(command, window, lambda _: living.solver.job is not None and living.solver.job.text == "Thinking")
    newer = jobs.Job(jobs.pose_from_image(photo.name, photo.read_bytes()))
    living.solver.submit(newer, living.config())
    assert run_modal(command, window, lambda result: result != {"PASS_THROUGH"}) == {"CANCELLED"}
    assert not command.results
    while not newer.has_ended:
        living.pump()
        time.sleep(0.005)
    assert newer.state is jobs.JobState.DONE


def test_blender_ending_the_command_cleans_up(command, window, solver, part):
    solver.behave("slow", seconds=30)
    command.invoke(window, None)
    command.cancel(window)
    assert part("blender.runtime").get().solver.job is None
    assert not window.timers
