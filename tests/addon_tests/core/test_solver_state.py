# SPDX-License-Identifier: Apache-2.0
import pytest

from blender_addon.core import solver_state
from blender_addon.core.errors import Fix, SolverError
from blender_addon.core.solver_state import Phase, SolverState, big_button, status_line

STATES = {
    "not_installed": SolverState(Phase.NOT_INSTALLED, "nothing is there", Fix.INSTALL),
    "incomplete": SolverState(Phase.NOT_INSTALLED, "no network", Fix.INSTALL, is_incomplete=True),
    "offline": SolverState(Phase.NOT_INSTALLED, "it may not go online", Fix.ALLOW_ONLINE),
    "wrong_python": SolverState(Phase.NOT_INSTALLED, "no Python", Fix.OPEN_PREFERENCES),
    "installing": SolverState(Phase.INSTALLING, work="fetching torch", fraction=0.5),
    "stopped": SolverState(Phase.STOPPED),
    "starting": SolverState(Phase.STARTING),
    "restarting": SolverState(Phase.STARTING, "it ended; it is started again"),
    "loading": SolverState(Phase.RUNNING, device="cpu"),
    "ready": SolverState(Phase.RUNNING, device="cuda:0", is_ready=True),
    "busy": SolverState(Phase.BUSY, device="cpu", is_ready=True, is_busy=True),
    "unresponsive": SolverState(Phase.UNRESPONSIVE, "it does not answer", Fix.START, "cpu", is_ready=True),
    "update_needed": SolverState(Phase.UPDATE_NEEDED, "protocol 1 and 2", Fix.OPEN_PREFERENCES),
    "error": SolverState(Phase.ERROR, "it ended", Fix.OPEN_LOG),
}

BUTTONS = {
    "not_installed": ("Install Solver", "ikol.install_solver", True),
    "incomplete": ("Continue Installation", "ikol.install_solver", True),
    "offline": ("Allow Online Access", "ikol.allow_online", True),
    "wrong_python": ("Open Preferences", "ikol.open_preferences", True),
    "installing": ("Cancel Installation", "ikol.cancel_install", True),
    "stopped": ("Start Solver", "ikol.start_solver", True),
    "starting": ("Starting Solver", "ikol.start_solver", False),
    "restarting": ("Starting Solver", "ikol.start_solver", False),
    "loading": ("Pose from Image", "ikol.pick_image", True),
    "ready": ("Pose from Image", "ikol.pick_image", True),
    "busy": ("Cancel", "ikol.cancel", True),
    "unresponsive": ("Restart Solver", "ikol.start_solver", True),
    "update_needed": ("Update Solver", "ikol.open_preferences", True),
    "error": ("Open Log", "ikol.open_log", True),
}

LINES = {
    "not_installed": "Solver not installed",
    "incomplete": "Installation incomplete",
    "offline": "Solver not installed",
    "wrong_python": "Solver not installed",
    "installing": "Installing solver",
    "stopped": "Solver stopped",
    "starting": "Solver is starting",
    "restarting": "Solver is starting again",
    "loading": "Solver loading weights (cpu)",
    "ready": "Solver ready (cuda:0)",
    "busy": "Solver busy (cpu)",
    "unresponsive": "Solver does not answer (cpu)",
    "update_needed": "Solver of another version",
    "error": "Solver error",
}


@pytest.mark.parametrize("name", STATES)
def test_every_state_has_its_big_button(name):
    button = big_button(STATES[name])
    assert (button.label, button.operator, button.is_enabled) == BUTTONS[name]


@pytest.mark.parametrize("name", STATES)
def test_the_line_above_the_button_says_state_and_device(name):
    assert status_line(STATES[name]) == LINES[name]


def test_every_phase_is_shown():
    assert {state.phase for state in STATES.values()} == set(Phase)


@pytest.mark.parametrize("fix", Fix)
def test_every_error_has_a_button_that_helps(fix):
    button = big_button(SolverState(Phase.ERROR, "a sentence", fix))
    assert button.is_enabled
    assert button.operator.startswith("ikol.")


