# SPDX-License-Identifier: Apache-2.0
"""A solve on a skeleton that the client sends: what comes back, and what is refused in words."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from fake_pipeline import NUM_BETAS, NUM_JOINTS, FakePipeline

from solver_server import protocol
from solver_server.protocol import FrameWriter
from solver_server.service import Service

NAMES, PARENTS = ("hips", "thigh", "shin"), (-1, 0, 1)
REST = np.array([[0.0, 1.0, 0.0], [0.1, 0.9, 0.0], [0.1, 0.5, 0.02]])
SOLE = np.array([[0.1, 0.0, 0.0]])
UNIT = np.tile(np.array([1.0, 0, 0, 0]), (3, 1))


def ask(make: Callable[[FrameWriter], Any]) -> tuple[Any, protocol.Frames]:
    """Send a request through the codec to a service, and its reply back through the codec."""
    writer = FrameWriter()
    request, frames = protocol.decode_request(protocol.encode(make(writer), writer))
    service = Service(FakePipeline(), "fake", NUM_JOINTS, NUM_BETAS)
    return protocol.decode_reply(protocol.encode(*service.handle(request, frames, lambda _fraction, _text: None)))


def tree(writer: FrameWriter, **changes: Any) -> protocol.TreeSpec:
    fields = {"names": NAMES, "parents": PARENTS, "rest_joints": writer.add_array(REST)}
    points = {"point_names": ("sole",), "point_joints": (2,), "point_rest": writer.add_array(SOLE)}
    return protocol.TreeSpec(**{**fields, **points, **changes})


def leg(place: Any, limits: bool = False, joints: tuple[str, ...] = ("thigh", "shin"), **changes: Any) -> Any:
    """Give a leg whose hips stay, with its sole pinned."""

    def make(writer: FrameWriter) -> protocol.Solve:
        add = writer.add_array
        target = add(np.array([place], float))
        # a limit gives way to a pin, and not to a point that is known to a millimetre
        sole = protocol.Keypoints3D(("sole",), target, add(np.full(1, 0.001)))
        block = sole if limits else protocol.Pins(("sole",), target)
        stay = protocol.Anchor(add(UNIT), add(np.full(3, 0.5)))
        if limits:  # the shin only turns about x, up to half a radian
            axes = np.array([[[0.0, 1, 0], [1, 0, 0], [0, 0, 1]]])
            swing, twist = np.array([[0.0, 0.5, 0, 0]]), np.zeros((1, 2))
            changes["limits"] = protocol.LimitsSpec((2,), add(axes), add(swing), add(twist))
        start = protocol.PoseSpec(add(np.zeros(3)), add(UNIT), add(np.zeros(0)))
        return protocol.Solve(6, (block, stay), start=start, joints=joints, tree=tree(writer, **changes))

    return make


def test_a_pinned_point_is_met_by_the_joints_that_may_move() -> None:
    reply, frames = ask(leg((0.1, 0.1, 0.15)))
    assert isinstance(reply, protocol.SolveReply), reply
    assert (reply.unreached, reply.point_names) == ({}, ("sole",))
    (sole,) = np.asarray(frames.array(reply.point_positions))
    assert sole == pytest.approx([0.1, 0.1, 0.15], abs=2e-3)  # twice the pin's tolerance
    assert np.asarray(frames.array(reply.joints))[0] == pytest.approx(REST[0], abs=1e-9)
    assert np.asarray(frames.array(reply.pose.local_quat))[0] == pytest.approx([1, 0, 0, 0], abs=1e-9)
    assert reply.pose.betas.shape == (0,)


def test_a_pin_out_of_reach_is_told_by_its_distance() -> None:
    reply, _ = ask(leg((0.1, -0.5, 0.0)))
    assert reply.unreached["sole"] == pytest.approx(0.5, abs=0.05)  # the leg is straight at rest, but for two degrees


def test_limits_hold_a_joint() -> None:
    reply, frames = ask(leg((0.1, 0.4, 0.0), limits=True))
    shin = np.asarray(frames.array(reply.pose.local_quat))[2]
    assert 2 * np.arctan2(abs(shin[1]), abs(shin[0])) < 0.5 + np.radians(1)  # five sigma of a limit
    assert abs(shin[2:]).max() < np.radians(1)
    assert np.asarray(frames.array(reply.point_positions))[0, 1] < 0.3  # it would be at 0.4


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"parents": (-1, 0, 5)}, "must have a parent between"),
        ({"parents": (-1, 0)}, "one parent for each name"),
        ({"names": ("hips", "shin", "shin")}, "more than once"),
        ({"point_joints": (7,)}, "rides on joint 7"),
        ({"point_joints": ()}, "as many joints that carry them"),
        ({"point_names": ("hips",)}, "more than once"),
    ],
)
def test_a_tree_that_is_none_is_refused(changes: dict[str, Any], part: str) -> None:
    reply, _ = ask(leg((0.1, 0.1, 0.1), **changes))
    assert isinstance(reply, protocol.Error), reply
    assert reply.code == "bad_input"
    assert part in reply.message


def test_evidence_of_a_picture_is_refused_on_a_tree() -> None:
    def make(writer: FrameWriter) -> protocol.Solve:
        block = protocol.Twist(("shin",), writer.add_array(np.zeros(1)), writer.add_array(np.ones(1)))
        return protocol.Solve(6, (block,), tree=tree(writer))

    reply, _ = ask(make)
    assert "evidence twist needs a body" in reply.message


def test_joints_that_the_tree_does_not_have_are_refused() -> None:
    reply, _ = ask(leg((0.1, 0.1, 0.1), joints=("Pelvis",)))
    assert "no joint 'Pelvis'" in reply.message
