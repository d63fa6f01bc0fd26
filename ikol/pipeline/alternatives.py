# SPDX-License-Identifier: Apache-2.0
"""Other poses that fit the picture about as well: one picture leaves open mostly depth, and which side is left."""

import math
from dataclasses import dataclass, replace
from statistics import median

import torch
from jaxtyping import Float
from torch import Tensor

from ikol.errors import InputError
from ikol.pipeline.blocks import block_targets, body_limits, solver_blocks
from ikol.pipeline.evidence import Keypoints2D, Keypoints3D, NamedEvidence, Pose, RelativeKeypoints3D, Twist
from ikol.pipeline.flips import LIMBS, Limb, flipped
from ikol.pipeline.placement import point_positions
from ikol.pipeline.posing import reprojection_px
from ikol.pipeline.prepared import PreparedProblems
from ikol.pipeline.problem import Problem
from ikol.pipeline.start import begin_state
from ikol.pipeline.swaps import SWAPS, Swap, swap_landmarks, swapped_evidence
from ikol.solver import PreparedSolve, SolveState
from ikol.solver.limits import limit_excess

SAME = math.radians(10.0)  # poses whose bones differ by less are one
BEYOND = 0.1  # radians, 6 degrees: how far beyond its limits a joint of an alternative may be, or that it already was
# metres: how well an alternative keeps to its flip. Without it the relaxed stance decides where the picture does not:
# all four flips of an arm that is raised by 20 degrees from the image plane end in one pose
HOLD_SIGMA = 0.05


@dataclass(frozen=True)
class Alternative:
    """One pose that would do."""

    pose: Pose
    cost: float
    """Under all evidence, without the wish to stay near `initial`."""
    reprojection_px: float
    """Median over the limb's 2D evidence; -1 when there is none."""
    joints: Float[Tensor, "joints 3"]
    """Metres, world."""


@dataclass(frozen=True)
class _Candidate:
    alternative: Alternative
    bones: Float[Tensor, "bones 3"]
    """The limb's directions, not of unit length."""
    excess: float
    """How far the limb's joints are beyond their limits, radians."""


def alternative_poses(
    problem: Problem, limb: Limb | Swap, count: int, prepared: PreparedProblems
) -> tuple[Alternative, ...]:
    """Solve a problem, and find poses of one limb that fit its picture about as well; the best first.

    Each flips some bones of the limb, and is then solved for the limb alone, under all that is known but its depth,
    which may be guessed wrongly. They differ in the direction of a bone, look no worse than the landmarks are sure, and
    bend no joint beyond its limits.

    Of a swap there are two poses, whichever fits better: the solved one, and the one with left and right exchanged.

    Args:
        problem: what to solve first.
        limb: which limb may change, or what may have been taken for the other side's.
        count: how many poses to return at most.
        prepared: keeps what solves of the same structure share.

    Raises:
        InputError: there is no picture, or nobody has said where its camera is.
    """
    if limb not in LIMBS and limb not in SWAPS:
        raise InputError(f"there is no limb {limb!r}; choose one of {', '.join((*LIMBS, *SWAPS))}")
    if count < 1:
        raise InputError(f"count must be at least 1, got {count}")
    if problem.camera is None or not problem.is_placed:
        raise InputError("alternatives are poses that look the same; a picture with the camera's extrinsics is needed")
    if limb in ("arms", "legs", "sides"):
        return _swapped(problem, limb, prepared)[:count]
    body = problem.body
    best = prepared.solve(problem, begin_state(problem)).state
    still = replace(problem, initial=None, start=best)
    judge = PreparedSolve(
        problem.skeleton,
        solver_blocks(still, block_targets(still)),
        best,
        replace(problem.config, max_iterations=0, gnc_start=1.0),
    )
    states = [best]
    for start in flipped(body, problem.camera, best, limb):
        flip = _flip(problem, limb, start)
        states.append(prepared.solve(flip, start).state)
    candidates = [_candidate(problem, limb, state, float(judge.solve(state).cost)) for state in states]
    return tuple(_kept(candidates, _pixel_sigma(problem, limb)))[:count]


def _swapped(problem: Problem, swap: Swap, prepared: PreparedProblems) -> tuple[Alternative, Alternative]:
    """Return the pose as it is, and that of the evidence with left and right exchanged; both of one shape."""
    landmarks = swap_landmarks(swap)
    solved = prepared.solve(problem, begin_state(problem))
    other = replace(problem, evidence=swapped_evidence(problem.evidence, swap), initial=None, start=None, joints=())
    begin = replace(begin_state(other), betas=solved.state.betas)
    other = replace(other, solve_shape=False)
    result = prepared.solve(other, begin)
    return (
        _alternative(problem, landmarks, solved.state, float(solved.cost)),
        _alternative(other, landmarks, result.state, float(result.cost)),
    )


