# SPDX-License-Identifier: Apache-2.0
"""All views of a frame in one solve, on a recording made here."""

from pathlib import Path

import pytest
import torch
from recordings import BODY, LENS, camera_around, write_recording

from ikol.evaluation.landmark_cache import LandmarkCache
from ikol.evaluation.multiview import evaluate_views
from ikol.evaluation.recording import Recording
from ikol.pipeline import PosePipeline
from ikol.pipeline.placement import point_positions
from ikol.regressor.landmarks import BLAZEPOSE_LANDMARKS
from ikol.regressor.person import CropSamples, combine


class NoNetworks(PosePipeline):
    """A pipeline that finds nobody by itself: the landmarks come from the cache."""

    def __init__(self) -> None:
        self.body = BODY
        self.head = None


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recording, LandmarkCache]:
    folder = tmp_path_factory.mktemp("views")
    written = write_recording(folder, (0.0, 90.0))
    cache = LandmarkCache(folder / "landmarks.npz")
    for number, camera in enumerate(written.cameras):
        points = point_positions(BODY, written.pose, BLAZEPOSE_LANDMARKS)
        seen = camera.to_camera(points)
        hips = seen[[BLAZEPOSE_LANDMARKS.index(name) for name in ("left_hip", "right_hip")]].mean(0)
        samples = CropSamples(
            camera.project(points)[None].float(), (seen - hips)[None].float(), torch.ones(1, 33), torch.ones(1), 400.0
        )
        cache.keep(f"heavy: cam{number + 1:02d} frame 0", combine(samples, LENS.width, LENS.height))
    return Recording(folder), cache


def test_cameras_of_the_file_see_the_truth_where_the_recording_has_it(
    recording: tuple[Recording, LandmarkCache],
) -> None:
    R, t = recording[0].extrinsics(1)
    true = camera_around(90.0)
    torch.testing.assert_close(R, true.R_camera_world)
    torch.testing.assert_close(t, true.t_camera_world)


def test_perfect_landmarks_of_two_views_give_a_small_error(recording: tuple[Recording, LandmarkCache]) -> None:
    evaluation = evaluate_views(recording[0], NoNetworks(), cache=recording[1])
    report = evaluation.report
    assert report.pictures == 1
    # what the doubts of real landmarks leave to the priors
    assert report.solved.mpjpe_mm < 15.0
    assert report.raw is None
    assert report.up_error_deg_median is None
    # perfect landmarks are nearer than their doubts say
    assert report.calibration.all_axes is not None
    assert report.calibration.all_axes.within_2_sigma > 0.9


def test_frame_that_a_camera_missed_is_counted_as_missed(
    recording: tuple[Recording, LandmarkCache], tmp_path: Path
) -> None:
    class Blind(NoNetworks):
        def detect_rgb(self, *_: object, **__: object) -> object:  # type: ignore[override]
            from ikol.pipeline import Detection

            return Detection(LENS, ())

    cache = LandmarkCache(tmp_path / "some.npz")
    person = recording[1].find("heavy: cam01 frame 0")
    assert person is not None
    cache.keep("heavy: cam01 frame 0", person)
    with pytest.raises(Exception, match="found by all cameras"):
        evaluate_views(recording[0], Blind(), cache=cache)
