# SPDX-License-Identifier: GPL-3.0-or-later
"""The one state machine that the panel shows: in which state the solver process is, and what the big button does.

not_installed -> stopped -> starting -> running -> stopped; every state may go to error, and from there to starting.
"""

from dataclasses import dataclass, replace
from enum import Enum

from .errors import AddonError, Fix


class Phase(Enum):
    """States of the solver process as the user knows them."""

    NOT_INSTALLED = "not_installed"
    STOPPED = "stopped"
    STARTING = "starting"
    RUNNING = "running"
    ERROR = "error"


@dataclass(frozen=True)
class SolverState:
    """What the panel draws. `message` is a sentence, `fix` the button beside it when the phase is ERROR."""

    phase: Phase = Phase.STOPPED
    message: str = ""
    fix: Fix = Fix.NONE
    device: str = ""
    """Where the solver computes (cpu, cuda), once it has said so."""
    is_ready: bool = False
    """The network's weights are loaded."""
    is_busy: bool = False
    """A request of this Blender runs."""


@dataclass(frozen=True)
class Button:
    """The big button: label, the operator it runs, icon; disabled when there is nothing to do but wait."""

    label: str
    operator: str
    icon: str
    is_enabled: bool = True


_FIX_BUTTONS = {
    Fix.NONE: Button("Start Solver", "ikol.start_solver", "PLAY"),
    Fix.START: Button("Start Solver Again", "ikol.start_solver", "FILE_REFRESH"),
    Fix.OPEN_PREFERENCES: Button("Open Preferences", "ikol.open_preferences", "PREFERENCES"),
    Fix.OPEN_LOG: Button("Open Log", "ikol.open_log", "TEXT"),
    Fix.KEY_POSE: Button("Key Pose", "ikol.key_pose", "KEY_HLT"),
}


def fix_button(fix: Fix) -> Button:
    """Return the button that belongs to a fix."""
    return _FIX_BUTTONS[fix]


def big_button(state: SolverState) -> Button:
    """Return the one big button of the panel."""
    match state.phase:
        case Phase.NOT_INSTALLED:
            return Button("Set Up Solver", "ikol.open_preferences", "PREFERENCES")
        case Phase.STOPPED:
            return Button("Start Solver", "ikol.start_solver", "PLAY")
        case Phase.STARTING:
            return Button("Starting Solver", "ikol.start_solver", "SORTTIME", is_enabled=False)
        case Phase.RUNNING if state.is_busy:
            return Button("Cancel", "ikol.cancel", "CANCEL")
        case Phase.RUNNING:
            return Button("Pose from Image", "ikol.pick_image", "IMAGE_DATA")
        case Phase.ERROR:
            return fix_button(state.fix)


def status_line(state: SolverState) -> str:
    """Return the line above the button."""
    match state.phase:
        case Phase.NOT_INSTALLED:
            return "Solver not set up"
        case Phase.STOPPED:
            return "Solver stopped"
        case Phase.STARTING:
            return "Solver is starting"
        case Phase.RUNNING:
            activity = "busy" if state.is_busy else "ready" if state.is_ready else "loading weights"
            return f"Solver {activity} ({state.device})" if state.device else f"Solver {activity}"
        case Phase.ERROR:
            return "Solver error"


def configured(state: SolverState, problem: AddonError | None) -> SolverState:
    """Return the state after the preferences were read: `problem` says why no solver can be started."""
    if state.phase not in (Phase.NOT_INSTALLED, Phase.STOPPED):
        return state
    if problem is None:
        return SolverState(Phase.STOPPED)
    return SolverState(Phase.NOT_INSTALLED, str(problem), problem.fix)


def started() -> SolverState:
    """Return the state of a process that was just started."""
    return SolverState(Phase.STARTING)


def connected(state: SolverState, device: str) -> SolverState:
    """Return the state after the solver has answered `hello`."""
    return replace(state, phase=Phase.RUNNING, device=device, message="", fix=Fix.NONE)


def pinged(state: SolverState, is_ready: bool, device: str) -> SolverState:
    """Return the state after the solver has answered `ping`."""
    return replace(state, is_ready=is_ready, device=device or state.device)


def occupied(state: SolverState, is_busy: bool) -> SolverState:
    """Return the state with or without a job of this Blender."""
    return replace(state, is_busy=is_busy)


def failed(error: AddonError) -> SolverState:
    """Return the state after the process could not be started or went away."""
    return SolverState(Phase.ERROR, str(error), error.fix)


def stopped() -> SolverState:
    """Return the state after the user stopped the solver."""
    return SolverState(Phase.STOPPED)
