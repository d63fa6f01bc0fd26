# SPDX-License-Identifier: GPL-3.0-or-later
"""The one state machine that the panel shows: in which state the solver process is, and what the big button does.

not_installed <-> stopped -> starting -> running <-> busy
every state -> installing -> not_installed or stopped
running, busy <-> unresponsive
running, busy, unresponsive -> starting      the process was lost and is started again
starting, running, busy, unresponsive -> error or update_needed -> starting
every state -> stopped                       by the user
"""

from dataclasses import dataclass, replace
from enum import Enum

from .errors import UPDATE_CODE, AddonError, Fix, SolverError


class Phase(Enum):
    """States of the solver process as the user knows them."""

    NOT_INSTALLED = "not_installed"
    INSTALLING = "installing"
    """It is installed, updated or repaired; there is no process meanwhile, and none is started."""
    STOPPED = "stopped"
    STARTING = "starting"
    RUNNING = "running"
    BUSY = "busy"
    """It runs and has a command of this Blender; the solves of a drag do not count."""
    UNRESPONSIVE = "unresponsive"
    """It has not answered for more than a second; it may still come back."""
    UPDATE_NEEDED = "update_needed"
    """It speaks another major version of the protocol."""
    ERROR = "error"


_CONNECTED = (Phase.RUNNING, Phase.BUSY, Phase.UNRESPONSIVE)


@dataclass(frozen=True)
class SolverState:
    """What the panel draws. `message` is a sentence, `fix` the button beside it when something is wrong."""

    phase: Phase = Phase.STOPPED
    message: str = ""
    fix: Fix = Fix.NONE
    device: str = ""
    """Where the solver computes (cpu, cuda), once it has said so."""
    is_ready: bool = False
    """The network's weights are loaded."""
    is_busy: bool = False
    """A command of this Blender waits or runs, in whatever phase."""
    work: str = ""
    """Where an installation is."""
    fraction: float = 0.0
    """How far it is, from 0 to 1."""
    is_incomplete: bool = False
    """An installation was begun and not ended: it goes on where it stopped."""


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
    Fix.INSTALL: Button("Install Solver", "ikol.install_solver", "IMPORT"),
    Fix.INSTALL_CUDA: Button("Install for CUDA", "ikol.install_cuda", "IMPORT"),
    Fix.INSTALL_FROM_DISK: Button("Install from Disk", "ikol.install_from_disk", "FILE_FOLDER"),
    Fix.OPEN_INSTALL_LOG: Button("Open Installation Log", "ikol.open_install_log", "TEXT"),
    Fix.ALLOW_ONLINE: Button("Allow Online Access", "ikol.allow_online", "INTERNET"),
}


def fix_button(fix: Fix) -> Button:
    """Return the button that belongs to a fix."""
    return _FIX_BUTTONS[fix]


def big_button(state: SolverState) -> Button:
    """Return the one big button of the panel."""
    match state.phase:
        case Phase.NOT_INSTALLED:
            if state.fix is Fix.INSTALL and state.is_incomplete:
                return replace(fix_button(Fix.INSTALL), label="Continue Installation")
            return fix_button(state.fix)
        case Phase.INSTALLING:
            return Button("Cancel Installation", "ikol.cancel_install", "CANCEL")
        case Phase.STOPPED:
            return Button("Start Solver", "ikol.start_solver", "PLAY")
        case Phase.STARTING:
            return Button("Starting Solver", "ikol.start_solver", "SORTTIME", is_enabled=False)
        case Phase.RUNNING:
            return Button("Pose from Image", "ikol.pick_image", "IMAGE_DATA")
        case Phase.BUSY:
            return Button("Cancel", "ikol.cancel", "CANCEL")
        case Phase.UNRESPONSIVE:
            return Button("Restart Solver", "ikol.start_solver", "FILE_REFRESH")
        case Phase.UPDATE_NEEDED:
            return Button("Update Solver", "ikol.open_preferences", "PREFERENCES")
        case Phase.ERROR:
            return fix_button(state.fix)


