# SPDX-License-Identifier: Apache-2.0
"""What a body does when no evidence says otherwise: a relaxed stance and how far each joint strays from it.

The spreads are round numbers for everyday poses, not measured ones: trunk and collars share bends in small parts, limbs
are free and held by limits, hands and feet stay in line unless their landmarks say otherwise (docs/adr/0007).
"""

import math
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from ikol.geometry.rotations import rotvec_to_rotmat

SHOULDERS_DOWN_DEG = 70.0  # from the T pose; arms of a standing person hang 10 to 20 degrees off the body

_SPREAD_DEG: Mapping[str, float] = {
    "Hip": 45.0,
    "Knee": 45.0,
    "Ankle": 15.0,
    "Foot": 10.0,
    "Spine1": 12.0,
    "Spine2": 10.0,
    "Spine3": 8.0,
    "Neck": 12.0,
    "Head": 15.0,
    "Collar": 12.0,
    "Shoulder": 60.0,
    "Elbow": 60.0,
    "Wrist": 20.0,
    "Hand": 8.0,
    **{f"{finger}{part}": 8.0 for finger in ("Index", "Middle", "Pinky", "Ring", "Thumb") for part in (1, 2, 3)},
    "Jaw": 8.0,
    "Eye": 8.0,
}


def relaxed_rotmat(joint_names: tuple[str, ...], dtype: torch.dtype) -> Float[Tensor, "joints 3 3"]:
    """Return the local rotations of the relaxed stance: the rest pose with lowered arms."""
    rotvec = torch.zeros(len(joint_names), 3, dtype=dtype)
    for name, sign in (("L_Shoulder", -1.0), ("R_Shoulder", 1.0)):
        if name in joint_names:
            rotvec[joint_names.index(name), 2] = sign * math.radians(SHOULDERS_DOWN_DEG)
    return rotvec_to_rotmat(rotvec)


def relaxed_sigma(joint_names: tuple[str, ...], dtype: torch.dtype) -> Float[Tensor, "joints"]:
    """Return the spread of each joint about the relaxed stance in radians; infinite for the root and unknown names."""
    spread = [_SPREAD_DEG.get(name.removeprefix("L_").removeprefix("R_"), math.inf) for name in joint_names]
    return torch.deg2rad(torch.tensor(spread, dtype=dtype))
