# SPDX-License-Identifier: Apache-2.0
"""Points that somebody has placed on another picture than the problem's own."""

import math
from dataclasses import replace

import pytest
import torch
from recordings import BODY, LENS, camera_around, seen_by, walking_pose
from torch import Tensor

from ikol.camera import Camera
from ikol.distortion import UNDISTORTED, Coefficients, distort
from ikol.errors import InputError
from ikol.pipeline import Intrinsics, Keypoints2D, NamedEvidence, PoseSolution, ViewKeypoints2D
from ikol.pipeline.alternatives import alternative_poses
from ikol.pipeline.evidence import Extrinsics
from ikol.pipeline.placement import point_positions
from ikol.pipeline.posing import solve_pose
from ikol.pipeline.prepared import PreparedProblems
from ikol.pipeline.problem import make_problem

POSE = walking_pose()
FRONT, SIDE, BACK = (camera_around(yaw) for yaw in (0.0, 80.0, 200.0))
BARREL, CUSHION = (-0.3, 0.1, 0.0, 0.002), (0.25, 0.0, 0.001, 0.0)
SHARP = torch.tensor([0.1], dtype=torch.float64)  # pixels: half a millimetre at the body
WRIST = ("left_wrist",)


def place(camera: Camera) -> Extrinsics:
    return camera.R_camera_world, camera.t_camera_world


def wrist() -> Tensor:
    return point_positions(BODY, POSE, WRIST)


def nearer() -> Tensor:
    """Where the wrist looks the same from the front, but is 8 cm nearer to that camera."""
    at = FRONT.to_camera(wrist())
    return FRONT.to_world(at * (1.0 - 0.08 / at.norm()))


def elsewhere(
    camera: Camera, target: Tensor, lens: Intrinsics = LENS, names: tuple[str, ...] = WRIST, sigma: Tensor = SHARP
) -> ViewKeypoints2D:
    """What somebody says who sees points at their places in the world on another picture."""
    pixels = distort(camera.project(target), lens.focal, lens.center, lens.distortion)
    return ViewKeypoints2D(names, pixels, sigma.expand(len(names)).clone(), lens, place(camera))


def solved(
    *evidence: NamedEvidence,
    lens: Intrinsics | None = LENS,
    extrinsics: Extrinsics | None = None,
    prepared: PreparedProblems | None = None,
) -> PoseSolution:
    """Solve from the known pose, before the camera in front where there is a lens."""
    return solve_pose(
        BODY,
        evidence,
        intrinsics=lens,
        extrinsics=extrinsics or place(FRONT),
        initial=POSE,
        solve_shape=False,
        prepared=prepared,
    )


def missed(solution: PoseSolution, target: Tensor) -> float:
    """Return how far the wrist is from a place, metres."""
    return float((point_positions(BODY, solution.pose, WRIST) - target).norm())


@pytest.mark.parametrize(
    ("here", "there"),
    [(UNDISTORTED, UNDISTORTED), (UNDISTORTED, BARREL), (CUSHION, UNDISTORTED), (CUSHION, BARREL)],
)
def test_a_point_comes_to_lie_where_the_rays_of_both_pictures_meet(here: Coefficients, there: Coefficients) -> None:
    lens = replace(LENS, distortion=here)
    pixel = distort(FRONT.project(wrist()), lens.focal, lens.center, lens.distortion)
    own = Keypoints2D(WRIST, pixel, SHARP, is_robust=False)
    # the body is far from the middle of the second picture: a pinhole would see the wrist 7 pixels, 3 cm, beside
    aside = SIDE.with_extrinsics(SIDE.R_camera_world, SIDE.t_camera_world + torch.tensor([0.8, 0.6, 0.0]).double())
    other = elsewhere(aside, nearer(), replace(LENS, distortion=there))
    assert missed(solved(own, lens=lens), nearer()) > 0.07  # one picture does not say how far away it is
    assert missed(solved(own, other, lens=lens), nearer()) < 0.003


