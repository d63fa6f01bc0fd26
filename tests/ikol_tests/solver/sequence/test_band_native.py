# SPDX-License-Identifier: Apache-2.0
"""The compiled block-banded Cholesky against PyTorch's: every instruction set, both directions, what it refuses."""

import hashlib
import json
import logging
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ikol.solver.native_library import FOLDER, library_path, library_source_hash, source_hash
from ikol.solver.sequence import band_native
from ikol.solver.sequence.band import Band, solve_band, solve_band_torch
from ikol.solver.sequence.band_native import (
    SOURCES,
    Library,
    Memory,
    Stretches,
    can_solve,
    find_library,
    load_library,
    solve_native,
)

LIBRARY = find_library()
needs_library = pytest.mark.skipif(LIBRARY is None, reason="no compiled band for this platform")
BEST = LIBRARY.variant if LIBRARY is not None else 0
SPLIT = 28  # from so many frames on both ends are begun with


def make(frames: int, size: int, reach: int, sides: int) -> Tensor:
    """Panels of a definite matrix, its unused blocks not numbers."""
    generator = torch.Generator().manual_seed(frames + 100 * size)
    panels = torch.randn(frames, size, reach * size + sides, dtype=torch.float64, generator=generator)
    own = panels[..., :size]
    # random matrices of this size have eigenvalues below 4 sqrt(size * reach): the sum is definite, condition below 10
    own.copy_((own + own.mT) / 2 + 6 * (reach * size) ** 0.5 * torch.eye(size, dtype=torch.float64))
    for frame in range(frames):
        panels[frame, :, (frames - frame) * size : reach * size] = torch.nan
    return panels


@needs_library
@pytest.mark.parametrize("variant", range(BEST + 1))
@pytest.mark.parametrize("frames", [1, 2, 3, SPLIT - 1, SPLIT, SPLIT + 1, 50])
@pytest.mark.parametrize(
    ("size", "reach", "sides"),
    [(75, 3, 1), (75, 3, 12), (75, 2, 1), (75, 1, 1), (78, 3, 30), (8, 4, 8), (1, 3, 1), (5, 3, 0)],
)
def test_every_instruction_set_agrees_with_torch(frames: int, size: int, reach: int, sides: int, variant: int) -> None:
    assert LIBRARY is not None
    panels = make(frames, size, reach, sides)
    expected = solve_band_torch(Band(panels.clone(), reach))
    found = solve_native(panels, reach, library=Library(LIBRARY.run, variant))
    assert found is not None
    assert expected is not None
    # two orders of the same sums, over 200 terms and a condition below 10
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-13)


@needs_library
@pytest.mark.parametrize("variant", range(BEST + 1))
@pytest.mark.parametrize("lengths", [(1,), (2, 1, 5), (9, 13, 12), (40, 3)])
@pytest.mark.parametrize("sides", [0, 2])
def test_stretches_of_a_band_with_more_on_the_diagonal(lengths: tuple[int, ...], sides: int, variant: int) -> None:
    assert LIBRARY is not None
    size, reach, total = 21, 3, sum(lengths)
    generator = torch.Generator().manual_seed(total)
    panels = make(70, size, reach, sides)
    # every second frame that is taken has another block
    changed = torch.arange(total).div(2, rounding_mode="floor").where(torch.arange(total) % 2 == 0, -1)
    change = torch.randn((total + 1) // 2, size, size, dtype=torch.float64, generator=generator)
    starts = torch.tensor(lengths).cumsum(0) - torch.tensor(lengths) + 3 * torch.arange(len(lengths))
    some = Stretches(
        index=torch.cat([start + torch.arange(length) for start, length in zip(starts, lengths, strict=True)]),
        left=torch.cat([torch.arange(length).flip(0) for length in lengths]),
        changed=changed,
        change=change + change.mT,
    )
    diagonal = 1.0 + torch.rand(total, size, dtype=torch.float64, generator=generator)
    right = torch.randn(total, size, dtype=torch.float64, generator=generator)
    before = panels.clone()
    expected = solve_band_torch(Band(panels, reach), diagonal, right, some)
    library = Library(LIBRARY.run, variant)
    memory = Memory()
    memory.take(10 * total * size * size).fill_(torch.nan)  # what is left in memory is not looked at
    found = solve_native(panels, reach, diagonal, right, some, memory, library=library)
    rough = solve_native(panels, reach, diagonal, right, some, memory, is_rough=True, library=library)
    assert found is not None
    assert rough is not None
    assert expected is not None
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-13)
    # single precision of the factor; the condition is below 100
    torch.testing.assert_close(rough, expected, rtol=0.0, atol=1e-6 * float(expected.abs().max()))
    torch.testing.assert_close(panels, before, rtol=0.0, atol=0.0, equal_nan=True)


