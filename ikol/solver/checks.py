# SPDX-License-Identifier: Apache-2.0
"""What every tensor of a solve is checked for, with sentences that say what to do.

Imports: torch, ikol.body, ikol.errors.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ikol.body.points import AttachedPoints
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
    if not fits or not broadcasts(lead, batch):
        expected = ", ".join(str(size) for size in shape)
        raise InputError(
            f"{what} must have shape (*batch, {expected}) with a batch that fits {batch}, got {tuple(tensor.shape)}"
        )
    if math.prod(lead) == 1:
        return tensor.reshape(1, *shape)
    return tensor.expand(*batch, *shape).reshape(math.prod(batch), *shape)


def broadcasts(shape: Sequence[int], target: Sequence[int]) -> bool:
    """Say whether a shape broadcasts to another."""
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


def check_tensor(what: str, value: object) -> None:
    """Refuse arrays of numpy, lists and numbers where a tensor is meant.

    Raises:
        InputError: with `what` it is, and what to do.
    """
    if not isinstance(value, Tensor):
        raise InputError(f"{what} must be a torch tensor, got {type(value).__name__}; convert it with torch.as_tensor")


_OTHERS = ("points", "camera", "loss", "name", "tolerance")  # fields of evidence that are no tensors


def check_tensors(what: str, fields: Mapping[str, object]) -> None:
    """Do so for the fields of a block of evidence, or of a state.

    Raises:
        InputError: with `what` it is.
    """
    for field, value in fields.items():
        if field not in _OTHERS and value is not None and not isinstance(value, AttachedPoints):
            check_tensor(f"{what}: {field}", value)


def check_indices(what: str, index: Tensor, count: int) -> None:
    """Refuse what cannot be a list of joints.

    Raises:
        InputError: other numbers than whole ones, another shape, or beyond the `count` joints.
    """
    if index.is_floating_point() or index.is_complex() or index.dtype == torch.bool or index.ndim != 1:
        raise InputError(
            f"{what}: joint indices must be whole numbers in one dimension, got {index.dtype} of shape "
            f"{tuple(index.shape)}; convert with .long()"
        )
    if index.numel() and not 0 <= int(index.min()) <= int(index.max()) < count:
        raise InputError(
            f"{what}: joint indices must lie between 0 and {count - 1}, got {int(index.min())} to {int(index.max())}; "
            "is it meant for another skeleton?"
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
