# SPDX-License-Identifier: Apache-2.0
"""Markers in space: TRC and C3D, ours and other programs', and damaged ones."""

import re
import struct
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from exchange_motions import ROUND_TRIP, damaged, markers, picture_points

from ikol.body.smpl_trees import SMPLX_TREE
from ikol.errors import InputError
from ikol.exchange import Keypoints, read_c3d, read_trc, write_c3d, write_trc
from ikol.exchange.point_names import our_names
from ikol.exchange.spatial import KNOWN

GOLDEN = Path(__file__).parents[2] / "golden" / "exchange"
FORMATS: dict[str, tuple[Callable[[Path, Keypoints], None], Callable[[Path], Keypoints]]] = {
    "trc": (write_trc, read_trc),
    "c3d": (write_c3d, read_c3d),
}


@pytest.mark.parametrize("form", FORMATS)
def test_markers_are_read_again_one_by_one(tmp_path: Path, form: str) -> None:
    write, read = FORMATS[form]
    first = markers()
    write(tmp_path / f"a.{form}", first)
    again = read(tmp_path / f"a.{form}")
    assert again.names == first.names
    assert again.fps == 120.0
    assert torch.equal(again.confidence, first.confidence)
    off = float((again.points - first.points).norm(dim=-1).max())
    assert off < ROUND_TRIP, off


def test_a_c3d_of_another_program_is_read() -> None:
    """Writer of c3d 0.6.0 (PyPI) made it: 3 frames of 4 markers and 2 analog channels, places 0, 1 ... 35 mm."""
    read = read_c3d(GOLDEN / "c3d_0_6_0.c3d", axes="z")
    assert read.names == ("left_ankle", "right_knee", "nose", "C7")
    assert read.fps == 100.0
    assert read.confidence[1].tolist() == [1.0, 1.0, 0.0, 1.0]  # the third is missing in the second frame
    x, y, z = torch.arange(36, dtype=torch.float64).reshape(3, 4, 3)[2].unbind(-1)
    assert torch.allclose(read.points[2], torch.stack((x, z, -y), -1) / 1000, atol=1e-7)  # float32


def test_a_c3d_of_whole_numbers_is_scaled(tmp_path: Path) -> None:
    first = markers(2)
    write_c3d(tmp_path / "a.c3d", first)
    data = bytearray((tmp_path / "a.c3d").read_bytes())
    start = (struct.unpack_from("<H", data, 16)[0] - 1) * 512
    count = 2 * len(first.names) * 4
    values = struct.unpack_from(f"<{count}f", data, start)
    struct.pack_into("<f", data, 12, 0.5)
    whole = [round(value / 0.5) if index % 4 < 3 else round(value) for index, value in enumerate(values)]
    struct.pack_into(f"<{count}h", data, start, *whole)
    (tmp_path / "a.c3d").write_bytes(bytes(data))
    off = (read_c3d(tmp_path / "a.c3d").points - first.points).abs().max()
    assert float(off) <= 0.00026, off  # half a millimetre's rounding


def test_what_fills_the_last_block_of_a_long_c3d_is_no_frame(tmp_path: Path) -> None:
    frames = 65_535  # the most that the head can say, where longer files say it too
    one = Keypoints(("a",), torch.ones(frames, 1, 3, dtype=torch.float64), torch.ones(frames, 1, dtype=torch.float64))
    write_c3d(tmp_path / "a.c3d", one)
    assert (tmp_path / "a.c3d").stat().st_size % 512 == 0
    assert len(read_c3d(tmp_path / "a.c3d").points) == frames


def test_which_way_is_up_is_seen_from_head_and_feet(tmp_path: Path) -> None:
    first = markers()
    x, y, z = first.points.unbind(-1)
    write_trc(tmp_path / "z.trc", replace(first, points=torch.stack((x, -z, y), -1)))
    assert float((read_trc(tmp_path / "z.trc").points - first.points).abs().max()) < ROUND_TRIP
    named = replace(first, names=tuple(f"m{number}" for number in range(len(first.names))))
    write_trc(tmp_path / "unknown.trc", named)  # nobody knows: as the format's files mostly are
    assert float((read_trc(tmp_path / "unknown.trc").points - first.points).abs().max()) < ROUND_TRIP


def test_markers_of_other_programs_get_our_names() -> None:
    theirs = ("RHip", "LBigToe", "Knee_L", "subject:left_ankle", "right wrist", "LHeel", "Nose", "C7", "L_Hip", "RHip")
    ours = (
        "right_hip",
        "left_foot_index",
        "left_knee",
        "left_ankle",
        "right_wrist",
        "left_heel",
        "nose",
        "C7",
        "L_Hip",
    )
    assert our_names(theirs, KNOWN) == (*ours, "right_hip.9")


def test_joints_of_smplx_keep_their_names_and_a_markers_eye_is_an_eye() -> None:
    assert our_names(SMPLX_TREE.names, KNOWN) == SMPLX_TREE.names
    assert our_names(("L_Eye", "RKnee", "Head"), KNOWN) == ("left_eye", "right_knee", "head")


