# SPDX-License-Identifier: Apache-2.0
"""Linear blend skinning: from shape and joint rotations to posed vertices.

Here: the mesh. Not here: the joints alone (kinematics), which is all that the solver needs. Imports: torch, ikol.body.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from ikol.body.kinematics import forward_kinematics
from ikol.body.model import BodyModel


def linear_blend_skinning(
    model: BodyModel,
    betas: Float[Tensor, "*#batch betas"],
    local_rotmat: Float[Tensor, "*#batch joints 3 3"],
    transl: Float[Tensor, "*#batch 3"],
) -> Float[Tensor, "*batch vertices 3"]:
    """Pose the mesh: v' = sum_j w_vj (G_j (v - rest_j) + x_j) + transl.

    v is shaped by the betas and, where the body has them, by pose blend shapes. The 3x4 transforms are blended first
    and applied once a vertex, so the cost does not grow with the number of joints that a vertex follows. Batch shapes
    broadcast.

    Args:
        model: the body, on the device and of the type of the inputs.
        betas: shape coefficients, unit variance.
        local_rotmat: relative to the parent; the root's is relative to the world.
        transl: metres, added to the root joint.

    Returns:
        Vertices in metres, world.

    Source: Loper et al., "SMPL: a skinned multi-person linear model", 2015, equations 2 to 10.
    """
    rest_joints = model.rest_joints(betas)
    # transl is added last: rows of weights that sum to 1 within float32 would scale it
    pose = forward_kinematics(model.tree, rest_joints, local_rotmat, torch.zeros_like(transl))
    vertices = model.rest_vertices(betas)
    if model.posedirs is not None:
        identity = torch.eye(3, dtype=local_rotmat.dtype, device=local_rotmat.device)
        feature = (local_rotmat[..., 1:, :, :] - identity).flatten(-3)
        vertices = vertices + torch.einsum("vip,...p->...vi", model.posedirs, feature)
    offset = pose.joints - (pose.global_rotmat @ rest_joints[..., None])[..., 0]
    transform = torch.cat([pose.global_rotmat, offset[..., None]], dim=-1).flatten(-2)  # (*b, J, 12)
    blended = (model.lbs_weights @ transform).unflatten(-1, (3, 4))
    return (blended[..., :3] @ vertices[..., None])[..., 0] + blended[..., 3] + transl[..., None, :]
