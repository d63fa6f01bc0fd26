# SPDX-License-Identifier: Apache-2.0
"""Flipped limbs look the same, bone by bone, and differ in depth only."""

import pytest
import torch
from photo_evidence import LENS, LEVEL, PLACED, known_pose

from ikol.body.default_body import load_default_body
from ikol.body.model import BodyModel
from ikol.geometry.rotations import rotvec_to_rotmat
from ikol.pipeline import Limb, Pose
from ikol.pipeline.blocks import body_limits
from ikol.pipeline.flips import LIMBS, flipped
from ikol.pipeline.placement import point_positions
from ikol.pipeline.problem import camera_of
from ikol.solver import SolveState
from ikol.solver.limits import limit_excess

SEED = 1  # a pose of which every flip reaches its rays; a knee that comes nearer may be too far for its ankle
HINGED: tuple[Limb, ...] = ("left_arm", "right_arm", "left_leg", "right_leg")


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return load_default_body(dtype=torch.float64)


def flips(body: BodyModel, pose: Pose, limb: Limb) -> list[Pose]:
    camera = camera_of(LENS, PLACED)
    states = flipped(body, camera, SolveState(pose.transl, pose.local_rotmat, pose.betas), limb)
    return [Pose(state.transl, state.local_rotmat, state.betas) for state in states]


@pytest.mark.parametrize("limb", HINGED)
def test_bones_of_a_flipped_limb_end_on_the_same_pixels(body: BodyModel, limb: Limb) -> None:
    pose = known_pose(body, SEED)
    camera = camera_of(LENS, PLACED)
    ends = tuple(end for _, end in LIMBS[limb].bones)
    before = camera.project(point_positions(body, pose, ends))
    found = flips(body, pose, limb)
    assert len(found) == 4
    for flip in found:
        torch.testing.assert_close(camera.project(point_positions(body, flip, ends)), before, atol=1e-6, rtol=0)


@pytest.mark.parametrize("limb", HINGED)
def test_each_bone_comes_nearer_once_and_farther_once(body: BodyModel, limb: Limb) -> None:
    (near, middle), (_, end) = LIMBS[limb].bones
    signs: set[tuple[bool, bool]] = set()
    for flip in flips(body, known_pose(body, SEED), limb):
        at = point_positions(body, flip, (near, middle, end)) @ LEVEL
        # from the tangent point of the ray, which lies a little before the plane parallel to the picture
        ray = at / at.norm(dim=-1, keepdim=True)
        signs.add((bool((at[1] - at[0]) @ ray[1] > 0), bool((at[2] - at[1]) @ ray[2] > 0)))
    assert len(signs) == 4


@pytest.mark.parametrize("limb", [*HINGED, "head", "torso"])
def test_the_given_pose_is_among_the_flips(body: BodyModel, limb: Limb) -> None:
    pose = known_pose(body, SEED)
    names = tuple(dict.fromkeys(name for bone in LIMBS[limb].bones for name in bone))
    here = point_positions(body, pose, names)
    distances = [
        float((point_positions(body, flip, names) - here).norm(dim=-1).max()) for flip in flips(body, pose, limb)
    ]
    assert min(distances) < 1e-6, distances  # metres


@pytest.mark.parametrize("limb", [*HINGED, "head", "torso"])
def test_only_the_limb_turns(body: BodyModel, limb: Limb) -> None:
    pose = known_pose(body, SEED)
    others = [index for index, name in enumerate(body.tree.names) if name not in LIMBS[limb].joints]
    for flip in flips(body, pose, limb):
        assert torch.equal(flip.local_rotmat[others], pose.local_rotmat[others])
        assert torch.equal(flip.transl, pose.transl)
        torch.testing.assert_close(flip.local_rotmat @ flip.local_rotmat.mT, torch.eye(3).double().expand(24, 3, 3))


@pytest.mark.parametrize("limb", HINGED)
def test_elbows_and_knees_bend_the_right_way(body: BodyModel, limb: Limb) -> None:
    (_, hinge), _ = LIMBS[limb].bones
    limits = body_limits(body)
    joint = body.tree.names.index(hinge)
    limits = limits.take([limits.joint_index.tolist().index(joint)])
    for flip in flips(body, known_pose(body, SEED), limb):
        excess = limit_excess(limits, flip.local_rotmat[[joint]]).residual.abs().max()
        # radians; rest elbows are bent 5 degrees, not exactly about the limit's axis. The wrong way would be over 0.5
        assert float(excess) < 0.15, float(excess)


def test_a_straight_limb_keeps_its_hinge(body: BodyModel) -> None:
    rest = known_pose(body, SEED)
    straight = rest.local_rotmat.clone()
    elbow = body.tree.names.index("L_Elbow")
    straight[elbow] = rotvec_to_rotmat(torch.tensor([0.0, 0.09, 0.0]).double())
    pose = Pose(rest.transl, straight, rest.betas)
    turned = [flip.local_rotmat[elbow] for flip in flips(body, pose, "left_arm")]
    assert all(bool(torch.isfinite(rotmat).all()) for rotmat in turned)


def test_a_limb_that_points_at_the_camera_stays_before_it(body: BodyModel) -> None:
    """A body so near that one of a bone's two places would lie behind the camera."""
    pose = known_pose(body, SEED)
    near = Pose(pose.transl + torch.tensor([0.0, 0.0, 3.6]).double(), pose.local_rotmat, pose.betas)
    for flip in flips(body, near, "left_arm"):
        assert float((point_positions(body, flip, ("L_Elbow", "L_Wrist")) @ LEVEL)[:, 2].min()) > 0.0
