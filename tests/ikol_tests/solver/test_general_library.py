# SPDX-License-Identifier: Apache-2.0
"""The library of the general solve: threads, lanes, instruction sets, bad calls, files that are not the right ones."""

import ctypes
import hashlib
import json
import logging
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from solve_cases import POINTS, RIG, near, prior, sigmas, true_state

from ikol.errors import InputError
from ikol.evaluation.photo_case import SolveCase, photo_case
from ikol.solver import (
    Points2D,
    Points3D,
    RelativePoints3D,
    SolveConfig,
    SolveState,
    SolveStatus,
    Twist,
    general_native,
    native_library,
    solve,
)
from ikol.solver.general_native import PackedProblem
from ikol.solver.native_library import FOLDER, library_path, library_source_hash, source_hash
from ikol.solver.problem import batch_shape_of, build_problem, flatten_state
from ikol.solver.solve import free_axes

LIBRARY = general_native.load_library(library_path("general"))
TIGHT = SolveConfig(cost_tolerance=1e-12, gradient_tolerance=1e-7, max_iterations=300)


def test_a_frame_is_solved_alike_alone_and_with_others_on_any_number_of_threads() -> None:
    case = photo_case(100, dtype=torch.float64)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = _packed(case).run(LIBRARY, *_flat(case))
        torch.set_num_threads(4)
        shared = _packed(case).run(LIBRARY, *_flat(case))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(alone.state.local_rotmat, shared.state.local_rotmat)
    assert torch.equal(alone.cost, shared.cost)
    part = _slice(case, slice(37, 44))
    found = solve(part.skeleton, part.evidence, part.start, replace(part.config, backend="native"))
    assert torch.equal(found.state.local_rotmat, alone.state.local_rotmat[37:44])
    assert torch.equal(found.iterations, alone.iterations[37:44])


def test_a_single_frame_takes_the_steps_that_it_takes_in_a_batch() -> None:
    case = photo_case(9, dtype=torch.float64)
    together = solve(case.skeleton, case.evidence, case.start, replace(case.config, backend="native"))
    single = _slice(case, slice(5, 6))
    alone = solve(single.skeleton, single.evidence, single.start, replace(case.config, backend="native"))
    # instruction sets that fuse products round alike; SSE2 does not
    tolerance = 0.0 if LIBRARY.variant else 1e-6
    assert float((alone.state.local_rotmat - together.state.local_rotmat[5:6]).abs().max()) <= tolerance


@pytest.mark.parametrize("variant", [0, 1, 2])
def test_all_instruction_sets_end_in_the_same_optimum(variant: int) -> None:
    if variant > LIBRARY.variant:
        pytest.skip(reason="this processor does not have it")
    case = photo_case(20, dtype=torch.float64)
    packed = _packed(replace(case, config=TIGHT))
    expected = packed.run(LIBRARY, *_flat(case))
    found = packed.run(replace(LIBRARY, variant=variant), *_flat(case))
    # another rounding may end in another minimum of the robust loss, rarely
    assert float(((found.cost / expected.cost - 1.0).abs() < 1e-8).double().mean()) >= 0.9


def test_frames_with_numbers_that_are_none_fail_alone() -> None:
    case = photo_case(11, dtype=torch.float64)
    transl = case.start.transl.clone()
    transl[4] = math.nan
    packed = _packed(case)
    clean = packed.run(LIBRARY, *_flat(case))
    initial, batch = _flat(case)
    broken = packed.run(LIBRARY, replace(initial, transl=transl), batch)
    assert broken.status.tolist() == [SolveStatus.FAILED if k == 4 else int(clean.status[k]) for k in range(11)]
    assert torch.equal(broken.state.local_rotmat[4], initial.local_rotmat[4])
    others = [k for k in range(11) if k != 4]
    assert torch.equal(broken.state.local_rotmat[others], clean.state.local_rotmat[others])


def _bad(name: str, value: object) -> Callable[[PackedProblem], None]:
    return lambda packed: setattr(packed.call, name, value)


def _bad_block(name: str, value: object) -> Callable[[PackedProblem], None]:
    return lambda packed: setattr(packed.blocks[0], name, value)


def _bad_index(value: int) -> Callable[[PackedProblem], None]:
    def change(packed: PackedProblem) -> None:
        kept = (ctypes.c_int32 * 35)(*([value] * 35))
        packed.blocks[0].index = ctypes.addressof(kept)
        setattr(packed, "kept_for_test", kept)  # noqa: B010 - keeps the memory

    return change


