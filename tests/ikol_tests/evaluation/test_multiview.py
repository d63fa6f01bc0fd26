# SPDX-License-Identifier: Apache-2.0
"""The multi-view evaluation on a recording made here: one camera, one picture, a truth known by construction."""

import json
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from ikol.errors import FileFormatError, InputError
from ikol.evaluation.multiview import evaluate_multiview
from ikol.pipeline import Intrinsics, PosePipeline
from ikol.regressor import BLAZEPOSE_LANDMARKS

SAMPLE = Path(__file__).parents[3] / "samples" / "front_step.jpg"
FOCAL, CENTER = 1680.0, (540.0, 960.0)


@pytest.fixture(scope="module")
def pipeline() -> PosePipeline:
    return PosePipeline(model="full")


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory, pipeline: PosePipeline) -> Path:
    """One frame, whose truth is the solved body: the solved errors are those of the clip's compression alone."""
    folder = tmp_path_factory.mktemp("recording")
    rgb = np.asarray(Image.open(SAMPLE).convert("RGB"))
    with av.open(str(folder / "test_cam01.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.height, stream.width = rgb.shape[:2]
        stream.bit_rate = 50_000_000
        stream.pix_fmt = "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
        container.mux(stream.encode())
    lens = Intrinsics(rgb.shape[1], rgb.shape[0], (FOCAL, FOCAL), CENTER, "given")
    person = pipeline.detect_rgb(rgb, intrinsics=lens, model="full", max_persons=1).persons[0]
    solution = pipeline.solve(person.evidence, intrinsics=lens)
    write_truth(folder, pipeline.landmark_positions(solution.pose).numpy(), solution.camera)
    return folder


def write_truth(folder: Path, world: np.ndarray, camera: object) -> None:
    # the file's world has Z up, ours Y
    z_up = world[:, [0, 2, 1]] * [1.0, -1.0, 1.0]
    to_ours = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
    R = camera.R_camera_world.numpy() @ to_ours  # type: ignore[attr-defined]
    np.savez(
        folder / "test_pseudo_gt_x.npz",
        frames=np.array([0]),
        joints=z_up[None],
        reproj_px=np.ones((1, 33)),
        n_views=np.full((1, 33), 4.0),
        cam=np.array(["cam01"]),
        K=np.array([[[FOCAL, 0, CENTER[0]], [0, FOCAL, CENTER[1]], [0, 0, 1.0]]]),
        dist=np.zeros((1, 4)),
        R=R[None],
        t=camera.t_camera_world.numpy()[None],  # type: ignore[attr-defined]
    )


def test_solved_body_is_found_again_and_raw_landmarks_are_not(recording: Path, pipeline: PosePipeline) -> None:
    report = evaluate_multiview(recording, pipeline, model="full")
    assert report.pictures == 1
    assert report.pictures_without_person == 0
    # the clip's compression moves the landmarks by some pixels, which is some centimetres of depth
    assert report.solved.mpjpe_mm < 30.0
    assert report.solved.bone_deg_median < 5.0
    assert report.raw.mpjpe_mm > report.solved.mpjpe_mm
    assert report.up_error_deg_median < 5.0


def test_the_network_that_was_asked_for_is_measured(recording: Path) -> None:
    pipeline = PosePipeline(model="full")
    evaluate_multiview(recording, pipeline, model="full")
    assert pipeline.loaded_models == ("full",)


def test_report_has_the_documented_keys(recording: Path, pipeline: PosePipeline) -> None:
    report = json.loads(evaluate_multiview(recording, pipeline, model="full").to_json())
    for name in ("raw", "solved"):
        assert set(report[name]) == {"mpjpe_mm", "pa_mpjpe_mm", "bone_deg_median", "bone_over_45deg"}


def test_limb_landmarks_are_the_twelve_of_the_four_limbs() -> None:
    from ikol.evaluation.multiview import LIMB_LANDMARKS

    assert len(LIMB_LANDMARKS) == 12
    assert set(LIMB_LANDMARKS) <= set(BLAZEPOSE_LANDMARKS)


def test_folder_without_truth_is_refused(tmp_path: Path, pipeline: PosePipeline) -> None:
    with pytest.raises(InputError, match="holds no"):
        evaluate_multiview(tmp_path, pipeline)


def test_truth_file_without_an_array_says_which(tmp_path: Path, pipeline: PosePipeline) -> None:
    np.savez(tmp_path / "x_pseudo_gt_y.npz", frames=np.zeros(1))
    with pytest.raises(FileFormatError, match="n_views"):
        evaluate_multiview(tmp_path, pipeline)


def test_text_file_in_the_place_of_the_truth_is_named(tmp_path: Path, pipeline: PosePipeline) -> None:
    (tmp_path / "x_pseudo_gt_y.npz").write_text("not an archive")
    with pytest.raises(FileFormatError, match="x_pseudo_gt_y"):
        evaluate_multiview(tmp_path, pipeline)
