# SPDX-License-Identifier: Apache-2.0
"""Several photographs: which calls are made in which order, and what is remembered of the answer."""

import dataclasses

import msgspec
import pytest

from blender_addon.core.errors import SceneError, SolverError
from blender_addon.core.jobs import DetectCall, DetectedPerson, Detection, Job, JobState
from blender_addon.core.keypoints import POSITION_SIGMA
from blender_addon.core.photo import Orientation, Photo
from blender_addon.core.record import (
    Keypoints2D,
    Keypoints3D,
    PhotoCamera,
    Pose,
    RelativeKeypoints3D,
    Shape,
    Solution,
    Twist,
)
from blender_addon.core.views_call import PictureView, SolveViewsCall, SurePoint, ViewsSolution
from blender_addon.core.views_jobs import pose_from_images

CAMERA = PhotoCamera(640, 480, 500, 500, 320, 240)
PLACED = PhotoCamera(640, 480, 500, 500, 320, 240, (1, 0, 0, 0, -1, 0, 0, 0, -1), (0, 1.5, 4))
ASIDE = msgspec.structs.replace(PLACED, translation=(1, 1.5, 4))
SEEN = Keypoints2D(("nose",), ((1.0, 2.0),), (3.0,))
GUESSED = RelativeKeypoints3D(("nose",), ((0.0, 0.0, 0.0),), ((0.1, 0.1, 0.3),))
TWIST = Twist(("L_Elbow",), (0.1,), (0.2,))
SHAPE = Shape("default body", (0.1, 0.2), (0.7, 0.8))
POSE = Pose((0.0, 1.0, 0.0), ((1.0, 0.0, 0.0, 0.0),) * 24, (0.5,) * 10)
BOX = (0.0, 0.0, 1.0, 1.0)
PHOTOS = tuple(Photo(name, name.encode(), Orientation()) for name in ("a.jpg", "b.jpg", "c.jpg"))


def person(score=0.9, sure=0.5, doubts=()):
    return DetectedPerson((SEEN, GUESSED, TWIST, SHAPE), {"nose": sure}, score, BOX, doubts)


def detection(*persons):
    return Detection(CAMERA, persons, 0.25)


def solution(camera=PLACED, px=2.0, status="converged"):
    return Solution(POSE, camera, {"Pelvis": (0.0, 1.0, 0.0)}, {}, status, 5, px, 0.1)


def solved(*solutions):
    points = {"L_Wrist": SurePoint((1.0, 2.0, 3.0), 0.02), "nose": SurePoint((0.0, 1.5, 0.0), 0.001)}
    return ViewsSolution(solutions or (solution(), solution(ASIDE, 4.0)), points)


def lens_of(focal):
    return lambda told: msgspec.structs.replace(told, focal_x=focal)


def begun(photos=PHOTOS[:2], *args, **options):
    job = Job(pose_from_images(photos, *args, **options))
    job.begin()
    return job


def posed(*persons, **options):
    """Give a job that has got all its answers."""
    job = begun(**options)
    for each in persons or (person(), person()):
        job.answer(detection(each))
    job.answer(solved())
    return job


def test_each_picture_is_looked_at_then_all_are_solved_together():
    job = begun(model="full", lenses=[(lens_of(700), None), (lens_of(800), None)])
    assert job.call == DetectCall(b"a.jpg", "full")
    assert job.text == "Looking at picture 1 of 2"
    job.answer(detection(person()))
    assert job.call == DetectCall(b"b.jpg", "full")
    job.answer(detection(person(0.8)))
    views = tuple(PictureView(person().evidence, lens_of(focal)(CAMERA)) for focal in (700, 800))
    assert job.call == SolveViewsCall(views, "pose", None)
    job.answer(solved())
    assert job.state is JobState.DONE


def test_what_is_known_of_the_lenses_is_told_to_the_networks():
    job = begun(lenses=[(lens_of(700), 700.0), (lens_of(800), None)])
    assert job.call == DetectCall(b"a.jpg", focal_px=700.0)
    job.answer(detection(person()))
    assert job.call == DetectCall(b"b.jpg")


def test_the_cameras_are_looked_at_together_when_all_pictures_are_read():
    seen = []

    def lens(told):
        seen.append(told)
        return told

    job = begun(lenses=[(lens, None)] * 2)
    job.answer(detection(person()))
    assert seen == []
    job.answer(detection(person()))
    assert seen == [CAMERA, CAMERA]


def test_a_camera_that_is_gone_ends_the_command_before_the_solve():
    def lens(told):
        raise SceneError("the camera side_1 is gone; nothing was changed")

    job = begun(lenses=[(lens, None)] * 2)
    job.answer(detection(person()))
    job.answer(detection(person()))
    assert (job.state, str(job.error)) == (JobState.FAILED, "the camera side_1 is gone; nothing was changed")


