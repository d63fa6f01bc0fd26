# SPDX-License-Identifier: Apache-2.0
"""Files are read up to a limit, and the limit itself takes no memory."""

import os
import tracemalloc
from pathlib import Path

import pytest

from ikol.errors import FileFormatError
from ikol.files import read_limited


def test_a_small_file_takes_little_memory_whatever_the_limit(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    tracemalloc.start()
    try:
        assert read_limited(tmp_path / "a", 1 << 40) == b"abc"
        assert tracemalloc.get_traced_memory()[1] < 1 << 16
    finally:
        tracemalloc.stop()


def test_a_large_file_a_pipe_and_none_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(2 << 20))
    assert len(read_limited(tmp_path / "a", 2 << 20)) == 2 << 20
    with pytest.raises(FileFormatError, match="a is larger than 1 MiB, which is the most that is read"):
        read_limited(tmp_path / "a", 1 << 20)
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "gone", "."):
        with pytest.raises(FileFormatError, match="there is no body file"):
            read_limited(tmp_path / name, 10, "body file")
