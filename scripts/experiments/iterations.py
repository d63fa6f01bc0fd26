#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Count how many steps, and how much damping, the layers need on what a trained network says of test pictures."""

import torch
from measures import POSE_COLUMNS, Numbers, pose_errors, table
from solving import hybrik, ours, released
from study import body, predict, predicted_root, read_study, test_batch, trained
from variants import LAYERS

OUR_STEPS = (0, 1, 2, 3, 5, 10, 50)
STEPS, DAMPINGS = (1, 5, 20), (0.1, 0.01, 0.001, 0.0001)


@torch.no_grad()
def main() -> None:
    study = read_study("iterations", __doc__)
    batch, mesh = test_batch(study.size), body()
    rows: dict[str, list[Numbers]] = {}
    for seed in range(study.size.seeds):
        model = trained(study, "ikol", LAYERS["ikol"], seed)
        said = predict(model, batch, study.device)
        root = predicted_root(said, batch, study.size.network)
        posing = model.cpu().posing
        angle = torch.atan2(said.twist[..., 1], said.twist[..., 0])
        given = posing, said.keypoints, torch.cat((torch.zeros_like(angle[:, :1]), angle), 1), said.betas
        found = {f"ours, at most {steps} steps": ours(*given, steps=steps) for steps in OUR_STEPS}
        found["HybrIK, adaptive"] = hybrik(*given)
        for damping in DAMPINGS:
            for steps in STEPS:
                found[f"released, u = {damping:g}, {steps} steps"] = released(*given, steps, damping)
        for name, rotmat in found.items():
            apart = 1000 * float((posing.joints(rotmat, said.betas) - said.keypoints).norm(dim=-1).mean())
            errors = pose_errors(posing, mesh, batch, rotmat, said.betas, root)
            rows.setdefault(name, []).append({"residual": apart, **errors})
    study.finish(table(rows, {"residual": "to the keypoints, mm", **POSE_COLUMNS}, "layer"), rows)


if __name__ == "__main__":
    main()
