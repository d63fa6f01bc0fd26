# SPDX-License-Identifier: Apache-2.0
"""A recording's files become samples; what is wrong with them is said."""

from pathlib import Path

import numpy as np
import pytest
import torch
from recordings import BODY, FOCAL, camera_around, walking_pose, write_recording

from ikol.errors import FileFormatError, InputError
from ikol.evaluation.recording import Clip, Recording
from ikol.pipeline.placement import point_positions
from ikol.regressor.landmarks import BLAZEPOSE_LANDMARKS, LIMB_LANDMARKS


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recording(tmp_path_factory.mktemp("recording"), (0.0, 90.0), frames=3).folder


def test_truth_is_in_the_axes_of_the_camera_that_took_the_picture(folder: Path) -> None:
    recording = Recording(folder)
    sample = recording.sample(1, 2)
    camera = camera_around(90.0)
    true = camera.to_camera(point_positions(BODY, walking_pose(), BLAZEPOSE_LANDMARKS))
    torch.testing.assert_close(sample.truth.points, true)
    assert sample.intrinsics.focal == (FOCAL, FOCAL)
    assert sample.name == "cam02 frame 2"
    assert sample.truth.up is not None
    torch.testing.assert_close(sample.truth.up, camera.R_camera_world[:, 1])


def test_every_picture_of_every_camera_is_a_sample(folder: Path) -> None:
    recording = Recording(folder, every=2)
    assert recording.frames == (0, 2)
    assert [sample.name for sample in recording] == [
        "cam01 frame 0",
        "cam01 frame 2",
        "cam02 frame 0",
        "cam02 frame 2",
    ]


def test_frames_are_read_in_any_order(folder: Path) -> None:
    clip = Clip(folder / "test_cam01.mp4")
    assert [clip.frame(number).shape for number in (2, 0, 1)] == [(640, 480, 3)] * 3


def test_frame_beyond_the_end_is_named(folder: Path) -> None:
    with pytest.raises(InputError, match="has 3 frames, frame 7"):
        Clip(folder / "test_cam01.mp4").frame(7)


def test_points_that_few_cameras_agree_on_are_no_truth(folder: Path, tmp_path: Path) -> None:
    with np.load(folder / "test_pseudo_gt_x.npz") as data:
        arrays = dict(data)
    arrays["n_views"][0, BLAZEPOSE_LANDMARKS.index("left_wrist")] = 2
    arrays["reproj_px"][0, BLAZEPOSE_LANDMARKS.index("right_wrist")] = 20
    arrays["n_views"][1, :] = 2
    other = tmp_path / "other.npz"
    np.savez(other, allow_pickle=False, **arrays)
    recording = Recording(folder, other)
    assert recording.frames == (0, 2)
    points, valid = recording.sample(0, 0).truth.select(LIMB_LANDMARKS)
    assert points.shape == (12, 3)
    assert [name for name, good in zip(LIMB_LANDMARKS, valid.tolist(), strict=True) if not good] == [
        "left_wrist",
        "right_wrist",
    ]


def test_folder_without_truth_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no"):
        Recording(tmp_path)


def test_missing_clip_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no clip of camera cam01"):
        Recording(tmp_path, folder / "test_pseudo_gt_x.npz")


def test_truth_file_without_an_array_says_which(tmp_path: Path) -> None:
    np.savez(tmp_path / "x_pseudo_gt_y.npz", frames=np.zeros(1))
    with pytest.raises(FileFormatError, match="n_views"):
        Recording(tmp_path)


def test_text_file_in_the_place_of_the_truth_is_named(tmp_path: Path) -> None:
    (tmp_path / "x_pseudo_gt_y.npz").write_text("not an archive")
    with pytest.raises(FileFormatError, match="x_pseudo_gt_y"):
        Recording(tmp_path)


def test_a_frame_without_a_place_of_the_hips_is_left_out(folder: Path, tmp_path: Path) -> None:
    with np.load(folder / "test_pseudo_gt_x.npz") as data:
        arrays = dict(data)
    hip = BLAZEPOSE_LANDMARKS.index("left_hip")
    arrays["joints"][1, hip], arrays["n_views"][1, hip] = np.nan, 0
    np.savez(tmp_path / "other.npz", allow_pickle=False, **arrays)
    assert Recording(folder, tmp_path / "other.npz").frames == (0, 2)


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("joints", np.zeros((3, 24, 3)), r"joints is float64 \(3, 24, 3\), expected \('F', 33, 3\)"),
        ("n_views", np.zeros((2, 33)), r"n_views is float64 \(2, 33\)"),
        ("R", np.zeros((2, 9)), r"R is float64 \(2, 9\)"),
        ("cam", np.zeros(2), r"cam is float64 \(2,\)"),
        ("K", np.array(3.0), r"K is float64 \(\)"),
        ("frames", np.array([None] * 3), "holds pickled Python objects"),
    ],
)
def test_a_wrong_truth_says_what_is_wrong(
    folder: Path, tmp_path: Path, key: str, value: np.ndarray, sentence: str
) -> None:
    with np.load(folder / "test_pseudo_gt_x.npz") as data:
        arrays = dict(data)
    np.savez(tmp_path / "other.npz", **{**arrays, key: value})
    with pytest.raises(FileFormatError, match=sentence):
        Recording(folder, tmp_path / "other.npz")
