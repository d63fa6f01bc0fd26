# SPDX-License-Identifier: Apache-2.0
"""The head's file."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from head_people import one_person, random_forearm, random_network, some_people

from ikol.errors import FileFormatError
from ikol.regressor.head import LandmarkHead, load_head
from ikol.regressor.head.forearm_network import NUM_FOREARM_FEATURES
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


def head_with_forearm() -> LandmarkHead:
    forearm = random_forearm()
    # the statistics of features, which float16 would not keep
    features = torch.randn(50, NUM_FOREARM_FEATURES, generator=torch.Generator().manual_seed(1))
    forearm.standardise(1.0 + 1e-3 * features)
    return LandmarkHead(random_network(), Calibration(forearm=0.7), "some body", forearm)


def changed(data: bytes, change: Callable[[dict[str, Any], dict[str, torch.Tensor]], None]) -> bytes:
    """Return a head's file with other metadata or tensors."""
    length = int.from_bytes(data[:8], "little")
    description = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["head"])
    tensors = safetensors.torch.load(data)
    change(description, tensors)
    return safetensors.torch.save(tensors, {"head": json.dumps(description)})


def test_a_head_that_reads_hands_is_read_back_within_float16() -> None:
    head = head_with_forearm()
    again = decode_head(encode_head(head), "memory")
    assert again.calibration.forearm == 0.7
    assert head.forearm is not None
    assert again.forearm is not None
    assert not again.forearm.training
    assert torch.equal(again.forearm.mean, head.forearm.mean)
    assert torch.equal(again.forearm.scale, head.forearm.scale)
    arms = 1.0 + 1e-2 * torch.randn(20, NUM_FOREARM_FEATURES, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before, after, other = (one(arms) for one in (head.forearm, again.forearm, random_forearm(1)))
    # weights of order 0.1 with 11 bits; 1e-3 was seen
    assert (before.twist - after.twist).abs().max() < 0.02
    assert (before.concentration - after.concentration).abs().max() < 0.02
    assert (before.twist - other.twist).abs().max() > 0.1
    people = some_people(4)
    with torch.no_grad():
        one, two = (run_both_ways(each.network, people).joints for each in (head, again))
    assert (one - two).abs().max() < 0.01


def test_a_head_from_before_the_hands_is_read() -> None:
    def forget(description: dict[str, Any], _: dict[str, torch.Tensor]) -> None:
        del description["forearm"], description["calibration"]["forearm"]

    data = changed(encode_head(LandmarkHead(random_network(), Calibration(), "")), forget)
    again = decode_head(data, "memory")
    assert again.forearm is None
    assert again.calibration.forearm == 1.0


def nothing(description: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
    pass


def without_tensors(_: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
    for key in [key for key in tensors if key.startswith("forearm.")]:
        del tensors[key]


def without_one(_: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
    del tensors["forearm.outlet.bias"]


def without_size(description: dict[str, Any], _: dict[str, torch.Tensor]) -> None:
    description["forearm"] = None


def of_another_size(description: dict[str, Any], _: dict[str, torch.Tensor]) -> None:
    description["forearm"][0] += 1


def of_no_size(description: dict[str, Any], _: dict[str, torch.Tensor]) -> None:
    description["forearm"] = [-1, 2]


@pytest.mark.parametrize("change", [without_tensors, without_one, without_size, of_another_size, of_no_size])
def test_a_head_whose_forearm_network_is_damaged_is_refused(
    change: Callable[[dict[str, Any], dict[str, torch.Tensor]], None],
) -> None:
    data = encode_head(head_with_forearm())
    with pytest.raises(FileFormatError, match="the file is no head of version"):
        decode_head(changed(data, change), "the file")
    assert decode_head(changed(data, nothing), "the file").forearm is not None


@pytest.mark.parametrize("size", [[100_000, 1], [256, 10_000], [0, 1]])
def test_a_size_that_no_file_holds_is_refused_before_it_is_allocated(size: list[int]) -> None:
    def grow(description: dict[str, Any], _: dict[str, torch.Tensor]) -> None:
        description["forearm"] = size

    with pytest.raises(FileFormatError, match=r"is no head .*(<=|>=)"):
        decode_head(changed(encode_head(head_with_forearm()), grow), "memory")


@pytest.mark.parametrize("factor", [0.0, -1.0, 1e9])
def test_a_calibration_that_makes_everything_sure_or_nothing_is_refused(factor: float) -> None:
    def calibrate(description: dict[str, Any], _: dict[str, torch.Tensor]) -> None:
        description["calibration"]["forearm"] = factor

    with pytest.raises(FileFormatError, match=r"is no head .*(<=|>)"):
        decode_head(changed(encode_head(head_with_forearm()), calibrate), "memory")
