# SPDX-License-Identifier: Apache-2.0
"""What `ikol train` leaves is the user's network: the server finds persons with it and solves its evidence, edited."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
from training_files import make_h36m, small_config

from ikol.training.network.config import Schedule
from ikol.training.network.loop import train
from solver_server import protocol
from solver_server.protocol import Frames, FrameWriter
from solver_server.service import Service, make_service

PICTURE = Path(__file__).parents[2] / "samples" / "front_step.jpg"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Service:
    folder = tmp_path_factory.mktemp("trained")
    make_h36m(folder, count=2)
    schedule = msgspec.to_builtins(Schedule(steps=2, batch_size=2))
    train(small_config(folder, schedule=schedule))
    return make_service("cpu", 1, models=(folder / "out",))


def _ask(service: Service, request: protocol.Detect | protocol.Solve, writer: FrameWriter) -> tuple[object, Frames]:
    decoded, frames = protocol.decode_request(protocol.encode(request, writer))
    assert isinstance(decoded, protocol.Work)
    return protocol.decode_reply(protocol.encode(*service.handle(decoded, frames, lambda fraction, text: None)))


def test_a_training_s_network_is_the_own_network_and_its_evidence_can_be_edited(service: Service):
    assert service.models == ("out (own)",)
    writer = FrameWriter()
    image = writer.add_blob(PICTURE.read_bytes())
    found, frames = _ask(service, protocol.Detect(id=1, image=image, model="own"), writer)
    assert isinstance(found, protocol.DetectReply)
    (person,) = found.persons
    (points,) = [block for block in person.evidence if isinstance(block, protocol.Keypoints2D)]
    assert points.names[:2] == ("Pelvis", "L_Hip")
    place, sigma = np.array(frames.array(points.points)), np.asarray(frames.array(points.sigma))
    poses: list[np.ndarray] = []
    for moved in (0.0, 60.0):
        writer = FrameWriter()
        place[points.names.index("L_Hip"), 0] += moved
        block = protocol.Keypoints2D(points.names, writer.add_array(place), writer.add_array(sigma))
        solved, answer = _ask(service, protocol.Solve(id=2, evidence=(block,), camera=found.camera), writer)
        assert isinstance(solved, protocol.SolveReply), solved
        poses.append(np.asarray(answer.array(solved.pose.local_quat)))
    assert np.isfinite(poses).all()
    # a hip that is dragged by 60 of 1920 pixels turns the body by degrees, not by rounding
    assert np.abs(poses[1] - poses[0]).max() > 0.01


def test_a_network_that_cannot_be_used_leaves_the_default_one_and_is_named_where_it_is_asked_for(tmp_path: Path):
    broken = tmp_path / "mine.safetensors"
    broken.write_bytes(b"no weights")
    service = make_service("cpu", 1, models=(broken,))
    assert service.models == ()
    for model, is_answered in (("heavy", True), ("own", False)):
        writer = FrameWriter()
        image = writer.add_blob(PICTURE.read_bytes())
        reply, _ = _ask(service, protocol.Detect(id=1, image=image, model=model), writer)
        assert isinstance(reply, protocol.DetectReply) == is_answered, reply
    assert isinstance(reply, protocol.Error)
    assert reply.code == "bad_input"
    assert "your network mine.safetensors cannot be used" in reply.message
    assert "is not a safetensors file" in reply.message
