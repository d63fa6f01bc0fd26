# SPDX-License-Identifier: Apache-2.0
"""EMDB's files, made here in their layout."""

from pathlib import Path

import numpy as np
import pytest
from field_sets import standing_person
from pickles import python3_pickle
from recordings import BODY, HEIGHT, WIDTH

from ikol.errors import FileFormatError, InputError
from ikol.evaluation.datasets import load_emdb

PERSON = standing_person()
FRAMES = 4


def sequence() -> dict[str, object]:
    def each(value: np.ndarray) -> np.ndarray:
        return np.repeat(value[None], FRAMES, axis=0)

    return {
        "name": "P0_00_test",
        "emdb1": True,
        "emdb2": False,
        "n_frames": FRAMES,
        "good_frames_mask": np.array([True, False, True, True]),
        "camera": {"intrinsics": PERSON.K, "extrinsics": each(PERSON.T_camera_world), "width": WIDTH, "height": HEIGHT},
        "smpl": {
            "poses_root": each(PERSON.rotvec[0]),
            "poses_body": each(PERSON.rotvec[1:].reshape(69)),
            "betas": np.zeros(BODY.num_betas),
            "trans": each(PERSON.transl),
        },
    }


def written(folder: Path, data: object) -> Path:
    path = folder / "P0" / "00_test" / "P0_00_test_data.pkl"
    path.parent.mkdir(parents=True)
    path.write_bytes(python3_pickle(data))
    return folder


def test_good_frames_are_samples_with_joints_in_camera_axes(tmp_path: Path) -> None:
    samples = list(load_emdb(written(tmp_path, sequence()), body=BODY))
    assert [sample.name for sample in samples] == [f"P0_00_test frame {frame}" for frame in (0, 2, 3)]
    np.testing.assert_allclose(samples[0].truth.points.numpy(), PERSON.joints_camera, atol=1e-9)
    assert samples[0].truth.betas is not None
    x0, y0, x1, y1 = samples[0].box or (0.0, 0.0, 0.0, 0.0)
    assert (PERSON.pixels > (x0, y0)).all()
    assert (PERSON.pixels < (x1, y1)).all()


def test_sequences_of_the_other_split_are_left_out(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no sequence in .* belongs to emdb2"):
        load_emdb(written(tmp_path, sequence()), split="emdb2", body=BODY)


def test_body_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="give the SMPL model file with --body"):
        load_emdb(tmp_path)


def test_mask_of_another_length_is_refused(tmp_path: Path) -> None:
    data = sequence() | {"good_frames_mask": np.ones(2, dtype=bool)}
    with pytest.raises(FileFormatError, match=r"good_frames_mask has shape \(2,\), expected \(4,\)"):
        load_emdb(written(tmp_path, data), body=BODY)


def test_size_of_the_picture_must_be_a_number(tmp_path: Path) -> None:
    data = sequence()
    camera = data["camera"]
    assert isinstance(camera, dict)
    camera["width"] = "wide"
    with pytest.raises(FileFormatError, match="camera: width is 'wide', expected a whole number"):
        load_emdb(written(tmp_path, data), body=BODY)
