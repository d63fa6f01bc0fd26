# SPDX-License-Identifier: Apache-2.0
"""The banded normal equations are those of one dense least-squares problem over all frames."""

from dataclasses import replace

import pytest
import torch
from rigs import chain_tree, random_rotmats
from sequence_cases import dense_twin, full
from torch import Tensor

from ikol.body.points import AttachedPoints
from ikol.solver import Anchor, BonePrior, GemanMcClure, Huber, Points3D, ShapePrior, SolveConfig, SolveState
from ikol.solver.linearise_native import find_library
from ikol.solver.one_sided import Unknowns
from ikol.solver.sequence import (
    Contacts,
    Floor,
    SequenceEvidence,
    SmoothPoints,
    SmoothRotations,
    SmoothTranslation,
)
from ikol.solver.sequence.equations import SequenceEquations, sequence_equations
from ikol.solver.sequence.model import SequenceModel, evaluate_sequence, some_states
from ikol.solver.sequence.problem import SequenceProblem, build_sequence
from ikol.solver.skeleton import Skeleton

JOINTS, BETAS = 4, 2


def noise(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


SKELETON = Skeleton(chain_tree(JOINTS), 0.3 * noise(JOINTS, 3, seed=1), 0.05 * noise(JOINTS, 3, BETAS, seed=2))
POINTS = AttachedPoints(
    ("a", "b", "c", "d", "e"),
    torch.tensor((0, 1, 2, 3, 3)),
    0.3 * noise(5, 3, seed=3),
    0.05 * noise(5, 3, BETAS, seed=4),
)
SOME = POINTS.select(("c", "e"))
UP = torch.tensor((0.0, 0.6, 0.8), dtype=torch.float64)


def link(kind: str, frames: int) -> list[SequenceEvidence]:
    times = torch.cumsum(0.5 + torch.rand(frames, dtype=torch.float64, generator=torch.Generator().manual_seed(5)), 0)
    wide = 0.05 + 0.1 * noise(frames, 2, seed=6).abs()
    wide[1, 1] = torch.inf
    match kind:
        case "points":
            return [SmoothPoints(SOME, wide)]
        case "points at uneven times":
            return [SmoothPoints(SOME, wide, times)]
        case "points, robust":
            return [SmoothPoints(SOME, 0.2 * wide, loss=GemanMcClure(5.0))]
        case "rotations":
            return [SmoothRotations(full(JOINTS, value=0.1))]
        case "rotations at uneven times, robust":
            return [SmoothRotations(full(frames, JOINTS, value=0.1), times, Huber(2.0))]
        case "translation":
            return [SmoothTranslation(full(frames, value=0.1))]
        case "contacts":
            return [Contacts(SOME, wide[1:])]
        case "floor":
            return [Floor(SOME, UP, height=-0.1, contact_sigma=wide)]
        case "all":
            kinds = ("points, robust", "rotations", "translation", "contacts", "floor")
            return [block for kind in kinds for block in link(kind, frames)]
        case _:
            raise AssertionError(kind)


KINDS = (
    *("points", "points at uneven times", "points, robust", "rotations", "rotations at uneven times, robust"),
    *("translation", "contacts", "floor", "all"),
)


def make(kind: str, frames: int, config: SolveConfig) -> tuple[SequenceProblem, SolveState]:
    evidence = [
        Points3D(POINTS, noise(frames, 5, 3, seed=7), full(5, value=0.3), loss=Huber(2.0)),
        Anchor(random_rotmats((frames, JOINTS), 0.5, seed=8), full(JOINTS, value=1.0)),
        ShapePrior(noise(BETAS, seed=9), full(BETAS, value=0.7)),
        BonePrior(full(JOINTS, value=1.1), full(JOINTS, value=0.2)),
    ]
    state = SolveState(
        transl=0.3 * noise(frames, 3, seed=10),
        local_rotmat=random_rotmats((frames, JOINTS), 0.4, seed=11),
        betas=noise(BETAS, seed=12).expand(frames, -1),
        bone_scale=None if config.bone_groups is None else (1.0 + 0.1 * noise(JOINTS, seed=13)).expand(frames, -1),
    )
    return build_sequence(SKELETON, evidence, link(kind, frames), frames, config), state


def as_dense(equations: SequenceEquations) -> tuple[Tensor, Tensor]:
    """The band and its border as one matrix."""
    band, corner = equations.band, equations.shared
    frames, size, _ = band.panels.shape
    shared = corner.gradient.shape[-1]
    total = frames * size
    dense = torch.zeros(total + shared, total + shared, dtype=torch.float64)
    for frame in range(frames):
        own = slice(frame * size, (frame + 1) * size)
        for ahead in range(band.coupled(frame) + 1):
            other = slice((frame + ahead) * size, (frame + ahead + 1) * size)
            block = band.panels[frame, :, band.blocks(ahead, ahead + 1)]
            dense[own, other] = block if ahead else block.triu() + block.triu(1).T
            dense[other, own] = dense[own, other].T
        dense[own, total:] = band.panels[frame, :, band.sides]
        dense[total:, own] = dense[own, total:].T
    dense[total:, total:] = corner.hessian[0]
    return dense, torch.cat((equations.gradient.flatten(), corner.gradient[0]))


@pytest.mark.parametrize("frames", [2, 3, 5])
@pytest.mark.parametrize("kind", KINDS)
def test_band_is_the_dense_least_squares_problem(kind: str, frames: int) -> None:
    compare(kind, frames, SolveConfig())


@pytest.mark.parametrize("kind", ["points at uneven times", "all"])
def test_border_of_shape_and_bone_scales(kind: str) -> None:
    compare(kind, 4, SolveConfig(solve_shape=True, bone_groups=torch.tensor((-1, 0, 1, 0))))


def test_frames_in_several_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ikol.solver.sequence.equations.CHUNK", 2)
    compare("all", 5, SolveConfig(solve_shape=True))


@pytest.mark.skipif(find_library() is None, reason="no compiled kernel for this platform")
@pytest.mark.parametrize("held", [(), (0, 1, 2, 7)])
@pytest.mark.parametrize(("outer", "inner"), [(slice(0, 5), slice(0, 5)), (slice(1, 5), slice(1, 3))])
@pytest.mark.parametrize("kind", KINDS)
def test_the_kernel_says_what_torch_says(kind: str, outer: slice, inner: slice, held: tuple[int, ...]) -> None:
    problem, start = make(kind, 5, SolveConfig())
    tree = 3 + 3 * JOINTS
    each = Unknowns(tree, torch.tensor([column for column in range(tree) if column not in held]))
    compiled, reference = (
        SequenceModel(problem, SolveConfig(backend=backend), each).part(outer, inner) for backend in ("auto", "torch")
    )
    for transl, with_bending in ((start.transl, False), (start.transl.flip(0), True)):
        state = some_states(replace(start, transl=transl), outer)
        found, expected = compiled.at(state, 1.5), reference.at(state, 1.5)
        assert found.evaluated is None
        assert expected.evaluated is not None
        assert float(found.cost) == pytest.approx(float(expected.cost), rel=1e-10)
        # the second time what the first one left in memory is written to again
        pair = (
            model.equations(here, 1.5, with_bending=with_bending)
            for model, here in ((compiled, found), (reference, expected))
        )
        for one, other in zip(*map(as_dense, pair), strict=True):
            # sums of some hundred products in double precision
            torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10 * float(other.abs().max()))