def _flip(problem: Problem, limb: Limb, start: SolveState) -> Problem:
    """Return the problem of the limb alone, its depth not guessed by a network but taken from the start."""
    parts = LIMBS[limb]
    evidence: list[NamedEvidence] = []
    for block in problem.evidence:
        if isinstance(block, RelativeKeypoints3D):
            kept = [index for index, name in enumerate(block.names) if name not in parts.landmarks]
            names = tuple(block.names[index] for index in kept)
            if names:
                evidence.append(RelativeKeypoints3D(names, block.points[kept], block.sigma[kept]))
        elif isinstance(block, Twist):
            # read off the pose that is flipped here
            kept = [index for index, name in enumerate(block.names) if name not in parts.joints]
            names = tuple(block.names[index] for index in kept)
            if names:
                evidence.append(Twist(names, block.angles[kept], block.sigma[kept]))
        else:
            evidence.append(block)
    ends = tuple(dict.fromkeys(end for bone in parts.bones for end in bone if end not in parts.roots))
    places = point_positions(problem.body, Pose(start.transl, start.local_rotmat, start.betas), ends)
    evidence.append(Keypoints3D(ends, places, torch.full((len(ends),), HOLD_SIGMA, dtype=places.dtype)))
    return replace(problem, evidence=tuple(evidence), initial=None, start=start, joints=parts.joints, solve_shape=False)


def _candidate(problem: Problem, limb: Limb, state: SolveState, cost: float) -> _Candidate:
    body, parts = problem.body, LIMBS[limb]
    alternative = _alternative(problem, parts.landmarks, state, cost)
    names = body.points.names
    places = point_positions(body, alternative.pose, names)
    near, far = ([names.index(bone[end]) for bone in parts.bones] for end in (0, 1))
    limits = body_limits(body)
    turning = [row for row, joint in enumerate(limits.joint_index.tolist()) if body.tree.names[joint] in parts.joints]
    limits = limits.take(turning)
    excess = float(limit_excess(limits, state.local_rotmat[limits.joint_index]).residual.abs().max())
    return _Candidate(alternative, places[far] - places[near], excess)


def _alternative(problem: Problem, landmarks: tuple[str, ...], state: SolveState, cost: float) -> Alternative:
    """Return a state as it is answered, with how well it meets some landmarks on the picture."""
    body, camera = problem.body, problem.camera
    assert camera is not None
    pose = Pose(state.transl, state.local_rotmat, state.betas)
    names = body.points.names
    places = point_positions(body, pose, names)
    index = [names.index(name) for name in landmarks]
    shown = reprojection_px(problem.evidence, landmarks, camera.project(places[index]))
    return Alternative(pose, cost, shown, places[[names.index(name) for name in body.tree.names]])


def _kept(candidates: list[_Candidate], sigma_px: float) -> list[Alternative]:
    """Return the poses that will do, each once, the best first; the first candidate is the solved one."""
    solved = candidates[0]
    allowed, bent = solved.alternative.reprojection_px + sigma_px, max(BEYOND, solved.excess)
    kept: list[_Candidate] = []
    for one in sorted(candidates, key=lambda candidate: candidate.alternative.cost):
        will_do = one is solved or (one.alternative.reprojection_px <= allowed and one.excess <= bent)
        if will_do and all(_difference(one, other) > SAME for other in kept):
            kept.append(one)
    return [one.alternative for one in kept]


def _pixel_sigma(problem: Problem, limb: Limb) -> float:
    """Return how sure the limb's places on the picture are, pixels."""
    sigmas = [
        sigma
        for block in problem.evidence
        if isinstance(block, Keypoints2D)
        for name, sigma in zip(block.names, block.sigma.tolist(), strict=True)
        if name in LIMBS[limb].landmarks
    ]
    return median(sigmas) if sigmas else math.inf


def _difference(one: _Candidate, other: _Candidate) -> float:
    """Return the largest angle between the same bone of two poses, radians."""
    sine = torch.linalg.cross(one.bones, other.bones, dim=-1).norm(dim=-1)
    return float(torch.atan2(sine, (one.bones * other.bones).sum(-1)).max())
