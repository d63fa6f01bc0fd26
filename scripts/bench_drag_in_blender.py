# SPDX-License-Identifier: Apache-2.0
"""What `scripts/bench_drag` does inside Blender: pose a photograph, drag its keypoints, time every move.

A move is answered when an answer to it, or to a later one, is on the armature's bones. Moves come as fast as a display
shows them; the socket is looked at as often as the drag's timer does in a window.
"""

import argparse
import importlib
import json
import math
import os
import sys
import tempfile
import time
from pathlib import Path

from demo_in_blender import MODULE, ROOT, install, part

MOVES_PER_SECOND = 60.0
LOOK_SECONDS = 0.008  # Blender's window looks at its timers every 5 ms at best, which makes 8 ms of the drag's 4
POINTS = ("left_wrist", "right_ankle", "right_elbow", "nose", "left_knee")
REACH = 0.04  # of the picture's longer side, about the width of a hand: how far a point is pulled
CIRCLES_PER_SECOND = 0.5
BAR = 50  # characters of the histogram's longest bar
STEP_MS = 2


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("photo", type=Path, nargs="?", default=ROOT / "samples" / "front_step.jpg")
    arguments.add_argument("--moves", type=int, default=600)
    arguments.add_argument("--json", type=Path)
    arguments.add_argument("--folder", type=Path, default=Path.cwd(), help="what relative paths are relative to")
    arguments.add_argument("--solver-python", type=Path, default=ROOT / ".venv" / "bin" / "python")
    arguments.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    options = arguments.parse_args()
    photo = options.folder / options.photo
    if not photo.is_file() or options.moves < len(POINTS):
        print(f"bench_drag: it needs a photograph ({photo}) and at least {len(POINTS)} moves", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="ikol-drag-") as user_folder:
        os.environ["BLENDER_USER_RESOURCES"] = user_folder  # before bpy is imported: fresh settings, and not the user's
        bpy = importlib.import_module("bpy")
        install(bpy, max((ROOT / "dist").glob("ikol-*.zip")), options)
        try:
            bpy.ops.ikol.pose_from_image(filepath=str(photo.resolve()))
        except RuntimeError:  # an operator's error report: Blender has printed the sentence that a user would see
            return 1
        print(
            f"[bench_drag] Blender {bpy.app.version_string}, {options.moves} moves of {len(POINTS)} points", flush=True
        )
        share = options.moves // len(POINTS)
        counts = [share + (index < options.moves % len(POINTS)) for index in range(len(POINTS))]
        latencies = [seconds for name, count in zip(POINTS, counts, strict=True) for seconds in drag(bpy, name, count)]
        bpy.ops.preferences.addon_disable(module=MODULE)  # ends the solver process
    report = summary(latencies)
    print_histogram(latencies, report)
    if options.json:
        text = json.dumps(report | {"latencies_ms": [round(1e3 * seconds, 3) for seconds in latencies]}, indent=1)
        (options.folder / options.json).write_text(text + "\n", encoding="utf-8")
    sys.stdout.flush()
    os._exit(0)  # some Blender modules end with a segmentation fault after all their work is done


def drag(bpy, name: str, moves: int) -> list[float]:
    """Drag one point in circles around where it was seen; give the seconds of each move."""
    context, keypoints = bpy.context, part("core.keypoints")
    live = part("blender.runtime").get().solver.live
    body = context.view_layer.objects.active
    grip = part("blender.live").LiveDrag(context, body)
    start = keypoints.target_pixel(grip.record, name)
    radius = REACH * max(grip.record.camera.width, grip.record.camera.height)
    moved_at: list[float] = []
    answered_at: list[float] = []
    asked = -1  # number of the move that the solver has been asked
    begin = look = time.perf_counter()
    while len(answered_at) < moves:
        now = time.perf_counter()
        if len(moved_at) < moves and now >= begin + len(moved_at) / MOVES_PER_SECOND:
            turn = 2 * math.pi * CIRCLES_PER_SECOND * len(moved_at) / MOVES_PER_SECOND
            pixel = (start[0] + radius * math.sin(turn), start[1] + radius * (1 - math.cos(turn)))
            was_out = live.is_out
            moved_at.append(time.perf_counter())
            grip.update(keypoints.move_pixels(grip.record, {name: pixel}))
            asked = asked if was_out else len(moved_at) - 1
        elif now >= look:
            look = now + LOOK_SECONDS
            if grip.pump(context):
                answered_at.extend([time.perf_counter()] * (asked + 1 - len(answered_at)))
                asked = len(moved_at) - 1
            elif grip.error is not None:
                raise SystemExit(f"bench_drag: {grip.error}")
        else:
            time.sleep(max(0.0, min(look, begin + len(moved_at) / MOVES_PER_SECOND) - now))
    grip.finish(context, f"Drag {name}")
    return [answered - moved for answered, moved in zip(answered_at, moved_at, strict=True)]


def summary(latencies: list[float]) -> dict:
    """Give the numbers of the report, in milliseconds."""
    ordered = sorted(1e3 * seconds for seconds in latencies)

    def quantile(share: float) -> float:
        return round(ordered[min(int(share * len(ordered)), len(ordered) - 1)], 2)

    shares = {"p50_ms": 0.5, "p95_ms": 0.95, "p99_ms": 0.99, "max_ms": 1.0}
    return {"moves": len(ordered), **{name: quantile(share) for name, share in shares.items()}}


def print_histogram(latencies: list[float], report: dict) -> None:
    """Print how many moves took how long."""
    counts: dict[int, int] = {}
    for seconds in latencies:
        counts[int(1e3 * seconds / STEP_MS)] = counts.get(int(1e3 * seconds / STEP_MS), 0) + 1
    for step in range(max(counts) + 1):
        count = counts.get(step, 0)
        bar = "#" * -(-BAR * count // max(counts.values()))
        print(f"{step * STEP_MS:4d} - {(step + 1) * STEP_MS:4d} ms {count:5d} {bar}")
    print(
        f"[bench_drag] from a move to the armature posed: p50 {report['p50_ms']} ms, p95 {report['p95_ms']} ms, "
        f"p99 {report['p99_ms']} ms, worst {report['max_ms']} ms"
    )


if __name__ == "__main__":
    sys.exit(main())
