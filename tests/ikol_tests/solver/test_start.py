# SPDX-License-Identifier: Apache-2.0
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rigs import (
    chain_tree,
    plausible_rotmats,
    random_rotmats,
    smpl_points,
    smpl_rest_joints,
    smpl_skeleton,
    smpl_tree,
)
from strategies import BATCH_SHAPES, DTYPES
from torch import Tensor

from ikol.body.default_body import load_default_body
from ikol.body.points import AttachedPoints
from ikol.camera import camera_from_fov
from ikol.errors import InputError
from ikol.geometry.rotations import rotmat_to_rotvec, rotvec_to_rotmat
from ikol.geometry.swing_twist import twist_angle
from ikol.solver.anatomy import default_limits
from ikol.solver.evidence import Twist
from ikol.solver.skeleton import Skeleton
from ikol.solver.start import FAR_AWAY, start_from_points, translation_from_projection
from ikol.solver.state import SolveState

RIG, POINTS = smpl_skeleton(0), smpl_points(0)
INDEX = smpl_tree().index
NO_BETAS = torch.zeros(0, dtype=torch.float64)
EYE = torch.eye(3, dtype=torch.float64)


def pose_of(local: dict[str, tuple[float, float, float]]) -> SolveState:
    """Rest, but for some joints' rotation vectors in degrees."""
    rotmats = EYE.repeat(24, 1, 1)
    for name, rotvec_deg in local.items():
        rotmats[INDEX(name)] = rotvec_to_rotmat(torch.tensor(rotvec_deg, dtype=torch.float64) * math.pi / 180)
    return SolveState(torch.zeros(3, dtype=torch.float64), rotmats, NO_BETAS)


def start_near(state: SolveState, *, missing: tuple[str, ...] = (), with_limits: bool = True) -> SolveState:
    weights = torch.ones(35, dtype=torch.float64)
    weights[[POINTS.index(name) for name in missing]] = 0.0
    target = RIG.posed_points(POINTS, state)
    target = torch.where(weights[:, None] > 0, target, math.nan)
    limits = default_limits(RIG.tree, dtype=torch.float64) if with_limits else None
    return start_from_points(RIG, POINTS, target, weights, NO_BETAS, limits=limits)


def angle_between(first: Tensor, second: Tensor) -> float:
    """Degrees between rotations."""
    return math.degrees(float(rotmat_to_rotvec(first.mT @ second).norm()))


def bone_error(state: SolveState, truth: SolveState, joint: str) -> float:
    """Degrees between the directions of the bone below a joint; what points on a straight line tell of its rotation."""
    ends = [INDEX(joint), smpl_tree().children[INDEX(joint)][0]]
    first, second = (RIG.pose(item).joints[ends].diff(dim=0)[0] for item in (state, truth))
    return math.degrees(math.atan2(float(torch.linalg.cross(first, second).norm()), float(first @ second)))


