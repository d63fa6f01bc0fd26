# SPDX-License-Identifier: Apache-2.0
"""What a rig asks travels with its numbers; older solvers and damaged answers are refused in words."""

from dataclasses import replace

import numpy as np
import pytest
from rig_cases import body_pose, body_skeleton, rig_skeleton, task_of

from blender_addon._vendor import solver_protocol as wire
from blender_addon.client.wire import encode_call, read_answer
from blender_addon.core.errors import SolverError
from blender_addon.core.rig_call import TreeCall, TreeSolution, TurnLimits
from blender_addon.core.rig_contacts import Contacts
from blender_addon.core.rig_job import FrameProblem, copy_rotations


def call() -> TreeCall:
    body = body_skeleton()
    pose = body_pose(body, np.tile(np.eye(3), (24, 1, 1)), np.zeros(3))
    task = task_of(rig_skeleton("Mixamo", body), [pose])
    return FrameProblem(task, pose, Contacts((), ())).call(copy_rotations(task, pose))


def test_a_call_travels_with_its_arrays() -> None:
    asked = call()
    limits = TurnLimits((1,), np.eye(3)[None], np.array([[-1.0, 1, 0, 0]]), np.array([[-0.5, 0.5]]))
    message, frames = wire.decode_request(encode_call(replace(asked, limits=limits, free=asked.names[2:]), 7))
    assert isinstance(message, wire.Solve)
    assert message.tree is not None
    assert message.tree.names == asked.names
    assert message.joints == asked.names[2:]
    assert np.asarray(frames.array(message.tree.rest_joints)) == pytest.approx(asked.rest)
    points, turns = message.evidence
    assert isinstance(points, wire.Keypoints3D)
    assert isinstance(turns, wire.Orientations)
    assert np.asarray(frames.array(points.points)) == pytest.approx(asked.keypoints)
    assert np.asarray(frames.array(turns.quat)) == pytest.approx(asked.turns)
    assert message.start is not None
    assert message.start.betas.shape == (0,)
    assert message.tree.limits is not None
    assert np.asarray(frames.array(message.tree.limits.twist)) == pytest.approx(limits.twist)


def test_a_solver_of_an_older_protocol_is_refused() -> None:
    with pytest.raises(SolverError, match=r"needs a newer solver \(it speaks protocol 1\.3, needed is 1\.4\)"):
        encode_call(call(), 7, (1, 3))


def reply(joints: int, quats: np.ndarray) -> tuple[wire.SolveReply, wire.Frames]:
    writer = wire.FrameWriter()

    def add(values: np.ndarray) -> wire.ArrayRef:
        return writer.add_array(np.ascontiguousarray(values, dtype="<f8").data)

    empty = wire.ArrayRef("<f8", (0,), writer.add_blob(b"").frame)
    pose = wire.PoseSpec(add(np.zeros(3)), add(quats), empty)
    nothing = wire.ArrayRef("<f8", (0, 2), writer.add_blob(b"").frame)
    places = add(np.zeros((joints, 3)))
    message = wire.SolveReply(7, pose, None, places, (), nothing, nothing, "converged", 3, 0.0, -1.0, 0.01)
    return message, wire.Frames(writer.frames)


def test_an_answer_without_a_shape_is_that_of_a_rig() -> None:
    answer = read_answer(*reply(2, np.array([[2.0, 0, 0, 0], [0, 1, 0, 0]])))
    assert isinstance(answer, TreeSolution)
    assert answer.local_quat == pytest.approx(np.eye(4)[:2])


@pytest.mark.parametrize("quats", [np.zeros((2, 4)), np.ones((3, 4)), np.full((2, 4), np.nan)])
def test_a_damaged_answer_is_refused(quats: np.ndarray) -> None:
    with pytest.raises(SolverError, match="answer cannot be used"):
        read_answer(*reply(2, quats))
