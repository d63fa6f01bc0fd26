# SPDX-License-Identifier: Apache-2.0
"""A walk made from formulas: motion with known contacts for tests and timing, without a data set.

The pelvis goes round in a circle at even speed, each foot stands still for 60 % of a stride and then swings to its next
place; the legs follow by two-bone inverse kinematics in closed form. Arms and trunk swing along.
Imports: torch, ikol.geometry, the skeleton.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ikol.body.points import AttachedPoints
from ikol.geometry.rotations import rotation_between, rotvec_to_rotmat
from ikol.solver.skeleton import Skeleton
from ikol.solver.state import SolveState

SPEED = 1.0  # metres a second: an easy pace
STRIDE = 1.1  # seconds, two steps
STANCE = 0.6  # part of a stride for which a foot stands
LIFT = 0.12  # metres, of the ankle in the middle of its swing
TURNING = 0.9  # radians a second: round in a circle, so that a walk of any length stays before a camera
ARMS_DOWN = math.radians(70.0)  # from the T-pose
STRETCHED = 0.96  # part of the leg's length that its longest reach takes: knees never lock
_SUBSTEPS = 10  # of the path, a frame


@dataclass(frozen=True, eq=False)
class Walk:
    """A motion of T frames, on the floor y = 0."""

    state: SolveState
    is_contact: Bool[Tensor, "pairs feet"]
    """Whether the left and the right foot stand still from a frame to the next."""
    soles: Float[Tensor, "2"]
    """Height of the ankles above the floor in stance, left and right."""


@dataclass(frozen=True, eq=False)
class _Feet:
    """Both ankles over time."""

    place: Float[Tensor, "frames 2 3"]
    yaw: Float[Tensor, "frames 2"]
    is_standing: Bool[Tensor, "frames 2"]


def synthetic_walk(skeleton: Skeleton, soles: AttachedPoints, num_frames: int, frames_per_second: float = 30.0) -> Walk:
    """Return a walk round in a circle about the world's vertical axis.

    Args:
        skeleton: with SMPL's joint names, in the T-pose at rest, Y up, facing +Z, left = +X.
        soles: points of the feet; the lowest at rest touch the floor.
        num_frames: T.
        frames_per_second: of the recording.
    """
    rest = skeleton.rest_state()
    joints, index = skeleton.rest_joints(rest.betas), skeleton.tree.index
    hips, knees, ankles = ([index(f"{side}_{part}") for side in "LR"] for part in ("Hip", "Knee", "Ankle"))
    sole = joints[ankles, 1] - soles.rest_points(rest.betas)[:, 1].amin()
    seconds = torch.arange(num_frames, dtype=joints.dtype, device=joints.device) / frames_per_second
    local = _upper_body(skeleton, seconds)
    feet = _feet(seconds, frames_per_second, sole, 0.5 * float((joints[hips[0]] - joints[hips[1]]).norm()))
    length = float(
        (joints[hips] - joints[knees]).norm(dim=-1).amin() + (joints[knees] - joints[ankles]).norm(dim=-1).amin()
    )
    height = math.sqrt((STRETCHED * length) ** 2 - (0.5 * STANCE * STRIDE * SPEED) ** 2)
    path, yaw = _path(seconds, frames_per_second)
    root = torch.stack((path[:, 0], torch.full_like(seconds, height), path[:, 1]), dim=-1)
    root[:, 1] += float(sole.amin()) + float(joints[0, 1] - joints[hips, 1].mean())
    turned = _about(1, yaw)
    local[:, 0] = turned
    for foot, (hip, knee, ankle) in enumerate(zip(hips, knees, ankles, strict=True)):
        at_hip = root + (turned @ (joints[hip] - joints[0])[:, None]).squeeze(-1)
        aim = (turned.mT @ (feet.place[:, foot] - at_hip)[..., None]).squeeze(-1)
        thigh, bent = _leg(joints[knee] - joints[hip], joints[ankle] - joints[knee], aim)
        local[:, hip], local[:, knee] = thigh, bent
        local[:, ankle] = (turned @ thigh @ bent).mT @ _about(1, feet.yaw[:, foot])
    state = SolveState(root - joints[0], local, rest.betas.expand(num_frames, -1))
    return Walk(state, feet.is_standing[:-1] & feet.is_standing[1:], sole)


def _upper_body(skeleton: Skeleton, seconds: Float[Tensor, "frames"]) -> Float[Tensor, "frames joints 3 3"]:
    """Arms and trunk; the legs as at rest."""
    phase = 2.0 * math.pi / STRIDE * seconds
    index = skeleton.tree.index
    eye = torch.eye(3, dtype=seconds.dtype, device=seconds.device)
    local = eye.repeat(len(seconds), skeleton.tree.num_joints, 1, 1)
    local[:, index("Spine1")] = _about(1, 0.05 * torch.sin(phase))
    local[:, index("Spine3")] = _about(1, 0.08 * torch.sin(phase))
    local[:, index("Neck")] = _about(0, 0.03 * torch.sin(2.0 * phase))
    for side, name in ((1.0, "L"), (-1.0, "R")):
        swing = side * torch.sin(phase)
        down = _about(2, torch.full_like(seconds, -side * ARMS_DOWN))
        local[:, index(f"{name}_Shoulder")] = _about(0, 0.3 * swing) @ down
        local[:, index(f"{name}_Elbow")] = _about(1, -side * (0.4 - 0.1 * swing))
    return local


def _path(seconds: Float[Tensor, "frames"], frames_per_second: float) -> tuple[Tensor, Float[Tensor, "frames"]]:
    """Place (x, z) and heading, any times that are multiples of the path's steps."""
    step = 1.0 / (_SUBSTEPS * frames_per_second)
    before = math.ceil(2.0 * STRIDE / step)
    after = math.ceil((float(seconds.amax()) + 2.0 * STRIDE) / step)
    times = step * torch.arange(-before, after + 1, dtype=seconds.dtype, device=seconds.device)
    heading = _heading(times)
    course = (SPEED * step * torch.stack((heading.sin(), heading.cos()), dim=-1)).cumsum(0)
    picked = (seconds / step).round().long() + before
    middle = SPEED / TURNING * seconds.new_tensor((1.0, 0.0))
    return course[picked] - course[before] - middle, _heading(seconds)


