# SPDX-License-Identifier: Apache-2.0
"""The direction of each joint's bone at rest, about which its twist is counted. Imports: torch, the body's model."""

import torch
from jaxtyping import Float
from torch import Tensor

from ikol.body.model import BodyModel

_MAIN_CHILD = {0: 3, 9: 12}  # of the joints with several children: the one that continues the spine


def bone_axes(body: BodyModel) -> Float[Tensor, "joints 3"]:
    """Return the unit direction from each joint to its main child; a leaf goes on as its parent's bone does."""
    rest, children = body.joints_template, body.tree.children
    ends = torch.zeros_like(rest)
    for joint, parent in enumerate(body.tree.parents):
        if children[joint]:
            ends[joint] = rest[_MAIN_CHILD.get(joint, children[joint][0])] - rest[joint]
        else:
            ends[joint] = rest[joint] - rest[parent]
    return ends / ends.norm(dim=-1, keepdim=True)
