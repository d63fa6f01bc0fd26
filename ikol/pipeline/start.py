# SPDX-License-Identifier: Apache-2.0
"""Where the solve of named evidence starts: from its 3D points if there are any, else upright before the camera."""

from dataclasses import replace

import torch
from torch import Tensor

from ikol.body.points import AttachedPoints
from ikol.pipeline.evidence import Keypoints2D, Keypoints3D, RelativeKeypoints3D
from ikol.pipeline.prior import relaxed_rotmat
from ikol.pipeline.problem import Problem
from ikol.solver import SolveState, default_limits, start_from_points, translation_from_projection

DEFAULT_DISTANCE = 3.0  # metres; where a body stands whose picture says nothing of its distance


def begin_state(problem: Problem) -> SolveState:
    """Return where the iterations begin: where they are told to, else at `initial`, else near the evidence."""
    return problem.start or problem.initial or start_state(problem)


def start_state(problem: Problem) -> SolveState:
    """Return a state near the evidence: from 3D points if there are any, else upright before the camera."""
    body, skeleton, camera = problem.body, problem.skeleton, problem.camera
    relaxed = relaxed_rotmat(body.tree.names, torch.float64)
    betas = torch.zeros(body.num_betas, dtype=torch.float64)
    state = SolveState(torch.zeros(3, dtype=torch.float64), relaxed, betas)
    spatial = _spatial(problem)
    if spatial is not None:
        points, target, weights = spatial
        limits = default_limits(body.tree, dtype=torch.float64)
        state = start_from_points(skeleton, points, target, weights, betas, limits=limits)
    elif camera is not None:
        state = replace(state, transl=camera.to_world(torch.tensor([[0.0, 0.0, DEFAULT_DISTANCE]]).double())[0])
    if any(isinstance(block, Keypoints3D) for block in problem.evidence):
        return state
    picture = next((block for block in problem.evidence if isinstance(block, Keypoints2D)), None)
    if picture is None or camera is None:
        return state
    seen = camera.to_camera(skeleton.posed_points(body.points.select(picture.names), state))
    shift = translation_from_projection(seen, picture.points, 1.0 / picture.sigma.square(), camera)
    return replace(state, transl=state.transl + camera.R_camera_world.mT @ shift)


def _spatial(problem: Problem) -> tuple[AttachedPoints, Tensor, Tensor] | None:
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