@pytest.mark.parametrize(
    "change",
    [
        *(_bad(name, -1) for name in ("joints", "points", "betas", "blocks", "max_iterations")),
        *(_bad(name, 1 << 30) for name in ("joints", "points", "betas", "blocks")),
        *(_bad(name, None) for name in ("parents", "transl", "block", "cost", "status", "point_joints")),
        *(_bad(name, math.nan) for name in ("max_step", "initial_damping", "gnc_factor")),
        *(_bad_block("kind", value) for value in (-1, 9)),
        *(_bad_block("count", value) for value in (-1, 1 << 30)),
        *(_bad_block(name, None) for name in ("weight", "target", "index")),
        *(_bad_index(value) for value in (-1, 35, 1 << 30)),
        _bad_block("loss", 3),
        _bad_block("target_stride", -8),
    ],
)
def test_calls_that_make_no_sense_are_refused(change: Callable[[PackedProblem], None]) -> None:
    truth = true_state((2,))
    evidence = [Points3D(POINTS, RIG.posed_points(POINTS, truth), sigmas(35))]
    problem = build_problem(RIG, evidence, (2,))
    packed = PackedProblem(problem, SolveConfig(), free_axes(RIG, SolveConfig()))
    packed.run(LIBRARY, flatten_state(near(truth), RIG, (2,)), (2,))  # fills in the pointers
    packed.call.frames = 2
    change(packed)
    assert LIBRARY.run(ctypes.addressof(packed.call), None, 0, LIBRARY.variant) == 1


def test_library_was_made_from_the_sources_beside_it() -> None:
    assert library_source_hash(library_path("general")) == source_hash(general_native.SOURCES)


def test_all_libraries_hold_the_hash_of_the_sources() -> None:
    libraries = list((FOLDER / "lib").glob("*/*ikol_general*"))
    assert len(libraries) == 4
    expected = source_hash(general_native.SOURCES).encode()
    assert not [path.name for path in libraries if expected not in path.read_bytes()]
    # a repository is no place for large binaries
    assert max(path.stat().st_size for path in libraries) < 400_000


def test_libraries_are_those_that_were_listed() -> None:
    folder = FOLDER / "lib"
    listed = json.loads((folder / "SHA256.json").read_text())
    ours = {name: digest for name, digest in listed.items() if "general" in name}
    assert len(ours) == 4
    assert {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in ours} == ours


@pytest.mark.parametrize("content", [None, b"not a library"])
def test_torch_takes_over_with_one_line_in_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "lib.so"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setattr(general_native, "library_path", lambda kernel: path)  # pyright: ignore[reportUnknownLambdaType]
    monkeypatch.setattr(general_native, "_LOGGER", logging.getLogger("ikol.test"))
    general_native.find_library.cache_clear()
    truth = true_state(())
    try:
        with caplog.at_level(logging.WARNING):
            results = [
                solve(RIG, [Points3D(POINTS, RIG.posed_points(POINTS, truth), sigmas(35)), prior()], near(truth))
                for _ in range(2)
            ]
            with pytest.raises(InputError, match="compiled solver cannot be used"):
                solve(
                    RIG,
                    [Points3D(POINTS, RIG.posed_points(POINTS, truth), sigmas(35)), prior()],
                    near(truth),
                    SolveConfig(backend="native"),
                )
    finally:
        general_native.find_library.cache_clear()
    assert len(caplog.records) == 1
    assert "PyTorch takes its place" in caplog.text
    assert int(results[0].status) == SolveStatus.CONVERGED


def _flat(case: SolveCase) -> tuple[SolveState, tuple[int, ...]]:
    batch = batch_shape_of(case.start, case.evidence)
    return flatten_state(case.start, case.skeleton, batch), batch


def _packed(case: SolveCase) -> PackedProblem:
    problem = build_problem(case.skeleton, case.evidence, batch_shape_of(case.start, case.evidence))
    return PackedProblem(problem, case.config, free_axes(case.skeleton, case.config))


def _slice(case: SolveCase, part: slice) -> SolveCase:
    """Some of a photo case's frames."""
    evidence = [
        replace(block, target=block.target[part]) if isinstance(block, Points2D | RelativePoints3D)
        else replace(block, angle=block.angle[part]) if isinstance(block, Twist)
        else block
        for block in case.evidence
    ]  # fmt: skip
    start = replace(case.start, transl=case.start.transl[part], local_rotmat=case.start.local_rotmat[part])
    return replace(case, evidence=tuple(evidence), start=start)


def test_a_truncated_library_is_refused_before_it_is_loaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    whole = library_path("general")
    broken = tmp_path / "lib" / whole.parent.name / whole.name
    broken.parent.mkdir(parents=True)
    broken.write_bytes(whole.read_bytes()[:100_000])
    (tmp_path / "lib" / "SHA256.json").write_bytes((whole.parents[1] / "SHA256.json").read_bytes())
    monkeypatch.setattr(native_library, "FOLDER", tmp_path)
    with pytest.raises(OSError, match="not the file that was built"):
        native_library.open_library(broken)
