# SPDX-License-Identifier: Apache-2.0
"""Pictures from bytes: every mode comes out upright as RGB, every bad file as one sentence."""

import struct
import zlib
from collections.abc import Callable
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from ikol.errors import ImageError
from ikol.regressor.image import MAX_PIXELS, decode_image

ORIENTATION = 0x0112
EXIF_IFD = 0x8769


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def gradient(width: int = 40, height: int = 24) -> np.ndarray:
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return np.stack([x, y, 255 - x], -1).astype(np.uint8)


@pytest.mark.parametrize(
    ("kind", "options", "tolerance"),
    [
        ("PNG", {}, 0),
        ("WEBP", {"lossless": True}, 0),
        ("WEBP", {"quality": 95}, 16),  # lossy, chroma at half size
        ("JPEG", {"quality": 98, "subsampling": 0}, 6),  # 8x8 cosine blocks, rounded
        ("JPEG", {"quality": 98, "subsampling": 0, "progressive": True}, 6),
    ],
)
def test_formats_give_the_pixels_that_were_saved(kind: str, options: dict[str, object], tolerance: int) -> None:
    rgb = gradient()
    decoded = decode_image(encoded(Image.fromarray(rgb), kind, **options))
    assert decoded.rgb.shape == (decoded.height, decoded.width, 3) == (24, 40, 3)
    assert decoded.rgb.dtype == np.uint8
    assert np.abs(decoded.rgb.astype(int) - rgb).max() <= tolerance
    assert decoded.focal_px is None


# What a viewer must do, by the EXIF standard's names: 2 mirror, 3 half turn, 4 mirror vertically, 5 transpose,
# 6 quarter turn clockwise, 7 transverse, 8 quarter turn anticlockwise.
STORED_FROM_UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.transpose(1, 0, 2),
    6: lambda upright: np.rot90(upright, 1),
    7: lambda upright: upright[::-1, ::-1].transpose(1, 0, 2),
    8: lambda upright: np.rot90(upright, -1),
}


@pytest.mark.parametrize("orientation", STORED_FROM_UPRIGHT)
@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_exif_orientation_is_undone(orientation: int, kind: str) -> None:
    upright = gradient()
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    stored = Image.fromarray(np.ascontiguousarray(STORED_FROM_UPRIGHT[orientation](upright)))
    options: dict[str, object] = {"lossless": True} if kind == "WEBP" else {}
    decoded = decode_image(encoded(stored, kind, exif=exif, **options))
    assert (decoded.width, decoded.height) == (40, 24)
    assert np.array_equal(decoded.rgb, upright)


def grey16() -> Image.Image:
    return Image.fromarray(np.array([[0, 0x80FF, 0xFFFF]], np.uint16))


def palette(transparency: bool) -> bytes:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((1, 0), 1)
    return encoded(image, "PNG", **({"transparency": 1} if transparency else {}))


def two(mode: str, *pixels: object) -> bytes:
    image = Image.new(mode, (len(pixels), 1))
    for x, pixel in enumerate(pixels):
        image.putpixel((x, 0), pixel)  # type: ignore[arg-type]
    return encoded(image)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(two("L", 0, 200), [[0] * 3, [200] * 3], id="grey"),
        pytest.param(two("1", 0, 255), [[0] * 3, [255] * 3], id="bits"),
        pytest.param(two("LA", (50, 255), (50, 0)), [[50] * 3, [255] * 3], id="grey-alpha"),
        pytest.param(two("RGBA", (1, 2, 3, 255), (1, 2, 3, 0)), [[1, 2, 3], [255] * 3], id="alpha-on-white"),
        pytest.param(palette(transparency=False), [[255, 0, 0], [0, 0, 255]], id="palette"),
        pytest.param(palette(transparency=True), [[255, 0, 0], [255, 255, 255]], id="palette-transparent"),
        pytest.param(encoded(grey16()), [[0] * 3, [0x80] * 3, [0xFF] * 3], id="grey-16-bit"),
    ],
)
def test_modes_become_rgb(data: bytes, expected: list[list[int]]) -> None:
    assert decode_image(data).rgb[0].tolist() == expected


def test_cmyk_becomes_rgb() -> None:
    ink = np.zeros((16, 16, 4), np.uint8)
    ink[..., 1:3] = 255  # magenta and yellow make red
    data = encoded(Image.fromarray(ink, "CMYK"), "JPEG", quality=98)
    red = decode_image(data).rgb[8, 8].astype(int)
    assert np.abs(red - [255, 0, 0]).max() <= 4  # JPEG rounding


def png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_too_many_pixels_are_refused_before_decoding() -> None:
    # The data holds no pixels at all: an error about damage would mean that decoding was tried first.
    with pytest.raises(ImageError) as caught:
        decode_image(png_header(20_000, 20_000))
    assert str(caught.value) == (
        "the picture is too large: 20000 x 20000 is 400 million pixels, at most 50 million pixels are read; "
        "make it smaller"
    )


