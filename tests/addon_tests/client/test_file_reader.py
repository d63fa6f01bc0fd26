# SPDX-License-Identifier: Apache-2.0
"""Files of other programs read by the solver's Python: the real one, and ones that fail."""

import sys
import time

import numpy as np
import pytest
import torch
from numpy_body import pose_body

from blender_addon.client.file_reader import FileReader, FileWriter, ReadCall, WriteCall, read_command
from blender_addon.core.errors import SolverError
from blender_addon.core.motion_file import read_motion
from blender_addon.core.rig import SMPL
from ikol.body.default_body import load_default_body
from ikol.body.smpl_trees import SMPL_TREE
from ikol.exchange.convert import Settings, format_by_suffix, write_file
from ikol.exchange.motion import Keypoints, Motion
from ikol.geometry.rotations import quat_to_rotmat, rotmat_to_quat, rotvec_to_rotmat


def done(process):
    """Wait for what a process writes."""
    deadline = time.monotonic() + 60
    while (found := process.poll()) is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found


def wait(reader):
    try:
        return read_motion(done(reader))
    finally:
        reader.close()


def test_an_amass_file_is_read_with_its_axes_turned(tmp_path):
    path = tmp_path / "walk_poses.npz"
    poses = np.zeros((4, 156))
    poses[:, 0] = np.pi / 2  # Z is up in the file: upright is turned about X
    poses[:, 3 * 18 + 1] = [0.0, 0.1, 0.2, 0.3]
    trans = np.array([[0.0, 0.0, 1.0 + 0.1 * frame] for frame in range(4)])
    np.savez(path, poses=poses, trans=trans, betas=np.zeros(16), gender="male", mocap_framerate=120.0)
    motion = wait(FileReader(sys.executable, ReadCall(path)))
    assert motion.fps == 120.0
    assert len(motion.tree.names) == 52
    assert np.abs(motion.quats[:, 0, 1:]).max() < 1e-6  # upright in the SMPL world, float32
    assert np.abs(np.diff(motion.transl[:, 1]) - 0.1).max() < 1e-6  # up is Y
    elbow = motion.tree.index("L_Elbow")
    assert abs(2 * np.arcsin(motion.quats[3, elbow, 2]) - 0.3) < 1e-6


def walk(frames=4):
    """A motion of SMPL's joints: arms that swing, a few degrees each."""
    rotvec = torch.zeros(frames, 24, 3, dtype=torch.float64)
    rotvec[:, 16, 2], rotvec[:, 17, 2] = -1.1, 1.1
    rotvec[:, 18, 1] = torch.linspace(0, -0.4, frames)
    transl = torch.zeros(frames, 3, dtype=torch.float64)
    transl[:, 2] = torch.linspace(0, 0.3, frames)
    betas = torch.zeros(1, 10, dtype=torch.float64)
    return Motion(SMPL_TREE.names, rotvec_to_rotmat(rotvec), transl, betas, 30.0)


@pytest.mark.parametrize("suffix", [".npz", ".smpl", ".pk", ".bvh"])
def test_motions_of_every_format_are_read(tmp_path, suffix):
    path = tmp_path / f"walk{suffix}"
    written = walk()
    write_file(path, written, format_by_suffix(path), Settings(body=load_default_body(dtype=torch.float64)))
    motion = wait(FileReader(sys.executable, ReadCall(path)))
    off = (quat_to_rotmat(torch.from_numpy(motion.on(SMPL).quats)) - written.local_rotmat)[:, :22].abs().max()
    assert off < 2e-6, off  # float32, six decimals of degrees in .bvh
    assert np.abs(motion.transl - written.transl.numpy()).max() < 1e-5


_SLOW = [pytest.param(form, marks=pytest.mark.slow) for form in ("coco", "wholebody", "blazepose")]


