# SPDX-License-Identifier: Apache-2.0
"""The server as it is shipped, with torch, networks and body in its worker."""

import dataclasses
import io
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from server_client import ROOT, Client, ServerProcess

from ikol.errors import Cancelled, IkolError
from solver_server import protocol, self_test
from solver_server.protocol import FrameWriter
from solver_server.self_test import ANSWER, check_solver
from solver_server.service import Service, make_service

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


def long_solve(request_id: int = 1) -> list[bytes]:
    """Give a solve that takes many iterations: points that no body can meet."""
    writer = FrameWriter()
    names = ("L_Hip", "R_Hip", "L_Shoulder", "R_Shoulder", "L_Wrist", "R_Wrist", "L_Ankle", "R_Ankle")
    points = np.random.default_rng(3).normal(size=(len(names), 3)) * 50
    block = protocol.Keypoints3D(names, writer.add_array(points), writer.add_array(np.full(len(names), 1e-4)))
    return protocol.encode(protocol.Solve(id=request_id, evidence=(block,)), writer)


def start_long_solve(client: Client) -> int:
    request_id = client.next_id()
    client.socket.send_multipart(long_solve(request_id))
    return request_id


@pytest.fixture(scope="module")
def body_service() -> Service:
    """The service in this process, as the worker makes it."""
    return make_service("cpu", 1)


def start_detect(client: Client) -> int:
    """Send a photograph: its networks take some tenths of a second."""
    writer = FrameWriter()
    image = writer.add_blob((ROOT / "samples" / "front_step.jpg").read_bytes())
    return client.send(protocol.Detect(id=client.next_id(), image=image), writer)


@pytest.mark.parametrize(("start_work", "rounds"), [(start_long_solve, 20), (start_detect, 5)], ids=["solve", "detect"])
def test_cancel_frees_the_worker_at_its_next_step_without_a_kill(
    client: Client, start_work: Callable[[Client], int], rounds: int
) -> None:
    worker = client.stats().worker_pid
    told: list[float] = []
    free: list[float] = []
    for _ in range(rounds):
        request = start_work(client)
        start = time.monotonic()
        cancel = client.send(protocol.Cancel(id=client.next_id(), target=request))
        replies = {reply.id: reply for reply in (client.receive(), client.receive())}
        told.append(time.monotonic() - start)
        # the compiled solver may have been quicker than the cancel; then there is its result, and nothing was found
        assert replies[cancel].found == (getattr(replies[request], "code", "") == "cancelled")
        while client.ping().busy:
            assert time.monotonic() - start < 60
        free.append(time.monotonic() - start)
    median = rounds // 2
    free_ms = f"{sorted(free)[median] * 1e3:.0f} ms, at most {max(free) * 1e3:.0f} ms"
    print(f"told after {sorted(told)[median] * 1e3:.1f} ms, worker free after {free_ms}")
    assert sorted(told)[median] < 0.5, told
    assert client.stats().worker_pid == worker  # no one was killed


def test_every_step_of_a_solve_can_be_cancelled(body_service: Service) -> None:
    """The k-th report of a real solve is answered with `cancelled`, for every k there is."""
    writer = FrameWriter()
    points, sigma = writer.add_array(np.array(list(ANSWER.values()))), writer.add_array(np.full(len(ANSWER), 0.005))
    request = protocol.Solve(id=1, evidence=(protocol.Keypoints3D(tuple(ANSWER), points, sigma),))
    frames = protocol.Frames(writer.frames)
    steps: list[float] = []
    body_service.handle(request, frames, lambda fraction, text: steps.append(fraction))
    assert steps  # one for each iteration, or one in all where the compiled solver does them in a millisecond
    for last in range(len(steps)):
        seen = 0

        def stop(fraction: float, text: str, last: int = last) -> None:
            nonlocal seen
            seen += 1
            if seen > last:
                raise Cancelled("the request was given up")

        reply, _ = body_service.handle(request, frames, stop)
        assert isinstance(reply, protocol.Error)
        assert (reply.code, seen) == ("cancelled", last + 1)


def test_ping_is_answered_at_once_while_torch_computes(client: Client) -> None:
    times: list[float] = []
    busy = 0
    for _ in range(5):
        request = start_detect(client)
        client.wait_for_progress()
        for _ in range(10):
            start = time.monotonic()
            busy += client.ask(protocol.Ping(client.next_id())).busy
            times.append(time.monotonic() - start)
        client.send(protocol.Cancel(id=client.next_id(), target=request))
        while client.receive(timeout=0.05) is not None:
            pass
    print(f"{busy} of {len(times)} while it computes; at most {max(times) * 1e3:.1f} ms")
    assert busy > 25
    assert sorted(times)[45] < 0.1, times  # nine of ten; a busy machine may hold up one


def test_stats_show_the_process_as_it_is(client: Client) -> None:
    reply = client.stats()
    assert {"python", "ikol", "torch", "pyzmq", "msgspec"} == set(reply.versions)
    assert reply.versions["torch"].startswith(torch.__version__.split("+")[0])
    assert reply.latencies["solve"].count >= 1
    assert 0 < reply.latencies["solve"].p50 <= reply.latencies["solve"].p99 <= reply.latencies["solve"].max
    if sys.platform == "linux":
        assert 10 < reply.memory_bytes / 2**20 < 100 < reply.worker_memory_bytes / 2**20 < 4000


def test_solver_that_answers_otherwise_is_not_ready(monkeypatch: pytest.MonkeyPatch, body_service: Service) -> None:
    pipeline = body_service._pipeline  # pyright: ignore[reportPrivateUsage]
    check_solver(pipeline)
    shifted = {**ANSWER, "L_Knee": (0.3, 0.3, 0.5)}  # as if the body had another leg
    solution = pipeline.solve
    points = torch.tensor(list(ANSWER.values()), dtype=torch.float64)

    def solve(*arguments: Any, **options: Any) -> Any:
        found = solution(*arguments, **options)
        return dataclasses.replace(found, point_positions=points + float("nan"))

    monkeypatch.setattr(self_test, "ANSWER", shifted)
    with pytest.raises(IkolError, match=r"self-test is off by \d+\.\d mm, at most 10 mm are right"):
        check_solver(pipeline)
    monkeypatch.setattr(self_test, "ANSWER", ANSWER)
    monkeypatch.setattr(pipeline, "solve", solve)
    with pytest.raises(IkolError, match="self-test is off by nan mm"):
        check_solver(pipeline)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_missing_cuda_device_is_a_failing_start_with_a_way_out() -> None:
    with ServerProcess(COMMAND, ["--device", "cuda"]) as server:
        problem = server.client().wait_until_ready().problem
    assert problem == "torch sees no CUDA device; choose the CPU, or install a torch that is built for CUDA"