def test_the_record_has_the_first_pictures_keypoints_and_what_all_say_in_space():
    (record,) = posed(person(doubts=("small",)), person(0.8, sure=0.75, doubts=("small", "hidden"))).result.records
    assert record.source == "a.jpg + 1"
    space = Keypoints3D(("L_Wrist", "nose"), ((1.0, 2.0, 3.0), (0.0, 1.5, 0.0)), (0.01, POSITION_SIGMA))
    assert record.evidence == (SEEN, TWIST, Shape("default body", (0.5, 0.5), (0.7, 0.8)), space)
    assert record.camera == PLACED
    assert (record.confidence, record.score, record.box) == ({"nose": 0.75}, 0.8, BOX)
    assert record.doubts == ("small", "hidden")
    assert record.solution.points["L_Wrist"] == (1.0, 2.0, 3.0)
    assert record.solution.reprojection_px == 4.0


def test_pictures_that_do_not_agree_make_a_doubtful_pose():
    job = begun()
    for each in (person(), person(doubts=("small",))):
        job.answer(detection(each))
    job.answer(dataclasses.replace(solved(), doubts=("disagreeing",)))
    assert job.result.records[0].doubts == ("disagreeing", "small")
    assert job.result.warnings == (), "of two, neither fits the other"


def test_of_several_pictures_that_do_not_agree_the_worst_is_named():
    job = begun(PHOTOS)
    for size in (1000.0, 100.0, 100.0):
        job.answer(detection(dataclasses.replace(person(), box=(0.0, 0.0, size, size))))
    solutions = solved(solution(px=12.0), solution(ASIDE, 4.0), solution(ASIDE, 2.0))
    job.answer(dataclasses.replace(solutions, doubts=("disagreeing",)))
    assert job.result.warnings == ("b.jpg fits the others worst",)


def test_every_picture_of_one_pose_has_its_camera():
    assert posed().result.cameras == (PLACED, ASIDE)


def test_pictures_of_one_person_have_a_record_each():
    job = posed(person(), person(0.8), same="person")
    assert [record.source for record in job.result.records] == ["a.jpg", "b.jpg"]
    assert [record.camera for record in job.result.records] == [PLACED, ASIDE]
    assert job.result.records[1].evidence == person().evidence
    assert job.result.cameras == ()


def test_a_body_that_keeps_its_shape_is_solved_with_it():
    job = begun(body_betas=(0.5, 0.25))
    job.answer(detection(person()))
    job.answer(detection(person()))
    assert job.call.betas == (0.5, 0.25)


def test_a_picture_of_several_persons_is_named_and_the_largest_is_taken():
    job = begun()
    job.answer(detection(person(), person(0.8), person(0.3)))
    job.answer(detection(person(), person(0.3)))  # a poster
    job.answer(solved())
    assert job.result.warnings == ("a.jpg shows 2 persons; the largest was taken",)


def test_a_picture_of_nobody_is_named():
    job = begun()
    job.answer(detection(person()))
    job.answer(detection())
    assert job.state is JobState.FAILED
    assert str(job.error).startswith("no person was found on b.jpg; leave this picture out")


def test_a_picture_that_cannot_be_read_is_named():
    job = begun()
    job.answer(detection(person()))
    job.fail(SolverError("the picture cannot be read: it is cut off", code="bad_image"))
    assert str(job.error) == "b.jpg: the picture cannot be read: it is cut off"
    assert job.error.code == "bad_image"


@pytest.mark.parametrize("count", [0, 1, 9])
def test_too_few_and_too_many_pictures_are_refused_before_anything_is_asked(count):
    job = begun(PHOTOS[:1] * count)
    assert job.state is JobState.FAILED
    assert str(job.error) == f"choose 2 to 8 pictures at once, not {count}"


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(solution(), id="of one picture"),
        pytest.param(solved(solution()), id="too few"),
        pytest.param(solved(solution(), solution(CAMERA)), id="a camera without a place"),
        pytest.param(solved(solution(), solution(status="failed")), id="no pose"),
    ],
)
def test_an_answer_that_is_of_no_use_makes_no_body(answer):
    job = begun()
    job.answer(detection(person()))
    job.answer(detection(person()))
    job.answer(answer)
    assert (job.state, job.result) == (JobState.FAILED, None)


def test_the_progress_never_falls():
    job = begun(PHOTOS)
    seen = [job.fraction]
    for event in (
        lambda: job.progress(0.5, "half"),
        lambda: job.answer(detection(person())),
        lambda: job.answer(detection(person())),
        lambda: job.progress(0.9),
        lambda: job.answer(detection(person())),
        lambda: job.progress(0.25, "solving picture 2"),
    ):
        event()
        seen.append(job.fraction)
    assert seen == sorted(seen)
    assert job.text == "Solving picture 2"
    job.answer(solved(solution(), solution(), solution()))
    assert job.fraction == 1.0
