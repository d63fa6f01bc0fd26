# SPDX-License-Identifier: Apache-2.0
import torch

from ikol.body import forward_kinematics, load_default_body
from ikol.training.everyday import everyday_poses

BODY = load_default_body()
NAMES = BODY.tree.names
POSES, STANCE = everyday_poses(300, BODY, torch.Generator().manual_seed(0))


def _index(name: str) -> int:
    return NAMES.index(name)


def test_elbows_bend_about_their_hinge_only() -> None:
    hinge = torch.tensor([0.0, 1.0, 0.0])
    for name in ("L_Elbow", "R_Elbow"):
        # float32 rotations
        assert (POSES[:, _index(name)] @ hinge - hinge).abs().max() < 1e-5


def test_forearms_go_where_they_are_drawn_to() -> None:
    """Arms reach forwards, up, sideways and down, but hardly ever straight behind or through the trunk."""
    local = POSES.clone()
    local[:, 0] = torch.eye(3)
    rest = BODY.rest_joints(torch.zeros(len(local), 10))
    joints = forward_kinematics(BODY.tree, rest, local, torch.zeros(len(local), 3)).joints
    for side, outwards in (("L", 1.0), ("R", -1.0)):
        reach = joints[:, _index(f"{side}_Wrist")] - joints[:, _index(f"{side}_Shoulder")]
        assert (reach[:, 1] < -0.3).float().mean() > 0.15  # hanging
        assert (reach[:, 1] > 0.25).float().mean() > 0.04  # raised
        assert (reach[:, 2] < -0.35).float().mean() < 0.05
        assert float((outwards * reach[:, 0]).mean()) > -0.05
        assert reach.norm(dim=-1).max() < 0.5


def test_knees_bend_backwards() -> None:
    for name in ("L_Knee", "R_Knee"):
        # sin of the bend about +x
        assert POSES[:, _index(name), 2, 1].min() > -1e-6


def test_every_stance_is_drawn() -> None:
    assert len(STANCE.unique()) == int(STANCE.max()) + 1 >= 10
