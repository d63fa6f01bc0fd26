# SPDX-License-Identifier: Apache-2.0
"""Several pictures of one person in different poses: one shape for all of them.

Each picture is solved by itself, which gives its betas as a normal distribution (`ikol.solver.uncertainty`). All of
them contain the same prior; the shape that all pictures say is the product of their likelihoods and of the prior once:
precision P = I + sum_i (C_i^-1 - I), mean P^-1 sum_i C_i^-1 betas_i. The poses are then solved again with these betas.
Pictures whose evidence guesses a shape contain that guess in place of the prior, and nothing is taken off.

What one picture does not tell (the person's size, mostly) has C_i near I and does not dilute what another tells.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ikol.body.model import BodyModel
from ikol.errors import InputError
from ikol.pipeline.blocks import block_targets, solver_blocks
from ikol.pipeline.evidence import PoseSolution, Progress, Shape
from ikol.pipeline.multiview import View
from ikol.pipeline.posing import solve_pose, solve_problem
from ikol.pipeline.prepared import PreparedProblems
from ikol.pipeline.problem import Problem, make_problem
from ikol.pipeline.start import begin_state
from ikol.solver.uncertainty import find_optimum


def solve_same_person(
    body: BodyModel, pictures: Sequence[View], progress: Progress | None = None
) -> tuple[PoseSolution, ...]:
    """Return the pose on each picture, all with the same betas.

    Args:
        body: the body, in float64.
        pictures: at least two; each has a world of its own unless it comes with extrinsics.
        progress: told how far it is; may raise `Cancelled`.

    Raises:
        InputError: there are fewer than two pictures, or as of a solve.
    """
    if len(pictures) < 2:
        raise InputError(f"one person's shape is shared by at least 2 pictures, got {len(pictures)}")

    def report(step: int, text: str) -> None:
        if progress is not None:
            progress(step / (2 * len(pictures)), text)

    problems: list[Problem] = []
    shapes: list[tuple[Tensor, Tensor]] = []
    for number, picture in enumerate(pictures):
        report(number, f"solving picture {number + 1}")
        single = solve_pose(body, picture.evidence, intrinsics=picture.intrinsics, extrinsics=picture.extrinsics)
        assert single.camera is not None
        place = (single.camera.R_camera_world, single.camera.t_camera_world)
        problem = make_problem(
            body, picture.evidence, intrinsics=picture.intrinsics, extrinsics=place, start=single.pose
        )
        problems.append(problem)
        shapes.append((single.pose.betas, shape_covariance(problem)))
    # not of the pictures' evidence: a shape of another body says nothing, and leaves the prior in its place
    has_prior = [not any(isinstance(block, Shape) for block in problem.evidence) for problem in problems]
    found, sure = (torch.stack(part) for part in zip(*shapes, strict=True))
    betas = shared_shape(found, sure, torch.tensor(has_prior))
    solutions: list[PoseSolution] = []
    for number, (picture, problem) in enumerate(zip(pictures, problems, strict=True)):
        report(len(pictures) + number, f"picture {number + 1} with the shape of all")
        assert problem.start is not None
        start = replace(problem.start, betas=betas)
        # where nobody knows the camera it is placed again: the feet of another shape are elsewhere
        again = replace(problem, start=start, solve_shape=False, is_placed=picture.extrinsics is not None)
        solutions.append(solve_problem(again))
    return tuple(solutions)


def shape_covariance(problem: Problem) -> Float[Tensor, "betas betas"]:
    """Return how sure a problem is of its betas, all else left free."""
    result = PreparedProblems().solve(problem, begin_state(problem))
    blocks = solver_blocks(problem, block_targets(problem))
    optimum = find_optimum(problem.skeleton, blocks, result, problem.config)
    first = 3 + 3 * problem.skeleton.tree.num_joints
    count = problem.skeleton.num_betas
    rows = torch.zeros(count, optimum.unknowns.count, dtype=torch.float64)
    rows[:, first : first + count] = torch.eye(count, dtype=torch.float64)
    rows = rows[:, optimum.unknowns.columns]
    return rows @ optimum.inverse.solve(rows.T[None])[0][0]


def shared_shape(
    betas: Float[Tensor, "pictures betas"],
    covariance: Float[Tensor, "pictures betas betas"],
    has_prior: Bool[Tensor, "pictures"],
) -> Float[Tensor, "betas"]:
    """Return the betas that all pictures together say.

    Args:
        betas: of each picture.
        covariance: of these.
        has_prior: whether a picture's contain the prior N(0, I).
    """
    prior = has_prior.to(betas)[:, None, None] * torch.eye(betas.shape[-1], dtype=betas.dtype)
    values, vectors = torch.linalg.eigh(torch.linalg.inv(covariance) - prior)
    # a picture can only add to the prior; rounding, and a Hessian that is not exactly the prior's, may say otherwise
    told = vectors * values.clamp_min(0.0)[..., None, :] @ vectors.mT
    information = ((told + prior) @ betas[..., None])[..., 0].sum(0)
    return torch.linalg.solve(told.sum(0) + prior.amax(0), information)
