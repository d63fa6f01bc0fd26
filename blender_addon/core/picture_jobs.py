# SPDX-License-Identifier: GPL-3.0-or-later
"""What is asked of the solver about a new photograph: all persons, one who was clicked, one in a box.

As in jobs.py each is a generator of steps. A `Lens` turns the camera as the picture tells it into the one that is used.
"""

from collections.abc import Callable, Generator

import msgspec

from .common_ground import on_common_ground, on_floor
from .errors import SolverError
from .jobs import (
    MAX_PERSONS,
    MIN_SECOND_SCORE,
    Answer,
    Betas,
    DetectCall,
    DetectedPerson,
    Detection,
    JobResult,
    Model,
    SolveCall,
    Step,
    Steps,
    solve_evidence,
    usable,
    wrong_answer,
)
from .numbered import numbered
from .people import Box
from .record import Evidence, PhotoCamera, Record, Solution

Lens = Callable[[PhotoCamera], PhotoCamera]

MAX_FOUND = 16
"""Persons that are marked on a photograph at most: what the solver returns."""


def as_told(camera: PhotoCamera) -> PhotoCamera:
    """Return the camera as the picture tells it."""
    return camera


def pose_from_image(
    name: str,
    image: bytes,
    model: Model = "heavy",
    max_persons: int = MAX_PERSONS,
    body_betas: Betas | None = None,
    lens: Lens = as_told,
    focal_px: float | None = None,
) -> Steps:
    """Detect persons and solve each of them; together they tell which way is up and where the floor is.

    Args:
        name: File name of the picture, for records and sentences.
        image: The encoded picture.
        model: Which landmark network.
        max_persons: How many persons are solved at most: the largest. As many as ever are looked for, since the
            solver sorts only what it has found.
        body_betas: Shape of the body that the pose is for; None: the shape is solved as well.
        lens: The camera that has taken the picture; when it comes placed, the bodies appear where it sees them.
        focal_px: Its focal length when it is known, for the networks.

    Raises:
        SolverError: Nobody was found, or the first person could not be solved.
    """
    detection = yield Step(DetectCall(image, model, focal_px=focal_px), "Looking for persons", 0.05, 0.6)
    if not isinstance(detection, Detection):
        raise wrong_answer()
    persons = [person for rank, person in enumerate(detection.persons) if rank == 0 or person.score >= MIN_SECOND_SCORE]
    persons = persons[:max_persons]
    if not persons:
        raise SolverError(
            f"no person was found on {name}; set Persons to Choose and draw a box around the person, "
            "or use a picture in which a person is larger"
        )
    camera, records, warnings = lens(detection.camera), list[Record](), list[str]()
    for rank, person in enumerate(persons):
        text = "Solving the pose"
        if len(persons) > 1:
            text = numbered("Solving person {number} of {count}", number=rank + 1, count=len(persons))
        share = 0.35 / len(persons)
        begin = 0.6 + rank * share
        try:
            solution = yield from _solve(person.evidence, camera, body_betas, text, begin, begin + share)
        except SolverError as error:
            if rank == 0:
                raise
            warnings.append(numbered("Person {number} was left out: {reason}", number=rank + 1, reason=str(error)))
            continue
        records.append(_record(name, person, solution))
    if camera.rotation is None:
        records = on_common_ground(records)
        if body_betas is None:
            yield from _put_on_floor(records)
    return JobResult(tuple(records), tuple(warnings), detection.seconds)


def _put_on_floor(records: list[Record]) -> Generator[Step, Answer, None]:
    """Put all persons on the floor of the first; whoever stands elsewhere, or cannot be solved there, stays."""
    for number, record in enumerate(records[1:], 1):
        standing = on_floor(record.solution, record.evidence)
        if standing is None:
            continue
        call = SolveCall((*record.evidence, standing.feet), record.solution.camera, start=standing.pose)
        answer = yield Step(call, "Putting persons on one floor", 0.95 + 0.05 * number / len(records), 1.0)
        if isinstance(answer, Solution) and answer.status != "failed":
            records[number] = msgspec.structs.replace(record, solution=answer)


def find_people(name: str, image: bytes, model: Model = "heavy", focal_px: float | None = None) -> Steps:
    """Look thoroughly for all persons on a picture, and solve none yet.

    Raises:
        SolverError: The solver does not answer as it should; that nobody is found is no error: a box can be drawn.
    """
    del name
    call = DetectCall(image, model, MAX_FOUND, thorough=True, focal_px=focal_px)
    detection = yield Step(call, "Looking for persons", 0.05, 1.0)
    if not isinstance(detection, Detection):
        raise wrong_answer()
    return JobResult((), (), detection.seconds, detection=detection)


def pose_person(name: str, person: DetectedPerson, camera: PhotoCamera, body_betas: Betas | None = None) -> Steps:
    """Solve one of the persons that were found; a camera without a place is placed by this person."""
    solution = yield from _solve(person.evidence, camera, body_betas, "Solving the pose", 0.1, 1.0)
    return JobResult((_record(name, person, solution),))


def pose_in_box(
    name: str,
    image: bytes,
    model: Model,
    box: Box,
    camera: PhotoCamera,
    body_betas: Betas | None = None,
) -> Steps:
    """Look for a person in a box that the user has drawn, and solve that person.

    Raises:
        SolverError: Nobody is seen there.
    """
    call = DetectCall(image, model, 1, boxes=(box,), focal_px=camera.focal_x)
    detection = yield Step(call, "Looking into the box", 0.05, 0.6)
    if not isinstance(detection, Detection):
        raise wrong_answer()
    if not detection.persons:
        raise SolverError(f"no person is seen in this box of {name}; draw it around the whole person, with some room")
    person = detection.persons[0]
    solution = yield from _solve(person.evidence, camera, body_betas, "Solving the pose", 0.6, 1.0)
    return JobResult((_record(name, person, solution),), (), detection.seconds, detection=detection)


def _record(name: str, person: DetectedPerson, solution: Solution) -> Record:
    return Record(name, person.evidence, solution, person.confidence, person.score, person.box, doubts=person.doubts)


def _solve(
    evidence: tuple[Evidence, ...], camera: PhotoCamera, betas: Betas | None, text: str, begin: float, end: float
) -> Generator[Step, Answer, Solution]:
    """Solve as `solve_evidence` does; before a placed camera, a new body is then put on the scene's floor."""
    is_placed = betas is None and camera.rotation is not None
    middle = 0.5 * (begin + end) if is_placed else end
    solution = yield from solve_evidence(evidence, camera, betas, text, begin, middle)
    standing = on_floor(solution, evidence) if is_placed else None
    if standing is None:
        return solution
    call = SolveCall((*evidence, standing.feet), solution.camera, start=standing.pose)
    return usable((yield Step(call, text, middle, end)))
