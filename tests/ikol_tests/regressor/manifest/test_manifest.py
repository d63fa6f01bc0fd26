# SPDX-License-Identifier: Apache-2.0
import hashlib
import json

import msgspec
import pytest

from ikol.errors import FileFormatError
from ikol.regressor.landmarks import BLAZEPOSE_LANDMARKS
from ikol.regressor.manifest.joint_sets import JOINT_SETS, hip_indices
from ikol.regressor.manifest.manifest import Manifest, read_manifest, read_network_file
from ikol.regressor.networks.joints import SMPL24

GOOD = {"name": "n", "format": "onnx", "file": "n.onnx", "sha256": "a" * 64, "outputs": {"joints2d": "0"}}
TOML = f"""
name = "RTMPose-m"
format = "onnx"
file = "weights/rtmpose.onnx"
sha256 = "{"0f" * 32}"
joint_set = "coco17"

[input]
size = [256, 192]
mean = [123.675, 116.28, 103.53]
std = [58.395, 57.12, 57.375]
maximum = 255.0

[outputs]
joints2d = "simcc_x"
joints2d_y = "simcc_y"
joints2d_kind = "simcc"
"""


def test_a_manifest_is_read_from_toml(tmp_path):
    (tmp_path / "m.toml").write_text(TOML)
    manifest = read_manifest(tmp_path / "m.toml")
    assert manifest.name == "RTMPose-m"
    assert manifest.input.size == (256, 192)
    assert manifest.outputs.joints2d_y == "simcc_y"


def test_json_and_toml_say_the_same(tmp_path):
    (tmp_path / "m.toml").write_text(TOML)
    manifest = read_manifest(tmp_path / "m.toml")
    (tmp_path / "m.json").write_bytes(msgspec.json.encode(manifest))
    assert read_manifest(tmp_path / "m.json") == manifest


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sha256": "abc"}, "64 hexadecimal digits"),
        ({"file": "/etc/passwd"}, "beside the manifest"),
        ({"file": "../other.onnx"}, "beside the manifest"),
        ({"file": "a/../../other.onnx"}, "beside the manifest"),
        ({"file": "..\\other.onnx"}, "beside the manifest"),
        ({"file": "C:other.onnx"}, "beside the manifest"),
        ({"file": ""}, "beside the manifest"),
        ({"name": "two\nlines"}, "in one line"),
        ({"name": "heavy"}, "which are taken"),
        ({"name": "own"}, "which are taken"),
        ({"format": "pickle"}, "format"),
        ({"joint_set": "openpose"}, "joint_set"),
        ({"outputs": {}}, "joints2d or joints3d"),
        ({"outputs": {"joint2d": "0"}}, "joint2d"),
        ({"outputs": {"joints2d": "x", "joints2d_kind": "simcc"}}, "joints2d_y is needed"),
        ({"call": "detect_smpl_batched"}, "torchscript and exported_program"),
        ({"input": {"size": [1, 10**9]}}, "16 to 4096"),
        ({"input": {"std": [1.0, 0.0, 1.0]}}, "must not be zero"),
        ({"sigma": {"image": -1.0}}, "must be positive"),
        ({"network": {"backbone": "vgg"}}, "unknown backbone"),
        ({"network": {"depth_cells": 10**9}}, "depth_cells 512"),
        ({"network": {"deconv_channels": [8, -1, 8]}}, "must be positive"),
    ],
)
def test_what_cannot_be_is_said(tmp_path, change, message):
    (tmp_path / "m.json").write_text(json.dumps(GOOD | change))
    with pytest.raises(FileFormatError, match=message):
        read_manifest(tmp_path / "m.json")


@pytest.mark.parametrize("lines", ["[sigma]\ndepth = inf", "[sigma]\nmin_conf = nan", "[input]\nstd = [nan, 1.0, 1.0]"])
def test_numbers_that_are_none_are_refused(tmp_path, lines):
    # JSON has no such numbers, TOML has
    plain = "".join(f"{key} = {json.dumps(value)}\n" for key, value in GOOD.items() if isinstance(value, str))
    (tmp_path / "m.toml").write_text(f'{plain}outputs.joints2d = "0"\n{lines}\n')
    with pytest.raises(FileFormatError, match="finite numbers"):
        read_manifest(tmp_path / "m.toml")


def test_the_good_one_is_good(tmp_path):
    (tmp_path / "m.json").write_text(json.dumps(GOOD))
    assert read_manifest(tmp_path / "m.json").format == "onnx"


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[" * 60000, b"{" * 60000])
@pytest.mark.parametrize("suffix", [".json", ".toml"])
def test_rubbish_is_no_manifest(tmp_path, content, suffix):
    (tmp_path / f"m{suffix}").write_bytes(content)
    with pytest.raises(FileFormatError, match="no manifest"):
        read_manifest(tmp_path / f"m{suffix}")


def test_a_large_file_is_not_read_as_a_manifest(tmp_path):
    (tmp_path / "m.json").write_bytes(b" " * 70000)
    with pytest.raises(FileFormatError, match="larger than 64 KB"):
        read_manifest(tmp_path / "m.json")


def test_another_file_than_the_manifest_s_is_refused(tmp_path):
    (tmp_path / "n.onnx").write_bytes(b"other")
    manifest = msgspec.convert(GOOD, Manifest)
    with pytest.raises(FileFormatError, match="another file than the one that the manifest was made for"):
        read_network_file(manifest, tmp_path)
    (tmp_path / "n.onnx").write_bytes(b"right")
    right = msgspec.structs.replace(manifest, sha256=hashlib.sha256(b"right").hexdigest())
    assert read_network_file(right, tmp_path) == b"right"


def test_a_huge_network_is_refused_before_it_is_read(tmp_path):
    with (tmp_path / "n.onnx").open("wb") as file:
        file.truncate(2**32 + 1)
    with pytest.raises(FileFormatError, match="at most 4096 MB"):
        read_network_file(msgspec.convert(GOOD, Manifest), tmp_path)


@pytest.mark.parametrize(
    ("name", "count"),
    [("smpl24", 24), ("smpl29", 29), ("h36m17", 17), ("coco17", 17), ("coco_wb133", 133), ("blazepose33", 33)],
)
def test_joint_sets_name_points_of_the_body_once(name, count):
    points = JOINT_SETS[name]
    named = [point for point in points if point is not None]
    assert len(points) == count
    assert len({*named}) == len(named)
    assert {*named} <= {*SMPL24, *BLAZEPOSE_LANDMARKS}
    left, right = hip_indices(points)
    assert points[left] in ("L_Hip", "left_hip")
    assert points[right] in ("R_Hip", "right_hip")
