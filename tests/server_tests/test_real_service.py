# SPDX-License-Identifier: Apache-2.0
"""The server as it is shipped, with torch, networks and body in its worker."""

import io
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from server_client import Client, ServerProcess

from solver_server import protocol
from solver_server.protocol import FrameWriter

COMMAND = [sys.executable, "-m", "solver_server"]


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with ServerProcess(COMMAND, ["--device", "cpu", "--threads", "1"]) as server:
        client = server.client()
        assert client.wait_until_ready().problem == ""
        yield client


def picture(kind: str = "JPEG") -> bytes:
    """Give a picture of nobody."""
    stream = io.BytesIO()
    PIL.Image.linear_gradient("L").resize((320, 240)).convert("RGB").save(stream, kind)
    return stream.getvalue()


def detect(client: Client, image: bytes) -> Any:
    writer = FrameWriter()
    return client.ask(protocol.Detect(id=client.next_id(), image=writer.add_blob(image)), writer)


def solve(client: Client, names: tuple[str, ...], points: Any) -> tuple[Any, protocol.Frames]:
    writer = FrameWriter()
    sigma = np.full(len(names), 0.02)
    block = protocol.Keypoints3D(names, writer.add_array(np.array(points)), writer.add_array(sigma))
    client.send(protocol.Solve(id=client.next_id(), evidence=(block,)), writer)
    while True:
        reply, frames = protocol.decode_reply(client.socket.recv_multipart())
        if not isinstance(reply, protocol.Progress):
            return reply, frames


@pytest.mark.parametrize(
    "image",
    [
        pytest.param(b"this is a text file named .jpg", id="text"),
        pytest.param(picture()[:-200], id="truncated JPEG"),
        pytest.param(b"", id="nothing"),
        pytest.param(picture("GIF"), id="GIF"),
    ],
)
def test_what_is_no_picture_gives_a_sentence_and_the_next_request_works(client: Client, image: bytes) -> None:
    reply = detect(client, image)
    assert (type(reply), reply.code) == (protocol.Error, "bad_image")
    assert len(reply.message) > 20
    assert isinstance(detect(client, picture()), protocol.DetectReply)


def test_picture_without_a_person_gives_its_lens_and_nobody(client: Client) -> None:
    reply = detect(client, picture("PNG"))
    assert (reply.persons, reply.camera.width, reply.camera.height) == ((), 320, 240)


def test_keypoints_give_a_pose_that_meets_them(client: Client) -> None:
    names = ("L_Hip", "R_Hip", "L_Shoulder", "R_Shoulder", "L_Wrist", "R_Wrist")
    points = [[0.1, 1, 0], [-0.1, 1, 0], [0.18, 1.5, 0], [-0.18, 1.5, 0], [0.3, 1.2, 0.35], [-0.6, 1.6, 0.1]]
    reply, frames = solve(client, names, np.array(points, dtype=float))
    assert (reply.status, reply.point_names, reply.camera) == ("converged", names, None)
    distance = np.linalg.norm(np.asarray(frames.array(reply.point_positions)) - points, axis=-1)
    # the points are those of no real body: shape and priors keep the solve from meeting them better than this
    assert distance.max() < 0.1, distance
    quat = np.asarray(frames.array(reply.pose.local_quat))
    assert np.allclose(np.linalg.norm(quat, axis=-1), 1.0, atol=1e-12)


def test_unknown_keypoint_is_refused_by_name(client: Client) -> None:
    reply, _ = solve(client, ("tail",), np.zeros((1, 3)))
    assert reply.code == "bad_input"
    assert "tail" in reply.message


def test_solve_without_evidence_is_refused(client: Client) -> None:
    assert client.ask(protocol.Solve(id=client.next_id(), evidence=())).code == "bad_input"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_missing_cuda_device_is_a_failing_start_with_a_way_out() -> None:
    with ServerProcess(COMMAND, ["--device", "cuda"]) as server:
        problem = server.client().wait_until_ready().problem
    assert problem == "torch sees no CUDA device; choose the CPU, or install a torch that is built for CUDA"
