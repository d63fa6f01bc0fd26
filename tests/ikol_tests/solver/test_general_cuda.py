# SPDX-License-Identifier: Apache-2.0
"""The general solve's kernel for a GPU without a GPU: compiled for the CPU against the CPU's, and by NVRTC for real."""

import sys

import gpu_emulation
import native_build
import pytest
import torch

from ikol.evaluation.photo_case import photo_case
from ikol.solver import SolveConfig, SolveResult, general_cuda, general_native, solve
from ikol.solver.cuda_compiler import CudaError, Kernel, compile_source
from ikol.solver.general_native import Library

FRAMES = 70  # not a multiple of the block; each thread has one or two


@pytest.fixture(scope="module")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Library, list[int]]:
    """The library, and which sizes of working memory were asked for."""
    if native_build.find_any_compiler() is None:
        pytest.skip(reason="no C++ compiler")
    folder, asked, built = tmp_path_factory.mktemp("general"), [], {}

    def find(scratch: int) -> Kernel:
        asked.append(scratch)
        if scratch not in built:
            source = general_cuda.kernel_source(scratch)
            place = folder / str(scratch)
            built[scratch] = gpu_emulation.emulate(
                source, "ikol_general", "ikol_general_call", general_cuda.BLOCK, place
            )
        return built[scratch]

    return general_cuda.make_library(torch.device("cpu"), find), asked


def _solve(library: Library | None, monkeypatch: pytest.MonkeyPatch, frames: int = FRAMES) -> SolveResult:
    case = photo_case(frames, dtype=torch.float64)
    monkeypatch.setattr(sys.modules[solve.__module__], "library_for", lambda *_: library)
    return solve(case.skeleton, case.evidence, case.start, SolveConfig())


def test_kernel_ends_where_the_cpu_ends(emulated: tuple[Library, list[int]], monkeypatch: pytest.MonkeyPatch) -> None:
    found = _solve(emulated[0], monkeypatch)
    wanted = _solve(general_native.find_library(), monkeypatch)
    assert torch.equal(found.status, wanted.status)
    # rounding decides which step is the last: the costs agree as well as the stopping rule asks for
    error = float(((found.cost - wanted.cost) / wanted.cost).abs().max())
    assert error < 1e-6, error


def test_memory_that_was_enough_is_remembered(
    emulated: tuple[Library, list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    _solve(emulated[0], monkeypatch, frames=2)
    emulated[1].clear()
    _solve(emulated[0], monkeypatch, frames=2)
    assert len(set(emulated[1])) == 1


@pytest.mark.slow
def test_nvrtc_compiles_the_kernel_for_hopper() -> None:
    try:
        compiled = compile_source(general_cuda.kernel_source(general_cuda.SCRATCH[0]), (9, 0))
    except CudaError as error:
        if "was not found" in str(error):
            pytest.skip(reason="NVRTC is not installed: pip install nvidia-cuda-nvrtc")
        raise
    assert compiled.cubin.startswith(b"\x7fELF")
