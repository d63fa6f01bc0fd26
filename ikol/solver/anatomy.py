# SPDX-License-Identifier: Apache-2.0
"""How far a human's joints move, for SMPL's tree in its T-pose.

The numbers start from the normal ranges of motion that clinicians measure (American Academy of Orthopaedic Surgeons,
Joint Motion: Method of Measuring and Recording, 1965; Norkin and White, Measurement of Joint Motion) and are widened:
they are there to exclude what no body does (a knee that bends forwards, a head turned to the back), not to make poses
typical. Wider for three reasons: dancers and gymnasts exceed the normal range by a third or more, SMPL's joint centres
are not a clinician's, and the quarters of an ellipse cut off combinations of two large angles. Imports: torch, the
limits.
"""

import math
from dataclasses import dataclass

import torch

from ikol.body.joint_tree import JointTree
from ikol.solver.limits import JointLimits

X, Y, Z = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)
MINUS_Y, MINUS_Z = (0.0, -1.0, 0.0), (0.0, 0.0, -1.0)


@dataclass(frozen=True)
class _Range:
    """Limits of one joint in degrees, about axes of the T-pose; for a paired joint, of the left one."""

    axes: tuple[tuple[float, float, float], ...]
    """Twist axis, first and second swing axis."""
    swing: tuple[int, int, int, int]
    twist: tuple[int, int]
    is_hinge: bool = False


# About +X: what hangs down (a leg) goes backwards, what stands up (the trunk) leans forwards, what points forwards (a
# foot) goes down. About +Z the left leg goes outwards, about +Y its toes turn outwards.
_UPRIGHT = (Y, X, Z)
# The left arm points along +X. About -Y it goes forwards, about -Z down.
_ARM = (X, MINUS_Y, MINUS_Z)

_RANGES = {
    # normal: flexion 120, extension 30, abduction 45, adduction 30, turning out 45 and in 45
    "Hip": _Range(_UPRIGHT, swing=(-140, 40, -45, 80), twist=(-55, 60)),
    # normal: flexion 135. The default body stands with 5 degrees in its knees, so -5 is a straight leg. Sideways and
    # axial play exist in the bent knee only
    "Knee": _Range(_UPRIGHT, swing=(-5, 155, -6, 6), twist=(-25, 25), is_hinge=True),
    # normal: dorsiflexion 20, plantarflexion 50, inversion 35, eversion 20
    "Ankle": _Range(_UPRIGHT, swing=(-35, 65, -35, 35), twist=(-30, 30)),
    # the toes; normal: extension 70, flexion 45
    "Foot": _Range(_UPRIGHT, swing=(-75, 45, -12, 12), twist=(-12, 12), is_hinge=True),
    # normal for the whole trunk: flexion 80 to 90, extension 25, to the side 35, turning 45; by three joints
    "Spine1": _Range(_UPRIGHT, swing=(-25, 45, -25, 25), twist=(-25, 25)),
    "Spine2": _Range(_UPRIGHT, swing=(-25, 45, -25, 25), twist=(-25, 25)),
    "Spine3": _Range(_UPRIGHT, swing=(-25, 40, -25, 25), twist=(-25, 25)),
    # normal for the whole neck: flexion 45, extension 45, to the side 45, turning 60 to 80; by two joints
    "Neck": _Range(_UPRIGHT, swing=(-40, 45, -35, 35), twist=(-50, 50)),
    "Head": _Range(_UPRIGHT, swing=(-35, 35, -30, 30), twist=(-45, 45)),
    # normal: forwards and backwards 25, up 45, down 10
    "Collar": _Range(_ARM, swing=(-30, 35, -55, 15), twist=(-30, 30)),
    # normal from the T-pose, the collar's part included: forwards 130, backwards 45, up 90, down 90, turning 70 to 90
    "Shoulder": _Range(_ARM, swing=(-65, 140, -115, 105), twist=(-100, 100)),
    # normal: flexion 150, pronation and supination 80 to 90 each, of which SMPL's elbow carries a part. The default
    # body's elbow is 5 degrees bent at rest
    "Elbow": _Range(_ARM, swing=(-5, 155, -10, 10), twist=(-95, 95), is_hinge=True),
    # normal, palm down in the T-pose: flexion 80, extension 70, to the thumb 20, to the little finger 30
    "Wrist": _Range(_ARM, swing=(-45, 35, -85, 95), twist=(-45, 45)),
    # the fingers as one; normal at the knuckles: flexion 90, extension 45
    "Hand": _Range(_ARM, swing=(-25, 25, -50, 100), twist=(-20, 20)),
}


def default_limits(
    tree: JointTree, *, dtype: torch.dtype | None = None, device: torch.device | str | None = None
) -> JointLimits:
    """Return a human's limits for the joints whose names are SMPL's; other joints, and the root, stay free.

    Args:
        tree: any tree; of SMPL's names it may have all, some or none.
        dtype: of the limits; None for torch's default.
        device: of the limits.
    """
    found: list[tuple[int, _Range]] = []
    for joint, name in enumerate(tree.names):
        side, _, part = name.rpartition("_")
        limits = _RANGES.get(part)
        if limits is not None and (side in ("L", "R")) == (part not in ("Spine1", "Spine2", "Spine3", "Neck", "Head")):
            found.append((joint, _mirrored(limits) if side == "R" else limits))
    radians = math.pi / 180.0
    return JointLimits(
        joint_index=torch.tensor([joint for joint, _ in found], dtype=torch.long, device=device),
        axes=torch.tensor([limits.axes for _, limits in found], dtype=dtype, device=device).reshape(-1, 3, 3),
        swing_range=radians
        * torch.tensor([limits.swing for _, limits in found], dtype=dtype, device=device).reshape(-1, 4),
        twist_range=radians
        * torch.tensor([limits.twist for _, limits in found], dtype=dtype, device=device).reshape(-1, 2),
        is_hinge=torch.tensor([limits.is_hinge for _, limits in found], dtype=torch.bool, device=device),
    )


def _mirrored(limits: _Range) -> _Range:
    """Return the right joint's: a turn about (x, y, z) is, in the mirror at x = 0, the same one about (x, -y, -z)."""
    return _Range(tuple((x, -y, -z) for x, y, z in limits.axes), limits.swing, limits.twist, limits.is_hinge)
