# SPDX-License-Identifier: Apache-2.0
"""A data set is solved, compared and reported: on a set of one body whose landmarks are perfect."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest
import torch
from recordings import BODY, LENS, camera_around, walking_pose

from ikol.errors import InputError
from ikol.evaluation.evaluate import Evaluation, evaluate
from ikol.evaluation.html_report import to_html
from ikol.evaluation.samples import EvaluationSample, Truth
from ikol.pipeline import Detection, PosePipeline
from ikol.pipeline.placement import point_positions
from ikol.pipeline.prepared import PreparedProblems
from ikol.regressor.landmarks import BLAZEPOSE_LANDMARKS
from ikol.regressor.person import CropSamples, combine

POSE = walking_pose()


class NoNetworks(PosePipeline):
    """Reads landmarks that are there, and finds nobody on pictures."""

    def __init__(self) -> None:
        self.body = BODY
        self.head = None
        self._prepared = PreparedProblems()

    def detect_rgb(self, *_: object, **__: object) -> Detection:  # type: ignore[override]
        return Detection(LENS, ())


def sample(yaw: float, *, with_rotations: bool = True) -> EvaluationSample:
    camera = camera_around(yaw)
    joints = camera.to_camera(point_positions(BODY, POSE, BODY.tree.names))
    landmarks = camera.to_camera(point_positions(BODY, POSE, BLAZEPOSE_LANDMARKS))
    hips = landmarks[[BLAZEPOSE_LANDMARKS.index(name) for name in ("left_hip", "right_hip")]].mean(0)
    lens = camera.with_extrinsics(torch.eye(3).double(), torch.zeros(3).double())
    crops = CropSamples(
        lens.project(landmarks)[None].float(),
        (landmarks - hips)[None].float(),
        torch.ones(1, 33),
        torch.ones(1),
        400.0,
    )
    rotmat = torch.cat((camera.R_camera_world @ POSE.local_rotmat[:1], POSE.local_rotmat[1:]))
    return EvaluationSample(
        name=f"<yaw {yaw:.0f}>",
        intrinsics=LENS,
        truth=Truth(
            BODY.tree.names,
            joints,
            torch.ones(24, dtype=torch.bool),
            camera_rotmat=rotmat if with_rotations else None,
            betas=POSE.betas if with_rotations else None,
        ),
        person=combine(crops, LENS.width, LENS.height),
    )


@dataclass(frozen=True)
class SmallSet:
    samples: tuple[EvaluationSample, ...]
    name: str = "small & <set>"
    scored: tuple[str, ...] = BODY.tree.names
    origin: tuple[str, ...] = ("Pelvis",)
    body: None = None

    def __len__(self) -> int:
        return len(self.samples)

    def __iter__(self) -> Iterator[EvaluationSample]:
        return iter(self.samples)


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    return evaluate(SmallSet((sample(20.0), sample(60.0))), NoNetworks())


def test_perfect_landmarks_leave_small_errors(evaluation: Evaluation) -> None:
    solved = evaluation.report.solved
    # what remains are joints that no landmark shows, and priors against landmarks that are doubted by some centimetres
    assert solved.mpjpe_mm < 30.0
    assert solved.error_2d_percent is not None
    assert solved.error_2d_percent < 2.0
    assert solved.bone_over_45deg == 0.0
    assert solved.geodesic_deg is not None
    assert solved.geodesic_deg < 15.0


def test_every_metric_of_a_set_that_knows_everything_is_there(evaluation: Evaluation) -> None:
    solved = evaluation.report.solved
    for value in (solved.pve_mm, solved.shape_mm, solved.twist_deg):
        assert value is not None
        assert value > 0.0


def test_joints_are_not_compared_with_raw_landmarks(evaluation: Evaluation) -> None:
    assert evaluation.report.raw is None


def test_errors_are_within_what_the_solver_doubts(evaluation: Evaluation) -> None:
    coverage = evaluation.report.calibration.all_axes
    assert coverage is not None
    # perfect landmarks: the sigmas are those of real ones. The origin itself has no error and no sigma
    assert coverage.within_2_sigma > 0.9
    assert coverage.count == 2 * 23 * 3


def test_what_the_truth_does_not_know_is_left_out_and_not_zero() -> None:
    report = evaluate(SmallSet((sample(20.0, with_rotations=False),)), NoNetworks()).report
    assert report.solved.geodesic_deg is None
    assert report.solved.pve_mm is None
    assert "twist" not in report.to_text()
    assert "PVE" not in report.to_text()
    assert json.loads(report.to_json())["solved"]["twist_deg"] is None


def test_missing_joints_do_not_count() -> None:
    whole = sample(20.0)
    points, valid = whole.truth.points.clone(), whole.truth.valid.clone()
    points[22:], valid[22:] = torch.nan, False
    report = evaluate(SmallSet((replace(whole, truth=replace(whole.truth, points=points, valid=valid)),)), NoNetworks())
    assert report.report.solved.mpjpe_mm == pytest.approx(report.report.solved.mpjpe_mm)
    assert "L_Hand" not in report.report.joints.position_mm
    assert report.report.calibration.depth is not None
    assert report.report.calibration.depth.count == 21


def test_pictures_without_a_person_are_named() -> None:
    seen = sample(20.0)
    blank = replace(seen, name="blank", person=None, picture=lambda: torch.zeros(64, 64, 3, dtype=torch.uint8).numpy())
    report = evaluate(SmallSet((seen, blank)), NoNetworks()).report
    assert report.pictures == 2
    assert report.pictures_without_person == 1
    assert report.missed == ("blank",)


def test_set_on_which_nobody_is_found_is_an_error() -> None:
    blank = replace(sample(20.0), person=None, picture=lambda: torch.zeros(64, 64, 3, dtype=torch.uint8).numpy())
    with pytest.raises(InputError, match="no person was found on any of the 1 pictures"):
        evaluate(SmallSet((blank,)), NoNetworks())


def test_empty_set_is_an_error() -> None:
    with pytest.raises(InputError, match="holds no pictures"):
        evaluate(SmallSet(()), NoNetworks())


def test_progress_ends_at_one() -> None:
    seen: list[float] = []
    evaluate(SmallSet((sample(20.0),)), NoNetworks(), progress=lambda fraction, _: seen.append(fraction))
    assert seen[0] == 0.0
    assert seen[-1] == 1.0


def test_html_is_one_file_with_the_worst_cases(evaluation: Evaluation) -> None:
    text = to_html(evaluation, BODY.tree.names, count=1)
    assert text.count("data:image/jpeg;base64,") == 1
    assert text.count("<svg") == 3
    assert "small &amp; &lt;set&gt;" in text
    assert "<yaw" not in text
    # nothing is loaded from anywhere
    assert not re.findall(r'(?:src|href)="(?!data:)', text)


def test_text_names_each_metric_once(evaluation: Evaluation) -> None:
    text = evaluation.report.to_text()
    for label in ("MPJPE  ", "PA-MPJPE", "PVE", "twist about the bone", "truth within 1 and 2 sigma"):
        assert text.count(label) == 1 + (label == "MPJPE  ")
