# SPDX-License-Identifier: Apache-2.0
"""Landmarks survive a file; other files are refused."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from head_people import some_hands

from ikol.errors import FileFormatError
from ikol.evaluation.landmark_cache import LandmarkCache
from ikol.regressor.landmarks import NUM_INNER
from ikol.regressor.person import CropSamples, PersonLandmarks, combine


def person(seed: int, crops: int) -> PersonLandmarks:
    generator = torch.Generator().manual_seed(seed)
    samples = CropSamples(
        300 * torch.rand(crops, 33, 2, generator=generator),
        torch.randn(crops, 33, 3, generator=generator),
        torch.rand(crops, 33, generator=generator),
        torch.rand(crops, generator=generator),
        250.0,
    )
    # as they are kept: float16
    inner = torch.randn(2, NUM_INNER, generator=generator).half().float() if crops > 1 else None
    return replace(combine(samples, 320, 320), inner=inner)


def test_landmarks_come_back_with_their_crops_and_doubts(tmp_path: Path) -> None:
    kept = {
        "a": replace(person(0, 2), doubts=("hidden", "far")),
        "b": person(1, 6),
        "c": replace(person(2, 1), samples=None),
    }
    cache = LandmarkCache(tmp_path / "kept.npz")
    for name, one in kept.items():
        cache.keep(name, one)
    cache.save()
    again = LandmarkCache(tmp_path / "kept.npz")
    assert len(again) == 3
    for name, one in kept.items():
        found = again.find(name)
        assert found is not None
        assert found.doubts == one.doubts
        assert (found.samples is None) == (one.samples is None)
        for part in fields(PersonLandmarks):
            value = getattr(one, part.name)
            if isinstance(value, torch.Tensor):
                assert torch.equal(getattr(found, part.name), value), part.name
        if one.samples is not None and found.samples is not None:
            assert torch.equal(found.samples.world, one.samples.world)


@pytest.mark.parametrize("seen", [("a", "c"), ("b",), ("a", "b", "c"), ()])
def test_hands_come_back_to_whom_they_belong(seen: tuple[str, ...], tmp_path: Path) -> None:
    hands = {name: some_hands(number) if name in seen else None for number, name in enumerate("abc")}
    cache = LandmarkCache(tmp_path / "kept.npz")
    for name, these in hands.items():
        cache.keep(name, replace(person(0, 2), hands=these))
    cache.save()
    again = LandmarkCache(cache.path)
    for name, these in hands.items():
        one = again.find(name)
        assert one is not None
        assert (one.hands is None) == (these is None), name
        if one.hands is not None and these is not None:
            for key, value in vars(these).items():
                assert torch.equal(getattr(one.hands, key), value), (name, key)


def test_a_hand_too_few_is_refused(tmp_path: Path) -> None:
    cache = LandmarkCache(tmp_path / "kept.npz")
    for number, name in enumerate("ab"):
        cache.keep(name, replace(person(number, 2), hands=some_hands(number)))
    cache.save()
    with np.load(cache.path) as data:
        arrays = dict(data)
    arrays["hand_presence"] = arrays["hand_presence"][:1]
    np.savez(cache.path, allow_pickle=False, **arrays)
    with pytest.raises(FileFormatError, match=r"hand_presence has shape \(1, 2, 2\), expected \(2, 2, 2\)"):
        LandmarkCache(cache.path)


def test_unknown_picture_is_not_found(tmp_path: Path) -> None:
    assert LandmarkCache(tmp_path / "none.npz").find("x") is None


def test_file_is_written_only_when_there_is_something_new(tmp_path: Path) -> None:
    cache = LandmarkCache(tmp_path / "kept.npz")
    cache.save()
    assert not cache.path.exists()


def test_other_archives_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", names=np.array(["a"]))
    with pytest.raises(FileFormatError, match="has no array"):
        LandmarkCache(tmp_path / "other.npz")


def test_landmarks_of_another_number_are_refused(tmp_path: Path) -> None:
    cache = LandmarkCache(tmp_path / "kept.npz")
    cache.keep("a", person(0, 2))
    cache.save()
    with np.load(cache.path) as data:
        arrays = dict(data)
    arrays["image_points"] = np.zeros((1, 17, 2), np.float32)
    np.savez(cache.path, allow_pickle=False, **arrays)
    with pytest.raises(FileFormatError, match=r"image_points has shape \(1, 17, 2\), expected \(1, 33, 2\)"):
        LandmarkCache(cache.path)


def test_a_file_of_an_older_version_says_what_to_do(tmp_path: Path) -> None:
    cache = LandmarkCache(tmp_path / "kept.npz")
    cache.keep("a", person(0, 2))
    cache.save()
    with np.load(cache.path) as data:
        arrays = {key: value for key, value in data.items() if key != "hand_points"}
    np.savez(cache.path, allow_pickle=False, **arrays)
    with pytest.raises(FileFormatError, match=r"another version, it has no hand_points; delete the file"):
        LandmarkCache(cache.path)
