# SPDX-License-Identifier: Apache-2.0
"""One up and one floor: persons who were solved apart see the same pixels as before from one camera."""

import math

import msgspec
import numpy as np
import pytest

from blender_addon.core.common_ground import MAX_FACTOR, camera_place, common_up, on_common_ground, on_floor
from blender_addon.core.pose_conversion import as_rotation, as_vector, project
from blender_addon.core.record import Keypoints2D, PhotoCamera, Pose, Record, Solution

QUAT = (math.cos(0.3), 0.0, math.sin(0.3), 0.0)
FEET = Keypoints2D(("left_heel", "left_foot_index"), ((1.0, 2.0), (3.0, 4.0)), (3.0, 3.0))


def pitch(degrees):
    """Return the matrix of a camera that looks along -Z of the world, tilted down by some degrees."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]]) @ np.diag([1.0, -1.0, -1.0])


def camera(degrees, height=1.5, aside=0.0):
    rotation = pitch(degrees)
    place = np.array([aside, height, 4.0])
    return PhotoCamera(640, 480, 500, 500, 320, 240, as_rotation(rotation), as_vector(-rotation @ place))


def record(seen_by, lowest=0.0):
    points = {"Pelvis": (0.1, 1.0, 0.0), "nose": (0.0, 1.6, 0.1), "left_heel": (0.2, lowest, 0.0)}
    points["left_foot_index"] = (0.2, lowest, 0.15)
    pose = Pose((0.1, 0.05, 0.0), (QUAT,) + ((1.0, 0.0, 0.0, 0.0),) * 23, (0.0,) * 10)
    return Record("a.jpg", (FEET,), Solution(pose, seen_by, points, {}, "converged", 5, 2.0, 0.1))


def matrix(quat):
    w, x, y, z = quat
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def test_all_see_the_same_pixels_as_before_from_one_camera():
    before = [record(camera(10.0)), record(camera(4.0, aside=0.7)), record(camera(7.0, height=1.2))]
    after = on_common_ground(before)
    assert len({each.solution.camera for each in after}) == 1
    for old, new in zip(before, after, strict=True):
        for name, place in old.solution.points.items():
            expected = project(old.solution.camera, [place])
            seen = project(new.solution.camera, [new.solution.points[name]])
            np.testing.assert_allclose(seen, expected, atol=1e-6)  # pixels; float64
        turned = (
            np.array(new.solution.camera.rotation).reshape(3, 3).T
            @ np.array(old.solution.camera.rotation).reshape(3, 3)
            @ matrix(QUAT)
        )
        np.testing.assert_allclose(matrix(new.solution.pose.local_quat[0]), turned, atol=1e-9)
        rest = np.subtract(old.solution.points["Pelvis"], old.solution.pose.transl)
        moved = np.subtract(new.solution.points["Pelvis"], new.solution.pose.transl)
        np.testing.assert_allclose(moved, rest, atol=1e-9)


def test_up_is_the_mean_of_all_and_the_first_stands_on_the_floor_over_the_origin():
    after = on_common_ground([record(camera(10.0)), record(camera(4.0))])
    up = np.array(after[0].solution.camera.rotation).reshape(3, 3)[:, 1]
    np.testing.assert_allclose(up, pitch(7.0)[:, 1], atol=1e-9)
    first = after[0].solution.points
    assert min(place[1] for place in first.values()) == pytest.approx(0.0, abs=1e-9)
    assert (first["Pelvis"][0], first["Pelvis"][2]) == pytest.approx((0.0, 0.0), abs=1e-9)


def test_somebody_who_lies_has_no_say_in_what_is_up():
    ups = np.array([pitch(8.0)[:, 1], pitch(10.0)[:, 1], [1.0, 0.0, 0.0]])
    np.testing.assert_allclose(common_up(ups), pitch(9.0)[:, 1], atol=1e-9)


def test_one_person_stays_as_it_is():
    alone = [record(camera(10.0))]
    assert on_common_ground(alone) == alone


def test_the_feet_come_to_the_floor_along_the_rays_of_the_camera():
    floating = record(camera(5.0), lowest=0.2)
    standing = on_floor(floating.solution, floating.evidence)
    eye = camera_place(floating.solution.camera)
    factor = (eye[1] - 0.03) / (eye[1] - 0.2)
    assert standing.feet.names == ("left_heel", "left_foot_index")
    expected = eye + factor * (np.array(floating.solution.points["left_heel"]) - eye)
    np.testing.assert_allclose(standing.feet.points[0], expected)
    shift = np.subtract(standing.pose.transl, floating.solution.pose.transl)
    np.testing.assert_allclose(shift, (factor - 1) * (np.array(floating.solution.points["Pelvis"]) - eye))


@pytest.mark.parametrize("lowest", [-1.5, 0.9], ids=["on the stairs below", "in the air"])
def test_somebody_far_from_the_floor_stays_there(lowest):
    elsewhere = record(camera(5.0, height=2.0), lowest)
    assert not 1 / MAX_FACTOR < 1.97 / (2.0 - lowest) < MAX_FACTOR
    assert on_floor(elsewhere.solution, elsewhere.evidence) is None


def test_a_floor_that_is_seen_edge_on_or_feet_that_are_not_seen_tell_nothing():
    low = record(camera(0.0, height=0.4))
    assert on_floor(low.solution, low.evidence) is None
    seen = record(camera(5.0))
    assert on_floor(seen.solution, (Keypoints2D(("nose",), ((1.0, 2.0),), (3.0,)),)) is None
    unplaced = msgspec.structs.replace(seen.solution, camera=None)
    assert on_floor(unplaced, seen.evidence) is None
