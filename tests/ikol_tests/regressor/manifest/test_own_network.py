# SPDX-License-Identifier: Apache-2.0
import dataclasses
import logging
import os
import pickle

import msgspec
import numpy as np
import pytest
import safetensors.torch
import torch
from own_networks import (
    NUM_SMPL,
    BrightestMaps,
    Distributions,
    LikeNlf,
    bright_spot,
    exported_bytes,
    onnx_maps_bytes,
    torchscript_bytes,
    write_network,
)
from torch import nn

from ikol.camera import Camera
from ikol.errors import FileFormatError, InputError
from ikol.regressor.manifest import load_own_network
from ikol.regressor.networks import NetworkConfig, PoseNetwork

BOX = (100.0, 40.0, 200.0, 200.0)
MAPS = {"joints2d": "maps", "joints2d_kind": "heatmap"}
TALL = (256, 192)


def lens(width=320, height=240, focal=400.0):
    center = torch.tensor([width / 2.0, height / 2.0])
    return Camera(torch.tensor([focal, focal]), center, torch.eye(3), torch.zeros(3), width, height)


def write_maps(folder, form, size=TALL, **manifest):
    match form:
        case "torchscript":
            data = torchscript_bytes(BrightestMaps())
        case "exported_program":
            data = exported_bytes(BrightestMaps(), size)
        case _:
            pytest.importorskip("onnx")
            pytest.importorskip("onnxruntime")
            data = onnx_maps_bytes(size)
    fields = {"format": form, "joint_set": "coco17", "input": {"size": size}, "outputs": MAPS} | manifest
    return write_network(folder, data, f".{form}", **fields)


@pytest.mark.parametrize(
    ("form", "size"),
    [
        ("torchscript", (256, 192)),
        ("torchscript", (192, 256)),
        ("onnx", (256, 192)),
        ("onnx", (128, 128)),
        ("exported_program", (256, 192)),
    ],
)
def test_a_joint_lands_where_the_picture_is_brightest(tmp_path, form, size):
    network = load_own_network(write_maps(tmp_path, form, size), trust=True)
    (person,) = network.look_at_boxes(bright_spot(163.0, 151.0), [BOX], lens())
    assert len(person.names2d) == 17
    # a cell of the maps is 200 / 64 = 3 to 6 pixels of the picture; the peak's parabola finds a tenth of it
    torch.testing.assert_close(person.points2d, torch.tensor([163.0, 151.0]).expand(17, 2), rtol=0, atol=0.6)


def test_distributions_along_both_axes_are_read(tmp_path):
    path = write_network(
        tmp_path, torchscript_bytes(Distributions()), ".pt", format="torchscript", joint_set="coco17",
        input={"size": TALL}, outputs={"joints2d": "0", "joints2d_y": "1", "joints2d_kind": "simcc"},
    )  # fmt: skip
    (person,) = load_own_network(path, trust=True).look_at_boxes(bright_spot(163.0, 151.0), [BOX], lens())
    torch.testing.assert_close(person.points2d, torch.tensor([163.0, 151.0]).expand(17, 2), rtol=0, atol=1.0)


@pytest.mark.parametrize("rotation", [30.0, -90.0])
def test_a_turned_crop_s_joints_are_turned_back(tmp_path, rotation):
    network = load_own_network(write_maps(tmp_path, "torchscript"), trust=True)
    (person,) = network.look_at_boxes(bright_spot(163.0, 131.0), [BOX], lens(), rotation_deg=rotation)
    torch.testing.assert_close(person.points2d[0], torch.tensor([163.0, 131.0]), rtol=0, atol=0.6)


