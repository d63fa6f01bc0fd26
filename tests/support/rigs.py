# SPDX-License-Identifier: Apache-2.0
"""Skeletons made by hand for the tests: SMPL's tree with rounded lengths, a chain, a star; random poses of them."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ikol.body.joint_tree import JointTree
from ikol.body.points import AttachedPoints
from ikol.geometry.rotations import rotvec_to_rotmat
from ikol.solver.anatomy import default_limits
from ikol.solver.skeleton import Skeleton

SMPL_NAMES = (
    *("Pelvis", "L_Hip", "R_Hip", "Spine1", "L_Knee", "R_Knee", "Spine2", "L_Ankle", "R_Ankle", "Spine3", "L_Foot"),
    *("R_Foot", "Neck", "L_Collar", "R_Collar", "Head", "L_Shoulder", "R_Shoulder", "L_Elbow", "R_Elbow", "L_Wrist"),
    *("R_Wrist", "L_Hand", "R_Hand"),
)
SMPL_PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21)

# metres from the parent, of the pelvis from the origin; rounded by hand for a person of 1.7 m in the T-pose, left = +X
_LEFT_OFFSETS = {
    "Hip": (0.07, -0.09, -0.01),
    "Knee": (0.03, -0.38, 0.0),
    "Ankle": (-0.01, -0.4, -0.04),
    "Foot": (0.04, -0.06, 0.12),
    "Collar": (0.08, 0.11, -0.02),
    "Shoulder": (0.1, 0.03, -0.01),
    "Elbow": (0.26, -0.01, -0.02),
    "Wrist": (0.25, 0.01, 0.0),
    "Hand": (0.08, -0.01, -0.01),
}
_MIDDLE_OFFSETS = {
    "Pelvis": (0.0, 0.95, 0.02),
    "Spine1": (0.0, 0.12, -0.02),
    "Spine2": (0.0, 0.14, 0.0),
    "Spine3": (0.0, 0.05, 0.02),
    "Neck": (0.0, 0.21, -0.03),
    "Head": (0.0, 0.09, 0.05),
}
# points off the joints, metres from theirs; they make the turns of head, hands and feet visible
_OFFSET_POINTS = {
    "nose": ("Head", (0.0, 0.01, 0.12)),
    "left_ear": ("Head", (0.07, 0.02, 0.01)),
    "right_ear": ("Head", (-0.07, 0.02, 0.01)),
    "left_index": ("L_Wrist", (0.1, -0.01, 0.03)),
    "left_pinky": ("L_Wrist", (0.09, -0.01, -0.03)),
    "right_index": ("R_Wrist", (-0.1, -0.01, 0.03)),
    "right_pinky": ("R_Wrist", (-0.09, -0.01, -0.03)),
    "left_heel": ("L_Ankle", (0.0, -0.05, -0.05)),
    "right_heel": ("R_Ankle", (0.0, -0.05, -0.05)),
    "left_toe": ("L_Foot", (-0.01, -0.01, 0.06)),
    "right_toe": ("R_Foot", (0.01, -0.01, 0.06)),
}


def smpl_tree() -> JointTree:
    """SMPL's tree of 24 joints."""
    return JointTree(names=SMPL_NAMES, parents=SMPL_PARENTS)


def smpl_rest_joints(dtype: torch.dtype = torch.float64) -> Tensor:
    """Rest joints (24, 3) of SMPL's tree, metres."""
    rest = torch.zeros(len(SMPL_NAMES), 3, dtype=dtype)
    for joint, (name, parent) in enumerate(zip(SMPL_NAMES, SMPL_PARENTS, strict=True)):
        if name in _MIDDLE_OFFSETS:
            offset = torch.tensor(_MIDDLE_OFFSETS[name], dtype=dtype)
        else:
            side, part = name.split("_")
            offset = torch.tensor(_LEFT_OFFSETS[part], dtype=dtype)
            offset[0] *= 1.0 if side == "L" else -1.0
        rest[joint] = offset if parent < 0 else rest[parent] + offset
    return rest


