# SPDX-License-Identifier: Apache-2.0
"""The compiled kernel's library: made from this source, unchanged, replaced by PyTorch where it is missing."""

import hashlib
import json
import logging
from pathlib import Path

import pytest
import torch
from keypoint_trees import make_case

from ikol.solver.directions import DirectionConfig, native, solve_directions
from ikol.solver.native_library import FOLDER, library_source_hash, source_hash


@pytest.fixture
def one_library(monkeypatch: pytest.MonkeyPatch) -> None:
    native.find_library.cache_clear()
    monkeypatch.setattr(native, "_LOGGER", logging.getLogger("ikol.test"))


def test_library_was_made_from_the_source_beside_it() -> None:
    assert library_source_hash(native.library_path()) == source_hash(native.SOURCES)


def test_all_libraries_hold_the_hash_of_the_source() -> None:
    libraries = list((FOLDER / "lib").glob("*/*ikol_tree*"))
    assert len(libraries) == 4
    stale = [path.name for path in libraries if source_hash(native.SOURCES).encode() not in path.read_bytes()]
    assert not stale


def test_libraries_are_those_that_were_listed() -> None:
    folder = FOLDER / "lib"
    listed = json.loads((folder / "SHA256.json").read_text())
    found = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in listed}
    assert found == listed


@pytest.mark.usefixtures("one_library")
@pytest.mark.parametrize("content", [None, b"not a library"])
def test_torch_takes_over_with_one_line_in_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "lib.so"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setattr(native, "library_path", lambda: path)
    case = make_case(3, seed=0)
    with caplog.at_level(logging.WARNING):
        results = [solve_directions(case.tree, case.keypoints, case.offsets, case.twist) for _ in range(2)]
    native.find_library.cache_clear()
    assert len(caplog.records) == 1
    assert "PyTorch takes its place" in caplog.text
    assert float(results[0].cost.max()) < 1e-16


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_all_instruction_sets_give_the_same(dtype: torch.dtype) -> None:
    library = native.load_library(native.library_path())
    case = make_case(50, seed=1, max_angle=1.5, noise=0.01, dtype=dtype)
    arrays = native.Arrays(case.keypoints, case.offsets, None, case.twist)
    results = [
        native.solve_native(
            native.Library(library.run, variant), case.tree.parents, 24, arrays, DirectionConfig(hold_root=True)
        )
        for variant in range(library.variant + 1)
    ]
    costs = torch.stack([result.cost for result in results])
    # fused multiply-adds round differently
    assert float(((costs - costs[0]) / costs[0]).abs().max()) < (1e-12 if dtype == torch.float64 else 1e-4)


def test_threads_give_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    case = make_case(3001, seed=2, max_angle=1.5, noise=0.01, dtype=torch.float32)
    results = []
    for threads in (1, 2):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        results.append(solve_directions(case.tree, case.keypoints, case.offsets, case.twist).local_rotmat)
    assert torch.equal(results[0], results[1])
