# SPDX-License-Identifier: Apache-2.0
"""Named evidence, priors and limits as the solver's blocks."""


import torch
from jaxtyping import Float
from torch import Tensor

from ikol.body.model import BodyModel
from ikol.pipeline.evidence import (
    Anchor,
    Keypoints2D,
    Keypoints3D,
    Orientations,
    Pins,
    RelativeKeypoints3D,
    Twist,
)
from ikol.pipeline.prior import relaxed_rotmat, relaxed_sigma
from ikol.pipeline.problem import Problem, pin_names
from ikol.solver import Anchor as AnchorEvidence
from ikol.solver import (
    Evidence,
    GemanMcClure,
    Huber,
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
HIP_INFLATION = 3.0  # what is left for the hip-relative rows beside those of the limbs
STAY_SIGMA = 0.08  # metres: what an edit does not concern stays; without it a hand pulled back takes the feet along
STAY_LOSS = Huber(k=1.0)  # and what it does concern lets go
STANCE, STAY, PINS = "relaxed stance", "stay", "pins"  # names of blocks
_MAIN_CHILD = {0: 3, 9: 12}  # of the joints with several children: the one that continues the spine


def solver_blocks(problem: Problem) -> list[Evidence]:
    """Return the evidence, the priors and the limits as the solver's blocks."""
    body, camera = problem.body, problem.camera
    blocks: list[Evidence] = [
        AnchorEvidence(
            relaxed_rotmat(body.tree.names, torch.float64),
            relaxed_sigma(body.tree.names, torch.float64),
            name=STANCE,
        ),
        Limits(default_limits(body.tree, dtype=torch.float64)),
        ShapePrior(torch.zeros(body.num_betas, dtype=torch.float64), torch.ones(body.num_betas, dtype=torch.float64)),
    ]
    if problem.initial is not None:
        joints = body.points.select(body.tree.names)
        now = problem.skeleton.posed_points(joints, problem.initial)
        sigma = torch.full((len(joints),), STAY_SIGMA, dtype=torch.float64)
        blocks.append(Points3D(joints, now, sigma, loss=STAY_LOSS, name=STAY))
    for number, block in enumerate(problem.evidence):
        name = f"{type(block).__name__} {number}"
        match block:
            case Keypoints2D():
                assert camera is not None
                points = body.points.select(block.names)
                loss = PICTURE_LOSS if block.is_robust else None
                blocks.append(Points2D(points, block.points, block.sigma, camera, loss=loss, name=name))
            case Keypoints3D():
                blocks.append(Points3D(body.points.select(block.names), block.points, block.sigma, name=name))
            case RelativeKeypoints3D():
                assert camera is not None
                blocks.extend(_relative_blocks(body, block, camera.R_camera_world, name))
            case Anchor():
                blocks.append(AnchorEvidence(block.local_rotmat, block.sigma, name=name))
            case Twist():
                joints = torch.tensor([body.tree.names.index(joint) for joint in block.names])
                blocks.append(TwistEvidence(joints, _bone_axes(body)[joints], block.angles, block.sigma, name=name))
            case Orientations():
                joints = torch.tensor([body.tree.names.index(joint) for joint in block.names])
                blocks.append(Orientation(joints, block.rotmat, block.sigma, name=name))
            case Pins():
                pass  # all in one block
    pins = pin_names(problem.evidence)
    if pins:
        target = torch.cat([block.points for block in problem.evidence if isinstance(block, Pins)])
        blocks.append(PinEvidence(body.points.select(pins), target, name=PINS))
    return blocks


def _relative_blocks(
    body: BodyModel, block: RelativeKeypoints3D, axes: Float[Tensor, "3 3"], name: str
) -> list[Evidence]:
    """Return rows relative to the hips and rows along each limb, for errors that the landmarks of a limb share."""

    def rows(ends: tuple[str, ...], target: Tensor, sigma: Tensor, origin: tuple[str, ...], suffix: str) -> Evidence:
        select = body.points.select
        return RelativePoints3D(
            select(ends), target, sigma, axes, select(origin), loss=WORLD_LOSS, name=f"{name} {suffix}"
        )

    blocks = [rows(block.names, block.points, HIP_INFLATION * block.sigma, HIPS, "from hips")]
    at = {point: index for index, point in enumerate(block.names)}
    for near, far in LIMBS:
        if near in at and far in at:
            limb = block.points[at[far]] - block.points[at[near]]
            depth = LIMB_DEPTH_SHARE * block.sigma[[at[near], at[far]], 2].square().mean().sqrt()
            sigma = torch.stack((depth, depth, depth))
            blocks.append(rows((far,), limb[None], sigma[None], (near,), f"from {near}"))
    return blocks


def _bone_axes(body: BodyModel) -> Float[Tensor, "joints 3"]:
    """Return the unit direction from each joint to its main child; a leaf goes on as its parent's bone does."""
    rest, children = body.joints_template, body.tree.children
    axes = torch.zeros_like(rest)
    for joint, parent in enumerate(body.tree.parents):
        if children[joint]:
            child = _MAIN_CHILD.get(joint, children[joint][0])
            axes[joint] = rest[child] - rest[joint]
        else:
            axes[joint] = rest[joint] - rest[parent]
    return axes / axes.norm(dim=-1, keepdim=True)
