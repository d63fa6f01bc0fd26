# generated from solver_server/protocol by scripts/vendor_protocol.py; do not edit
# SPDX-License-Identifier: Apache-2.0
"""Messages to frames and back: sizes, types and shapes are checked before anything is built.

A message on the wire is a list of frames. The first is the header, one msgpack map; the others hold arrays and pictures
that the header points at. Arrays go in as anything with the buffer protocol and come back as memoryviews, so that this
module needs no numpy. Not here: sockets. Imports: stdlib and msgspec.
"""

import ctypes
import math
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal, TypeVar, cast

import msgspec

from .errors import FrameError, MessageError, ProtocolError, ShapeError, TooLargeError
from .messages import MAX_FRAMES, ArrayRef, BlobRef, Dtype, Reply, Request, RequestId

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

MAX_HEADER_BYTES = 2**20  # sixteen persons with all their names take about 60 KB
MAX_FRAME_BYTES = 64 * 2**20  # a 50 megapixel PNG; also the socket's limit, beyond which the peer is cut off
MAX_MESSAGE_BYTES = 128 * 2**20
MAX_ERROR_TEXT = 500  # of a sentence that quotes what a stranger sent

# msgspec lets these two pass through although they come from bad input
_DECODE_ERRORS = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)

_FORMATS: dict[Dtype, Literal["f", "d", "i", "q", "B"]] = {
    "<f4": "f",
    "<f8": "d",
    "<i4": "i",
    "<i8": "q",
    "|u1": "B",
}
_CTYPES = {
    "<f4": ctypes.c_float,
    "<f8": ctypes.c_double,
    "<i4": ctypes.c_int32,
    "<i8": ctypes.c_int64,
    "|u1": ctypes.c_uint8,
}
# "l" is 4 bytes on Windows and 8 elsewhere, so the item size decides
_DTYPES: dict[tuple[str, int], Dtype] = {
    ("f", 4): "<f4",
    ("d", 8): "<f8",
    ("i", 4): "<i4",
    ("l", 4): "<i4",
    ("l", 8): "<i8",
    ("q", 8): "<i8",
    ("B", 1): "|u1",
}


_Message = TypeVar("_Message", Request, Reply)


class _AnyMessage(msgspec.Struct):
    """As much of a message as is needed to answer it."""

    id: RequestId | None = None


_encoder = msgspec.msgpack.Encoder()
_request_decoder: msgspec.msgpack.Decoder[Request] = msgspec.msgpack.Decoder(Request)
_reply_decoder: msgspec.msgpack.Decoder[Reply] = msgspec.msgpack.Decoder(Reply)
_message_decoder: msgspec.msgpack.Decoder[Request | Reply] = msgspec.msgpack.Decoder(Request | Reply)
_any_decoder = msgspec.msgpack.Decoder(_AnyMessage)


class FrameWriter:
    """Collects the extra frames of one message and hands out the references to them."""

    def __init__(self) -> None:
        self._frames: list[bytes] = []

    @property
    def frames(self) -> tuple[bytes, ...]:
        """The frames so far, in the order of their indices."""
        return tuple(self._frames)

    def add_array(self, array: object) -> ArrayRef:
        """Copy an array into a new frame.

        Args:
            array: Anything with the buffer protocol, such as a numpy array: C-ordered, little-endian float32, float64,
                int32, int64 or uint8, at most 4 dimensions. (numpy's types say so only from Python 3.12 on.)

        Raises:
            ShapeError: The layout or the type cannot be sent.
            TooLargeError: The frame or the number of frames is over the limit.
        """
        try:
            view = memoryview(cast("ReadableBuffer", array))
        except TypeError as error:
            text = f"an array to be sent must be a buffer, got {type(array).__name__}; pass numpy.asarray(array)"
            raise ShapeError(text) from error
        dtype = _dtype_of(view)
        if not view.c_contiguous:
            raise ShapeError("an array to be sent must be C-contiguous; pass numpy.ascontiguousarray(array)")
        if view.ndim > 4:
            raise ShapeError(f"an array to be sent has at most 4 dimensions, got {view.ndim}")
        return ArrayRef(dtype=dtype, shape=tuple(view.shape or ()), frame=self._add(view.tobytes()))

    def add_blob(self, blob: "ReadableBuffer") -> BlobRef:
        """Put bytes, such as an encoded picture, into a new frame.

        Raises:
            TooLargeError: The frame or the number of frames is over the limit.
        """
        return BlobRef(frame=self._add(bytes(blob)))

    def _add(self, frame: bytes) -> int:
        if len(self._frames) >= MAX_FRAMES:
            raise TooLargeError(f"a message has at most {MAX_FRAMES} extra frames; send fewer arrays")
        _check_frame_size(len(frame))
        self._frames.append(frame)
        return len(self._frames) - 1


