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
    "sigma_zero": ({"names": NAMES, "points": POINTS, "sigma": [0, 1, 1, 1]}, "sigma must be positive"),
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
