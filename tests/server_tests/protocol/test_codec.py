# SPDX-License-Identifier: Apache-2.0
"""Encoding and decoding: inverse of each other, and nothing but ProtocolError for whatever bytes arrive."""

import contextlib
import math
import random
from collections import Counter
from typing import Any, get_args

import msgpack
import msgspec
import numpy as np
import protocol_cases
import pytest
from hypothesis import given
from hypothesis import strategies as st

from solver_server import protocol
from solver_server.protocol import FrameWriter

CASES = protocol_cases.cases()
REF = protocol.ArrayRef("<f4", (2,), 0)
NAN_ROW = protocol.EvidenceRow("stay", "nose", math.nan, "m", 0.0)
NAN_CAMERA = msgspec.structs.replace(protocol_cases.camera(), center_x=math.nan)


def decode(message: object, parts: list[bytes]) -> tuple[Any, protocol.Frames]:
    reader = protocol.decode_request if protocol_cases.is_request(message) else protocol.decode_reply
    return reader(parts)


def header(**fields: object) -> bytes:
    return msgpack.packb(fields)


# ---- round trips -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_decoding_what_was_encoded_gives_the_message_and_its_frames(name: str) -> None:
    case = CASES[name]
    message, frames = decode(case.message, protocol.encode(case.message, case.frames))
    assert message == case.message
    assert [frames.blob(protocol.BlobRef(i)) for i in range(len(frames))] == list(case.frames.frames)


@pytest.mark.parametrize("dtype", ["<f4", "<f8", "<i4", "<i8", "|u1"])
@pytest.mark.parametrize("shape", [(), (0,), (5,), (0, 2), (2, 3), (2, 0, 3), (1, 2, 3, 4)])
def test_array_keeps_type_shape_and_values(dtype: str, shape: tuple[int, ...]) -> None:
    values = np.arange(math.prod(shape)).reshape(shape).astype(dtype)
    writer = FrameWriter()
    ref = writer.add_array(values)
    view = protocol.Frames(writer.frames).array(ref)
    result = np.asarray(view)
    assert (result.dtype, result.shape) == (values.dtype, shape)
    assert np.array_equal(result, values)


def test_array_is_read_without_a_copy_and_cannot_be_written() -> None:
    frame = np.arange(6.0).tobytes()
    ref = protocol.ArrayRef("<f8", (2, 3), 0)
    result = np.asarray(protocol.Frames([frame]).array(ref))
    assert np.shares_memory(result, np.frombuffer(frame))
    assert not result.flags.writeable


def test_sent_array_is_a_snapshot() -> None:
    values = np.zeros(3, dtype=np.float32)
    writer = FrameWriter()
    writer.add_array(values)
    values[:] = 1
    assert writer.frames == (bytes(12),)


def test_blob_of_a_received_message_is_the_frame_itself() -> None:
    frame = b"\xff\xd8 picture"
    assert protocol.Frames([frame]).blob(protocol.BlobRef(0)) is frame


texts = st.text(max_size=64)
ids = st.integers(0, protocol.MAX_ID)
versions = st.integers(0, 99)
finite = st.floats(allow_nan=False, allow_infinity=False)
simple_messages = st.one_of(
    st.builds(protocol.Ping, id=ids),
    st.builds(protocol.Cancel, id=ids, target=ids),
    st.builds(
        protocol.Hello, id=ids, protocol=st.tuples(st.integers(0, 99), st.integers(0, 99)), client=texts, build=texts
    ),
    st.builds(protocol.Progress, id=ids, fraction=st.floats(0, 1), text=st.text(max_size=4096)),
    st.builds(protocol.Error, id=st.none() | ids, code=texts, message=st.text(max_size=4096)),
    st.builds(
        protocol.StatsReply,
        id=ids,
        uptime_seconds=finite,
        counts=st.dictionaries(texts, st.integers(0, 2**63 - 1), max_size=8),
        device=texts,
        worker_pid=st.integers(0, 2**31),
        worker_restarts=st.integers(0, 5),
    ),
)


@given(message=simple_messages)
def test_encode_then_decode_is_the_identity_for_any_field_values(message: Any) -> None:
    assert decode(message, protocol.encode(message))[0] == message


