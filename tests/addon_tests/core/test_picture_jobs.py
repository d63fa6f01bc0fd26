# SPDX-License-Identifier: Apache-2.0
"""What is asked of the solver about a new photograph, in which order, and what becomes of the answers."""

import msgspec
import pytest

from blender_addon.core.errors import SolverError
from blender_addon.core.jobs import DetectCall, DetectedPerson, Detection, Job, JobState, SolveCall
from blender_addon.core.picture_jobs import find_people, pose_from_image, pose_in_box, pose_person
from blender_addon.core.record import Keypoints2D, Keypoints3D, PhotoCamera, Pose, Solution

CAMERA = PhotoCamera(640, 480, 500, 500, 320, 240)
# it looks along -Z of the world from 1.5 m above the floor, 4 m before the person
PLACED = PhotoCamera(640, 480, 500, 500, 320, 240, (1, 0, 0, 0, -1, 0, 0, 0, -1), (0, 1.5, 4))
SEEN = Keypoints2D(("nose",), ((1.0, 2.0),), (3.0,))
FEET = Keypoints2D(("nose", "left_heel"), ((1.0, 2.0), (3.0, 4.0)), (3.0, 3.0))
POSE = Pose((0.0, 1.0, 0.0), ((1.0, 0.0, 0.0, 0.0),) * 24, (0.5,) * 10)
BOX = (0.0, 0.0, 1.0, 1.0)


def person(score=0.9, seen=SEEN):
    return DetectedPerson((seen,), {"nose": 1.0}, score, BOX, ("small",))


def detection(*persons):
    return Detection(CAMERA, persons, 0.2)


def solution(camera=PLACED, status="converged", heel=0.0):
    points = {"Pelvis": (0.0, 1.0, 0.0), "nose": (0.0, 1.6, 0.0), "left_heel": (0.0, heel, 0.0)}
    return Solution(POSE, camera, points, {}, status, 5, 2.0, 0.1)


def begun(steps):
    job = Job(steps)
    job.begin()
    return job


def test_a_picture_is_detected_then_each_person_is_solved_with_a_camera_of_its_own():
    job = begun(pose_from_image("a.jpg", b"bytes"))
    assert job.call == DetectCall(b"bytes", "heavy", 4)
    job.answer(detection(person(), person(0.8)))
    assert job.call == SolveCall((SEEN,), CAMERA)
    job.answer(solution())
    assert job.call == SolveCall((SEEN,), CAMERA)
    job.answer(solution())
    assert job.state is JobState.DONE
    assert [record.score for record in job.result.records] == [0.9, 0.8]
    first = job.result.records[0]
    assert (first.source, first.evidence, first.box, first.doubts) == ("a.jpg", (SEEN,), BOX, ("small",))


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
        "no person was found on a.jpg; set Persons to Choose and draw a box around the person, "
        "or use a picture in which a person is larger"
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
    assert job.result.warnings == ("Person 2 was left out: the arms cross",)


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


def test_persons_are_found_thoroughly_and_nobody_is_no_error():
    job = begun(find_people("a.jpg", b"bytes", "full", 900.0))
    assert job.call == DetectCall(b"bytes", "full", 16, thorough=True, focal_px=900.0)
    job.answer(detection())
    assert job.state is JobState.DONE
    assert job.result.detection == detection()
    assert job.result.records == ()


def test_a_clicked_person_is_solved_before_the_camera_that_is_there():
    job = begun(pose_person("a.jpg", person(), CAMERA))
    assert job.call == SolveCall((SEEN,), CAMERA)
    job.answer(solution())
    assert job.result.records[0].doubts == ("small",)


def test_a_box_is_looked_into_and_an_empty_one_says_what_to_do():
    for found in (True, False):
        job = begun(pose_in_box("a.jpg", b"bytes", "heavy", (1.0, 2.0, 30.0, 40.0), PLACED))
        assert job.call == DetectCall(b"bytes", "heavy", 1, boxes=((1.0, 2.0, 30.0, 40.0),), focal_px=500)
        job.answer(detection(*(person(),) * found))
        if found:
            job.answer(solution())
            assert job.result.detection is not None
        else:
            assert str(job.error).startswith("no person is seen in this box of a.jpg; draw it")


def test_before_a_placed_camera_the_feet_are_put_on_the_floor():
    job = begun(pose_from_image("a.jpg", b"bytes", lens=lambda _: PLACED))
    job.answer(detection(person(seen=FEET)))
    assert job.call == SolveCall((FEET,), PLACED)
    job.answer(solution(heel=-0.3))  # 30 cm below the floor: farther away than it is
    assert isinstance(job.call, SolveCall)
    *_, feet = job.call.evidence
    assert isinstance(feet, Keypoints3D)
    assert feet.points[0][1] == pytest.approx(0.03)
    # on the ray from (0, 1.5, 4) to (0, -0.3, 0): 1.47 of 1.8 of the way
    assert feet.points[0][2] == pytest.approx(4.0 - 4.0 * 1.47 / 1.8)
    job.answer(solution(heel=0.03))
    assert job.result.records[0].evidence == (FEET,)  # the floor is not the picture's evidence


def test_a_later_person_is_put_on_the_floor_of_the_first():
    job = begun(pose_from_image("a.jpg", b"bytes"))
    job.answer(detection(person(), person(seen=FEET)))
    job.answer(solution())
    job.answer(solution(camera=msgspec.structs.replace(PLACED, translation=(0.0, 1.7, 4.0))))
    assert isinstance(job.call.evidence[-1], Keypoints3D)
    job.answer(solution())
    assert job.state is JobState.DONE
