# SPDX-License-Identifier: Apache-2.0
import json
from pathlib import Path

import numpy as np
import pytest
from training_files import FOCAL, HEIGHT, WIDTH, draw, make_h36m, make_poses, project

from ikol.errors import FileFormatError, InputError
from ikol.regressor.networks.joints import SMPL29
from ikol.training.network.sources.annotations import open_annotations

MPI = {4: "Pelvis", 9: "L_Shoulder", 16: "R_Wrist", 25: "R_Ankle"}


def _write(folder: Path, images: list[dict[str, object]], annotations: list[dict[str, object]]) -> Path:
    path = folder / "file.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations}))
    return path


def test_human36m_is_read_in_metres(tmp_path: Path):
    joints, _rotvec, betas = make_poses(2)
    source = open_annotations("h36m", make_h36m(tmp_path, count=2), tmp_path / "images", is_smpl=True)
    sample = source.sample(1)
    assert len(source) == 2
    assert sample.picture.shape == (HEIGHT, WIDTH, 3)
    np.testing.assert_allclose(sample.joints, joints[1], atol=1e-5)
    np.testing.assert_allclose(sample.pixels, project(joints[1]), atol=1e-3)
    np.testing.assert_allclose(sample.betas, betas[1], atol=1e-6)
    assert sample.has_joints.all()
    assert sample.has_rotations
    assert sample.focal == (FOCAL, FOCAL)
    # the last twist of the file is marked as unknown
    assert sample.has_twist.tolist() == [False] + [True] * 22 + [False]


def test_rotations_and_shape_of_another_body_are_masked(tmp_path: Path):
    sample = open_annotations("h36m", make_h36m(tmp_path, count=1), tmp_path / "images", is_smpl=False).sample(0)
    assert not sample.has_rotations
    assert not sample.has_betas


def test_human36m_with_24_joints_masks_the_ends(tmp_path: Path):
    path = make_h36m(tmp_path, count=1)
    content = json.loads(path.read_text())
    content["annotations"][0]["smpl_joints"] = content["annotations"][0]["smpl_joints"][:24]
    path.write_text(json.dumps(content))
    sample = open_annotations("h36m", path, tmp_path / "images", is_smpl=True).sample(0)
    assert sample.has_joints.tolist() == [True] * 24 + [False] * 5


def test_mpi_inf_3dhp_gives_the_joints_that_smpl_has(tmp_path: Path):
    joints = make_poses(1)[0][0]
    given = np.zeros((28, 3))
    for number, name in MPI.items():
        given[number] = 1000 * joints[SMPL29.index(name)]
    given[given[:, 2] == 0, 2] = 3000.0
    draw(project(joints), tmp_path / "img.png")
    intrinsic = [[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2], [0, 0, 1]]
    image = {"file_name": "img.png", "width": WIDTH, "height": HEIGHT, "cam_param": {"intrinsic_param": intrinsic}}
    path = _write(tmp_path, [image], [{"image_id": 0, "bbox": [1, 2, 80, 90], "keypoints_cam": given.tolist()}])
    sample = open_annotations("mpi_inf_3dhp", path, tmp_path, is_smpl=False).sample(0)
    for name in MPI.values():
        index = SMPL29.index(name)
        np.testing.assert_allclose(sample.joints[index], joints[index], atol=1e-5)
        assert sample.has_joints[index]
    assert sample.has_joints.sum() == 14
    assert not sample.has_joints[SMPL29.index("Spine1")]


def test_3dpw_is_read_with_its_sequence_and_lens(tmp_path: Path):
    joints, rotvec, betas = make_poses(1)
    (tmp_path / "walk").mkdir()
    draw(project(joints[0]), tmp_path / "walk" / "image_00001.png")
    lens = {"focal": [FOCAL, FOCAL], "princpt": [WIDTH / 2, HEIGHT / 2]}
    size = {"width": WIDTH, "height": HEIGHT, "cam_param": lens}
    image = {"id": 5, "file_name": "image_00001.png", "sequence": "walk", **size}
    pose = {"shape": betas[0].tolist(), "pose": rotvec[0].ravel().tolist()}
    person = {
        "image_id": 5,
        "bbox": [1, 2, 80, 90],
        "smpl_joint_cam": joints[0, :24].ravel().tolist(),
        "smpl_param": pose,
    }
    sample = open_annotations("3dpw", _write(tmp_path, [image], [person]), tmp_path, is_smpl=True).sample(0)
    np.testing.assert_allclose(sample.joints[:24], joints[0, :24], atol=1e-6)
    np.testing.assert_allclose(sample.pixels[:24], project(joints[0])[:24], atol=1e-3)
    assert sample.has_rotations


def test_coco_has_pixels_alone(tmp_path: Path):
    draw(project(make_poses(1)[0][0]), tmp_path / "000000000139.png")
    keypoints = np.zeros((17, 3), int)
    keypoints[5] = (10, 20, 2)
    image = {"id": 139, "file_name": "000000000139.png", "width": WIDTH, "height": HEIGHT}
    empty = {"image_id": 139, "bbox": [1, 2, 80, 90], "keypoints": [0] * 51}
    person = {"image_id": 139, "bbox": [1, 2, 80, 90], "keypoints": keypoints.ravel().tolist()}
    source = open_annotations("coco", _write(tmp_path, [image], [empty, person]), tmp_path, is_smpl=True)
    assert len(source) == 1
    sample = source.sample(0)
    # COCO counts pixels from their centres, the project from the picture's corner
    assert sample.pixels[SMPL29.index("L_Shoulder")].tolist() == [10.5, 20.5]
    assert sample.has_pixels.sum() == 1
    assert not sample.has_joints.any()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda c: c["images"][0].update(file_name="../outside.png"), InputError, "lies outside"),
        (lambda c: c["images"][0].update(file_name="a\0.png"), InputError, "lies outside"),
        (lambda c: c["images"][0].update(file_name=""), InputError, "lies outside"),
        (lambda c: c["images"][0].update(file_name="missing.png"), InputError, "cannot be read"),
        (lambda c: c["annotations"][0].update(smpl_joints=[1.0, 2.0]), FileFormatError, "29 x 3 or 24 x 3 finite"),
        (lambda c: c["annotations"][0].update(smpl_joints=[["a"] * 3] * 24), FileFormatError, "must be numbers"),
        (lambda c: c["annotations"][0].update(thetas=[[0, 0, 1e39]] * 24), FileFormatError, "thetas must be 24 x 3"),
        (lambda c: c["annotations"][0].pop("bbox"), FileFormatError, "bbox"),
        (lambda c: c.update(annotations=[], images=[]), FileFormatError, "no person"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path: Path, change, error, message: str):
    path = make_h36m(tmp_path, count=1)
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(error, match=message):
        open_annotations("h36m", path, tmp_path / "images", is_smpl=True).sample(0)


def test_a_file_that_is_no_json_is_refused(tmp_path: Path):
    path = tmp_path / "file.json"
    path.write_bytes(b"\x80\x04.")
    with pytest.raises(FileFormatError, match="no annotation file of coco"):
        open_annotations("coco", path, tmp_path, is_smpl=False)