names = st.lists(texts, max_size=8).map(tuple)
rows = st.builds(protocol.EvidenceRow, kind=texts, name=texts, residual=finite, unit=texts, cost=finite)
blocks = st.one_of(
    st.builds(protocol.Keypoints2D, names, st.just(REF), st.just(REF), st.booleans()),
    st.builds(protocol.Pins, names, st.just(REF)),
    st.builds(protocol.Orientations, names, st.just(REF), st.just(REF)),
    st.builds(protocol.ViewKeypoints2D, names, st.just(REF), st.just(REF), st.just(protocol_cases.camera())),
)
poses = st.none() | st.just(protocol.PoseSpec(REF, REF, REF))
problems: dict[str, st.SearchStrategy[Any]] = {
    "id": ids,
    "evidence": st.lists(blocks, max_size=16).map(tuple),
    "initial": poses,
    "start": poses,
    "joints": names,
    "solve_shape": st.booleans(),
}
messages_of_a_drag = st.one_of(
    st.builds(protocol.Solve, **problems),
    st.builds(protocol.Inspect, **problems),
    st.builds(protocol.Alternatives, limb=st.sampled_from(get_args(protocol.Limb)), **problems),
    st.builds(
        protocol.SolveViews,
        id=ids,
        views=st.lists(
            st.builds(protocol.ViewSpec, st.lists(blocks, max_size=16).map(tuple), st.just(protocol_cases.camera())),
            min_size=2,
            max_size=8,
        ).map(tuple),
        same=st.sampled_from(["pose", "person"]),
        betas=st.none() | st.just(REF),
    ),
    st.builds(
        protocol.InspectReply,
        id=ids,
        joint_covariance=st.just(REF),
        rows=st.lists(rows, max_size=8).map(tuple),
        pulls=st.just(REF),
        next_points=names,
        next_gains=st.just(REF),
        seconds=finite,
    ),
    st.builds(
        protocol.AlternativesReply,
        id=ids,
        poses=st.lists(st.just(protocol.PoseSpec(REF, REF, REF)), max_size=4).map(tuple),
        costs=st.lists(finite, max_size=4).map(tuple),
        reprojection_px=st.lists(finite, max_size=4).map(tuple),
        joints=st.just(REF),
        seconds=finite,
    ),
)


@given(message=messages_of_a_drag)
def test_encode_then_decode_is_the_identity_for_whatever_a_drag_asks_and_gets(message: Any) -> None:
    writer = FrameWriter()
    writer.add_blob(bytes(8))
    assert decode(message, protocol.encode(message, writer))[0] == message


@given(
    shape=st.lists(st.integers(0, 5), max_size=4),
    dtype=st.sampled_from(["<f4", "<f8", "<i4", "<i8", "|u1"]),
    seed=st.integers(0, 2**32),
)
def test_encode_then_decode_keeps_the_bits_of_any_array(shape: list[int], dtype: str, seed: int) -> None:
    size = math.prod(shape) * np.dtype(dtype).itemsize
    values = np.frombuffer(random.Random(seed).randbytes(size), dtype=dtype).reshape(shape)
    writer = FrameWriter()
    block = protocol.Anchor(writer.add_array(values), writer.add_array(values))
    parts = protocol.encode(protocol.Solve(id=1, evidence=(block,)), writer)
    message, frames = protocol.decode_request(parts)
    assert isinstance(message, protocol.Solve)
    assert isinstance(message.evidence[0], protocol.Anchor)
    assert np.asarray(frames.array(message.evidence[0].sigma)).tobytes() == values.tobytes()


@pytest.mark.parametrize("name", CASES)
def test_an_independent_reader_sees_the_same_fields(name: str) -> None:
    case = CASES[name]
    fields = msgpack.unpackb(protocol.encode(case.message, case.frames)[0])
    # through JSON, because msgpack gives lists where the structs have tuples
    assert msgspec.json.encode(fields) == msgspec.json.encode(case.message)


def test_a_message_of_an_independent_writer_is_read() -> None:
    parts = [header(type="cancel", id=5, target=4)]
    assert protocol.decode_request(parts)[0] == protocol.Cancel(id=5, target=4)


# ---- compatibility ---------------------------------------------------------------------------------------------------


def test_unknown_fields_and_unreferenced_frames_are_ignored() -> None:
    parts = [header(type="ping", id=1, since_1_7={"deep": [1, None]}), b"unknown frame"]
    assert protocol.decode_request(parts)[0] == protocol.Ping(id=1)


def test_missing_optional_fields_take_their_defaults() -> None:
    message, _ = protocol.decode_request([header(type="detect", id=1, image={"frame": 0}), b"x"])
    assert message == protocol.Detect(id=1, image=protocol.BlobRef(0))