def smpl_shapedirs(num_betas: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Shape directions (24, 3, B) of the rest joints: overall scale first, then seeded small changes of a few cm."""
    generator = torch.Generator().manual_seed(7)
    directions = 0.02 * torch.randn(len(SMPL_NAMES), 3, num_betas, dtype=torch.float64, generator=generator)
    if num_betas:
        directions[..., 0] = 0.05 * smpl_rest_joints()
    return directions.to(dtype)


def smpl_skeleton(num_betas: int = 3, dtype: torch.dtype = torch.float64) -> Skeleton:
    """SMPL's tree with rounded lengths and a made-up shape space."""
    return Skeleton(smpl_tree(), smpl_rest_joints(dtype), smpl_shapedirs(num_betas, dtype))


def smpl_points(num_betas: int = 3, dtype: torch.dtype = torch.float64) -> AttachedPoints:
    """The 24 joints, then eleven points off them."""
    rest, shapedirs = smpl_rest_joints(dtype), smpl_shapedirs(num_betas, dtype)
    carriers = [SMPL_NAMES.index(joint) for joint, _ in _OFFSET_POINTS.values()]
    offsets = torch.tensor([offset for _, offset in _OFFSET_POINTS.values()], dtype=dtype)
    return AttachedPoints(
        names=(*SMPL_NAMES, *_OFFSET_POINTS),
        joint_index=torch.tensor([*range(24), *carriers]),
        rest=torch.cat((rest, rest[carriers] + offsets)),
        shapedirs=torch.cat((shapedirs, 1.1 * shapedirs[carriers])),
    )


def plausible_rotmats(
    shape: Sequence[int], seed: int, scale: float = 0.6, dtype: torch.dtype = torch.float64
) -> Tensor:
    """Local rotations (*shape, 24, 3, 3) inside `scale` of a human's limits, elbows and knees over their whole range.

    The root's is the identity.
    """
    generator = torch.Generator().manual_seed(seed)
    limits = default_limits(smpl_tree(), dtype=torch.float64)
    low = torch.cat((limits.twist_range[:, :1], limits.swing_range[:, 0::2]), dim=-1)
    high = torch.cat((limits.twist_range[:, 1:], limits.swing_range[:, 1::2]), dim=-1)
    fraction = torch.rand(*shape, len(low), 3, dtype=torch.float64, generator=generator)
    spread = torch.full_like(low, scale)
    spread[limits.is_hinge, 1] = 1.0
    # 0.7: two swings at once then stay inside the ellipse
    angles = spread * (low + (high - low) * fraction) * torch.where(limits.is_hinge, 1.0, 0.7)[:, None]
    twist = rotvec_to_rotmat(angles[..., :1] * limits.axes[:, 0])
    swing = rotvec_to_rotmat((angles[..., 1:, None] * limits.axes[:, 1:]).sum(-2))
    rotmats = torch.eye(3, dtype=torch.float64).repeat(*shape, 24, 1, 1)
    rotmats[..., limits.joint_index, :, :] = swing @ twist
    return rotmats.to(dtype)


def chain_tree(num_joints: int) -> JointTree:
    """A rope of joints, each the parent of the next."""
    return JointTree(
        names=tuple(f"joint{k}" for k in range(num_joints)), parents=tuple(k - 1 for k in range(num_joints))
    )


def star_tree(num_joints: int) -> JointTree:
    """A root with all the other joints as its children."""
    return JointTree(names=tuple(f"joint{k}" for k in range(num_joints)), parents=(-1,) + (0,) * (num_joints - 1))


def random_rotmats(shape: Sequence[int], angle_sd: float, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Rotations (*shape, 3, 3) with normally distributed rotation vectors of `angle_sd` radians a component."""
    generator = torch.Generator().manual_seed(seed)
    return rotvec_to_rotmat((angle_sd * torch.randn(*shape, 3, dtype=torch.float64, generator=generator)).to(dtype))
