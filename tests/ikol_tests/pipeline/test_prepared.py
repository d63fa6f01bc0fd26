# SPDX-License-Identifier: Apache-2.0
"""Solves that share what does not change end where solves by themselves do."""

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from photo_evidence import LENS, PLACED, known_pose, seen_as

from ikol.body.default_body import load_default_body
from ikol.body.model import BodyModel
from ikol.errors import InputError
from ikol.pipeline import Anchor, Keypoints2D, NamedEvidence, Orientations, Pins, Pose, PoseSolution, Twist
from ikol.pipeline.placement import point_positions
from ikol.pipeline.posing import solve_pose
from ikol.pipeline.prepared import KEPT, PreparedProblems


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return load_default_body(dtype=torch.float64)


def everything(body: BodyModel, shift: float, sigma: float = 0.02) -> list[NamedEvidence]:
    """One block of most kinds, moved by `shift`."""
    pose = known_pose(body)
    picture, relative = seen_as(body, pose)
    wrist = point_positions(body, pose, ("L_Wrist",))
    turn = pose.local_rotmat[:1]
    return [
        replace(picture, points=picture.points + 100.0 * shift),
        replace(relative, points=relative.points + 0.1 * shift),
        Pins(("L_Wrist",), wrist + shift),
        Orientations(("Pelvis",), turn, torch.tensor([sigma]).double()),
        Anchor(pose.local_rotmat, torch.full((24,), 0.5).double()),
        Twist(("L_Knee",), torch.tensor([shift]).double(), torch.tensor([0.1]).double()),
    ]


def solved(
    body: BodyModel,
    evidence: Sequence[NamedEvidence],
    prepared: PreparedProblems | None,
    *,
    start: Pose | None = None,
    joints: tuple[str, ...] = (),
    solve_shape: bool = False,
) -> PoseSolution:
    return solve_pose(
        body,
        evidence,
        intrinsics=LENS,
        extrinsics=PLACED,
        initial=known_pose(body),
        start=start,
        joints=joints,
        solve_shape=solve_shape,
        prepared=prepared,
    )


def same(one: PoseSolution, other: PoseSolution) -> None:
    # pins end within 0.01 mm; how stiff their springs are comes from the pose that was prepared
    torch.testing.assert_close(one.joints, other.joints, atol=1e-3, rtol=0)
    assert one.cost == pytest.approx(other.cost, rel=1e-2)
    assert one.status == other.status


def test_other_targets_are_solved_as_by_themselves(body: BodyModel) -> None:
    prepared = PreparedProblems()
    for shift in (0.0, 0.03, -0.02):
        evidence = everything(body, shift)
        same(solved(body, evidence, prepared), solved(body, evidence, None))


@pytest.mark.parametrize("changed", ["sigma", "names", "joints", "shape", "robust", "start", "body"])
def test_another_structure_is_not_mistaken(body: BodyModel, changed: str) -> None:
    prepared = PreparedProblems()
    evidence = everything(body, 0.02)
    solved(body, evidence, prepared)
    start, joints, solve_shape = None, (), False
    match changed:
        case "sigma":
            evidence = everything(body, 0.02, sigma=0.3)
        case "names":
            pins = evidence[2]
            assert isinstance(pins, Pins)
            evidence[2] = Pins(("R_Wrist",), point_positions(body, known_pose(body), ("R_Wrist",)))
        case "joints":
            joints = ("L_Shoulder", "L_Elbow", "L_Wrist")
        case "shape":
            solve_shape = True
        case "robust":
            picture = evidence[0]
            assert isinstance(picture, Keypoints2D)
            evidence[0] = replace(picture, is_robust=False)
        case "start":
            start = known_pose(body)
        case _:
            scaled = replace(body.points, rest=1.02 * body.points.rest)
            body = replace(body, joints_template=1.02 * body.joints_template, points=scaled)
    options = {"start": start, "joints": joints, "solve_shape": solve_shape}
    same(
        solved(body, evidence, prepared, **options),  # pyright: ignore[reportArgumentType]
        solved(body, evidence, None, **options),  # pyright: ignore[reportArgumentType]
    )


def test_numbers_are_checked_each_time(body: BodyModel) -> None:
    prepared = PreparedProblems()
    good = everything(body, 0.0)
    before = solved(body, good, prepared, start=known_pose(body))
    for index, broken in (
        (0, replace(good[0], points=torch.full((33, 2), math.nan).double())),
        (2, Pins(("L_Wrist",), torch.full((1, 3), math.inf).double())),
        (3, Orientations(("Pelvis",), 2.0 * torch.eye(3).double()[None], torch.tensor([0.02]).double())),
    ):
        with pytest.raises(InputError):
            solved(body, [*good[:index], broken, *good[index + 1 :]], prepared, start=known_pose(body))
    bad = replace(known_pose(body), local_rotmat=torch.zeros(24, 3, 3).double())
    with pytest.raises(InputError, match="rotation matrices"):
        solved(body, good, prepared, start=bad)
    same(solved(body, good, prepared, start=known_pose(body)), before)


def test_only_the_last_few_are_kept(body: BodyModel) -> None:
    prepared = PreparedProblems()
    for number in range(KEPT + 1):
        solved(body, everything(body, 0.0, sigma=0.1 + number), prepared)
    assert len(prepared) == KEPT
