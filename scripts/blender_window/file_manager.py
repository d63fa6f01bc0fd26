# SPDX-License-Identifier: Apache-2.0
"""A real file manager (pcmanfm) beside Blender, to drag a file from it into the 3D view by the X server's protocol."""

import shlex
import subprocess
from collections.abc import Generator
from pathlib import Path

from driver import Driver, Wait

# Size and place of its window, and the grid of its icons in that window, in pixels; looked up in a picture.
WIDTH, HEIGHT = 560, 330
LEFT, TOP = 740, 585
FIRST_ICON = (203, 118)
ICON_STEP = (94, 107)
COLUMNS = 4
# The toolkit starts a drag only after some way with the button down, and Blender asks for the data while it hovers.
DRAG_STEPS = 14
STEP_SECONDS = 0.12


class FileManager:
    """One window of the file manager that shows a folder."""

    def __init__(self, driver: Driver, folder: Path) -> None:
        self._driver = driver
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def open(self) -> Generator[float, None, bool]:
        """Show the folder in a window at the lower right; say whether the window came up."""
        self._process = subprocess.Popen(
            ["pcmanfm", "--no-desktop", str(self._folder)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        came = yield from self._driver.wait_until(self._windows, 15.0)
        if not came:
            return False
        yield 1.5  # thumbnails
        window = self._windows()[-1]
        subprocess.run(
            ["xdotool", "windowsize", window, str(WIDTH), str(HEIGHT), "windowmove", window, str(LEFT), str(TOP)],
            check=True,
            timeout=10,
        )
        yield 1.0
        return True

    def _windows(self) -> list[str]:
        found = subprocess.run(
            ["xdotool", "search", "--onlyvisible", "--class", "pcmanfm"],
            check=False,  # it fails as long as there is none
            capture_output=True,
            text=True,
            timeout=10,
        )
        return found.stdout.split()

    def drag(self, name: str, x: int, y: int, picture: str = "", *, with_others: bool = False) -> Wait:
        """Drag a file to a pixel of the screen and drop it there.

        Args:
            name: A file of the folder; icons stand in the order of names, capitals or not.
            x: Pixels from the left of the screen.
            y: Pixels from its top.
            picture: When given, a picture of this name is taken just before the drop.
            with_others: All files of the folder are selected and dragged.
        """
        names = sorted((path.name for path in self._folder.iterdir()), key=str.lower)
        row, column = divmod(names.index(name), COLUMNS)
        from_x = LEFT + FIRST_ICON[0] + column * ICON_STEP[0]
        from_y = TOP + FIRST_ICON[1] + row * ICON_STEP[1]
        select = "click 1 sleep 0.3 key ctrl+a sleep 0.5 " if with_others else ""
        moves = [f"mousemove {from_x} {from_y} sleep 0.5 {select}mousedown 1 sleep 0.3"]
        for step in range(1, DRAG_STEPS + 1):
            at = from_x + (x - from_x) * step // DRAG_STEPS, from_y + (y - from_y) * step // DRAG_STEPS
            moves.append(f"mousemove {at[0]} {at[1]} sleep {STEP_SECONDS}")
        commands = [f"xdotool {' '.join(moves)} sleep 1"]
        if picture:
            commands.append(f"import -window root {shlex.quote(str(self._driver.out / picture))}.png")
        commands.append("xdotool mouseup 1")
        # Another process must do this: on X11 Blender runs no timer while something is dragged over its window.
        hand = subprocess.Popen(["/bin/sh", "-c", " && ".join(commands)])
        while hand.poll() is None:
            yield 0.1
        yield 1.5

    def close(self) -> None:
        """Close the window."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=10)
            self._process = None