@needs_library
@pytest.mark.parametrize("bad", [-1.0, 0.0, torch.nan])
@pytest.mark.parametrize("frame", [0, 14, 15, 16, 29])
def test_indefinite_matrices_are_refused_wherever_that_shows(frame: int, bad: float) -> None:
    panels = make(30, 12, 3, 1)
    panels[frame, 7, 7] = bad
    assert solve_native(panels, 3) is None


@needs_library
def test_a_matrix_is_refused_that_is_indefinite_only_as_a_whole() -> None:
    """Ones beside and on the diagonal: each frame by itself is definite."""
    panels = torch.ones(20, 1, 4, dtype=torch.float64)
    assert solve_band_torch(Band(panels.clone(), 3)) is None
    assert solve_native(panels, 3) is None


@needs_library
def test_threads_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    panels = make(40, 75, 3, 2)
    monkeypatch.setattr(band_native, "THREAD_FLOPS", float("inf"))
    alone = solve_native(panels.clone(), 3)
    monkeypatch.setattr(band_native, "THREAD_FLOPS", 0.0)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    together = solve_native(panels, 3)
    assert alone is not None
    assert together is not None
    assert torch.equal(alone, together)


def test_without_library_torch_does_it_and_the_log_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    panels = make(4, 3, 2, 1)
    expected = solve_band_torch(Band(panels.clone(), 2))
    monkeypatch.setattr(band_native, "library_path", lambda _kernel: tmp_path / "missing.so")
    find_library.cache_clear()
    with caplog.at_level(logging.WARNING):
        first, _ = solve_band(Band(panels.clone(), 2)), solve_band(Band(panels.clone(), 2))
    find_library.cache_clear()
    assert first is not None
    assert expected is not None
    assert torch.equal(first, expected)
    assert sum("compiled band is not used" in record.message for record in caplog.records) == 1


def test_other_devices_and_numbers_are_left_to_torch() -> None:
    assert not can_solve(torch.zeros(2, 3, 4, dtype=torch.float64, device="meta"))
    assert not can_solve(torch.zeros(2, 3, 4, dtype=torch.float32))
    assert not can_solve(torch.zeros(2, 3, 8, dtype=torch.float64)[..., ::2])


@needs_library
def test_library_is_made_from_these_sources() -> None:
    assert library_source_hash(library_path("band")) == source_hash(SOURCES)


@needs_library
def test_other_libraries_are_refused() -> None:
    with pytest.raises(AttributeError):
        load_library(library_path("tree"))


@pytest.mark.parametrize(
    "library",
    [
        "linux-x86_64/libikol_band.so",
        "linux-aarch64/libikol_band.so",
        "macos-arm64/libikol_band.dylib",
        "windows-x86_64/ikol_band.dll",
    ],
)
def test_every_platform_has_a_library_of_these_sources(library: str) -> None:
    content = (FOLDER / "lib" / library).read_bytes()
    assert source_hash(SOURCES).encode() in content
    listed = json.loads((FOLDER / "lib" / "SHA256.json").read_text())
    assert listed[library] == hashlib.sha256(content).hexdigest()