@pytest.mark.parametrize("theirs", [(1, 0), (1, 99)])
def test_equal_majors_work_together(theirs: tuple[int, int]) -> None:
    protocol.check_version(theirs)


@pytest.mark.parametrize(("theirs", "fix"), [((0, 9), "update the client"), ((2, 0), "update the server")])
def test_other_major_is_refused_with_both_versions(theirs: tuple[int, int], fix: str) -> None:
    with pytest.raises(protocol.VersionError) as caught:
        protocol.check_version(theirs, request_id=7)
    assert caught.value.request_id == 7
    mine = ".".join(map(str, protocol.PROTOCOL_VERSION))
    assert f"protocol {theirs[0]}.{theirs[1]} cannot talk to protocol {mine}" in str(caught.value)
    assert str(caught.value).endswith(fix)


# ---- what is refused while reading -----------------------------------------------------------------------------------

PING = header(type="ping", id=1)
LONG_NAME = header(type="hello", id=4, protocol=[1, 0], client="x" * 129)
BETAS_OF_FRAME_9 = {"dtype": "<f4", "shape": [10], "frame": 9}


def views(count: int, evidence: list[Any] | None = None, **fields: Any) -> bytes:
    """Give a request about so many pictures."""
    camera = {"width": 9, "height": 9, "focal_x": 9.0, "focal_y": 9.0, "center_x": 4.5, "center_y": 4.5}
    return header(type="solve_views", id=4, views=[{"evidence": evidence or [], "camera": camera}] * count, **fields)


IMAGE_OF_FRAME_3 = header(type="detect", id=9, image={"frame": 3})


@pytest.mark.parametrize(
    ("parts", "code", "request_id", "text"),
    [
        pytest.param([], "bad_frame", None, "at least one frame", id="nothing"),
        pytest.param([b""], "bad_frame", None, "not one msgpack map", id="empty header"),
        pytest.param([b"\xc1"], "bad_frame", None, "not one msgpack map", id="reserved byte"),
        pytest.param([PING[:-1]], "bad_frame", None, "truncated", id="truncated"),
        pytest.param([PING + b"\x00"], "bad_frame", None, "trailing", id="trailing byte"),
        pytest.param([b"\x81\xa4type\xa2\xff\xfe"], "bad_frame", None, "utf-8", id="text is not UTF-8"),
        pytest.param(
            [b"\x82\xa4type\xa4ping\xa1x" + b"\x91" * 10**5], "bad_frame", None, "recursion", id="deep nesting"
        ),
        pytest.param([b"\xdf\xff\xff\xff\xff"], "bad_frame", None, "truncated", id="map of four thousand million"),
        pytest.param([header(type="jump", id=4)], "bad_message", 4, "jump", id="unknown message"),
        pytest.param([header(id=4)], "bad_message", 4, "type", id="no type"),
        pytest.param([header(type="pong", id=4)], "bad_message", 4, "pong", id="a reply, to the server"),
        pytest.param([header(type="ping")], "bad_message", None, "id", id="no id"),
        pytest.param([header(type="ping", id=-1)], "bad_message", None, "id", id="negative id"),
        pytest.param([header(type="ping", id=2**63)], "bad_message", None, "id", id="id too large"),
        pytest.param([header(type="ping", id=True)], "bad_message", None, "id", id="id is a boolean"),
        pytest.param([header(type="cancel", id=4)], "bad_message", 4, "target", id="missing field"),
        pytest.param([header(type="cancel", id=4, target="a")], "bad_message", 4, "target", id="wrong type"),
        pytest.param([header(type="detect", id=4, image={"frame": -1})], "bad_message", 4, "frame", id="frame -1"),
        pytest.param([IMAGE_OF_FRAME_3, b"x"], "bad_frame", 9, "extra frame 3, but has 1", id="missing frame"),
        pytest.param(
            [header(type="hello", id=4, protocol=[1, 0], client="x" * 129)], "bad_message", 4, "128", id="text"
        ),
        pytest.param([header(type="inspect", id=4, evidence=[{"type": "pins"}])], "bad_message", 4, "names", id="pins"),
        pytest.param([header(type="alternatives", id=4, evidence=[])], "bad_message", 4, "limb", id="no limb"),
        pytest.param(
            [header(type="alternatives", id=4, evidence=[], limb="tail")], "bad_message", 4, "tail", id="limb"
        ),
        pytest.param(
            [header(type="solve", id=4, evidence=[], joints=["x"] * 513)], "bad_message", 4, "512", id="joints"
        ),
        pytest.param([header(type="solve", id=4, evidence=[], start=[])], "bad_message", 4, "start", id="start"),
        pytest.param([views(1)], "bad_message", 4, "views", id="one picture"),
        pytest.param([views(9)], "bad_message", 4, "views", id="nine pictures"),
        pytest.param([views(2, same="dog")], "bad_message", 4, "dog", id="same dog"),
        pytest.param([views(2, evidence=[{"type": "pins"}] * 17)], "bad_message", 4, "views", id="evidence of a view"),
        pytest.param([views(2, betas=BETAS_OF_FRAME_9)], "bad_frame", 4, "extra frame 9, but has 0", id="betas"),
        pytest.param([views(2, betas={**BETAS_OF_FRAME_9, "frame": 256})], "bad_message", 4, "betas", id="frame 256"),
        pytest.param([PING] * 258, "too_large", None, "at most 256 extra frames, got 257", id="too many frames"),
        pytest.param([bytes(2**20 + 1)], "too_large", None, "header", id="header too large"),
    ],
)
def test_bad_request_gives_code_id_and_sentence(
    parts: list[bytes], code: str, request_id: int | None, text: str
) -> None:
    with pytest.raises(protocol.ProtocolError) as caught:
        protocol.decode_request(parts)
    assert (caught.value.code, caught.value.request_id) == (code, request_id)
    assert text in str(caught.value)