class Frames:
    """The extra frames of a received message, which its references point into. Nothing is copied."""

    def __init__(self, frames: "Sequence[ReadableBuffer]") -> None:
        self._frames = tuple(memoryview(frame) for frame in frames)

    def __len__(self) -> int:
        return len(self._frames)

    def array(self, ref: ArrayRef) -> memoryview:
        """Give the array as a read-only view with its shape and type: `numpy.asarray(view)` does not copy.

        Raises:
            FrameError: There is no such frame.
            ShapeError: Type and shape do not fit the bytes.
        """
        frame = self._frame(ref.frame)
        size = math.prod(ref.shape) * ctypes.sizeof(_CTYPES[ref.dtype])
        if frame.nbytes != size:
            text = (
                f"an array {ref.dtype} of shape {ref.shape} has {size} bytes, but frame {ref.frame} has {frame.nbytes}"
            )
            raise ShapeError(text)
        if sys.byteorder != "little":
            raise ShapeError("arrays on the wire are little-endian, and this machine is not")
        if size == 0:
            return _empty_view(ref)
        return cast("memoryview", frame.toreadonly().cast("B").cast(_FORMATS[ref.dtype], shape=list(ref.shape)))

    def blob(self, ref: BlobRef) -> bytes:
        """Give the bytes of a frame.

        Raises:
            FrameError: There is no such frame.
        """
        frame = self._frame(ref.frame)
        whole = frame.obj
        return whole if isinstance(whole, bytes) and len(whole) == frame.nbytes else bytes(frame)

    def _frame(self, index: int) -> memoryview:
        if not 0 <= index < len(self._frames):
            raise FrameError(f"the message refers to extra frame {index}, but has {len(self._frames)} extra frames")
        return self._frames[index]


def encode(message: Request | Reply, frames: FrameWriter | None = None) -> list[bytes]:
    """Turn a message into the frames to send. What the peer would refuse is refused here.

    Args:
        message: A request or a reply.
        frames: The writer that made the message's references; None when it has none.

    Raises:
        ProtocolError: A reference without its frame, a number that is not finite, a bound or limit that is exceeded.
    """
    extra = frames.frames if frames is not None else ()
    try:
        header = _encoder.encode(message)
        _message_decoder.decode(header)
    except (UnicodeEncodeError, *_DECODE_ERRORS) as error:
        raise MessageError(f"the message cannot be sent: {_shorten(error)}", message.id) from error
    try:
        parts = [header, *extra]
        _check_sizes([len(part) for part in parts])
        _check_leaves(message, Frames(extra))
    except ProtocolError as error:
        error.request_id = message.id
        raise
    return parts


def decode_request(parts: "Sequence[ReadableBuffer]") -> tuple[Request, Frames]:
    """Read what a client sent; the inverse of `encode`.

    Args:
        parts: The frames as the socket delivers them, without the sender's identity.

    Raises:
        ProtocolError: With its code, and the request's id where that could be read. No other exception.
    """
    return _decode(parts, _request_decoder)


def decode_reply(parts: "Sequence[ReadableBuffer]") -> tuple[Reply, Frames]:
    """Read what a server sent; the inverse of `encode`.

    Args:
        parts: The frames as the socket delivers them.

    Raises:
        ProtocolError: With its code, and the request's id where that could be read. No other exception.
    """
    return _decode(parts, _reply_decoder)


