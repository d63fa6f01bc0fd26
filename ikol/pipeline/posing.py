# SPDX-License-Identifier: Apache-2.0
"""Named evidence to a pose: names become points of the body, priors and limits join, the solver runs.

Without extrinsics the solve happens in a level camera's axes; afterwards body and camera are moved together so that up
is up, the lowest point lies on the floor and the pelvis over the origin.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from ikol.body.model import BodyModel
from ikol.body.points import AttachedPoints
from ikol.camera import Camera
from ikol.errors import InputError
from ikol.geometry.rotations import rotation_between
from ikol.pipeline.evidence import (
    Anchor,
    Intrinsics,
    Keypoints2D,
    Keypoints3D,
    NamedEvidence,
    Pose,
    PoseSolution,
    Progress,
    RelativeKeypoints3D,
    Twist,
)
from ikol.pipeline.gravity import estimate_up
from ikol.pipeline.prior import relaxed_rotmat, relaxed_sigma
from ikol.solver import Anchor as AnchorEvidence
from ikol.solver import (
    Evidence,
    GemanMcClure,
    Huber,
    Limits,
    Points2D,
    Points3D,
    RelativePoints3D,
    RestTree,
    ShapePrior,
    SolveConfig,
    SolveResult,
    SolveState,
    SolveStatus,
    default_limits,
    solve,
    start_from_points,
    translation_from_projection,
)
from ikol.solver import Progress as Iteration
from ikol.solver import Twist as TwistEvidence

HIPS = ("left_hip", "right_hip")
LEVEL = ((1.0, 0.0, 0.0), (0.0, -1.0, 0.0), (0.0, 0.0, -1.0))  # camera axes of a level camera that looks along -Z
PICTURE_LOSS = GemanMcClure(k=4.0)  # swapped or invented landmarks lie many sigma away and must let go entirely
WORLD_LOSS = Huber(k=3.0)
MAX_ITERATIONS = 60
DEFAULT_DISTANCE = 3.0  # metres; where a body stands whose picture says nothing of its distance
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
_MAIN_CHILD = {0: 3, 9: 12}  # of the joints with several children: the one that continues the spine


@dataclass(frozen=True)
class _Problem:
    body: BodyModel
    tree: RestTree
    evidence: tuple[NamedEvidence, ...]
    camera: Camera | None
    initial: SolveState | None


def solve_pose(
    body: BodyModel,
    evidence: Sequence[NamedEvidence],
    *,
    intrinsics: Intrinsics | None = None,
    extrinsics: tuple[Float[Tensor, "3 3"], Float[Tensor, "3"]] | None = None,
    initial: Pose | None = None,
    solve_shape: bool = True,
    progress: Progress | None = None,
) -> PoseSolution:
    """Return the pose that fits the evidence best, under the priors of `ikol.pipeline.prior` and the body's limits.

    Args:
        body: the body, in float64.
        evidence: what is known; names are those of `body.points`.
        intrinsics: the picture's lens; needed by evidence of a picture.
        extrinsics: R_camera_world and t_camera_world; without them the camera is placed here.
        initial: where to start, and where everything stays that the evidence does not concern (8 cm for each joint);
            without it the start comes from the evidence.
        solve_shape: let the betas move, under their prior; otherwise they stay as `initial` has them (or zero).
        progress: told how far it is; may raise `Cancelled`.

    Raises:
        InputError: there is no evidence, a name is unknown, or evidence of a picture comes without its lens.
    """
    _check(body, evidence, intrinsics)
    camera = _camera(intrinsics, extrinsics)
    given = None if initial is None else SolveState(initial.transl, initial.local_rotmat, initial.betas)
    problem = _Problem(body, RestTree.from_body(body), tuple(evidence), camera, given)
    state = given or _start(problem)

    def report(iteration: Iteration) -> None:
        if progress is not None:
            progress(min(1.0, iteration.iteration / iteration.max_iterations), "solving")

    config = SolveConfig(max_iterations=MAX_ITERATIONS, solve_shape=solve_shape)
    result = solve(problem.tree, _blocks(problem), state, config, on_iteration=report)
    pose = Pose(result.state.transl, result.state.local_rotmat, result.state.betas)
    if camera is not None and extrinsics is None:
        pose, camera = _placed(body, pose, camera, legs_seen=_shows_legs(problem.evidence))
    return _solution(problem, pose, camera, result)


def point_positions(body: BodyModel, pose: Pose, names: tuple[str, ...]) -> Float[Tensor, "points 3"]:
    """Return named points of the posed body in the world, metres."""
    tree = RestTree.from_body(body)
    return tree.posed_points(body.points.select(names), SolveState(pose.transl, pose.local_rotmat, pose.betas))


# ---- the problem -----------------------------------------------------------------------------------------------------


def _check(body: BodyModel, evidence: Sequence[NamedEvidence], intrinsics: Intrinsics | None) -> None:
    if not evidence:
        raise InputError("there is nothing to solve: give at least one block of evidence")
    for block in evidence:
        if isinstance(block, Keypoints2D | RelativeKeypoints3D) and intrinsics is None:
            raise InputError("keypoints of a picture need its camera; send it along, or give 3D keypoints")
        if isinstance(block, Anchor):
            continue
        known = body.skeleton.names if isinstance(block, Twist) else body.points.names
        unknown = sorted({*block.names} - {*known})
        if unknown:
            raise InputError(f"the body has no point {', '.join(unknown[:5])}; it has {', '.join(known)}")


def _camera(
    intrinsics: Intrinsics | None, extrinsics: tuple[Float[Tensor, "3 3"], Float[Tensor, "3"]] | None
) -> Camera | None:
    if intrinsics is None:
        return None
    R, t = extrinsics or (torch.tensor(LEVEL, dtype=torch.float64), torch.zeros(3, dtype=torch.float64))
    focal, center = (torch.tensor(value, dtype=torch.float64) for value in (intrinsics.focal, intrinsics.center))
    return Camera(focal, center, R, t, intrinsics.width, intrinsics.height)


def _blocks(problem: _Problem) -> list[Evidence]:
    body, camera = problem.body, problem.camera
    blocks: list[Evidence] = [
        AnchorEvidence(
            relaxed_rotmat(body.skeleton.names, torch.float64),
            relaxed_sigma(body.skeleton.names, torch.float64),
            name="relaxed stance",
        ),
        Limits(default_limits(body.skeleton, dtype=torch.float64)),
        ShapePrior(torch.zeros(body.num_betas, dtype=torch.float64), torch.ones(body.num_betas, dtype=torch.float64)),
    ]
    if problem.initial is not None:
        joints = body.points.select(body.skeleton.names)
        now = problem.tree.posed_points(joints, problem.initial)
        sigma = torch.full((len(joints),), STAY_SIGMA, dtype=torch.float64)
        blocks.append(Points3D(joints, now, sigma, loss=STAY_LOSS, name="stay"))
    for number, block in enumerate(problem.evidence):
        name = f"{type(block).__name__} {number}"
        match block:
            case Keypoints2D():
                assert camera is not None
                points = body.points.select(block.names)
                blocks.append(Points2D(points, block.points, block.sigma, camera, loss=PICTURE_LOSS, name=name))
            case Keypoints3D():
                blocks.append(Points3D(body.points.select(block.names), block.points, block.sigma, name=name))
            case RelativeKeypoints3D():
                assert camera is not None
                blocks.extend(_relative_blocks(body, block, camera.R_camera_world, name))
            case Anchor():
                blocks.append(AnchorEvidence(block.local_rotmat, block.sigma, name=name))
            case Twist():
                joints = torch.tensor([body.skeleton.names.index(joint) for joint in block.names])
                blocks.append(TwistEvidence(joints, _bone_axes(body)[joints], block.angles, block.sigma, name=name))
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
    rest, children = body.joints_template, body.skeleton.children
    axes = torch.zeros_like(rest)
    for joint, parent in enumerate(body.skeleton.parents):
        if children[joint]:
            child = _MAIN_CHILD.get(joint, children[joint][0])
            axes[joint] = rest[child] - rest[joint]
        else:
            axes[joint] = rest[joint] - rest[parent]
    return axes / axes.norm(dim=-1, keepdim=True)


# ---- start and placement ---------------------------------------------------------------------------------------------


def _start(problem: _Problem) -> SolveState:
    """Return a state near the evidence: from 3D points if there are any, else upright before the camera."""
    body, tree, camera = problem.body, problem.tree, problem.camera
    relaxed = relaxed_rotmat(body.skeleton.names, torch.float64)
    betas = torch.zeros(body.num_betas, dtype=torch.float64)
    state = SolveState(torch.zeros(3, dtype=torch.float64), relaxed, betas)
    spatial = _spatial(problem)
    if spatial is not None:
        points, target, weights = spatial
        limits = default_limits(body.skeleton, dtype=torch.float64)
        state = start_from_points(tree, points, target, weights, betas, limits=limits)
    elif camera is not None:
        state = replace(state, transl=camera.to_world(torch.tensor([[0.0, 0.0, DEFAULT_DISTANCE]]).double())[0])
    if any(isinstance(block, Keypoints3D) for block in problem.evidence):
        return state
    picture = next((block for block in problem.evidence if isinstance(block, Keypoints2D)), None)
    if picture is None or camera is None:
        return state
    seen = camera.to_camera(tree.posed_points(body.points.select(picture.names), state))
    shift = translation_from_projection(seen, picture.points, 1.0 / picture.sigma.square(), camera)
    return replace(state, transl=state.transl + camera.R_camera_world.mT @ shift)


def _spatial(problem: _Problem) -> tuple[AttachedPoints, Tensor, Tensor] | None:
    """Return points, world targets and weights of the 3D evidence: the world's, else the hip-relative one."""
    for kind in (Keypoints3D, RelativeKeypoints3D):
        block = next((found for found in problem.evidence if isinstance(found, kind)), None)
        if block is None:
            continue
        target, sigma = block.points, block.sigma
        if isinstance(block, RelativeKeypoints3D):
            assert problem.camera is not None
            target, sigma = target @ problem.camera.R_camera_world, sigma.mean(-1)
        return problem.body.points.select(block.names), target, 1.0 / sigma.square()
    return None