@pytest.mark.parametrize("form", ["trc", "c3d", "openpose", *_SLOW])
def test_points_of_every_format_pose_the_body(tmp_path, form):
    frames = 1 if form == "openpose" else 2
    body, motion = load_default_body(dtype=torch.float64), walk(frames)
    joints, landmarks = [], []
    for frame in range(frames):
        posed = pose_body(motion.transl[frame], rotmat_to_quat(motion.local_rotmat[frame]), motion.betas[0])
        joints.append(posed.joints)
        landmarks.append([posed.landmarks[name] for name in body.points.names[24:]])
    if form in ("trc", "c3d"):
        points, size = torch.tensor(np.array(joints)), None
        keypoints = Keypoints(body.tree.names, points, torch.ones(points.shape[:2]), 30.0)
    else:
        x, y, z = torch.tensor(np.array(landmarks)).unbind(-1)
        depth, size = 4.0 - z, (1000, 1000)  # from the front, the camera 4 m away at the pelvis' height
        pixels = torch.stack((500 + 1000 * x / depth, 500 - 1000 * (y + 0.2) / depth), -1)
        keypoints = Keypoints(body.points.names[24:], pixels, torch.ones(pixels.shape[:2]), 30.0, size)
    path = tmp_path / ("points.json" if size else f"points.{form}")
    write_file(path, keypoints, form, Settings())
    found = wait(FileReader(sys.executable, ReadCall(path, size=size)))
    assert len(found.quats) == frames
    elbow = pose_body((0, 0, 0), found.quats[0], [0.0] * 10).joints[18]
    expected = pose_body((0, 0, 0), rotmat_to_quat(motion.local_rotmat[0]), [0.0] * 10).joints
    off = np.linalg.norm((elbow - expected[0])[:2] - (expected[18] - expected[0])[:2])
    assert off < 0.12, off  # metres seen from the front: hanging arms, of a shape that was found from few points


def test_what_is_wrong_with_a_file_is_said_in_the_readers_words(tmp_path):
    path = tmp_path / "broken.smpl"
    path.write_bytes(b"nothing")
    with pytest.raises(SolverError, match=r"broken\.smpl cannot be read: .*broken\.smpl"):
        wait(FileReader(sys.executable, ReadCall(path)))


def test_without_a_solver_of_this_computer_nothing_is_read(tmp_path):
    with pytest.raises(SolverError, match="a shared one is in use"):
        FileReader("", ReadCall(tmp_path / "a.npz"))
    with pytest.raises(SolverError, match="cannot be started"):
        FileReader(str(tmp_path / "python"), ReadCall(tmp_path / "a.npz"))


def test_a_reader_that_is_given_up_ends_and_leaves_nothing(tmp_path):
    reader = FileReader(sys.executable, ReadCall(tmp_path / "a.npz"))
    folder, process = reader._folder.name, reader._process
    reader.close()
    assert process.returncode is not None
    assert not (tmp_path / folder).exists()


def test_what_the_user_chose_is_handed_on(tmp_path):
    out = tmp_path / "out.smpl"
    call = ReadCall(tmp_path / "p.json", body="/b.npz", person=2, size=(640, 480), fps=25.0)
    assert read_command("py", call, out)[4:] == [
        "solve", "--keypoints", str(call.path), "--out", str(out), "--skeleton", "/b.npz", "--person", "2",
        "--size", "640x480", "--fps", "25",
    ]  # fmt: skip
    moved = read_command("py", ReadCall(tmp_path / "m.pk", up="camera"), out)
    assert moved[4:] == ["convert", str(tmp_path / "m.pk"), str(out), "--to", "smpl", "--up", "camera", "--person", "0"]
    assert read_command("py", ReadCall(tmp_path), out)[4] == "solve"  # a folder


@pytest.mark.parametrize(("form", "suffix"), [("smpl", ".smpl"), ("hybrik", ".pk")])
def test_a_motion_is_written_and_read_again(tmp_path, form, suffix):
    written = walk()
    source, target = tmp_path / "source.npz", tmp_path / f"dance{suffix}"
    write_file(source, written, "amass", Settings(target_axes="z"))
    writer = FileWriter(sys.executable, WriteCall(source, target, form))
    try:
        path = done(writer)
        assert path.name == target.name
        assert not target.exists()  # whose place is the caller's business
        motion = wait(FileReader(sys.executable, ReadCall(path, up="y" if form == "smpl" else "")))
    finally:
        writer.close()
    off = (quat_to_rotmat(torch.from_numpy(motion.on(SMPL).quats)) - written.local_rotmat).abs().max()
    assert off < 2e-6, off  # float32
    assert np.abs(motion.transl - written.transl.numpy()).max() < 1e-6


def test_what_cannot_be_written_is_said(tmp_path):
    np.savez(tmp_path / "a.npz", names=np.array(["C7"]), points=np.zeros((1, 1, 2)))
    writer = FileWriter(sys.executable, WriteCall(tmp_path / "a.npz", tmp_path / "b.json", "coco"))
    try:
        with pytest.raises(SolverError, match=r"b\.json could not be written: none of the points is one of coco's: C7"):
            done(writer)
    finally:
        writer.close()
    with pytest.raises(SolverError, match="are written by a solver on this computer, and a shared one is in use"):
        FileWriter("", WriteCall(tmp_path / "a.npz", tmp_path / "b.json", "coco"))
