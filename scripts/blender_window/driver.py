# SPDX-License-Identifier: Apache-2.0
"""Drive a real Blender window from inside it, check what happens, and take pictures of it.

A story is a generator function: each `yield seconds` gives Blender's event loop that long, so that the window redraws,
operators run and timers tick as they do for a user. Helpers that need to wait are generators too: `yield from` them.

The mouse and keyboard are real (xdotool on the X server) or Blender's own event simulation, by `run --simulated-input`.
Blender tells no script where its buttons are, so `find_button` asks as a user could: it moves the mouse over the region
and presses Ctrl+C, which copies the operator of the button below the pointer to Blender's clipboard.

Pixel positions are those of the screen: origin at the top left, x to the right, y down. Imports only bpy and the
standard library.
"""

import json
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

import bpy

Wait = Generator[float, None, None]

# A redraw on the software renderer takes 0.16-0.33 s at 1600x1000; fewer than two may still show the old picture.
SETTLE = 0.7
# Longest time between two ticks of a timer that still counts as a window that answers: five redraws on two busy cores.
MAX_PAUSE = 1.5
HEARTBEAT = 0.05
FILM_RATE = 12  # pictures a second
# What Blender copies while the pointer rests on a button: an operator's command or a field's value; a property's full
# path (which the preferences do not have).
COPY = "ctrl+c"
COPY_PATH = "ctrl+alt+shift+c"


@dataclass(frozen=True)
class Check:
    """One named question about the window, and its answer."""

    name: str
    passed: bool
    detail: str
    seconds: float


class RealInput:
    """A mouse and a keyboard as the X server sees them."""

    def _xdotool(self, *arguments: str | int) -> None:
        subprocess.run(["xdotool", *map(str, arguments)], check=True, timeout=10)

    def move(self, x: int, y: int) -> None:
        """Put the pointer at a pixel of the screen."""
        self._xdotool("mousemove", x, y)

    def shift(self, right: int, down: int) -> None:
        """Move the pointer by some pixels, as a hand does; over a number that is dragged Blender has it elsewhere."""
        self._xdotool("mousemove_relative", "--", right, down)

    def press(self, button: int = 1) -> None:
        """Hold a mouse button down."""
        self._xdotool("mousedown", button)

    def release(self, button: int = 1) -> None:
        """Let a mouse button go."""
        self._xdotool("mouseup", button)

    def key(self, chord: str) -> None:
        """Press and release a chord such as "ctrl+z", "Escape" or "Return"."""
        self._xdotool("key", chord)

    def write(self, text: str) -> None:
        """Type a text into whatever has the focus."""
        self._xdotool("type", "--delay", 15, text)


class SimulatedInput:
    """Blender's own event simulation: faster and free of the X server, but it skips the part that users touch."""

    _KEYS: ClassVar = {"Escape": "ESC", "Return": "RET", "Tab": "TAB", "Delete": "DEL", "BackSpace": "BACK_SPACE"}
    _DIGITS = ("ZERO", "ONE", "TWO", "THREE", "FOUR", "FIVE", "SIX", "SEVEN", "EIGHT", "NINE")
    _BUTTONS: ClassVar = {1: "LEFTMOUSE", 2: "MIDDLEMOUSE", 3: "RIGHTMOUSE"}

    def __init__(self) -> None:
        self._at = (0, 0)

    def _event(self, kind: str, value: str, **options: object) -> None:
        window = bpy.context.window_manager.windows[-1]
        x, y = self._at[0] - window.x, screen_height() - 1 - self._at[1] - window.y
        window.event_simulate(type=kind, value=value, x=x, y=y, **options)

    def move(self, x: int, y: int) -> None:
        """Put the pointer at a pixel of the screen."""
        self._at = (x, y)
        self._event("MOUSEMOVE", "NOTHING")

    def shift(self, right: int, down: int) -> None:
        """Move the pointer by some pixels."""
        self.move(self._at[0] + right, self._at[1] + down)

    def press(self, button: int = 1) -> None:
        """Hold a mouse button down."""
        self._event(self._BUTTONS[button], "PRESS")

    def release(self, button: int = 1) -> None:
        """Let a mouse button go."""
        self._event(self._BUTTONS[button], "RELEASE")

    def key(self, chord: str) -> None:
        """Press and release a chord such as "ctrl+z", "Escape" or "Return"."""
        *modifiers, name = chord.split("+")
        held = dict.fromkeys(modifiers, True)
        if name.isdigit():
            self.write(name)
            return
        kind = self._KEYS.get(name, name.upper())
        self._event(kind, "PRESS", **held)
        self._event(kind, "RELEASE", **held)

    def write(self, text: str) -> None:
        """Type a text into whatever has the focus."""
        for character in text:
            kind = self._DIGITS[int(character)] if character.isdigit() else "A"
            self._event(kind, "PRESS", unicode=character)
            self._event(kind, "RELEASE")


