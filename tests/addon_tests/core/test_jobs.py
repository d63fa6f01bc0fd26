# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from blender_addon.core.jobs import (
    Alternative,
    Alternatives,
    AlternativesCall,
    DetectedPerson,
    Detection,
    InspectCall,
    Inspection,
    Job,
    JobState,
    SolveCall,
    alternatives,
    edit_call,
    inspect,
    resolve,
    solve_keypoints,
)
from blender_addon.core.keypoints import POSITION_SIGMA, effective_evidence, move_positions
from blender_addon.core.record import Keypoints2D, Keypoints3D, PhotoCamera, Pose, Record, Solution

CAMERA = PhotoCamera(640, 480, 500, 500, 320, 240)
PLACED = PhotoCamera(640, 480, 500, 500, 320, 240, (1, 0, 0, 0, 1, 0, 0, 0, 1), (0, 0, 4))
SEEN = Keypoints2D(("nose",), ((1.0, 2.0),), (3.0,))
POSE = Pose((0.0, 1.0, 0.0), ((1.0, 0.0, 0.0, 0.0),) * 24, (0.5,) * 10)


def person(score=0.9):
    return DetectedPerson((SEEN,), {"nose": 1.0}, score, (0.0, 0.0, 1.0, 1.0))


def detection(*persons):
    return Detection(CAMERA, persons, 0.2)


def solution(camera=PLACED, status="converged"):
    return Solution(POSE, camera, {"nose": (0.0, 1.6, 0.0)}, {}, status, 5, 2.0, 0.1)


def begun(steps):
    job = Job(steps)
    job.begin()
    return job


def test_solving_again_starts_from_the_current_pose_and_keeps_the_edits():
    record = move_positions(Record("a.jpg", (SEEN,), solution()), {"left_wrist": (1.0, 1.0, 1.0)})
    job = begun(resolve(record, PLACED, POSE))
    placed = Keypoints3D(("left_wrist",), ((1.0, 1.0, 1.0),), (POSITION_SIGMA,))
    assert job.call == SolveCall((SEEN, placed), PLACED, POSE, solve_shape=False)
    job.answer(solution())
    (new,) = job.result.records
    assert new.edits == record.edits
    assert new.evidence == record.evidence


INSPECTION = Inspection(np.zeros((24, 3, 3)), (), np.zeros((0, 24, 3)), (), ())
OTHER_POSES = Alternatives((Alternative(POSE, 1.0, 2.0, np.zeros((24, 3))),))


def test_a_part_of_the_body_is_solved_again():
    job = begun(resolve(Record("a.jpg", (SEEN,), solution()), PLACED, POSE, ("L_Elbow",)))
    assert job.call == SolveCall((SEEN,), PLACED, POSE, solve_shape=False, joints=("L_Elbow",))


def test_an_edit_is_solved_near_the_drags_start_from_the_newest_pose():
    newest = Pose((0.0, 2.0, 0.0), POSE.local_quat, POSE.betas)
    record = move_positions(Record("a.jpg", (SEEN,), solution()), {"left_wrist": (1.0, 1.0, 1.0)})
    call = edit_call(record, PLACED, POSE, start=newest)
    assert (call.initial, call.start, call.joints, call.solve_shape) == (POSE, newest, (), False)
    assert call.evidence == effective_evidence(record)


def test_an_inspection_is_about_the_edited_record_and_keeps_it():
    record = move_positions(Record("a.jpg", (SEEN,), solution()), {"left_wrist": (1.0, 1.0, 1.0)})
    job = begun(inspect(record, PLACED, POSE, ("L_Elbow",)))
    assert job.call == InspectCall(edit_call(record, PLACED, POSE, ("L_Elbow",)))
    job.answer(INSPECTION)
    assert job.state is JobState.DONE
    assert job.result.inspection is INSPECTION
    assert job.result.records == (record,)


def test_alternatives_are_of_the_limb_that_was_asked_for():
    record = Record("a.jpg", (SEEN,), solution())
    job = begun(alternatives(record, PLACED, POSE, "left_arm"))
    assert job.call == AlternativesCall(edit_call(record, PLACED, POSE), "left_arm")
    job.answer(OTHER_POSES)
    assert job.state is JobState.DONE
    assert job.result.alternatives is OTHER_POSES
    assert job.result.records == (record,)


@pytest.mark.parametrize(
    "steps",
    [
        lambda record: resolve(record, PLACED, POSE),
        lambda record: inspect(record, PLACED, POSE),
        lambda record: alternatives(record, PLACED, POSE, "head"),
    ],
    ids=["resolve", "inspect", "alternatives"],
)
def test_an_answer_to_another_question_is_an_error_not_a_crash(steps):
    job = begun(steps(Record("a.jpg", (SEEN,), solution())))
    job.answer(detection(person()))
    assert str(job.error) == "the solver answered something else than it was asked; update the solver"


def test_keypoints_are_solved_without_a_camera():
    keypoints = Keypoints3D(("nose",), ((0.0, 1.6, 0.0),), (0.02,))
    job = begun(solve_keypoints("p.json", keypoints))
    assert job.call == SolveCall((keypoints,), None, None, solve_shape=True)
    job.answer(solution(camera=None))
    assert job.result.records[0].camera is None
