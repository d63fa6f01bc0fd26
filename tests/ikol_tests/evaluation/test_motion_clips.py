# SPDX-License-Identifier: Apache-2.0
import json
import zipfile
from pathlib import Path

import pytest
import torch
from motion import motion_poses

from ikol.body.default_body import load_default_body
from ikol.body.kinematics import forward_kinematics
from ikol.errors import FileFormatError, InputError
from ikol.evaluation.motion_clips import CLIPS, fetch_motion_archive, read_motion_clips


def _archive(path: Path, row: list[float]) -> Path:
    with zipfile.ZipFile(path, "w") as opened:
        for clip in CLIPS:
            opened.writestr(f"pybullet_data/data/motions/humanoid3d_{clip}.txt", json.dumps({"Frames": [row]}))
    return path


def _row(**quats: list[float]) -> list[float]:
    """A frame in DeepMimic's rest pose, its arms hanging, but for the quaternions that begin at the given columns."""
    row = [0.0] * 44
    for first in (4, 8, 12, 16, 21, 25, 30, 35, 39):
        row[first] = 1.0
    for first, quat in quats.items():
        row[int(first[1:]) : int(first[1:]) + 4] = quat
    return row


def _joints(path: Path) -> dict[str, torch.Tensor]:
    body = load_default_body(dtype=torch.float64)
    local = read_motion_clips(path)
    posed = forward_kinematics(body.tree, body.joints_template, local, torch.zeros(3, dtype=torch.float64)).joints
    return dict(zip(body.tree.names, posed[0], strict=True))


def test_arms_hang_at_rest(tmp_path: Path) -> None:
    joints = _joints(_archive(tmp_path / "clips.whl", _row()))
    for side in "LR":
        arm = joints[f"{side}_Wrist"] - joints[f"{side}_Shoulder"]
        # the T-pose's arms are level within 2 degrees
        assert float(arm[1] / arm.norm()) < -0.99


def test_axes_are_turned_to_smpl(tmp_path: Path) -> None:
    # DeepMimic's z points right: a turn of 90 degrees about it lifts a hanging leg forward
    half = 0.5**0.5
    joints = _joints(_archive(tmp_path / "clips.whl", _row(_30=[half, 0.0, 0.0, half])))
    leg = joints["L_Knee"] - joints["L_Hip"]
    assert float(leg[2] / leg.norm()) > 0.98
    assert float(joints["R_Knee"][1] - joints["R_Hip"][1]) < -0.3


def test_a_file_without_the_clips_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="does not hold"):
        read_motion_clips(tmp_path / "missing.whl")
    with pytest.raises(FileFormatError, match="frames of 44 numbers"):
        read_motion_clips(_archive(tmp_path / "short.whl", [0.0, 1.0]))


def test_a_package_that_cannot_be_fetched_is_reported(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="could not be fetched"):
        fetch_motion_archive(tmp_path, "pybullet==3.2.7", seconds=0.0)


@pytest.mark.slow
def test_captured_motion_stands_on_its_feet_most_of_the_time() -> None:
    poses = motion_poses()
    assert poses.shape == (1620, 24, 3, 3)
    # rounding of products of a few rotations
    assert float((poses @ poses.mT - torch.eye(3, dtype=torch.float64)).abs().max()) < 1e-12
    body = load_default_body(dtype=torch.float64)
    joints = forward_kinematics(body.tree, body.joints_template, poses, torch.zeros(3, dtype=torch.float64)).joints
    # walk, dance, kick: the head is the higher part in most frames; getting up, rolling and somersaults are the rest
    assert 0.6 < float((joints[:, 15, 1] > joints[:, 0, 1] + 0.3).double().mean()) < 0.95
