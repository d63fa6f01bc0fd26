# SPDX-License-Identifier: Apache-2.0
"""How sure a pose of several pictures is, and what each picture shows of it."""

from dataclasses import replace

import pytest
import torch
from recordings import BODY, LENS, camera_around, seen_by, walking_pose

from ikol.pipeline.multiview import View, solve_views
from ikol.pipeline.views_inspection import ViewsInspection, inspect_views

POSE = walking_pose()
CAMERAS = [camera_around(yaw) for yaw in (0.0, 80.0, 170.0)]


def inspected(count: int, **changes: float) -> ViewsInspection:
    views = [
        View(seen_by(POSE, camera, **changes), LENS, (camera.R_camera_world, camera.t_camera_world))
        for camera in CAMERAS[:count]
    ]
    return inspect_views(BODY, views, solve_views(BODY, views))


@pytest.fixture(scope="module")
def three() -> ViewsInspection:
    return inspected(3)


def sigma_of(found: ViewsInspection, name: str) -> float:
    return float(found.point_sigma[found.point_names.index(name)])


def test_each_joint_and_landmark_has_a_place_and_a_deviation(three: ViewsInspection) -> None:
    assert set(BODY.tree.names) < set(three.point_names)
    assert three.point_positions.shape == (len(three.point_names), 3)
    assert bool((three.point_sigma > 0).all())


def test_a_deviation_is_what_pixels_are_worth_at_the_distance(three: ViewsInspection) -> None:
    # 3 px at 600 px of focal length and three metres are 15 mm; three pictures and the skeleton make it less
    assert 0.003 < sigma_of(three, "left_wrist") < 0.015
    # nothing on the picture is the middle of the spine
    assert sigma_of(three, "Spine2") > sigma_of(three, "left_wrist")


def test_more_pictures_and_sharper_ones_make_the_pose_surer(three: ViewsInspection) -> None:
    assert sigma_of(inspected(2), "left_wrist") > sigma_of(three, "left_wrist")
    assert sigma_of(inspected(3, sigma_px=6.0), "left_wrist") > sigma_of(three, "left_wrist")


def test_every_picture_shows_the_one_pose_through_its_own_camera(three: ViewsInspection) -> None:
    for picture, camera in zip(three.pictures, CAMERAS, strict=True):
        assert picture.pose is three.pictures[0].pose
        assert picture.camera is not None
        torch.testing.assert_close(picture.point_pixels, camera.project(picture.point_positions))
        assert 0 <= picture.reprojection_px_median < 1.0


def test_pixels_of_a_bent_lens_are_where_its_picture_shows_them() -> None:
    lens = replace(LENS, distortion=(-0.2, 0.0, 0.0, 0.0))
    views = [View(seen_by(POSE, camera), lens, None) for camera in CAMERAS]
    solution = solve_views(BODY, views)
    (picture, *_) = inspect_views(BODY, views, solution).pictures
    straight = solution.cameras[0].project(picture.point_positions)
    middle = straight.new_tensor(LENS.center)
    # a barrel draws everything towards the middle
    outer = (straight - middle).norm(dim=-1) > 100.0
    assert bool(((picture.point_pixels - middle).norm(dim=-1) < (straight - middle).norm(dim=-1))[outer].all())
