# SPDX-License-Identifier: Apache-2.0
"""Named evidence, priors and limits as the solver's blocks."""

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ikol.body.bone_axes import bone_axes
from ikol.body.model import BodyModel
from ikol.pipeline.evidence import (
    Anchor,
    Keypoints2D,
    Keypoints3D,
    NamedEvidence,
    Orientations,
    Pins,
    RelativeKeypoints3D,
    Shape,
    Twist,
    ViewKeypoints2D,
)
from ikol.pipeline.prior import relaxed_rotmat, relaxed_sigma
from ikol.pipeline.problem import Problem, camera_of, pin_names
from ikol.solver import Anchor as AnchorEvidence
from ikol.solver import (
    Evidence,
    GemanMcClure,
    Huber,
    JointLimits,
    Limits,
    Orientation,
    Points2D,
    Points3D,
    RelativePoints3D,
    ShapePrior,
    default_limits,
)
from ikol.solver import Pins as PinEvidence
from ikol.solver import Twist as TwistEvidence

HIPS = ("left_hip", "right_hip")
PICTURE_LOSS = GemanMcClure(k=4.0)  # swapped or invented landmarks lie many sigma away and must let go entirely
WORLD_LOSS = Huber(k=3.0)
LIMBS = tuple(
    (f"{side}_{near}", f"{side}_{far}")
    for near, far in (("shoulder", "elbow"), ("elbow", "wrist"), ("hip", "knee"), ("knee", "ankle"))
    for side in ("left", "right")
)
# The depth errors of one limb's landmarks are mostly shared: from one to the next they differ by less than each is off.
LIMB_DEPTH_SHARE = 0.5  # of one landmark's own depth sigma; in the plane the 2D evidence knows better
HIP_INFLATION = 2.0  # what is left for the hip-relative rows beside those of the limbs; see docs/models/head.md
STAY_SIGMA = 0.05  # metres: what an edit does not concern stays; without it a hand pulled back takes the feet along
STAY_LOSS = Huber(k=1.0)  # and what it does concern lets go
# names of blocks
STANCE, LIMITS, SHAPE, STAY, PINS = "relaxed stance", "limits", "shape prior", "stay", "pins"


def block_targets(problem: Problem) -> dict[str, Tensor]:
    """Return the target of each block that stands for evidence or for `initial`: all that changes during a drag."""
    targets: dict[str, Tensor] = {}
    if problem.initial is not None:
        targets[STAY] = problem.skeleton.pose(problem.initial).joints
    for number, block in enumerate(problem.evidence):
        name = block_name(number, block)
        match block:
            case Keypoints2D() | ViewKeypoints2D() | Keypoints3D():
                targets[name] = block.points
            case RelativeKeypoints3D():
                targets[name] = block.points
                for near, far in limbs_of(block):
                    at_near, at_far = block.names.index(near), block.names.index(far)
                    targets[f"{name} from {near}"] = (block.points[at_far] - block.points[at_near])[None]
            case Anchor():
                targets[name] = block.local_rotmat
            case Twist():
                targets[name] = block.angles
            case Shape():
                targets[name] = block.betas
            case Orientations():
                targets[name] = block.rotmat
            case Pins():
                pass  # all in one block
    pins = [block.points for block in problem.evidence if isinstance(block, Pins)]
    if pins:
        targets[PINS] = torch.cat(pins)
    return targets


def block_name(number: int, block: NamedEvidence) -> str:
    """Return what the solver's block for a block of evidence is called."""
    return f"{type(block).__name__} {number}"


def limbs_of(block: RelativeKeypoints3D) -> tuple[tuple[str, str], ...]:
    """Return the limbs that get rows of their own, "<block's name> from <near>"."""
    return tuple((near, far) for near, far in LIMBS if near in block.names and far in block.names)


