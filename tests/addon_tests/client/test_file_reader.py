# SPDX-License-Identifier: Apache-2.0
"""Files of other programs read by the solver's Python: the real one, and ones that fail."""

import sys
import time

import numpy as np
import pytest

from blender_addon.client.file_reader import FileReader, ReadCall, read_command
from blender_addon.core.errors import SolverError
from blender_addon.core.motion_file import read_motion


def wait(reader):
    deadline = time.monotonic() + 60
    try:
        while (found := reader.poll()) is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return read_motion(found)
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
