# SPDX-License-Identifier: Apache-2.0
"""The server as it is shipped, with torch, networks and body in its worker."""

import dataclasses
import io
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import numpy as np
import PIL.Image
import pytest
import torch
from server_client import ROOT, Client, ServerProcess

from ikol.errors import Cancelled, IkolError
from ikol.geometry.rotations import quat_to_rotmat
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


STANDING = {"L_Hip": (0.1, 1.0, 0.0), "R_Hip": (-0.1, 1.0, 0.0), "L_Shoulder": (0.18, 1.5, 0.0),
            "R_Shoulder": (-0.18, 1.5, 0.0), "L_Ankle": (0.1, 0.1, 0.0), "R_Ankle": (-0.1, 0.1, 0.0)}  # fmt: skip


def ask(client: Client, make: Callable[[FrameWriter], protocol.Request]) -> tuple[Any, protocol.Frames]:
    """Send a request; give its reply with the frames."""
    writer = FrameWriter()
    client.send(make(writer), writer)
    return answer(client)


def answer(client: Client) -> tuple[Any, protocol.Frames]:
    """Give the next reply that is no progress, with its frames."""
    while True:
        reply, frames = protocol.decode_reply(client.socket.recv_multipart())
        if not isinstance(reply, protocol.Progress):
            return reply, frames


def standing(writer: FrameWriter) -> protocol.Keypoints3D:
    """Give evidence of somebody who stands."""
    points = writer.add_array(np.array(list(STANDING.values())))
    return protocol.Keypoints3D(tuple(STANDING), points, writer.add_array(np.full(len(STANDING), 0.02)))


def pose(reply: protocol.SolveReply, frames: protocol.Frames, writer: FrameWriter) -> protocol.PoseSpec:
    """Give the pose of a reply, to be sent."""
    refs = (reply.pose.transl, reply.pose.local_quat, reply.pose.betas)
    return protocol.PoseSpec(*(writer.add_array(np.asarray(frames.array(ref))) for ref in refs))


@pytest.fixture(scope="module")
def stood(client: Client) -> tuple[protocol.SolveReply, protocol.Frames]:
    """The pose of somebody who stands, from which things are dragged."""
    reply, frames = ask(client, lambda writer: protocol.Solve(client.next_id(), (standing(writer),)))
    assert isinstance(reply, protocol.SolveReply)
    return reply, frames


Stood = tuple[protocol.SolveReply, protocol.Frames]


def drag(client: Client, stood: Stood, *make: Callable[[FrameWriter], protocol.Evidence], **fields: Any) -> Stood:
    """Solve again from where somebody stands, with more evidence."""

    def request(writer: FrameWriter) -> protocol.Solve:
        start = pose(*stood, writer)
        evidence = (standing(writer), *(one(writer) for one in make))
        return protocol.Solve(client.next_id(), evidence, initial=start, start=start, solve_shape=False, **fields)

    reply, frames = ask(client, request)
    assert isinstance(reply, protocol.SolveReply), reply
    return reply, frames


def pin(name: str, *place: float) -> Callable[[FrameWriter], protocol.Pins]:
    return lambda writer: protocol.Pins((name,), writer.add_array(np.array([place])))


def test_pin_is_met_to_the_millimetre(client: Client, stood: Stood) -> None:
    reply, frames = drag(client, stood, pin("L_Wrist", 0.4, 1.3, 0.3))
    assert reply.unreached == {}
    wrist = np.asarray(frames.array(reply.joints))[20]
    assert np.linalg.norm(wrist - (0.4, 1.3, 0.3)) < 1e-3, wrist


def test_pin_out_of_reach_is_named_with_its_distance(client: Client, stood: Stood) -> None:
    pins = {"R_Ankle": (-0.1, 0.1, 0.0), "L_Wrist": (5.0, 1.3, 0.3)}  # one of them alone would draw the body along
    reply, frames = drag(client, stood, *(pin(name, *place) for name, place in pins.items()))
    wrist = np.asarray(frames.array(reply.joints))[20]
    distance = float(np.linalg.norm(wrist - pins["L_Wrist"]))
    assert distance > 2  # metres: nobody reaches 5
    assert reply.unreached["L_Wrist"] == pytest.approx(distance, abs=1e-6)  # metres; roundings of float64


