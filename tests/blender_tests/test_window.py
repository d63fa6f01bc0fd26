# SPDX-License-Identifier: Apache-2.0
"""What needs a window, with a stand-in for it: the modal commands. The panels are in test_panel.py.

bpy as a module opens no window; the real one is tried by scripts/blender_window.
"""

import time
from types import SimpleNamespace

import bpy
import pytest


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
    operator = part("blender.solve_operator")

    class Command(operator.SolveOperator):
        def __init__(self):
            self.reports, self.results = [], []

        def report(self, kind, text):
            self.reports.append((kind, text))

        def prepare(self, _context):
            return part("core.picture_jobs").pose_from_image(photo.name, photo.read_bytes())

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
    newer = jobs.Job(part("core.picture_jobs").pose_from_image(photo.name, photo.read_bytes()))
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
