# SPDX-License-Identifier: Apache-2.0
"""BVH: our skeleton out and in, other programs' files, and damaged ones."""

import re
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from exchange_motions import ROUND_TRIP, damaged, walking

from ikol.body import load_default_body
from ikol.body.kinematics import forward_kinematics
from ikol.body.smpl_trees import MODELS
from ikol.errors import InputError
from ikol.exchange import Rig, read_bvh, write_bvh


def rig(frames: int = 7) -> Rig:
    body = load_default_body(torch.float64)
    return Rig(body.tree, body.joints_template, walking(frames=frames))


def joints_of(rig: Rig) -> torch.Tensor:
    motion = rig.motion
    return forward_kinematics(rig.tree, rig.rest_joints, motion.local_rotmat, motion.transl).joints


def test_a_skeleton_and_its_motion_are_read_again_joint_by_joint(tmp_path: Path) -> None:
    first = rig()
    write_bvh(tmp_path / "a.bvh", first)
    again = read_bvh(tmp_path / "a.bvh")
    order = [again.tree.index(name) for name in first.tree.names]  # a file goes branch by branch
    for joint, name in enumerate(first.tree.names):
        parent = again.tree.parents[again.tree.index(name)]
        assert (again.tree.names[parent] if parent >= 0 else None) == (
            first.tree.names[first.tree.parents[joint]] if joint else None
        )
    off = float((joints_of(again)[:, order] - joints_of(first)).norm(dim=-1).max())
    assert off < ROUND_TRIP, off
    # two angles are at a quarter turn, where Euler angles are not unique; a millionth of a degree is 2e-8 radians
    assert float((again.motion.local_rotmat[:, order] - first.motion.local_rotmat).abs().max()) < 1e-6
    assert abs(again.motion.fps - 25) < 1e-6


def test_a_tree_with_fingers_is_written(tmp_path: Path) -> None:
    tree = MODELS["SMPL-X"]
    rest = torch.zeros(tree.num_joints, 3, dtype=torch.float64)
    for joint in range(1, tree.num_joints):
        rest[joint] = rest[tree.parents[joint]] + torch.tensor([0.01, 0.1, 0.02], dtype=torch.float64)
    first = Rig(tree, rest, walking("SMPL-X"))
    write_bvh(tmp_path / "a.bvh", first)
    again = read_bvh(tmp_path / "a.bvh")
    order = [again.tree.index(name) for name in tree.names]
    assert float((joints_of(again)[:, order] - joints_of(first)).norm(dim=-1).max()) < ROUND_TRIP


CENTIMETRES = """HIERARCHY
ROOT mixamo:Hips
{
  OFFSET 0 90 0
  CHANNELS 6 Xposition Yposition Zposition Zrotation Yrotation Xrotation
  JOINT mixamo:Spine
  {
    OFFSET 0 60 0
    CHANNELS 3 Yrotation Xrotation Zrotation
    End Site
    {
      OFFSET 0 20 0
    }
  }
  JOINT mixamo:Spine
  {
    OFFSET 0 -60 0
    CHANNELS 3 Yrotation Xrotation Zrotation
  }
}
MOTION
Frames: 2
Frame Time: 0.04
0 90 0 0 0 0  0 0 0  0 0 0
10 90 5 0 0 90  0 0 90  0 0 0
"""


def test_centimetres_other_orders_and_names_twice_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.bvh").write_text(CENTIMETRES)
    read = read_bvh(tmp_path / "a.bvh")
    assert read.tree.names == ("Hips", "Spine", "Spine.2")
    # the trunk's 0.6 metres lie forwards after a quarter turn about X
    wanted = torch.tensor([[0.1, 0.9, 0.05], [0.1, 0.9, 0.65], [0.1, 0.9, -0.55]], dtype=torch.float64)
    assert torch.allclose(joints_of(read)[1], wanted, atol=1e-9)
    # Yrotation Xrotation Zrotation, the last about Z by 90 degrees
    turned = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]], dtype=torch.float64)
    assert torch.allclose(read.motion.local_rotmat[1, 1], turned, atol=1e-12)


def nested(count: int) -> str:
    joints = "".join(f"JOINT j{number} {{ OFFSET 0 1 0 CHANNELS 0 " for number in range(count))
    return "HIERARCHY ROOT r { OFFSET 0 0 0 CHANNELS 0 " + joints + "}" * (count + 1) + " MOTION\nFrames: 1\n"


def wide(count: int) -> str:
    joints = "".join(f"JOINT j{number} {{ OFFSET 0 1 0 }} " for number in range(count))
    return "HIERARCHY ROOT r { OFFSET 0 0 0 " + joints + "} MOTION\nFrames: 1\n"


