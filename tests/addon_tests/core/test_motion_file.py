# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from numpy_body import BODY_PATH, pose_body

from blender_addon.core.body import load_body
from blender_addon.core.errors import FileError
from blender_addon.core.motion_file import joint_places, motion_record, read_motion, spread_frames
from blender_addon.core.rig import SMPL, SMPLH, SMPLX, TREES
from ikol.body.smpl_trees import MODELS
from ikol.exchange.motion import Motion
from ikol.exchange.smpl_codec import write_smpl_codec
from ikol.geometry.rotations import quat_to_rotmat, rotvec_to_rotmat

BETAS = (0.5, -1.0, *(0.0,) * 8)


def motion(model, frames=7, seed=1):
    tree = MODELS[model]
    rng = np.random.default_rng(seed)
    rotvec = np.cumsum(rng.normal(scale=0.3, size=(frames, tree.num_joints, 3)), axis=0)
    rotvec[2, 0] = 0.0
    return Motion(
        joint_names=tree.names,
        local_rotmat=rotvec_to_rotmat(torch.from_numpy(rotvec)),
        transl=torch.from_numpy(rng.normal(size=(frames, 3))),
        betas=torch.tensor([BETAS], dtype=torch.float64),
        fps=50.0,
    )


@pytest.mark.parametrize("model", ["SMPL", "SMPL-H", "SMPL-X"])
def test_what_the_solvers_python_writes_is_read(tmp_path, model):
    written = motion(model)
    write_smpl_codec(tmp_path / "a.smpl", written)
    found = read_motion(tmp_path / "a.smpl")
    assert found.tree == TREES[len(written.joint_names)]
    assert found.fps == 50.0
    off = (quat_to_rotmat(torch.from_numpy(found.quats)) - written.local_rotmat).abs().max()
    assert off < 1e-6, off  # axis-angles are float32
    assert np.abs(found.transl - written.transl.numpy()).max() < 1e-6
    assert np.allclose(found.betas, BETAS)
    dots = np.einsum("fji,fji->fj", found.quats[1:], found.quats[:-1])
    assert dots.min() >= 0.0


def test_joints_that_a_body_has_not_are_left_out_and_others_rest(tmp_path):
    write_smpl_codec(tmp_path / "a.smpl", motion("SMPL-X"))
    found = read_motion(tmp_path / "a.smpl")
    small, back = found.on(SMPL), found.on(SMPL).on(SMPLH)
    assert small.quats.shape == (7, 24, 4)
    assert np.array_equal(small.quats[:, SMPL.index("L_Wrist")], found.quats[:, SMPLX.index("L_Wrist")])
    assert np.array_equal(small.quats[:, SMPL.names.index("L_Hand")], np.tile((1.0, 0, 0, 0), (7, 1)))
    assert np.array_equal(back.quats[:, SMPLH.index("L_Index1")], np.tile((1.0, 0, 0, 0), (7, 1)))


def test_a_damaged_file_gives_a_sentence(tmp_path):
    path = tmp_path / "a.smpl"
    path.write_bytes(b"PK nothing")
    with pytest.raises(FileError, match="the motion that the solver wrote cannot be read"):
        read_motion(path)
    np.savez(tmp_path / "b.npz", smplVersion=0, bodyPose=np.zeros((3, 20, 3)), bodyTranslation=np.zeros((3, 3)))
    with pytest.raises(FileError, match=r"rotations of shape \(3, 20, 3\)"):
        read_motion(tmp_path / "b.npz")


@pytest.mark.parametrize(
    ("fps", "scene_fps", "chosen", "frames"),
    [
        (30.0, 30.0, [0, 1, 2, 3, 4], [5, 6, 7, 8, 9]),
        (120.0, 30.0, [0, 4], [5, 6]),
        (12.0, 24.0, [0, 1, 2, 3, 4], [5, 7, 9, 11, 13]),
        (50.0, 24.0, [0, 2, 4], [5, 5.96, 6.92]),
    ],
)
def test_the_speed_stays_and_frames_are_left_out_where_there_are_too_many(fps, scene_fps, chosen, frames):
    got, at = spread_frames(5, fps, scene_fps, 5)
    assert got == chosen
    assert np.allclose(at, frames)


def test_the_record_of_a_motion_has_its_joints_where_the_body_has_them(tmp_path):
    body = load_body(BODY_PATH)
    write_smpl_codec(tmp_path / "a.smpl", motion("SMPL"))
    pose = read_motion(tmp_path / "a.smpl").pose(3, BETAS)
    expected = pose_body(pose.transl, pose.local_quat, BETAS).joints
    assert np.abs(joint_places(body, pose) - expected).max() < 1e-9  # the same sums, float64
    record = motion_record("a.smpl", body, pose)
    assert np.allclose(record.solution.points["R_Foot"], expected[11])
