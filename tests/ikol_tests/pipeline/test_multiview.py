# SPDX-License-Identifier: Apache-2.0
"""One pose from several pictures of it, made of a body whose pose is known."""

from dataclasses import replace

import pytest
import torch
from recordings import BODY, LENS, camera_around, seen_by, walking_pose

from ikol.errors import Cancelled, InputError
from ikol.geometry.rotations import rotmat_to_rotvec, rotvec_to_rotmat
from ikol.pipeline import Keypoints2D, Pose, Shape, ViewKeypoints2D
from ikol.pipeline.multiview import View, ViewsSolution, solve_views, views_problem
from ikol.pipeline.placement import point_positions
from ikol.solver import Points2D, ShapePrior

POSE = walking_pose(torch.tensor([0.8, -0.6] + [0.0] * (BODY.num_betas - 2), dtype=torch.float64))
CAMERAS = [camera_around(yaw) for yaw in (0.0, 80.0, 170.0)]


def views(*, known: bool, count: int = 3) -> list[View]:
    return [
        View(seen_by(POSE, camera), LENS, (camera.R_camera_world, camera.t_camera_world) if known else None)
        for camera in CAMERAS[:count]
    ]


@pytest.fixture(scope="module")
def found_cameras() -> ViewsSolution:
    return solve_views(BODY, views(known=False))


def joints_of(pose: Pose) -> torch.Tensor:
    return point_positions(BODY, pose, BODY.tree.names)


def seen_error(solution: ViewsSolution) -> float:
    """Return how far the joints are off in the first camera's axes, relative to the pelvis, metres."""
    mine, true = solution.cameras[0].to_camera(solution.joints), CAMERAS[0].to_camera(joints_of(POSE))
    return float(((mine - mine[:1]) - (true - true[:1])).norm(dim=-1).mean())


def test_known_cameras_give_the_pose_in_their_world() -> None:
    solution = solve_views(BODY, views(known=True))
    assert solution.status == "converged"
    # the joints of the trunk and the feet's ends follow the relaxed stance where no landmark says otherwise
    assert float((solution.joints - joints_of(POSE)).norm(dim=-1).mean()) < 0.008
    assert max(solution.reprojection_px_median) < 1.0


def test_more_pictures_are_nearer_to_the_truth_than_their_wrong_guesses_of_depth() -> None:
    guessed = []
    for view in views(known=True):
        flat, depth = view.evidence
        guessed.append(View((flat, type(depth)(depth.names, 0.8 * depth.points, depth.sigma)), LENS, view.extrinsics))
    error = float((solve_views(BODY, guessed).joints - joints_of(POSE)).norm(dim=-1).mean())
    # the guesses alone make all bones a fifth too short, which is 10 cm at hands and feet
    assert error < 0.02


def test_unknown_cameras_are_found_from_the_person(found_cameras: ViewsSolution) -> None:
    for camera, true in zip(found_cameras.cameras[1:], CAMERAS[1:], strict=True):
        mine = camera.R_camera_world @ found_cameras.cameras[0].R_camera_world.mT
        theirs = true.R_camera_world @ CAMERAS[0].R_camera_world.mT
        # 3 degrees: two centimetres at the distance between shoulders and hips
        assert float(torch.rad2deg(rotmat_to_rotvec(mine.mT @ theirs).norm())) < 3.0
    assert seen_error(found_cameras) < 0.02


def test_unknown_cameras_leave_the_person_upright_on_the_floor(found_cameras: ViewsSolution) -> None:
    solution = found_cameras
    places = point_positions(BODY, solution.pose, BODY.points.names)
    assert float(places[:, 1].min()) == pytest.approx(0.0, abs=1e-9)
    assert float(solution.joints[0, [0, 2]].norm()) == pytest.approx(0.0, abs=1e-9)
    # moving the world must not move anything on any picture
    assert max(solution.reprojection_px_median) < 2.0


