# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest

from blender_addon.core import insight
from blender_addon.core.jobs import EvidenceRow, Inspection
from blender_addon.core.record import Keypoints2D, PhotoCamera, Pose, Record, RelativeKeypoints3D, Solution
from blender_addon.core.rig import JOINT_NAMES, LANDMARK_NAMES

IDENTITY = (1.0, 0.0, 0.0, 0.0)
# looks along +Z of the world from 3 m before the origin
CAMERA = PhotoCamera(1000, 800, 1000.0, 1000.0, 500.0, 400.0, (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0), (0.0, 0.0, 3.0))
SEEN = Keypoints2D(("left_wrist", "nose"), ((510.0, 400.0), (500.0, 400.0)), (2.0, 2.0))
FELT = RelativeKeypoints3D(("left_wrist", "nose"), ((0.0, 0.0, 0.1),) * 2, ((0.1, 0.2, 0.3),) * 2)


@pytest.fixture
def record():
    pose = Pose((0.0, 0.0, 0.0), (IDENTITY,) * 24, (0.0,) * 10)
    points = {"left_wrist": (0.0, 0.0, 0.0), "nose": (0.0, 0.0, 0.0), "L_Wrist": (0.0, 0.0, 0.0)}
    pixels = {"left_wrist": (500.0, 400.0), "nose": (500.0, 400.0)}
    return Record("a.jpg", (SEEN, FELT), Solution(pose, CAMERA, points, pixels, "converged", 1, 1.0, 0.1))


def inspection(rows, pulls, points=(), gains=()):
    return Inspection(np.zeros((24, 3, 3)), rows, pulls, points, gains)


def test_the_spread_is_split_by_the_cameras_ray():
    covariance = np.diag([0.01**2, 0.01**2, 0.09**2])
    spread = insight.spread_of(covariance, (0.0, 0.0, 0.0), CAMERA)
    assert spread.in_picture == pytest.approx(0.01)
    assert spread.depth == pytest.approx(0.09)
    sideways = insight.spread_of(covariance, (3.0, 0.0, 0.0), CAMERA)  # seen under 45 degrees
    assert sideways.depth == pytest.approx(math.sqrt((0.01**2 + 0.09**2) / 2))
    bare = insight.spread_of(covariance, (0.0, 0.0, 0.0), None)
    assert bare.depth == bare.in_picture == pytest.approx(math.sqrt(np.trace(covariance) / 3))


def test_an_ellipsoid_has_the_size_of_one_standard_deviation():
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    covariance = rotation @ np.diag([0.01**2, 0.02**2, 0.05**2]) @ rotation.T
    center = np.array([1.0, 2.0, 3.0])
    ends = insight.ellipsoid_lines(covariance, center).reshape(-1, 3) - center
    mahalanobis = np.einsum("ni,ij,nj->n", ends, np.linalg.inv(covariance), ends)
    assert np.allclose(mahalanobis, 1.0)
    assert np.linalg.norm(ends, axis=1).max() == pytest.approx(0.05, rel=1e-6)


def test_a_joint_that_nothing_moves_has_an_ellipsoid_of_no_size():
    assert not insight.ellipsoid_lines(np.zeros((3, 3)), np.zeros(3)).any()


def test_colours_run_from_sure_to_unsure():
    colors = [insight.spread_color(metres) for metres in (0.0, 0.005, 0.02, 0.2, 5.0)]
    assert colors[0] == colors[1]
    assert colors[3] == colors[4]
    reds = [color[0] for color in colors]
    assert reds[1] < reds[2] < reds[3] + 0.2
    assert colors[1] != colors[2] != colors[3]


