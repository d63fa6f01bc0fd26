# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from blender_addon.core.errors import SolverError
from blender_addon.core.jobs import (
    Alternative,
    Alternatives,
    AlternativesCall,
    DetectCall,
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
    pose_from_image,
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


def test_a_picture_is_detected_then_each_person_is_solved_with_the_first_ones_camera():
    job = begun(pose_from_image("a.jpg", b"bytes"))
    assert job.call == DetectCall(b"bytes", "heavy", 4)
    job.answer(detection(person(), person(0.8)))
    assert job.call == SolveCall((SEEN,), CAMERA)
    job.answer(solution())
    assert job.call == SolveCall((SEEN,), PLACED)
    job.answer(solution())
    assert job.state is JobState.DONE
    assert [record.score for record in job.result.records] == [0.9, 0.8]
    assert job.result.records[0] == Record("a.jpg", (SEEN,), solution(), {"nose": 1.0}, 0.9, (0.0, 0.0, 1.0, 1.0))


def test_for_one_person_all_are_looked_for_and_the_largest_is_solved():
    job = begun(pose_from_image("a.jpg", b"bytes", max_persons=1))
    assert job.call == DetectCall(b"bytes", "heavy", 4)
    job.answer(detection(person(0.6), person(0.9)))  # the solver sends the largest first
    job.answer(solution())
    assert job.state is JobState.DONE
    assert [record.score for record in job.result.records] == [0.6]


def test_the_progress_never_falls_and_ends_at_one():
    job = begun(pose_from_image("a.jpg", b"bytes"))
    seen = [job.fraction]
    events = [
        lambda: job.progress(0.5, "half"),
        lambda: job.progress(0.2, "back"),
        lambda: job.answer(detection(person(), person())),
        lambda: job.progress(0.9),
        lambda: job.answer(solution()),
        lambda: job.answer(solution()),
    ]
    for event in events:
        event()
        seen.append(job.fraction)
    assert seen == sorted(seen)
    assert seen[-1] == 1.0


def test_nobody_found_fails_with_what_to_do():
    job = begun(pose_from_image("a.jpg", b"bytes"))
    job.answer(detection())
    assert job.state is JobState.FAILED
    assert str(job.error) == (
        "no person was found on a.jpg; use a picture in which a person is larger, or crop it to the person"
    )


def test_a_doubtful_second_person_is_left_out_silently_the_first_is_not():
    job = begun(pose_from_image("a.jpg", b"bytes"))
    job.answer(detection(person(0.3), person(0.2)))
    job.answer(solution())
    assert job.state is JobState.DONE
    assert len(job.result.records) == 1
    assert job.result.warnings == ()


def test_a_later_person_that_fails_becomes_a_warning():
    job = begun(pose_from_image("a.jpg", b"bytes"))
    job.answer(detection(person(), person(), person()))
    job.answer(solution())
    job.fail(SolverError("the arms cross"))
    job.answer(solution())
    assert job.state is JobState.DONE
    assert len(job.result.records) == 2
    assert job.result.warnings == ("person 2 was left out: the arms cross",)


def test_a_first_person_that_fails_is_an_error():
    job = begun(pose_from_image("a.jpg", b"bytes"))
    job.answer(detection(person(), person()))
    job.answer(solution(status="failed"))
    assert job.state is JobState.FAILED
    assert "no pose fits the keypoints" in str(job.error)


def test_for_a_body_with_a_shape_the_pose_is_solved_again_with_that_shape():
    betas = (1.0,) * 10
    job = begun(pose_from_image("a.jpg", b"bytes", body_betas=betas))
    job.answer(detection(person()))
    job.answer(solution())
    assert job.call == SolveCall((SEEN,), PLACED, Pose(POSE.transl, POSE.local_quat, betas), solve_shape=False)
    job.answer(solution())
    assert job.state is JobState.DONE


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


def test_an_answer_of_the_wrong_kind_is_an_error_not_a_crash():
    job = begun(pose_from_image("a.jpg", b"bytes"))
    job.answer(solution())
    assert "update the solver" in str(job.error)


@pytest.mark.parametrize("end", ["cancel", "abort"])
def test_an_ended_job_stays_as_it_is(end):
    job = begun(pose_from_image("a.jpg", b"bytes"))
    job.cancel() if end == "cancel" else job.abort(SolverError("the solver is gone"))
    state = job.state
    job.answer(detection(person()))
    job.fail(SolverError("late"))
    job.progress(1.0)
    job.cancel()
    assert job.state is state
    assert job.call is None
    assert job.result is None


def test_a_job_that_fails_before_it_begins_has_the_reason():
    job = Job(pose_from_image("a.jpg", b"bytes"))
    job.fail(SolverError("no solver"))
    assert job.state is JobState.FAILED
    assert str(job.error) == "no solver"