def status_line(state: SolverState) -> str:
    """Return the line above the button."""
    match state.phase:
        case Phase.NOT_INSTALLED:
            return "Installation incomplete" if state.is_incomplete else "Solver not installed"
        case Phase.INSTALLING:
            return "Installing solver"
        case Phase.STOPPED:
            return "Solver stopped"
        case Phase.STARTING:
            return "Solver is starting again" if state.message else "Solver is starting"
        case Phase.RUNNING:
            return _with_device("Solver ready" if state.is_ready else "Solver loading weights", state)
        case Phase.BUSY:
            return _with_device("Solver busy", state)
        case Phase.UNRESPONSIVE:
            return _with_device("Solver does not answer", state)
        case Phase.UPDATE_NEEDED:
            return "Solver of another version"
        case Phase.ERROR:
            return "Solver error"


def _with_device(text: str, state: SolverState) -> str:
    return f"{text} ({state.device})" if state.device else text


def configured(state: SolverState, problem: AddonError | None, is_incomplete: bool = False) -> SolverState:
    """Return the state after the preferences were read: `problem` says why no solver can be started."""
    if state.phase not in (Phase.NOT_INSTALLED, Phase.STOPPED):
        return state
    if problem is None:
        return SolverState(Phase.STOPPED)
    fix = Fix.INSTALL if problem.fix is Fix.NONE else problem.fix
    return SolverState(Phase.NOT_INSTALLED, str(problem), fix, is_incomplete=is_incomplete)


def installing(state: SolverState, work: str, fraction: float) -> SolverState:
    """Return the state while something is installed; the process was ended before."""
    if state.phase is Phase.INSTALLING:
        return replace(state, work=work, fraction=max(state.fraction, fraction))
    return SolverState(Phase.INSTALLING, work=work, fraction=fraction)


def installed(problem: AddonError | None, is_incomplete: bool = False) -> SolverState:
    """Return the state after an installation has ended, however: `problem` says why no solver can be started."""
    return configured(SolverState(Phase.STOPPED), problem, is_incomplete)


def started(state: SolverState) -> SolverState:
    """Return the state of a process that was just started."""
    return SolverState(Phase.STARTING, is_busy=state.is_busy)


def restarting(state: SolverState, reason: AddonError) -> SolverState:
    """Return the state after the process was lost and while another one is started in its place."""
    return SolverState(Phase.STARTING, f"{reason}; nothing is lost, it is started again", is_busy=state.is_busy)


def connected(state: SolverState, device: str) -> SolverState:
    """Return the state after the solver has answered `hello`, which it may do again."""
    if state.phase is Phase.STARTING:
        return SolverState(_phase_at_work(state), device=device, is_busy=state.is_busy)
    return replace(state, device=state.device or device)


def pinged(state: SolverState, is_ready: bool, device: str) -> SolverState:
    """Return the state after the solver has answered `ping`."""
    return replace(state, is_ready=is_ready, device=device or state.device)


def listened(state: SolverState, is_silent: bool) -> SolverState:
    """Return the state after the socket was read: whether the solver has been silent for long."""
    if state.phase not in _CONNECTED or is_silent == (state.phase is Phase.UNRESPONSIVE):
        return state
    if is_silent:
        text = "the solver does not answer at the moment; wait, stop it or start it again"
        return replace(state, phase=Phase.UNRESPONSIVE, message=text, fix=Fix.START)
    return replace(state, phase=_phase_at_work(state), message="", fix=Fix.NONE)


def occupied(state: SolverState, is_busy: bool) -> SolverState:
    """Return the state with or without a command of this Blender."""
    if is_busy == state.is_busy:
        return state
    state = replace(state, is_busy=is_busy)
    return replace(state, phase=_phase_at_work(state)) if state.phase in (Phase.RUNNING, Phase.BUSY) else state


def failed(error: AddonError) -> SolverState:
    """Return the state after the process could not be started or was given up."""
    is_outdated = isinstance(error, SolverError) and error.code == UPDATE_CODE
    return SolverState(Phase.UPDATE_NEEDED if is_outdated else Phase.ERROR, str(error), error.fix)


def stopped(state: SolverState) -> SolverState:
    """Return the state after the user stopped the solver; an installation goes on."""
    return state if state.phase is Phase.INSTALLING else SolverState(Phase.STOPPED)


def _phase_at_work(state: SolverState) -> Phase:
    return Phase.BUSY if state.is_busy else Phase.RUNNING
