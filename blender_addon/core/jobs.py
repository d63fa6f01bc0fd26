# SPDX-License-Identifier: GPL-3.0-or-later
"""What one click asks of the solver, as steps: a generator yields a call, gets its answer, and ends with records.

Here: the order of the calls and what is kept of the answers. Not here: bytes and sockets (client), the scene (blender).
"""

from collections.abc import Generator
from dataclasses import dataclass
from enum import Enum
from typing import Literal

import msgspec

from .errors import AddonError, SolverError
from .keypoints import effective_evidence
from .record import (
    Evidence,
    Keypoints3D,
    PhotoCamera,
    Pose,
    Record,
    Solution,
)

MAX_PERSONS = 4
"""Bodies made of one photograph at most; each takes a solve and some 13,000 vertices."""

MIN_SECOND_SCORE = 0.5
"""A person beside the first is taken only when the detector is rather sure: shadows and posters score lower."""

Model = Literal["heavy", "full"]
Betas = tuple[float, ...]


@dataclass(frozen=True)
class DetectCall:
    """Find persons on an encoded picture."""

    image: bytes
    model: Model = "heavy"
    max_persons: int = MAX_PERSONS


@dataclass(frozen=True)
class SolveCall:
    """Find the pose that fits the evidence; see `Solve` of the protocol."""

    evidence: tuple[Evidence, ...]
    camera: PhotoCamera | None = None
    initial: Pose | None = None
    solve_shape: bool = True


Call = DetectCall | SolveCall


@dataclass(frozen=True)
class DetectedPerson:
    """One person as the solver found it."""

    evidence: tuple[Evidence, ...]
    confidence: dict[str, float]
    score: float
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class Detection:
    """Persons, largest on the picture first, and the camera as far as the picture tells."""

    camera: PhotoCamera
    persons: tuple[DetectedPerson, ...]
    seconds: float


Answer = Detection | Solution


@dataclass(frozen=True)
class Step:
    """One call with the part of the progress bar that it fills."""

    call: Call
    text: str
    begin: float
    end: float


@dataclass(frozen=True)
class JobResult:
    """One record for each person, and what did not work although the job as a whole did."""

    records: tuple[Record, ...]
    warnings: tuple[str, ...] = ()
    detect_seconds: float = 0.0


Steps = Generator[Step, Answer, JobResult]


def pose_from_image(
    name: str, image: bytes, model: Model = "heavy", max_persons: int = MAX_PERSONS, body_betas: Betas | None = None
) -> Steps:
    """Detect persons and solve each of them; the first one places the camera, the others are seen by it.

    Args:
        name: File name of the picture, for records and sentences.
        image: The encoded picture.
        model: Which landmark network.
        max_persons: How many persons are solved at most: the largest. As many as ever are looked for, since the
            solver sorts only what it has found.
        body_betas: Shape of the body that the pose is for; None: the shape is solved as well.

    Raises:
        SolverError: Nobody was found, or the first person could not be solved.
    """
    detection = yield Step(DetectCall(image, model), "Looking for persons", 0.05, 0.6)
    if not isinstance(detection, Detection):
        raise SolverError("the solver answered a picture with a pose; update the solver")
    persons = [person for rank, person in enumerate(detection.persons) if rank == 0 or person.score >= MIN_SECOND_SCORE]
    persons = persons[:max_persons]
    if not persons:
        raise SolverError(
            f"no person was found on {name}; use a picture in which a person is larger, or crop it to the person"
        )
    camera, records, warnings = detection.camera, list[Record](), list[str]()
    for rank, person in enumerate(persons):
        text = "Solving the pose" if len(persons) == 1 else f"Solving person {rank + 1} of {len(persons)}"
        share = 0.4 / len(persons)
        try:
            solution = yield from _solve(
                person.evidence, camera, body_betas, text, 0.6 + rank * share, 0.6 + (rank + 1) * share
            )
        except SolverError as error:
            if rank == 0:
                raise
            warnings.append(f"person {rank + 1} was left out: {error}")
            continue
        camera = solution.camera or camera
        records.append(Record(name, person.evidence, solution, person.confidence, person.score, person.box))
    return JobResult(tuple(records), tuple(warnings), detection.seconds)


