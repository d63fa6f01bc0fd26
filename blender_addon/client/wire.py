# SPDX-License-Identifier: GPL-3.0-or-later
"""Between what the add-on stores (core/record.py) and what travels (the protocol's messages and their frames)."""

from typing import TypedDict

import numpy as np

from .._vendor import solver_protocol as wire
from ..core.errors import SolverError
from ..core.jobs import (
    Alternative,
    Alternatives,
    AlternativesCall,
    Answer,
    Call,
    DetectCall,
    DetectedPerson,
    Detection,
    EvidenceRow,
    InspectCall,
    Inspection,
    SolveCall,
)
from ..core.record import (
    Orientations,
    Pins,
    Shape,
    Solution,
    ViewKeypoints2D,
)
from ..core.rig import POINT_NAMES, TREES
from ..core.rig_call import TreeCall
from ..core.views_call import SolveViewsCall, SurePoint, ViewsSolution
from .message_parts import (
    OLD_BETAS,
    camera_message,
    checked,
    evidence_message,
    floats,
    pixels_of,
    pose_message,
    read_array,
    read_camera,
    read_evidence,
    read_list,
    read_pose,
    tree_of,
    vectors3,
)
from .tree_wire import is_of_tree, read_tree_solution, tree_message

_TOO_OLD = "this needs a newer solver (it speaks protocol {}.{}, needed is {}.{}); update the solver"


def encode_call(call: Call, request_id: int, server: tuple[int, int] = wire.PROTOCOL_VERSION) -> list[bytes]:
    """Return the frames of a call.

    Args:
        call: What is asked.
        request_id: The number that the answer will carry.
        server: The protocol of the server, as its `hello_reply` says. An older one would pass over what it does not
            know, and move more of the body than it should.

    Raises:
        SolverError: The call cannot be sent, because it is too large or the server too old.
    """
    needed = _needed_version(call)
    if server < needed:
        raise SolverError(_TOO_OLD.format(*server, *needed), code="unsupported_version")
    frames = wire.FrameWriter()
    try:
        return wire.encode(_message(call, request_id, frames, server), frames)
    except wire.ProtocolError as error:
        raise SolverError(f"the request cannot be sent: {error}", code=error.code) from error


def _needed_version(call: Call) -> tuple[int, int]:
    """Return the protocol that a call needs. A thorough search is no need: an older solver looks as it can."""
    match call:
        case DetectCall():
            return (1, 3) if call.model == "own" else (1, 0)
        case InspectCall() | AlternativesCall():
            is_swap = isinstance(call, AlternativesCall) and call.limb in ("arms", "legs", "sides")
            return max((1, 3) if is_swap else (1, 2), _needed_version(call.solve))
        case SolveCall():
            if any(isinstance(block, ViewKeypoints2D) for block in call.evidence):
                return (1, 6)
            if any(any(pose.betas[OLD_BETAS:]) for pose in (call.initial, call.start) if pose is not None):
                return (1, 5)
            if call.camera is not None and any(call.camera.distortion):
                return (1, 3)
            is_new = bool(call.joints) or any(isinstance(block, Pins | Orientations) for block in call.evidence)
            return (1, 2) if is_new else (1, 0)
        case SolveViewsCall():
            return (1, 6)
        case TreeCall():
            return (1, 4) if call.seen is None else (1, 5)


def _message(call: Call, request_id: int, frames: wire.FrameWriter, server: tuple[int, int]) -> wire.Request:
    match call:
        case DetectCall():
            image = frames.add_blob(call.image)
            return wire.Detect(
                request_id,
                image,
                model=call.model,
                max_persons=call.max_persons,
                boxes=call.boxes,
                focal_px=call.focal_px,
                thorough=call.thorough,
                shape=True,
            )
        case SolveCall():
            return wire.Solve(request_id, **_problem(call, frames, server))
        case InspectCall():
            return wire.Inspect(request_id, **_problem(call.solve, frames, server))
        case AlternativesCall():
            return wire.Alternatives(request_id, limb=call.limb, **_problem(call.solve, frames, server))
        case SolveViewsCall():
            views = tuple(
                wire.ViewSpec(
                    tuple(evidence_message(block, frames) for block in view.evidence), camera_message(view.camera)
                )
                for view in call.views
            )
            betas = None if call.betas is None else floats(frames, call.betas, len(call.betas))
            return wire.SolveViews(request_id, views, call.same, betas=betas)
        case TreeCall():
            return tree_message(call, request_id, frames)


class _Problem(TypedDict):
    evidence: tuple[wire.Evidence, ...]
    camera: wire.CameraSpec | None
    initial: wire.PoseSpec | None
    solve_shape: bool
    start: wire.PoseSpec | None
    joints: tuple[str, ...]
    all_betas: bool


