# SPDX-License-Identifier: Apache-2.0
"""The direction of each joint's bone at rest, about which its twist is counted. Imports: torch, the body's model."""

import torch
from jaxtyping import Float
from torch import Tensor

from ikol.body.model import BodyModel

# of the joints with several children: the one that continues the bone; none where a bone ends in the face
_MAIN_CHILD = {"Pelvis": "Spine1", "Spine3": "Neck", "Head": None, "L_Wrist": "L_Middle1", "R_Wrist": "R_Middle1"}


def bone_axes(body: BodyModel) -> Float[Tensor, "joints 3"]:
    """Return the unit direction from each joint to its main child; a leaf goes on as its parent's bone does."""
    rest, children = body.joints_template, body.tree.children
    ends = torch.zeros_like(rest)
    names = body.tree.names
    for joint, parent in enumerate(body.tree.parents):
        main = _MAIN_CHILD.get(names[joint], "")
        if main is None or not children[joint]:
            ends[joint] = rest[joint] - rest[parent]
        else:
            ends[joint] = rest[names.index(main) if main in names else children[joint][0]] - rest[joint]
    return ends / ends.norm(dim=-1, keepdim=True)
