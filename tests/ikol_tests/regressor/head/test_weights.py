# SPDX-License-Identifier: Apache-2.0
"""The head's file."""

from pathlib import Path

import pytest
import safetensors.torch
import torch
from head_people import one_person, random_network, some_people

from ikol.errors import FileFormatError
from ikol.regressor.head import LandmarkHead, load_head
from ikol.regressor.head.prediction import Calibration, run_both_ways
from ikol.regressor.head.weights import decode_head, encode_head


def test_a_head_is_read_back_within_float16() -> None:
    head = LandmarkHead(random_network(), Calibration(joints_depth=1.5), "some body")
    again = decode_head(encode_head(head), "memory")
    assert again.calibration == head.calibration
    assert again.body == "some body"
    with torch.no_grad():
        before, after = (run_both_ways(one.network, some_people(4)).joints for one in (head, again))
    # weights of order 0.1 with 11 bits, summed over a few hundred features of order 1
    assert (before - after).abs().max() < 0.01


def test_the_shipped_head_says_something() -> None:
    (prediction,) = load_head().predict([one_person()], (900.0, 900.0), (500.0, 500.0))
    assert prediction.betas_body == "default body"
    assert prediction.joints is not None
    assert prediction.joints.abs().max() < 3.0  # metres: a body's joints are near its hips


def test_a_changed_head_is_refused(tmp_path: Path) -> None:
    data = bytearray(encode_head(LandmarkHead(random_network(), Calibration(), "")))
    path = tmp_path / "head.safetensors"
    path.write_bytes(data)
    with pytest.raises(FileFormatError, match="expected 00"):
        load_head(path, "00")


def test_what_is_no_head_is_refused_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    safetensors.torch.save_file({"a": torch.zeros(2)}, path)
    with pytest.raises(FileFormatError, match=r"other\.safetensors is no head"):
        load_head(path)
    path.write_bytes(b"nothing")
    with pytest.raises(FileFormatError, match="is no head"):
        load_head(path)


def test_a_missing_head_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="cannot be read"):
        load_head(tmp_path / "none.safetensors")
