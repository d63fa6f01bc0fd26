# SPDX-License-Identifier: Apache-2.0
"""A small rig with evidence of every kind, made from a dictionary of tensors that may all require a gradient."""

import math
from dataclasses import dataclass

import torch
from rigs import random_rotmats
from torch import Tensor

from ikol.body.joint_tree import JointTree
from ikol.body.points import AttachedPoints
from ikol.camera import Camera
from ikol.geometry.rotations import rotvec_to_rotmat
from ikol.solver import (
    Anchor,
    BonePrior,
    GemanMcClure,
    Huber,
    JointLimits,
    Limits,
    Orientation,
    Points2D,
    Points3D,
    RelativePoints3D,
    ShapePrior,
    Skeleton,
    SolveConfig,
    SolveState,
    Twist,
    elastic_bones,
)
from ikol.solver.backward.hessian import exact_hessian
from ikol.solver.evidence import Evidence
from ikol.solver.levenberg_marquardt import evaluate, moved
from ikol.solver.normal_equations import normal_equations
from ikol.solver.problem import build_problem, flatten_state
from ikol.solver.solve import find_unknowns, free_axes

TREE = JointTree(names=("root", "spine", "left", "right", "tip"), parents=(-1, 0, 1, 1, 2))
CARRIERS = torch.tensor([0, 1, 2, 3, 4, 4, 3, 1])
NAMES = (*TREE.names, "tip_end", "right_end", "chest")
AXES = torch.eye(3, dtype=torch.float64)
KINDS = ("points_3d", "relative", "points_2d", "orientation", "anchor", "twist", "limits", "shape_prior", "bone_prior")
LOSSES = {"points_3d": Huber(1.0), "relative": GemanMcClure(6.0), "points_2d": Huber(2.0), "anchor": Huber(0.3)}
ROTATIONS = ("axes", "camera_rotation", "orientation", "anchor", "start_rotmat")


@dataclass(frozen=True, eq=False)
class Case:
    """What a solve is given."""

    skeleton: Skeleton
    evidence: list[Evidence]
    start: SolveState


