# SPDX-License-Identifier: Apache-2.0
"""Problems for timing and comparing the general solve: all the evidence of a photograph, and trees of any size.

Made from random poses, so no data set is needed. Imports: torch, the body, the solver, the pipeline's constants.
"""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from ikol.body.default_body import load_default_body
from ikol.body.joint_tree import JointTree
from ikol.body.model import BodyModel
from ikol.body.points import AttachedPoints
from ikol.camera import Camera, camera_from_fov
from ikol.geometry.rotations import rotvec_to_rotmat
from ikol.geometry.swing_twist import twist_angle
from ikol.pipeline.blocks import HIPS, LIMB_DEPTH_SHARE, LIMBS, PICTURE_LOSS, WORLD_LOSS
from ikol.pipeline.prior import relaxed_rotmat, relaxed_sigma
from ikol.solver import (
    Anchor,
    Evidence,
    JointLimits,
    Limits,
    Points2D,
    Points3D,
    RelativePoints3D,
    Skeleton,
    SolveConfig,
    SolveState,
    Twist,
    default_limits,
    start_from_points,
    translation_from_projection,
)

PIXEL_SIGMA = 4.0  # of a picture of 1280 x 960, of what is right; one landmark in twenty is not
OUTLIER_PIXELS = 80.0
WORLD_SIGMA = (0.03, 0.03, 0.06)  # metres in camera axes: depth is guessed
TWIST_SIGMA = math.radians(15.0)
FOREARMS = ("L_Elbow", "R_Elbow", "L_Knee", "R_Knee")  # whose twist is known


@dataclass(frozen=True, eq=False)
class SolveCase:
    """What `solve` is given, and the pose behind it."""

    skeleton: Skeleton
    evidence: tuple[Evidence, ...]
    start: SolveState
    config: SolveConfig
    truth: SolveState


