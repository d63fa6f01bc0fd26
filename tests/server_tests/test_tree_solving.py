# SPDX-License-Identifier: Apache-2.0
"""A solve on a skeleton that the client sends: what comes back, and what is refused in words."""

from collections.abc import Callable
from typing import Any

import msgspec
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


def photographed(place: Any, camera: protocol.CameraSpec | None, *others: tuple[Any, protocol.CameraSpec]) -> Any:
    """Give a leg whose sole is seen at a pixel, before a camera that looks at it from 4 m in front; and by others."""

    def make(writer: FrameWriter) -> protocol.Solve:
        add = writer.add_array
        seen = protocol.Keypoints2D(("sole",), add(np.array([place], float)), add(np.ones(1)), is_robust=False)
        elsewhere = [
            protocol.ViewKeypoints2D(("sole",), add(np.array([pixel], float)), add(np.ones(1)), spec)
            for pixel, spec in others
        ]
        stay = protocol.Anchor(add(UNIT), add(np.full(3, 0.5)))
        start = protocol.PoseSpec(add(np.zeros(3)), add(UNIT), add(np.zeros(0)))
        joints = ("thigh", "shin")
        blocks = (seen, stay, *elsewhere)
        return protocol.Solve(6, blocks, camera=camera, start=start, joints=joints, tree=tree(writer))

    return make


def before(bent: float = 0.0) -> protocol.CameraSpec:
    rotation = (1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, -1.0)
    return protocol.CameraSpec(
        640, 480, 500.0, 500.0, 320.0, 240.0, rotation, (0.0, 0.5, 4.0), "given", (bent, 0.0, 0.0, 0.0)
    )


@pytest.mark.parametrize("bent", [0.0, 0.2])
def test_a_point_that_is_seen_on_a_picture_comes_to_lie_there(bent: float) -> None:
    reply, frames = ask(photographed((360.0, 290.0), before(bent)))
    assert isinstance(reply, protocol.SolveReply), reply
    (pixel,) = np.asarray(frames.array(reply.point_pixels))
    # a pixel of doubt against half a radian for each of two joints, whose ends move some 50 pixels in it
    assert pixel == pytest.approx([360.0, 290.0], abs=1.0)
    assert reply.reprojection_px_median == pytest.approx(np.hypot(*(pixel - (360.0, 290.0))), abs=1e-6)
    x, y, z = np.asarray(frames.array(reply.point_positions))[0]
    straight = np.array([x, 0.5 - y]) / (4.0 - z)
    radial = 1.0 + bent * float(straight @ straight)
    assert pixel == pytest.approx(500.0 * radial * straight + (320.0, 240.0), abs=1e-6)


@pytest.mark.parametrize(
    ("camera", "part"),
    [
        (None, "need the placed camera"),
        (msgspec.structs.replace(before(), rotation=None, translation=None), "must be placed"),
    ],
)
def test_what_is_seen_needs_the_place_of_the_camera(camera: protocol.CameraSpec | None, part: str) -> None:
    reply, _ = ask(photographed((360.0, 290.0), camera))
    assert isinstance(reply, protocol.Error), reply
    assert part in reply.message


def beside(bent: float = 0.0) -> protocol.CameraSpec:
    """Give the camera that looks from 4 m to the left: a point is at -z, 0.5 - y, 4 - x in its axes."""
    rotation = (0.0, 0.0, -1.0, 0.0, -1.0, 0.0, -1.0, 0.0, 0.0)
    return msgspec.structs.replace(before(bent), rotation=rotation)


@pytest.mark.parametrize("bent", [0.0, 0.4])
def test_a_point_of_two_pictures_comes_to_lie_where_their_rays_meet(bent: float) -> None:
    x, y, z = 0.1, 0.1, 0.15
    front = 500.0 * np.array([x, 0.5 - y]) / (4.0 - z) + (320.0, 240.0)
    # far from the middle of the second picture, where its lens bends by 5 pixels
    lens = msgspec.structs.replace(beside(bent), translation=(-0.8, 0.5, 4.0))
    straight = np.array([-z - 0.8, 0.5 - y]) / (4.0 - x)
    side = 500.0 * (1.0 + bent * float(straight @ straight)) * straight + (320.0, 240.0)
    reply, frames = ask(photographed(front, before(), (side, lens)))
    assert isinstance(reply, protocol.SolveReply), reply
    (sole,) = np.asarray(frames.array(reply.point_positions))
    # a pixel is 8 mm; the joints' half radian pulls by a small part of it
    assert sole == pytest.approx([x, y, z], abs=4e-3)
    (pixel,) = np.asarray(frames.array(reply.point_pixels))
    assert reply.reprojection_px_median == pytest.approx(np.hypot(*(pixel - front)), abs=1e-6)


def test_another_picture_of_a_tree_needs_the_place_of_its_camera() -> None:
    nowhere = msgspec.structs.replace(beside(), rotation=None, translation=None)
    reply, _ = ask(photographed((360.0, 290.0), before(), ((320.0, 240.0), nowhere)))
    assert isinstance(reply, protocol.Error), reply
    assert (reply.code, "view_keypoints_2d needs to know where its camera is" in reply.message) == ("bad_input", True)


def test_evidence_about_a_body_is_refused_on_a_tree() -> None:
    def make(writer: FrameWriter) -> protocol.Solve:
        block = protocol.Twist(("shin",), writer.add_array(np.zeros(1)), writer.add_array(np.ones(1)))
        return protocol.Solve(6, (block,), tree=tree(writer))

    reply, _ = ask(make)
    assert "evidence twist needs a body" in reply.message


def test_joints_that_the_tree_does_not_have_are_refused() -> None:
    reply, _ = ask(leg((0.1, 0.1, 0.1), joints=("Pelvis",)))
    assert "no joint 'Pelvis'" in reply.message
