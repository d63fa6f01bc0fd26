# SPDX-License-Identifier: Apache-2.0
"""3DPW's files, made here in their layout: pickles as Python 2 writes them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from field_sets import standing_person, write_picture
from pickles import python2_pickle
from recordings import camera_around, walking_pose

from ikol.errors import FileFormatError, InputError
from ikol.evaluation.datasets import load_3dpw

PERSON = standing_person()
FRAMES = 3


def sequence(**changes: object) -> dict[str, object]:
    """Return two actors: one as the person, one for whom the camera is invalid but in the last frame."""
    joints = np.repeat(PERSON.joints_world.reshape(1, 72), FRAMES, axis=0)
    poses = np.repeat(PERSON.rotvec.reshape(1, 72), FRAMES, axis=0)
    shifted = PERSON.K.copy()
    shifted[:2, 2] = 960.0, 540.0
    whole: dict[str, object] = {
        "sequence": "street",
        "cam_intrinsics": shifted,
        "cam_poses": np.repeat(PERSON.T_camera_world[None], FRAMES, axis=0),
        "jointPositions": [joints, joints],
        "poses": [poses, poses],
        "campose_valid": [np.ones(FRAMES), np.array([0.0, 0.0, 1.0])],
        "betas": [np.zeros(10), np.zeros(10)],
        "genders": ["m", "f"],
    }
    return whole | changes


def written(folder: Path, data: object) -> Path:
    path = folder / "sequenceFiles" / "test" / "street.pkl"
    path.parent.mkdir(parents=True)
    path.write_bytes(python2_pickle(data))
    return folder


def test_actors_with_a_valid_camera_are_samples(tmp_path: Path) -> None:
    dataset = load_3dpw(written(tmp_path, sequence()))
    assert [sample.name for sample in dataset] == [
        "street frame 0 actor 0",
        "street frame 1 actor 0",
        "street frame 2 actor 0",
        "street frame 2 actor 1",
    ]


def test_joints_and_root_are_in_camera_axes(tmp_path: Path) -> None:
    sample = next(iter(load_3dpw(written(tmp_path, sequence()))))
    np.testing.assert_allclose(sample.truth.points.numpy(), PERSON.joints_camera, atol=1e-12)
    assert sample.truth.camera_rotmat is not None
    expected = camera_around(40.0).R_camera_world @ walking_pose().local_rotmat[0]
    torch.testing.assert_close(sample.truth.camera_rotmat[0], expected, atol=1e-9, rtol=0)
    torch.testing.assert_close(sample.truth.camera_rotmat[1:], walking_pose().local_rotmat[1:], atol=1e-9, rtol=0)


def test_shape_is_left_out_without_the_body_that_it_belongs_to(tmp_path: Path) -> None:
    assert next(iter(load_3dpw(written(tmp_path, sequence())))).truth.betas is None


def test_picture_is_read_from_its_place(tmp_path: Path) -> None:
    write_picture(tmp_path / "imageFiles" / "street" / "image_00001.jpg")
    samples = list(load_3dpw(written(tmp_path, sequence())))
    assert samples[1].picture is not None
    assert samples[1].picture().shape == (640, 480, 3)


def test_missing_picture_is_named(tmp_path: Path) -> None:
    sample = next(iter(load_3dpw(written(tmp_path, sequence()))))
    assert sample.picture is not None
    with pytest.raises(InputError, match="image_00000.jpg is missing"):
        sample.picture()


def test_folder_of_another_layout_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no sequenceFiles/test/\*\.pkl; give the folder"):
        load_3dpw(tmp_path)


@pytest.mark.parametrize("key", ["sequence", "cam_poses", "jointPositions", "campose_valid"])
def test_missing_key_is_named(tmp_path: Path, key: str) -> None:
    data = sequence()
    del data[key]
    with pytest.raises(FileFormatError, match=f"lacks '{key}'"):
        load_3dpw(written(tmp_path, data))


def test_joints_of_another_shape_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match=r"jointPositions has shape \(3, 54\), expected \(3, 72\)"):
        load_3dpw(written(tmp_path, sequence(jointPositions=[np.zeros((FRAMES, 54))] * 2)))


def test_hostile_pickle_is_not_run(tmp_path: Path) -> None:
    path = tmp_path / "sequenceFiles" / "test" / "evil.pkl"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"cos\nsystem\n(S'touch " + str(tmp_path / "ran").encode() + b"'\ntR.")
    with pytest.raises(FileFormatError, match=r"os\.system"):
        load_3dpw(tmp_path)
    assert not (tmp_path / "ran").exists()
