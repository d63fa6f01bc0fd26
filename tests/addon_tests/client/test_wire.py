# SPDX-License-Identifier: Apache-2.0
"""What the add-on stores travels unchanged, up to float32."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from blender_addon._vendor import solver_protocol as wire
from blender_addon.client.wire import encode_call, read_answer, read_detection, read_solution
from blender_addon.core.errors import SolverError
from blender_addon.core.jobs import (
    Alternatives,
    AlternativesCall,
    DetectCall,
    EvidenceRow,
    InspectCall,
    Inspection,
    SolveCall,
)
from blender_addon.core.pose_conversion import project
from blender_addon.core.record import (
    Anchor,
    Keypoints2D,
    Keypoints3D,
    Orientations,
    PhotoCamera,
    Pins,
    Pose,
    RelativeKeypoints3D,
    Shape,
    Twist,
    ViewKeypoints2D,
)
from blender_addon.core.rig import JOINT_NAMES
from blender_addon.core.views_call import PictureView, SolveViewsCall, SurePoint, ViewsSolution

IDENTITY = ((1.0, 0.0, 0.0, 0.0),) * 24
CAMERA = PhotoCamera(640, 480, 500.5, 501.5, 320, 240, (1, 0, 0, 0, 0, -1, 0, 1, 0), (0.5, 1.5, 4.0), "exif")
EVIDENCE = (
    Keypoints2D(("nose", "left_eye"), ((1.5, 2.5), (3.5, 4.5)), (0.5, 0.25)),
    Keypoints3D(("L_Wrist",), ((0.5, 1.0, -2.0),), (0.125,)),
    RelativeKeypoints3D(("nose",), ((0.5, 0.25, 0.125),), ((1.0, 2.0, 3.0),)),
    Anchor(IDENTITY, (0.5,) * 24),
    Twist(("L_Elbow", "R_Elbow"), (0.5, -0.5), (0.25, 0.5)),
    Keypoints2D(("nose",), ((1.5, 2.5),), (0.5,), is_robust=False),
    Pins(("left_heel", "R_Hip"), ((0.5, 0.0, 1.0), (0.0, 1.0, 0.25))),
    Orientations(("Head",), ((0.5, 0.5, -0.5, 0.5),), (0.125,)),
    Shape("default body", (0.5, -1.0), (0.25, 0.5)),
    ViewKeypoints2D(("left_wrist",), ((1.5, 2.5),), (0.5,), CAMERA),
)
JOINTS = np.arange(72.0).reshape(24, 3) / 64  # exact in float32
POSE = Pose((0.5, 1.0, 2.0), IDENTITY, (0.5,) * 10)


def add(writer, values):
    return writer.add_array(np.ascontiguousarray(values, dtype=np.float32).data)


def reply(**changes):
    writer = wire.FrameWriter()
    pose = wire.PoseSpec(add(writer, [0.5, 1, 2]), add(writer, IDENTITY), add(writer, [0.5] * 10))
    camera = wire.CameraSpec(640, 480, 500, 500, 320, 240, CAMERA.rotation, CAMERA.translation, "exif")
    fields = {
        "pose": pose,
        "camera": camera,
        "joints": add(writer, JOINTS),
        "point_names": ("nose", "left_eye"),
        "point_positions": add(writer, [[0, 1, 2], [3, 4, 5]]),
        "point_pixels": add(writer, [[0, 1], [2, 3]]),
    }
    fields |= {name: make(writer) for name, make in changes.items()}
    numbers = {"iterations": 3, "cost": 1.0, "reprojection_px_median": 2.0, "seconds": 0.1}
    message = wire.SolveReply(7, **fields, status="converged", **numbers, unreached={"left_heel": 0.25})
    return wire.decode_reply(wire.encode(message, writer))


VIEWS = SolveViewsCall((PictureView(EVIDENCE[:1], CAMERA), PictureView(EVIDENCE, CAMERA)), "person", (0.5, 1.5))


def test_every_picture_travels_with_its_evidence_and_its_camera():
    request, frames = wire.decode_request(encode_call(VIEWS, 7))
    assert (request.id, request.same) == (7, "person")
    assert [len(view.evidence) for view in request.views] == [1, len(EVIDENCE)]
    assert [view.camera.translation for view in request.views] == [CAMERA.translation] * 2
    assert np.asarray(frames.array(request.betas)).tolist() == [0.5, 1.5]
    assert wire.decode_request(encode_call(replace(VIEWS, betas=None), 7))[0].betas is None


def test_several_pictures_are_not_sent_to_a_solver_that_cannot_read_them():
    with pytest.raises(
        SolverError, match=r"needs a newer solver \(it speaks protocol 1\.5, needed is 1\.6\)"
    ) as refused:
        encode_call(VIEWS, 7, server=(1, 5))
    assert refused.value.code == "unsupported_version"


def views_reply(sigma=(0.25, 0.5), names=("L_Hip", "nose"), places=((0, 1, 2), (3, 4, 5))):
    """Give a reply about two pictures, with a point that no body of ours has."""
    solution, solved = reply()
    writer = wire.FrameWriter()
    for index in range(len(solved)):
        writer.add_blob(solved.blob(wire.BlobRef(index)))
    message = wire.SolveViewsReply(
        7, (solution,) * 2, names, add(writer, places), add(writer, sigma), 0.5, ("disagreeing",)
    )
    return wire.decode_reply(wire.encode(message, writer))


def test_the_answer_for_each_picture_and_how_sure_points_are_is_read():
    answer = read_answer(*views_reply(names=("L_Hip", "tail")))
    assert answer == ViewsSolution(
        (read_solution(*reply()),) * 2, {"L_Hip": SurePoint((0.0, 1.0, 2.0), 0.25)}, answer.seconds, ("disagreeing",)
    )


@pytest.mark.parametrize("changes", [{"sigma": (0.5,)}, {"sigma": (0.5, -0.5)}, {"places": ((0, 1), (2, 3))}])
def test_an_answer_about_several_pictures_that_does_not_fit_is_not_used(changes):
    with pytest.raises(SolverError, match="update add-on and solver"):
        read_answer(*views_reply(**changes))


def test_every_kind_of_evidence_arrives_as_it_was_stored():
    call = SolveCall(EVIDENCE, CAMERA, POSE, solve_shape=False, start=POSE, joints=("L_Hip",))
    request, frames = wire.decode_request(encode_call(call, 7))
    assert request.id == 7
    assert request.solve_shape is False
    assert request.joints == ("L_Hip",)
    assert np.asarray(frames.array(request.start.transl)).tolist() == list(POSE.transl)
    assert msgspec.structs.asdict(request.camera) == msgspec.structs.asdict(CAMERA)
    for sent, stored in zip(request.evidence, EVIDENCE, strict=True):
        assert type(sent).__name__ == type(stored).__name__
        for name in stored.__struct_fields__:
            value = getattr(sent, name)
            if isinstance(value, wire.CameraSpec):
                assert msgspec.structs.asdict(value) == msgspec.structs.asdict(stored.camera)
                continue
            arrived = np.asarray(frames.array(value)) if isinstance(value, wire.ArrayRef) else np.array(value)
            assert arrived.tolist() == np.array(getattr(stored, name)).tolist()
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
    assert list(solution.points) == [*JOINT_NAMES, "nose", "left_eye"]
    assert solution.points["L_Hip"] == tuple(JOINTS[1])
    assert solution.points["nose"] == (0.0, 1.0, 2.0)
    assert solution.unreached == {"left_heel": 0.25}
    assert solution.pose.transl == (0.5, 1.0, 2.0)
    assert solution.camera.translation == CAMERA.translation


def test_all_points_of_a_solution_have_the_pixels_where_the_camera_sees_them():
    solution = read_solution(*reply())
    assert solution.pixels.keys() == solution.points.keys()
    # rotation rows (1 0 0), (0 0 -1), (0 1 0): (0, 1, 2) is seen at (0.5, -2 + 1.5, 1 + 4)
    assert solution.pixels["nose"] == (500 * 0.5 / 5 + 320, 500 * -0.5 / 5 + 240)
    for name, point in solution.points.items():
        np.testing.assert_allclose(solution.pixels[name], project(solution.camera, point), atol=1e-9)  # px, float64


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
    "joint_positions_too_many": {"joints": lambda writer: add(writer, np.zeros((55, 3)))},
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_an_unusable_answer_gives_a_sentence(name):
    with pytest.raises(SolverError, match=r"the solver's answer cannot be used \(.+\); update add-on and solver"):
        read_solution(*reply(**UNUSABLE[name]))


def inspect_reply(rows=2, **changes):
    writer = wire.FrameWriter()
    fields = {
        "joint_covariance": add(writer, np.broadcast_to(np.eye(3) / 4, (24, 3, 3))),
        "pulls": add(writer, np.arange(rows * 72.0).reshape(rows, 24, 3)),
        "next_gains": add(writer, [0.5, 0.25, 0.125]),
    } | {name: make(writer) for name, make in changes.items()}
    what = tuple(wire.EvidenceRow("keypoints_2d", "nose", 0.5, "px", 1.5) for _ in range(2))
    message = wire.InspectReply(7, rows=what, next_points=("L_Wrist", "tail", "nose"), seconds=0.5, **fields)
    return wire.decode_reply(wire.encode(message, writer))


def test_an_inspection_is_read_back_without_points_that_this_body_does_not_have():
    inspection = read_answer(*inspect_reply())
    assert isinstance(inspection, Inspection)
    assert inspection.joint_covariance[23].tolist() == (np.eye(3) / 4).tolist()
    assert inspection.rows == (EvidenceRow("keypoints_2d", "nose", 0.5, "px", 1.5),) * 2
    assert inspection.pulls[1, 0].tolist() == [72.0, 73.0, 74.0]
    assert inspection.next_points == ("L_Wrist", "nose")
    assert inspection.next_gains == (0.5, 0.125)


@pytest.mark.parametrize(
    "changes",
    [
        {"rows": 3},
        {"joint_covariance": lambda writer: add(writer, np.zeros((24, 3)))},
        {"joint_covariance": lambda writer: add(writer, np.full((24, 3, 3), np.inf))},
        {"next_gains": lambda writer: add(writer, [0.5])},
    ],
    ids=["more pulls than rows", "covariance of two dimensions", "not finite", "fewer gains than points"],
)
def test_an_unusable_inspection_gives_a_sentence(changes):
    with pytest.raises(SolverError, match="the solver's answer cannot be used"):
        read_answer(*inspect_reply(**changes))


def alternatives_reply(costs=(1.5, 2.5), joints=2):
    writer = wire.FrameWriter()
    poses = tuple(
        wire.PoseSpec(add(writer, [x, 1, 2]), add(writer, IDENTITY), add(writer, [0.5] * 10)) for x in (0.5, 0.75)
    )
    where = add(writer, np.stack([JOINTS] * joints))
    message = wire.AlternativesReply(7, poses, costs, (3.0, -1.0), where, 0.5)
    return wire.decode_reply(wire.encode(message, writer))


def test_alternatives_are_read_back_in_their_order():
    found = read_answer(*alternatives_reply())
    assert isinstance(found, Alternatives)
    first, second = found.solutions
    assert (first.pose.transl[0], first.cost, first.reprojection_px) == (0.5, 1.5, 3.0)
    assert (second.pose.transl[0], second.cost, second.reprojection_px) == (0.75, 2.5, -1.0)
    assert second.joints.tolist() == JOINTS.tolist()


@pytest.mark.parametrize("changes", [{"costs": (1.5,)}, {"joints": 3}], ids=["fewer costs", "more joints"])
def test_unusable_alternatives_give_a_sentence(changes):
    with pytest.raises(SolverError, match="the solver's answer cannot be used"):
        read_answer(*alternatives_reply(**changes))


def test_a_solve_and_a_detection_are_answers_too():
    assert read_answer(*reply()) == read_solution(*reply())


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (InspectCall, wire.Inspect),
        (lambda solve: AlternativesCall(solve, "right_leg"), wire.Alternatives),
    ],
    ids=["inspect", "alternatives"],
)
def test_what_is_asked_about_a_pose_is_sent_as_its_solve_would_be(make, kind):
    solve = SolveCall(EVIDENCE, CAMERA, POSE, solve_shape=False, start=POSE, joints=("L_Hip",))
    sent, frames = wire.decode_request(encode_call(make(solve), 7))
    assert type(sent) is kind
    asked, asked_frames = wire.decode_request(encode_call(solve, 7))
    assert all(getattr(sent, name) == getattr(asked, name) for name in wire.Problem.__struct_fields__)
    blobs = [[one.blob(wire.BlobRef(i)) for i in range(len(one))] for one in (frames, asked_frames)]
    assert blobs[0] == blobs[1]
    assert getattr(sent, "limb", "right_leg") == "right_leg"


NEW = {
    "joints": SolveCall(EVIDENCE[:5], joints=("L_Hip",)),
    "pins": SolveCall(EVIDENCE[6:7]),
    "orientations": SolveCall(EVIDENCE[7:8]),
    "inspect": InspectCall(SolveCall(())),
    "alternatives": AlternativesCall(SolveCall(()), "head"),
}


@pytest.mark.parametrize("name", NEW)
def test_what_an_old_server_would_get_wrong_is_not_sent_to_it(name):
    with pytest.raises(SolverError, match=r"needs a newer solver \(it speaks protocol 1.1, needed is 1.2\)") as caught:
        encode_call(NEW[name], 1, server=(1, 1))
    assert caught.value.code == "unsupported_version"
    assert encode_call(NEW[name], 1, server=(1, 2)) == encode_call(NEW[name], 1)


@pytest.mark.parametrize(
    "wrap",
    [lambda call: call, InspectCall, lambda call: AlternativesCall(call, "sides")],
    ids=["solve", "look", "swap"],
)
def test_keypoints_on_other_pictures_are_not_sent_to_a_solver_that_cannot_read_them(wrap):
    call = wrap(SolveCall(EVIDENCE))
    with pytest.raises(SolverError, match=r"needed is 1.6"):
        encode_call(call, 1, server=(1, 5))
    assert encode_call(call, 1, server=(1, 6))


def test_a_network_of_the_user_s_is_not_asked_for_of_a_server_that_knows_none():
    with pytest.raises(SolverError, match=r"needed is 1.3"):
        encode_call(DetectCall(b"x", "own"), 1, server=(1, 2))
    assert encode_call(DetectCall(b"x", "own"), 1, server=(1, 3))


@pytest.mark.parametrize("call", [DetectCall(b"x"), SolveCall(EVIDENCE[:6], start=POSE)], ids=["detect", "solve"])
def test_what_an_old_server_knows_is_sent_to_it(call):
    assert encode_call(call, 1, server=(1, 0)) == encode_call(call, 1)


def test_betas_beyond_ten_go_to_a_server_that_has_them_and_zeros_are_left_out_for_others():
    told, zero = (Pose((0.5, 1.0, 2.0), IDENTITY, (0.5,) * 10 + rest) for rest in ((0.25,) * 6, (0.0,) * 6))
    with pytest.raises(SolverError, match=r"it speaks protocol 1.4, needed is 1.5"):
        encode_call(SolveCall(EVIDENCE[:9], initial=told), 1, server=(1, 4))
    with pytest.raises(SolverError, match=r"needed is 1.5"):
        encode_call(InspectCall(SolveCall(EVIDENCE[:9], start=told)), 1, server=(1, 4))
    for pose, server, count in ((told, (1, 5), 16), (zero, (1, 5), 16), (zero, (1, 4), 10)):
        request, frames = wire.decode_request(encode_call(SolveCall(EVIDENCE[:9], initial=pose), 1, server=server))
        assert request.all_betas
        assert np.asarray(frames.array(request.initial.betas)).tolist() == list(pose.betas[:count])


def test_a_picture_above_the_limit_is_refused_before_it_is_sent():
    with pytest.raises(SolverError, match="the request cannot be sent: a frame has at most"):
        encode_call(DetectCall(bytes(wire.MAX_FRAME_BYTES + 1)), 1)