@pytest.mark.skipif(find_library() is None, reason="no compiled kernel for this platform")
def test_a_long_sequence_is_the_same_on_any_number_of_threads() -> None:
    frames = 120  # more than two stretches of the kernel
    problem, start = make("all", frames, SolveConfig())
    each = Unknowns(3 + 3 * JOINTS, torch.arange(3 + 3 * JOINTS))
    compiled, reference = (SequenceModel(problem, SolveConfig(backend=backend), each) for backend in ("auto", "torch"))
    dense: list[tuple[Tensor, Tensor]] = []
    costs: list[Tensor] = []
    before = torch.get_num_threads()
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        here = compiled.at(start, 1.0)
        costs.append(here.cost)
        dense.append(as_dense(compiled.equations(here, 1.0, with_bending=True)))
    torch.set_num_threads(before)
    here = reference.at(start, 1.0)
    expected = as_dense(reference.equations(here, 1.0, with_bending=True))
    assert float(costs[0]) == pytest.approx(float(here.cost), rel=1e-10)
    for one, other in zip(dense[0], expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10 * float(other.abs().max()))
    assert all(torch.equal(cost, costs[0]) for cost in costs)
    assert all(torch.equal(found[0], dense[0][0]) and torch.equal(found[1], dense[0][1]) for found in dense)


def compare(kind: str, frames: int, config: SolveConfig) -> None:
    problem, state = make(kind, frames, config)
    tree = 3 + 3 * JOINTS
    shared = BETAS * config.solve_shape + problem.frames.bone_groups.shape[-1]
    here = evaluate_sequence(problem, state)
    each = Unknowns(tree, torch.arange(tree))
    equations = sequence_equations(
        problem, here, each, inner=slice(0, frames), with_shape=config.solve_shape, with_bending=False, convexity=1.0
    )
    hessian, gradient = as_dense(equations)
    expected_hessian, expected_gradient = dense_twin(problem, state, config, tree + shared)
    # sums of some hundred products in double precision
    torch.testing.assert_close(hessian, expected_hessian, rtol=1e-9, atol=1e-9 * float(expected_hessian.abs().max()))
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-9, atol=1e-9 * float(expected_gradient.abs().max()))
