# SPDX-License-Identifier: GPL-3.0-or-later
"""What one click asks of the solver, as steps: a generator yields a call, gets its answer, and ends with records.

Here: the order of the calls and what is kept of the answers. Not here: bytes and sockets (client), the scene (blender).
"""

from collections.abc import Generator
from dataclasses import dataclass, replace
from enum import Enum
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from .errors import AddonError, SolverError
from .keypoints import effective_evidence
from .numbered import Numbered, from_solver
from .record import Evidence, Keypoints3D, PhotoCamera, Pose, Record, Solution
from .rig_call import TreeCall, TreeSolution
from .views_call import SolveViewsCall, ViewsSolution

MAX_PERSONS = 4
"""Bodies made of one photograph at most; each takes a solve and some 13,000 vertices."""

MIN_SECOND_SCORE = 0.5
"""A person beside the first is taken only when the detector is rather sure: shadows and posters score lower."""

FloatArray = NDArray[np.float64]

Model = Literal["heavy", "full", "own"]
Limb = Literal["left_arm", "right_arm", "left_leg", "right_leg", "head", "torso", "arms", "legs", "sides"]
Betas = tuple[float, ...]


@dataclass(frozen=True)
class DetectCall:
    """Find persons on an encoded picture."""

    image: bytes
    model: Model = "heavy"
    max_persons: int = MAX_PERSONS
    boxes: tuple[tuple[float, float, float, float], ...] = ()
    thorough: bool = False
    focal_px: float | None = None


@dataclass(frozen=True)
class SolveCall:
    """Find the pose that fits the evidence; see `Solve` of the protocol.

    What the evidence does not concern stays near `initial`; the search begins at `start`, else there. Only `joints` may
    move, all of them when there are none.
    """

    evidence: tuple[Evidence, ...]
    camera: PhotoCamera | None = None
    initial: Pose | None = None
    solve_shape: bool = True
    start: Pose | None = None
    joints: tuple[str, ...] = ()


@dataclass(frozen=True)
class InspectCall:
    """Solve, and say how sure the pose is and what pulls at it."""

    solve: SolveCall


@dataclass(frozen=True)
class AlternativesCall:
    """Find poses of one limb that fit the evidence about as well."""

    solve: SolveCall
    limb: Limb


Call = DetectCall | SolveCall | SolveViewsCall | InspectCall | AlternativesCall | TreeCall


@dataclass(frozen=True)
class DetectedPerson:
    """One person as the solver found it."""

    evidence: tuple[Evidence, ...]
    confidence: dict[str, float]
    score: float
    box: tuple[float, float, float, float]
    doubts: tuple[str, ...] = ()
    """Why the pose may be wrong as a whole."""


@dataclass(frozen=True)
class Detection:
    """Persons, largest on the picture first, and the camera as far as the picture tells."""

    camera: PhotoCamera
    persons: tuple[DetectedPerson, ...]
    seconds: float


@dataclass(frozen=True)
class EvidenceRow:
    """What one point or joint has to do with the pose; see `EvidenceRow` of the protocol."""

    kind: str
    name: str
    residual: float
    unit: str
    """px, m or rad."""
    cost: float


@dataclass(frozen=True, eq=False)
class Inspection:
    """How sure a pose is, and what pulls at it; joints in the body's order, metres in the SMPL world."""

    joint_covariance: FloatArray
    """(J, 3, 3) square metres."""
    rows: tuple[EvidenceRow, ...]
    pulls: FloatArray
    """(rows, J, 3): how far each row moves each joint."""
    next_points: tuple[str, ...]
    """Points whose placement on the picture would help most, best first."""
    next_gains: tuple[float, ...]
    """By how many square metres each lowers the summed variance of the joints."""
    seconds: float = 0.0


@dataclass(frozen=True, eq=False)
class Alternative:
    """A pose that fits the evidence about as well as the others."""

    pose: Pose
    cost: float
    reprojection_px: float
    """Median over the points on the picture, -1 without any."""
    joints: FloatArray
    """(J, 3) SMPL world, metres."""


@dataclass(frozen=True)
class Alternatives:
    """Poses of one limb, the best first."""

    solutions: tuple[Alternative, ...]
    seconds: float = 0.0


Answer = Detection | Solution | ViewsSolution | Inspection | Alternatives | TreeSolution


@dataclass(frozen=True)
class Step:
    """One call with the part of the progress bar that it fills."""

    call: Call
    text: str
    begin: float
    end: float


