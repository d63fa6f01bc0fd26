# SPDX-License-Identifier: Apache-2.0
"""Keypoints over frames to a motion: one shape, frame after frame, gaps filled by the last pose."""

from dataclasses import replace

import pytest
import torch
from exchange_motions import markers

from ikol.body import load_default_body
from ikol.body.kinematics import forward_kinematics
from ikol.errors import InputError
from ikol.exchange import Keypoints
from ikol.exchange.solve_keypoints import solve_keypoints

BODY = load_default_body(torch.float64)


def marching(frames: int) -> Keypoints:
    """Return the joints of a taller body that walks with swinging limbs, as exact markers."""
    time = torch.arange(frames, dtype=torch.float64) / 10
    betas = torch.zeros(10, dtype=torch.float64)
    betas[0] = 1.0
    local = torch.eye(3, dtype=torch.float64).repeat(frames, 24, 1, 1)
    for name, sign in (("L_Hip", 1.0), ("R_Hip", -1.0)):
        angle = 0.5 * sign * torch.sin(3 * time)
        sine, cosine = torch.sin(angle), torch.cos(angle)
        joint = BODY.tree.index(name)
        local[:, joint, 1, 1] = local[:, joint, 2, 2] = cosine
        local[:, joint, 2, 1], local[:, joint, 1, 2] = sine, -sine
    transl = torch.stack((0 * time, 1 + 0 * time, time), -1)
    joints = forward_kinematics(BODY.tree, BODY.rest_joints(betas), local, transl).joints
    return Keypoints(BODY.tree.names, joints, torch.ones(frames, 24, dtype=torch.float64), 10.0)


def test_a_motion_is_followed_in_one_shape_and_gaps_keep_the_last_pose() -> None:
    exact = marching(8)
    hidden = exact.confidence.clone()
    hidden[0], hidden[4] = 0, 0
    told: list[tuple[int, int]] = []
    solved = solve_keypoints(BODY, replace(exact, confidence=hidden), progress=lambda *done: told.append(done))
    assert told == [(frame, 8) for frame in range(1, 9)]
    assert [residual is None for residual in solved.residuals] == [frame in (0, 4) for frame in range(8)]
    assert solved.median_residual < 0.01, solved.median_residual  # markers of 2 cm against the relaxed stance
    motion = solved.motion
    assert motion.betas.shape == (1, 10)
    assert abs(float(motion.betas[0, 0]) - 1.0) < 0.3  # the taller body is seen, and its prior has a say
    assert torch.equal(motion.local_rotmat[4], motion.local_rotmat[3])
    assert torch.equal(motion.local_rotmat[0], motion.local_rotmat[1])


def test_what_the_body_does_not_know_is_listed_and_not_used() -> None:
    exact = marching(1)
    named = replace(exact, names=(*exact.names[:-1], "C7"))
    solved = solve_keypoints(BODY, named, solve_shape=False)
    assert solved.unused == ("C7",)
    assert float(solved.motion.betas.abs().max()) == 0


def test_too_few_points_are_refused_with_what_is_known() -> None:
    points = markers()
    unknown = replace(points, names=tuple(f"m{number}" for number in range(len(points.names))))
    with pytest.raises(InputError, match=r"no frame has 4 points that the body knows; got m0, m1.* it knows Pelvis"):
        solve_keypoints(BODY, unknown)
    flat = Keypoints(("nose",), torch.zeros(1, 1, 2, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64))
    with pytest.raises(InputError, match="points on a picture need its size"):
        solve_keypoints(BODY, flat)