def test_everything_else_that_a_network_says_is_read(tmp_path):
    outputs = MAPS | {"joints3d": "joints3d", "conf": "conf", "twist": "twist", "betas": "betas"}
    path = write_network(
        tmp_path, torchscript_bytes(BrightestMaps(NUM_SMPL)), ".pt", format="torchscript", units="cm", axes="y_up",
        input={"size": TALL}, outputs=outputs, sigma={"min_conf": 0.5, "plane": 0.1, "depth": 0.2},
    )  # fmt: skip
    (person,) = load_own_network(path, trust=True).look_at_boxes(bright_spot(150.0, 120.0), [BOX], lens())
    conf = torch.linspace(0.2, 1.0, NUM_SMPL)
    kept = conf >= 0.5
    places = torch.arange(NUM_SMPL * 3.0).reshape(NUM_SMPL, 3) * 0.01 * torch.tensor([1.0, -1.0, -1.0])
    expected = places - places[1:3].mean(0)
    torch.testing.assert_close(person.points3d, expected[kept])
    torch.testing.assert_close(person.sigma3d, torch.tensor([0.1, 0.1, 0.2]) / conf[kept, None])
    assert person.names3d[-1] == "R_Hand"
    assert "left_elbow" in person.names3d
    angle = dict(zip(person.twist_names, person.twist.tolist(), strict=True))
    assert angle["L_Hip"] == pytest.approx(-1.0)
    assert "Spine3" not in angle
    assert torch.equal(person.betas, torch.arange(10.0))
    assert person.betas_body == "smpl"