WRONG = {
    "empty": ("", "has no MOTION; it is not a BVH file, or it is truncated"),
    "other": ("<html> MOTION", "does not begin with HIERARCHY"),
    "deep": (nested(300), "nests joints more than 200 deep"),
    "wide": (wide(1001), "has more than 1000 joints"),
    "long": ("HIERARCHY " + "x" * (5 << 20) + " MOTION", "a hierarchy of 5242891 characters"),
    "truncated tree": (CENTIMETRES.replace("  }\n}\nMOTION", "MOTION"), "the hierarchy is truncated"),
    "two roots": (CENTIMETRES.replace("  JOINT mixamo:Spine", "  ROOT x", 1), "has a ROOT where none may be"),
    "word": (CENTIMETRES.replace("OFFSET 0 60", "SHIFT 0 60"), "'SHIFT' is not expected in a hierarchy"),
    "channel": (CENTIMETRES.replace("Xposition", "Xscale"), "'Xscale' is no channel"),
    "many channels": (CENTIMETRES.replace("CHANNELS 3", "CHANNELS 9999999", 1), "a joint has 9999999 channels"),
    "no numbers": (CENTIMETRES.replace("10 90 5", "10 a 5"), "a frame is not made of numbers"),
    "not finite": (CENTIMETRES.replace("10 90 5", "10 nan 5"), "infinite or undefined numbers"),
    "short frame": (CENTIMETRES.replace("10 90 5", "10 90"), "a frame has 11 numbers, its joints have 12 channels"),
    "long frame": (CENTIMETRES.replace("10 90 5", "00 " * 500_000), "a frame has more than 12 numbers"),
    "frames": (CENTIMETRES.replace("Frames: 2", "Frames: 3"), "announces 3 frames and holds 2; it may be truncated"),
    "many frames": (CENTIMETRES.replace("Frames: 2", "Frames: 99999999999"), "announces 99999999999 frames"),
    "no time": (CENTIMETRES.replace("0.04", "0"), "announces 2 frames of 12 numbers, 0.0 seconds each"),
    "no frames": (CENTIMETRES.replace("Frames: 2\n", ""), "does not say how many frames it has"),
    "size": (CENTIMETRES.replace(" 60 ", " 6e7 "), "units large; say how many metres a unit is"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_file_says_what_is_wrong_in_bounded_memory(tmp_path: Path, name: str) -> None:
    text, sentence = WRONG[name]
    (tmp_path / "a.bvh").write_text(text)
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=re.escape(sentence)):
            read_bvh(tmp_path / "a.bvh")
        assert tracemalloc.get_traced_memory()[1] < 40 << 20  # the long one is 5 MB, read as bytes and as text
    finally:
        tracemalloc.stop()


def test_joints_without_channels_do_not_claim_memory(tmp_path: Path) -> None:
    frames = 20_000  # with 999 joints 1.4 GB of matrices, of a file of 70 kB
    head = wide(998).replace("ROOT r { OFFSET 0 0 0", "ROOT r { OFFSET 0 0 0 CHANNELS 1 Xrotation")
    text = head.replace("Frames: 1", f"Frames: {frames}\nFrame Time: 0.1") + "0\n" * frames
    (tmp_path / "a.bvh").write_text(text)
    with pytest.raises(InputError, match="a.bvh has 20000 frames of 999 joints, which is too much"):
        read_bvh(tmp_path / "a.bvh")


def test_joints_that_leave_their_parents_are_refused(tmp_path: Path) -> None:
    six = "6 Xposition Yposition Zposition Yrotation Xrotation Zrotation"
    text = CENTIMETRES.replace("3 Yrotation Xrotation Zrotation", six, 1)
    text = text.replace("0 90 0 0 0 0  ", "0 90 0 0 0 0  0 60 0 ").replace("0 0 90  ", "0 0 90  0 60 0 ", 1)
    (tmp_path / "a.bvh").write_text(text)
    assert read_bvh(tmp_path / "a.bvh").tree.num_joints == 3
    (tmp_path / "a.bvh").write_text(text.replace("0 0 90  0 60 0", "0 0 90  0 80 0"))
    with pytest.raises(InputError, match="Spine moves away from its parent; export it with rotations only"):
        read_bvh(tmp_path / "a.bvh")


def test_damaged_files_give_a_rig_or_a_sentence(tmp_path: Path) -> None:
    for path in damaged(tmp_path / "a.bvh", lambda path: write_bvh(path, rig(2))):
        try:
            read_bvh(path)
        except InputError:
            continue


def test_names_with_spaces_cannot_be_written(tmp_path: Path) -> None:
    first = rig(2)
    names = ("left hip", *first.tree.names[1:])
    bad = replace(first, tree=replace(first.tree, names=names), motion=replace(first.motion, joint_names=names))
    with pytest.raises(InputError, match="cannot be called 'left hip'"):
        write_bvh(tmp_path / "a.bvh", bad)
