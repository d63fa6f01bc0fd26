# SPDX-License-Identifier: Apache-2.0
"""What is measured of a pose, and tables of means with their spread."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ikol.body.model import BodyModel
from ikol.body.skinning import linear_blend_skinning
from ikol.evaluation.metrics import geodesic_deg, mpjpe, pa_mpjpe
from ikol.training.network.batches import Batch
from ikol.training.network.posing import NUM_BODY_JOINTS, PosingLayer

_AT_ONCE = 64  # bodies of 13,492 vertices
Numbers = dict[str, float]


@torch.no_grad()
def pose_errors(
    posing: PosingLayer, model: BodyModel, batch: Batch, rotmat: Tensor, betas: Tensor, root: Tensor | None = None
) -> Numbers:
    """Return mean errors of rotations (batch, 24, 3, 3) with a shape.

    Joints are SMPL's 24 and vertices those of the mesh, both from the pelvis, in millimetres; rotations are local, in
    degrees; places on the picture, where the root's is given (batch, 3), in per cent of the crop's side.
    """
    joints = posing.joints(rotmat, betas)
    found, truth = joints[:, :NUM_BODY_JOINTS], (batch.joints - batch.joints[:, :1])[:, :NUM_BODY_JOINTS]
    all_known = torch.ones(found.shape[:2], dtype=torch.bool)
    apart = _mesh(model, rotmat, betas) - _mesh(model, batch.local_rotmat, batch.betas)
    numbers = {
        "mpjpe": 1000 * mpjpe(found, truth, all_known),
        "pa": 1000 * pa_mpjpe(found, truth, all_known),
        "rotations": geodesic_deg(rotmat, batch.local_rotmat).mean(-1),
        "pve": 1000 * apart.norm(dim=-1).mean(-1),
    }
    if root is not None:
        place = joints + root[:, None]
        pixels = place[..., :2] / place[..., 2:] * batch.focal[:, None] + batch.center[:, None]
        numbers["picture"] = 100 * ((pixels - batch.pixels).norm(dim=-1) / batch.crop_side[:, None]).mean(-1)
    return {name: float(values.mean()) for name, values in numbers.items()}


def _mesh(model: BodyModel, rotmat: Tensor, betas: Tensor) -> Tensor:
    """Return the vertices from the pelvis."""
    parts: list[Tensor] = []
    for turned, shape in zip(rotmat.split(_AT_ONCE), betas.split(_AT_ONCE), strict=True):
        parts.append(linear_blend_skinning(model, shape, turned, -model.rest_joints(shape)[:, 0]))
    return torch.cat(parts)


def spread(values: Sequence[float]) -> str:
    """Return the mean and the standard deviation, which one value alone has not."""
    numbers = torch.tensor(values, dtype=torch.float64)
    mean = f"{numbers.mean():.1f}"
    return mean if len(values) == 1 else f"{mean} ± {numbers.std():.1f}"


def table(rows: Mapping[str, Sequence[Numbers]], columns: Mapping[str, str], first: str = "") -> str:
    """Return a table; a row is the same measurement with several seeds."""
    lines = [f"| {first} | {' | '.join(columns.values())} |", "|---" * (len(columns) + 1) + "|"]
    for name, runs in rows.items():
        cells = [spread([run[key] for run in runs]) if key in runs[0] else "" for key in columns]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


POSE_COLUMNS = {
    "mpjpe": "MPJPE, mm",
    "pa": "PA-MPJPE, mm",
    "rotations": "rotations, deg",
    "pve": "PVE, mm",
    "picture": "2D, % of the crop",
}
