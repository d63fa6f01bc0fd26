# SPDX-License-Identifier: Apache-2.0
"""The paper's problem: noisy keypoints, bones and twists to rotations. Imports: torch, the body, the solver."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ikol.body.default_body import load_default_body
from ikol.body.ends import end_points
from ikol.body.joint_tree import JointTree
from ikol.body.kinematics import forward_kinematics
from ikol.evaluation.bench.report import Backend, BenchCase, fastest, timed_case
from ikol.evaluation.photo_case import tree_case
from ikol.geometry.rotations import rotvec_to_rotmat
from ikol.geometry.swing_twist import twist_angle
from ikol.solver import Points3D, Skeleton
from ikol.solver.directions import DirectionConfig, DirectionResult, solve_directions

NOISE = 0.01  # metres on each coordinate
MAX_ANGLE = math.pi / 2  # each joint turns about a random axis by up to this: harder than motion of people
SINGLES = {"native": 64, "torch": 4}  # frames whose mean is the time of one; torch is a thousand times slower


@dataclass(frozen=True, eq=False)
class PaperProblem:
    """Noisy keypoints, the bones and the twists."""

    tree: JointTree
    offsets: Float[Tensor, "nodes 3"]
    keypoints: Float[Tensor, "frames nodes 3"]
    twist: Float[Tensor, "frames joints"]


def paper_skeleton(dtype: torch.dtype = torch.float32) -> Skeleton:
    """Return the default body's 24 joints with the ends of head, hands and feet: 29 nodes, the joints first."""
    body = load_default_body(dtype=dtype)
    return Skeleton.from_body(body).with_ends(end_points(body))


def make_paper_problem(frames: int, *, seed: int = 0, dtype: torch.dtype = torch.float32) -> PaperProblem:
    """Return random poses of `paper_skeleton`."""
    skeleton = paper_skeleton(torch.float64)
    tree, rest = skeleton.tree, skeleton.joints_template
    joints = sum(bool(children) for children in tree.children)
    generator = torch.Generator().manual_seed(seed)
    axis = torch.randn(frames, joints, 3, generator=generator, dtype=torch.float64)
    angle = MAX_ANGLE * torch.rand(frames, joints, 1, generator=generator, dtype=torch.float64)
    rotmat = rotvec_to_rotmat(angle * axis / axis.norm(dim=-1, keepdim=True))
    fixed = torch.eye(3, dtype=torch.float64).expand(frames, tree.num_joints - joints, 3, 3)
    posed = forward_kinematics(tree, rest, torch.cat((rotmat, fixed), dim=1), rest.new_zeros(frames, 3)).joints
    keypoints = posed + NOISE * torch.randn(posed.shape, generator=generator, dtype=torch.float64)
    offsets = _offsets(tree, rest)
    only = [tree.children[joint][0] for joint in range(joints)]
    bones = offsets[only] / offsets[only].norm(dim=-1, keepdim=True)
    twist = twist_angle(rotmat, bones.expand(frames, -1, -1))
    return PaperProblem(tree, offsets.to(dtype), keypoints.to(dtype), twist.to(dtype))


def make_tree_problem(joints: int, frames: int) -> PaperProblem:
    """Return random trees whose nodes are all seen, with 5 mm of noise; the twists are zero."""
    case = tree_case(joints, frames)
    seen = case.evidence[0]
    assert isinstance(seen, Points3D)
    tree = case.skeleton.tree
    turning = sum(bool(children) for children in tree.children)
    return PaperProblem(
        tree, _offsets(tree, case.skeleton.joints_template), seen.target, seen.target.new_zeros(frames, turning)
    )


def paper_residuals(problem: PaperProblem, result: DirectionResult) -> Float[Tensor, "frames nodes"]:
    """Return how far the solved nodes are from the keypoints, metres."""
    tree, rotmat = problem.tree, result.local_rotmat
    turning = torch.tensor([joint for joint, children in enumerate(tree.children) if children])
    local = torch.eye(3, dtype=rotmat.dtype).repeat(len(rotmat), tree.num_joints, 1, 1)
    local[:, turning] = rotmat
    rest = [problem.offsets[0]]
    for node, parent in enumerate(tree.parents[1:], start=1):
        rest.append(rest[parent] + problem.offsets[node])
    found = forward_kinematics(tree, torch.stack(rest), local, result.root - rest[0]).joints
    return torch.linalg.vector_norm(found - problem.keypoints[: len(found)], dim=-1)


def bench_paper(batch: int, backend: Backend, seconds: float) -> BenchCase:
    """Time 29 keypoints, the root held; a batch of one is the mean over different frames, each a call of its own."""
    return _bench("paper", make_paper_problem(max(batch, SINGLES[backend])), batch, backend, seconds, hold_root=True)


def bench_paper_joints(joints: int, batch: int, backend: Backend, seconds: float) -> BenchCase:
    """Time a random tree, the root free: how the cost grows."""
    problem = make_tree_problem(joints, max(batch, SINGLES[backend]))
    return _bench(f"paper{joints}", problem, batch, backend, seconds, hold_root=False)


def _bench(
    case: str, problem: PaperProblem, batch: int, backend: Backend, seconds: float, *, hold_root: bool
) -> BenchCase:
    config = DirectionConfig(hold_root=hold_root, backend=backend)
    frames = SINGLES[backend] if batch == 1 else batch
    keypoints, twist = problem.keypoints[:frames], problem.twist[:frames]
    inputs = list(zip(keypoints, twist, strict=True)) if batch == 1 else [(keypoints, twist)]

    def run() -> None:
        for points, angles in inputs:
            solve_directions(problem.tree, points, problem.offsets, angles, config=config)

    result = solve_directions(problem.tree, keypoints, problem.offsets, twist, config=config)
    distance = paper_residuals(problem, result)[:, int(hold_root) :]
    return timed_case(
        case,
        batch,
        backend,
        fastest(run, seconds) / frames,
        residual_mm=1e3 * float(distance.mean()),
        converged=float((result.status == 0).double().mean()),
    )


def _offsets(tree: JointTree, rest: Float[Tensor, "nodes 3"]) -> Float[Tensor, "nodes 3"]:
    offsets = rest.clone()
    offsets[1:] -= rest[list(tree.parents[1:])]
    return offsets
