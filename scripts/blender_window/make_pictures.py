# SPDX-License-Identifier: Apache-2.0
"""Cut the pictures of the documentation from what the stories photographed: `make_pictures.py [FOLDER]`.

FOLDER holds the stories' results (default: out/window/trixie, where scripts/blender_window/check leaves them). Writes
docs/pictures/window_*.png of at most 400 kB each: in all colours where that is enough, else in 256, dithered. The film
of the story `tour` becomes docs/pictures/drag.gif as it is.
"""

import argparse
import shutil
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
TARGET = ROOT / "docs" / "pictures"
COLOURS = 256
MAX_BYTES = 400_000
GAP = 12
"""Pixels between pictures that stand side by side."""

Box = tuple[int, int, int, int]
WINDOW: Box = (0, 0, 1600, 1000)
SIDEBAR: Box = (1036, 80, 1326, 480)
VIEW: Box = (400, 28, 920, 905)


@dataclass(frozen=True)
class Picture:
    """One picture of the documentation."""

    name: str
    sources: tuple[str, ...]
    """Of each part its STORY/PICTURE, left to right."""
    box: Box
    """What is cut from each, in pixels of the screen."""
    width: int
    """Of the result, or of each of its parts."""


PICTURES = (
    Picture(
        "install",
        ("install/1_fresh", "install/4_fetching", "install/5_cancelled", "install/7_ready"),
        (1036, 80, 1300, 300),
        264,
    ),
    Picture(
        "install_trouble_1",
        tuple(f"install_trouble/{name}" for name in ("1_offline", "2_no_space", "3_proxy", "4_no_network")),
        (1036, 80, 1300, 390),
        264,
    ),
    Picture(
        "install_trouble_2",
        tuple(f"install_trouble/{name}" for name in ("5_certificate", "6_not_writable", "7_path", "8_no_set")),
        (1036, 80, 1300, 440),
        264,
    ),
    Picture("server", ("panel/2_dark",), (956, 1898, 1210, 2192), 254),
    Picture("preferences", ("first_pose/2_preferences",), (834, 0, 1522, 480), 688),
    Picture("ready", ("first_pose/4_ready",), SIDEBAR, 290),
    Picture("file_browser", ("first_pose/5_file_browser",), (490, 186, 1354, 836), 864),
    Picture("progress", ("first_pose/6_progress",), SIDEBAR, 290),
    Picture("posed", ("first_pose/7_posed",), WINDOW, 1120),
    Picture("dragging", ("drop/1_dragging",), (60, 54, 1326, 940), 900),
    Picture("chooser", ("drop/2_chooser",), (60, 240, 760, 580), 700),
    Picture("dropped", ("drop/4_posed",), WINDOW, 1120),
    Picture("photo_tool", ("photo_drag/1_tool",), WINDOW, 1120),
    Picture("photo_drag", ("photo_drag/2_hover", "photo_drag/3_dragging"), (480, 150, 880, 650), 400),
    Picture("people", ("people/6_all",), (0, 50, 1300, 900), 1040),
    Picture("handle_drag", ("handle_drag/1_posed", "handle_drag/2_while_dragging"), (480, 150, 880, 650), 400),
    Picture("keypoints", ("panel/1_locked_out_of_reach",), (956, 486, 1206, 1000), 250),
    Picture("uncertainty", ("insight/2_uncertainty_from_the_side",), (250, 60, 1030, 900), 560),
    Picture("alternatives", ("insight/8_next_alternative",), (250, 60, 1030, 900), 560),
    Picture(
        "rigs_1", tuple(f"rigs/{name}" for name in ("mixamo", "unreal", "vrm", "metarig")), (440, 60, 980, 900), 300
    ),
    Picture(
        "rigs_2", tuple(f"rigs/{name}" for name in ("rigify", "long_legs", "short_legs")), (440, 60, 980, 900), 300
    ),
    Picture("rigs_panel", ("rigs/metarig",), (1036, 80, 1326, 960), 290),
    Picture("own_network", ("own_network/4_posed", "own_network/6_dragged"), (480, 150, 1300, 800), 560),
    Picture("views", tuple(f"views/{3 + number}_camera_{number}" for number in range(4)), (414, 170, 908, 760), 260),
    Picture("nobody", ("trouble/3_wall",), SIDEBAR, 290),
    Picture("killed", ("trouble/5_killed",), SIDEBAR, 290),
)


def make_picture(picture: Picture, results: Path) -> Image.Image:
    """Cut, put side by side, scale."""
    parts: list[Image.Image] = []
    for source in picture.sources:
        with Image.open(results / f"{source}.png") as screen:
            part = screen.convert("RGB").crop(picture.box)
        height = round(part.height * picture.width / part.width)
        parts.append(part.resize((picture.width, height), Image.Resampling.LANCZOS))
    whole = Image.new("RGB", ((picture.width + GAP) * len(parts) - GAP, parts[0].height), "white")
    for index, part in enumerate(parts):
        whole.paste(part, (index * (picture.width + GAP), 0))
    return whole


def save(whole: Image.Image, path: Path) -> int:
    """Write the picture and give its size in bytes."""
    whole.save(path, optimize=True)
    if path.stat().st_size > MAX_BYTES:
        palette = whole.quantize(COLOURS, method=Image.Quantize.MAXCOVERAGE)
        whole.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG).save(path, optimize=True)
    return path.stat().st_size


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=ROOT / "out" / "window" / "trixie")
    results = parser.parse_args().folder
    TARGET.mkdir(parents=True, exist_ok=True)
    too_large = 0
    shutil.copyfile(results / "tour" / "drag.gif", TARGET / "drag.gif")
    for picture in PICTURES:
        path = TARGET / f"window_{picture.name}.png"
        size = save(make_picture(picture, results), path)
        too_large += size > MAX_BYTES
        print(f"{path.relative_to(ROOT)}: {size // 1000} kB{' (too large)' if size > MAX_BYTES else ''}")
    return 1 if too_large else 0


if __name__ == "__main__":
    raise SystemExit(main())
