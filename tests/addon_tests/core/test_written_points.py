# SPDX-License-Identifier: Apache-2.0
"""What of a photograph's keypoints leaves Blender, under which names."""

import numpy as np
import pytest
from msgspec.structs import replace

from blender_addon.core import keypoints
from blender_addon.core.errors import EvidenceError
from blender_addon.core.record import Keypoints2D, PhotoCamera, Pose, Record, Solution
from blender_addon.core.written_points import marker_arrays, picture_arrays

NAMES = ("nose", "left_elbow", "left_wrist", "left_index", "right_knee")
CAMERA = PhotoCamera(640, 480, 500.0, 500.0, 320.0, 240.0)
POSE = Pose((0.0, 0.0, 0.0), ((1.0, 0.0, 0.0, 0.0),) * 24, (0.0,) * 10)


@pytest.fixture
def record():
    """A photograph with five detected points, 10 px apart."""
    seen = Keypoints2D(NAMES, tuple((10.0 * number, 5.0) for number in range(5)), (2.0,) * 5)
    solution = Solution(POSE, CAMERA, {"R_Knee": (0.1, 0.5, 0.0)}, {}, "converged", 1, 1.0, 0.1)
    return Record("photo.jpg", (seen,), solution, dict(zip(NAMES, (0.9, 0.8, 0.7, 0.6, 0.5), strict=True)))


def rows(record):
    arrays = picture_arrays(record)
    assert arrays["points"].shape == (1, len(arrays["names"]), 2)
    assert arrays["size"].tolist() == [640, 480]
    pairs = zip(arrays["points"][0].tolist(), arrays["confidence"][0].tolist(), strict=True)
    return {name: (*pixel, sure) for name, (pixel, sure) in zip(arrays["names"].tolist(), pairs, strict=True)}


def test_detected_points_go_with_their_confidence(record):
    assert rows(record) == {
        "nose": (0.0, 5.0, 0.9),
        "left_elbow": (10.0, 5.0, 0.8),
        "left_wrist": (20.0, 5.0, 0.7),
        "left_index": (30.0, 5.0, 0.6),
        "right_knee": (40.0, 5.0, 0.5),
    }


def test_a_placed_point_is_sure_and_takes_its_followers_along(record):
    found = rows(keypoints.move_pixels(record, {"left_wrist": (120.0, 55.0)}))
    assert found["left_wrist"] == (120.0, 55.0, 1.0)
    assert found["left_index"] == (130.0, 55.0, 0.6)


def test_a_placed_joint_takes_the_name_of_its_landmark(record):
    found = rows(keypoints.move_pixels(record, {"R_Knee": (7.0, 8.0), "L_Index2": (1.0, 2.0)}))
    assert found["right_knee"] == (7.0, 8.0, 1.0)
    assert found["L_Index2"] == (1.0, 2.0, 1.0)  # which a hand's point is called too
    assert "R_Knee" not in found


def test_a_place_in_space_is_taken_to_the_picture(record):
    front = replace(CAMERA, rotation=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0), translation=(0.0, 0.0, 2.0))
    record = replace(record, solution=replace(record.solution, camera=front))
    found = rows(keypoints.move_positions(record, {"R_Knee": (0.2, 0.1, 0.5), "L_Knee": (0.0, 0.0, 0.0)}))
    assert found["right_knee"] == pytest.approx((360.0, 260.0, 1.0))  # 500 px over 2.5 m
    assert found["left_knee"] == pytest.approx((320.0, 240.0, 1.0))
    assert "R_Knee" not in found
    assert "right_knee" not in rows(
        keypoints.mute(keypoints.move_positions(record, {"right_knee": (0, 0, 0)}), ["right_knee"])
    )


def test_what_has_no_say_stays_at_home(record):
    assert "nose" not in rows(keypoints.mute(record, ["nose"]))
    assert "nose" not in rows(keypoints.remove(record, ["nose"]))
    assert set(rows(keypoints.solo(record, ["nose"]))) == {"nose"}


def test_without_a_picture_or_without_points_a_sentence_says_so(record):
    with pytest.raises(EvidenceError, match="was not made from a picture"):
        picture_arrays(replace(record, solution=replace(record.solution, camera=None)))
    with pytest.raises(EvidenceError, match="no keypoint of the picture counts"):
        picture_arrays(keypoints.remove(record, NAMES))


def test_joints_go_in_smpls_axes():
    places = np.array([[[1.0, 2.0, 3.0]]])
    arrays = marker_arrays(("Head",), places, 24.0)
    assert arrays["points"].tolist() == [[[1.0, 3.0, -2.0]]]
    assert float(arrays["fps"]) == 24.0
