# SPDX-License-Identifier: Apache-2.0
"""Sequences solved as a whole: against a dense solve, and against the truth of a synthetic walk."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from rigs import chain_tree, random_rotmats
from sequence_cases import (
    POINTS,
    SKELETON,
    SOLES,
    UP,
    dense_twin,
    frame_evidence,
    full,
    ground,
    jitter,
    noisy_points,
    smoothness,
    walk,
)
from torch import Tensor

from ikol.body.points import AttachedPoints
from ikol.errors import Cancelled, InputError
from ikol.evaluation.sequence_case import sequence_case
from ikol.solver import (
    Anchor,
    Evidence,
    GemanMcClure,
    Pins,
    Points3D,
    Progress,
    ShapePrior,
    Skeleton,
    SolveConfig,
    SolveState,
    SolveStatus,
    solve,
)
from ikol.solver.levenberg_marquardt import moved
from ikol.solver.sequence import (
    Contacts,
    Floor,
    SequenceEvidence,
    SmoothPoints,
    SmoothRotations,
    SmoothTranslation,
    contact_sigma,
    minimise,
    solve_sequence,
)
from ikol.solver.sequence.model import evaluate_sequence, sequence_cost
from ikol.solver.sequence.problem import build_sequence

FRAMES = 40
WALK = walk(FRAMES)


def near(state: SolveState, angle_sd: float = 0.05) -> SolveState:
    """A start some degrees and centimetres away, other in each frame."""
    turn = random_rotmats(state.local_rotmat.shape[:-2], angle_sd, seed=1)
    shift = 0.02 * torch.randn(state.transl.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    return replace(state, transl=state.transl + shift, local_rotmat=state.local_rotmat @ turn)


def places(state: SolveState) -> Tensor:
    return SKELETON.posed_points(POINTS, state)


def error(state: SolveState, truth: SolveState = WALK.state) -> float:
    return float((places(state) - places(truth)).norm(dim=-1).mean())


def small_chain(frames: int) -> tuple[Skeleton, list[Evidence], SolveState, list[SequenceEvidence]]:
    """Three joints, seen and linked in every way."""
    noise = torch.randn(60, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    skeleton = Skeleton(chain_tree(3), 0.3 * noise[:3], 0.05 * noise[3:9].reshape(3, 3, 2))
    points = AttachedPoints(
        tuple("abcd"), torch.tensor((0, 1, 2, 2)), 0.3 * noise[9:13], 0.05 * noise[13:21].reshape(4, 3, 2)
    )
    truth = SolveState(
        0.01 * noise[21 : 21 + frames].cumsum(0),
        random_rotmats((3,), 0.3, seed=4) @ random_rotmats((frames, 3), 0.03, seed=5),
        0.3 * noise[50, :2].expand(frames, -1),
    )
    seen = skeleton.posed_points(points, truth) + 0.01 * noise[30:34]
    links: list[SequenceEvidence] = [
        SmoothPoints(points, full(4, value=0.05)),
        SmoothRotations(full(3, value=0.1)),
        SmoothTranslation(torch.tensor(0.05, dtype=torch.float64)),
        Contacts(points.select(("d",)), full(1, value=0.05)),
        Floor(points, UP, height=float(seen[..., 1].amin()) + 0.01),
    ]
    held = Anchor(truth.local_rotmat[0] @ random_rotmats((3,), 0.05, seed=6), full(3, value=0.3))
    return skeleton, [Points3D(points, seen, full(4, value=0.02)), held], truth, links


@pytest.mark.parametrize("solve_shape", [False, True])
@pytest.mark.parametrize("frames", [1, 2, 3, 6])
def test_optimum_is_that_of_one_dense_problem(frames: int, solve_shape: bool) -> None:
    skeleton, evidence, truth, links = small_chain(frames)
    config = SolveConfig(solve_shape=solve_shape, cost_tolerance=1e-13, gradient_tolerance=1e-7)
    blocks = [*evidence, *([ShapePrior(truth.betas[0], full(2, value=1.0))] if solve_shape else [])]
    start = near(truth)
    result = solve_sequence(skeleton, blocks, start, links, config)
    assert result.status == SolveStatus.CONVERGED
    problem = build_sequence(skeleton, blocks, links, frames, config)
    shared = 2 if solve_shape else 0
    state = start
    for _ in range(12):  # plain Gauss-Newton on the dense matrix; residuals are small, so it arrives
        hessian, gradient = dense_twin(problem, state, config, 12 + shared)
        step = torch.linalg.solve(hessian + 1e-9 * torch.diag(hessian.diagonal()), -gradient)
        own = step[: frames * 12].unflatten(0, (frames, 12))
        whole = torch.cat((own, step[frames * 12 :].expand(frames, -1)), dim=-1)
        state = moved(problem.frames, state, whole, with_shape=solve_shape)
    dense_cost = float(sequence_cost(problem, evaluate_sequence(problem, state)))
    # both stop where a step changes nothing that double precision can tell
    assert result.cost == pytest.approx(dense_cost, rel=1e-8)
    assert float((result.state.local_rotmat - state.local_rotmat).abs().max()) < 1e-5


def test_one_shape_for_all_frames_and_its_prior_counts_once() -> None:
    skeleton, evidence, truth, links = small_chain(5)
    prior = ShapePrior(truth.betas[0] + 1.0, full(2, value=0.5))
    result = solve_sequence(skeleton, [*evidence, prior], near(truth), links, SolveConfig(solve_shape=True))
    assert bool((result.state.betas == result.state.betas[0]).all())
    own = [block for block in result.residuals if block.name != "shape_prior"]
    assert len(own) == len(result.residuals) - 1
    shape_cost = 0.5 * float(((result.state.betas[0] - prior.mean) / 0.5).square().sum())
    without = solve_sequence(skeleton, evidence, result.state, links, SolveConfig(max_iterations=0))
    assert result.cost == pytest.approx(without.cost + shape_cost, rel=1e-9)


def test_smoothness_takes_off_noise() -> None:
    evidence = frame_evidence(noisy_points(WALK.state))
    alone = solve(SKELETON, evidence, WALK.state).state
    result = solve_sequence(SKELETON, evidence, alone, smoothness())
    true_jitter = jitter(places(WALK.state))
    # 20 mm of noise on each axis leave 50 mm of jitter in single frames; the walk's own is 5 mm
    assert jitter(places(alone)) > 5.0 * true_jitter
    assert jitter(places(result.state)) < 2.5 * true_jitter, jitter(places(result.state))
    assert error(result.state) < 0.7 * error(alone), (error(result.state), error(alone))


def test_contacts_hold_the_feet_and_the_floor_carries_them() -> None:
    evidence = frame_evidence(noisy_points(WALK.state))
    result = solve_sequence(SKELETON, evidence, near(WALK.state), [*smoothness(), *ground(WALK)])
    soles = SKELETON.posed_points(SOLES, result.state)
    is_contact = WALK.is_contact.repeat_interleave(2, -1)
    slide = soles.diff(dim=0).norm(dim=-1)[is_contact]
    # the contacts' sigma is 1 mm; what pulls are 35 points of 20 mm
    assert float(slide.max()) < 0.0015, float(slide.max())
    assert float(soles[..., 1].min()) > -0.01, float(soles[..., 1].min())


def test_floor_pushes_from_below_only() -> None:
    high, low = replace(WALK.state, transl=WALK.state.transl + 0.3 * UP), WALK.state
    floor = [Floor(SOLES, UP, sigma=0.001)]
    for state, is_touched in ((high, False), (replace(low, transl=low.transl - 0.1 * UP), True)):
        seen = [Points3D(POINTS, places(state), full(35, value=0.05)), *frame_evidence(places(state))[1:2]]
        with_floor, without = (solve_sequence(SKELETON, seen, state, links) for links in (floor, []))
        lift = (places(with_floor.state) - places(without.state))[..., 1]
        assert bool((lift.abs().amax(-1) > 0.05).all()) == is_touched
        assert float(SKELETON.posed_points(SOLES, with_floor.state)[..., 1].min()) > -0.002


def test_contact_puts_points_on_the_floor_from_above() -> None:
    state = replace(WALK.state, transl=WALK.state.transl + 0.05 * UP)
    is_contact = torch.zeros(FRAMES, 4, dtype=torch.bool)
    is_contact[:, 1] = True
    sigma = torch.where(is_contact, 0.0005, math.inf).to(torch.float64)
    result = solve_sequence(SKELETON, frame_evidence(places(state)), state, [Floor(SOLES, UP, contact_sigma=sigma)])
    # half a millimetre against 35 points of 20 mm; the toe is lifted in its swing, and held down here
    assert float(SKELETON.posed_points(SOLES, result.state)[:, 1, 1].abs().max()) < 0.002


def test_missing_frames_are_filled_in() -> None:
    gap = slice(15, 23)
    sigma = full(FRAMES, 35, value=0.002)
    sigma[gap] = torch.inf
    target = noisy_points(WALK.state, noise=0.002)
    target[gap] = torch.nan
    seen = [Points3D(POINTS, target, sigma), *frame_evidence(target)[1:]]
    start = near(WALK.state)
    start.transl[gap] = start.transl[:1]
    start.local_rotmat[gap] = torch.eye(3, dtype=torch.float64)
    result = solve_sequence(SKELETON, seen, start, smoothness())
    assert result.status == SolveStatus.CONVERGED
    missed = (places(result.state) - places(WALK.state))[gap].norm(dim=-1)
    # a quarter of a second of a walk; feet swing by 40 cm in that time
    assert float(missed.mean()) < 0.05, float(missed.mean())
    assert float(missed[:, 0].max()) < 0.01, float(missed[:, 0].max())


def test_bursts_of_outliers_are_ignored() -> None:
    target = noisy_points(WALK.state, noise=0.005)
    generator = torch.Generator().manual_seed(9)
    is_wrong = torch.rand(FRAMES, 35, generator=generator) < 0.1
    target[is_wrong] += 0.5
    robust = [Points3D(POINTS, target, full(35, value=0.005), loss=GemanMcClure(4.0)), *frame_evidence(target)[1:]]
    result = solve_sequence(SKELETON, robust, near(WALK.state), smoothness())
    assert error(result.state) < 0.01, error(result.state)
    assert float(result.residual("points_3d").robust_weight[is_wrong].max()) < 0.01


def test_robust_smoothness_lets_a_cut_be_a_cut() -> None:
    shift = torch.where(torch.arange(FRAMES) < FRAMES // 2, 0.0, 1.0)[:, None] * UP
    truth = replace(WALK.state, transl=WALK.state.transl + shift)
    evidence = frame_evidence(noisy_points(truth, noise=0.005))
    sigma = torch.tensor(0.003, dtype=torch.float64)
    cut, smeared = (
        solve_sequence(SKELETON, evidence, near(truth), [SmoothTranslation(sigma, loss=loss)])
        for loss in (GemanMcClure(3.0), None)
    )
    beside = slice(FRAMES // 2 - 1, FRAMES // 2 + 1)
    wrong = [float((found.state.transl - truth.transl)[beside].norm(dim=-1).max()) for found in (cut, smeared)]
    assert wrong[0] < 0.01 < wrong[1], wrong


def test_uneven_times_are_respected() -> None:
    skipped = torch.tensor([k for k in range(FRAMES) if k % 3 != 1])
    truth = SolveState(*(part[skipped] for part in (WALK.state.transl, WALK.state.local_rotmat, WALK.state.betas)))
    evidence = frame_evidence(noisy_points(truth, noise=0.03), sigma=0.03)
    times = skipped.to(torch.float64)
    errors: list[float] = []
    for given in (times, None):
        links = [
            SmoothRotations(full(24, value=0.02), given),
            SmoothTranslation(torch.tensor(0.0005, dtype=torch.float64), given),
        ]
        result = solve_sequence(SKELETON, evidence, near(truth), links)
        errors.append(float((result.state.transl - truth.transl).norm(dim=-1).mean()))
    # evenly spaced frames would have the body stop and go
    assert errors[0] < 0.8 * errors[1], errors


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_short_sequences(frames: int) -> None:
    truth = walk(frames)
    evidence = frame_evidence(noisy_points(truth.state))
    result = solve_sequence(SKELETON, evidence, near(truth.state), [*smoothness(), *ground(truth)])
    assert result.status == SolveStatus.CONVERGED
    assert result.cost < result.initial_cost


def test_without_links_it_is_the_ordinary_solve() -> None:
    truth = walk(4)
    evidence = frame_evidence(noisy_points(truth.state))
    config = SolveConfig(cost_tolerance=1e-10)
    together = solve_sequence(SKELETON, evidence, near(truth.state), (), config)
    alone = solve(SKELETON, evidence, near(truth.state), config)
    # the same optima; flat valleys are left at different places
    torch.testing.assert_close(together.frame_cost, alone.cost, rtol=1e-4, atol=1e-6)


def test_two_runs_are_equal_to_the_bit() -> None:
    evidence = frame_evidence(noisy_points(WALK.state))
    config = SolveConfig(max_iterations=4)
    runs = [solve_sequence(SKELETON, evidence, near(WALK.state), smoothness(), config) for _ in range(2)]
    assert torch.equal(runs[0].state.local_rotmat, runs[1].state.local_rotmat)


def test_float32_ends_where_float64_does() -> None:
    ends: list[float] = []
    for dtype in (torch.float32, torch.float64):
        case = sequence_case(20, dtype=dtype)
        frames = case.frames
        result = solve_sequence(frames.skeleton, frames.evidence, frames.start, case.sequence_evidence, SolveConfig())
        assert result.status == SolveStatus.CONVERGED
        ends.append(result.cost)
    # flat valleys: both stop within the tolerance of 1e-6 a step, some steps from the bottom
    assert ends[0] == pytest.approx(ends[1], rel=1e-3)


def test_backends_report_alike() -> None:
    evidence = frame_evidence(noisy_points(WALK.state))
    links = [*smoothness(), Contacts(SOLES, full(4, value=0.01)), Floor(SOLES, UP)]
    found, expected = (
        solve_sequence(SKELETON, evidence, near(WALK.state), links, SolveConfig(backend=backend, cost_tolerance=1e-12))
        for backend in ("auto", "torch")
    )
    # both end where a step gains less than 1e-12 of the cost; places are then known to its root
    assert found.cost == pytest.approx(expected.cost, rel=1e-9)
    torch.testing.assert_close(found.frame_cost, expected.frame_cost, rtol=1e-4, atol=1e-4)
    assert [block.name for block in found.residuals] == [block.name for block in expected.residuals]
    for one, other in zip(found.residuals, expected.residuals, strict=True):
        torch.testing.assert_close(one.residual, other.residual, rtol=0.0, atol=1e-4)
        torch.testing.assert_close(one.robust_weight, other.robust_weight, rtol=0.0, atol=1e-4)


def test_one_difficult_stretch_is_solved_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    truth = walk(80)
    evidence = frame_evidence(noisy_points(truth.state, noise=0.005), sigma=0.005)
    start = near(truth.state, angle_sd=0.0)
    bad = slice(40, 42)
    start.local_rotmat[bad] = start.local_rotmat[bad] @ random_rotmats((2, 24), 0.25, seed=7)
    opened: list[list[slice]] = []
    original = minimise.unsettled

    def watched(*args: Any, **options: Any) -> list[slice]:
        opened.append(original(*args, **options))
        return opened[-1]

    monkeypatch.setattr(minimise, "unsettled", watched)
    result = solve_sequence(SKELETON, evidence, start, smoothness())
    spans = [span for spans in opened for span in spans]
    assert any(span.start <= bad.start and span.stop >= bad.stop for span in spans), spans
    assert result.status == SolveStatus.CONVERGED
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    alone = solve_sequence(SKELETON, evidence, start, smoothness())
    torch.set_num_threads(threads)
    assert torch.equal(alone.state.local_rotmat, result.state.local_rotmat)

    def none(*_args: object, **_options: object) -> list[slice]:
        return []

    monkeypatch.setattr(minimise, "unsettled", none)
    whole = solve_sequence(SKELETON, evidence, start, smoothness())
    assert result.cost == pytest.approx(whole.cost, rel=1e-4)


def test_cost_never_rises_and_cancel_ends() -> None:
    evidence = frame_evidence(noisy_points(WALK.state))
    costs: list[float] = []

    def watch(progress: Progress) -> None:
        costs.append(float(progress.cost))
        if progress.iteration == 4:
            raise Cancelled

    with pytest.raises(Cancelled):
        solve_sequence(SKELETON, evidence, near(WALK.state), smoothness(), on_iteration=watch)
    assert len(costs) == 4
    assert costs == sorted(costs, reverse=True)


@pytest.mark.parametrize(
    ("links", "message"),
    [
        ([SmoothRotations(full(23, value=0.1))], r"smooth_rotations: sigma must have shape \(24,\) or \(40, 24\)"),
        ([SmoothTranslation(full(40, value=-1.0))], "smooth_translation: sigma must be positive"),
        ([SmoothTranslation(full(40, value=1.0), full(40, value=0.0))], "times must be 40 rising numbers"),
        ([Contacts(SOLES, full(40, 4, value=1.0))], r"contacts: sigma must have shape \(4,\) or \(39, 4\)"),
        ([Floor(SOLES, 2.0 * UP)], "floor: up must be one unit vector"),
        ([Floor(SOLES, UP), Floor(SOLES, UP)], "evidence blocks must have different names"),
    ],
)
def test_wrong_evidence_is_refused(links: list[SequenceEvidence], message: str) -> None:
    with pytest.raises(InputError, match=message):
        solve_sequence(SKELETON, frame_evidence(places(WALK.state)), WALK.state, links)


def test_time_is_the_only_batch_dimension() -> None:
    evidence = frame_evidence(places(WALK.state))[1:]
    with pytest.raises(InputError, match="one batch dimension, time"):
        solve_sequence(SKELETON, evidence, SKELETON.rest_state((2, 3)), smoothness())


def test_pins_are_refused() -> None:
    pins = Pins(SOLES, SKELETON.posed_points(SOLES, WALK.state))
    with pytest.raises(InputError, match="no exact pins"):
        solve_sequence(SKELETON, [pins], WALK.state, smoothness())


def test_contact_sigma_follows_the_probability() -> None:
    sigma = contact_sigma(torch.tensor((1.0, 0.25, 0.0)), 0.01)
    assert sigma.tolist() == pytest.approx([0.01, 0.02, math.inf])
