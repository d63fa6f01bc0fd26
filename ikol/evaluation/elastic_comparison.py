# SPDX-License-Identifier: Apache-2.0
"""Rigid against elastic bones where the body's lengths are not those of the person, and HybrIK beside them.

The targets are joints of bodies whose bones are longer or shorter than the solver's by up to 5 %, each for itself.
Everyone is given the true twists and leaf rotations and the root's place, as in `solver_comparison`.
Imports: torch, ikol.geometry, ikol.body, ikol.solver, the comparison of solvers.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from ikol.body.default_body import load_default_body
from ikol.body.kinematics import forward_kinematics
from ikol.body.model import BodyModel
from ikol.evaluation.solver_comparison import BONE_ERROR, Frames, make_frames
from ikol.geometry.rotations import rotmat_to_rotvec
from ikol.solver.baselines import solve_hybrik, twist_of
from ikol.solver.bones import elastic_bones
from ikol.solver.config import SolveConfig
from ikol.solver.evidence import BonePrior, Evidence, Points3D, Twist
from ikol.solver.skeleton import Skeleton
from ikol.solver.solve import solve
from ikol.solver.start import start_from_points
from ikol.solver.state import SolveState

# whether bones are wrong; standard deviation of the targets on each axis, metres
SETTINGS = {
    "bones 5 %": (True, 0.0),
    "bones 5 %, noise 3 mm": (True, 0.003),
    "bones 5 %, noise 10 mm": (True, 0.01),
    "noise 10 mm": (False, 0.01),
}
METHODS = ("HybrIK adaptive", "rigid", "elastic")
LEAST_SIGMA = 0.003  # metres: what targets without noise are believed; without any doubt elastic bones take up nothing
TWIST_SIGMA = 0.01  # radians


@dataclass(frozen=True)
class Row:
    """What one method made of one setting. Means over frames and joints."""

    poses: str
    setting: str
    method: str
    frames: int
    residual_mm: float
    """From the targets to the joints of the pose, with the bones that the method found."""
    joint_error_mm: float
    """From the true joints to them; the root, which everybody is given, left out."""
    rotation_error_deg: float
    """Between local rotations of joints that are no leaves."""
    converged: float | None
    """Share of frames; None for a method in closed form."""


def compare_elastic(count: int = 500, seed: int = 0, poses: str = "limits") -> list[Row]:
    """Return a row for each setting and method, on `count` random poses of the default body, float64."""
    body = load_default_body(dtype=torch.float64)
    rows: list[Row] = []
    for setting, (has_wrong_bones, noise) in SETTINGS.items():
        frames = make_frames(body, poses, "bones 5 %" if has_wrong_bones else "clean", count, seed)
        error = noise * torch.randn(
            frames.joints.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed + 1)
        )
        error[:, 0] = 0.0
        frames = replace(frames, problem=replace(frames.problem, target=frames.problem.target + error))
        sigma = max(noise, LEAST_SIGMA)
        rows += [_row(body, frames, setting, method, sigma) for method in METHODS]
    return rows


def _row(body: BodyModel, frames: Frames, setting: str, method: str, sigma: float) -> Row:
    problem, converged = frames.problem, None
    transl = problem.target[:, 0] - problem.rest_joints[:, 0]
    if method == "HybrIK adaptive":
        state = SolveState(transl, solve_hybrik(problem).local_rotmat, frames.betas)
    else:
        state, converged = _solve(body, frames, sigma, is_elastic=method == "elastic")
    joints = forward_kinematics(body.tree, problem.rest_joints, state.local_rotmat, transl, state.bone_scale).joints
    turning = [joint for joint, children in enumerate(body.tree.children) if children]
    angle = rotmat_to_rotvec(state.local_rotmat[:, turning].mT @ frames.local_rotmat[:, turning]).norm(dim=-1)
    return Row(
        poses=frames.poses,
        setting=setting,
        method=method,
        frames=len(frames),
        residual_mm=_mean_mm(joints, problem.target),
        joint_error_mm=_mean_mm(joints, frames.joints),
        rotation_error_deg=float(torch.rad2deg(angle).mean()),
        converged=converged,
    )


def _solve(body: BodyModel, frames: Frames, sigma: float, *, is_elastic: bool) -> tuple[SolveState, float]:
    """The pose with the true twists as rows, and the share of frames that converged."""
    problem, tree = frames.problem, body.tree
    skeleton, points = Skeleton.from_body(body), body.points.select(tree.names)
    single = [joint for joint, children in enumerate(tree.children) if len(children) == 1]
    bones = body.joints_template[[tree.children[joint][0] for joint in single]] - body.joints_template[single]
    angle = twist_of(tree, body.joints_template, frames.local_rotmat)[:, single]
    twist = Twist(
        torch.tensor(single), bones / bones.norm(dim=-1, keepdim=True), angle, torch.full_like(angle, TWIST_SIGMA)
    )
    weight = torch.ones_like(problem.target[..., 0])
    evidence: list[Evidence] = [Points3D(points, problem.target, sigma * weight), twist]
    config = SolveConfig(
        max_iterations=100,
        free_joints=torch.tensor([bool(children) for children in tree.children]),
        free_transl=False,
    )
    if is_elastic:
        evidence.append(BonePrior(weight[0], BONE_ERROR * weight[0]))
        config = replace(config, bone_groups=elastic_bones(tree))
    assert config.free_joints is not None
    start = start_from_points(skeleton, points, problem.target, weight, frames.betas, twist=twist)
    local = torch.where(config.free_joints[:, None, None], start.local_rotmat, frames.local_rotmat)
    transl = problem.target[:, 0] - problem.rest_joints[:, 0]
    found = solve(skeleton, evidence, SolveState(transl, local, frames.betas), config)
    return found.state, float((found.status == 0).double().mean())


def _mean_mm(joints: Float[Tensor, "frames joints 3"], other: Float[Tensor, "frames joints 3"]) -> float:
    return 1000.0 * float((joints - other)[:, 1:].norm(dim=-1).mean())
