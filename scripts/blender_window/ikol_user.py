# SPDX-License-Identifier: Apache-2.0
"""What a user of the extension does in its panel, and what a tester asks of the scene afterwards."""

import contextlib
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path

import bpy

from driver import SETTLE, Driver, Wait

PACKAGE = "bl_ext.user_default.ikol"
TAB = "IKOL"
PICTURES = Path.home() / "Pictures"
# `run` shows the repository here too, so that no path of the tester's machine is on a picture.
SOLVER_PYTHON = Path.home() / "ikol" / ".venv" / "bin" / "python"

# Cold start of the solver process with the weights to load, on two busy cores.
START_SECONDS = 60.0
# One photograph; the aim is one second, the cores here also draw the window.
POSE_SECONDS = 60.0


def solver_state() -> object:
    """The state that the panel shows; read to know when to go on, never changed."""
    return sys.modules[f"{PACKAGE}.blender.runtime"].get().solver.state


def phase() -> str:
    """The solver's phase by its name, such as "running"."""
    return solver_state().phase.value


def job() -> object | None:
    """The command that runs."""
    return sys.modules[f"{PACKAGE}.blender.runtime"].get().solver.job


def notice() -> str:
    """The sentence that the panel shows after a command failed."""
    shown = sys.modules[f"{PACKAGE}.blender.runtime"].get().notice
    return "" if shown is None else str(shown)


def preferences() -> bpy.types.AddonPreferences:
    """The extension's preferences."""
    return bpy.context.preferences.addons[PACKAGE].preferences


def bodies() -> list[bpy.types.Object]:
    """Armatures that the extension made."""
    return [thing for thing in bpy.data.objects if thing.type == "ARMATURE" and "ikol_evidence" in thing]


class User:
    """Someone who works with the panel."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver

    def open_panel(self) -> Wait:
        """Show the sidebar's tab, wide enough to read it."""
        yield from self.driver.open_sidebar(TAB)

    def press(self, operator: str) -> Generator[float, None, bool]:
        """Click a button of the panel by the operator behind it."""
        return (yield from self.driver.press_button(operator, self.driver.region("UI")))

    def name_solver(self) -> Wait:
        """Name the solver's Python without the preferences window; one story does it with the mouse."""
        preferences().solver_python = str(SOLVER_PYTHON)
        yield SETTLE

    def start_solver(self) -> Generator[float, None, float]:
        """Press the big button and wait until the weights are loaded; give the seconds, or infinity."""
        began = time.monotonic()
        pressed = yield from self.press("ikol.start_solver")
        if not pressed:
            return float("inf")
        ready = yield from self.driver.wait_until(lambda: solver_state().is_ready, START_SECONDS)
        yield SETTLE
        return time.monotonic() - began if ready else float("inf")

    def choose_file(self, path: Path, picture: str = "") -> Generator[float, None, bool]:
        """Pick a file in the open file browser and confirm; say whether it could be picked.

        Args:
            path: The file.
            picture: When given, a picture of this name is taken before confirming.
        """
        driver = self.driver
        opened = yield from driver.wait_until(_file_browsers, 5.0)
        if not opened:
            return False
        parameters = driver.area("FILE_BROWSER").spaces.active.params
        parameters.directory = str(path.parent).encode()
        parameters.display_type = "THUMBNAIL"
        yield 2.5  # thumbnails
        selected = yield from self._click_file(path.name)
        if picture:
            yield from driver.picture(picture)
        if not selected:
            return False
        place = yield from driver.find_button("file.execute", driver.region("EXECUTE", "FILE_BROWSER"), across=0.93)
        if place is None:
            return False
        driver.input.press()  # the pointer rests on the button; no waiting here, so that a caller sees what comes next
        yield 0.08
        driver.input.release()
        yield 0.1
        return True

    def _click_file(self, name: str) -> Generator[float, None, bool]:
        """Click thumbnails, row by row, until the wanted one is selected."""
        left, top, width, height = self.driver.box(self.driver.region("WINDOW", "FILE_BROWSER"))
        for y in range(top + 60, top + height, 150):
            for x in range(left + 70, left + width, 130):
                yield from self.driver.click(x, y)
                if self.driver.area("FILE_BROWSER").spaces.active.params.filename == name:
                    return True
        return False

    def begin(self, command: Callable[[], object]) -> None:
        """Call an operator as if the mouse were over the 3D view."""
        # An error report of an operator that a script calls is an exception; the panel shows it all the same.
        with self.driver.context(), contextlib.suppress(RuntimeError):
            command()

    def begin_photograph(self, path: Path) -> None:
        """Run the command as a drop does, with the file already known."""
        self.begin(lambda: bpy.ops.ikol.pose_from_image("INVOKE_DEFAULT", filepath=str(path)))

    def pose_photograph(self, path: Path) -> Generator[float, None, bool]:
        """Run the command as a drop does and wait for its end; say whether a body came of it."""
        before = len(bodies())
        self.begin_photograph(path)
        yield from self.driver.wait_until(lambda: job() is None, POSE_SECONDS)
        yield SETTLE
        return len(bodies()) > before

    def pick_photograph(self, path: Path) -> Generator[float, None, bool]:
        """Press the big button, pick a file and wait for the end; say whether a body came of it."""
        before = len(bodies())
        yield from self.press("ikol.pick_image")
        chosen = yield from self.choose_file(path)
        if not chosen:
            self.driver.check("the file can be picked", False, path.name)
        yield SETTLE
        self.driver.reset_pause()  # opening and closing the file browser is Blender's own work
        yield from self.driver.wait_until(lambda: job() is None, POSE_SECONDS)
        yield SETTLE
        return len(bodies()) > before


def _file_browsers() -> list[bpy.types.Area]:
    return [
        area
        for window in bpy.context.window_manager.windows
        for area in window.screen.areas
        if area.type == "FILE_BROWSER"
    ]


def result_of(armature: bpy.types.Object) -> object:
    """What the solver answered last for a body: pose, pixels, `reprojection_px`."""
    return sys.modules[f"{PACKAGE}.blender.bodies"].read_record(armature).solution


def is_camera_view(driver: Driver) -> bool:
    """Whether the 3D view looks through the camera."""
    return driver.area().spaces.active.region_3d.view_perspective == "CAMERA"


def keyed_frames(armature: bpy.types.Object) -> set[float]:
    """Frames on which the armature has keys."""
    animation = armature.animation_data
    if animation is None or animation.action is None:
        return set()
    action = animation.action
    curves = (
        action.fcurves
        if hasattr(action, "fcurves")
        else [c for layer in action.layers for strip in layer.strips for bag in strip.channelbags for c in bag.fcurves]
    )
    return {point.co.x for curve in curves for point in curve.keyframe_points}
