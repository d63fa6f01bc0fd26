# SPDX-License-Identifier: Apache-2.0
import pytest
from rigs import chain_tree, smpl_tree, star_tree

from ikol.body.joint_tree import JointTree
from ikol.errors import InputError


def test_children_of_the_smpl_tree() -> None:
    tree = smpl_tree()
    assert tree.num_joints == 24
    assert tree.children[0] == (1, 2, 3)
    assert tree.children[9] == (12, 13, 14)
    assert tree.children[23] == ()


def test_levels_go_from_the_root_to_the_hands() -> None:
    levels = smpl_tree().levels
    assert levels[0] == (0,)
    assert levels[1] == (1, 2, 3)
    assert levels[-1] == (22, 23)
    assert sorted(joint for level in levels for joint in level) == list(range(24))


def test_ancestor_mask_holds_the_path_to_the_root() -> None:
    mask = smpl_tree().ancestor_mask
    wrist = smpl_tree().index("L_Wrist")
    names = [name for name, is_above in zip(smpl_tree().names, mask[wrist].tolist(), strict=True) if is_above]
    expected = ["Pelvis", "Spine1", "Spine2", "Spine3", "L_Collar", "L_Shoulder", "L_Elbow", "L_Wrist"]
    assert names == expected


@pytest.mark.parametrize("tree", [chain_tree(1), chain_tree(9), star_tree(5), smpl_tree()])
def test_jumps_double_the_way_to_the_root(tree: JointTree) -> None:
    def ancestor(joint: int, steps: int) -> int:
        for _ in range(steps):
            joint = tree.parents[joint]
            if joint < 0:
                return tree.num_joints
        return joint

    expected = [[ancestor(joint, 2**k) for joint in range(tree.num_joints)] for k in range(len(tree.ancestor_jumps))]
    assert tree.ancestor_jumps.tolist() == expected
    assert 2 ** len(tree.ancestor_jumps) > max(tree.depths)


def test_unknown_joint_is_named_with_the_known_ones() -> None:
    with pytest.raises(InputError, match="no joint 'Tail'; its joints are Pelvis, L_Hip"):
        smpl_tree().index("Tail")


@pytest.mark.parametrize(
    ("names", "parents", "message"),
    [
        ((), (), "at least one joint, got 0 names"),
        (("a", "b"), (-1,), "2 names and 1 parents"),
        (("a", "a"), (-1, 0), "must differ, got a more than once"),
        (("a", "b"), (0, -1), "first joint must be the root"),
        (("a", "b", "c"), (-1, 2, 0), r"joint 1 \(b\) must have a parent between 0 and 0, got 2"),
        (("a", "b"), (-1, -1), "under one root"),
    ],
)
def test_a_table_that_is_no_tree_is_refused(names: tuple[str, ...], parents: tuple[int, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        JointTree(names=names, parents=parents)
