#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compare rigid and elastic bones: `compare_elastic.py [--frames N] [--seed N] [--poses SET] [--json FILE]`."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import torch

from ikol.evaluation.elastic_comparison import compare_elastic
from ikol.evaluation.solver_comparison import POSES


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=500, help="in each setting")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--poses", choices=POSES, default=POSES[0])
    parser.add_argument("--json", type=Path, help="write all numbers to this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = compare_elastic(options.frames, options.seed, options.poses)
    print("| setting | method | residual mm | joint error mm | rotation error deg | converged |")
    print("|---|---|---|---|---|---|")
    for row in rows:
        share = "-" if row.converged is None else f"{100 * row.converged:.1f} %"
        numbers = f"{row.residual_mm:.2f} | {row.joint_error_mm:.2f} | {row.rotation_error_deg:.2f}"
        print(f"| {row.setting} | {row.method} | {numbers} | {share} |")
    if options.json is not None:
        report = {"seed": options.seed, "rows": [asdict(row) for row in rows]}
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
