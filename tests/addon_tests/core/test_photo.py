# SPDX-License-Identifier: Apache-2.0
import io
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from blender_addon.core.errors import FileError
from blender_addon.core.photo import MAX_FILE_BYTES, Orientation, read_photo, stored_orientation


def picture(kind="JPEG", orientation=None, size=(6, 4)):
    image = Image.new("RGB", size, (10, 20, 30))
    exif = image.getexif()
    if orientation is not None:
        exif[0x0112] = orientation
        exif[0x010F] = "A maker with a long name, so that the entries point behind the directory"
    stream = io.BytesIO()
    image.save(stream, kind, exif=exif)
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_pictures_of_the_three_formats_are_read_as_they_are(tmp_path, kind):
    data = picture(kind)
    (tmp_path / "a.bin").write_bytes(data)  # the content counts, not the suffix
    photo = read_photo(tmp_path / "a.bin")
    assert (photo.name, photo.data, photo.orientation) == ("a.bin", data, Orientation())


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("tag", range(1, 9))
def test_the_orientation_turns_the_picture_as_pillow_does(tag, kind):
    stored = Image.new("RGB", (3, 2))
    stored.putdata([(index, 0, 0) for index in range(6)])
    exif = stored.getexif()
    exif[0x0112] = tag
    stream = io.BytesIO()
    stored.save(stream, "PNG", exif=exif)
    with Image.open(stream) as opened:
        upright = ImageOps.exif_transpose(opened)
    orientation = stored_orientation(picture(kind, tag))
    turned = ImageOps.mirror(stored) if orientation.is_mirrored else stored
    turned = turned.rotate(-90 * orientation.quarter_turns, expand=True)
    assert turned.tobytes() == upright.tobytes()
    assert orientation.swaps_sides == (upright.size != stored.size)


def test_big_endian_exif_is_read():
    tiff = b"MM\0*" + struct.pack(">IHHHIHH", 8, 1, 0x0112, 3, 1, 6, 0)
    segment = b"Exif\0\0" + tiff
    data = b"\xff\xd8\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + b"\xff\xda"
    assert stored_orientation(data).quarter_turns == 1


@given(st.binary(max_size=200), st.integers(0, 400))
def test_damaged_exif_means_upright_or_some_orientation_but_never_an_error(noise, cut):
    for start in (b"\xff\xd8\xff\xe1", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBP", b""):
        assert isinstance(stored_orientation(start + noise), Orientation)
    for kind in ("JPEG", "PNG", "WEBP"):
        assert isinstance(stored_orientation(picture(kind, 6)[:cut] + noise), Orientation)


def test_a_text_file_named_jpg_is_refused(tmp_path):
    (tmp_path / "a.jpg").write_text("no picture", encoding="utf-8")
    with pytest.raises(FileError, match=r"a\.jpg is not a JPEG, PNG or WebP picture; choose a photograph"):
        read_photo(tmp_path / "a.jpg")


def test_a_huge_file_is_refused_before_it_is_read(tmp_path):
    with (tmp_path / "a.jpg").open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 2**20)
    with pytest.raises(FileError, match=r"a\.jpg has 65 MB, at most 64 MB are read; save it smaller"):
        read_photo(tmp_path / "a.jpg")


def test_a_folder_and_a_missing_file_are_refused(tmp_path):
    with pytest.raises(FileError, match="there is no file"):
        read_photo(tmp_path)
    with pytest.raises(FileError, match=r"there is no file b\.png; choose one that exists"):
        read_photo(tmp_path / "b.png")


def test_a_file_of_no_bytes_is_refused(tmp_path):
    (tmp_path / "a.png").touch()
    with pytest.raises(FileError, match=r"a\.png is empty"):
        read_photo(tmp_path / "a.png")