def test_pictures_of_another_moment_are_doubtful(found_cameras: ViewsSolution) -> None:
    assert found_cameras.doubts == solve_views(BODY, views(known=True)).doubts == ()
    local = POSE.local_rotmat.clone()
    for name, angle in (("L_Shoulder", 1.2), ("R_Hip", -0.9), ("L_Knee", 0.9)):
        turn = rotvec_to_rotmat(torch.tensor([angle, 0.0, 0.0], dtype=torch.float64))
        local[BODY.tree.names.index(name)] = turn @ local[BODY.tree.names.index(name)]
    later = View(seen_by(replace(POSE, local_rotmat=local), CAMERAS[1]), LENS)
    assert solve_views(BODY, [views(known=False)[0], later]).doubts == ("disagreeing",)


def test_a_picture_with_swapped_sides_does_not_spoil_the_pose() -> None:
    swapped = views(known=True)
    flat = swapped[2].evidence[0]
    assert isinstance(flat, Keypoints2D)
    other = [flat.names.index(_counterpart(name)) for name in flat.names]
    swapped[2] = View((Keypoints2D(flat.names, flat.points[other], flat.sigma),), LENS, swapped[2].extrinsics)
    solution = solve_views(BODY, swapped)
    assert float((solution.joints - joints_of(POSE)).norm(dim=-1).mean()) < 0.02


def _counterpart(name: str) -> str:
    return name.replace("left", "\0").replace("right", "left").replace("\0", "right")


def test_priors_count_once_and_each_picture_has_blocks_of_its_own() -> None:
    names = [block.name for block in views_problem(BODY, views(known=True)).blocks]
    assert names.count("relaxed stance") == names.count("limits") == names.count("shape prior") == 1
    assert sum(name.endswith("Keypoints2D 0") for name in names) == 3
    assert len(set(names)) == len(names)


def test_a_guessed_shape_takes_the_place_of_the_prior_whichever_picture_it_is_from() -> None:
    plain, other = views(known=True, count=2)
    ones = torch.ones(BODY.num_betas, dtype=torch.float64)
    guessing = replace(other, evidence=(*other.evidence, Shape(BODY.name, ones, 0.7 * ones)))
    for pictures in ([plain, guessing], [guessing, plain]):
        shapes = [block for block in views_problem(BODY, pictures).blocks if isinstance(block, ShapePrior)]
        # one guess is not weakened for the sake of a picture without
        assert [(block.mean.tolist(), block.sigma.tolist()) for block in shapes] == [
            (ones.tolist(), (0.7 * ones).tolist())
        ]


def test_a_landmark_counts_more_beside_other_pictures_and_a_placed_point_as_it_was_placed() -> None:
    mixed = views(known=True)
    flat = mixed[0].evidence[0]
    assert isinstance(flat, Keypoints2D)
    there = mixed[1].extrinsics
    assert there is not None
    elsewhere = ViewKeypoints2D(flat.names, flat.points, flat.sigma, LENS, there)
    mixed[0] = replace(mixed[0], evidence=(replace(flat, is_robust=False), elsewhere))
    blocks = {block.name: block for block in views_problem(BODY, mixed).blocks if isinstance(block, Points2D)}
    placed, seen = blocks["picture 0: Keypoints2D 0"], blocks["picture 1: Keypoints2D 0"]
    assert torch.equal(placed.sigma, flat.sigma)
    placed_elsewhere = blocks["picture 0: ViewKeypoints2D 1"]
    assert torch.equal(placed_elsewhere.sigma, flat.sigma)
    assert (placed.loss, placed_elsewhere.loss) == (None, None)
    assert bool((seen.sigma < placed.sigma).all())


@pytest.mark.parametrize("count", [1, 9])
def test_too_few_or_too_many_pictures_are_refused(count: int) -> None:
    with pytest.raises(InputError, match=f"from 2 to 8 pictures, got {count}"):
        solve_views(BODY, views(known=True, count=1) * count)


def test_cameras_of_which_some_are_known_are_refused() -> None:
    mixed = [views(known=True)[0], views(known=False)[1]]
    with pytest.raises(InputError, match="give all extrinsics, or none"):
        solve_views(BODY, mixed)


def test_it_can_be_stopped() -> None:
    def stop(fraction: float, text: str) -> None:
        del text
        if fraction > 0:
            raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        solve_views(BODY, views(known=True), stop)
