# SPDX-License-Identifier: GPL-3.0-or-later
"""What is asked of the solver about several photographs of one pose or of one person, as steps (jobs.py).

A pose that several pictures tell is kept as the keypoints of the first, and as what all of them say in space: where
each joint and landmark is, and how sure that is. So everything that works on one photograph works on it too.
"""

from collections.abc import Generator, Mapping, Sequence

from msgspec.structs import replace

from .errors import SolverError
from .jobs import (
    MIN_SECOND_SCORE,
    Answer,
    Betas,
    DetectCall,
    DetectedPerson,
    Detection,
    JobResult,
    Model,
    Step,
    Steps,
    wrong_answer,
)
from .keypoints import POSITION_SIGMA
from .numbered import numbered
from .photo import Photo
from .picture_jobs import Lens, as_told
from .record import Evidence, Keypoints2D, Keypoints3D, PhotoCamera, Picture, Record, Shape, Solution, Twist
from .views_call import MAX_VIEWS, MIN_VIEWS, PictureView, Same, SolveViewsCall, SurePoint, ViewsSolution

KnownLens = tuple[Lens, float | None]
"""The camera that has taken a picture, and its focal length in pixels when that is known, for the networks."""

UNKNOWN: tuple[KnownLens, ...] = ((as_told, None),)

DETECT_SHARE = 0.7
"""Of the progress: on two cores a picture takes a second, and the solve of four half a second."""


SPACE_SHARE = 0.5
"""Of the standard deviations of places in space. At their word more errors than two thirds are within one, and
the priors that a second solve adds to what they have shaped already move a hand by 1 to 2 cm; so by half of that."""


def pose_from_images(
    photos: Sequence[Photo],
    same: Same = "pose",
    model: Model = "heavy",
    body_betas: Betas | None = None,
    lenses: Sequence[KnownLens] = (),
) -> Steps:
    """Look for the person on each photograph, and solve all together.

    Args:
        photos: The pictures; the camera of the first is the record's.
        same: What they have in common: one pose from several sides, or one person in several poses.
        model: Which landmark network.
        body_betas: Shape of the body that the pose is for; None: the shape is solved as well.
        lenses: The camera that has taken each picture, all with a place or none; as the picture tells it without.

    Returns:
        The steps; of one pose they end with one record and the camera of each picture, of one person with one record
        for each picture.

    Raises:
        SolverError: There are too few or too many pictures, nobody was found on one of them, or no pose fits.
    """
    check_number(len(photos))
    persons: list[DetectedPerson] = []
    told: list[PhotoCamera] = []
    warnings: list[str] = []
    seconds = 0.0
    known = lenses or UNKNOWN * len(photos)
    for number, (photo, (_, focal_px)) in enumerate(zip(photos, known, strict=True)):
        detection = yield from _detect(photo, number, len(photos), model, focal_px)
        found = [person for person in detection.persons[1:] if person.score >= MIN_SECOND_SCORE]
        if found:
            shown = "{name} shows {number} persons; the largest was taken"
            warnings.append(numbered(shown, name=photo.name, number=1 + len(found)))
        persons.append(detection.persons[0])
        told.append(detection.camera)
        seconds += detection.seconds
    seen = zip(persons, known, told, strict=True)  # lenses only now: a scene's cameras as all stand at one moment
    views = tuple(PictureView(person.evidence, lens(camera)) for person, (lens, _), camera in seen)
    answer = yield Step(SolveViewsCall(views, same, body_betas), "Solving all pictures", DETECT_SHARE, 1.0)
    solutions = _usable(answer, photos)
    if same == "person":
        records = tuple(
            Record(
                photo.name, person.evidence, solution, person.confidence, person.score, person.box, doubts=person.doubts
            )
            for photo, person, solution in zip(photos, persons, solutions.solutions, strict=True)
        )
        return JobResult(records, tuple(warnings), seconds)
    if "disagreeing" in solutions.doubts and len(photos) > MIN_VIEWS:  # of two, neither fits the other
        worst = max(range(len(photos)), key=lambda number: _missed(persons[number], solutions.solutions[number]))
        warnings.append(numbered("{name} fits the others worst", name=photos[worst].name))
    record = record_of_pose([photo.name for photo in photos], persons, solutions)
    placed = tuple(solution.camera for solution in solutions.solutions if solution.camera is not None)
    return JobResult((record,), tuple(warnings), seconds, cameras=placed)