def photo_case(
    frames: int, *, seed: int = 0, dtype: torch.dtype = torch.float32, truth: SolveState | None = None
) -> SolveCase:
    """Return photographs of poses of the default body, random ones unless `truth` (float64) is given, betas held.

    33 landmarks on the picture (Geman-McClure), the same relative to the hips and along the limbs in space (Huber), the
    relaxed stance as anchor, limits, four twists. The start comes from the landmarks in space, as in the pipeline.
    """
    body = load_default_body(dtype=torch.float64)
    skeleton = Skeleton.from_body(body)
    limits = default_limits(body.tree, dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    truth = _random_state(skeleton, limits, frames, generator) if truth is None else truth
    camera = camera_from_fov(1280, 960, 50.0, dtype=torch.float64)
    camera = camera.with_extrinsics(camera.R_camera_world, camera.t_camera_world.new_tensor((0.0, 0.9, 3.5)))
    landmarks = body.points.select(tuple(name for name in body.points.names if name not in body.tree.names))
    seen = camera.to_camera(skeleton.posed_points(landmarks, truth))
    noise = torch.randn(frames, len(landmarks), 5, generator=generator, dtype=torch.float64)
    is_wrong = torch.rand(frames, len(landmarks), 1, generator=generator) < 0.05
    lens = replace(camera, R_camera_world=torch.eye(3).double(), t_camera_world=torch.zeros(3).double())
    pixels = lens.project(seen) + torch.where(is_wrong, OUTLIER_PIXELS, PIXEL_SIGMA) * noise[..., :2]
    sigma = torch.tensor(WORLD_SIGMA, dtype=torch.float64)
    guessed = seen + sigma * noise[..., 2:]
    hips = [landmarks.index(name) for name in HIPS]
    guessed = guessed - guessed[:, hips].mean(1, keepdim=True)
    twisted = [body.tree.index(name) for name in FOREARMS]
    axes = limits.axes[[limits.joint_index.tolist().index(joint) for joint in twisted], 0]
    evidence = (
        Anchor(relaxed_rotmat(body.tree.names, torch.float64), relaxed_sigma(body.tree.names, torch.float64)),
        Limits(limits),
        Points2D(landmarks, pixels, torch.full((33,), PIXEL_SIGMA).double(), camera, loss=PICTURE_LOSS),
        *_relative(landmarks, guessed, sigma, camera.R_camera_world),
        Twist(
            torch.tensor(twisted),
            axes,
            twist_angle(truth.local_rotmat[:, twisted], axes),
            torch.full((4,), TWIST_SIGMA).double(),
        ),
    )
    start = _start(body, landmarks, guessed, pixels, camera, limits)
    return _converted(SolveCase(skeleton, evidence, start, SolveConfig(), truth), dtype)


def tree_case(num_joints: int, frames: int, *, seed: int = 0, dtype: torch.dtype = torch.float32) -> SolveCase:
    """Return random trees, mostly chains with some forks, whose joints are all seen with 5 mm of noise.

    Each joint is turned by about 17 degrees on each axis; a weak anchor holds to the rest pose. The start is analytic.
    """
    generator = torch.Generator().manual_seed(seed)
    parents = [-1, *(0 for _ in range(min(1, num_joints - 1)))]
    for joint in range(2, num_joints):
        is_fork = bool(torch.rand((), generator=generator) < 0.3)
        parents.append(int(torch.randint(0, joint, (), generator=generator)) if is_fork else joint - 1)
    tree = JointTree(tuple(f"joint{joint}" for joint in range(num_joints)), tuple(parents))
    rest = torch.zeros(num_joints, 3, dtype=torch.float64)
    offsets = 0.15 * torch.randn(num_joints, 3, generator=generator, dtype=torch.float64)
    for joint in range(1, num_joints):
        rest[joint] = rest[parents[joint]] + offsets[joint]
    skeleton = Skeleton.from_rest_joints(tree, rest)
    rotvec = 0.3 * torch.randn(frames, num_joints, 3, generator=generator, dtype=torch.float64)
    transl = torch.randn(frames, 3, generator=generator, dtype=torch.float64)
    truth = SolveState(transl, rotvec_to_rotmat(rotvec), rest.new_zeros(0))
    joints = AttachedPoints(tree.names, torch.arange(num_joints), rest, rest.new_zeros(num_joints, 3, 0))
    target = skeleton.posed_points(joints, truth)
    target = target + 0.005 * torch.randn(target.shape, generator=generator, dtype=torch.float64)
    eye = torch.eye(3, dtype=torch.float64).expand(num_joints, 3, 3)
    evidence = (
        Points3D(joints, target, rest.new_full((num_joints,), 0.005)),
        Anchor(eye, rest.new_full((num_joints,), 1.0)),
    )
    start = start_from_points(skeleton, joints, target, torch.ones_like(target[..., 0]), truth.betas)
    return _converted(SolveCase(skeleton, evidence, start, SolveConfig(), truth), dtype)


def _random_state(skeleton: Skeleton, limits: JointLimits, frames: int, generator: torch.Generator) -> SolveState:
    """Poses inside 0.6 of the limits, turned about the vertical by up to 60 degrees and leaning by up to 10."""
    low = torch.cat((limits.twist_range[:, :1], limits.swing_range[:, 0::2]), dim=-1)
    high = torch.cat((limits.twist_range[:, 1:], limits.swing_range[:, 1::2]), dim=-1)
    share = torch.rand(frames, len(low), 3, generator=generator, dtype=torch.float64)
    # 0.7: two swings at once then stay inside the ellipse
    angles = 0.6 * torch.where(limits.is_hinge, 1.0, 0.7)[:, None] * (low + (high - low) * share)
    swing = rotvec_to_rotmat((angles[..., 1:, None] * limits.axes[:, 1:]).sum(-2))
    local = torch.eye(3, dtype=torch.float64).repeat(frames, skeleton.tree.num_joints, 1, 1)
    local[:, limits.joint_index] = swing @ rotvec_to_rotmat(angles[..., :1] * limits.axes[:, 0])
    turn = 2.0 * torch.rand(frames, 3, generator=generator, dtype=torch.float64) - 1.0
    local[:, 0] = rotvec_to_rotmat(turn * torch.deg2rad(turn.new_tensor((10.0, 60.0, 10.0))))
    transl = 0.3 * torch.randn(frames, 3, generator=generator, dtype=torch.float64)
    return SolveState(transl, local, torch.zeros(skeleton.num_betas, dtype=torch.float64))


def _relative(
    landmarks: AttachedPoints, target: Float[Tensor, "n points 3"], sigma: Float[Tensor, "3"], axes: Tensor
) -> list[Evidence]:
    """Rows from the hips and along each limb, weighted as the pipeline weights them."""
    spread = 3.0 * sigma.expand(len(landmarks), 3)
    blocks: list[Evidence] = [
        RelativePoints3D(landmarks, target, spread, axes, landmarks.select(HIPS), loss=WORLD_LOSS, name="from hips")
    ]
    for near, far in LIMBS:
        limb = target[:, [landmarks.index(far)]] - target[:, [landmarks.index(near)]]
        depth = (LIMB_DEPTH_SHARE * sigma[2]).expand(1, 3)
        ends = landmarks.select((far,)), landmarks.select((near,))
        blocks.append(RelativePoints3D(ends[0], limb, depth, axes, ends[1], loss=WORLD_LOSS, name=f"from {near}"))
    return blocks


def _start(
    body: BodyModel, landmarks: AttachedPoints, guessed: Tensor, pixels: Tensor, camera: Camera, limits: JointLimits
) -> SolveState:
    skeleton = Skeleton.from_body(body)
    ones = torch.ones(len(landmarks), dtype=torch.float64)
    betas = torch.zeros(skeleton.num_betas, dtype=torch.float64)
    state = start_from_points(skeleton, landmarks, guessed @ camera.R_camera_world, ones, betas, limits=limits)
    seen = camera.to_camera(skeleton.posed_points(landmarks, state))
    shift = translation_from_projection(seen, pixels, ones, camera)
    return replace(state, transl=state.transl + shift @ camera.R_camera_world, betas=betas)


def _converted(case: SolveCase, dtype: torch.dtype) -> SolveCase:
    """The same in another floating-point type."""

    def convert(value: object) -> object:
        if isinstance(value, Tensor):
            return value.to(dtype) if value.is_floating_point() else value
        if isinstance(value, tuple):
            return tuple(convert(each) for each in value)
        if isinstance(value, Camera | JointLimits):
            return value.to(dtype=dtype)
        fields = getattr(value, "__dataclass_fields__", None)
        if fields is None or isinstance(value, JointTree | SolveConfig):
            return value
        return replace(value, **{name: convert(getattr(value, name)) for name in fields})  # pyright: ignore[reportArgumentType]

    result = convert(case)
    assert isinstance(result, SolveCase)
    return result
