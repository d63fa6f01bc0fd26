# SPDX-License-Identifier: Apache-2.0
import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from ikol.body.array_archive import read_arrays
from ikol.errors import FileFormatError


def npz(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def archive_of(member: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.npy", member)
    return buffer.getvalue()


def member_of(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def read(data: bytes, *keys: str, max_bytes: int = 1 << 20) -> dict[str, np.ndarray]:
    return read_arrays(data, keys, "body.npz", max_bytes)


def test_named_arrays_come_back_as_they_were_saved() -> None:
    saved = {
        "a": np.arange(6.0, dtype=np.float16).reshape(2, 3),
        "b": np.array(["Pelvis", "L_Hip"]),
        "c": np.asfortranarray(np.arange(6).reshape(2, 3)),
        "d": np.array("CC0-1.0"),
        "e": np.zeros((0, 3)),
    }
    got = read(npz(**saved), *saved)
    assert {key: (value.dtype, value.tolist()) for key, value in got.items()} == {
        key: (value.dtype, value.tolist()) for key, value in saved.items()
    }


def test_arrays_that_are_not_asked_for_are_not_touched() -> None:
    data = npz(a=np.zeros(1), evil=np.array([object()], dtype=object))
    assert list(read(data, "a")) == ["a"]


def test_missing_array_is_named() -> None:
    with pytest.raises(FileFormatError, match=r"body.npz has no array weights, f; got a.npy"):
        read(npz(a=np.zeros(1)), "a", "weights", "f")


class _Payload:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def test_pickled_objects_are_refused_and_do_not_run(tmp_path: Path) -> None:
    trace = tmp_path / "ran"
    payload = np.array([_Payload(trace)], dtype=object)
    data = npz(a=payload)
    with pytest.raises(FileFormatError, match=r"body.npz: a.npy holds pickled Python objects, which can run code"):
        read(data, "a")
    assert not trace.exists()
    pickle.loads(pickle.dumps(payload))  # the payload does work where pickles are loaded
    assert trace.exists()


@pytest.mark.parametrize("length", [0, 3, 100, 400])
def test_truncated_file_is_refused(length: int) -> None:
    data = npz(a=np.random.default_rng(0).normal(size=100))
    assert len(data) > 400
    with pytest.raises(FileFormatError, match=r"body.npz is not a readable .npz file, it may be truncated"):
        read(data[:length], "a")


def test_flipped_bit_is_refused() -> None:
    data = bytearray(npz(a=np.random.default_rng(0).normal(size=1000)))
    data[500] ^= 4
    with pytest.raises(FileFormatError, match=r"body.npz is not a readable .npz file"):
        read(bytes(data), "a")


def test_file_that_unpacks_to_too_much_is_refused_before_unpacking() -> None:
    data = npz(a=np.zeros(10_000_000))
    assert len(data) < 100_000
    with pytest.raises(FileFormatError, match=r"body.npz unpacks to 80000128 bytes, at most 1048576 are accepted"):
        read(data, "a")


def test_header_that_claims_more_than_there_is_is_refused_before_allocating() -> None:
    header = member_of(np.zeros((3, 3))).replace(b"'shape': (3, 3), }", b"'shape': (30000000000000, 3), }")
    header = header.replace(b" " * 13 + b"\n", b"\n", 1)  # the header keeps its length
    with pytest.raises(FileFormatError, match=r"announces 720000000000000 bytes and holds 72; the file is damaged"):
        read(archive_of(header), "a")


@pytest.mark.parametrize("member", [b"", b"hello, I am no array", member_of(np.zeros(2))[:40]])
def test_member_that_is_no_array_is_refused(member: bytes) -> None:
    with pytest.raises(FileFormatError, match=r"body.npz: a.npy is not a .npy array"):
        read(archive_of(member), "a")


def test_newer_npy_version_is_refused_with_advice() -> None:
    member = bytearray(member_of(np.zeros(2)))
    member[6] = 3
    with pytest.raises(FileFormatError, match=r"a.npy has .npy version \(3, 0\), only 1.0 is accepted; save it again"):
        read(archive_of(bytes(member)), "a")
