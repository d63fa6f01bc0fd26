# SPDX-License-Identifier: Apache-2.0
"""Parts of the body as joints."""

import pytest

from blender_addon.core.body_parts import PARTS, joints_of_bones, joints_of_part
from blender_addon.core.rig import ALL_JOINT_NAMES, TREES


def below(joint, tree):
    """The joint and all that hang on it."""
    chosen = {joint}
    for name, parent in zip(tree.names, tree.parents, strict=True):
        if parent >= 0 and tree.names[parent] in chosen:
            chosen.add(name)
    return chosen


@pytest.mark.parametrize("tree", TREES.values(), ids=lambda tree: tree.model)
@pytest.mark.parametrize(
    ("part", "top"),
    [
        ("left_arm", "L_Collar"),
        ("right_arm", "R_Collar"),
        ("left_leg", "L_Hip"),
        ("right_leg", "R_Hip"),
        ("head", "Neck"),
        ("upper_body", "Spine1"),
    ],
)
def test_a_part_is_all_that_hangs_on_its_top_joint(part, top, tree):
    assert set(joints_of_part(part, tree)) == below(top, tree)


@pytest.mark.parametrize("tree", TREES.values(), ids=lambda tree: tree.model)
def test_upper_and_lower_body_are_all_but_the_pelvis(tree):
    upper, lower = joints_of_part("upper_body", tree), joints_of_part("lower_body", tree)
    assert sorted((*upper, *lower, "Pelvis")) == sorted(tree.names)


@pytest.mark.parametrize("part", PARTS)
def test_no_part_has_the_pelvis_or_a_joint_twice(part):
    assert "Pelvis" not in PARTS[part]
    assert len(set(PARTS[part])) == len(PARTS[part])
    assert set(PARTS[part]) <= set(ALL_JOINT_NAMES)


def test_bones_become_joints_in_order_without_strangers():
    assert joints_of_bones(("R_Knee", "root", "L_Hip", "IK target")) == ("L_Hip", "R_Knee")
    assert joints_of_bones(("root",)) == ()
