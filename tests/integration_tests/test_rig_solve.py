# SPDX-License-Identifier: Apache-2.0
"""Rigs whose legs are longer and shorter than the person's: feet stand and hands touch, beside copied rotations.

Over the sample recording, over captured motion, and over poses in which hands touch the body. With `-s` each prints the
row of docs/rigs.md's table.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest
from motion import motion_archive
from rig_cases import (
    TOUCHING,
    body_skeleton,
    missed,
    on_the_ground,
    recorded,
    rig_skeleton,
    solve,
    task_of,
    touching,
    with_legs,
)

from blender_addon.core.rig_call import TreeSolution, TurnLimits
from blender_addon.core.rig_contacts import find_contacts
from blender_addon.core.rig_job import Task, copy_rotations, posed, wanted_turns
from blender_addon.core.rig_locks import Locks
from blender_addon.core.rig_placement import Placement
from blender_addon.core.rig_skeleton import Posed, Skeleton
from blender_addon.core.rig_turns import matrix_of, rotvec_of, turn_of
from ikol.evaluation.motion_clips import read_clips

FEET, HANDS = 0.01, 0.02  # metres, as asked for
LEGS = (0.85, 1.15)
RIGS = (("Mixamo", 0.0), ("Unreal", 50.0), ("VRM J_Bip", 0.0), ("metarig", 35.0))
CLIPS = ("walk", "run", "kick", "dance_a", "cartwheel", "crawl", "getup_faceup")


@dataclass(frozen=True)
class Row:
    """What a motion came to on one rig."""

    solved: np.ndarray
    copied: np.ndarray

    def __str__(self) -> str:
        if not len(self.solved):
            return "none"
        parts = (f"{1e3 * np.median(one):.1f} / {1e3 * one.max():.1f}" for one in (self.solved, self.copied))
        return f"{len(self.solved)}: {' vs. '.join(parts)} mm"


def compare(task: Task) -> tuple[Row, Row, Sequence[TreeSolution]]:
    """Give feet and hands, solved and copied."""
    poses = solve(task)
    solved = missed(task, poses)
    copied = missed(task, [copy_rotations(task, frame) for frame in task.frames])
    return Row(solved.feet, copied.feet), Row(solved.hands, copied.hands), poses


@cache
def recording() -> tuple[list[Posed], float]:
    return recorded()


@pytest.mark.parametrize("ratio", LEGS)
@pytest.mark.parametrize(("style", "down"), RIGS)
def test_over_the_recording_planted_feet_stay(style: str, down: float, ratio: float) -> None:
    frames, floor = recording()
    rig = with_legs(style, down, frames[0].skeleton, ratio)
    assert rig.leg_length == pytest.approx(ratio * frames[0].skeleton.leg_length, rel=1e-3)  # its hips lean
    feet, hands, poses = compare(task_of(rig, frames[::3], 10.0, floor))
    print(f"\nrecording | {style} {ratio} | feet {feet} | hands {hands}")
    assert len(feet.solved) >= 50
    assert feet.solved.max() < FEET
    assert np.median(feet.copied) > FEET  # else the test says nothing
    assert all(pose.status == "converged" for pose in poses)


@pytest.mark.parametrize("longer", [-0.03, 0.05])
def test_feet_of_another_length_stand_still_from_heel_to_toe(longer: float) -> None:
    frames, floor = recording()
    rig = with_legs("Mixamo", 0.0, frames[0].skeleton, 1.15, longer)
    own, theirs = (np.linalg.norm(one.place("L_ball") - one.place("L_heel")) for one in (rig, frames[0].skeleton))
    assert abs(own - theirs) > 0.03
    feet, _, _ = compare(task_of(rig, frames, 30.0, floor))
    print(f"\nrecording | feet {1e3 * (own - theirs):+.0f} mm | {feet}")
    assert len(feet.solved) >= 200
    assert feet.solved.max() < FEET


@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize("ratio", LEGS)
def test_over_captured_motion_feet_and_hands_stay(clip: str, ratio: float) -> None:
    source = body_skeleton()
    frames = on_the_ground(source, read_clips(motion_archive())[clip].numpy()[::6])
    rig = with_legs("Mixamo", 0.0, source, ratio)
    feet, hands, _ = compare(task_of(rig, frames, 5.0))
    print(f"\n{clip} | Mixamo {ratio} | feet {feet} | hands {hands}")
    assert len(feet.solved) + len(hands.solved) > 0
    assert feet.solved.max(initial=0.0) < FEET
    assert hands.solved.max(initial=0.0) < HANDS


@pytest.mark.parametrize("name", TOUCHING)
@pytest.mark.parametrize("ratio", LEGS)
def test_hands_that_touch_do_so_on_the_rig(name: str, ratio: float) -> None:
    source = body_skeleton()
    frames = on_the_ground(source, touching(name)[None])
    rig = with_legs("Unreal", 50.0, source, ratio)
    feet, hands, _ = compare(task_of(rig, frames))
    print(f"\n{name} | Unreal {ratio} | feet {feet} | hands {hands}")
    assert len(hands.solved) >= 1
    assert hands.solved.max() < HANDS
    assert feet.solved.max(initial=0.0) < FEET


def test_a_rig_like_the_person_takes_its_pose() -> None:
    frames, floor = recording()
    source = frames[0].skeleton
    rig = rig_skeleton("SMPL", source, source.leg_length / rig_skeleton("SMPL", source).leg_length)
    task = task_of(rig, frames[:1], 30.0, floor)
    (pose,) = solve(task)
    turned = posed(rig, pose).turns
    for mine, wanted in zip(turned, wanted_turns(task, frames[0]), strict=True):
        angle = np.arccos(np.clip((np.trace(mine.T @ wanted) - 1) / 2, -1, 1))
        assert np.degrees(angle) < 12  # two sigma of a limb: feet on the floor want a little of it


def test_limits_are_kept_and_the_rest_of_the_body_makes_up_for_it() -> None:
    frames, floor = recording()
    rig = with_legs("Mixamo", 0.0, frames[0].skeleton, 1.15)
    knee = rig.index("L_Knee")
    axes = rig.joints[knee].axes.T[[1, 0, 2]]
    limits = TurnLimits((knee,), axes[None], np.full((1, 4), 0.1) * (-1, 1, -1, 1), np.array([[-0.1, 0.1]]))
    task = Task(rig, tuple(frames[:1]), Placement(np.eye(4)), limits, floor)
    (pose,) = solve(task)
    assert 2 * np.arccos(min(1.0, abs(pose.local_quat[knee][0]))) < np.sqrt(3) * 0.1 + 0.01
    assert missed(task, [pose]).feet.max() < FEET


@pytest.mark.parametrize(
    ("is_locked", "off"),
    [
        ((True, False, False), 0.0),
        ((False, True, False), 0.0),
        ((False, False, True), 0.0),
        ((True, True, False), 0.2),
        # so far beside the feet that the hips must come down for both to stand
        ((True, False, False), 0.45),
        ((True, False, True), 0.45),
    ],
)
def test_feet_stand_though_some_channels_of_the_hips_are_locked(is_locked: tuple[bool, bool, bool], off: float) -> None:
    frames, floor = recording()
    rig = with_legs("Mixamo", 0.0, frames[0].skeleton, 1.15)
    free = task_of(rig, frames[::20], 1.5, floor)
    place = posed(rig, solve(free)[0]).places[0] + off * np.array([1.0, 0.0, 0.0]) - (0.0, 0.02, 0.0)
    axes = turn_of(np.array([0.0, 0.2, 0.0]))
    task = replace(free, locks=Locks(place, axes, is_locked, {}))
    poses = solve(task)
    assert missed(task, poses).feet.max() < FEET
    for pose in poses:
        moved = axes.T @ (posed(rig, pose).places[0] - place)
        assert np.abs(moved * is_locked).max() < 5e-4  # metres: it is held by a tenth of that against planted feet
    assert missed(free, [shifted(rig, pose, task) for pose in solve(free)]).feet.max() > FEET  # else it says nothing


def shifted(rig: Skeleton, pose: TreeSolution, task: Task) -> TreeSolution:
    """Give a pose with the locked channels put back, as they were when only writing kept them."""
    assert task.locks is not None
    place = posed(rig, pose).places[0]
    return replace(pose, transl=pose.transl + task.locks.nearest(place) - place)


def test_feet_stand_though_a_thigh_turns_otherwise_than_the_solver_thinks() -> None:
    frames, floor = recording()
    rig = with_legs("Mixamo", 0.0, frames[0].skeleton, 1.15)
    thigh, free = rig.index("L_Hip"), task_of(rig, frames[:1], 30.0, floor)

    def written(turn: np.ndarray) -> np.ndarray:
        return turn_of(rotvec_of(turn) * (1.0, 0.0, 1.0))

    task = replace(free, locks=Locks(np.zeros(3), np.eye(3), (False,) * 3, {thigh: written}))
    (before,), (pose,) = solve(free), solve(task)
    turn = matrix_of(pose.local_quat[thigh])
    np.testing.assert_allclose(written(turn), turn, atol=1e-3)
    assert not np.allclose(written(matrix_of(before.local_quat[thigh])), matrix_of(before.local_quat[thigh]), atol=0.01)
    assert missed(task, [pose]).feet.max() < FEET


def test_a_mirrored_rig_turned_away_is_posed_as_seen() -> None:
    frames, floor = recording()
    source = frames[0].skeleton
    rig = rig_skeleton("Mixamo", source)
    angle = 2.0
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    matrix = np.eye(4)
    matrix[:3, :3] = turn @ np.diag([-1.0, 1, 1])
    matrix[:3, 3] = (3.0, 0.5, -1.0)
    task = Task(rig, tuple(frames[:1]), Placement(matrix), None, floor)
    assert len(find_contacts(task.frames, floor)[0].feet) >= 1
    (pose,) = solve(task)
    assert missed(task, [pose]).feet.max() < FEET
    seen = task.placement.to_scene(posed(rig, pose).place("R_Wrist"))
    assert np.linalg.norm(seen - frames[0].place("L_Wrist")) < 0.2  # arms of other lengths


@pytest.mark.parametrize(
    "linear", [np.diag([1.3, 1.2, 0.8]), np.array([[1.2, 0.1, 0.4], [0.0, 0.9, 0.1], [0.2, 0, 0.8]])]
)
def test_a_rig_that_is_scaled_unevenly_or_sheared_stands_where_the_person_does(linear: np.ndarray) -> None:
    frames, floor = recording()
    matrix = np.eye(4)
    matrix[:3, :3] = np.linalg.inv(linear)
    rig = rig_skeleton("Mixamo", frames[0].skeleton)
    task = Task(rig, tuple(frames[::10]), Placement(matrix), None, floor, 3.0)
    assert missed(task, solve(task)).feet.max() < FEET  # 24 and 28 mm with a foot as long as in the rig's space


def test_a_foot_does_not_jump_where_it_lands_or_leaves() -> None:
    frames, floor = recording()
    rig = with_legs("Mixamo", 0.0, frames[0].skeleton, 1.15)
    poses = solve(task_of(rig, frames, 30.0, floor))
    contacts = find_contacts(frames, floor, 30.0)
    for side in "LR":
        ball = f"{side}_ball"
        pairs = zip(poses, frames, strict=True)
        way = np.array([posed(rig, pose).place(ball) - frame.place(ball) for pose, frame in pairs])
        stands = np.array([any(foot.point == ball for foot in one.feet) for one in contacts])
        jump = np.linalg.norm(np.diff(way, axis=0), axis=1)[stands[1:] != stands[:-1]]
        assert len(jump) >= 1
        assert jump.max() < 0.015  # metres in a thirtieth of a second; without the way in between 44 mm