@dataclass(frozen=True)
class JobResult:
    """One record for each person, and what did not work although the job as a whole did.

    `inspection` and `alternatives` are there when they were asked for; the record is then the one they are about.
    `detection` is there when persons were looked for, to choose from or in a box. `rig_poses` are those of a rig, one a
    frame; on a photograph `rig_camera` sees it, with its keypoints missed by `rig_px` (median). `cameras` are those of
    all pictures of one pose.
    """

    records: tuple[Record, ...]
    warnings: tuple[str, ...] = ()
    detect_seconds: float = 0.0
    inspection: Inspection | None = None
    alternatives: Alternatives | None = None
    detection: Detection | None = None
    rig_poses: tuple[TreeSolution, ...] = ()
    rig_camera: PhotoCamera | None = None
    rig_px: float = -1.0
    cameras: tuple[PhotoCamera, ...] = ()


Steps = Generator[Step, Answer, JobResult]

_WRONG_ANSWER = "the solver answered something else than it was asked; update the solver"


def wrong_answer() -> SolverError:
    """Return the error of an answer to another question."""
    return SolverError(_WRONG_ANSWER)


def solve_evidence(
    evidence: tuple[Evidence, ...], camera: PhotoCamera | None, betas: Betas | None, text: str, begin: float, end: float
) -> Generator[Step, Answer, Solution]:
    """Solve from the evidence alone; for a body whose shape is given, once more with that shape.

    The first solve finds pose and shape together, which is the safest start; the second keeps the pose and moves it to
    the body that is there.
    """
    middle = end if betas is None else 0.5 * (begin + end)
    solution = usable((yield Step(SolveCall(evidence, camera), text, begin, middle)))
    if betas is None:
        return solution
    initial = msgspec.structs.replace(solution.pose, betas=betas)
    call = SolveCall(evidence, solution.camera, initial, solve_shape=False)
    return usable((yield Step(call, text, middle, end)))


def resolve(
    record: Record,
    camera: PhotoCamera | None,
    current: Pose,
    joints: tuple[str, ...] = (),
    solve_shape: bool = False,
) -> Steps:
    """Solve a record again, with its edits, from the current pose; with `solve_shape` the shape is fitted too."""
    call = replace(edit_call(record, camera, current, joints), solve_shape=solve_shape)
    solution = yield Step(call, "Solving again", 0.1, 1.0)
    return JobResult((msgspec.structs.replace(record, solution=usable(solution)),))


def inspect(record: Record, camera: PhotoCamera | None, current: Pose, joints: tuple[str, ...] = ()) -> Steps:
    """Ask how sure the current pose is and what pulls at it."""
    call = InspectCall(edit_call(record, camera, current, joints))
    inspection = yield Step(call, "Looking at the evidence", 0.1, 1.0)
    if not isinstance(inspection, Inspection):
        raise wrong_answer()
    return JobResult((record,), inspection=inspection)


def alternatives(record: Record, camera: PhotoCamera | None, current: Pose, limb: Limb) -> Steps:
    """Look for other poses of a limb that fit the picture about as well as the current one."""
    call = AlternativesCall(edit_call(record, camera, current), limb)
    found = yield Step(call, "Looking for other poses", 0.1, 1.0)
    if not isinstance(found, Alternatives):
        raise wrong_answer()
    return JobResult((record,), alternatives=found)


def edit_call(
    record: Record,
    camera: PhotoCamera | None,
    initial: Pose,
    joints: tuple[str, ...] = (),
    start: Pose | None = None,
) -> SolveCall:
    """Return the call that solves a record with its edits on a body whose shape is given.

    Args:
        record: Evidence and edits.
        camera: The photograph's camera where it is now.
        initial: The pose that stays where the evidence does not concern it; in a drag, that at the drag's start.
        joints: The only joints that may move; none for all.
        start: Where the search begins, in a drag the newest pose; None for `initial`.
    """
    return SolveCall(effective_evidence(record), camera, initial, solve_shape=False, start=start, joints=joints)


def solve_keypoints(name: str, keypoints: Keypoints3D, body_betas: Betas | None = None) -> Steps:
    """Solve 3D keypoints of a file, without a picture. With `body_betas` the body keeps its shape."""
    solution = yield from solve_evidence((keypoints,), None, body_betas, "Solving the keypoints", 0.1, 1.0)
    return JobResult((Record(name, (keypoints,), solution),))


def usable(answer: Answer) -> Solution:
    """Return the answer to a solve.

    Raises:
        SolverError: It is none, or no pose fits.
    """
    if not isinstance(answer, Solution):
        raise wrong_answer()
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
        # a step of several knows more than the solver: which one it is
        self.text = self._step.text if isinstance(self._step.text, Numbered) or not text else from_solver(text)

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
