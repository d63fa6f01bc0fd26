# SPDX-License-Identifier: Apache-2.0
import io
import json
import pickle
import resource
import sys
import zipfile

import numpy as np
import pytest

from blender_addon.core.errors import FileError
from blender_addon.core.keypoint_files import DEFAULT_SIGMA, read_keypoints

NAMES = ["nose", "L_Wrist", "R_Wrist", "left_ankle"]
POINTS = [[0.0, 1.6, 0.1], [0.5, 1.0, 0.0], [-0.5, 1.0, 0.0], [0.1, 0.1, 0.0]]


def write_json(path, **content):
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_json_and_npz_give_the_same(tmp_path):
    np.savez(tmp_path / "a.npz", names=np.array(NAMES), points=np.array(POINTS))
    from_json = read_keypoints(write_json(tmp_path / "a.json", names=NAMES, points=POINTS))
    assert from_json == read_keypoints(tmp_path / "a.npz")
    assert from_json.names == tuple(NAMES)
    assert from_json.points == tuple(map(tuple, POINTS))
    assert from_json.sigma == (DEFAULT_SIGMA,) * 4


def test_sigma_of_the_file_is_used(tmp_path):
    np.savez(tmp_path / "a.npz", names=np.array(NAMES), points=np.array(POINTS, np.float32), sigma=[0.1, 0.2, 0.3, 0.4])
    assert read_keypoints(tmp_path / "a.npz").sigma == pytest.approx((0.1, 0.2, 0.3, 0.4))


WRONG_JSON = {
    "no_names": ({"points": POINTS}, "is not a keypoint file .+ expected"),
    "two_coordinates": ({"names": NAMES, "points": [[0, 0]] * 4}, "is not a keypoint file"),
    "text_as_number": ({"names": NAMES, "points": [["a", 0, 0]] * 4}, "is not a keypoint file"),
    "lengths": ({"names": NAMES, "points": POINTS[:3]}, "has 4 names, 3 points and 4 sigmas"),
    "too_few": ({"names": NAMES[:2], "points": POINTS[:2]}, "has 2 points; between 4 and 512 are needed"),
    "twice": ({"names": ["nose"] * 4, "points": POINTS}, "names a point twice"),
    "unknown": ({"names": ["tail", *NAMES[1:]], "points": POINTS}, "unknown point 'tail'; names are joint or landmark"),
    "millimetres": ({"names": NAMES, "points": [[0, 1600.0, 0]] * 4}, "they must be in metres"),
    "sigma_zero": (
        {"names": NAMES, "points": POINTS, "sigma": [0, 1, 1, 1]},
        "must be between 1e-06 and 1e",
    ),
    "sigma_tiny": ({"names": NAMES, "points": POINTS, "sigma": [1, 1, 1, 1e-7]}, "got 1e-07 to 1"),
    "sigma_huge": ({"names": NAMES, "points": POINTS, "sigma": [1, 1, 1, 1e300]}, "got 1 to 1e"),
    "centimetres": ({"names": NAMES, "points": [[0, 160.0, 0]] * 4}, "100 m from the origin; they must be in metres"),
}


@pytest.mark.parametrize("name", WRONG_JSON)
def test_a_wrong_json_file_gives_a_sentence(tmp_path, name):
    content, sentence = WRONG_JSON[name]
    with pytest.raises(FileError, match=sentence):
        read_keypoints(write_json(tmp_path / "a.json", **content))


def test_numbers_that_are_not_finite_are_refused(tmp_path):
    points = np.array(POINTS)
    points[2, 1] = np.nan
    np.savez(tmp_path / "a.npz", names=np.array(NAMES), points=points)
    with pytest.raises(FileError, match="not finite"):
        read_keypoints(tmp_path / "a.npz")


def test_another_suffix_is_refused(tmp_path):
    (tmp_path / "a.trc").write_text("x", encoding="utf-8")
    with pytest.raises(FileError, match=r"neither \.npz nor \.json"):
        read_keypoints(tmp_path / "a.trc")


class Evil:
    """Runs code when it is unpickled."""

    def __reduce__(self):
        return (exec, ("import pathlib; pathlib.Path('unpickled').touch()",))


def test_pickles_in_an_npz_are_never_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez(tmp_path / "a.npz", names=np.array([Evil()], dtype=object), points=np.array(POINTS))
    with pytest.raises(FileError, match=r"a\.npz is not a readable \.npz file"):
        read_keypoints(tmp_path / "a.npz")
    assert not (tmp_path / "unpickled").exists()
    assert pickle.dumps(Evil())  # the pickle itself is well formed


def npy_header(shape, dtype="<f8"):
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": dtype, "fortran_order": False, "shape": shape})
    return stream.getvalue()


