# SPDX-License-Identifier: Apache-2.0
"""Pictures from bytes: JPEG, PNG and WebP by Pillow, with a limit on pixels, turned upright, as RGB.

The bytes come from a stranger's file. Size is read from the header and checked before anything is decoded; whatever
Pillow says about damaged data becomes an ``ImageError`` with a sentence for the user.
"""

import math
import struct
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import cast

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, JpegImagePlugin, PngImagePlugin, UnidentifiedImageError, WebPImagePlugin

from ikol.errors import ImageError

MAX_PIXELS = 50_000_000
"""150 MB as RGB. Below the 89 million at which Pillow warns of decompression bombs."""

# The classes themselves and not Image.open: that checks the size against a global that any program may have changed,
# and its error does not say how large the picture is.
_READERS: tuple[Callable[[BytesIO], Image.Image], ...] = (
    JpegImagePlugin.JpegImageFile,
    PngImagePlugin.PngImageFile,
    WebPImagePlugin.WebPImageFile,
)

# What Pillow's readers were seen to raise, or raise in their source, for damaged data.
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, struct.error, zlib.error)

_EXIF_IFD = 0x8769
_FOCAL_LENGTH, _FOCAL_LENGTH_35MM = 0x920A, 0xA405
_PIXEL_WIDTH, _FOCAL_PLANE_X_RESOLUTION, _FOCAL_PLANE_UNIT = 0xA002, 0xA20E, 0xA210
_MILLIMETRES = {2: 25.4, 3: 10.0, 4: 1.0, 5: 0.001}  # inch (also when the tag is absent), cm, mm, µm
_FILM_DIAGONAL = math.hypot(36.0, 24.0)  # mm; "35 mm equivalent" compares diagonals (CIPA DCG-001)
_FOCAL_RANGE = (0.2, 50.0)  # times the longer side: 136 degrees (a fisheye is no pinhole) to an 1800 mm lens


@dataclass(frozen=True)
class DecodedImage:
    """A picture as the eye sees it: turned upright, without transparency."""

    rgb: UInt8[np.ndarray, "height width 3"]
    focal_px: float | None
    """Focal length in pixels of this picture, from EXIF; None if the file does not say."""
    width: int
    height: int


def decode_image(data: bytes) -> DecodedImage:
    """Decode the bytes of a JPEG, PNG or WebP file.

    Raises:
        ImageError: The bytes are empty, not such a picture, damaged, or more than ``MAX_PIXELS``.
    """
    if not data:
        raise ImageError("the picture is empty (0 bytes), expected JPEG, PNG or WebP; choose another file")
    with warnings.catch_warnings():
        # Pillow warns of damaged EXIF, which is nobody's business here: what cannot be read is taken as absent.
        warnings.simplefilter("ignore", UserWarning)
        return _decode(data)


def _decode(data: bytes) -> DecodedImage:
    image = _open(data)
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise _too_large(f"{width} x {height} is {width * height / 1e6:.0f} million pixels")
    try:
        image.load()
        exif = _exif(image)
        upright = ImageOps.exif_transpose(image) if _is_turned(exif) else image
        rgb = _to_rgb(upright)
    except _DAMAGE as error:
        raise ImageError(
            f"the picture is damaged or was cut short ({error}), expected a whole {image.format} file; "
            "copy or save it again"
        ) from error
    return DecodedImage(rgb, _focal_px(exif, width, height), rgb.shape[1], rgb.shape[0])


def _open(data: bytes) -> Image.Image:
    for reader in _READERS:
        try:
            return reader(BytesIO(data))
        except (UnidentifiedImageError, SyntaxError):  # "not mine"
            continue
        except Image.DecompressionBombError as error:  # the WebP reader allocates the canvas, so it checks by itself
            raise _too_large(str(error)) from error
        except _DAMAGE as error:
            raise ImageError(f"the picture is damaged ({error}); copy or save it again") from error
    raise ImageError(
        f"this is not a picture that can be read: got {len(data)} bytes of something else, expected JPEG, PNG or WebP; "
        "open it in an image program and export it as one of these"
    )


def _too_large(what: str) -> ImageError:
    return ImageError(
        f"the picture is too large: {what}, at most {MAX_PIXELS // 1_000_000} million pixels are read; make it smaller"
    )


def _exif(image: Image.Image) -> Image.Exif:
    try:
        return image.getexif()
    except _DAMAGE:  # a picture whose notes are damaged is still a picture
        return Image.Exif()


def _is_turned(exif: Image.Exif) -> bool:
    return exif.get(0x0112, 1) in range(2, 9)


def _to_rgb(image: Image.Image) -> UInt8[np.ndarray, "height width 3"]:
    if image.mode in ("I", "I;16", "I;16B", "I;16L"):  # 16-bit grey; convert() would clip it at 255
        grey = (np.asarray(image).astype(np.int64).clip(0, 65535) >> 8).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        paper = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(paper, image)
    return np.array(image.convert("RGB"))


def _number(exif: dict[int, object], tag: int) -> float:
    """Return a positive number, or 0 for anything else: EXIF is written by anybody."""
    try:
        value = float(cast("float", exif.get(tag, 0.0)))
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return 0.0
    return value if math.isfinite(value) and value > 0.0 else 0.0


def _focal_px(exif: Image.Exif, width: int, height: int) -> float | None:
    """Return the focal length in pixels; ``width`` and ``height`` are those before turning the picture upright."""
    try:
        details = cast("dict[int, object]", exif.get_ifd(_EXIF_IFD))
    except _DAMAGE:
        return None
    equivalent = _number(details, _FOCAL_LENGTH_35MM)
    if equivalent:
        focal = equivalent / _FILM_DIAGONAL * math.hypot(width, height)
    else:
        # Sensor pixels a unit belong to the picture as it was taken; a smaller copy keeps the tag.
        taken_width = _number(details, _PIXEL_WIDTH) or width
        unit = _MILLIMETRES.get(int(_number(details, _FOCAL_PLANE_UNIT)) or 2, 0.0)
        density = _number(details, _FOCAL_PLANE_X_RESOLUTION) / unit if unit else 0.0
        focal = _number(details, _FOCAL_LENGTH) * density * width / taken_width
    longer = max(width, height)
    return focal if _FOCAL_RANGE[0] * longer <= focal <= _FOCAL_RANGE[1] * longer else None
