# SPDX-License-Identifier: Apache-2.0
"""Answers to joints: points, maps or distributions to places and confidences, rotations to twists.

Everything that comes from a network is checked here: shapes, and numbers that are none. Imports: torch, geometry.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ikol.errors import InputError
from ikol.geometry.rotations import rotvec_to_rotmat
from ikol.regressor.manifest.manifest import Input, Outputs

NUM_SMPL = 24
MIN_CELLS = 3  # of a map's side: the largest value and its neighbours


@dataclass(frozen=True)
class PlaneJoints:
    """Joints on a network's input."""

    points: Float[Tensor, "joints 2"]
    """0 to 1 over the input's columns and rows, or pixels of the picture."""
    conf: Float[Tensor, "joints"]
    """0 to 1; not finite where a joint's place is not."""


def pick(answers: Mapping[str, Tensor], key: str, what: str) -> Tensor:
    """Return one answer as float32, without its batch dimension of one.

    Raises:
        InputError: the network gives no such answer.
    """
    if key not in answers:
        raise InputError(f"the network gives no {key!r} for {what}; it gives {', '.join(answers) or 'nothing'}")
    value = answers[key].detach().float()
    return value[0] if value.ndim > 1 and value.shape[0] == 1 else value


def decode_plane(answers: Mapping[str, Tensor], outputs: Outputs, size: Input, joints: int) -> PlaneJoints:
    """Return the 2D joints of one crop.

    Raises:
        InputError: the answer has another shape than the manifest says.
    """
    found = pick(answers, outputs.joints2d, "joints2d")
    kind = outputs.joints2d_kind
    dimensions = {"points": 2, "heatmap": 3, "simcc": 2}[kind]
    if found.ndim != dimensions or len(found) != joints or (kind == "points" and found.shape[1] < 2):
        raise InputError(
            f"joints2d ({kind}) must have {dimensions} dimensions and {joints} joints, got {tuple(found.shape)}; check "
            "joint_set and outputs"
        )
    if kind != "points":
        _check_cells(found, "joints2d")
    rows, columns = size.size
    match kind:
        case "points":
            scale = (columns, rows) if outputs.joints2d_space == "crop_pixels" else (1.0, 1.0)
            points = found[:, :2] / found.new_tensor(scale)
            conf = found[:, 2] if found.shape[1] > 2 else torch.ones(joints)
        case "heatmap":
            points, conf = _peaks(found)
        case "simcc":
            across, down = found, pick(answers, outputs.joints2d_y, "joints2d_y")
            if down.ndim != 2 or len(down) != joints:
                raise InputError(f"joints2d_y must be (joints, cells) of {joints} joints, got {tuple(down.shape)}")
            _check_cells(down, "joints2d_y")
            x, at_x = _peak(across)
            y, at_y = _peak(down)
            # cell i of a distribution is the place i / cells of the input, see RTMPose's split ratio
            points = torch.stack([x / across.shape[1], y / down.shape[1]], -1)
            conf = torch.minimum(at_x, at_y)
    if outputs.conf:
        conf = confidence(answers, outputs.conf, joints)
    return PlaneJoints(points, torch.where(points.isfinite().all(-1), conf.clamp(0.0, 1.0), torch.nan))


def _check_cells(found: Tensor, what: str) -> None:
    """Refuse maps and distributions that are too small for a peak between two neighbours."""
    if min(found.shape[1:]) < MIN_CELLS:
        raise InputError(f"{what} must have at least {MIN_CELLS} cells along each side, got {tuple(found.shape)}")


def confidence(answers: Mapping[str, Tensor], key: str, joints: int) -> Float[Tensor, "joints"]:
    """Return one confidence a joint.

    Raises:
        InputError: there are more or less of them.
    """
    found = pick(answers, key, "conf").flatten()
    if len(found) != joints:
        raise InputError(f"conf must have one number for each of the {joints} joints, got {len(found)}")
    return found


def _peak(values: Float[Tensor, "joints cells"]) -> tuple[Float[Tensor, "joints"], Float[Tensor, "joints"]]:
    """Return the cell of the largest value, moved by what a parabola through its neighbours says, and that value."""
    best, index = values.max(-1)
    inner = index.clamp(1, values.shape[1] - 2)
    before, here, after = (values.gather(1, (inner + step)[:, None])[:, 0] for step in (-1, 0, 1))
    bend = before - 2 * here + after
    is_peak = (bend < 0) & (inner == index)
    shift = torch.where(is_peak, 0.5 * (before - after) / torch.where(is_peak, bend, -torch.ones_like(bend)), 0.0)
    return index + shift.clamp(-0.5, 0.5), best


def _peaks(maps: Float[Tensor, "joints rows columns"]) -> tuple[Float[Tensor, "joints 2"], Float[Tensor, "joints"]]:
    """Return where maps are largest, 0 to 1; the middle of cell i of n is (i + 1/2) / n."""
    joints, rows, columns = maps.shape
    conf, flat = maps.flatten(1).max(-1)
    every = torch.arange(joints)
    along_x, along_y = maps[every, flat // columns], maps[every, :, flat % columns]
    points = torch.stack([(_peak(along_x)[0] + 0.5) / columns, (_peak(along_y)[0] + 0.5) / rows], -1)
    return points, conf


def decode_space(answers: Mapping[str, Tensor], key: str, joints: int) -> Float[Tensor, "joints 3"]:
    """Return the 3D joints.

    Raises:
        InputError: the answer has another shape.
    """
    found = pick(answers, key, "joints3d")
    if found.shape != (joints, 3):
        raise InputError(f"joints3d must be ({joints}, 3) for this joint_set, got {tuple(found.shape)}")
    return found


def decode_twist(answers: Mapping[str, Tensor], key: str) -> Float[Tensor, "24"]:
    """Return the angles about SMPL's bones, radians; of the root where it is not there, not a number.

    Raises:
        InputError: the answer has another shape.
    """
    found = pick(answers, key, "twist")
    if found.ndim == 1 and len(found) in (2 * NUM_SMPL - 2, 2 * NUM_SMPL):
        found = found.reshape(-1, 2)
    if found.ndim == 2 and found.shape[1] == 2:
        found = torch.where((found == 0).all(-1), torch.nan, torch.atan2(found[:, 1], found[:, 0]))
    if found.ndim != 1 or len(found) not in (NUM_SMPL - 1, NUM_SMPL):
        raise InputError(f"twist must have 23 or 24 angles, or pairs of cosine and sine, got {tuple(found.shape)}")
    return found if len(found) == NUM_SMPL else torch.cat([torch.full((1,), torch.nan), found])


def decode_rotations(found: Tensor) -> Float[Tensor, "24 3 3"]:
    """Return SMPL's local rotations, from matrices or rotation vectors; of more joints (SMPL-X) the first 22.

    Raises:
        InputError: the answer has another shape.
    """
    found = found.detach().float()
    if found.numel() == NUM_SMPL * 9:
        return found.reshape(NUM_SMPL, 3, 3)
    if found.ndim == 1 and found.numel() in (NUM_SMPL * 3, 165):
        vectors = found.reshape(-1, 3)[:NUM_SMPL].clone()
        if found.numel() == 165:
            vectors[22:] = torch.nan  # SMPL-X has the jaw and an eye there
        return rotvec_to_rotmat(vectors)
    raise InputError(f"smpl_rotmats must be (24, 3, 3) or 72 numbers, got {tuple(found.shape)}")
