# SPDX-License-Identifier: Apache-2.0
"""How far SMPL-X's jaw is open, from the gap between the lips on a picture.

Faces differ by more than a jaw moves: a chin that is a centimetre lower than the body's says nothing. But closed lips
touch in every face. So the gap between the inner edges of the lips is compared with the one that a turn of the jaw
opens, both as the camera sees them. The lower lip is taken to turn with the jaw as a whole; skin that follows it by a
part opens less, and the angle is too small by that part.
Imports: torch, ikol.body, ikol.camera, ikol.exchange.{motion, point_names}.
"""

import math
from dataclasses import replace
from typing import Final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ikol.body.kinematics import forward_kinematics
from ikol.body.model import BodyModel
from ikol.camera import Camera
from ikol.exchange.motion import Keypoints, Motion
from ikol.exchange.point_names import INNER_LIPS

MAX_OPEN: Final = math.radians(35.0)  # mouths open by 5 cm between the teeth, jaws turn by some 30 degrees for that
STEPS: Final = 701  # angles that are tried: a twentieth of a degree apart


def open_jaw(
    body: BodyModel, motion: Motion, keypoints: Keypoints, is_seen: Bool[Tensor, "frames points"], camera: Camera
) -> tuple[Motion, tuple[str, ...]]:
    """Return a motion whose jaw opens as far as the lips are apart, and which points were used.

    Frames in which no pair of opposite points of the lips is seen keep the jaw as it is.

    Args:
        body: any; one without a jaw keeps its motion.
        motion: of the body, in one shape.
        keypoints: on a picture, as many frames.
        is_seen: which of them are sure enough.
        camera: of the picture.
    """
    pairs = [pair for pair in INNER_LIPS if {*pair} <= {*keypoints.names}]
    if "Jaw" not in body.tree.names or not pairs:
        return motion, ()
    columns = torch.tensor([[keypoints.names.index(name) for name in pair] for pair in pairs])
    is_there = is_seen[:, columns].all(-1)
    frames = torch.nonzero(is_there.any(-1))[:, 0]
    if not len(frames):
        return motion, ()
    gaps = keypoints.points[frames][:, columns]
    weight = is_there[frames].to(gaps.dtype)[..., None]
    gap = ((gaps[:, :, 1] - gaps[:, :, 0]) * weight).sum(1) / weight.sum(1)
    jaw = body.tree.index("Jaw")
    local = motion.local_rotmat.clone()
    local[frames, jaw] = _about_x(_angles(body, motion, frames, gap, camera))
    return replace(motion, local_rotmat=local), tuple(name for pair in pairs for name in pair)


def _angles(
    body: BodyModel, motion: Motion, frames: Tensor, gap: Float[Tensor, "seen 2"], camera: Camera
) -> Float[Tensor, "seen"]:
    """Return by how much the jaw is turned, radians: the angle whose gap on the picture is nearest to the one seen."""
    betas = motion.betas[0]
    jaw, head = body.tree.index("Jaw"), body.tree.index("Head")
    rest = body.rest_joints(betas)
    mouth = body.points.select(("mouth_left", "mouth_right")).rest_points(betas).mean(0)
    posed = forward_kinematics(body.tree, rest, motion.local_rotmat[frames], motion.transl[frames])
    turn = posed.global_rotmat[:, head]
    tried = torch.linspace(0.0, MAX_OPEN, STEPS, dtype=gap.dtype)
    lower = (mouth - rest[jaw]) @ _about_x(tried).mT + rest[jaw] - rest[head]  # (tries, 3) in the head's axes
    places = posed.joints[:, head, None] + lower @ turn.mT
    pixels = camera.project(places)
    off = (pixels - pixels[:, :1] - gap[:, None]).square().sum(-1)
    return tried[off.argmin(-1)]


def _about_x(angle: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch 3 3"]:
    """Return the turns of a jaw that opens: what points forwards goes down."""
    zero, one = torch.zeros_like(angle), torch.ones_like(angle)
    rows = (one, zero, zero, zero, angle.cos(), -angle.sin(), zero, angle.sin(), angle.cos())
    return torch.stack(rows, -1).reshape(*angle.shape, 3, 3)
