# SPDX-License-Identifier: Apache-2.0
"""Human3.6M and MPI-INF-3DHP in HybrIK's annotations, made here in their layout."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from field_sets import standing_person, write_picture
from recordings import BODY, FOCAL, HEIGHT, WIDTH, camera_around, walking_pose

from ikol.errors import FileFormatError, InputError
from ikol.evaluation.datasets import load_human36m, load_mpi_inf_3dhp

PERSON = standing_person()
MILLIMETRES = 1000.0 * PERSON.joints_camera
IMAGE = {"id": 7, "file_name": "a/b.jpg", "width": WIDTH, "height": HEIGHT}
BOX = [100.0, 120.0, 200.0, 400.0]


def human36m(folder: Path, **changes: object) -> Path:
    annotation = {
        "image_id": 7,
        "bbox": BOX,
        "cam_param": {"f": [FOCAL, FOCAL], "c": [WIDTH / 2, HEIGHT / 2]},
        "smpl_joints": MILLIMETRES.ravel().tolist(),
        "betas": [0.0] * 10,
        "thetas": PERSON.rotvec_camera.ravel().tolist(),
    }
    path = folder / "annotations" / "Sample_64_test_Human36M_smpl.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"images": [IMAGE], "annotations": [annotation | changes]}))
    return folder


@pytest.mark.parametrize("nested", [False, True])
def test_human36m_gives_smpl_joints_in_metres(tmp_path: Path, nested: bool) -> None:
    joints = MILLIMETRES.tolist() if nested else MILLIMETRES.ravel().tolist()
    (sample,) = load_human36m(human36m(tmp_path, smpl_joints=joints))
    np.testing.assert_allclose(sample.truth.points.numpy(), PERSON.joints_camera, atol=1e-9)
    assert sample.box == (100.0, 120.0, 300.0, 520.0)
    assert sample.truth.camera_rotmat is not None
    expected = camera_around(40.0).R_camera_world @ walking_pose().local_rotmat[0]
    torch.testing.assert_close(sample.truth.camera_rotmat[0], expected, atol=1e-9, rtol=0)


def test_human36m_with_29_joints_gives_the_first_24(tmp_path: Path) -> None:
    more = np.concatenate((MILLIMETRES, np.full((5, 3), 9.0)))
    (sample,) = load_human36m(human36m(tmp_path, smpl_joints=more.tolist()))
    assert sample.truth.points.shape == (24, 3)


def test_human36m_with_17_joints_says_what_was_expected(tmp_path: Path) -> None:
    dataset = load_human36m(human36m(tmp_path, smpl_joints=MILLIMETRES[:17].tolist()))
    with pytest.raises(FileFormatError, match="smpl_joints has 17 rows"):
        next(iter(dataset))


def mpi_inf_3dhp(folder: Path, joints: np.ndarray) -> Path:
    image = IMAGE | {"cam_param": {"intrinsic_param": np.concatenate((PERSON.K, np.zeros((3, 1))), -1).tolist()}}
    annotation = {"image_id": 7, "bbox": BOX, "keypoints_cam": joints.tolist()}
    path = folder / "annotation_mpi_inf_3dhp_test.json"
    path.write_text(json.dumps({"images": [image], "annotations": [annotation]}))
    return folder


@pytest.mark.parametrize("count", [17, 28])
def test_mpi_inf_3dhp_gives_the_joints_that_smpl_has_too(tmp_path: Path, count: int) -> None:
    names = {
        17: "top neck R_Shoulder R_Elbow R_Wrist L_Shoulder L_Elbow L_Wrist R_Hip R_Knee R_Ankle L_Hip L_Knee L_Ankle "
        "Pelvis spine head",
        28: "a b c d Pelvis neck head top e L_Shoulder L_Elbow L_Wrist f g R_Shoulder R_Elbow R_Wrist h L_Hip L_Knee "
        "L_Ankle i j R_Hip R_Knee R_Ankle k l",
    }[count].split()
    joints = np.zeros((count, 3))
    for row, name in enumerate(names):
        if name in BODY.tree.names:
            joints[row] = MILLIMETRES[BODY.tree.names.index(name)]
    (sample,) = load_mpi_inf_3dhp(mpi_inf_3dhp(tmp_path, joints))
    for name, point in zip(sample.truth.names, sample.truth.points.numpy(), strict=True):
        np.testing.assert_allclose(point, PERSON.joints_camera[BODY.tree.names.index(name)], atol=1e-9)
    assert len(sample.truth.names) == 13
    assert sample.intrinsics.focal == (FOCAL, FOCAL)


def test_mpi_inf_3dhp_with_other_joints_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="has 14 joints, expected 17 or 28"):
        next(iter(load_mpi_inf_3dhp(mpi_inf_3dhp(tmp_path, np.zeros((14, 3))))))


def test_pictures_are_read_from_their_place(tmp_path: Path) -> None:
    write_picture(tmp_path / "images" / "a" / "b.jpg")
    (sample,) = load_human36m(human36m(tmp_path))
    assert sample.picture is not None
    assert sample.picture().shape == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize("name", ["../../secret.jpg", "a\\u0000b.jpg"])
def test_picture_outside_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    folder = human36m(tmp_path)
    path = next(folder.glob("annotations/*.json"))
    path.write_text(path.read_text().replace("a/b.jpg", name))
    with pytest.raises(FileFormatError, match="lies outside"):
        next(iter(load_human36m(folder)))


def test_file_that_is_no_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "x_test.json").write_text("{")
    with pytest.raises(FileFormatError, match=r"x_test\.json is not JSON"):
        load_human36m(tmp_path)


def test_two_annotations_of_a_split_have_to_be_told_apart(tmp_path: Path) -> None:
    (tmp_path / "annotations").mkdir()
    for name in ("one_test.json", "two_test.json"):
        (tmp_path / "annotations" / name).write_text("{}")
    with pytest.raises(InputError, match="give more of the name with --split"):
        load_human36m(tmp_path)


@pytest.mark.parametrize(("part", "key"), [("images", "id"), ("annotations", "image_id")])
def test_an_image_is_called_by_a_number_or_a_text(tmp_path: Path, part: str, key: str) -> None:
    folder = human36m(tmp_path)
    path = next(folder.glob("annotations/*.json"))
    content = json.loads(path.read_text())
    content[part][0][key] = [1]
    path.write_text(json.dumps(content))
    with pytest.raises(FileFormatError, match=f"{key} is a list, expected a number or a text"):
        load_human36m(folder)
