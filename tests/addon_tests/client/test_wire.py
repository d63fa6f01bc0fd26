# SPDX-License-Identifier: Apache-2.0
"""What the add-on stores travels unchanged, up to float32."""

import msgspec
import numpy as np
import pytest

from blender_addon._vendor import solver_protocol as wire
from blender_addon.client.wire import encode_call, read_detection, read_solution
from blender_addon.core.errors import SolverError
from blender_addon.core.jobs import DetectCall, SolveCall
from blender_addon.core.record import (
    Anchor,
    Keypoints2D,
    Keypoints3D,
    PhotoCamera,
    Pose,
    RelativeKeypoints3D,
    Twist,
)

IDENTITY = ((1.0, 0.0, 0.0, 0.0),) * 24
CAMERA = PhotoCamera(640, 480, 500.5, 501.5, 320, 240, (1, 0, 0, 0, 0, -1, 0, 1, 0), (0.5, 1.5, 4.0), "exif")
EVIDENCE = (
    Keypoints2D(("nose", "left_eye"), ((1.5, 2.5), (3.5, 4.5)), (0.5, 0.25)),
    Keypoints3D(("L_Wrist",), ((0.5, 1.0, -2.0),), (0.125,)),
    RelativeKeypoints3D(("nose",), ((0.5, 0.25, 0.125),), ((1.0, 2.0, 3.0),)),
    Anchor(IDENTITY, (0.5,) * 24),
    Twist(("L_Elbow", "R_Elbow"), (0.5, -0.5), (0.25, 0.5)),
)


def add(writer, values):
    return writer.add_array(np.ascontiguousarray(values, dtype=np.float32).data)


def reply(**changes):
    writer = wire.FrameWriter()
    pose = wire.PoseSpec(add(writer, [0.5, 1, 2]), add(writer, IDENTITY), add(writer, [0.5] * 10))
    camera = wire.CameraSpec(640, 480, 500, 500, 320, 240, CAMERA.rotation, CAMERA.translation, "exif")
    fields = {
        "pose": pose,
        "camera": camera,
        "joints": add(writer, np.zeros((24, 3))),
        "point_names": ("nose", "left_eye"),
        "point_positions": add(writer, [[0, 1, 2], [3, 4, 5]]),
        "point_pixels": add(writer, [[0, 1], [2, 3]]),
    }
    fields |= {name: make(writer) for name, make in changes.items()}
    numbers = {"iterations": 3, "cost": 1.0, "reprojection_px_median": 2.0, "seconds": 0.1}
    message = wire.SolveReply(7, **fields, status="converged", **numbers)
    return wire.decode_reply(wire.encode(message, writer))


def test_every_kind_of_evidence_arrives_as_it_was_stored():
    call = SolveCall(EVIDENCE, CAMERA, Pose((0.5, 1.0, 2.0), IDENTITY, (0.5,) * 10), solve_shape=False)
    request, frames = wire.decode_request(encode_call(call, 7))
    assert request.id == 7
    assert request.solve_shape is False
    assert msgspec.structs.asdict(request.camera) == msgspec.structs.asdict(CAMERA)
    for sent, stored in zip(request.evidence, EVIDENCE, strict=True):
        assert type(sent).__name__ == type(stored).__name__
        for name in stored.__struct_fields__:
            value = getattr(sent, name)
            arrived = np.asarray(frames.array(value)).tolist() if isinstance(value, wire.ArrayRef) else list(value)
            assert arrived == np.array(getattr(stored, name)).tolist()
    assert np.asarray(frames.array(request.initial.local_quat)).tolist() == np.array(IDENTITY).tolist()


def test_a_detection_is_read_back_as_evidence():
    call = SolveCall(EVIDENCE)
    request, frames = wire.decode_request(encode_call(call, 7))
    person = wire.Person(0.9, (1.0, 2.0, 3.0, 4.0), request.evidence, {"nose": 0.5})
    camera = wire.CameraSpec(640, 480, 500, 500, 320, 240, focal_source="default")
    detection = read_detection(wire.DetectReply(7, camera, (person,), 0.5), frames)
    assert detection.persons[0].evidence == EVIDENCE
    assert detection.persons[0].confidence == {"nose": 0.5}
    assert detection.camera.rotation is None
    assert detection.seconds == 0.5


def test_a_solution_is_read_back():
    solution = read_solution(*reply())
    assert solution.points == {"nose": (0.0, 1.0, 2.0), "left_eye": (3.0, 4.0, 5.0)}
    assert solution.pixels == {"nose": (0.0, 1.0), "left_eye": (2.0, 3.0)}
    assert solution.pose.transl == (0.5, 1.0, 2.0)
    assert solution.camera.translation == CAMERA.translation


def test_without_a_camera_there_are_no_pixels():
    solution = read_solution(*reply(camera=lambda _: None, point_pixels=lambda writer: add(writer, np.zeros((0, 2)))))
    assert solution.camera is None
    assert solution.pixels == {}


def test_quaternions_are_normalised():
    def twice(writer):
        return wire.PoseSpec(add(writer, [0, 0, 0]), add(writer, 2 * np.array(IDENTITY)), add(writer, [0] * 10))

    assert read_solution(*reply(pose=twice)).pose.local_quat == IDENTITY


UNUSABLE = {
    "positions_too_few": {"point_positions": lambda writer: add(writer, [[0, 1, 2]])},
    "not_finite": {"point_positions": lambda writer: add(writer, [[0, 1, 2], [np.nan, 0, 0]])},
    "rotation_of_length_zero": {
        "pose": lambda writer: wire.PoseSpec(add(writer, [0, 0, 0]), add(writer, np.zeros((24, 4))), add(writer, [0]))
    },
    "joints_too_many": {
        "pose": lambda writer: wire.PoseSpec(add(writer, [0, 0, 0]), add(writer, np.ones((55, 4))), add(writer, [0]))
    },
    "pixels_too_few": {"point_pixels": lambda writer: add(writer, [[0, 1]])},
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_an_unusable_answer_gives_a_sentence(name):
    with pytest.raises(SolverError, match=r"the solver's answer cannot be used \(.+\); update add-on and solver"):
        read_solution(*reply(**UNUSABLE[name]))


def test_a_picture_above_the_limit_is_refused_before_it_is_sent():
    with pytest.raises(SolverError, match="the request cannot be sent: a frame has at most"):
        encode_call(DetectCall(bytes(wire.MAX_FRAME_BYTES + 1)), 1)
