# SPDX-License-Identifier: Apache-2.0
import pytest

from blender_addon.core import solver_state
from blender_addon.core.errors import Fix, SolverError
from blender_addon.core.solver_state import Phase, SolverState, big_button, status_line

STATES = {
    "not_installed": SolverState(Phase.NOT_INSTALLED, "no Python", Fix.OPEN_PREFERENCES),
    "stopped": SolverState(Phase.STOPPED),
    "starting": SolverState(Phase.STARTING),
    "loading": SolverState(Phase.RUNNING, device="cpu"),
    "ready": SolverState(Phase.RUNNING, device="cuda:0", is_ready=True),
    "busy": SolverState(Phase.RUNNING, device="cpu", is_ready=True, is_busy=True),
    "error": SolverState(Phase.ERROR, "it ended", Fix.OPEN_LOG),
}

BUTTONS = {
    "not_installed": ("Set Up Solver", "ikol.open_preferences", True),
    "stopped": ("Start Solver", "ikol.start_solver", True),
    "starting": ("Starting Solver", "ikol.start_solver", False),
    "loading": ("Pose from Image", "ikol.pick_image", True),
    "ready": ("Pose from Image", "ikol.pick_image", True),
    "busy": ("Cancel", "ikol.cancel", True),
    "error": ("Open Log", "ikol.open_log", True),
}


@pytest.mark.parametrize("name", STATES)
def test_every_state_has_its_big_button(name):
    button = big_button(STATES[name])
    assert (button.label, button.operator, button.is_enabled) == BUTTONS[name]


@pytest.mark.parametrize("fix", Fix)
def test_every_error_has_a_button_that_helps(fix):
    button = big_button(SolverState(Phase.ERROR, "a sentence", fix))
    assert button.is_enabled
    assert button.operator.startswith("ikol.")


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("not_installed", "Solver not set up"),
        ("stopped", "Solver stopped"),
        ("starting", "Solver is starting"),
        ("loading", "Solver loading weights (cpu)"),
        ("ready", "Solver ready (cuda:0)"),
        ("busy", "Solver busy (cpu)"),
        ("error", "Solver error"),
    ],
)
def test_the_line_above_the_button_says_state_and_device(name, line):
    assert status_line(STATES[name]) == line


def test_preferences_matter_only_while_nothing_runs():
    problem = SolverError("there is no Python at /x", Fix.OPEN_PREFERENCES)
    assert solver_state.configured(STATES["ready"], problem) == STATES["ready"]
    assert solver_state.configured(STATES["stopped"], problem).phase is Phase.NOT_INSTALLED
    assert solver_state.configured(STATES["not_installed"], None) == SolverState(Phase.STOPPED)


def test_the_device_of_a_ping_replaces_the_one_that_was_asked_for():
    state = solver_state.connected(solver_state.started(), "auto")
    assert solver_state.pinged(state, True, "cpu").device == "cpu"
    assert solver_state.pinged(state, False, "").device == "auto"
