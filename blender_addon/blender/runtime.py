# SPDX-License-Identifier: GPL-3.0-or-later
"""What lives as long as the add-on is enabled: the solver client, the last message to the user, the timer.

Everything that Blender calls back asks `get()` for it. It holds no reference into Blender's data.
"""

import logging
import os
import time
import tomllib
from collections.abc import Callable
from pathlib import Path

import bpy
from bpy.app.handlers import persistent

from ..client.process import SolverConfig, prune_logs
from ..client.python_check import PythonCheck, find_problem
from ..client.shared import find_shared_problem
from ..client.solver import Solver
from ..core.errors import AddonError, Fix
from ..core.jobs import JobResult
from ..core.solver_state import Phase
from . import installation
from .identity import BASE_PACKAGE
from .text import capitalised

BUSY_SECONDS = 1 / 30
"""Between two looks at the socket while something is under way: a progress bar that moves evenly."""
IDLE_SECONDS = 0.5
"""Otherwise: soon enough to notice that the solver process ended."""

LOG_PREFIX = "solver-"
"""Each Blender has a log of its own: on Windows a file that another process writes cannot be replaced."""

MANIFEST_PATH = Path(__file__).parents[1] / "blender_manifest.toml"

STATISTICS_SECONDS = 2.0
"""Between two questions for the solver's statistics while the panel shows them."""

logger = logging.getLogger(__name__)


class Runtime:
    """The add-on's living parts. Made by `start`, ended by `stop`."""

    def __init__(self) -> None:
        self.solver = Solver()
        self.notice: AddonError | None = None
        """What the last command failed with; shown in the panel until the next command."""
        self.result: JobResult | None = None
        """What the last command that worked got from the solver."""
        self.check: PythonCheck | None = None
        self.check_result = ""
        self.installation = installation.Installation()
        self.live_owner: Callable[[], object] | None = None
        """A weak reference to the drag that the solver's `live` works for; None when it is free."""
        self.late_drag: object | None = None
        """The drags that have ended and still wait for their last answers, by body; None when there is none."""
        self._shown: object = None
        self._statistics_due = 0.0

    def config(self) -> SolverConfig:
        """Return how to start the solver, by the preferences.

        Raises:
            SolverError: The preferences name no Python that can be run.
        """
        preferences = get_preferences()
        listen_file, key_file = shared_files()
        if listen_file:
            problem = find_shared_problem(listen_file, key_file)
            if problem is not None:
                raise problem
            return SolverConfig("", "", log_path(), listen_file=listen_file, key_file=key_file)
        python = solver_python()
        problem = find_problem(python)
        if problem is not None:
            raise problem
        return SolverConfig(
            python,
            preferences.device,
            log_path(),
            body_file(),
            own_network=_path(preferences.own_network),
            is_network_trusted=preferences.is_network_trusted,
        )

    def configure(self) -> None:
        """Look at the preferences again."""
        self.solver.configure(self._problem(), installation.is_incomplete())

    def show_installation(self) -> None:
        """Tell the solver's state of the installation that runs."""
        if self.installation.is_running and self.installation.is_exclusive:
            self.solver.show_installation(self.installation.text, self.installation.fraction)

    def end_installation(self) -> None:
        """Tell the solver's state that an installation has ended, and start what it installed."""
        if not self.installation.is_exclusive:
            self.configure()
            return
        self.solver.end_installation(self._problem(), installation.is_incomplete())
        if self.installation.error is not None and self.solver.state.phase is Phase.STOPPED:
            self.notice = self.installation.error  # of an update: what was there works on, and has no more to say
        if self.installation.starts_solver and self.solver.state.phase is Phase.STOPPED:
            self.notice = None
            self.solver.start(self.config())

    def _problem(self) -> AddonError | None:
        """Return why no solver can be started: what an installation failed with, else what is wrong with the path."""
        listen_file, key_file = shared_files()
        if listen_file:
            return find_shared_problem(listen_file, key_file)
        problem = find_problem(solver_python())
        is_ours = problem is not None and problem.fix is Fix.INSTALL  # and not the path of a Python that was named
        return self.installation.error or problem if is_ours else problem

    def free_live(self) -> None:
        """Let a new drag have the solver: what others wait for is of no interest any more."""
        self.live_owner = self.late_drag = None
        self.solver.live.reset()

    def pump(self) -> None:
        """Do what is due and redraw what shows it."""
        self.solver.pump()
        self._pump_check()
        if self.installation.pump():
            self.end_installation()
        else:
            self.show_installation()
        job = self.solver.job
        statistics = self.solver.statistics
        shown = (
            self.solver.state,
            self.check_result,
            self.installation.text,
            job and (round(job.fraction, 2), job.text),
            statistics and statistics.id,
        )
        if shown != self._shown:
            self._shown = shown
            redraw()

    def want_statistics(self) -> None:
        """Ask the solver how it is, unless that was just done; the panel calls this when it shows the answer."""
        now = time.monotonic()
        if now >= self._statistics_due:
            self._statistics_due = now + STATISTICS_SECONDS
            self.solver.ask_statistics()

    def begin_check(self) -> None:
        """Start looking for what the solver's Python lacks.

        Raises:
            SolverError: The preferences name nothing that can be run.
        """
        self.end_check()
        self.check_result = "Checking"
        try:
            self.check = PythonCheck(solver_python())
        except AddonError as error:
            self.check_result = sentence(error)
            raise

    def end_check(self) -> None:
        """Give up a check that runs."""
        if self.check is not None:
            self.check.kill()
            self.check = None

    def _pump_check(self) -> None:
        if self.check is None:
            return
        try:
            result = self.check.poll()
        except AddonError as error:
            result = sentence(error)
        if result is not None:
            self.check_result = result
            self.check = None
            self.configure()

    def close(self) -> None:
        """End the solver process and what else runs."""
        self.end_check()
        self.installation.cancel()
        self.solver.close()