def test_channels_range_and_layout_are_the_manifest_s(tmp_path):
    class Mean(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.cat([x.mean((1, 2)), torch.zeros(1, 51 - 3)], 1).reshape(1, 17, 3)

    path = write_network(
        tmp_path, torchscript_bytes(Mean()), ".pt", format="torchscript", joint_set="coco17", call="forward",
        input={"size": [64, 64], "channels": "bgr", "layout": "nhwc", "maximum": 255.0, "crop_scale": 0.5,
               "mean": [1.0, 2.0, 3.0], "std": [2.0, 2.0, 2.0]},
        outputs={"joints2d": "0", "joints2d_space": "crop"}, sigma={"min_conf": 1e-9},
    )  # fmt: skip
    rgb = np.zeros((240, 320, 3), np.uint8)
    rgb[:] = (10, 20, 30)
    (person,) = load_own_network(path, trust=True).look_at_boxes(rgb, [(60.0, 60.0, 160.0, 160.0)], lens())
    # the first joint is (blue, green) as the network sees them, and its confidence is red's: 0 to 1 of a side of 50
    share = torch.tensor([(30 - 1) / 2, (20 - 2) / 2])
    torch.testing.assert_close(person.points2d[0], 110.0 + (share - 0.5) * 50.0)


def test_nlf_s_answers_are_persons_with_joints_and_twists(tmp_path):
    path = write_network(
        tmp_path, torchscript_bytes(LikeNlf()), ".torchscript", format="torchscript", call="detect_smpl_batched",
        units="mm",
    )  # fmt: skip
    network = load_own_network(path, trust=True)
    assert network.finds_persons
    persons = network.look_at_picture(bright_spot(10.0, 10.0), lens())
    assert [person.score for person in persons] == pytest.approx([0.9, 0.6])
    person = persons[0]
    assert person.box == (10.0, 20.0, 110.0, 220.0)
    # joints go 10, -20 and 5 mm from one to the next; the hips are the second and the third
    expected = (torch.arange(24.0) - 1.5)[:, None] * torch.tensor([0.010, -0.020, 0.005])
    torch.testing.assert_close(person.points3d, expected, rtol=0, atol=1e-6)
    camera_points = torch.stack([torch.tensor(0.0), torch.tensor(0.5), torch.tensor(3.0)])
    pixel = camera_points[:2] / camera_points[2] * 400.0 + torch.tensor([160.0, 120.0])
    torch.testing.assert_close(person.points2d[0], pixel, rtol=0, atol=1e-3)
    assert person.local_rotmat.shape == (24, 3, 3)
    assert network.look_at_picture(bright_spot(10.0, 10.0), lens(), max_persons=1)[0].box == person.box


SMALL = NetworkConfig(
    backbone="resnet18", input_size=64, heatmap_size=16, depth_cells=4, deconv_channels=(8, 8, 8), camera=1, sigma=True
)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_pose_network_s_weights_need_no_program(tmp_path, suffix):
    torch.manual_seed(0)
    state = PoseNetwork(SMALL).state_dict()
    path = tmp_path / f"network{suffix}"
    if suffix == ".pth":
        torch.save(state, path)
    else:
        safetensors.torch.save_file(state, path)
    manifest = write_network(
        tmp_path, path.read_bytes(), suffix, format="state_dict", network=msgspec.to_builtins(SMALL)
    )
    (person,) = load_own_network(manifest).look_at_boxes(bright_spot(150.0, 120.0), [BOX], lens())
    # a network of random weights says the middle of its crop, of all joints
    torch.testing.assert_close(person.points2d.mean(0), torch.tensor([150.0, 120.0]), rtol=0, atol=10.0)
    assert len(person.names2d) == 24
    assert person.betas.shape == (10,)
    values = [getattr(person, field.name) for field in dataclasses.fields(person)]
    assert all(value.isfinite().all() for value in values if isinstance(value, torch.Tensor))


@pytest.mark.parametrize("form", ["torchscript", "exported_program"])
def test_a_program_is_not_loaded_unless_trusted(tmp_path, form, caplog):
    path = write_maps(tmp_path, form)
    with pytest.raises(InputError, match="which is a program: loading it runs what its author wrote"):
        load_own_network(path)
    with caplog.at_level(logging.WARNING):
        load_own_network(path, trust=True)
    assert "test network is a " in caplog.text


def test_onnx_needs_no_trust(tmp_path):
    assert load_own_network(write_maps(tmp_path, "onnx")).name == "test network"


class _Touch:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("form", ["state_dict", "onnx", "torchscript", "exported_program"])
def test_a_pickle_with_code_does_not_run_under_any_format(tmp_path, form):
    trace = tmp_path / "ran"
    path = write_network(
        tmp_path, pickle.dumps(_Touch(trace), protocol=2), ".pth", format=form, outputs=MAPS, joint_set="coco17"
    )
    with pytest.raises((FileFormatError, InputError)):
        load_own_network(path, trust=True)
    assert not trace.exists()


def test_a_changed_network_is_refused(tmp_path):
    path = write_maps(tmp_path, "onnx")
    network = tmp_path / "network.onnx"
    network.write_bytes(network.read_bytes() + b"\0")
    with pytest.raises(FileFormatError, match="another file"):
        load_own_network(path)


def test_onnx_data_beside_the_file_is_not_opened(tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    model = onnx.load_model_from_string(onnx_maps_bytes(TALL))
    secret = tmp_path / "secret.bin"
    secret.write_bytes(bytes(17 * 3 * 4))
    weight = model.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    weight.external_data.append(onnx.StringStringEntryProto(key="location", value=str(secret)))
    path = write_network(tmp_path, model.SerializeToString(), ".onnx", format="onnx", outputs=MAPS, joint_set="coco17")
    with pytest.raises(FileFormatError, match="no ONNX network that onnxruntime can load"):
        load_own_network(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"joint_set": "smpl24"}, "24 joints, got (17, 64, 48)"),
        ({"outputs": {"joints2d": "heat", "joints2d_kind": "heatmap"}}, "no 'heat' for joints2d; it gives maps"),
        ({"outputs": {"joints2d": "maps"}}, "joints2d (points) must have 2 dimensions"),
        ({"outputs": MAPS | {"joints3d": "betas"}}, "joints3d must be (17, 3)"),
        ({"outputs": MAPS | {"conf": "betas"}}, "conf must have one number for each of the 17 joints, got 10"),
        ({"outputs": MAPS | {"twist": "betas"}}, "twist must have 23 or 24 angles"),
        ({"outputs": MAPS | {"smpl_rotmats": "betas"}}, "smpl_rotmats must be (24, 3, 3)"),
    ],
)
def test_answers_that_the_manifest_does_not_describe_are_said(tmp_path, change, message):
    network = load_own_network(write_maps(tmp_path, "torchscript", **change), trust=True)
    with pytest.raises(InputError) as caught:
        network.look_at_boxes(bright_spot(150.0, 120.0), [BOX], lens())
    assert message in str(caught.value)


