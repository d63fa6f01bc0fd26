# SPDX-License-Identifier: Apache-2.0
"""What every tensor of a solve is checked for, with sentences that say what to do. Imports: torch, ikol.errors."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ikol.errors import InputError


def flatten(
    like: Tensor, batch: tuple[int, ...], what: str, tensor: Tensor, shape: tuple[int, ...]
) -> Float[Tensor, "..."]:
    """Return the tensor with one batch dimension, of size 1 where it is the same for the whole batch.

    Raises:
        InputError: type, device, shape or batch do not fit.
    """
    check_like(like, what, tensor)
    lead = tensor.shape[: tensor.ndim - len(shape)]
    fits = tensor.ndim >= len(shape) and tensor.shape[tensor.ndim - len(shape) :] == shape
    if not fits or not _broadcasts(lead, batch):
        expected = ", ".join(str(size) for size in shape)
        raise InputError(
            f"{what} must have shape (*batch, {expected}) with a batch that fits {batch}, got {tuple(tensor.shape)}"
        )
    if math.prod(lead) == 1:
        return tensor.reshape(1, *shape)
    return tensor.expand(*batch, *shape).reshape(math.prod(batch), *shape)


def _broadcasts(shape: Sequence[int], target: Sequence[int]) -> bool:
    if len(shape) > len(target):
        return False
    return all(size in (1, wanted) for size, wanted in zip(reversed(shape), reversed(target), strict=False))


def check_like(like: Tensor, what: str, tensor: Tensor) -> None:
    """Refuse a tensor of another type or on another device than the skeleton's.

    Raises:
        InputError: with `what` it is.
    """
    if tensor.dtype != like.dtype or tensor.device != like.device:
        raise InputError(
            f"{what} is {tensor.dtype} on {tensor.device}, the tree is {like.dtype} on {like.device}; convert one of "
            "them with .to()"
        )


def check_finite(what: str, tensor: Tensor) -> None:
    """Refuse NaN and infinite numbers.

    Raises:
        InputError: with `what` holds them.
    """
    if not bool(torch.isfinite(tensor).all()):
        raise InputError(f"{what} holds NaN or infinite numbers; give a missing row the sigma inf, or leave it out")


def check_rotations(what: str, rotmat: Tensor) -> None:
    """Refuse matrices that are no rotations.

    Raises:
        InputError: with `what` holds them.
    """
    eye = torch.eye(3, dtype=rotmat.dtype, device=rotmat.device)
    first, second, third = rotmat.unbind(-2)
    is_right_handed = (torch.linalg.cross(first, second) * third).sum(-1) > 0  # a fifth of the time of linalg.det
    # a hundredth: rotations that went through a file with three digits are taken, scaled or mixed-up ones are not
    if not bool(((rotmat @ rotmat.transpose(-1, -2) - eye).abs() < 1e-2).all() & is_right_handed.all()):
        raise InputError(f"{what} must hold rotation matrices; some are not orthonormal, or are mirrored")