def screen_height() -> int:
    """Height of the screen in pixels."""
    return int(os.environ["IKOL_WINDOW_SIZE"].split("x")[1])


class Driver:
    """Hands of a user and eyes of a tester in one running Blender."""

    def __init__(self) -> None:
        self.out = Path(os.environ["IKOL_WINDOW_OUT"])
        self.real = os.environ["IKOL_WINDOW_INPUT"] == "real"
        self.input = RealInput() if self.real else SimulatedInput()
        self.checks: list[Check] = []
        self.clicks = 0
        """Made so far; moving the pointer to look for a button is none."""
        self.longest_pause = 0.0
        self.longest_pause_while = 0.0
        self._watched: Callable[[], object] = lambda: False
        self._started = self._last_beat = time.monotonic()

    # --- what is there -------------------------------------------------------------------------------------------

    def window(self) -> bpy.types.Window:
        """Blender's main window."""
        return bpy.context.window_manager.windows[0]

    def area(self, kind: str = "VIEW_3D") -> bpy.types.Area:
        """The largest area of a kind, in any window; the newest window first."""
        for window in reversed(bpy.context.window_manager.windows):
            areas = [area for area in window.screen.areas if area.type == kind]
            if areas:
                return max(areas, key=lambda area: area.width * area.height)
        raise LookupError(f"no area of type {kind} is open")

    def region(self, kind: str = "WINDOW", area_kind: str = "VIEW_3D") -> bpy.types.Region:
        """One region of an area, such as its sidebar "UI"."""
        return next(region for region in self.area(area_kind).regions if region.type == kind)

    def context(self, area_kind: str = "VIEW_3D") -> AbstractContextManager[object]:
        """Give the context that an operator has when it is called over an area."""
        area = self.area(area_kind)
        window = next(w for w in bpy.context.window_manager.windows if area in list(w.screen.areas))
        region = next(region for region in area.regions if region.type == "WINDOW")
        return bpy.context.temp_override(window=window, screen=window.screen, area=area, region=region)

    def box(self, region: bpy.types.Region | bpy.types.Area) -> tuple[int, int, int, int]:
        """Left, top, width and height of a region or area on the screen."""
        window = next(
            w
            for w in bpy.context.window_manager.windows
            if any(region == area or region in list(area.regions) for area in w.screen.areas)
        )
        left, bottom = window.x + region.x, window.y + region.y
        return left, screen_height() - bottom - region.height, region.width, region.height

    # --- what a user does ----------------------------------------------------------------------------------------

    def click(self, x: int, y: int, button: int = 1, clicks: int = 1) -> Wait:
        """Move somewhere and click, or click twice."""
        self.input.move(x, y)
        yield 0.25
        self.clicks += clicks
        for _ in range(clicks):
            self.input.press(button)
            yield 0.08
            self.input.release(button)
            yield 0.08
        yield SETTLE

    def hover_viewport(self) -> Wait:
        """Put the pointer into the 3D view, so that key presses go there."""
        left, top, width, height = self.box(self.area())
        # Two moves: a report that popped up below the pointer takes all keys until the pointer has left it.
        for down in (1, 2):
            self.input.move(left + width // 3, top + height * down // 4)
            yield 0.3

    def press_key(self, chord: str) -> Wait:
        """Press a chord and let the window react."""
        self.input.key(chord)
        yield SETTLE

    def open_sidebar(self, tab: str) -> Wait:
        """Show the 3D view's sidebar and one of its tabs, as N and a click do."""
        self.area().spaces.active.show_region_ui = True
        yield SETTLE
        sidebar = self.region("UI")
        sidebar.active_panel_category = tab
        sidebar.tag_redraw()
        yield SETTLE

    def find_button(
        self, text: str, region: bpy.types.Region, step: int = 9, across: float = 0.5, chord: str = COPY
    ) -> Generator[float, None, tuple[int, int] | None]:
        """Look for the button whose copied text contains a text, from the top of a region to its foot.

        Args:
            text: Part of the command, such as "ikol.start_solver", or of the value or path.
            chord: COPY for commands and values, COPY_PATH for paths of properties.
            region: Where to look.
            step: Pixels between two tries; a button is about 20 high.
            across: Where in the region's width, 0 left to 1 right.

        Returns:
            The middle of the button on the screen, or None.
        """
        left, top, width, height = self.box(region)
        rows = range(top + 6, top + height - 6, step)
        return (yield from self.find_button_at(text, left + int(width * across), rows, chord))

    def find_button_at(
        self, text: str, x: int, rows: range, chord: str = COPY
    ) -> Generator[float, None, tuple[int, int] | None]:
        """Look for the button whose copied text contains a text, at some rows of one column of pixels."""
        found: list[int] = []
        for y in rows:
            copied = yield from self._copied_at(x, y, chord, 0.12)
            if text in copied:
                found.append(y)
            elif found:
                break
        if not found:
            return None
        # The window may lag behind the mouse by a step; what counts is what lies below a pointer at rest.
        for y in ((found[0] + found[-1]) // 2, found[0], found[0] - rows.step):
            copied = yield from self._copied_at(x, y, chord, 0.4)
            if text in copied:
                return x, y
        return None

    def _copied_at(self, x: int, y: int, chord: str, seconds: float) -> Generator[float, None, str]:
        """Copy what lies at a pixel, giving the window some seconds for each of the two events."""
        bpy.context.window_manager.clipboard = ""
        self.input.move(x, y)
        yield seconds
        self.input.key(chord)
        yield seconds
        return bpy.context.window_manager.clipboard

    def press_button(
        self, text: str, region: bpy.types.Region, across: float = 0.5, chord: str = COPY
    ) -> Generator[float, None, bool]:
        """Find a button by its operator or property and click it; say whether it was there."""
        place = yield from self.find_button(text, region, across=across, chord=chord)
        if place is None:
            return False
        yield from self.click(*place)
        return True

    # --- what a tester does --------------------------------------------------------------------------------------

    def check(self, name: str, passed: object, detail: object = "") -> bool:
        """Record and print one named result."""
        self.checks.append(Check(name, bool(passed), str(detail), round(time.monotonic() - self._started, 1)))
        print(f"{'PASS' if passed else 'FAIL'}  {name}" + (f"  [{detail}]" if str(detail) else ""), flush=True)
        return bool(passed)

    def wait_until(self, condition: Callable[[], object], seconds: float) -> Generator[float, None, bool]:
        """Wait for a condition; say whether it came true in time."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if condition():
                return True
            yield 0.05
        return bool(condition())

    def picture(self, name: str) -> Wait:
        """Write OUT/NAME.png with all that the screen shows, after the window has drawn it."""
        for window in bpy.context.window_manager.windows:
            for area in window.screen.areas:
                area.tag_redraw()
        yield SETTLE
        self.snap(name)

    def snap(self, name: str) -> None:
        """Write OUT/NAME.png at once, with what was drawn last."""
        # Blender's own screenshot operator gives a black picture on the software renderer.
        subprocess.run(["import", "-window", "root", str(self.out / f"{name}.png")], check=True, timeout=30)

    def film(self, name: str) -> None:
        """Film the screen, as long as it shows, into OUT/NAME.mp4 without loss; `cut` ends it."""
        size = os.environ["IKOL_WINDOW_SIZE"]
        source = ["-f", "x11grab", "-framerate", str(FILM_RATE), "-video_size", size, "-i", os.environ["DISPLAY"]]
        target = ["-c:v", "libx264rgb", "-preset", "ultrafast", "-qp", "0", str(self.out / f"{name}.mp4")]
        self._camera = subprocess.Popen(["ffmpeg", "-loglevel", "error", "-y", *source, *target], stdin=subprocess.PIPE)
        self._filmed_at = time.monotonic()

    def cut(self, name: str, box: tuple[int, int, int, int], width: int, seconds: float) -> float:
        """End the film; make OUT/NAME.gif of a box (left, top, width, height) of it, scaled to a width.

        A software renderer draws some frames a second: the film is run faster, to last some seconds.

        Returns:
            How much faster.
        """
        self._camera.communicate(b"q", timeout=30)
        speed = max(1.0, (time.monotonic() - self._filmed_at) / seconds)
        left, top, box_width, box_height = box
        filters = (
            f"setpts=PTS/{speed},fps={FILM_RATE},crop={box_width}:{box_height}:{left}:{top},"
            f"scale={width}:-1:flags=lanczos,split[a][b];"
            "[a]palettegen=max_colors=160:stats_mode=full[p];[b][p]paletteuse=dither=none:diff_mode=rectangle"
        )
        film, picture = self.out / f"{name}.mp4", self.out / f"{name}.gif"
        subprocess.run(["ffmpeg", "-loglevel", "error", "-y", "-i", film, "-vf", filters, picture], check=True)
        return speed

    def answered(self, name: str) -> None:
        """Check that the window never stood still since the last call, and start anew."""
        self.check(name, self.longest_pause < MAX_PAUSE, f"longest pause {self.longest_pause:.2f} s")
        self.reset_pause()

    def reset_pause(self, watched: Callable[[], object] | None = None) -> None:
        """Forget the longest pause so far; `longest_pause_while` is that of pauses at whose end `watched` holds."""
        self.longest_pause = self.longest_pause_while = 0.0
        if watched is not None:
            self._watched = watched
        self._last_beat = time.monotonic()

    def _beat(self) -> float:
        now = time.monotonic()
        self.longest_pause = max(self.longest_pause, now - self._last_beat)
        if self._watched():
            self.longest_pause_while = max(self.longest_pause_while, now - self._last_beat)
        self._last_beat = now
        return HEARTBEAT

    def finish(self) -> None:
        """Write result.json and leave at once: a Blender with a window has no other way to an exit status."""
        failed = [check for check in self.checks if not check.passed]
        seconds = time.monotonic() - self._started
        print(f"{len(self.checks) - len(failed)} passed, {len(failed)} failed, {seconds:.0f} s", flush=True)
        report = {"seconds": round(seconds, 1), "checks": [asdict(check) for check in self.checks]}
        (self.out / "result.json").write_text(json.dumps(report, indent=1) + "\n")
        sys.stdout.flush()
        os._exit(1 if failed else 0)

    def play(self, story: Callable[["Driver"], Wait]) -> None:
        """Step a story by Blender's timers until it ends."""
        steps = story(self)

        def step() -> float:
            try:
                wait = next(steps)
                # What the story itself took, a picture for example, is no pause of Blender's.
                self._last_beat = time.monotonic()
                return wait
            except StopIteration:
                self.finish()
            # A story is test code: whatever it raises is a failed check with its traceback, never a hanging window.
            except Exception as error:
                traceback.print_exc()
                self.check("the story ran to its end", False, repr(error))
                self.finish()
            return HEARTBEAT

        self.reset_pause()
        bpy.app.timers.register(self._beat, first_interval=HEARTBEAT, persistent=True)
        bpy.app.timers.register(step, first_interval=1.0, persistent=True)


def story_arguments() -> list[str]:
    """Arguments of the story: what follows "--" on Blender's command line."""
    return sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else []