def test_orientation_turns_the_head(client: Client, stood: Stood) -> None:
    quat = np.array([[np.cos(0.3), 0.0, np.sin(0.3), 0.0]])  # 0.6 rad to the left, about y

    def turn(writer: FrameWriter) -> protocol.Orientations:
        return protocol.Orientations(("Head",), writer.add_array(quat), writer.add_array(np.array([0.01])))

    reply, frames = drag(client, stood, turn)
    rotation = torch.eye(3, dtype=torch.float64)
    local = quat_to_rotmat(torch.tensor(np.asarray(frames.array(reply.pose.local_quat))))
    for joint in (0, 3, 6, 9, 12, 15):  # from the pelvis up the spine to the head
        rotation = rotation @ local[joint]
    error = (rotation.mT @ quat_to_rotmat(torch.tensor(quat))[0]).diagonal().sum()
    angle = float(torch.arccos(((error - 1) / 2).clamp(-1, 1)))
    assert angle < 0.05, angle  # the stance pulls back by about its share, far below the 0.6 rad of the turn


FRONT = protocol.CameraSpec(
    640, 480, 500.0, 500.0, 320.0, 240.0, (1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, -1.0), (0.0, 1.0, 3.0)
)
LEFT = msgspec.structs.replace(FRONT, rotation=(0.0, 0.0, -1.0, 0.0, -1.0, 0.0, -1.0, 0.0, 0.0))
"""From three metres in front of who stands, and from as far to the left."""


def test_a_point_placed_on_two_pictures_is_where_their_rays_meet(client: Client, stood: Stood) -> None:
    target = np.array([0.4, 1.3, 0.3])

    def shown(writer: FrameWriter, camera: protocol.CameraSpec) -> tuple[protocol.ArrayRef, protocol.ArrayRef]:
        assert camera.rotation is not None
        x, y, z = np.reshape(camera.rotation, (3, 3)) @ target + camera.translation
        pixel = np.array([[500.0 * x / z + 320.0, 500.0 * y / z + 240.0]])
        return writer.add_array(pixel), writer.add_array(np.array([0.1]))

    def here(writer: FrameWriter) -> protocol.Keypoints2D:
        return protocol.Keypoints2D(("L_Wrist",), *shown(writer, FRONT), is_robust=False)

    def there(writer: FrameWriter) -> protocol.ViewKeypoints2D:
        return protocol.ViewKeypoints2D(("L_Wrist",), *shown(writer, LEFT), LEFT)

    def missed(*make: Callable[[FrameWriter], protocol.Evidence]) -> float:
        reply, frames = drag(client, stood, *make, camera=FRONT)
        return float(np.linalg.norm(np.asarray(frames.array(reply.joints))[20] - target))

    assert missed(here) > 0.05  # metres: one picture does not say how far away the hand is
    assert missed(here, there) < 0.003  # a tenth of a pixel is 0.6 mm


def test_only_the_joints_that_may_move_do(client: Client, stood: Stood) -> None:
    arm = ("L_Collar", "L_Shoulder", "L_Elbow", "L_Wrist")
    reply, frames = drag(client, stood, pin("L_Wrist", 0.4, 1.3, 0.3), joints=arm)
    before, after = (np.asarray(f.array(r.joints)) for r, f in (stood, (reply, frames)))
    moved = np.linalg.norm(after - before, axis=-1)
    assert moved[20] > 0.1
    still = [joint for joint in range(24) if joint not in (16, 18, 20, 22)]  # what hangs on the arm
    assert moved[still].max() < 1e-9, moved  # quaternions there and back, in float64