def test_points_on_a_picture_are_not_written_as_markers(tmp_path: Path) -> None:
    for form, (write, _) in FORMATS.items():
        with pytest.raises(InputError, match="holds points in space, these are on a picture; write them as .json"):
            write(tmp_path / f"a.{form}", picture_points())


def trc_text() -> str:
    return (
        "PathFileType\t4\t(X/Y/Z)\ta.trc\n"
        "DataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits\tOrigDataRate\tOrigDataStartFrame\tOrigNumFrames\n"
        "60.00\t60.00\t2\t2\tm\t60.00\t1\t2\n"
        "Frame#\tTime\tRHip\t\t\tNeck\t\t\t\n\t\tX1\tY1\tZ1\tX2\tY2\tZ2\t\n\n"
        "1\t0.0\t0.1\t0.9\t0.2\t0\t1.4\t0\t\n2\t0.016\t\t\t\t0\t1.5\t0\n"
    )


def test_a_trc_of_another_program_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.trc").write_text(trc_text())
    read = read_trc(tmp_path / "a.trc")
    assert read.names == ("right_hip", "neck")
    assert read.confidence.tolist() == [[1, 1], [0, 1]]
    assert read.points[:, 1].tolist() == [[0, 1.4, 0], [0, 1.5, 0]]


WRONG_TRC = {
    "other": (("PathFileType", "Path"), "is not a TRC file, it may be truncated: it does not begin with PathFileType"),
    "no rate": (("DataRate", "Rate"), "DataRate, NumFrames and Units are not where they belong"),
    "unit": (("\tm\t", "\tfeet\t"), "has the unit 'feet'; m, cm and mm are read"),
    "frames": (("60.00\t2\t2", "60.00\t3\t2"), "announces 3 frames and holds 2; it may be truncated"),
    "many frames": (("60.00\t2\t2", "60.00\t999999999\t2"), "announces 999999999 frames of 2 markers"),
    "no markers": (("RHip\t\t\tNeck", ""), "names 0 markers, expected 1 to 5000"),
    "words": (("\t1.4", "\tabc"), "a frame is not made of numbers"),
    "too many": (("\t1.4\t0\t", "\t1.4\t0\t1\t2\t"), "a frame has 9 numbers, 2 markers have 6"),
    "far": (("\t1.4", "\t1e300"), None),
}


@pytest.mark.parametrize("name", WRONG_TRC)
def test_a_wrong_trc_says_what_is_wrong(tmp_path: Path, name: str) -> None:
    change, sentence = WRONG_TRC[name]
    (tmp_path / "a.trc").write_text(trc_text().replace(*change))
    if sentence is None:
        assert read_trc(tmp_path / "a.trc").points.isfinite().all()  # the solver says that nobody reaches there
        return
    with pytest.raises(InputError, match=re.escape(sentence)):
        read_trc(tmp_path / "a.trc")


WRONG_C3D: dict[str, tuple[int, bytes, str]] = {  # at which byte stands what
    "other": (1, b"\x00", "is not a C3D file, it may be truncated"),
    "markers": (2, b"\xff\xff", "announces 5 frames of 65535 markers"),
    "no markers": (2, b"\x00\x00", "announces 5 frames of 0 markers"),
    "frames": (8, b"\xfe\xff", "bytes of markers and holds"),
    "backwards": (6, b"\x09\x00", "announces -3 frames"),
    "data elsewhere": (16, b"\xff\xff", "bytes of markers and holds 0"),
    "data nowhere": (16, b"\x00\x00", "bytes of markers and holds"),
    "no scale": (12, b"\x00\x00\x00\x00", "announces 5 frames of 34 markers"),
    "parameters elsewhere": (0, b"\xff", "is damaged or truncated"),
    "DEC": (512 + 3, b"\x55", "was written by a DEC computer; save it again with another program"),
    "processor": (512 + 3, b"\x07", "was written by an unknown processor (7)"),
}


@pytest.mark.parametrize("name", WRONG_C3D)
def test_a_wrong_c3d_says_what_is_wrong_in_bounded_memory(tmp_path: Path, name: str) -> None:
    at, content, sentence = WRONG_C3D[name]
    write_c3d(tmp_path / "a.c3d", markers())
    data = bytearray((tmp_path / "a.c3d").read_bytes())
    data[at : at + len(content)] = content
    (tmp_path / "a.c3d").write_bytes(bytes(data))
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=re.escape(sentence)):
            read_c3d(tmp_path / "a.c3d")
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("form", FORMATS)
def test_damaged_files_give_markers_or_a_sentence(tmp_path: Path, form: str) -> None:
    write, read = FORMATS[form]
    for path in damaged(tmp_path / f"a.{form}", lambda path: write(path, markers(3))):
        try:
            read(path)
        except InputError:
            continue