@pytest.mark.parametrize("dtype", ["<f8", "<U100000"])
def test_an_array_that_claims_gigabytes_is_refused_by_its_header(tmp_path, dtype):
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("names.npy", npy_header((2**30,), dtype) + b"\0" * 2**20)
        archive.writestr("points.npy", npy_header((2**30, 3)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(FileError, match="at most 512 points are read"):
        read_keypoints(tmp_path / "a.npz")
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 64 * 1024, f"{grown} KiB"  # KiB on Linux; the file itself has a few


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"\x93NUMPY", b"x" * 1000])
def test_what_is_no_npz_gives_a_sentence(tmp_path, content):
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(FileError, match=r"a\.npz"):
        read_keypoints(tmp_path / "a.npz")


def test_deeply_nested_json_gives_a_sentence(tmp_path):
    (tmp_path / "a.json").write_text("[" * (sys.getrecursionlimit() * 100), encoding="utf-8")
    with pytest.raises(FileError, match="is not a keypoint file"):
        read_keypoints(tmp_path / "a.json")


def npy(header, version=1):
    """Return an array file with a header as it is given, right or wrong."""
    length = len(header).to_bytes(2 if version == 1 else 4, "little")
    return b"\x93NUMPY" + bytes((version, 0)) + length + header + b"\0" * 64


def write_npz(path, points, compression=zipfile.ZIP_STORED):
    names = io.BytesIO()
    np.save(names, np.array(NAMES))
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("names.npy", names.getvalue())
        archive.writestr("points.npy", points)
    return path


NPY_POINTS = npy_header((4, 3)) + np.array(POINTS).tobytes()

DAMAGED_HEADERS = {
    "open_brackets": npy(b"((("),
    "brackets_of_version_2": npy(b"(((", 2),
    "brackets_of_version_3": npy(b"(((", 3),
    "signs": npy(b"-" * 4000 + b"1"),
    "nested": npy(b"[" * 4000),
    "nested_type": npy(b"{'descr': " + b"[" * 80 + b"]" * 80 + b", 'fortran_order': False, 'shape': (4, 3)}"),
    "no_type": npy(b"{'descr': '(((', 'fortran_order': False, 'shape': (4, 3)}"),
    "large_numbers": npy(b"{'descr': '<f8', 'fortran_order': False, 'shape': (" + b"9" * 40 + b", 0)}"),
    "python_2": npy(b"{'descr': '<f8', 'fortran_order': False, 'shape': (4L, 3L)}"),
    "null": npy(b"\0\0\0"),
    "long": npy(b"{'descr': '<f8', 'fortran_order': False, 'shape': (4, 3)}" + b" " * 5000),
    "longer_than_the_file": b"\x93NUMPY\x01\x00\xff\xff{",
    "unknown_version": npy(b"{}", 9),
}


@pytest.mark.parametrize("name", DAMAGED_HEADERS)
def test_a_damaged_header_gives_a_sentence(tmp_path, name):
    with pytest.raises(FileError, match=r"a\.npz is not a readable \.npz file \(.{1,200}\); save it with numpy\.savez"):
        read_keypoints(write_npz(tmp_path / "a.npz", DAMAGED_HEADERS[name]))


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_what_numpy_writes_is_read_however_it_is_packed(tmp_path, compression):
    assert len(read_keypoints(write_npz(tmp_path / "a.npz", NPY_POINTS, compression)).names) == 4


@pytest.mark.parametrize("compression", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_a_packing_that_numpy_does_not_use_is_refused(tmp_path, compression):
    with pytest.raises(FileError, match="names is compressed in a way that numpy does not use"):
        read_keypoints(write_npz(tmp_path / "a.npz", NPY_POINTS, compression))


def test_an_encrypted_file_is_refused(tmp_path):
    data = bytearray(write_npz(tmp_path / "a.npz", NPY_POINTS).read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1  # the general purpose bits of the first member in the directory
    (tmp_path / "a.npz").write_bytes(data)
    with pytest.raises(FileError, match="names is encrypted"):
        read_keypoints(tmp_path / "a.npz")


def test_damaged_compressed_bytes_give_a_sentence(tmp_path):
    data = bytearray(write_npz(tmp_path / "a.npz", NPY_POINTS, zipfile.ZIP_DEFLATED).read_bytes())
    start = data.index(b"names.npy") + len(b"names.npy")
    data[start : start + 8] = b"\xff" * 8
    (tmp_path / "a.npz").write_bytes(data)
    with pytest.raises(FileError, match="is not a readable"):
        read_keypoints(tmp_path / "a.npz")


def test_text_that_is_no_unicode_gives_a_sentence(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("names.npy", npy_header((4,), "<U1") + b"\xff" * 16)
        archive.writestr("points.npy", NPY_POINTS)
    with pytest.raises(FileError, match="is not a readable"):
        read_keypoints(tmp_path / "a.npz")


def test_numbers_too_large_for_float64_give_a_sentence(tmp_path):
    np.savez(tmp_path / "a.npz", names=np.array(NAMES), points=np.full((4, 3), "1e4000", dtype=np.longdouble))
    with pytest.raises(FileError, match="is not a readable"):
        read_keypoints(tmp_path / "a.npz")
