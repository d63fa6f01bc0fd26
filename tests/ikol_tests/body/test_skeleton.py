# SPDX-License-Identifier: Apache-2.0
import pytest
from rigs import chain_skeleton, smpl_skeleton, star_skeleton

from ikol.body.skeleton import Skeleton
from ikol.errors import InputError


def test_children_of_the_smpl_tree() -> None:
    skeleton = smpl_skeleton()
    assert skeleton.num_joints == 24
    assert skeleton.children[0] == (1, 2, 3)
    assert skeleton.children[9] == (12, 13, 14)
    assert skeleton.children[23] == ()


def test_levels_go_from_the_root_to_the_hands() -> None:
    levels = smpl_skeleton().levels
    assert levels[0] == (0,)
    assert levels[1] == (1, 2, 3)
    assert levels[-1] == (22, 23)
    assert sorted(joint for level in levels for joint in level) == list(range(24))


def test_ancestor_mask_holds_the_path_to_the_root() -> None:
    mask = smpl_skeleton().ancestor_mask
    wrist = smpl_skeleton().index("L_Wrist")
    names = [name for name, is_above in zip(smpl_skeleton().names, mask[wrist].tolist(), strict=True) if is_above]
    expected = ["Pelvis", "Spine1", "Spine2", "Spine3", "L_Collar", "L_Shoulder", "L_Elbow", "L_Wrist"]
    assert names == expected


@pytest.mark.parametrize("skeleton", [chain_skeleton(1), chain_skeleton(9), star_skeleton(5), smpl_skeleton()])
def test_jumps_double_the_way_to_the_root(skeleton: Skeleton) -> None:
    def ancestor(joint: int, steps: int) -> int:
        for _ in range(steps):
            joint = skeleton.parents[joint]
            if joint < 0:
                return skeleton.num_joints
        return joint

    expected = [
        [ancestor(joint, 2**k) for joint in range(skeleton.num_joints)] for k in range(len(skeleton.ancestor_jumps))
    ]
    assert skeleton.ancestor_jumps.tolist() == expected
    assert 2 ** len(skeleton.ancestor_jumps) > max(skeleton.depths)


def test_unknown_joint_is_named_with_the_known_ones() -> None:
    with pytest.raises(InputError, match="no joint 'Tail'; its joints are Pelvis, L_Hip"):
        smpl_skeleton().index("Tail")


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
        Skeleton(names=names, parents=parents)