def _problem(call: SolveCall, frames: wire.FrameWriter, server: tuple[int, int]) -> _Problem:
    """Return the fields that all messages have that solve."""
    # a solver of 1.2 cannot read a shape; without it the pose is a little worse, and no other one than is asked for
    known = (block for block in call.evidence if server >= (1, 3) or not isinstance(block, Shape))
    return _Problem(
        evidence=tuple(evidence_message(block, frames) for block in known),
        camera=None if call.camera is None else camera_message(call.camera),
        initial=None if call.initial is None else pose_message(call.initial, frames, server),
        solve_shape=call.solve_shape,
        start=None if call.start is None else pose_message(call.start, frames, server),
        joints=call.joints,
        all_betas=True,
    )


def read_answer(message: wire.Result, frames: wire.Frames) -> Answer:
    """Return what was found.

    Raises:
        SolverError: The reply is not usable: the solver is of another version.
    """
    match message:
        case wire.DetectReply():
            return read_detection(message, frames)
        case wire.SolveReply() if is_of_tree(message):
            return checked(lambda: read_tree_solution(message, frames))
        case wire.SolveReply():
            return read_solution(message, frames)
        case wire.SolveViewsReply():
            return read_views(message, frames)
        case wire.InspectReply():
            return read_inspection(message, frames)
        case wire.AlternativesReply():
            return read_alternatives(message, frames)


def read_detection(message: wire.DetectReply, frames: wire.Frames) -> Detection:
    """Return what was found on the picture.

    Raises:
        SolverError: The reply is not usable: the solver is of another version.
    """
    return checked(
        lambda: Detection(
            camera=read_camera(message.camera),
            persons=tuple(
                DetectedPerson(
                    evidence=tuple(read_evidence(block, frames) for block in person.evidence),
                    confidence=dict(person.confidence),
                    score=person.score,
                    box=person.box,
                    doubts=tuple(person.doubts),
                )
                for person in message.persons
            ),
            seconds=message.seconds,
        )
    )


def read_solution(message: wire.SolveReply, frames: wire.Frames) -> Solution:
    """Return the pose that was found.

    Raises:
        SolverError: The reply is not usable: the solver is of another version.
    """

    def build() -> Solution:
        pose = read_pose(message.pose, frames)
        tree = TREES[len(pose.local_quat)]
        joints = read_array(frames, message.joints, (len(tree.names), 3))
        positions = read_array(frames, message.point_positions, (len(message.point_names), 3))
        camera = None if message.camera is None else read_camera(message.camera)
        names = (*tree.names, *message.point_names)
        points = np.concatenate([joints, positions])
        return Solution(
            pose=pose,
            camera=camera,
            points=dict(zip(names, vectors3(points), strict=True)),
            pixels=pixels_of(camera, names, points),
            status=message.status,
            iterations=message.iterations,
            reprojection_px=message.reprojection_px_median,
            seconds=message.seconds,
            unreached=dict(message.unreached),
        )

    return checked(build)


def read_views(message: wire.SolveViewsReply, frames: wire.Frames) -> ViewsSolution:
    """Return what fits several pictures.

    Raises:
        SolverError: The reply is not usable: the solver is of another version.
    """

    def build() -> ViewsSolution:
        count = len(message.point_names)
        places = vectors3(read_array(frames, message.point_positions, (count, 3)))
        sigmas = read_list(frames, message.point_sigma, count)
        if not all(sigma >= 0 for sigma in sigmas):
            raise ValueError("a standard deviation is negative")
        rows = zip(message.point_names, places, sigmas, strict=True)
        return ViewsSolution(
            solutions=tuple(read_solution(solution, frames) for solution in message.solutions),
            points={name: SurePoint(place, sigma) for name, place, sigma in rows if name in POINT_NAMES},
            seconds=message.seconds,
            doubts=message.doubts,
        )

    return checked(build)


def read_inspection(message: wire.InspectReply, frames: wire.Frames) -> Inspection:
    """Return how sure the pose is and what pulls at it.

    Raises:
        SolverError: The reply is not usable: the solver is of another version.
    """

    def build() -> Inspection:
        covariance = read_array(frames, message.joint_covariance, (None, 3, 3))
        gains = read_list(frames, message.next_gains, len(message.next_points))
        known = [(name, gain) for name, gain in zip(message.next_points, gains, strict=True) if name in POINT_NAMES]
        return Inspection(
            joint_covariance=covariance,
            rows=tuple(EvidenceRow(row.kind, row.name, row.residual, row.unit, row.cost) for row in message.rows),
            pulls=read_array(frames, message.pulls, (len(message.rows), len(tree_of(len(covariance)).names), 3)),
            next_points=tuple(name for name, _ in known),
            next_gains=tuple(gain for _, gain in known),
            seconds=message.seconds,
        )

    return checked(build)


def read_alternatives(message: wire.AlternativesReply, frames: wire.Frames) -> Alternatives:
    """Return the poses that fit about as well.

    Raises:
        SolverError: The reply is not usable: the solver is of another version.
    """

    def build() -> Alternatives:
        joints = read_array(frames, message.joints, (len(message.poses), None, 3))
        rows = zip(message.poses, message.costs, message.reprojection_px, joints, strict=True)
        found = tuple(Alternative(read_pose(pose, frames), cost, px, where) for pose, cost, px, where in rows)
        return Alternatives(found, message.seconds)

    return checked(build)
