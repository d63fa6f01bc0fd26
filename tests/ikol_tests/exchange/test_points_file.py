# SPDX-License-Identifier: Apache-2.0
"""Named points as an .npz: every digit comes back, and a wrong file says what is wrong."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from exchange_motions import damaged, markers, picture_points

from ikol.errors import InputError
from ikol.exchange import Keypoints, read_points, write_points
from ikol.exchange.convert import Settings, format_of, read_file


@pytest.mark.parametrize("first", [markers(), replace(picture_points(), size=(640, 480))], ids=["space", "picture"])
def test_points_come_back_to_the_last_digit(tmp_path: Path, first: Keypoints) -> None:
    path = tmp_path / "a.npz"
    write_points(path, first)
    assert format_of(path) == "points"
    again = read_file(path, "points", Settings())
    assert isinstance(again, Keypoints)
    assert (again.names, again.fps, again.size) == (first.names, first.fps, first.size)
    assert torch.equal(again.points, first.points)
    assert torch.equal(again.confidence, first.confidence)


def test_one_frame_without_its_axis_is_one_frame(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", names=np.array(["nose", "Head"]), points=np.ones((2, 3)), confidence=np.ones(2))
    again = read_points(tmp_path / "a.npz")
    assert (again.points.shape, again.fps, again.size) == ((1, 2, 3), 30.0, None)


WRONG = {
    "no names": ({"points": np.ones((2, 3))}, "names"),
    "one name": ({"names": np.array(["a"]), "points": np.ones((1, 2, 3))}, "points has shape (1, 2, 3), expected"),
    "four axes": ({"names": np.array(["a"]), "points": np.ones((1, 1, 4))}, "expected (frames, 1, 2 or 3)"),
    "no frame": ({"names": np.array(["a"]), "points": np.ones((0, 1, 3))}, "has 0 frames, expected 1 to"),
    "texts": ({"names": np.array(["a"]), "points": np.array([["x"]])}, "points has type <U1, expected numbers"),
    "not a number": ({"names": np.array(["a"]), "points": np.full((1, 1, 3), np.nan)}, "infinite or undefined"),
    "twice": ({"names": np.array(["a", "a"]), "points": np.ones((1, 2, 3))}, "got a more than once"),
    "confidence": (
        {"names": np.array(["a"]), "points": np.ones((1, 1, 3)), "confidence": np.ones((2, 1))},
        "confidence has shape (2, 1), expected (1, 1)",
    ),
    "rate": ({"names": np.array(["a"]), "points": np.ones((1, 1, 3)), "fps": np.array(np.nan)}, "fps is nan"),
    "size": (
        {"names": np.array(["a"]), "points": np.ones((1, 1, 2)), "size": np.array([0, np.inf])},
        "size must be the width and the height of a picture",
    ),
    "objects": ({"names": np.array([None]), "points": np.ones((1, 1, 3))}, "a.npz"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_file_says_what_is_wrong(tmp_path: Path, name: str) -> None:
    arrays, sentence = WRONG[name]
    np.savez(tmp_path / "a.npz", allow_pickle=True, **arrays)
    with pytest.raises(InputError, match=re.escape(sentence)):
        read_points(tmp_path / "a.npz")


def test_damaged_files_give_points_or_a_sentence(tmp_path: Path) -> None:
    def write(path: Path) -> None:
        write_points(path, markers())

    for path in damaged(tmp_path / "a.npz", write):
        try:
            read_points(path)
        except InputError:
            continue