def solver_blocks(problem: Problem, targets: Mapping[str, Tensor]) -> list[Evidence]:
    """Return the evidence, the priors and the limits as the solver's blocks.

    Args:
        problem: the problem.
        targets: its `block_targets`.
    """
    body = problem.body
    blocks: list[Evidence] = [
        AnchorEvidence(
            relaxed_rotmat(body.tree.names, torch.float64),
            stance_sigma(body),
            name=STANCE,
        ),
        Limits(body_limits(body), name=LIMITS),
    ]
    if not any(isinstance(block, Shape) for block in problem.evidence):
        mean, spread = (make(body.num_betas, dtype=torch.float64) for make in (torch.zeros, torch.ones))
        blocks.append(ShapePrior(mean, spread, name=SHAPE))
    if STAY in targets:
        joints = body.points.select(body.tree.names)
        sigma = torch.full((len(joints),), STAY_SIGMA, dtype=torch.float64)
        blocks.append(Points3D(joints, targets[STAY], sigma, loss=STAY_LOSS, name=STAY))
    for number, block in enumerate(problem.evidence):
        blocks += _blocks_of(problem, block, block_name(number, block), targets)
    if PINS in targets:
        blocks.append(PinEvidence(body.points.select(pin_names(problem.evidence)), targets[PINS], name=PINS))
    return blocks


def stance_sigma(body: BodyModel) -> Float[Tensor, "joints"]:
    """Return how far each joint strays from the relaxed stance, radians."""
    return relaxed_sigma(body.tree.names, torch.float64)


def body_limits(body: BodyModel) -> JointLimits:
    """Return the limits of the joints."""
    return default_limits(body.tree, dtype=torch.float64)


def _blocks_of(problem: Problem, block: NamedEvidence, name: str, targets: Mapping[str, Tensor]) -> list[Evidence]:
    body, camera = problem.body, problem.camera
    match block:
        case Keypoints2D():
            assert camera is not None
            loss = PICTURE_LOSS if block.is_robust else None
            return [Points2D(body.points.select(block.names), targets[name], block.sigma, camera, loss=loss, name=name)]
        case ViewKeypoints2D():
            theirs = camera_of(block.intrinsics, block.extrinsics)
            return [Points2D(body.points.select(block.names), targets[name], block.sigma, theirs, name=name)]
        case Keypoints3D():
            return [Points3D(body.points.select(block.names), targets[name], block.sigma, name=name)]
        case RelativeKeypoints3D():
            assert camera is not None
            return _relative_blocks(body, block, camera.R_camera_world, name, targets)
        case Anchor():
            return [AnchorEvidence(targets[name], block.sigma, name=name)]
        case Twist():
            joints = _joint_index(body, block.names)
            return [TwistEvidence(joints, bone_axes(body)[joints], targets[name], block.sigma, name=name)]
        case Shape():
            return [ShapePrior(targets[name], block.sigma, name=name)]
        case Orientations():
            return [Orientation(_joint_index(body, block.names), targets[name], block.sigma, name=name)]
        case Pins():
            return []  # all in one block


def _joint_index(body: BodyModel, names: tuple[str, ...]) -> Int[Tensor, "rows"]:
    return torch.tensor([body.tree.names.index(name) for name in names])


def _relative_blocks(
    body: BodyModel,
    block: RelativeKeypoints3D,
    axes: Float[Tensor, "3 3"],
    name: str,
    targets: Mapping[str, Tensor],
) -> list[Evidence]:
    """Return rows relative to the hips and rows along each limb, for errors that the landmarks of a limb share."""
    select = body.points.select

    def rows(name: str, ends: tuple[str, ...], sigma: Tensor, origin: tuple[str, ...]) -> Evidence:
        return RelativePoints3D(select(ends), targets[name], sigma, axes, select(origin), loss=WORLD_LOSS, name=name)

    blocks = [rows(name, block.names, HIP_INFLATION * block.sigma, HIPS)]
    for near, far in limbs_of(block):
        ends = [block.names.index(near), block.names.index(far)]
        spread = LIMB_DEPTH_SHARE * block.sigma[ends].square().mean(0, keepdim=True).sqrt()
        # in the plane as well as in depth; what an edit has freed there stays free
        blocks.append(rows(f"{name} from {near}", (far,), spread.maximum(spread[:, 2:]), (near,)))
    return blocks