def test_inspection_knows_what_is_sure_and_what_pulls(client: Client, stood: Stood) -> None:
    def request(writer: FrameWriter) -> protocol.Inspect:
        return protocol.Inspect(client.next_id(), (standing(writer),), initial=pose(*stood, writer), solve_shape=False)

    reply, frames = ask(client, request)
    assert isinstance(reply, protocol.InspectReply), reply
    covariance = np.asarray(frames.array(reply.joint_covariance))
    assert covariance.shape == (24, 3, 3)
    assert np.linalg.eigvalsh(covariance).min() > -1e-9  # square metres; a rounding below 0
    hip, hand = (np.trace(covariance[joint]) for joint in (1, 22))
    assert 0 < hip < hand, (hip, hand)  # nobody has said where the hands are
    assert {row.name for row in reply.rows if row.kind == "keypoints_3d"} == set(STANDING)
    assert np.asarray(frames.array(reply.pulls)).shape == (len(reply.rows), 24, 3)
    assert len(reply.next_points) == len(np.asarray(frames.array(reply.next_gains)))


def copied(frames: protocol.Frames, writer: FrameWriter) -> None:
    """Put all frames of a reply into a message, so that its references are those of the message."""
    for index in range(len(frames)):
        writer.add_blob(frames.blob(protocol.BlobRef(index)))


def test_alternatives_of_a_photograph_are_told_from_the_best_one_on(client: Client) -> None:
    image = (ROOT / "samples" / "front_step.jpg").read_bytes()
    detected, seen = ask(client, lambda writer: protocol.Detect(client.next_id(), writer.add_blob(image)))
    evidence = detected.persons[0].evidence

    def solve(writer: FrameWriter) -> protocol.Solve:
        copied(seen, writer)
        return protocol.Solve(client.next_id(), evidence, camera=detected.camera)

    solved, frames = ask(client, solve)

    def alternatives(writer: FrameWriter) -> protocol.Alternatives:
        copied(seen, writer)
        start = pose(solved, frames, writer)
        return protocol.Alternatives(
            client.next_id(), evidence, camera=solved.camera, initial=start, solve_shape=False, limb="right_leg"
        )

    reply, found = ask(client, alternatives)
    assert isinstance(reply, protocol.AlternativesReply), reply
    assert 2 <= len(reply.poses) <= protocol.MAX_POSES
    assert list(reply.costs) == sorted(reply.costs)
    assert all(0 <= pixels < 100 for pixels in reply.reprojection_px), reply.reprojection_px  # of 1000 or so
    joints = np.asarray(found.array(reply.joints))
    assert joints.shape == (len(reply.poses), 24, 3)
    knees = joints[:, 5]
    assert np.linalg.norm(knees[1:] - knees[0], axis=-1).min() > 0.02, knees  # metres: other poses, not the same again


def test_alternatives_without_a_picture_are_refused(client: Client, stood: Stood) -> None:
    reply, _ = ask(client, lambda writer: protocol.Alternatives(client.next_id(), (standing(writer),), limb="head"))
    assert reply.code == "bad_input"


def several(client: Client, same: Any, views: int = 2) -> tuple[Any, protocol.Frames]:
    """Ask for what fits the photograph several times over."""
    writer = FrameWriter()
    image = writer.add_blob((ROOT / "samples" / "front_step.jpg").read_bytes())
    found, frames = ask_raw(client, protocol.Detect(id=client.next_id(), image=image), writer)
    arrays = FrameWriter()
    for index in range(len(frames)):
        arrays.add_blob(frames.blob(protocol.BlobRef(index)))
    view = protocol.ViewSpec(found.persons[0].evidence, found.camera)
    return ask_raw(client, protocol.SolveViews(client.next_id(), (view,) * views, same), arrays)


def ask_raw(client: Client, request: protocol.Request, writer: FrameWriter) -> tuple[Any, protocol.Frames]:
    """Send a request whose arrays are written already; give its reply with the frames."""
    client.send(request, writer)
    return answer(client)


