# SPDX-License-Identifier: Apache-2.0
"""Requests to replies without sockets: what reaches the pipeline, what comes back, and what becomes of faults."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from fake_pipeline import NUM_BETAS, NUM_JOINTS, ROTATION, FakePipeline, evidence, turn

from ikol.errors import Cancelled, ImageError, InputError
from ikol.geometry.rotations import quat_to_rotmat, rotmat_to_quat
from ikol.pipeline import Shape
from solver_server import protocol
from solver_server.conversion import Writer, camera_of_lens, intrinsics
from solver_server.protocol import FrameWriter
from solver_server.service import Service

CAMERA = protocol.CameraSpec(1080, 1920, 1500.0, 1500.0, 540.0, 960.0, focal_source="exif")
PLACE = {"rotation": ROTATION, "translation": (0.0, 1.0, 3.0)}


def ignore(fraction: float, text: str) -> None:
    del fraction, text


def ask(
    pipeline: FakePipeline,
    make: Callable[[FrameWriter], Any],
    progress: Any = ignore,
    models: tuple[str, ...] = (),
) -> tuple[Any, protocol.Frames]:
    """Send a request through the codec to a service, and its reply back through the codec."""
    writer = FrameWriter()
    request, frames = protocol.decode_request(protocol.encode(make(writer), writer))
    assert isinstance(request, protocol.Work)
    service = Service(pipeline, "fake", NUM_JOINTS, NUM_BETAS, models)
    return protocol.decode_reply(protocol.encode(*service.handle(request, frames, progress)))


def detect(**options: Any) -> Callable[[FrameWriter], protocol.Detect]:
    return lambda writer: protocol.Detect(id=5, image=writer.add_blob(b"JPEG"), **options)


def keypoints(points: Any, sigma: Any, names: tuple[str, ...] = ("nose",)) -> Callable[[FrameWriter], protocol.Solve]:
    """Give a solve with one block of 3D keypoints."""

    def make(writer: FrameWriter) -> protocol.Solve:
        block = protocol.Keypoints3D(names, writer.add_array(np.array(points)), writer.add_array(np.array(sigma)))
        return protocol.Solve(id=6, evidence=(block,))

    return make


def pins(points: Any, names: tuple[str, ...] = ("nose",)) -> Callable[[FrameWriter], protocol.Solve]:
    """Give a solve with pins."""
    return lambda writer: protocol.Solve(
        id=6, evidence=(protocol.Pins(names, writer.add_array(np.array(points, np.float64))),)
    )


def orientations(quat: Any, sigma: Any, names: tuple[str, ...] = ("Head",)) -> Callable[[FrameWriter], protocol.Solve]:
    """Give a solve with orientations."""

    def make(writer: FrameWriter) -> protocol.Solve:
        block = protocol.Orientations(names, writer.add_array(np.array(quat)), writer.add_array(np.array(sigma)))
        return protocol.Solve(id=6, evidence=(block,))

    return make


def solve(camera: protocol.CameraSpec | None = None, **options: Any) -> Callable[[FrameWriter], protocol.Solve]:
    return lambda writer: protocol.Solve(id=6, evidence=(), camera=camera, **options)


def initial(field: str = "initial", **changes: Any) -> Callable[[FrameWriter], protocol.Solve]:
    """Give a solve with an initial pose, or with one to start from."""
    arrays = {
        "transl": np.arange(3.0),
        "local_quat": np.array([[2.0, 0.0, 0.0, 0.0]] * NUM_JOINTS),
        "betas": np.zeros(NUM_BETAS, dtype=np.float32),
        **changes,
    }

    def make(writer: FrameWriter) -> protocol.Solve:
        pose = protocol.PoseSpec(**{name: writer.add_array(value) for name, value in arrays.items()})
        return protocol.Solve(id=6, evidence=(), **{field: pose})

    return make


# ---- detect ----------------------------------------------------------------------------------------------------------


def test_detect_hands_everything_to_the_pipeline() -> None:
    pipeline = FakePipeline()
    options = {"model": "full", "max_persons": 2, "boxes": ((1.0, 2.0, 3.0, 4.0),), "rotation_deg": 90.0}
    options["thorough"] = True
    ask(pipeline, detect(**options, focal_px=1000.0))
    assert pipeline.calls == [{"image": b"JPEG", **options, "focal_px": 1000.0}]


@pytest.mark.parametrize(
    ("asked", "models", "expected"),
    [
        ("own", ("RTMPose", "NLF"), "RTMPose"),
        ("NLF", ("RTMPose", "NLF"), "NLF"),
        ("full", ("RTMPose",), "full"),
    ],
)
def test_own_is_the_first_of_the_user_s_networks(asked: str, models: tuple[str, ...], expected: str) -> None:
    pipeline = FakePipeline()
    ask(pipeline, detect(model=asked), models=models)
    assert pipeline.calls[-1]["model"] == expected


def test_own_without_a_network_of_the_user_s_says_what_to_do() -> None:
    reply, _ = ask(FakePipeline(), detect(model="own"))
    assert reply.code == "bad_input"
    assert "--model-manifest" in reply.message


def test_detect_reply_has_lens_persons_and_confidence() -> None:
    reply, _ = ask(FakePipeline(), detect())
    assert (reply.id, reply.camera.focal_y, reply.camera.focal_source) == (5, 1500.5, "exif")
    assert reply.camera.rotation is None
    (person,) = reply.persons
    assert (person.score, person.box, person.confidence) == (0.75, (1.0, 2.0, 3.0, 4.0), {"nose": 0.5})
    assert person.doubts == ("small",)
    assert reply.seconds >= 0


def test_detected_evidence_can_be_sent_back_and_reaches_the_solver_unchanged() -> None:
    pipeline = FakePipeline()
    reply, frames = ask(pipeline, detect())

    def again(writer: FrameWriter) -> protocol.Solve:
        for index in range(len(frames)):
            writer.add_blob(frames.blob(protocol.BlobRef(index)))
        return protocol.Solve(id=6, evidence=reply.persons[0].evidence)

    ask(pipeline, again)
    received = pipeline.calls[-1]["evidence"]
    for block, original in zip(received, evidence(), strict=True):
        assert type(block) is type(original)
        for name, value in vars(original).items():
            if isinstance(value, torch.Tensor):
                # rotations go through quaternions in float64: a few roundings of 1e-16
                torch.testing.assert_close(getattr(block, name), value, atol=1e-14, rtol=0)
            else:
                assert getattr(block, name) == value


@pytest.mark.parametrize(
    ("options", "text"),
    [
        pytest.param({"boxes": ((3.0, 0.0, 1.0, 9.0),)}, "x0 < x1 and y0 < y1", id="box from right to left"),
        pytest.param({"boxes": ((0.0, 5.0, 1.0, 5.0),)}, "x0 < x1 and y0 < y1", id="box without area"),
        pytest.param({"boxes": ((0.0, 0.0, 1e-300, 9.0),)}, "at least 1 pixel apart", id="box like a line"),
        pytest.param({"boxes": ((-1e30, -1e30, 1e30, 1e30),)}, "a box has the number -1e+30", id="box of light-years"),
        pytest.param({"boxes": ((0.0, 0.0, 9.0, 1e300),)}, "a box has the number 1e+300", id="box that overflows"),
        pytest.param(
            {"focal_px": 0.5}, "focal_px must be between 1 and 1e+06 pixels, got 0.5", id="focal below a pixel"
        ),
        pytest.param({"focal_px": 1e-300}, "focal_px must be between", id="focal tiny"),
    ],
)
def test_numbers_that_cannot_be_used_are_refused_before_the_pipeline_sees_them(options: Any, text: str) -> None:
    pipeline = FakePipeline()
    reply, _ = ask(pipeline, detect(**options))
    assert (reply.code, reply.id) == ("bad_input", 5)
    assert text in reply.message
    assert pipeline.calls == []


@pytest.mark.parametrize("field", ["rotation_deg", "focal_px"])
@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_are_refused_by_the_codec(field: str, number: float) -> None:
    with pytest.raises(protocol.ProtocolError):
        ask(FakePipeline(), detect(**{field: number}))


# ---- solve -----------------------------------------------------------------------------------------------------------


def test_solve_without_options_passes_nothing_but_the_evidence() -> None:
    pipeline = FakePipeline()
    ask(pipeline, keypoints([[0.0, 1.0, 2.0]], [0.1]))
    (call,) = pipeline.calls
    assert [type(block).__name__ for block in call.pop("evidence")] == ["Keypoints3D"]
    rest = {"intrinsics": None, "extrinsics": None, "initial": None, "start": None, "joints": (), "solve_shape": True}
    assert call == rest


def test_smallest_sigma_is_taken_although_float32_rounds_it_down() -> None:
    assert float(np.float32(1e-6)) < 1e-6
    reply, _ = ask(FakePipeline(), keypoints(np.zeros((1, 3), np.float32), np.array([1e-6], np.float32)))
    assert isinstance(reply, protocol.SolveReply)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_arrays_arrive_as_float64(dtype: type) -> None:
    pipeline = FakePipeline()
    ask(pipeline, keypoints(np.array([[0.0, 1.0, 2.5]], dtype), np.array([0.5], dtype)))
    (block,) = pipeline.calls[0]["evidence"]
    assert block.points.dtype == torch.float64
    assert block.points.tolist() == [[0.0, 1.0, 2.5]]


def test_camera_arrives_as_lens_and_place() -> None:
    pipeline = FakePipeline()
    ask(pipeline, solve(protocol.CameraSpec(1080, 1920, 1500.0, 1400.0, 540.0, 960.0, **PLACE)))
    call = pipeline.calls[0]
    assert (call["intrinsics"].focal, call["intrinsics"].center) == ((1500.0, 1400.0), (540.0, 960.0))
    R, t = call["extrinsics"]
    assert (R.shape, t.shape) == ((3, 3), (3,))
    assert (R[0, 2], R[1, 0], R[2, 1]) == (0.6, 0.36, 0.6)
    assert R.flatten().tolist() == list(PLACE["rotation"])
    assert t.tolist() == list(PLACE["translation"])


def test_camera_without_place_arrives_without_extrinsics() -> None:
    pipeline = FakePipeline()
    ask(pipeline, solve(CAMERA))
    assert pipeline.calls[0]["extrinsics"] is None


def test_initial_pose_arrives_as_matrices_whatever_the_length_of_its_quaternions() -> None:
    pipeline = FakePipeline()
    ask(pipeline, initial(local_quat=3.0 * rotmat_to_quat(turn(0.7)).numpy()))
    torch.testing.assert_close(pipeline.calls[0]["initial"].local_rotmat, turn(0.7), atol=1e-14, rtol=0)


def test_pose_to_start_from_and_the_joints_that_may_move_arrive() -> None:
    pipeline = FakePipeline()
    ask(pipeline, initial("start", local_quat=rotmat_to_quat(turn(0.7)).numpy()))
    ask(pipeline, solve(joints=("L_Hip", "L_Knee")))
    torch.testing.assert_close(pipeline.calls[0]["start"].local_rotmat, turn(0.7), atol=1e-14, rtol=0)
    assert [call["initial"] for call in pipeline.calls] == [None, None]
    assert pipeline.calls[1]["joints"] == ("L_Hip", "L_Knee")


def test_pins_that_are_not_met_are_named() -> None:
    reply, _ = ask(FakePipeline(), solve())
    assert reply.unreached == {"nose": 0.25}


def test_solve_reply_has_the_pose_and_the_placed_camera_of_the_pipeline() -> None:
    reply, frames = ask(FakePipeline(), solve(CAMERA))
    quat = torch.tensor(np.asarray(frames.array(reply.pose.local_quat)))
    torch.testing.assert_close(quat_to_rotmat(quat), turn(0.25), atol=1e-14, rtol=0)
    assert np.asarray(frames.array(reply.pose.betas)).tolist() == [0.0, 0.5]
    assert np.asarray(frames.array(reply.joints)).shape == (NUM_JOINTS, 3)
    assert reply.point_names == ("nose",)
    assert np.asarray(frames.array(reply.point_positions)).tolist() == [[1.0, 1.5, 2.0]]
    assert np.asarray(frames.array(reply.point_pixels)).tolist() == [[100.0, 100.5]]
    assert reply.camera.rotation == ROTATION
    assert reply.camera.translation == (1.0, 1.5, 2.0)
    assert reply.camera.focal_source == "exif"
    assert (reply.status, reply.iterations, reply.cost) == ("converged", 7, 1.5)


def test_solve_without_a_camera_gives_none_and_arrays_that_keep_their_shape_when_empty() -> None:
    reply, frames = ask(FakePipeline(), solve())
    assert reply.camera is None
    assert np.asarray(frames.array(reply.point_positions)).shape == (0, 3)
    assert np.asarray(frames.array(reply.point_pixels)).shape == (0, 2)


# ---- inspect and alternatives ----------------------------------------------------------------------------------------


def aside(kind: str, **options: Any) -> Callable[[FrameWriter], protocol.Inspect | protocol.Alternatives]:
    """Give a request that asks about a pose."""
    if kind == "inspect":
        return lambda writer: protocol.Inspect(id=6, evidence=(), **options)
    return lambda writer: protocol.Alternatives(id=6, evidence=(), limb="right_leg", **options)


ASIDES = pytest.mark.parametrize("kind", ["inspect", "alternatives"])


@ASIDES
def test_what_is_asked_about_a_pose_arrives_as_its_solve_would(kind: str) -> None:
    pipeline = FakePipeline()
    options: dict[str, Any] = {"camera": CAMERA, "joints": ("L_Hip",), "solve_shape": False}
    ask(pipeline, solve(**options))
    ask(pipeline, aside(kind, **options))
    solved, asked = pipeline.calls
    extra = {"limb": "right_leg", "count": 4} if kind == "alternatives" else {}
    assert asked == {"method": kind, **extra, **solved}


def test_inspection_comes_back_with_its_rows_and_arrays() -> None:
    pipeline = FakePipeline()
    reply, frames = ask(pipeline, aside("inspect"))
    assert (reply.id, reply.next_points) == (6, ("left_wrist",))
    assert reply.rows == (
        protocol.EvidenceRow("keypoints_2d", "nose", 12.5, "px", 0.75),
        protocol.EvidenceRow("limits", "L_Knee", 0.5, "rad", 0.25),
    )
    joints = pipeline.joints.numpy()
    covariance = np.asarray(frames.array(reply.joint_covariance))
    assert covariance.tolist() == (joints[:, :, None] * joints[:, None, :]).tolist()
    assert np.asarray(frames.array(reply.pulls)).shape == (2, NUM_JOINTS, 3)
    assert np.asarray(frames.array(reply.next_gains)).tolist() == [0.5]
    assert reply.seconds >= 0


def test_alternatives_come_back_in_their_order() -> None:
    reply, frames = ask(FakePipeline(), aside("alternatives"))
    assert (reply.costs, reply.reprojection_px) == ((0.25, 0.5), (-1.0, -1.0))
    for pose, cost in zip(reply.poses, reply.costs, strict=True):
        quat = torch.tensor(np.asarray(frames.array(pose.local_quat)))
        torch.testing.assert_close(quat_to_rotmat(quat), turn(cost), atol=1e-14, rtol=0)
    assert np.asarray(frames.array(reply.joints)).shape == (2, NUM_JOINTS, 3)


def test_no_alternatives_are_an_empty_answer() -> None:
    reply, frames = ask(FakePipeline(num_alternatives=0), aside("alternatives"))
    assert reply.poses == ()
    assert np.asarray(frames.array(reply.joints)).shape == (0, NUM_JOINTS, 3)


@ASIDES
def test_what_is_asked_about_a_pose_is_checked_as_its_solve_would_be(kind: str) -> None:
    pipeline = FakePipeline()
    reply, _ = ask(pipeline, aside(kind, camera=camera(rotation=MIRROR)))
    assert (reply.code, reply.id, pipeline.calls) == ("bad_input", 6, [])


@ASIDES
@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_answer_about_a_pose_that_is_not_finite_never_leaves(kind: str, number: float) -> None:
    with pytest.raises(ArithmeticError, match="not finite"):
        ask(FakePipeline(joints=torch.full((NUM_JOINTS, 3), number)), aside(kind))


# ---- several pictures ------------------------------------------------------------------------------------------------


def views(*cameras: protocol.CameraSpec, betas: Any = None, **options: Any) -> Callable[[FrameWriter], Any]:
    """Give a request about pictures of these cameras, each with a keypoint and a guess of the shape."""

    def make(writer: FrameWriter) -> protocol.SolveViews:
        def picture(camera: protocol.CameraSpec) -> protocol.ViewSpec:
            points, sigma = writer.add_array(np.array([[1.0, 2.0]])), writer.add_array(np.ones(1))
            shape = protocol.Shape("other body", writer.add_array(np.ones(2)), writer.add_array(np.ones(2)))
            return protocol.ViewSpec((protocol.Keypoints2D(("nose",), points, sigma), shape), camera)

        held = None if betas is None else writer.add_array(np.array(betas))
        return protocol.SolveViews(6, tuple(map(picture, cameras)), betas=held, **options)

    return make


@pytest.mark.parametrize(("same", "method"), [("pose", "solve_views"), ("person", "solve_same_person")])
def test_pictures_arrive_in_their_order_with_lens_and_place(same: Any, method: str) -> None:
    pipeline = FakePipeline()
    ask(pipeline, views(camera(), camera(width=20), same=same))
    (call,) = pipeline.calls
    assert call["method"] == method
    assert [view.intrinsics.width for view in call["views"]] == [10, 20]
    assert [type(block).__name__ for block in call["views"][1].evidence] == ["Keypoints2D", "Shape"]
    assert call["views"][0].extrinsics[1].tolist() == list(PLACE["translation"])
    ask(pipeline, views(CAMERA, CAMERA, same=same))
    assert [view.extrinsics for view in pipeline.calls[-1]["views"]] == [None, None]


def test_one_pose_comes_back_for_each_picture_with_how_sure_it_is() -> None:
    reply, frames = ask(FakePipeline(), views(CAMERA, CAMERA, CAMERA))
    assert (reply.id, len(reply.solutions), reply.point_names) == (6, 3, ("L_Hip", "nose"))
    for solution in reply.solutions:
        assert (solution.point_names, solution.reprojection_px_median, solution.status) == (("nose",), 2.5, "converged")
        assert solution.camera.rotation == pytest.approx(ROTATION)
        assert np.asarray(frames.array(solution.joints)).shape == (NUM_JOINTS, 3)
    assert np.asarray(frames.array(reply.point_positions)).tolist() == [[0.0, 0.5, 1.0], [1.5, 2.0, 2.5]]
    assert np.asarray(frames.array(reply.point_sigma)).tolist() == [0.5, 1.0]


def test_pictures_that_do_not_agree_are_told() -> None:
    assert ask(FakePipeline(), views(CAMERA, CAMERA))[0].doubts == ()
    assert ask(FakePipeline(cost=1e4), views(CAMERA, CAMERA))[0].doubts == ("disagreeing",)


def test_poses_of_one_person_come_back_without() -> None:
    reply, frames = ask(FakePipeline(), views(CAMERA, CAMERA, same="person"))
    assert [np.asarray(frames.array(one.pose.transl))[0] for one in reply.solutions] == [0.0, 1.0]
    assert reply.point_names == ()
    assert np.asarray(frames.array(reply.point_positions)).shape == (0, 3)


def test_a_shape_that_is_held_takes_the_place_of_the_pictures_guesses() -> None:
    pipeline = FakePipeline()
    ask(pipeline, views(CAMERA, CAMERA, betas=[0.5]))
    for view in pipeline.calls[-1]["views"]:
        (shape,) = (block for block in view.evidence if isinstance(block, Shape))
        assert shape.betas.tolist() == [0.5, 0.0]  # what is not told is zero
        assert float(shape.sigma.max()) < 1e-3


def test_lens_survives_the_wire() -> None:
    assert camera_of_lens(intrinsics(CAMERA)) == CAMERA


# ---- what is refused -------------------------------------------------------------------------------------------------

NOT_A_ROTATION = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 2.0)
MIRROR = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, -1.0)


def camera(**changes: Any) -> protocol.CameraSpec:
    return protocol.CameraSpec(**{"width": 10, "height": 10, "focal_x": 9.0, "focal_y": 9.0, "center_x": 5.0,
                                  "center_y": 5.0, **PLACE, **changes})  # fmt: skip


@pytest.mark.parametrize(
    ("make", "text"),
    [
        pytest.param(keypoints([[0.0, 1.0]], [1.0]), "shape (1, 3), got (1, 2)", id="points of two numbers"),
        pytest.param(keypoints([[0.0] * 3] * 2, [1.0]), "shape (1, 3), got (2, 3)", id="more points than names"),
        pytest.param(keypoints([[0.0] * 3], [1.0, 1.0]), "shape (1,), got (2,)", id="more sigmas than names"),
        pytest.param(keypoints([[0, 0, 0]], [1.0]), "floating-point numbers, got <i8", id="integers"),
        pytest.param(keypoints([[math.nan, 0.0, 0.0]], [1.0]), "must be finite", id="NaN"),
        pytest.param(keypoints([[math.inf, 0.0, 0.0]], [1.0]), "must be finite", id="infinite"),
        pytest.param(keypoints([[1e7, 0.0, 0.0]], [1.0]), "at most 1e+06", id="ten thousand kilometres"),
        pytest.param(keypoints([[0.0] * 3], [0.0]), "deviation of keypoints_3d must be at least", id="sigma 0"),
        pytest.param(keypoints([[0.0] * 3], [-1.0]), "got -1", id="negative sigma"),
        pytest.param(keypoints([[0.0] * 3], [math.nan]), "must be finite", id="sigma NaN"),
        pytest.param(keypoints([[0.0] * 3] * 2, [1.0] * 2, ("nose", "nose")), "nose more than once", id="name twice"),
        pytest.param(keypoints(np.zeros((0, 3)), np.zeros(0), ()), "names no points", id="no names"),
        pytest.param(solve(body="smpl"), "no body 'smpl'", id="unknown body"),
        pytest.param(solve(camera(rotation=None)), "both rotation and translation", id="half a place"),
        pytest.param(solve(camera(rotation=NOT_A_ROTATION)), "rotation matrix", id="no rotation"),
        pytest.param(solve(camera(rotation=MIRROR)), "rotation matrix", id="mirror"),
        pytest.param(solve(camera(rotation=(1e200,) * 9)), "at most 1e+06", id="overflowing rotation"),
        pytest.param(solve(camera(focal_x=1e300)), "focal_x of the camera must be between 1 and 1e+06", id="focal_x"),
        pytest.param(solve(camera(focal_x=1e-300)), "focal_x of the camera must be", id="focal_x tiny"),
        pytest.param(solve(camera(center_x=-1e9)), "center_x of the camera has", id="center_x"),
        pytest.param(initial(local_quat=np.zeros((NUM_JOINTS, 4))), "unit quaternions", id="quaternion 0"),
        pytest.param(initial(local_quat=np.ones((NUM_JOINTS + 1, 4))), "shape (3, 4), got (4, 4)", id="joints"),
        pytest.param(initial(betas=np.zeros(NUM_BETAS + 1)), "shape (2,), got (3,)", id="betas"),
        pytest.param(initial(transl=np.array([0.0, 0.0, math.nan])), "translation of the initial pose", id="transl"),
        pytest.param(initial("start", transl=np.zeros(2)), "translation of the pose to start from", id="start transl"),
        pytest.param(
            initial("start", local_quat=np.zeros((NUM_JOINTS, 4))), "of the pose to start from must be", id="start quat"
        ),
        pytest.param(pins([[0.0, 1.0]]), "pins needs an array of shape (1, 3), got (1, 2)", id="flat pin"),
        pytest.param(pins([[math.nan, 0.0, 0.0]]), "must be finite", id="pin NaN"),
        pytest.param(pins([[1e7, 0.0, 0.0]]), "at most 1e+06", id="pin far away"),
        pytest.param(pins(np.zeros((0, 3)), ()), "pins names no points", id="no pins"),
        pytest.param(pins([[0.0] * 3] * 2, ("nose", "nose")), "nose more than once", id="pin twice"),
        pytest.param(orientations([[0.0] * 4], [0.1]), "unit quaternions, got one of length 0", id="no rotation there"),
        pytest.param(orientations([[1.0, 0, 0, 0]] * 2, [0.1]), "shape (1, 4), got (2, 4)", id="more turns than names"),
        pytest.param(orientations([[1.0, 0, 0, 0]], [0.0]), "deviation of orientations must be", id="sigma of a turn"),
        pytest.param(orientations([[math.inf, 0, 0, 0]], [0.1]), "must be finite", id="infinite turn"),
        pytest.param(views(CAMERA, camera()), "of some pictures are placed and of others not", id="one camera placed"),
        pytest.param(views(CAMERA, camera(rotation=MIRROR)), "rotation matrix", id="mirror of a picture"),
        pytest.param(views(CAMERA, CAMERA, body="smpl"), "no body 'smpl'", id="pictures of an unknown body"),
        pytest.param(views(CAMERA, CAMERA, betas=[0.0] * 3), "the shape needs an array", id="too many betas held"),
        pytest.param(views(CAMERA, CAMERA, betas=[math.nan]), "must be finite", id="shape NaN"),
        pytest.param(solve(joints=("L_Hip", "L_Hip")), "joints has the name L_Hip more than once", id="joint twice"),
    ],
)
def test_bad_input_is_refused_with_a_sentence_before_the_pipeline_sees_it(make: Any, text: str) -> None:
    pipeline = FakePipeline()
    reply, _ = ask(pipeline, make)
    assert (reply.code, reply.id) == ("bad_input", 6)
    assert text in reply.message
    assert pipeline.calls == []


@pytest.mark.parametrize(
    ("fault", "code", "text"),
    [
        (ImageError("the file is no picture"), "bad_image", "the file is no picture"),
        (InputError("the body has no point tail"), "bad_input", "the body has no point tail"),
        (Cancelled("stop"), "cancelled", "the request was given up"),
        (MemoryError(), "out_of_memory", "not enough memory on fake"),
        (torch.OutOfMemoryError(), "out_of_memory", "not enough memory on fake"),
        (InputError("x" * 10**5), "bad_input", "x" * 100),
    ],
)
@pytest.mark.parametrize(
    "make",
    [
        detect(),
        solve(),
        lambda writer: protocol.Inspect(id=6, evidence=()),
        lambda writer: protocol.Alternatives(id=6, evidence=(), limb="head"),
        views(CAMERA, CAMERA),
        views(CAMERA, CAMERA, same="person"),
    ],
    ids=["detect", "solve", "inspect", "alternatives", "views", "person"],
)
def test_fault_of_the_request_becomes_an_error_with_its_code(fault: Exception, code: str, text: str, make: Any) -> None:
    reply, _ = ask(FakePipeline(fault=fault), make)
    assert (type(reply), reply.code) == (protocol.Error, code)
    assert text in reply.message


@pytest.mark.parametrize("fault", [RuntimeError("size mismatch"), ZeroDivisionError()])
def test_fault_of_the_code_is_left_to_the_worker(fault: Exception) -> None:
    with pytest.raises(type(fault)):
        ask(FakePipeline(fault=fault), detect())


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_result_that_is_not_finite_never_leaves(number: float) -> None:
    with pytest.raises(ArithmeticError, match="not finite"):
        ask(FakePipeline(joints=torch.full((NUM_JOINTS, 3), number)), solve())


def test_unknown_status_of_the_solver_never_leaves() -> None:
    with pytest.raises(protocol.ProtocolError, match="status"):
        ask(FakePipeline(status="bored"), solve())


def test_progress_of_the_pipeline_is_passed_on() -> None:
    seen: list[tuple[float, str]] = []
    ask(FakePipeline(), detect(), progress=lambda fraction, text: seen.append((fraction, text)))
    assert seen == [(0.5, "half of it")]


def test_cancel_from_the_progress_stops_the_pipeline() -> None:
    def stop(fraction: float, text: str) -> None:
        raise Cancelled("the request was given up")

    reply, _ = ask(FakePipeline(), solve(), progress=stop)
    assert reply.code == "cancelled"


def test_tensor_of_a_network_is_detached_and_made_contiguous() -> None:
    writer = Writer()
    tensor = torch.arange(6.0, requires_grad=True).reshape(2, 3).T
    ref = writer.array(tensor)
    frames = protocol.Frames(writer.frames.frames)
    assert np.asarray(frames.array(ref)).tolist() == [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]]
