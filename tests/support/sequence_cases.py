# SPDX-License-Identifier: Apache-2.0
"""A walk with noisy evidence, and the dense twin of a sequence's normal equations."""

import math

import torch
from autodiff import autodiff_jacobian
from rigs import smpl_points, smpl_skeleton
from torch import Tensor

from ikol.evaluation.synthetic_walk import Walk, synthetic_walk
from ikol.solver import Anchor, Evidence, Huber, Limits, Points3D, SolveConfig, SolveState, default_limits
from ikol.solver.levenberg_marquardt import moved
from ikol.solver.robust import robust_weight
from ikol.solver.sequence import Contacts, Floor, SequenceEvidence, SmoothRotations, SmoothTranslation
from ikol.solver.sequence.model import evaluate_sequence
from ikol.solver.sequence.problem import SequenceProblem

SKELETON = smpl_skeleton(0)
POINTS = smpl_points(0)
SOLES = POINTS.select(("left_heel", "left_toe", "right_heel", "right_toe"))
UP = torch.tensor((0.0, 1.0, 0.0), dtype=torch.float64)


def full(*shape: int, value: float) -> Tensor:
    return torch.full(shape, value, dtype=torch.float64)


def walk(num_frames: int) -> Walk:
    return synthetic_walk(SKELETON, SOLES, num_frames)


def noisy_points(truth: SolveState, noise: float = 0.02, seed: int = 0) -> Tensor:
    """The points (T, 35, 3) as a detector sees them."""
    world = SKELETON.posed_points(POINTS, truth)
    return world + noise * torch.randn(world.shape, dtype=world.dtype, generator=torch.Generator().manual_seed(seed))


def frame_evidence(target: Tensor, sigma: float = 0.02) -> list[Evidence]:
    """What each frame says by itself."""
    return [
        Points3D(POINTS, target, full(35, value=sigma), loss=Huber(3.0)),
        Anchor(torch.eye(3, dtype=torch.float64).expand(24, 3, 3), full(24, value=1.0)),
        Limits(default_limits(SKELETON.tree, dtype=torch.float64)),
    ]


def smoothness() -> list[SequenceEvidence]:
    return [SmoothRotations(full(24, value=0.02)), SmoothTranslation(torch.tensor(0.003, dtype=torch.float64))]


def ground(truth: Walk, sigma: float = 0.001) -> list[SequenceEvidence]:
    """Contacts of heels and toes, and the floor."""
    is_contact = truth.is_contact.repeat_interleave(2, -1)
    return [
        Contacts(SOLES, torch.where(is_contact, sigma, math.inf).to(torch.float64)),
        Floor(SOLES, UP),
    ]


def jitter(places: Tensor) -> float:
    """Mean length of the second difference, in the unit of the places."""
    return float((places[2:] - 2.0 * places[1:-1] + places[:-2]).norm(dim=-1).mean())


def dense_twin(problem: SequenceProblem, state: SolveState, config: SolveConfig, count: int) -> tuple[Tensor, Tensor]:
    """H = J^T W J and g of a whole sequence by automatic differentiation, robust weights held.

    Unknowns: translation and rotations frame by frame, then the shared ones; `count` are all of one frame's.
    """
    frames = len(state.transl)
    joints = 3 + 3 * problem.frames.skeleton.tree.num_joints
    roots: list[Tensor] = []

    def residuals(step: Tensor) -> Tensor:
        own = step[: frames * joints].unflatten(0, (frames, joints))
        whole = torch.cat((own, step[frames * joints :].expand(frames, -1)), dim=-1)
        here = evaluate_sequence(problem, moved(problem.frames, state, whole, with_shape=config.solve_shape))
        parts = [rows.residual for rows in here.rows]
        return torch.cat([part.flatten() for part in (*parts, *(link.residual(here.posed) for link in problem.links))])

    here = evaluate_sequence(problem, state)
    for rows in here.rows:
        weight = rows.weight * robust_weight(rows.loss, rows.squared)[..., None]
        roots.append(weight.expand_as(rows.residual).sqrt())
    for link in problem.links:
        residual = link.residual(here.posed)
        weight = link.weight * robust_weight(link.loss, link.weight * residual.square().sum(-1))
        roots.append(weight[..., None].expand_as(residual).sqrt())
    root = torch.cat([part.flatten() for part in roots])
    at = torch.zeros(frames * joints + count - joints, dtype=torch.float64)
    jacobian = root[:, None] * autodiff_jacobian(residuals, at)
    return jacobian.T @ jacobian, jacobian.T @ (root * residuals(at))
