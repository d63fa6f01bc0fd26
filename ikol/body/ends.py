# SPDX-License-Identifier: Apache-2.0
"""Where a body's limbs end: top of the head, finger tips, toes. A keypoint there tells how the last joint is turned.

Imports: torch, ikol.body.{model, points}.
"""

import torch

from ikol.body.model import BodyModel
from ikol.body.points import AttachedPoints


def end_points(body: BodyModel) -> AttachedPoints:
    """Return one skin point for each joint without children: the vertex furthest along the bone that ends there.

    It is chosen among the vertices that follow that joint more than any other, on the mean body, and is called after
    the joint: `Head_end`, `L_Hand_end`. With SMPL's 24 joints these five make the 29 keypoints of HybrIK and IKOL; for
    their very vertices use `AttachedPoints.from_vertices`.
    """
    tree = body.tree
    leaves = [joint for joint, children in enumerate(tree.children) if not children]
    owner = body.lbs_weights.argmax(-1)
    vertices: list[int] = []
    for leaf in leaves:
        bone = body.joints_template[leaf] - body.joints_template[tree.parents[leaf]]
        along = (body.v_template - body.joints_template[leaf]) @ bone
        vertices.append(int(along.masked_fill(owner != leaf, -torch.inf).argmax()))
    return AttachedPoints.from_vertices(
        tuple(f"{tree.names[leaf]}_end" for leaf in leaves),
        torch.tensor(leaves, device=body.v_template.device),
        torch.tensor(vertices, device=body.v_template.device),
        body.v_template,
        body.shapedirs,
    )
