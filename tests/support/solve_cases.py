# SPDX-License-Identifier: Apache-2.0
"""A rig, its points, and states and evidence to solve for: what the tests of the solve share."""

import torch
from rigs import (
    plausible_rotmats,
    random_rotmats,
    smpl_points,
    smpl_skeleton,
    smpl_tree,
)
from torch import Tensor

from ikol.body.points import AttachedPoints
from ikol.camera import camera_from_fov
from ikol.solver import (
    Anchor,
    Huber,
    Limits,
    Points2D,
    Points3D,
    Skeleton,
    SolveResult,
    SolveState,
    SolveStatus,
    default_limits,
)

POINTS = smpl_points(0)
RIG = smpl_skeleton(0)
INDEX = smpl_tree().index
EYE = torch.eye(3, dtype=torch.float64)


def sigmas(*shape: int, value: float = 0.01, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.full(shape, value, dtype=dtype)


def true_state(shape: tuple[int, ...], seed: int = 0, dtype: torch.dtype = torch.float64) -> SolveState:
    """A pose that a body can take, turned and moved."""
    rotmats = plausible_rotmats(shape, seed)
    rotmats[..., 0, :, :] = random_rotmats(shape, 0.8, seed + 100)
    transl = torch.randn(*shape, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return SolveState(transl.to(dtype), rotmats.to(dtype), torch.zeros(*shape, 0, dtype=dtype))


def near(state: SolveState, angle_sd: float = 0.15, seed: int = 50) -> SolveState:
    """A start some degrees and centimetres away."""
    turn = random_rotmats(state.local_rotmat.shape[:-2], angle_sd, seed, state.transl.dtype)
    return SolveState(state.transl + 0.05, state.local_rotmat @ turn, state.betas)


def prior(sigma: float = 1.0, dtype: torch.dtype = torch.float64) -> Anchor:
    """The weak pull to rest that decides what points leave open."""
    return Anchor(torch.eye(3, dtype=dtype).expand(24, 3, 3), sigmas(24, value=sigma, dtype=dtype), name="prior")


def distance(state: SolveState, truth: SolveState, skeleton: Skeleton = RIG, points: AttachedPoints = POINTS) -> float:
    """Largest distance between points, metres."""
    return float((skeleton.posed_points(points, state) - skeleton.posed_points(points, truth)).norm(dim=-1).max())


def status_of(result: SolveResult) -> SolveStatus:
    return SolveStatus(int(result.status))


def full_evidence(truth: SolveState, seed: int = 0) -> list[Points3D | Points2D | Anchor | Limits]:
    """Noisy evidence of several kinds."""
    camera = camera_from_fov(640, 480, 55.0, dtype=torch.float64)
    camera = camera.with_extrinsics(camera.R_camera_world, torch.tensor((0.0, 0.0, 6.0), dtype=torch.float64))
    world = RIG.posed_points(POINTS, truth)
    generator = torch.Generator().manual_seed(seed)
    noisy = world + 0.02 * torch.randn(world.shape, dtype=torch.float64, generator=generator)
    return [
        Points3D(POINTS, noisy, sigmas(35, value=0.02), loss=Huber(3.0)),
        Points2D(POINTS, camera.project(noisy), sigmas(35, value=3.0), camera),
        Limits(default_limits(RIG.tree, dtype=torch.float64)),
        prior(),
    ]
