# SPDX-License-Identifier: Apache-2.0
"""The cache of machine code for GPUs: whole or made again, and no error where it cannot be written."""

from pathlib import Path

import pytest

from ikol.solver import cuda_compiler
from ikol.solver.cuda_compiler import Compiled, CudaError, Source, cached_cubin, compile_source

SOURCE = Source("kernel", (("a.h", "header"),), ("-DA=1",))


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[Source]:
    """What was compiled, by a compiler that is none."""
    seen: list[Source] = []

    def compile_it(source: Source, _capability: tuple[int, int]) -> Compiled:
        seen.append(source)
        return Compiled(b"code of " + source.text.encode(), "")

    monkeypatch.setattr(cuda_compiler, "compile_source", compile_it)
    monkeypatch.setattr(cuda_compiler, "_nvrtc_version", lambda: (13, 0))
    return seen


def test_the_second_time_nothing_is_compiled(compiled: list[Source], tmp_path: Path) -> None:
    assert cached_cubin(SOURCE, (9, 0), tmp_path) == cached_cubin(SOURCE, (9, 0), tmp_path) == b"code of kernel"
    assert len(compiled) == 1
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("source", "capability"),
    [
        (Source("other", SOURCE.headers, SOURCE.options), (9, 0)),
        (Source(SOURCE.text, (("a.h", "changed"),), SOURCE.options), (9, 0)),
        (Source(SOURCE.text, SOURCE.headers, ("-DA=2",)), (9, 0)),
        (SOURCE, (8, 9)),
    ],
)
def test_anything_that_changes_is_compiled(
    compiled: list[Source], tmp_path: Path, source: Source, capability: tuple[int, int]
) -> None:
    cached_cubin(SOURCE, (9, 0), tmp_path)
    cached_cubin(source, capability, tmp_path)
    assert len(compiled) == 2


@pytest.mark.parametrize("damage", [b"", b"short", b"x" * 60])
def test_a_damaged_file_is_made_again(compiled: list[Source], tmp_path: Path, damage: bytes) -> None:
    cached_cubin(SOURCE, (9, 0), tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_bytes(damage)
    assert cached_cubin(SOURCE, (9, 0), tmp_path) == b"code of kernel"
    assert len(compiled) == 2


def test_a_cache_that_cannot_be_written_is_no_error(compiled: list[Source], tmp_path: Path) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("")
    assert cached_cubin(SOURCE, (9, 0), blocker / "folder") == b"code of kernel"
    assert len(compiled) == 1


def test_a_missing_compiler_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda_compiler._nvrtc.cache_clear()
    monkeypatch.setattr(cuda_compiler, "_nvrtc_names", lambda: ["no_such_library.so.13"])
    with pytest.raises(CudaError, match=r"NVRTC was not found; it comes with torch's wheels for CUDA"):
        compile_source(SOURCE, (9, 0))


def test_the_compiler_says_what_it_did_not_like() -> None:
    cuda_compiler._nvrtc.cache_clear()
    with pytest.raises(CudaError) as caught:
        compile_source(Source("int f() { return nothing; }"), (9, 0))
    if "was not found" in str(caught.value):
        pytest.skip(reason="NVRTC is not installed: pip install nvidia-cuda-nvrtc")
    assert "kernel.cu(1): error" in str(caught.value)