def test_too_many_bytes_are_refused_before_anything_is_decoded() -> None:
    frame = bytes(protocol.MAX_FRAME_BYTES)  # never touched, so it costs no memory
    with pytest.raises(protocol.TooLargeError, match="at most 134217728 bytes"):
        protocol.decode_request([PING, frame, frame])
    with pytest.raises(protocol.TooLargeError, match="a frame has at most 67108864 bytes"):
        protocol.decode_request([PING, bytes(protocol.MAX_FRAME_BYTES + 1)])


@pytest.mark.parametrize(
    ("ref", "frame", "code"),
    [
        pytest.param({"dtype": "<f4", "shape": [2, 2], "frame": 0}, bytes(15), "bad_shape", id="one byte short"),
        pytest.param({"dtype": "<f4", "shape": [2, 2], "frame": 0}, bytes(17), "bad_shape", id="one byte more"),
        pytest.param({"dtype": "<f8", "shape": [2, 2], "frame": 0}, bytes(16), "bad_shape", id="other dtype"),
        pytest.param({"dtype": "<f4", "shape": [65536] * 4, "frame": 0}, bytes(16), "bad_shape", id="2^64 items"),
        pytest.param({"dtype": "<f4", "shape": [2, 2], "frame": 1}, bytes(16), "bad_frame", id="no such frame"),
        pytest.param({"dtype": "|O", "shape": [2], "frame": 0}, bytes(16), "bad_message", id="objects"),
        pytest.param({"dtype": ">f4", "shape": [4], "frame": 0}, bytes(16), "bad_message", id="big endian"),
        pytest.param({"dtype": "<f4", "shape": [-1, 4], "frame": 0}, bytes(16), "bad_message", id="dimension -1"),
        pytest.param({"dtype": "<f4", "shape": [65537], "frame": 0}, bytes(16), "bad_message", id="dimension 65537"),
        pytest.param({"dtype": "<f4", "shape": [1] * 5, "frame": 0}, bytes(4), "bad_message", id="five dimensions"),
    ],
)
def test_array_that_does_not_fit_its_frame_is_refused(ref: dict[str, object], frame: bytes, code: str) -> None:
    block = {"type": "anchor", "local_quat": ref, "sigma": ref}
    with pytest.raises(protocol.ProtocolError) as caught:
        protocol.decode_request([header(type="solve", id=3, evidence=[block]), frame])
    assert (caught.value.code, caught.value.request_id) == (code, 3)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_number_that_is_not_finite_is_refused(number: float) -> None:
    parts = [header(type="detect", id=3, image={"frame": 0}, boxes=[[0.0, 0.0, number, 1.0]]), b"x"]
    with pytest.raises(protocol.MessageError, match="finite") as caught:
        protocol.decode_request(parts)
    assert caught.value.request_id == 3