def _shows_legs(evidence: Sequence[NamedEvidence]) -> bool:
    names = {name for block in evidence if isinstance(block, Keypoints2D) for name in block.names}
    return {"left_ankle", "right_ankle", "left_knee", "right_knee"} <= names


def _placed(body: BodyModel, pose: Pose, camera: Camera, *, legs_seen: bool) -> tuple[Pose, Camera]:
    """Move body and camera together: up is up, the floor is under the feet, the pelvis over the origin."""
    names = body.skeleton.names
    joints = camera.to_camera(point_positions(body, pose, names))
    up = estimate_up(joints, names, torch.tensor(legs_seen))
    upright = rotation_between(camera.R_camera_world.mT @ up, torch.tensor([0.0, 1.0, 0.0], dtype=up.dtype))
    pelvis_rest = body.rest_joints(pose.betas)[0]
    pelvis = upright @ (pelvis_rest + pose.transl)
    rotated = replace(
        pose,
        transl=pelvis - pelvis_rest,
        local_rotmat=torch.cat((upright @ pose.local_rotmat[:1], pose.local_rotmat[1:])),
    )
    floor = point_positions(body, rotated, body.points.names)[:, 1].min()
    shift = -torch.stack((pelvis[0], floor, pelvis[2]))
    # x_camera = R x + t stays what it was: x' = Q x + s, so R' = R Qᵀ and t' = t - R' s
    R = camera.R_camera_world @ upright.mT
    return replace(rotated, transl=rotated.transl + shift), camera.with_extrinsics(R, camera.t_camera_world - R @ shift)


# ---- the answer ------------------------------------------------------------------------------------------------------


def _solution(problem: _Problem, pose: Pose, camera: Camera | None, result: SolveResult) -> PoseSolution:
    body = problem.body
    named = (block for block in problem.evidence if not isinstance(block, Anchor | Twist))
    names = tuple(dict.fromkeys(name for block in named for name in block.names))
    positions = point_positions(body, pose, names) if names else torch.zeros(0, 3, dtype=torch.float64)
    pixels = torch.zeros(0, 2, dtype=torch.float64) if camera is None else camera.project(positions)
    errors = [
        (pixels[[names.index(name) for name in block.names]] - block.points).norm(dim=-1)
        for block in problem.evidence
        if isinstance(block, Keypoints2D)
    ]
    median = float(torch.cat(errors).median()) if errors else -1.0
    cost = float(result.cost)
    return PoseSolution(
        pose=pose,
        camera=camera,
        joints=point_positions(body, pose, body.skeleton.names),
        point_names=names,
        point_positions=positions,
        point_pixels=pixels,
        status=SolveStatus(int(result.status)).name.lower(),
        iterations=int(result.iterations),
        cost=cost if math.isfinite(cost) else -1.0,
        reprojection_px_median=median,
    )
