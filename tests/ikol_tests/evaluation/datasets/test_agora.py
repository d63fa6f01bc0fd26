# SPDX-License-Identifier: Apache-2.0
"""AGORA's tables with joints, as records, made here."""

import json
from pathlib import Path

import numpy as np
import pytest
from field_sets import standing_person

from ikol.errors import FileFormatError, InputError
from ikol.evaluation.datasets import load_agora

PERSON = standing_person()
PIXELS = PERSON.pixels * 3.0 + 100.0  # of a larger picture, with another middle


def table(folder: Path, **changes: object) -> Path:
    row: dict[str, object] = {
        "imgPath": "street.png",
        "isValid": [True, False, True],
        "gt_joints_3d": [PERSON.joints_camera.tolist()] * 3,
        "gt_joints_2d": [PIXELS.tolist()] * 3,
    }
    (folder / "validation_0_withjv.json").write_text(json.dumps([row | changes]))
    return folder


def test_valid_persons_are_samples_under_the_lens_of_the_table(tmp_path: Path) -> None:
    samples = list(load_agora(table(tmp_path)))
    assert [sample.name for sample in samples] == ["street.png person 0", "street.png person 2"]
    np.testing.assert_allclose(samples[0].truth.points.numpy(), PERSON.joints_camera)
    assert samples[0].intrinsics.focal == pytest.approx((1800.0, 1800.0))
    assert samples[0].intrinsics.center == pytest.approx((820.0, 1060.0))


def test_joints_that_no_camera_sees_there_are_refused(tmp_path: Path) -> None:
    upside_down = PERSON.joints_camera * [1.0, -1.0, 1.0]
    with pytest.raises(FileFormatError, match="any pinhole camera"):
        next(iter(load_agora(table(tmp_path, gt_joints_3d=[upside_down.tolist()] * 3))))


@pytest.mark.parametrize("value", [0.0, float("nan")])
def test_depths_that_are_none_are_refused(tmp_path: Path, value: float) -> None:
    joints = PERSON.joints_camera.copy()
    joints[3, 2] = value
    with pytest.raises(FileFormatError, match="hold places that no camera sees"):
        next(iter(load_agora(table(tmp_path, gt_joints_3d=[joints.tolist()] * 3))))


def test_missing_table_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no \*validation\*\.json"):
        load_agora(tmp_path)


def test_table_without_joints_is_named(tmp_path: Path) -> None:
    (tmp_path / "validation_0.json").write_text(json.dumps([{"imgPath": "a.png", "isValid": [True]}]))
    with pytest.raises(FileFormatError, match="lacks 'gt_joints_3d'"):
        next(iter(load_agora(tmp_path)))