def test_what_pulls_most_comes_first_and_rows_of_one_point_count_together(record):
    wrist = JOINT_NAMES.index("L_Wrist")
    rows = (
        EvidenceRow("keypoints_2d", "left_wrist", 10.0, "px", 3.0),
        EvidenceRow("relative_keypoints_3d", "left_wrist", 0.05, "m", 1.0),
        EvidenceRow("relative_keypoints_3d", "left_wrist", 0.08, "m", 1.0),
        EvidenceRow("limits", "L_Elbow", math.radians(4.0), "rad", 1.0),
        EvidenceRow("stance", "L_Knee", 1.0, "rad", 1.0),
    )
    pulls = np.zeros((5, 24, 3))
    pulls[0, wrist] = (0.01, 0.0, 0.0)
    pulls[1, wrist] = (0.0, 0.01, 0.0)
    pulls[2, wrist] = (0.0, 0.01, 0.0)
    pulls[3, wrist] = (0.0, 0.0, 0.005)
    pulls[4, 0] = (1.0, 0.0, 0.0)
    found = insight.pulls_on(inspection(rows, pulls), record, "L_Wrist", 8, str)
    assert [(pull.text, pull.residual) for pull in found] == [
        ("Left Wrist, depth seen by the network", "8.0 cm"),
        ("Left Wrist, on the photograph", "10.0 px, 3.0 cm"),
        ("Left Elbow, limit of the joint", "4°"),
    ]
    assert [pull.metres for pull in found] == pytest.approx([0.02, 0.01, 0.005])
    assert len(insight.pulls_on(inspection(rows, pulls), record, "L_Wrist", 1, str)) == 1


def test_every_kind_of_evidence_has_a_name():
    assert set(insight.KIND_LABELS) >= {
        "keypoints_2d", "keypoints_3d", "relative_keypoints_3d", "anchor", "twist", "pins", "orientations", "stay",
        "stance", "limits", "shape",
    }  # fmt: skip


def test_every_point_belongs_to_a_joint():
    assert {insight.joint_of_point(name) for name in LANDMARK_NAMES} <= set(JOINT_NAMES)
    assert insight.joint_of_point("left_heel") == "L_Ankle"
    assert insight.joint_of_point("right_index") == "R_Hand"
    assert insight.joint_of_point("left_eye_inner") == insight.joint_of_point("mouth_right") == "Head"
    assert insight.joint_of_point("Spine2") == "Spine2"


def test_heat_is_by_how_much_a_joints_points_are_missed(record):
    heat = insight.joint_heat(record)
    assert heat[JOINT_NAMES.index("L_Wrist")] == pytest.approx(0.03)  # 10 px at 3 m with a focal length of 1000 px
    assert heat[JOINT_NAMES.index("Head")] == 0.0
    assert np.isnan(heat[JOINT_NAMES.index("L_Knee")])


def test_vertices_have_the_colours_of_the_joints_that_move_them():
    heat = np.full(24, np.nan)
    heat[0], heat[1] = 0.005, 0.1
    weights = np.zeros((3, 24))
    weights[0, 0] = 1.0
    weights[1, :2] = 0.5
    weights[2, 5] = 1.0
    colors = insight.vertex_colors(heat, weights)
    assert np.allclose(colors[0], insight.spread_color(0.005))
    assert np.allclose(colors[1], (np.add(insight.spread_color(0.005), insight.spread_color(0.1))) / 2)
    assert np.allclose(colors[2], insight.UNKNOWN)


def test_the_next_point_is_one_that_is_seen_if_any_of_these_helps():
    known = inspection((), np.zeros((0, 24, 3)), ("L_Elbow", "left_wrist", "nose"), (0.04, 0.01, 0.0))
    assert insight.best_next_point(known, ("left_wrist", "nose")) == ("left_wrist", pytest.approx(0.1))
    assert insight.best_next_point(known, ("nose",)) == ("L_Elbow", pytest.approx(0.2))
    assert insight.best_next_point(inspection((), np.zeros((0, 24, 3))), ("nose",)) is None


@pytest.mark.parametrize("joint", JOINT_NAMES)
def test_every_joint_belongs_to_a_limb(joint):
    assert insight.limb_points(insight.limb_of_joint(joint))


def test_the_points_of_a_limb_are_those_that_move_with_it():
    assert insight.limb_of_joint("R_Hand") == insight.limb_of_joint("R_Thumb2") == "right_arm"
    assert insight.limb_of_joint("L_Eye") == insight.limb_of_joint("Jaw") == "head"
    assert insight.limb_of_joint("Spine2") == "torso"
    assert "L_Index3" in insight.limb_points("left_arm")
    assert {"L_Elbow", "left_elbow", "left_index"} <= set(insight.limb_points("left_arm"))
    assert not {"L_Shoulder", "left_shoulder", "right_wrist"} & set(insight.limb_points("left_arm"))
    assert {"left_wrist", "nose"} <= set(insight.limb_points("torso"))