def _solve(
    evidence: tuple[Evidence, ...], camera: PhotoCamera | None, betas: Betas | None, text: str, begin: float, end: float
) -> Generator[Step, Answer, Solution]:
    """Solve from the evidence alone; for a body whose shape is given, once more with that shape.

    The first solve finds pose and shape together, which is the safest start; the second keeps the pose and moves it to
    the body that is there.
    """
    middle = end if betas is None else 0.5 * (begin + end)
    solution = _usable((yield Step(SolveCall(evidence, camera), text, begin, middle)))
    if betas is None:
        return solution
    initial = msgspec.structs.replace(solution.pose, betas=betas)
    call = SolveCall(evidence, solution.camera, initial, solve_shape=False)
    return _usable((yield Step(call, text, middle, end)))


def resolve(record: Record, camera: PhotoCamera | None, current: Pose) -> Steps:
    """Solve a record again, with its edits, from the current pose."""
    call = SolveCall(effective_evidence(record), camera, current, solve_shape=False)
    solution = yield Step(call, "Solving again", 0.1, 1.0)
    return JobResult((msgspec.structs.replace(record, solution=_usable(solution)),))


def solve_keypoints(name: str, keypoints: Keypoints3D, body_betas: Betas | None = None) -> Steps:
    """Solve 3D keypoints of a file, without a picture. With `body_betas` the body keeps its shape."""
    solution = yield from _solve((keypoints,), None, body_betas, "Solving the keypoints", 0.1, 1.0)
    return JobResult((Record(name, (keypoints,), solution),))


def _usable(answer: Answer) -> Solution:
    if not isinstance(answer, Solution):
        raise SolverError("the solver answered a pose request with persons; update the solver")
    if answer.status == "failed":
        raise SolverError("no pose fits the keypoints; move or remove those that contradict the others")
    return answer


class JobState(Enum):
    """Where a job is."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Job:
    """Drives the steps of one click: hands out the next call, takes answers, knows how far it is.

    Invariant: `result` is set exactly when DONE, `error` exactly when FAILED; a job that has ended stays as it is.
    """

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self._step: Step | None = None
        self._fraction = 0.0
        self.state = JobState.WAITING
        self.text = "Waiting for the solver"
        self.result: JobResult | None = None
        self.error: AddonError | None = None

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will come of it."""
        return self.state in (JobState.DONE, JobState.FAILED, JobState.CANCELLED)

    @property
    def fraction(self) -> float:
        """How far the job is: never falling, 0 to 1."""
        return self._fraction

    @property
    def call(self) -> Call | None:
        """The call that waits for an answer."""
        return None if self._step is None else self._step.call

    def begin(self) -> None:
        """Take the first step."""
        if self.state is JobState.WAITING:
            self.state = JobState.RUNNING
            self._advance(None)

    def answer(self, answer: Answer) -> None:
        """Take the next step with the answer to the current call."""
        if self.state is JobState.RUNNING:
            self._advance(answer)

    def fail(self, error: AddonError) -> None:
        """Tell the steps that the current call failed; they may go on without it."""
        if self.has_ended:
            return
        if self.state is JobState.WAITING:
            self._end(JobState.FAILED, error=error)
        else:
            self._advance(error)

    def abort(self, error: AddonError) -> None:
        """End the job: the solver is gone, no further call can be answered."""
        if not self.has_ended:
            self._end(JobState.FAILED, error=error)

    def cancel(self) -> None:
        """Give the job up."""
        if not self.has_ended:
            self._end(JobState.CANCELLED)

    def progress(self, fraction: float, text: str = "") -> None:
        """Note how far the current call is; `fraction` 0 to 1 of that call."""
        if self._step is None:
            return
        inside = self._step.begin + min(max(fraction, 0.0), 1.0) * (self._step.end - self._step.begin)
        self._fraction = max(self._fraction, inside)
        self.text = text or self._step.text

    def _advance(self, event: Answer | AddonError | None) -> None:
        try:
            if event is None:
                self._step = next(self._steps)
            elif isinstance(event, AddonError):
                self._step = self._steps.throw(event)
            else:
                self._step = self._steps.send(event)
        except StopIteration as stop:
            self._fraction = 1.0
            self._end(JobState.DONE, result=stop.value)
        except AddonError as error:
            self._end(JobState.FAILED, error=error)
        else:
            self.progress(0.0)

    def _end(self, state: JobState, result: JobResult | None = None, error: AddonError | None = None) -> None:
        self._steps.close()
        self._step = None
        self.state, self.result, self.error = state, result, error