def _heading(seconds: Tensor) -> Tensor:
    return seconds * TURNING


def _feet(seconds: Float[Tensor, "frames"], frames_per_second: float, sole: Float[Tensor, "2"], apart: float) -> _Feet:
    """Ankles that stand, then swing along a path of least jerk."""
    offsets = seconds.new_tensor((0.0, 0.5))
    strides = seconds[:, None] / STRIDE + offsets
    number, part = strides.floor(), strides - strides.floor()
    swing = ((part - STANCE) / (1.0 - STANCE)).clamp(min=0.0)
    blend = swing**3 * (10.0 - 15.0 * swing + 6.0 * swing**2)
    sideways = seconds.new_tensor((apart, -apart))

    def footfall(which: Tensor) -> tuple[Tensor, Tensor]:
        middle = STRIDE * (which - offsets + 0.5 * STANCE)
        ground, yaw = zip(*(_path(each, frames_per_second) for each in middle.unbind(-1)), strict=True)
        heading = torch.stack(yaw, dim=-1)
        side = torch.stack((heading.cos(), -heading.sin()), dim=-1)
        return torch.stack(ground, dim=1) + sideways[:, None] * side, heading

    (here, yaw), (there, next_yaw) = footfall(number), footfall(number + 1.0)
    ground = here + blend[..., None] * (there - here)
    height = sole + LIFT * 64.0 * (swing * (1.0 - swing)) ** 3
    place = torch.stack((ground[..., 0], height, ground[..., 1]), dim=-1)
    return _Feet(place, yaw + blend * (next_yaw - yaw), swing == 0)


def _leg(
    thigh: Float[Tensor, "3"], shin: Float[Tensor, "3"], aim: Float[Tensor, "frames 3"]
) -> tuple[Float[Tensor, "frames 3 3"], Float[Tensor, "frames 3 3"]]:
    """Rotations of hip and knee that bring the ankle to `aim` from the hip; the knee bends about the x axis.

    thigh . R_x(angle) shin = constant + a cos(angle) + b sin(angle) is what the distance asks for.
    """
    wanted = 0.5 * (aim.square().sum(-1) - thigh.square().sum() - shin.square().sum())
    a = thigh[1] * shin[1] + thigh[2] * shin[2]
    b = thigh[2] * shin[1] - thigh[1] * shin[2]
    cosine = ((wanted - thigh[0] * shin[0]) / torch.hypot(a, b)).clamp(-1.0, 1.0)
    bent = _about(0, torch.atan2(b, a) + torch.acos(cosine))
    return rotation_between(thigh + bent @ shin, aim), bent


def _about(axis: int, angle: Float[Tensor, "frames"]) -> Float[Tensor, "frames 3 3"]:
    rotvec = torch.nn.functional.one_hot(torch.tensor(axis), 3).to(angle) * angle[:, None]
    return rotvec_to_rotmat(rotvec)
