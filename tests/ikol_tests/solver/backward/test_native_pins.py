# SPDX-License-Identifier: Apache-2.0
"""Compiled gradients of solves with exact pins: PyTorch's, and differences of two optima."""

import importlib
from dataclasses import replace

import pytest
import torch
from derivative_cases import ROTATIONS, Case, elastic, make_case, make_inputs, make_points, noise, truth
from torch import Tensor

from ikol.solver import Pins, Points3D, SolveConfig, SolveResult, SolveState, SolveStatus, solve
from ikol.solver.general_native import PackedProblem

solve_module = importlib.import_module("ikol.solver.solve")
PINNED = ("tip_end", "right")
FREE = SolveConfig(gnc_start=1.0, gradient_tolerance=1e-9, cost_tolerance=0.0, max_iterations=300)
CONFIGS = {
    "pose": FREE,
    "betas": replace(FREE, solve_shape=True),
    "lengths": replace(FREE, solve_shape=True, bone_groups=elastic()),
    "one step": replace(FREE, backward="one_step"),
    "held": replace(FREE, free_joints=torch.tensor((True, True, False, True, True))),
}
HELD = ("points_3d", "relative", "points_2d", "anchor", "twist", "limits", "shape_prior", "bone_prior")
WANTED = ("pin", "target_3d", "target_2d", "sigma_3d", "anchor", "points", "joints", "axes", "shape_mean", "bone_mean")
PRIORS = ("shape_prior", "bone_prior")


def pinned_inputs() -> dict[str, Tensor]:
    """Pins five centimetres from where the points would be."""
    inputs = make_inputs()
    points = make_points(inputs).select(PINNED)
    place = make_case(inputs).skeleton.posed_points(points, truth(inputs))
    return {**inputs, "pin": place + 0.03 * noise(2, 3, seed=70)}


def pinned(inputs: dict[str, Tensor], kinds: tuple[str, ...], is_pinned: Tensor | None = None) -> Case:
    case = make_case(inputs, kinds, {})
    pins = Pins(make_points(inputs).select(PINNED), inputs["pin"], is_pinned)
    return Case(case.skeleton, [pins, *case.evidence], truth({name: part.detach() for name, part in inputs.items()}))


def loss_of(result: SolveResult, cost: float = 0.3) -> Tensor:
    state = result.state
    total = (noise(5, 3, 3, seed=30) * state.local_rotmat).sum() + (noise(3, seed=31) * state.transl).sum()
    total = total + (noise(2, seed=32) * state.betas).sum() + cost * result.cost.sum()
    return total if state.bone_scale is None else total + (noise(5, seed=33) * state.bone_scale).sum()


def found(case: Case, config: SolveConfig, inputs: dict[str, Tensor]) -> tuple[SolveResult, dict[str, Tensor]]:
    result = solve(case.skeleton, case.evidence, case.start, config)
    leaves = [inputs[name] for name in WANTED]
    parts = torch.autograd.grad(loss_of(result), leaves, retain_graph=True, allow_unused=True, materialize_grads=True)
    gradients = dict(zip(WANTED, parts, strict=True))
    for name in set(WANTED) & set(ROTATIONS):  # along them
        along = inputs[name].detach().mT @ gradients[name]
        gradients[name] = along - along.mT
    return result, gradients


def never(packed: PackedProblem, initial: SolveState) -> bool:
    return False