def check_number(count: int) -> None:
    """Check how many pictures there are.

    Raises:
        SolverError: Too few or too many.
    """
    if not MIN_VIEWS <= count <= MAX_VIEWS:
        raise SolverError(f"choose {MIN_VIEWS} to {MAX_VIEWS} pictures at once, not {count}")


def record_of_pose(names: Sequence[str], persons: Sequence[DetectedPerson], solved: ViewsSolution) -> Record:
    """Return what is remembered of one pose on several pictures with these names, the first of which is shown.

    Of the first picture the twists, of each its keypoints; of all of them the shape, and where the body's points are.
    What the network guessed of a picture's depth has no say beside these.
    """
    first, solution = persons[0], solved.solutions[0]
    kept: list[Evidence] = [block for block in first.evidence if isinstance(block, Keypoints2D | Twist)]
    kept += [_shape(block, solution) for block in first.evidence if isinstance(block, Shape)]
    confidence: dict[str, float] = {}
    for person in persons:
        for name, value in person.confidence.items():
            confidence[name] = max(value, confidence.get(name, 0.0))
    points = {**solution.points, **{name: point.position for name, point in solved.points.items()}}
    doubts = tuple(dict.fromkeys((*solved.doubts, *(doubt for person in persons for doubt in person.doubts))))
    worst = max(each.reprojection_px for each in solved.solutions)
    return Record(
        f"{names[0]} + {len(names) - 1}",
        (*kept, _in_space(solved.points)),
        replace(solution, points=points, reprojection_px=worst),
        confidence,
        min(person.score for person in persons),
        first.box,
        doubts=doubts,
        pictures=tuple(map(_picture, names, persons, solved.solutions)),
    )


def _picture(name: str, person: DetectedPerson, solution: Solution) -> Picture:
    """Return what is remembered of one of the pictures.

    Raises:
        SolverError: The solver saw no keypoints on it, or has not placed its camera.
    """
    seen = next((block for block in person.evidence if isinstance(block, Keypoints2D)), None)
    if seen is None or solution.camera is None:
        raise wrong_answer()
    return Picture(name, solution.camera, seen, person.box)


def _detect(
    photo: Photo, number: int, count: int, model: Model, focal_px: float | None
) -> Generator[Step, Answer, Detection]:
    """Look for the person on one of the photographs; whatever goes wrong is said with its name."""
    text = numbered("Looking at picture {number} of {count}", number=number + 1, count=count)
    share = DETECT_SHARE / count
    try:
        call = DetectCall(photo.data, model, focal_px=focal_px)
        detection = yield Step(call, text, number * share, (number + 1) * share)
    except SolverError as error:
        raise SolverError(f"{photo.name}: {error}", error.fix, error.code) from error
    if not isinstance(detection, Detection):
        raise wrong_answer()
    if not detection.persons:
        raise SolverError(
            f"no person was found on {photo.name}; leave this picture out, or crop it so that the person is larger"
        )
    return detection


def _usable(answer: Answer, photos: Sequence[Photo]) -> ViewsSolution:
    """Return the answer to a solve of several pictures.

    Raises:
        SolverError: It is none, or no pose fits.
    """
    if not isinstance(answer, ViewsSolution) or len(answer.solutions) != len(photos):
        raise wrong_answer()
    for photo, solution in zip(photos, answer.solutions, strict=True):
        if solution.camera is None or solution.camera.rotation is None:
            raise wrong_answer()
        if solution.status == "failed":
            raise SolverError(f"no pose fits the keypoints of {photo.name} and the others; leave a picture out")
    return answer


def _missed(person: DetectedPerson, solution: Solution) -> float:
    """Return how far a photograph's keypoints are missed, as a share of the person's larger side there."""
    left, top, right, bottom = person.box
    return solution.reprojection_px / max(right - left, bottom - top, 1.0)


def _shape(block: Shape, solution: Solution) -> Shape:
    """Return the shape that was solved, as sure as one picture's guess."""
    betas = solution.pose.betas[: len(block.betas)]
    return replace(block, betas=betas, sigma=block.sigma[: len(betas)])


def _in_space(points: Mapping[str, SurePoint]) -> Keypoints3D:
    """Return where the points are; none is believed more than one that the user places."""
    return Keypoints3D(
        tuple(points),
        tuple(point.position for point in points.values()),
        tuple(max(SPACE_SHARE * point.sigma, POSITION_SIGMA) for point in points.values()),
    )
