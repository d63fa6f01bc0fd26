# SPDX-License-Identifier: Apache-2.0
"""Local rotations from global directions and given twists. Imports: torch, ikol.geometry, the tables."""

import torch
from jaxtyping import Float
from torch import Tensor

from ikol.geometry.rotations import rotation_between, rotvec_to_rotmat
from ikol.solver.directions.tables import Tables

OPPOSITE = 2e-6  # |axis + direction|^2 = 2 (1 + cos)


def local_rotations(
    tables: Tables,
    rotmat: Float[Tensor, "items nodes 3 3"],
    bones: Float[Tensor, "items bones 3"],
    rest_bones: Float[Tensor, "items bones 3"],
    twist: Float[Tensor, "items joints"],
) -> Float[Tensor, "items joints 3 3"]:
    """Return R = swing twist for each joint with one child, G_parent^T G for the others.

    Args:
        tables: of the tree.
        rotmat: global rotations; only those of joints with several children are used.
        bones: global bone vectors of all nodes but the root.
        rest_bones: the same in the rest pose.
        twist: radians about the rest bone.
    """
    parents = (-1, *tables.parents.tolist())
    axes = _unit(rest_bones)
    position = {joint: index for index, joint in enumerate(tables.joints)}
    found: list[Tensor] = [rotmat[:, 0]] * len(tables.joints)
    global_rotmat: dict[int, Tensor] = {}
    for level in tables.levels:
        for index, joint in enumerate(level.joints):
            above = global_rotmat.get(parents[joint])
            if not bool(level.is_single[index]):
                own = rotmat[:, joint] if above is None else above.transpose(-1, -2) @ rotmat[:, joint]
            else:
                child = int(level.only[index])
                axis, direction = axes[:, child - 1], bones[:, child - 1]
                if above is not None:
                    direction = (above.transpose(-1, -2) @ direction[..., None]).squeeze(-1)
                turn = rotvec_to_rotmat(axis * twist[:, position[joint], None])
                own = _swing(axis, direction) @ turn
            found[position[joint]] = own
            global_rotmat[joint] = own if above is None else above @ own
    return torch.stack(found, dim=1)


def _swing(axis: Float[Tensor, "items 3"], direction: Float[Tensor, "items 3"]) -> Float[Tensor, "items 3 3"]:
    """The smallest rotation of an axis onto a direction, to rounding also near half a turn.

    There the reflections of `rotation_between` miss by the rounding of the vectors over |axis + direction|: one more
    small turn puts the axis where it belongs. It is held fixed under differentiation, and so is the whole swing where
    its derivative, 2/|axis + direction|, passes 1e3.
    """
    is_opposite = (axis.detach() + _unit(direction.detach())).square().sum(-1, keepdim=True) < OPPOSITE
    axis = torch.where(is_opposite, axis.detach(), axis)
    direction = torch.where(is_opposite, direction.detach(), direction)
    swing = rotation_between(axis, direction)
    with torch.no_grad():
        miss = torch.linalg.cross((swing @ axis[..., None]).squeeze(-1), _unit(direction))
        fix = rotvec_to_rotmat(miss)
    return fix @ swing


def _unit(vector: Float[Tensor, "*items 3"]) -> Float[Tensor, "*items 3"]:
    """Unit vectors; +Y for a vector of length zero, whose direction nothing depends on."""
    square = vector.square().sum(-1, keepdim=True)
    is_zero = square <= torch.finfo(vector.dtype).tiny
    up = torch.tensor([0.0, 1.0, 0.0], dtype=vector.dtype, device=vector.device)
    return torch.where(is_zero, up, vector / torch.where(is_zero, 1.0, square).sqrt())