def test_preferences_matter_only_while_nothing_runs():
    problem = SolverError("there is no Python at /x", Fix.OPEN_PREFERENCES)
    assert solver_state.configured(STATES["ready"], problem) == STATES["ready"]
    assert solver_state.configured(STATES["stopped"], problem).phase is Phase.NOT_INSTALLED
    assert solver_state.configured(STATES["not_installed"], None) == SolverState(Phase.STOPPED)
    assert solver_state.configured(STATES["installing"], None) == STATES["installing"]


def test_a_problem_without_a_button_leads_to_the_installation():
    assert solver_state.configured(STATES["stopped"], SolverError("x")).fix is Fix.INSTALL


def test_an_installation_goes_forward_only_and_begins_anew_each_time():
    state = solver_state.installing(STATES["stopped"], "a", 0.4)
    assert solver_state.installing(state, "b", 0.2) == SolverState(Phase.INSTALLING, work="b", fraction=0.4)
    assert solver_state.installing(STATES["error"], "a", 0.1).message == ""


def test_the_end_of_an_installation_is_told_by_what_is_there():
    assert solver_state.installed(None) == SolverState(Phase.STOPPED)
    ended = solver_state.installed(SolverError("no network", Fix.INSTALL), is_incomplete=True)
    assert ended == STATES["incomplete"]


def test_stopping_the_solver_does_not_end_an_installation():
    assert solver_state.stopped(STATES["installing"]) == STATES["installing"]
    assert solver_state.stopped(STATES["busy"]) == SolverState(Phase.STOPPED)


def test_the_device_of_a_ping_replaces_the_one_that_was_asked_for():
    state = solver_state.connected(solver_state.started(SolverState()), "auto")
    assert solver_state.pinged(state, True, "cpu").device == "cpu"
    assert solver_state.pinged(state, False, "").device == "auto"


def test_a_second_welcome_changes_nothing():
    assert solver_state.connected(STATES["ready"], "auto") == STATES["ready"]
    assert solver_state.connected(STATES["unresponsive"], "auto") == STATES["unresponsive"]


def test_a_command_makes_a_running_solver_busy_and_no_other():
    assert solver_state.occupied(STATES["ready"], True).phase is Phase.BUSY
    assert solver_state.occupied(STATES["busy"], False).phase is Phase.RUNNING
    for name in ("stopped", "starting", "unresponsive", "error", "update_needed"):
        assert solver_state.occupied(STATES[name], True).phase is STATES[name].phase


def test_a_command_that_waited_for_the_start_makes_the_solver_busy():
    state = solver_state.started(SolverState(is_busy=True))
    assert solver_state.connected(state, "cpu").phase is Phase.BUSY
    state = solver_state.restarting(STATES["busy"], SolverError("it ended"))
    assert (state.phase, state.is_ready, state.device) == (Phase.STARTING, False, "")
    assert solver_state.connected(state, "cpu").phase is Phase.BUSY


def test_silence_is_told_and_forgotten():
    silent = solver_state.listened(STATES["busy"], True)
    assert (silent.phase, silent.fix) == (Phase.UNRESPONSIVE, Fix.START)
    assert solver_state.listened(silent, True) is silent
    assert solver_state.listened(silent, False) == STATES["busy"]
    assert solver_state.listened(solver_state.occupied(silent, False), False).phase is Phase.RUNNING
    assert solver_state.listened(STATES["starting"], True) is STATES["starting"]


def test_another_version_is_no_error_but_an_update():
    assert solver_state.failed(SolverError("x", Fix.OPEN_PREFERENCES, "unsupported_version")) == SolverState(
        Phase.UPDATE_NEEDED, "x", Fix.OPEN_PREFERENCES
    )
    assert solver_state.failed(SolverError("x", Fix.OPEN_LOG, "start_failed")).phase is Phase.ERROR