def test_an_onnx_network_of_another_input_says_so(tmp_path):
    path = write_maps(tmp_path, "onnx")
    path.write_text(path.read_text().replace("[256, 192]", "[256, 128]"))
    with pytest.raises(InputError, match="cannot run on the input that the manifest describes"):
        load_own_network(path).look_at_boxes(bright_spot(150.0, 120.0), [BOX], lens())


def test_a_program_of_another_input_says_so(tmp_path):
    class Picky(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.reshape(17, 3)

    path = write_network(
        tmp_path, torchscript_bytes(Picky()), ".pt", format="torchscript", joint_set="coco17",
        input={"size": [64, 64]}, outputs={"joints2d": "0"},
    )  # fmt: skip
    with pytest.raises(InputError, match="cannot run on the input that the manifest describes: .*invalid for input"):
        load_own_network(path, trust=True).look_at_boxes(bright_spot(150.0, 120.0), [BOX], lens())


@pytest.mark.parametrize("cells", [0, 1, 2])
def test_maps_without_room_for_a_peak_are_refused(tmp_path, cells):
    class Tiny(nn.Module):
        def __init__(self, cells: int) -> None:
            super().__init__()
            self.cells = cells

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.zeros(1, 17, 8, self.cells)

    path = write_network(
        tmp_path, torchscript_bytes(Tiny(cells)), ".pt", format="torchscript", joint_set="coco17",
        input={"size": [64, 64]}, outputs={"joints2d": "0", "joints2d_kind": "heatmap"},
    )  # fmt: skip
    with pytest.raises(InputError, match="at least 3 cells along each side"):
        load_own_network(path, trust=True).look_at_boxes(bright_spot(150.0, 120.0), [BOX], lens())


@pytest.mark.parametrize(
    ("boxes", "joints2d", "message"),
    [
        ((1, 3), (1, 24, 2), "boxes must be"),
        ((1, 5), (1, 5, 2), "joints2d must be of SMPL's 24 joints"),
        ((2, 5), (1, 24, 2), "different numbers of persons"),
    ],
)
def test_persons_that_a_network_finds_badly_are_refused(tmp_path, boxes, joints2d, message):
    class Finder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.boxes = nn.Parameter(torch.ones(boxes))
            self.joints2d = nn.Parameter(torch.ones(joints2d))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

        @torch.jit.export
        def detect_smpl_batched(self, x: torch.Tensor, default_fov_degrees: float) -> dict[str, list[torch.Tensor]]:
            joints3d = torch.ones(self.boxes.shape[0], 24, 3)
            return {"boxes": [self.boxes], "joints3d": [joints3d], "joints2d": [self.joints2d]}

    path = write_network(tmp_path, torchscript_bytes(Finder()), ".pt", format="torchscript", call="detect_smpl_batched")
    with pytest.raises(InputError, match=message):
        load_own_network(path, trust=True).look_at_picture(bright_spot(150.0, 120.0), lens())


def test_numbers_that_are_none_are_left_out(tmp_path):
    class Broken(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            points = torch.full((1, 17, 3), 0.5)
            points[0, 0, 0] = float("nan")
            points[0, 1, 1] = float("inf")
            points[0, 2, 2] = float("nan")
            return points

    path = write_network(
        tmp_path, torchscript_bytes(Broken()), ".pt", format="torchscript", joint_set="coco17",
        input={"size": [64, 64]}, outputs={"joints2d": "0", "joints2d_space": "crop"},
    )  # fmt: skip
    (person,) = load_own_network(path, trust=True).look_at_boxes(bright_spot(150.0, 120.0), [BOX], lens())
    assert len(person.names2d) == 14
    assert person.points2d.isfinite().all()
    assert person.sigma2d.isfinite().all()


def test_a_module_without_the_method_is_refused(tmp_path):
    path = write_network(
        tmp_path, torchscript_bytes(BrightestMaps()), ".pt", format="torchscript", call="detect_smpl_batched"
    )
    with pytest.raises(InputError, match="has no method detect_smpl_batched"):
        load_own_network(path, trust=True)


def test_a_file_of_another_kind_asks_for_a_manifest(tmp_path):
    (tmp_path / "net.onnx").write_bytes(b"")
    with pytest.raises(InputError, match="need a manifest"):
        load_own_network(tmp_path / "net.onnx")