def test_pixel_limit_is_exact() -> None:
    side = 5000
    with pytest.raises(ImageError, match="too large"):
        decode_image(png_header(side, MAX_PIXELS // side + 1))
    with pytest.raises(ImageError, match="damaged or was cut short"):
        decode_image(png_header(side, MAX_PIXELS // side))


def test_a_huge_webp_is_refused() -> None:
    whole = encoded(Image.new("RGB", (8, 8)), "WEBP")
    assert whole[12:16] == b"VP8 "
    # The canvas size is in the frame header: two 14-bit numbers after the start code.
    start = whole.index(b"\x9d\x01\x2a") + 3
    huge = whole[:start] + struct.pack("<HH", 16383, 16383) + whole[start + 4 :]
    with pytest.raises(ImageError, match="too large"):
        decode_image(huge)


def test_empty_file_is_refused() -> None:
    with pytest.raises(ImageError) as caught:
        decode_image(b"")
    assert str(caught.value) == ("the picture is empty (0 bytes), expected JPEG, PNG or WebP; choose another file")


@pytest.mark.parametrize(
    "data",
    [
        b"this is a letter, not a photograph\n" * 20,
        encoded(Image.new("RGB", (8, 8)), "GIF"),
        encoded(Image.new("RGB", (8, 8)), "TIFF"),
        b"%PDF-1.7\n",
        b"\0",
    ],
    ids=["text", "gif", "tiff", "pdf", "zero-byte"],
)
def test_other_files_are_refused(data: bytes) -> None:
    with pytest.raises(ImageError) as caught:
        decode_image(data)
    assert str(caught.value) == (
        f"this is not a picture that can be read: got {len(data)} bytes of something else, expected JPEG, PNG or WebP; "
        "open it in an image program and export it as one of these"
    )


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_truncated_pictures_are_refused(kind: str, share: float) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    whole = encoded(Image.fromarray(noise), kind)
    with pytest.raises(ImageError, match=r"damaged.*; copy or save it again"):
        decode_image(whole[: int(share * len(whole))])


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_damaged_bytes_give_a_picture_or_an_image_error(kind: str, seed: int) -> None:
    random = np.random.default_rng(seed)
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    exif.get_ifd(EXIF_IFD)[0xA405] = 28
    data = bytearray(encoded(Image.fromarray(gradient()), kind, exif=exif))
    for _ in range(8):
        data[random.integers(len(data))] = random.integers(256)
    try:
        decoded = decode_image(bytes(data))
    except ImageError:
        return
    assert decoded.rgb.shape == (decoded.height, decoded.width, 3)


def with_exif(width: int, height: int, orientation: int = 1, **tags: object) -> bytes:
    names = {"film": 0xA405, "focal": 0x920A, "pixels": 0xA002, "density": 0xA20E, "unit": 0xA210}
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    details = exif.get_ifd(EXIF_IFD)
    for name, value in tags.items():
        details[names[name]] = value
    return encoded(Image.new("RGB", (width, height)), "JPEG", exif=exif)


def rational(numerator: int, denominator: int) -> TiffImagePlugin.IFDRational:
    return TiffImagePlugin.IFDRational(numerator, denominator)


def test_focal_length_from_35mm_equivalent() -> None:
    # 36 x 24 film and a 3:2 picture: 24 mm on 36 mm is two thirds of the width.
    focal = decode_image(with_exif(600, 400, film=24)).focal_px
    assert focal == pytest.approx(400.0)


def test_focal_length_does_not_change_when_the_picture_is_turned() -> None:
    assert decode_image(with_exif(600, 400, orientation=6, film=24)).focal_px == pytest.approx(400.0)


@pytest.mark.parametrize(("unit", "millimetres"), [(2, 25.4), (3, 10.0), (4, 1.0)])
def test_focal_length_from_sensor(unit: int, millimetres: float) -> None:
    # 100 sensor pixels a unit, 90 mm focal length, picture shrunk from 1200 to 600 pixels.
    data = with_exif(600, 400, focal=rational(90, 1), density=rational(100, 1), unit=unit, pixels=1200)
    assert decode_image(data).focal_px == pytest.approx(90.0 * 100.0 / millimetres / 2.0)


@pytest.mark.parametrize(
    "tags",
    [
        {},
        {"film": 0},
        {"film": 1},  # 1 mm: a field of view that no pinhole has
        {"focal": rational(6, 1)},
        {"focal": rational(6, 0), "density": rational(100, 0), "unit": 3},
        {"focal": rational(6, 1), "density": rational(1000, 1), "unit": 9},
    ],
    ids=["absent", "zero", "absurd", "no-sensor", "division-by-zero", "unknown-unit"],
)
def test_focal_length_is_none_when_it_is_not_known(tags: dict[str, object]) -> None:
    assert decode_image(with_exif(600, 400, **tags)).focal_px is None