def test_quoted_input_does_not_make_the_sentence_long() -> None:
    with pytest.raises(protocol.MessageError) as caught:
        protocol.decode_request([header(type="x" * 10**5, id=1)])
    assert len(str(caught.value)) < 600


# ---- what is refused while writing -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "text"),
    [
        pytest.param(np.zeros(4, dtype=">f4"), "buffer format '>f'", id="big endian"),
        pytest.param(np.zeros((4, 4), dtype=np.float32).T[:2], "contiguous", id="strides"),
        pytest.param(np.zeros(4, dtype=np.float16), "<f4, <f8", id="half"),
        pytest.param(np.zeros(4, dtype=bool), "buffer format '?'", id="bool"),
        pytest.param(np.zeros(4, dtype=object), "buffer format 'O'", id="objects"),
        pytest.param([1.0, 2.0], "must be a buffer, got list", id="list"),
        pytest.param(np.zeros((1, 1, 1, 1, 1), dtype=np.float32), "4 dimensions", id="five dimensions"),
    ],
)
def test_array_that_cannot_be_sent_is_refused(values: Any, text: str) -> None:
    with pytest.raises(protocol.ShapeError, match=text.replace("?", r"\?")):
        FrameWriter().add_array(values)


@pytest.mark.parametrize(
    ("message", "text"),
    [
        pytest.param(protocol.Ping(id=-1), ">= 0", id="bound"),
        pytest.param(protocol.Error(id=1, code="busy", message="x" * 4097), "4096", id="long text"),
        pytest.param(protocol.Error(id=1, code="busy", message="\ud800"), "surrogates", id="broken text"),
        pytest.param(protocol.Solve(id=1, evidence=(), camera=NAN_CAMERA), "finite", id="NaN"),
        pytest.param(protocol.Detect(id=1, image=protocol.BlobRef(0)), "extra frame 0", id="no frame"),
        pytest.param(protocol.Solve(id=1, evidence=(protocol.Pins((), REF),)), "extra frame 0", id="no frame of a pin"),
        pytest.param(protocol.InspectReply(1, REF, (NAN_ROW,), REF, (), REF, 0.0), "finite", id="NaN in a row"),
        pytest.param(protocol.AlternativesReply(1, (), (math.inf,), (), REF, 0.0), "finite", id="infinite cost"),
        pytest.param(protocol.AlternativesReply(1, (), (1.0,) * 5, (), REF, 0.0), "<= 4", id="too many"),
    ],
)
def test_message_that_the_peer_would_refuse_is_not_sent(message: Any, text: str) -> None:
    writer = FrameWriter()
    if "frame" not in text:
        writer.add_blob(bytes(8))
    with pytest.raises(protocol.ProtocolError, match=text) as caught:
        protocol.encode(message, writer)
    assert caught.value.request_id == message.id


def test_one_frame_more_than_the_limit_is_not_added() -> None:
    writer = FrameWriter()
    for _ in range(protocol.MAX_FRAMES):
        writer.add_blob(b"")
    with pytest.raises(protocol.TooLargeError, match="at most 256"):
        writer.add_blob(b"")


def test_frame_over_the_limit_is_not_added() -> None:
    with pytest.raises(protocol.TooLargeError, match="send a smaller picture"):
        FrameWriter().add_blob(bytes(protocol.MAX_FRAME_BYTES + 1))


# ---- anything at all -------------------------------------------------------------------------------------------------


@given(parts=st.lists(st.binary(max_size=200), max_size=5))
def test_arbitrary_bytes_give_a_message_or_a_protocol_error(parts: list[bytes]) -> None:
    for reader in (protocol.decode_request, protocol.decode_reply):
        with contextlib.suppress(protocol.ProtocolError):
            reader(parts)


@pytest.mark.parametrize("seed", range(4))
def test_damaged_messages_give_a_message_or_a_protocol_error(seed: int) -> None:
    rng = random.Random(seed)
    encoded = [(case.message, protocol.encode(case.message, case.frames)) for case in CASES.values()]
    codes: Counter[str] = Counter()
    for _ in range(5000):
        message, parts = rng.choice(encoded)
        try:
            decode(message, protocol_cases.damaged(rng, parts))
        except protocol.ProtocolError as error:
            codes[error.code] += 1
    assert set(codes) <= set(protocol.ERROR_CODES)
    assert codes.total() > 2500, codes  # otherwise the damage is too mild to test anything