def largest_gap(
    case: Case, config: SolveConfig, inputs: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> tuple[SolveResult, str, float]:
    """Between the compiled gradients and PyTorch's, from the same end of the same solve."""
    result, compiled = found(case, config, inputs)
    monkeypatch.setattr(solve_module, "can_attach", never)
    wanted = found(case, config, inputs)[1]
    assert bool(wanted["pin"].any())
    gaps = {
        name: float((compiled[name] - part).abs().max()) / float(1.0 + part.abs().max())
        for name, part in wanted.items()
    }
    worst = max(gaps, key=lambda name: gaps[name])
    return result, worst, gaps[worst]


def live(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: part.requires_grad_(name in WANTED) for name, part in inputs.items()}


@pytest.mark.parametrize("kinds", [("points_3d", "anchor", *PRIORS), HELD])
@pytest.mark.parametrize("name", CONFIGS)
def test_gradients_are_those_of_torch(name: str, kinds: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = live(pinned_inputs())
    result, worst, gap = largest_gap(pinned(inputs, kinds), CONFIGS[name], inputs, monkeypatch)
    assert result.status == SolveStatus.CONVERGED
    assert result.is_pin_reached is not None
    assert bool(result.is_pin_reached.all())
    # springs a million times as stiff as the evidence: six of sixteen digits
    assert gap < 1e-8, f"{worst}: {gap:.1e}"


@pytest.mark.parametrize("far", [0.0, 3.0])
def test_pins_that_are_none_or_give_way_are_as_in_torch(far: float, monkeypatch: pytest.MonkeyPatch) -> None:
    # the second is pinned only where the first is out of its reach
    inputs = pinned_inputs()
    inputs["pin"] = inputs["pin"] + torch.tensor(((0.0, far, 0.0), (0.0, 0.0, 0.0)), dtype=torch.float64)
    inputs = live(inputs)
    case = pinned(inputs, ("points_3d", "anchor", *PRIORS), torch.tensor((True, far > 0.0)))
    result, worst, gap = largest_gap(case, FREE, inputs, monkeypatch)
    assert result.status == SolveStatus.CONVERGED
    assert result.is_pin_reached is not None
    assert bool(result.is_pin_reached.all()) == (far == 0.0)
    assert gap < 1e-8, f"{worst}: {gap:.1e}"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_frame_has_its_own_gradient_or_none(dtype: torch.dtype) -> None:
    # no multiple of a register; the last frame has no time to converge from where it starts
    inputs = {name: part.to(dtype) for name, part in pinned_inputs().items()}
    case = pinned(inputs, ("points_3d", "anchor"))
    skeleton = replace(case.skeleton, joints_shapedirs=case.skeleton.joints_shapedirs.to(dtype))
    pins, points, anchor = case.evidence
    assert isinstance(pins, Pins)
    assert isinstance(points, Points3D)
    start = SolveState(*(part.to(dtype) for part in (case.start.transl, case.start.local_rotmat, case.start.betas)))
    shapedirs = [block.points.shapedirs.to(dtype) for block in (pins, points)]
    pins = replace(pins, points=replace(pins.points, shapedirs=shapedirs[0]))
    points = replace(points, points=replace(points.points, shapedirs=shapedirs[1]))
    target = (pins.target + 0.01 * noise(11, 2, 3, seed=80).to(dtype)).requires_grad_()
    far = torch.zeros(11, 3, dtype=dtype)
    config = FREE if dtype == torch.float64 else SolveConfig()
    far[-1] = torch.finfo(dtype).max ** 0.8
    starts = replace(start, transl=start.transl + far)

    def gradient(items: slice) -> Tensor:
        given = [replace(pins, target=target[items]), points, anchor]
        result = solve(skeleton, given, replace(starts, transl=starts.transl[items]), config)
        return torch.autograd.grad(
            (noise(11, 5, 3, 3, seed=81).to(dtype)[items] * result.state.local_rotmat).sum(), target
        )[0]

    whole = gradient(slice(None))
    alone = torch.stack([gradient(slice(item, item + 1))[item] for item in range(11)])
    assert bool((whole[:-1].abs().amax((-1, -2)) > 0).all())
    assert not bool(whole[-1].any())
    # the force on a pin is known to its spring's stiffness times where float32 ends
    tolerance = 0.1 if dtype == torch.float32 else 1e-5
    assert float((whole - alone).abs().max()) < tolerance * float(alone.abs().max())
