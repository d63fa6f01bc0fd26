# SPDX-License-Identifier: Apache-2.0
"""Cameras and poses through the structs of the wire: nothing is turned, mirrored or lost on the way."""

import math
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from fake_pipeline import NUM_BETAS, NUM_JOINTS, ROTATION, camera, float64

from ikol.distortion import UNDISTORTED
from ikol.errors import InputError
from ikol.geometry.rotations import quat_to_rotmat
from ikol.pipeline import evidence as named
from solver_server import protocol
from solver_server.conversion import (
    HELD_SIGMA,
    Reader,
    Writer,
    camera_of_lens,
    check_detect,
    extrinsics,
    intrinsics,
    placed_camera,
)

SPEC = protocol.CameraSpec(1080, 1920, 1500.0, 1400.0, 540.0, 960.0, ROTATION, (0.5, 1.0, 3.0), "exif")


def unlike_quaternions() -> torch.Tensor:
    """Give unit quaternions (NUM_JOINTS, 4), each of another general rotation, w > 0."""
    quat = torch.tensor([[1.0, 0.2, -0.3, 0.4], [2.0, -0.5, 0.1, 0.7], [0.5, 0.6, 0.7, -0.8]], dtype=torch.float64)
    return quat / quat.norm(dim=-1, keepdim=True)


def test_extrinsics_take_a_world_point_to_where_the_document_says() -> None:
    place = extrinsics(SPEC)
    assert place is not None
    R, t = place
    point = torch.tensor((1.0, 2.0, 4.0), dtype=torch.float64)
    # row by row: 0.8 + 2.4, 0.36 - 1.6 - 1.92, 0.48 + 1.2 - 2.56; then the translation; a rounding of 1e-16 each
    expected = torch.tensor((3.2 + 0.5, -3.16 + 1.0, -0.88 + 3.0), dtype=torch.float64)
    torch.testing.assert_close(R @ point + t, expected, atol=1e-14, rtol=0)


def test_placed_camera_gives_back_the_matrix_of_the_pipeline() -> None:
    spec = placed_camera(camera(), "default", (-0.25, 0.0, 0.0, 0.0))
    assert spec.rotation == ROTATION
    assert spec.translation == (1.0, 1.5, 2.0)
    assert (spec.focal_x, spec.focal_y, spec.center_x, spec.center_y) == (1500.0, 1500.5, 540.0, 540.5)
    assert (spec.width, spec.height, spec.focal_source) == (1080, 1920, "default")


def test_extrinsics_of_a_placed_camera_are_those_of_the_camera() -> None:
    place = extrinsics(placed_camera(camera(), "given", UNDISTORTED))
    assert place is not None
    torch.testing.assert_close(place[0], camera().R_camera_world, atol=0, rtol=0)
    torch.testing.assert_close(place[1], camera().t_camera_world, atol=0, rtol=0)


def test_lens_keeps_which_number_is_which() -> None:
    lens = intrinsics(SPEC)
    assert (lens.width, lens.height, lens.focal, lens.center) == (1080, 1920, (1500.0, 1400.0), (540.0, 960.0))
    back = camera_of_lens(lens)
    assert (back.rotation, back.translation) == (None, None)
    assert (back.focal_x, back.focal_y, back.focal_source) == (1500.0, 1400.0, "exif")


@pytest.mark.parametrize("focal", [1.0, 1e6])
def test_focal_length_at_the_bound_is_taken(focal: float) -> None:
    assert intrinsics(protocol.CameraSpec(10, 10, focal, focal, 5.0, 5.0)).focal == (focal, focal)


def test_general_pose_survives_the_wire() -> None:
    writer = Writer()
    rotmat = quat_to_rotmat(unlike_quaternions())
    spec = writer.pose(named.Pose(float64(3), rotmat, float64(NUM_BETAS, start=-1.0)))
    reader = Reader(protocol.Frames(writer.frames.frames), NUM_JOINTS, NUM_BETAS)
    pose = reader.pose(spec, "the pose")
    # through a quaternion and back in float64: a few roundings of 1e-16
    torch.testing.assert_close(pose.local_rotmat, rotmat, atol=1e-14, rtol=0)
    assert pose.transl.tolist() == [0.0, 0.5, 1.0]
    assert pose.betas.tolist() == [-1.0, -0.5]


def test_betas_that_are_not_sent_are_zero_and_more_than_the_body_has_are_refused() -> None:
    writer = Writer()
    specs = [
        writer.pose(named.Pose(float64(3), quat_to_rotmat(unlike_quaternions()), float64(count, start=1.0)))
        for count in (1, NUM_BETAS + 1)
    ]
    reader = Reader(protocol.Frames(writer.frames.frames), NUM_JOINTS, NUM_BETAS)
    assert reader.pose(specs[0], "the pose").betas.tolist() == [1.0] + [0.0] * (NUM_BETAS - 1)
    with pytest.raises(InputError, match=r"the shape of the pose needs an array of shape \(2,\), got \(3,\)"):
        reader.pose(specs[1], "the pose")


