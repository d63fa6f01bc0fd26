# SPDX-License-Identifier: Apache-2.0
"""The compiled normal equations are those of PyTorch."""

import logging
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from derivative_cases import KINDS, make_case, make_inputs
from torch import Tensor

from ikol.solver import SolveConfig, SolveState, linearise_native
from ikol.solver.levenberg_marquardt import evaluate
from ikol.solver.linearise_native import Lineariser, find_library, find_lineariser
from ikol.solver.native_library import FOLDER, library_path, library_source_hash, source_hash
from ikol.solver.normal_equations import normal_equations
from ikol.solver.problem import Problem, build_problem

LIBRARY = find_library()
pytestmark = pytest.mark.skipif(LIBRARY is None, reason="no compiled kernel for this platform")
FRAMES = 11  # more than one register of frames, and not a multiple of any
# sums of some hundred products in double precision
RTOL = 1e-10


def make(kinds: tuple[str, ...]) -> tuple[Problem, SolveState]:
    """A problem and as many states as it has frames, far from its optimum."""
    case = make_case(make_inputs(0.1), kinds)
    generator = torch.Generator().manual_seed(7)

    def noise(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    turns = torch.linalg.matrix_exp(_skew(0.4 * noise(FRAMES, 5, 3)))
    start = case.start
    state = SolveState(
        transl=start.transl + 0.2 * noise(FRAMES, 3),
        local_rotmat=start.local_rotmat @ turns,
        betas=start.betas.expand(FRAMES, -1),
        bone_scale=None if start.bone_scale is None else start.bone_scale.expand(FRAMES, -1),
    )
    return build_problem(case.skeleton, case.evidence, (FRAMES,)), state


def narrow(thing: object) -> Any:
    """The same in single precision."""
    if isinstance(thing, torch.Tensor):
        return thing.float() if thing.is_floating_point() else thing
    if isinstance(thing, tuple):
        return tuple(narrow(part) for part in cast("tuple[object, ...]", thing))
    if is_dataclass(thing) and not isinstance(thing, type):
        return replace(
            thing, **{field.name: narrow(getattr(thing, field.name)) for field in fields(thing) if field.init}
        )
    return thing


def _skew(v: Tensor) -> Tensor:
    zero = torch.zeros_like(v[..., 0])
    x, y, z = v.unbind(-1)
    return torch.stack((zero, -z, y, z, zero, -x, -y, x, zero), dim=-1).unflatten(-1, (3, 3))


def compare(
    problem: Problem,
    state: SolveState,
    *,
    convexity: float = 1.0,
    with_bending: bool = False,
    rtol: float = RTOL,
) -> None:
    here = evaluate(problem, state)
    linear = normal_equations(problem, here.posed, here.rows, with_shape=False, convexity=convexity)
    expected = linear.gauss_newton.hessian + (linear.bending if with_bending else 0.0)
    assert LIBRARY is not None
    for variant in range(LIBRARY.variant + 1):
        kernel = Lineariser(replace(LIBRARY, variant=variant), problem, SolveConfig())
        # rows and frames that lie apart, as in a band
        wide = torch.full((len(expected), expected.shape[1], expected.shape[1] + 5), torch.nan, dtype=torch.float64)
        hessian = wide[..., : expected.shape[1]]
        inner = slice(0, len(expected))
        gradient, _ = kernel.run(state, 0, inner, hessian, with_bending=with_bending, convexity=convexity)
        cost = kernel.cost(state, 0, convexity)
        torch.testing.assert_close(cost, here.cost(convexity).double(), rtol=max(rtol, 1e-9), atol=0.0)
        assert bool(wide[..., expected.shape[1] :].isnan().all())
        close(hessian.triu(), expected.triu(), rtol)
        close(gradient, linear.gauss_newton.gradient, rtol)


def close(found: Tensor, expected: Tensor, rtol: float) -> None:
    torch.testing.assert_close(found, expected, rtol=0.0, atol=rtol * float(expected.abs().max()))


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_evidence(kind: str) -> None:
    compare(*make((kind,)))


@pytest.mark.parametrize("convexity", [1.0, 5.0])
def test_all_kinds_together(convexity: float) -> None:
    compare(*make(KINDS), convexity=convexity)


@pytest.mark.parametrize("kind", ["points_3d", "relative", "points_2d"])
def test_second_order_part(kind: str) -> None:
    compare(*make((kind, "orientation", "anchor")), with_bending=True)


def test_single_precision() -> None:
    # PyTorch takes residuals of some standard deviations from single-precision places, the kernel from double
    problem, state = make(KINDS)
    wide = {name: getattr(problem, name) for name in ("ancestors", "carries", "couples", "couples_below")}
    compare(replace(narrow(problem), **wide), narrow(state), rtol=1e-4, with_bending=True)


def test_limits_tell_what_a_step_could_enter() -> None:
    problem, state = make(("limits", "anchor"))
    (expected,) = (rows for rows in evaluate(problem, state).rows if rows.range is not None)
    assert LIBRARY is not None
    kernel = Lineariser(LIBRARY, problem, SolveConfig())
    size = 3 + 3 * problem.skeleton.tree.num_joints
    inner = slice(3, 9)
    _, (found,) = kernel.run(state, 0, inner, torch.zeros(6, size, size, dtype=torch.float64))
    assert expected.range is not None
    assert found.range is not None
    close(found.residual, expected.residual[inner], RTOL)
    close(found.weight, expected.weight[inner], RTOL)
    # the kernel writes a huge number where there is no limit
    for one, other in ((found.range.above, expected.range.above), (found.range.below, expected.range.below)):
        close(one.clamp(-100.0, 100.0), other[inner].clamp(-100.0, 100.0), RTOL)
    close(found.jacobian, expected.jacobian[inner], RTOL)


def test_what_only_torch_does() -> None:
    problem, _ = make(("points_3d",))
    assert find_lineariser(problem, SolveConfig()) is not None
    assert find_lineariser(problem, SolveConfig(backend="torch")) is None
    assert find_lineariser(problem, SolveConfig(solve_shape=True)) is None
    groups = torch.ones(5, 1, dtype=torch.float64)
    assert find_lineariser(replace(problem, bone_groups=groups), SolveConfig()) is None


def missing(_kernel: str) -> Path:
    return Path("missing.so")


def test_a_broken_library_is_replaced_with_one_line_in_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    problem, _ = make(("points_3d",))
    monkeypatch.setattr(linearise_native, "library_path", missing)
    monkeypatch.setattr(linearise_native, "_LOGGER", logging.getLogger("ikol.test"))
    linearise_native.find_library.cache_clear()
    with caplog.at_level(logging.WARNING):
        found = [find_lineariser(problem, SolveConfig()) for _ in range(2)]
    linearise_native.find_library.cache_clear()
    assert found == [None, None]
    assert len(caplog.records) == 1
    assert "PyTorch takes their place" in caplog.text


def test_libraries_were_made_from_these_sources() -> None:
    assert library_source_hash(library_path("linearise")) == source_hash(linearise_native.SOURCES)
    expected = source_hash(linearise_native.SOURCES).encode()
    libraries = list((FOLDER / "lib").glob("*/*ikol_linearise*"))
    assert len(libraries) == 4
    assert all(expected in library.read_bytes() for library in libraries)