def _decode(parts: "Sequence[ReadableBuffer]", decoder: msgspec.msgpack.Decoder[_Message]) -> tuple[_Message, Frames]:
    if not parts:
        raise FrameError("a message has at least one frame, got none")
    views = [memoryview(part) for part in parts]
    _check_sizes([view.nbytes for view in views])
    header = views[0]
    try:
        message = decoder.decode(header)
        frames = Frames(views[1:])
        _check_leaves(message, frames)
    except msgspec.ValidationError as error:
        raise MessageError(f"the message does not fit the protocol: {_shorten(error)}", _peek_id(header)) from error
    except _DECODE_ERRORS as error:
        raise FrameError(f"the header is not one msgpack map: {_shorten(error)}", _peek_id(header)) from error
    except ProtocolError as error:
        error.request_id = _peek_id(header)
        raise
    return message, frames


def _check_leaves(message: object, frames: Frames) -> None:
    """Check what msgspec cannot: that every reference has its bytes, and that every number is finite."""
    for leaf in _leaves(message):
        if isinstance(leaf, ArrayRef):
            frames.array(leaf)
        elif isinstance(leaf, BlobRef):
            frames.blob(leaf)
        elif not math.isfinite(leaf):
            raise MessageError(f"every number of a message must be finite, got {leaf}")


def _leaves(value: object) -> Iterator[ArrayRef | BlobRef | float]:
    if isinstance(value, (ArrayRef, BlobRef, float)):
        yield value
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield from _leaves(getattr(value, name))
    elif isinstance(value, (tuple, dict)):
        items = (
            cast("dict[str, object]", value).values() if isinstance(value, dict) else cast("tuple[object, ...]", value)
        )
        for item in items:
            yield from _leaves(item)


def _check_sizes(sizes: Sequence[int]) -> None:
    if len(sizes) > MAX_FRAMES + 1:
        raise TooLargeError(f"a message has at most {MAX_FRAMES} extra frames, got {len(sizes) - 1}")
    if sizes[0] > MAX_HEADER_BYTES:
        raise TooLargeError(f"the header of a message has at most {MAX_HEADER_BYTES} bytes, got {sizes[0]}")
    for size in sizes:
        _check_frame_size(size)
    if sum(sizes) > MAX_MESSAGE_BYTES:
        raise TooLargeError(f"a message has at most {MAX_MESSAGE_BYTES} bytes, got {sum(sizes)}")


def _check_frame_size(size: int) -> None:
    if size > MAX_FRAME_BYTES:
        raise TooLargeError(f"a frame has at most {MAX_FRAME_BYTES} bytes, got {size}; send a smaller picture or array")


def _dtype_of(view: memoryview) -> Dtype:
    byte_order, kind = (view.format[0], view.format[1:]) if view.format[0] in "<>!=@" else ("@", view.format)
    is_little = sys.byteorder == "little" if byte_order in "=@" else byte_order == "<"
    dtype = _DTYPES.get((kind, view.itemsize))
    if dtype is None or not (is_little or view.itemsize == 1):
        text = f"an array to be sent has one of the types {', '.join(_CTYPES)}, got the buffer format {view.format!r}"
        raise ShapeError(f"{text}; convert it")
    return dtype


def _empty_view(ref: ArrayRef) -> memoryview:
    """Give a view of no items that keeps its shape, which `memoryview.cast` refuses when a dimension is 0."""
    array_type: object = _CTYPES[ref.dtype]
    for dimension in reversed(ref.shape):
        array_type = cast("type[ctypes.c_byte]", array_type) * dimension
    return memoryview(cast("type[ctypes.c_byte]", array_type)()).toreadonly()


def _shorten(error: Exception) -> str:
    text = str(error) or type(error).__name__
    return text if len(text) <= MAX_ERROR_TEXT else text[:MAX_ERROR_TEXT] + " ..."


def _peek_id(header: "ReadableBuffer") -> int | None:
    """Read the id of a message that is otherwise no good, so that the sender can be told which one it was."""
    try:
        return _any_decoder.decode(header).id
    except _DECODE_ERRORS:
        return None
