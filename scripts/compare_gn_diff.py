#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Print what GN-Diff's dropped term changes: `compare_gn_diff.py [--frames N] [--steps N] [--seed N] [--json FILE]`."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import torch

from ikol.evaluation.gn_diff import compare_gn_diff


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--steps", type=int, default=5, help="of Gauss-Newton")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write all numbers to this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = compare_gn_diff(options.frames, options.seed, options.steps)
    print(
        "| unknowns | targets | change by the term | cosine | error with it, of the steps | without "
        "| with it, of the solution | without |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for row in rows:
        numbers = (row.change, row.error_full, row.error_dropped, row.error_full_converged, row.error_dropped_converged)
        change, full, dropped, full_converged, dropped_converged = (f"{100 * number:.3g} %" for number in numbers)
        errors = f"{full} | {dropped} | {full_converged} | {dropped_converged}"
        print(f"| {row.parametrisation} | {row.noise} | {change} | {row.cosine:.4f} | {errors} |")
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")


if __name__ == "__main__":
    main()