class _Holder:
    """Where the runtime is kept between `register` and `unregister`."""

    runtime: Runtime | None = None


def get() -> Runtime:
    """Return the runtime; it is there while the add-on is registered."""
    runtime = _Holder.runtime
    if runtime is None:
        raise RuntimeError("the add-on is not registered")
    return runtime


def get_preferences() -> "bpy.types.AddonPreferences":
    """Return the add-on's preferences."""
    return bpy.context.preferences.addons[BASE_PACKAGE].preferences


def version() -> str:
    """Return the add-on's version, as in its manifest."""
    return str(tomllib.loads(MANIFEST_PATH.read_text(encoding="utf-8"))["version"])


def local_python() -> str:
    """Return the Python of a solver on this computer that can be run, empty without one; a shared one may be in use."""
    python = solver_python()
    return python if find_problem(python) is None else ""


def solver_python() -> str:
    """Return the path of the solver's Python: what the preferences name, else the installed one; empty for none."""
    path = get_preferences().solver_python.strip().strip('"')
    return bpy.path.abspath(path) if path else installation.installed_python()


def body_file() -> str:
    """Return the path of the user's own body file, empty for the default body."""
    return _path(get_preferences().body_file)


def shared_files() -> tuple[str, str]:
    """Return the paths of a shared solver's listen file, empty for a solver of this Blender's own, and of our key."""
    preferences = get_preferences()
    return _path(preferences.listen_file), _path(preferences.key_file)


def _path(text: str) -> str:
    path = text.strip().strip('"')
    return bpy.path.abspath(path) if path else ""


def log_path() -> Path:
    """Return where this Blender's solver log is; the folder belongs to the user, not to the add-on."""
    folder = Path(bpy.utils.extension_path_user(BASE_PACKAGE, path="log", create=True))
    return folder / f"{LOG_PREFIX}{os.getpid()}.log"


def sentence(error: AddonError) -> str:
    """Return an error's text as it is shown."""
    return capitalised(str(error))


def redraw() -> None:
    """Have the panels drawn again in every window."""
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            if area.type in {"VIEW_3D", "PREFERENCES"}:
                area.tag_redraw()


def tick() -> float:
    """Pump from Blender's timer; return the seconds until the next time."""
    runtime = get()
    runtime.pump()
    is_busy = runtime.solver.is_awaited or runtime.solver.state.phase is Phase.STARTING
    is_watched = runtime.check is not None or runtime.installation.is_running
    return BUSY_SECONDS if is_busy or is_watched else IDLE_SECONDS


@persistent
def on_load(*_: object) -> None:
    """Drop what was under way for the file that is no longer open."""
    runtime = get()
    runtime.solver.cancel()
    runtime.free_live()
    runtime.notice = runtime.result = None


def start() -> None:
    """Make the runtime, its timer and its handler."""
    _Holder.runtime = Runtime()
    prune_logs(log_path().parent, f"{LOG_PREFIX}*.log")
    bpy.app.handlers.load_post.append(on_load)
    # persistent: Blender drops other timers when a file is loaded
    bpy.app.timers.register(tick, first_interval=IDLE_SECONDS, persistent=True)


def stop() -> None:
    """Take back handler and timer, and end the solver process."""
    if bpy.app.timers.is_registered(tick):
        bpy.app.timers.unregister(tick)
    if on_load in bpy.app.handlers.load_post:
        bpy.app.handlers.load_post.remove(on_load)
    if _Holder.runtime is not None:
        _Holder.runtime.close()
        _Holder.runtime = None