@pytest.mark.parametrize(("free", "rest"), [(None, 1.0), (1, HELD_SIGMA)])
def test_a_shape_of_fewer_betas_says_nothing_of_the_others(free: int | None, rest: float) -> None:
    writer = Writer()
    betas, sigma = writer.array(float64(1, start=2.0)), writer.array(float64(1, start=0.25))
    reader = Reader(protocol.Frames(writer.frames.frames), NUM_JOINTS, NUM_BETAS, free)
    shape = reader.evidence(protocol.Shape("own.npz", betas, sigma))
    assert isinstance(shape, named.Shape)
    assert (shape.betas.tolist(), shape.sigma.tolist()) == ([2.0, 0.0], [0.25, rest])


def elsewhere(spec: protocol.CameraSpec, count: int = 2) -> named.ViewKeypoints2D:
    """Read two points of another picture, of which as many are told, from the wire."""
    writer = Writer()
    points, sigma = writer.array(float64(count, 2, start=100.0)), writer.array(float64(2, start=1.0))
    reader = Reader(protocol.Frames(writer.frames.frames), NUM_JOINTS, NUM_BETAS)
    block = reader.evidence(protocol.ViewKeypoints2D(("nose", "L_Hip"), points, sigma, spec))
    assert isinstance(block, named.ViewKeypoints2D)
    return block


def test_points_of_another_picture_keep_its_camera_there_and_back() -> None:
    spec = msgspec.structs.replace(SPEC, distortion=(-0.25, 0.0, 0.0, 0.0))
    block = elsewhere(spec)
    assert (block.names, block.points.tolist()) == (("nose", "L_Hip"), [[100.0, 100.5], [101.0, 101.5]])
    assert block.sigma.tolist() == [1.0, 1.5]
    writer = Writer()
    back = writer.evidence(block)
    assert isinstance(back, protocol.ViewKeypoints2D)
    assert back.camera == spec
    frames = protocol.Frames(writer.frames.frames)
    assert np.asarray(frames.array(back.points)).tolist() == block.points.tolist()
    assert np.asarray(frames.array(back.sigma)).tolist() == block.sigma.tolist()


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"rotation": None, "translation": None}, "view_keypoints_2d needs to know where its camera is; send its extr"),
        ({"rotation": None}, "both rotation and translation"),
        ({"focal_x": 1e-300}, "focal_x of the camera must be between"),
        ({"distortion": (99.0, 0.0, 0.0, 0.0)}, "lens distortion must be"),
    ],
)
def test_points_of_a_picture_whose_camera_cannot_be_used_are_refused(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError, match=text):
        elsewhere(msgspec.structs.replace(SPEC, **changes))


def test_points_of_another_picture_and_their_names_must_agree() -> None:
    with pytest.raises(InputError, match=r"view_keypoints_2d needs an array of shape \(2, 2\), got \(3, 2\)"):
        elsewhere(SPEC, count=3)


def test_rotations_travel_as_quaternions_with_w_first() -> None:
    writer = Writer()
    spec = writer.pose(named.Pose(float64(3), quat_to_rotmat(unlike_quaternions()), float64(NUM_BETAS)))
    sent = np.asarray(protocol.Frames(writer.frames.frames).array(spec.local_quat))
    np.testing.assert_allclose(sent, unlike_quaternions().numpy(), atol=1e-14, rtol=0)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, 1e300])
@pytest.mark.parametrize("field", ["focal_x", "focal_y", "center_x", "center_y", "the rotation", "the translation"])
def test_camera_with_a_number_that_cannot_be_used_is_refused_by_name(field: str, number: float) -> None:
    changes: dict[str, Any] = {
        "the rotation": {"rotation": (*ROTATION[:8], number)},
        "the translation": {"translation": (0.0, 0.0, number)},
    }.get(field, {field: number})
    with pytest.raises(InputError, match=f"{field} of the camera"):  # noqa: PT012 either half may find it
        spec = msgspec.structs.replace(SPEC, **changes)
        intrinsics(spec)
        extrinsics(spec)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, 1e300])
@pytest.mark.parametrize("field", ["a box", "rotation_deg", "focal_px"])
def test_detection_with_a_number_that_cannot_be_used_is_refused_by_name(field: str, number: float) -> None:
    changes: dict[str, Any] = {"a box": {"boxes": ((0.0, 0.0, 9.0, number),)}}.get(field, {field: number})
    with pytest.raises(InputError, match=field):
        check_detect(protocol.Detect(id=1, image=protocol.BlobRef(0), **changes))