# ---- pose ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", BATCH_SHAPES)
def test_start_is_near_the_pose_for_any_shape_and_type(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    skeleton, points = smpl_skeleton(0, dtype), smpl_points(0, dtype)
    rotmats = plausible_rotmats(shape, seed=1)
    rotmats[..., 0, :, :] = random_rotmats(shape, 2.0, seed=2)
    truth = SolveState(torch.ones(*shape, 3, dtype=dtype), rotmats.to(dtype), torch.zeros(*shape, 0, dtype=dtype))
    target = skeleton.posed_points(points, truth)
    limits = default_limits(skeleton.tree, dtype=dtype)
    start = start_from_points(skeleton, points, target, torch.ones(35, dtype=dtype), truth.betas, limits=limits)
    assert start.local_rotmat.shape == (*shape, 24, 3, 3)
    assert start.transl.shape == (*shape, 3)
    assert start.local_rotmat.dtype == dtype
    error = (skeleton.posed_points(points, start) - target).norm(dim=-1)
    # the spine is not bent by the start: 3 x 0.4 rad of it move the head and hands by 10 cm
    assert error.mean() < 0.08, f"{float(error.mean()):.3f} m"


@given(st.floats(-math.pi, math.pi), st.floats(-1.0, 1.0))
def test_a_turned_and_moved_rest_pose_is_found_exactly(yaw: float, shift: float) -> None:
    truth = pose_of({"Pelvis": (0.0, math.degrees(yaw), 0.0)})
    truth = replace(truth, transl=torch.tensor((shift, 2.0, -3.0), dtype=torch.float64))
    start = start_near(truth)
    error = (RIG.posed_points(POINTS, start) - RIG.posed_points(POINTS, truth)).norm(dim=-1).max()
    assert error < 1e-9, f"{float(error):.2e}"


@pytest.mark.parametrize("side", ["L", "R"])
@pytest.mark.parametrize("joint", ["Hip", "Knee", "Shoulder", "Elbow"])
def test_one_bent_joint_is_found(joint: str, side: str) -> None:
    bends = {"Hip": (-60, 0, 0), "Knee": (80, 0, 0), "Shoulder": (0, 0, -50), "Elbow": (0, -80, 0)}
    x, y, z = bends[joint]
    sign = 1 if side == "L" else -1
    truth = pose_of({f"{side}_{joint}": (x, sign * y, sign * z)})
    start = start_near(truth)
    # the pull to rest, a hundredth of the data, keeps about a degree of a right angle; the heel has a say in the shin
    assert bone_error(start, truth, f"{side}_{joint}") < 2.5
    # a bone is not quite along its axis, so the smallest swing to its target has a few degrees of twist
    assert angle_between(start.local_rotmat[INDEX(f"{side}_{joint}")], truth.local_rotmat[INDEX(f"{side}_{joint}")]) < 6


@pytest.mark.parametrize("side", ["L", "R"])
def test_the_plane_of_a_bent_elbow_turns_the_upper_arm(side: str) -> None:
    # the upper arm twisted by 70 degrees: without the plane the elbow would have to bend sideways
    sign = 1 if side == "L" else -1
    truth = pose_of({f"{side}_Shoulder": (-70, 0, 0), f"{side}_Elbow": (0, -90 * sign, 0)})
    shoulder, elbow = INDEX(f"{side}_Shoulder"), INDEX(f"{side}_Elbow")
    start = start_near(truth)
    assert angle_between(start.local_rotmat[shoulder], truth.local_rotmat[shoulder]) < 3
    assert angle_between(start.local_rotmat[elbow], truth.local_rotmat[elbow]) < 4
    plain = start_near(truth, with_limits=False)
    assert angle_between(plain.local_rotmat[elbow], truth.local_rotmat[elbow]) > 45


def test_a_nearly_straight_arm_does_not_turn_by_noise() -> None:
    truth = pose_of({"L_Shoulder": (0, 0, -60), "L_Elbow": (0, 0, 5)})  # 5 degrees sideways, as noise would have it
    shoulder = INDEX("L_Shoulder")
    # its plane is 90 degrees off
    assert angle_between(start_near(truth).local_rotmat[shoulder], truth.local_rotmat[shoulder]) < 6


def test_missing_limbs_stay_at_rest() -> None:
    truth = pose_of({"L_Shoulder": (0, 0, -50), "L_Hip": (-70, 0, 0), "L_Knee": (60, 0, 0)})
    leg = ("L_Knee", "L_Ankle", "L_Foot", "left_heel", "left_toe")
    start = start_near(truth, missing=leg)
    for name in ("L_Hip", "L_Knee", "L_Ankle"):
        assert angle_between(start.local_rotmat[INDEX(name)], EYE) < 1e-3
    assert bone_error(start, truth, "L_Shoulder") < 1.5


def test_another_persons_longer_bones_do_not_bend_the_limbs() -> None:
    truth = pose_of({"L_Hip": (-60, 0, 0), "L_Knee": (80, 0, 0)})
    target = RIG.posed_points(POINTS, truth)
    hip = target[INDEX("L_Hip")].clone()
    leg = [POINTS.index(name) for name in ("L_Knee", "L_Ankle", "L_Foot", "left_heel", "left_toe")]
    target[leg] = hip + 1.1 * (target[leg] - hip)
    start = start_from_points(RIG, POINTS, target, torch.ones(35, dtype=torch.float64), NO_BETAS)
    # the shin points from where the shorter thigh ends to the ankle: 4 cm off over 45 cm
    assert bone_error(start, truth, "L_Hip") < 1.5
    assert bone_error(start, truth, "L_Knee") < 6


def test_the_face_turns_the_head() -> None:
    truth = pose_of({"Head": (0, 40, 0)})
    start = start_near(truth)
    both = start.local_rotmat[INDEX("Neck")] @ start.local_rotmat[INDEX("Head")]
    assert angle_between(both, truth.local_rotmat[INDEX("Head")]) < 5


@pytest.mark.parametrize("seen", [(), ("Head",), ("L_Wrist", "R_Wrist"), ("L_Hip", "R_Hip"), ("nose", "left_ear")])
def test_few_points_give_finite_rotations_and_a_place_near_them(seen: tuple[str, ...]) -> None:
    truth = replace(pose_of({}), transl=torch.tensor((5.0, 0.0, 0.0), dtype=torch.float64))
    start = start_near(truth, missing=tuple(name for name in POINTS.names if name not in seen))
    assert torch.isfinite(start.local_rotmat).all()
    assert (start.local_rotmat.mT @ start.local_rotmat - EYE).abs().max() < 1e-9
    expected = truth.transl if seen else torch.zeros(3, dtype=torch.float64)
    assert (start.transl - expected).norm() < 0.05


def test_weights_may_have_any_scale() -> None:
    truth = pose_of({"L_Shoulder": (0, 0, -50), "Pelvis": (0, 100, 0)})
    target = RIG.posed_points(POINTS, truth)
    one = start_from_points(RIG, POINTS, target, torch.ones(35, dtype=torch.float64), NO_BETAS)
    many = start_from_points(RIG, POINTS, target, torch.full((35,), 1e6, dtype=torch.float64), NO_BETAS)
    assert torch.allclose(one.local_rotmat, many.local_rotmat, atol=1e-9)


def test_any_rig_starts_with_its_root_and_swings() -> None:
    tree = chain_tree(4)
    rest = torch.tensor(((0.0, 0, 0), (0, 1, 0), (0, 2, 0), (0, 3, 0)), dtype=torch.float64)
    skeleton = Skeleton.from_rest_joints(tree, rest)
    points = AttachedPoints(tree.names, torch.arange(4), rest, torch.zeros(4, 3, 0, dtype=torch.float64))
    local = EYE.repeat(4, 1, 1)
    local[1] = rotvec_to_rotmat(torch.tensor((0.8, 0.0, 0.0), dtype=torch.float64))
    local[2] = rotvec_to_rotmat(torch.tensor((0.0, 0.0, -0.9), dtype=torch.float64))
    truth = SolveState(torch.ones(3, dtype=torch.float64), local, NO_BETAS)
    target = skeleton.posed_points(points, truth)
    start = start_from_points(skeleton, points, target, torch.ones(4, dtype=torch.float64), NO_BETAS)
    assert (skeleton.posed_points(points, start) - target).norm(dim=-1).max() < 0.05


def test_the_default_body_starts_within_three_centimetres() -> None:
    body = load_default_body()
    skeleton = Skeleton.from_body(body)
    rotmats = plausible_rotmats((8,), seed=4, dtype=torch.float32)
    rotmats[:, 0] = random_rotmats((8,), 1.0, seed=5, dtype=torch.float32)
    truth = SolveState(torch.zeros(8, 3), rotmats, torch.zeros(8, 10))
    target = skeleton.posed_points(body.points, truth)
    start = start_from_points(
        skeleton, body.points, target, torch.ones(len(body.points)), truth.betas, limits=default_limits(body.tree)
    )
    error = (skeleton.posed_points(body.points, start) - target).norm(dim=-1).mean()
    assert error < 0.03, f"{float(error):.3f} m"


@pytest.mark.parametrize("bad", ["target", "weights", "negative"])
def test_numbers_that_cannot_be_used_are_refused(bad: str) -> None:
    target = RIG.posed_points(POINTS, RIG.rest_state())
    weights = torch.ones(35, dtype=torch.float64)
    if bad == "target":
        target[3, 1] = math.nan
    else:
        weights[3] = math.nan if bad == "weights" else -1.0
    with pytest.raises(InputError, match="give missing points the weight 0"):
        start_from_points(RIG, POINTS, target, weights, NO_BETAS)


@pytest.mark.parametrize("dtype", DTYPES)
def test_joints_of_which_most_are_seen_are_met_whatever_the_pose(dtype: torch.dtype) -> None:
    skeleton = smpl_skeleton(3, dtype)
    joints = _joint_points(skeleton)
    generator = torch.Generator().manual_seed(4)
    betas = torch.randn(60, 3, generator=generator, dtype=torch.float64).to(dtype)
    truth = SolveState(torch.ones(60, 3, dtype=dtype), random_rotmats((60, 24), math.pi, seed=5).to(dtype), betas)
    target = skeleton.posed_points(joints, truth)
    weights = (torch.rand(60, 24, generator=generator) > 0.15).to(dtype)
    start = start_from_points(skeleton, joints, torch.where(weights[..., None] > 0, target, math.nan), weights, betas)
    error = ((skeleton.posed_points(joints, start) - target).norm(dim=-1) * weights).amax(-1)
    # all of them can be met; rounding of places of a metre, in float32 through a rotation near half a turn
    assert float((error < (1e-6 if dtype == torch.float64 else 1e-3)).double().mean()) == 1.0, error.max()
    for joint, children in enumerate(skeleton.tree.children):
        if not children:
            assert torch.equal(start.local_rotmat[:, joint], torch.eye(3, dtype=dtype).expand(60, 3, 3))


@pytest.mark.parametrize("seen", [24, 10], ids=["least squares", "walked down"])
def test_a_held_root_stays_and_the_rest_makes_the_best_of_it(seen: int) -> None:
    joints = _joint_points(RIG)
    truth = SolveState(EYE[0], random_rotmats((40, 24), math.pi, seed=8), NO_BETAS)
    target = RIG.posed_points(joints, truth)
    target[:, 0] += 0.3  # the keypoint of the root is wrong: it must not be what the root is held at
    weights = (torch.arange(24) < seen).double().expand(40, 24)
    place = RIG.rest_joints(NO_BETAS)[0] + EYE[0]
    held = start_from_points(RIG, joints, target, weights, NO_BETAS, root=place)
    assert torch.allclose(held.transl, EYE[0].expand(40, 3), atol=1e-12)
    if seen == 24:
        error = (RIG.posed_points(joints, held) - target).norm(dim=-1)[:, 1:]
        assert float(error.max()) < 1e-6
    free = start_from_points(RIG, joints, target, weights, NO_BETAS)
    assert float((free.transl - EYE[0]).norm(dim=-1).min()) > 0.005


def test_few_joints_leave_the_torso_alone_also_beside_a_frame_that_sees_all() -> None:
    joints = _joint_points(RIG)
    truth = pose_of({"L_Shoulder": (0.0, 0.0, -50.0), "Spine2": (0.0, 30.0, 0.0)})
    target = RIG.posed_points(joints, truth).expand(2, 24, 3)
    weights = torch.ones(2, 24, dtype=torch.float64)
    weights[1] = 0.0
    weights[1, [INDEX("L_Elbow"), INDEX("L_Wrist")]] = 1.0
    start = start_from_points(RIG, joints, target, weights, NO_BETAS)
    alone = start_from_points(RIG, joints, target[1], weights[1], NO_BETAS)
    assert float((RIG.posed_points(joints, start)[0] - target[0]).norm(dim=-1).max()) < 1e-6
    assert torch.equal(start.local_rotmat[1], alone.local_rotmat)
    assert torch.equal(start.transl[1], alone.transl)
    torso = [INDEX(name) for name in ("Pelvis", "Spine1", "Spine2", "Spine3")]
    assert torch.equal(alone.local_rotmat[torso], EYE.expand(4, 3, 3))


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_known_twists_are_in_the_pose_that_meets_the_joints(sign: float) -> None:
    joint, child = INDEX("R_Elbow"), INDEX("R_Wrist")
    rest = RIG.rest_joints(NO_BETAS)
    bone = rest[child] - rest[joint]
    axis = sign * bone / bone.norm()
    truth = pose_of({"R_Shoulder": (0.0, 0.0, 40.0), "R_Elbow": (0.0, 70.0, 0.0)})
    angle, sigma = torch.tensor([0.8], dtype=torch.float64), torch.tensor([0.1], dtype=torch.float64)
    twist = Twist(torch.tensor([joint]), axis[None], angle, sigma)
    joints, ones = _joint_points(RIG), torch.ones(24, dtype=torch.float64)
    start = start_from_points(RIG, joints, RIG.posed_points(joints, truth), ones, NO_BETAS, twist=twist)
    assert float(twist_angle(start.local_rotmat[[joint]], axis[None])) == pytest.approx(0.8, abs=1e-9)
    assert float((RIG.posed_points(joints, start) - RIG.posed_points(joints, truth)).norm(dim=-1).max()) < 1e-6


def _joint_points(skeleton: Skeleton) -> AttachedPoints:
    tree = skeleton.tree
    return AttachedPoints(
        tree.names, torch.arange(tree.num_joints), skeleton.joints_template, skeleton.joints_shapedirs
    )


# ---- translation -----------------------------------------------------------------------------------------------------

CAMERA = camera_from_fov(640, 480, 55.0, dtype=torch.float64)
LENS = CAMERA.with_extrinsics(EYE, torch.zeros(3, dtype=torch.float64))


def body_in_camera() -> Tensor:
    """Points about their hips, in camera axes."""
    return (smpl_rest_joints() - smpl_rest_joints()[0]) @ CAMERA.R_camera_world.T


@given(st.floats(-2, 2), st.floats(-1, 1), st.floats(1.5, 20))
def test_translation_is_recovered(x: float, y: float, z: float) -> None:
    transl = torch.tensor((x, y, z), dtype=torch.float64)
    points = body_in_camera()
    found = translation_from_projection(
        points, LENS.project(points + transl), torch.ones(24, dtype=torch.float64), CAMERA
    )
    # the pull to 3 m is a millionth; where a body spans 0.1 of the picture's slope it moves 20 m by a millimetre or two
    assert (found - transl).norm() < 1e-3 * max(1.0, z), f"{found} {transl}"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", BATCH_SHAPES)
def test_translation_of_any_shape_and_type(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    transl = torch.tensor((0.2, -0.1, 4.0), dtype=dtype).expand(*shape, 3)
    points, lens = body_in_camera().to(dtype), LENS.to(dtype=dtype)
    pixels = lens.project(points + transl[..., None, :])
    found = translation_from_projection(points, pixels, torch.ones(24, dtype=dtype), lens)
    assert found.shape == (*shape, 3)
    assert found.dtype == dtype
    assert (found - transl).abs().max() < 1e-3


def test_translation_ignores_missing_pixels_and_believes_weights() -> None:
    transl = torch.tensor((0.2, -0.1, 4.0), dtype=torch.float64)
    points = body_in_camera()
    pixels = LENS.project(points + transl)
    pixels[3], pixels[4] = math.nan, 1e6
    weights = torch.ones(24, dtype=torch.float64)
    weights[3], weights[4] = 0.0, 1e-14
    found = translation_from_projection(points, pixels, weights, CAMERA)
    assert (found - transl).norm() < 1e-3


def test_translation_is_near_the_one_of_least_squares_with_noise() -> None:
    transl = torch.tensor((0.2, -0.1, 4.0), dtype=torch.float64)
    points = body_in_camera()
    noise = torch.randn(24, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = translation_from_projection(
        points, LENS.project(points + transl) + 3 * noise, torch.ones(24).double(), CAMERA
    )
    # 3 px at f = 615: the spread of a body of 0.5 m about its middle in 24 points gives the distance to 1 %
    assert (found - transl).norm() < 0.1


@pytest.mark.parametrize("count", [0, 1])
def test_what_pixels_leave_open_is_filled_with_a_distance(count: int) -> None:
    weights = torch.zeros(24, dtype=torch.float64)
    weights[:count] = 1.0
    pixels = torch.full((24, 2), 100.0, dtype=torch.float64)
    found = translation_from_projection(body_in_camera(), pixels, weights, CAMERA)
    assert float(found[2]) == pytest.approx(FAR_AWAY)
    if count:
        assert torch.allclose(LENS.project(body_in_camera()[:1] + found), pixels[:1], atol=1e-6)


def test_translation_puts_all_seen_points_in_front() -> None:
    # pixels of a body as large as the picture of a giant: least squares would put the camera inside of it
    points = body_in_camera() * torch.tensor((1.0, 1.0, 20.0), dtype=torch.float64)
    pixels = 320.0 + 3000.0 * points[:, :2]
    found = translation_from_projection(points, pixels, torch.ones(24, dtype=torch.float64), CAMERA)
    assert (points[:, 2] + found[2]).min() > 0.19


@pytest.mark.parametrize("bad", ["pixels", "weights"])
def test_pixels_that_cannot_be_used_are_refused(bad: str) -> None:
    pixels, weights = torch.zeros(24, 2, dtype=torch.float64), torch.ones(24, dtype=torch.float64)
    (pixels if bad == "pixels" else weights)[5] = math.nan
    with pytest.raises(InputError, match="weight 0"):
        translation_from_projection(body_in_camera(), pixels, weights, CAMERA)
