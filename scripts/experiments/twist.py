#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Give the layer the network's twists, none, or the true ones; keypoints and shape are the network's."""

import torch
from measures import POSE_COLUMNS, Numbers, pose_errors, table
from solving import ours
from study import body, predict, predicted_root, read_study, test_batch, trained
from variants import LAYERS


@torch.no_grad()
def main() -> None:
    study = read_study("twist", __doc__)
    batch, mesh = test_batch(study.size), body()
    rows: dict[str, list[Numbers]] = {}
    for seed in range(study.size.seeds):
        model = trained(study, "ikol", LAYERS["ikol"], seed)
        said = predict(model, batch, study.device)
        root = predicted_root(said, batch, study.size.network)
        posing = model.cpu().posing
        true = posing.twist_of(batch.local_rotmat, batch.betas)
        angle = torch.atan2(said.twist[..., 1], said.twist[..., 0])
        said_twist = torch.cat((torch.zeros_like(angle[:, :1]), angle), 1)
        for name, twist in {"network": said_twist, "zero": torch.zeros_like(true), "true": true}.items():
            rotmat = ours(posing, said.keypoints, twist, said.betas)
            off = torch.remainder(twist - true + torch.pi, 2 * torch.pi) - torch.pi
            found = pose_errors(posing, mesh, batch, rotmat, said.betas, root)
            rows.setdefault(name, []).append({**found, "off": float(torch.rad2deg(off[:, 1:].abs()).mean())})
    study.finish(table(rows, {"off": "twist, deg", **POSE_COLUMNS}, "twist"), rows)


if __name__ == "__main__":
    main()
