#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Solve for the test set's true keypoints with noise, and with some of them missing; true twists and shapes.

Methods that know no missing keypoints get a stand-in, see `solving.on_parents`.
"""

from functools import partial

import torch
from measures import Numbers, pose_errors, spread
from solving import hybrik, on_parents, ours, released
from study import body, read_study, test_batch

from ikol.training.network.config import Layer
from ikol.training.network.posing import PosingLayer

NOISES, MISSING = (0.0, 10.0, 20.0, 40.0, 80.0), (0.0, 0.1, 0.2, 0.4)  # mm an axis, share of the 28 below the root
METHODS = {"HybrIK, naive": partial(hybrik, rule="naive"), "HybrIK, adaptive": hybrik, "released IKOL": released}


@torch.no_grad()
def main() -> None:
    study = read_study("noise", __doc__)
    batch, mesh = test_batch(study.size), body()
    posing = PosingLayer(mesh, Layer())
    twist = posing.twist_of(batch.local_rotmat, batch.betas)
    cases = [(noise, 0.0) for noise in NOISES] + [(20.0, share) for share in MISSING[1:]]
    values: dict[str, dict[str, list[Numbers]]] = {}
    for noise, share in cases:
        row = values.setdefault(f"{noise:g} mm, {100 * share:g} % missing", {})
        for seed in range(study.size.seeds):
            generator = torch.Generator().manual_seed(seed)
            moved = torch.randn(batch.joints.shape, generator=generator) * noise / 1000
            moved[:, 0] = 0.0
            seen = (torch.rand(moved.shape[:2], generator=generator) >= share).float()
            seen[:, 0] = 1.0
            keypoints = batch.joints - batch.joints[:, :1] + moved
            filled = on_parents(posing, keypoints, seen, batch.betas)
            found = {name: method(posing, filled, twist, batch.betas) for name, method in METHODS.items()}
            found["our layer"] = ours(posing, keypoints, twist, batch.betas, seen)
            for name, rotmat in found.items():
                row.setdefault(name, []).append(pose_errors(posing, mesh, batch, rotmat, batch.betas))
    names = [*METHODS, "our layer"]
    lines = [f"| keypoints | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for case, row in values.items():
        runs = [row[name] for name in names]
        cells = [" / ".join(spread([each[key] for each in run]) for key in ("mpjpe", "rotations")) for run in runs]
        lines.append(f"| {case} | {' | '.join(cells)} |")
    study.finish("\n".join(lines), values)


if __name__ == "__main__":
    main()