def test_the_same_picture_twice_is_one_pose_before_one_camera(client: Client) -> None:
    reply, frames = several(client, "pose")
    first, second = reply.solutions
    assert first.status in ("converged", "stalled")
    assert first.camera.rotation == pytest.approx(second.camera.rotation, abs=0.02)
    assert max(first.reprojection_px_median, second.reprojection_px_median) < 15.0  # of 1920; a hand is 40 wide
    sigma = dict(zip(reply.point_names, np.asarray(frames.array(reply.point_sigma)), strict=True))
    assert {"L_Wrist", "left_wrist", "Spine2"} < sigma.keys()
    # metres: surer than a guess, and not surer than two looks from one side can be
    assert all(0.001 < value < 0.5 for value in sigma.values()), sigma


def test_pictures_of_one_person_have_one_shape(client: Client) -> None:
    reply, frames = several(client, "person")
    first, second = (np.asarray(frames.array(one.pose.betas)) for one in reply.solutions)
    assert first.tolist() == second.tolist()
    assert reply.point_names == ()


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


@pytest.mark.parametrize(
    ("start_work", "rounds"), [(start_long_solve, 200), (start_detect, 100)], ids=["solve", "detect"]
)
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
    for what, times in (("told", sorted(told)), ("worker free", sorted(free))):
        median, p99 = times[rounds // 2], times[int(0.99 * rounds)]
        print(f"{what} after {median * 1e3:.1f} ms, p99 {p99 * 1e3:.1f}, at most {times[-1] * 1e3:.1f} of {rounds}")
        assert median < 0.5, times
    assert client.stats().worker_pid == worker  # no one was killed


def test_processor_time_between_two_places_where_a_cancel_takes_effect(body_service: Service) -> None:
    """For a solve and for a photograph; the processor's time, so that it does not depend on what else is running."""
    writer = FrameWriter()
    image = writer.add_blob((ROOT / "samples" / "front_step.jpg").read_bytes())
    detect = protocol.encode(protocol.Detect(id=1, image=image), writer)
    gaps: list[float] = []
    for message in [long_solve()] * 20 + [detect] * 10:
        request, frames = protocol.decode_request(message)
        assert isinstance(request, protocol.Work)
        last = time.thread_time()

        def note(fraction: float, text: str) -> None:
            nonlocal last
            now = time.thread_time()
            gaps.append(now - last)
            last = now

        reply, _ = body_service.handle(request, frames, note)
        assert not isinstance(reply, protocol.Error)
    gaps.sort()
    p99 = gaps[int(0.99 * len(gaps))]
    print(
        f"{len(gaps)} gaps: median {gaps[len(gaps) // 2] * 1e3:.2f} ms, p99 {p99 * 1e3:.1f}, most {gaps[-1] * 1e3:.1f}"
    )
    assert p99 < 0.05


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


@pytest.mark.parametrize("same", ["pose", "person"])
def test_every_step_of_several_pictures_can_be_cancelled(body_service: Service, same: Any) -> None:
    writer = FrameWriter()
    rng = np.random.default_rng(5)

    def picture() -> protocol.ViewSpec:
        names = tuple(ANSWER)
        pixels = 600.0 * np.array(list(ANSWER.values()))[:, :2] + rng.normal(size=(len(names), 2))
        block = protocol.Keypoints2D(names, writer.add_array(pixels), writer.add_array(np.full(len(names), 3.0)))
        return protocol.ViewSpec((block,), protocol.CameraSpec(640, 480, 600.0, 600.0, 320.0, 240.0))

    request = protocol.SolveViews(1, (picture(), picture()), same)
    frames = protocol.Frames(writer.frames)
    steps: list[float] = []
    reply, _ = body_service.handle(request, frames, lambda fraction, text: steps.append(fraction))
    assert isinstance(reply, protocol.SolveViewsReply)
    assert steps == sorted(steps)
    assert len(steps) > 2
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