def noise(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def limits() -> JointLimits:
    """Of a ball joint and a hinge; tight, so that some are active."""
    axes = torch.stack((AXES, AXES[[1, 2, 0]]))
    swing = torch.tensor(((-0.3, 0.2, -0.2, 0.3), (0.0, 0.4, -0.05, 0.05)), dtype=torch.float64)
    twist = torch.tensor(((-0.2, 0.2), (-0.1, 0.1)), dtype=torch.float64)
    return JointLimits(torch.tensor((1, 2)), axes, swing, twist, torch.tensor((False, True)))


def truth(inputs: dict[str, Tensor], angle_sd: float = 0.4) -> SolveState:
    return SolveState(
        noise(3, seed=20) * 0.1, random_rotmats((5,), angle_sd, seed=21), inputs["start_betas"], inputs["start_scale"]
    )


def make_inputs(noise_sd: float = 0.03) -> dict[str, Tensor]:
    """Values of everything: targets of a random pose, `noise_sd` metres away from it."""
    offsets = torch.tensor(
        ((0.0, 1.0, 0.0), (0.0, 0.5, 0.05), (0.3, 0.1, 0.0), (-0.3, 0.1, 0.0), (0.25, -0.1, 0.05)), dtype=torch.float64
    )
    joints = offsets.clone()
    for joint, parent in enumerate(TREE.parents[1:], start=1):
        joints[joint] += joints[parent]
    ends = torch.tensor(((0.2, 0.0, 0.1), (-0.2, 0.05, 0.1), (0.0, 0.2, 0.15)), dtype=torch.float64)
    inputs = {
        "joints": joints,
        "points": torch.cat((joints, joints[CARRIERS[5:]] + ends)),
        "start_betas": torch.tensor((0.4, -0.3), dtype=torch.float64),
        "start_scale": torch.tensor((1.0, 1.05, 0.95, 1.1, 0.9), dtype=torch.float64),
        "start_transl": noise(3, seed=2) * 0.05,
        "start_rotmat": random_rotmats((5,), 0.1, seed=3),
        "sigma_3d": 0.02 + 0.02 * noise(8, 3, seed=4).abs(),
        "sigma_relative": 0.02 + 0.02 * noise(6, seed=5).abs(),
        "axes": random_rotmats((), 0.5, seed=6),
        "reference_weights": torch.tensor((0.6, 0.4), dtype=torch.float64),
        "focal": torch.tensor((500.0, 520.0), dtype=torch.float64),
        "center": torch.tensor((300.0, 200.0), dtype=torch.float64),
        "camera_rotation": rotvec_to_rotmat(torch.tensor((3.0, 0.2, -0.1), dtype=torch.float64)),
        "camera_translation": torch.tensor((0.1, 1.2, 3.0), dtype=torch.float64),
        "sigma_2d": 4.0 + 2.0 * noise(8, seed=7).abs(),
        "orientation": random_rotmats((2,), 0.6, seed=8),
        "sigma_orientation": 0.2 + 0.1 * noise(2, 3, seed=9).abs(),
        "anchor": random_rotmats((5,), 0.6, seed=10),
        "sigma_anchor": 0.8 + 0.3 * noise(5, 3, seed=11).abs(),
        "twist": torch.tensor((0.5, -0.4), dtype=torch.float64),
        "sigma_twist": torch.tensor((0.3, 0.2), dtype=torch.float64),
        "shape_mean": torch.tensor((0.2, 0.1), dtype=torch.float64),
        "shape_sigma": torch.tensor((0.5, 0.8), dtype=torch.float64),
        "bone_mean": 1.0 + 0.03 * noise(5, seed=12),
        "bone_sigma": torch.full((5,), 0.05, dtype=torch.float64),
    }
    skeleton = make_skeleton(inputs)
    world = skeleton.posed_points(make_points(inputs), truth(inputs))
    camera = make_camera(inputs)
    noisy = world + noise_sd * noise(*world.shape, seed=13)
    reference = inputs["reference_weights"] @ noisy[[0, 3]]
    inputs["target_3d"] = world + noise_sd * noise(*world.shape, seed=14)
    inputs["target_relative"] = (noisy[2:] - reference) @ inputs["axes"].T + noise_sd * noise(6, 3, seed=15)
    inputs["target_2d"] = camera.project(noisy)
    return inputs


def make_skeleton(inputs: dict[str, Tensor]) -> Skeleton:
    return Skeleton(TREE, inputs["joints"], 0.05 * noise(5, 3, 2, seed=1))


def make_points(inputs: dict[str, Tensor]) -> AttachedPoints:
    return AttachedPoints(NAMES, CARRIERS, inputs["points"], 0.05 * noise(5, 3, 2, seed=1)[CARRIERS])


def make_camera(inputs: dict[str, Tensor]) -> Camera:
    return Camera(
        focal=inputs["focal"],
        center=inputs["center"],
        R_camera_world=inputs["camera_rotation"],
        t_camera_world=inputs["camera_translation"],
        width=640,
        height=480,
    )


def make_case(
    inputs: dict[str, Tensor], kinds: tuple[str, ...] = KINDS, losses: dict[str, Huber | GemanMcClure] = LOSSES
) -> Case:
    """The evidence of some kinds; those named in `losses` are robust. The fourth 3D point is missing."""
    points = make_points(inputs)
    sigma = inputs["sigma_3d"].index_fill(0, torch.tensor([3]), math.inf)
    chosen = points.select(NAMES[2:])
    reference = points.select(("root", "right"))
    limited = torch.tensor((1, 2))
    everything: dict[str, Evidence] = {
        "points_3d": Points3D(points, inputs["target_3d"], sigma, losses.get("points_3d")),
        "relative": RelativePoints3D(
            *(chosen, inputs["target_relative"], inputs["sigma_relative"], inputs["axes"], reference),
            *(inputs["reference_weights"], losses.get("relative")),
        ),
        "points_2d": Points2D(
            points, inputs["target_2d"], inputs["sigma_2d"], make_camera(inputs), losses.get("points_2d")
        ),
        "orientation": Orientation(torch.tensor((1, 4)), inputs["orientation"], inputs["sigma_orientation"]),
        "anchor": Anchor(inputs["anchor"], inputs["sigma_anchor"], losses.get("anchor")),
        "twist": Twist(limited, AXES[:2], inputs["twist"], inputs["sigma_twist"], losses.get("twist")),
        "limits": Limits(limits(), sigma=0.05),
        "shape_prior": ShapePrior(inputs["shape_mean"], inputs["shape_sigma"]),
        "bone_prior": BonePrior(inputs["bone_mean"], inputs["bone_sigma"]),
    }
    start = SolveState(inputs["start_transl"], inputs["start_rotmat"], inputs["start_betas"], inputs["start_scale"])
    return Case(make_skeleton(inputs), [everything[kind] for kind in kinds], start)


def optimum(case: Case, config: SolveConfig, start: SolveState, damping: float = 0.0) -> SolveState:
    """The state at which the gradient is zero to rounding, by Newton steps from one nearby.

    Damping, in 1 / rad^2, is for cases in which something is not seen; a thousandth of what is seen leaves six steps.
    """
    with torch.no_grad():
        problem = build_problem(case.skeleton, case.evidence, (), config.bone_groups)
        unknowns = find_unknowns(problem, config, free_axes(case.skeleton, config))
        state = flatten_state(start, case.skeleton, ())
        for _ in range(20):
            here = evaluate(problem, state)
            found = normal_equations(problem, here.posed, here.rows, with_shape=config.solve_shape)
            gradient = unknowns.pick(found.gauss_newton).gradient
            hessian = unknowns.pick_square(exact_hessian(problem, here.posed, with_shape=config.solve_shape))
            hessian = hessian + damping * torch.eye(hessian.shape[-1], dtype=hessian.dtype)
            step = -torch.linalg.solve(hessian, gradient[..., None]).squeeze(-1)
            state = moved(problem, state, unknowns.spread(step), with_shape=config.solve_shape)
            if float(step.abs().max()) < (1e-10 if damping else 1e-13):  # what nothing sees moves by rounding
                break
        else:
            raise AssertionError(f"Newton's method has not converged: {float(step.abs().max()):.1e}")
    return unflattened(state)


def unflattened(state: SolveState) -> SolveState:
    """A batch of one as none."""
    scale = state.bone_scale
    return SolveState(state.transl[0], state.local_rotmat[0], state.betas[0], None if scale is None else scale[0])


def elastic() -> Tensor:
    return elastic_bones(TREE)