def test_points_of_other_pictures_need_no_picture_of_their_own() -> None:
    solution = solved(elsewhere(SIDE, nearer()), elsewhere(BACK, nearer()), lens=None)
    assert missed(solution, nearer()) < 0.003
    assert (solution.camera, solution.point_names, solution.point_pixels.shape) == (None, WRIST, (0, 2))


def test_a_point_placed_elsewhere_is_meant_however_far_it_is() -> None:
    """The landmarks of the picture say otherwise, all 33 of them; a detector's outlier would be let go of."""
    far = wrist() + torch.tensor([0.0, 0.25, 0.1]).double()
    block = elsewhere(SIDE, far)
    pixels = SIDE.project(point_positions(BODY, solved(*seen_by(POSE, FRONT), block).pose, WRIST))
    assert float((pixels - block.points).norm()) < 5.0  # of more than 50


def test_what_is_told_of_the_picture_is_of_the_own_one() -> None:
    own, depth = seen_by(POSE, FRONT)
    assert isinstance(own, Keypoints2D)
    solution = solved(own, depth, elsewhere(SIDE, nearer()))
    pixels = FRONT.project(point_positions(BODY, solution.pose, own.names))
    median = float((pixels - own.points).norm(dim=-1).median())
    assert solution.reprojection_px_median == pytest.approx(median, abs=1e-9)
    assert float(solution.point_pixels[own.names.index("left_wrist")].sub(own.points[15]).norm()) < 20.0
    assert solved(elsewhere(SIDE, nearer())).reprojection_px_median == -1.0


def test_a_camera_of_ones_own_that_nobody_placed_is_refused() -> None:
    evidence = (*seen_by(POSE, FRONT), elsewhere(SIDE, nearer()))
    with pytest.raises(InputError, match="keypoints on other pictures, need to know where the camera is"):
        solve_pose(BODY, evidence, intrinsics=LENS)


def test_points_that_make_no_sense_are_refused() -> None:
    block = elsewhere(SIDE, nearer())
    with pytest.raises(InputError, match="ViewKeypoints2D: the body has no point tail"):
        solved(replace(block, names=("tail",)))
    prepared = PreparedProblems()
    solved(block, prepared=prepared)
    for kept in (None, prepared):
        with pytest.raises(InputError, match="NaN"):
            solved(replace(block, points=torch.full((1, 2), math.nan).double()), prepared=kept)


@pytest.mark.parametrize("changed", ["place", "lens"])
def test_another_camera_is_not_mistaken_for_the_one_before(changed: str) -> None:
    prepared = PreparedProblems()
    block = elsewhere(SIDE, nearer())
    first = solved(block, prepared=prepared)
    wider = replace(LENS, focal=(550.0, 550.0))
    other = replace(block, **({"extrinsics": place(BACK)} if changed == "place" else {"intrinsics": wider}))
    again = solved(other, prepared=prepared)
    assert len(prepared) == 2
    alone = solved(other)
    torch.testing.assert_close(again.joints, alone.joints, atol=1e-6, rtol=0)
    assert float((alone.joints - first.joints).norm(dim=-1).max()) > 0.01


def test_a_drag_on_another_picture_prepares_once() -> None:
    prepared = PreparedProblems()
    for share in (0.0, 0.5, 1.0):
        block = elsewhere(SIDE, wrist() + share * (nearer() - wrist()))
        dragged = solved(block, prepared=prepared)
        torch.testing.assert_close(dragged.joints, solved(block).joints, atol=1e-6, rtol=0)
    assert len(prepared) == 1


def test_another_picture_rules_out_the_other_poses_of_a_limb() -> None:
    ends = ("left_elbow", "left_wrist")
    told = elsewhere(SIDE, point_positions(BODY, POSE, ends), names=ends)
    counts: list[int] = []
    for evidence in (seen_by(POSE, FRONT), (*seen_by(POSE, FRONT), told)):
        problem = make_problem(BODY, evidence, intrinsics=LENS, extrinsics=place(FRONT), solve_shape=False)
        counts.append(len(alternative_poses(problem, "left_arm", 4, PreparedProblems())))
    assert counts[0] > 1
    assert counts[1] == 1
