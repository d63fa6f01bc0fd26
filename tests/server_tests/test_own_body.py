# SPDX-License-Identifier: Apache-2.0
"""The server as it is shipped, started with a user's own body."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_files import model_arrays, official_objects
from own_body import SCALE, write_own_body
from pickles import python2_pickle
from server_client import ServerProcess

from solver_server import protocol
from solver_server.protocol import FrameWriter
from solver_server.self_test import ANSWER

COMMAND = [sys.executable, "-m", "solver_server"]
OPTIONS = ["--device", "cpu", "--threads", "1", "--body"]


@pytest.mark.parametrize("model", ["SMPL", "SMPL-X"])
def test_a_pose_of_an_own_body_is_solved_with_its_own_bone_lengths(tmp_path: Path, model: str) -> None:
    path = tmp_path / "own.npz"
    if model == "SMPL":
        write_own_body(path)
    else:  # 55 joints, as the official pickle
        path = tmp_path / "official.pkl"
        path.write_bytes(python2_pickle(official_objects(model_arrays(model))))
    points = SCALE * np.array(
        list(ANSWER.values())
    )  # a pose that the smaller body reaches and the default one does not
    with ServerProcess(COMMAND, [*OPTIONS, str(path)]) as server:
        client = server.client()
        assert client.wait_until_ready().problem == ""
        writer = FrameWriter()
        sigma = writer.add_array(np.full(len(ANSWER), 0.005))
        block = protocol.Keypoints3D(tuple(ANSWER), writer.add_array(points), sigma)
        client.send(protocol.Solve(id=client.next_id(), evidence=(block,), solve_shape=False), writer)
        reply: Any
        reply, frames = protocol.decode_reply(client.socket.recv_multipart())
        while isinstance(reply, protocol.Progress):
            reply, frames = protocol.decode_reply(client.socket.recv_multipart())
    assert isinstance(reply, protocol.SolveReply), reply
    off = np.linalg.norm(frames.array(reply.point_positions) - points, axis=-1).max()
    # as the self-test: 0.6 mm is usual; the default body, a tenth larger, would be off by centimetres
    assert off < 0.01, off


def test_a_file_that_is_no_body_is_told_in_a_sentence(tmp_path: Path) -> None:
    path = write_own_body(tmp_path / "own.npz", weights=None)
    with ServerProcess(COMMAND, [*OPTIONS, str(path)]) as server:
        problem = server.client().wait_until_ready().problem
    assert "own.npz has no array weights" in problem
