# SPDX-License-Identifier: Apache-2.0
"""Where handles belong, and what moving them says."""

import math

import numpy as np
import pytest
from numpy_body import pose_body, random_quats

from blender_addon.core import handles, keypoints
from blender_addon.core.handles import Placement
from blender_addon.core.pose_conversion import turn_to_blender, turn_to_smpl
from blender_addon.core.record import Pose, Record, Solution
from blender_addon.core.rig import JOINT_NAMES

IDENTITY = (1.0, 0.0, 0.0, 0.0)


@pytest.fixture
def record():
    quats = random_quats(3)
    body = pose_body((0.1, 1.0, 0.2), quats, np.zeros(10))
    pose = Pose((0.1, 1.0, 0.2), tuple(tuple(map(float, quat)) for quat in quats), (0.0,) * 10)
    points = {name: tuple(map(float, at)) for name, at in zip(JOINT_NAMES, body.joints, strict=True)}
    return Record("a.jpg", (), Solution(pose, None, points, {}, "converged", 1, -1.0, 0.0))


def turned(quat, radians):
    """A quaternion turned on about its own x axis."""
    w, x, y, z = quat
    c, s = math.cos(0.5 * radians), math.sin(0.5 * radians)
    return (w * c - x * s, x * c + w * s, y * c + z * s, z * c - y * s)


def test_a_handle_stands_on_its_joint_until_it_is_placed(record):
    assert handles.placements(record)["L_Wrist"].position == record.solution.points["L_Wrist"]
    moved = keypoints.move_positions(record, {"L_Wrist": (1.0, 2.0, 3.0)})
    assert handles.placements(moved)["L_Wrist"].position == (1.0, 2.0, 3.0)
    assert handles.placements(moved)["R_Wrist"] == handles.placements(record)["R_Wrist"]


def test_a_muted_handle_goes_with_the_joint_and_keeps_its_place_for_later(record):
    moved = keypoints.move_positions(record, {"L_Wrist": (1.0, 2.0, 3.0)})
    muted = keypoints.mute(moved, ("L_Wrist",))
    assert handles.placements(muted)["L_Wrist"].position == record.solution.points["L_Wrist"]
    heard = keypoints.mute(muted, ("L_Wrist",), is_muted=False)
    assert handles.placements(heard)["L_Wrist"].position == (1.0, 2.0, 3.0)


def test_global_rotations_are_the_products_along_the_chain(record):
    found = handles.global_quats(record.solution.pose)
    local = dict(zip(JOINT_NAMES, record.solution.pose.local_quat, strict=True))
    expected = np.eye(3)
    for name in ("Pelvis", "Spine1", "Spine2", "Spine3", "L_Collar", "L_Shoulder", "L_Elbow", "L_Wrist"):
        expected = expected @ matrix(local[name])
    assert np.abs(matrix(found["L_Wrist"]) - expected).max() < 1e-12  # a chain of eight products in float64


def matrix(quat):
    w, x, y, z = np.array(quat) / np.linalg.norm(quat)
    return np.array([
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ])  # fmt: skip


def test_only_what_was_moved_becomes_evidence(record):
    placed = handles.placements(record)
    x, y, z = placed["L_Knee"].position
    now = {**placed, "L_Knee": Placement((x, y + 0.05, z), placed["L_Knee"].quat)}
    found = handles.with_handles(record, placed, now)
    assert set(found.edits) == {"L_Knee"}
    assert found.edits["L_Knee"].position == (x, y + 0.05, z)


def test_a_turned_hand_becomes_an_orientation_and_a_turned_knee_nothing(record):
    placed = handles.placements(record)
    now = {name: Placement(at.position, turned(at.quat, 0.3)) for name, at in placed.items()}
    found = handles.with_handles(record, placed, now)
    assert set(found.edits) == {"Head", "Pelvis", "L_Wrist", "R_Wrist", "L_Ankle", "R_Ankle"}
    assert all(edit.position is None and edit.orientation is not None for edit in found.edits.values())


@pytest.mark.parametrize("radians", [0.0, 1e-4, -1e-4])
def test_what_rounding_does_is_no_movement(record, radians):
    placed = handles.placements(record)
    now = {
        name: Placement(tuple(float(np.float32(value)) for value in at.position), turned(at.quat, radians))
        for name, at in placed.items()
    }
    assert handles.with_handles(record, placed, now) == record


def test_the_negative_quaternion_is_the_same_rotation():
    assert not Placement((0, 0, 0), IDENTITY).is_turned_from(Placement((0, 0, 0), (-1.0, 0.0, 0.0, 0.0)))


def test_rotations_change_axes_as_points_do():
    quat = (math.cos(0.4), 0.0, math.sin(0.4), 0.0)  # about SMPL's y, which is Blender's z
    assert turn_to_blender(quat) == pytest.approx((math.cos(0.4), 0.0, 0.0, math.sin(0.4)))
    assert turn_to_smpl(turn_to_blender(quat)) == quat


def test_thirteen_joints_have_a_handle_and_all_are_joints_of_the_body():
    assert len(handles.HANDLES) == len(handles.HANDLE_OF_POINT) == 13
    assert set(handles.HANDLE_OF_POINT) <= set(JOINT_NAMES)


def test_a_driven_handle_counts_where_it_is_and_the_pixel_stays(record):
    placed = handles.placements(record)
    pixel = keypoints.move_pixels(record, {"L_Wrist": (10.0, 20.0)})
    driven = handles.Driven(moved=frozenset({"L_Wrist", "L_Knee"}), turned=frozenset({"L_Wrist"}))
    found = handles.with_handles(pixel, placed, placed, driven)
    assert set(found.edits) == {"L_Wrist", "L_Knee"}
    wrist, knee = found.edits["L_Wrist"], found.edits["L_Knee"]
    assert (wrist.pixel, wrist.position, wrist.orientation) == (
        (10.0, 20.0),
        placed["L_Wrist"].position,
        placed["L_Wrist"].quat,
    )
    assert (knee.position, knee.orientation) == (placed["L_Knee"].position, None)
    assert handles.without_driven(found, driven) == pixel


def test_a_tolerance_of_a_driven_handle_outlives_its_place(record):
    driven = handles.Driven(moved=frozenset({"L_Wrist"}))
    loose = keypoints.set_tolerance(record, ("L_Wrist",), metres=0.1)
    found = handles.with_driven(loose, handles.placements(record), driven)
    assert found.edits["L_Wrist"].tolerance_m == 0.1
    assert handles.without_driven(found, driven) == loose
