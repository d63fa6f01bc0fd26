# SPDX-License-Identifier: Apache-2.0
import os
import pickle
import sys

import msgspec
import pytest
import safetensors.torch
import torch
from published_layouts import PUBLISHED, hrnet_w48, random_state, resnet

from ikol.errors import FileFormatError
from ikol.regressor.networks import NetworkConfig, PoseNetwork, config_of, load_pose_network, load_tensors, read_tensors
from ikol.training.network.checkpoint import Checkpoint, save_checkpoint


def small_state():
    """The least of the published layouts, with few depth cells: 45 MB instead of 80."""
    return random_state(PUBLISHED["ikol_resnet18"]())


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_layout_is_this_network_by_name_and_shape(name):
    shapes = PUBLISHED[name]()
    with torch.device("meta"):
        state = {key: torch.empty(shape) for key, shape in shapes.items()}
        network = PoseNetwork(config_of(state))
    own = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    assert own == {key: shape for key, shape in shapes.items() if not key.startswith("smpl.")}


# torchvision's numbers of parameters less the classifier's, and timm's for hrnet_w48 (77469864 with a classifier)
@pytest.mark.parametrize(
    ("shapes", "count"),
    [
        (resnet("resnet18"), 11_689_512 - 513_000),
        (resnet("resnet34"), 21_797_672 - 513_000),
        (resnet("resnet50"), 25_557_032 - 2_049_000),
        (hrnet_w48(0), 77_469_864 - 2_049_000),
    ],
    ids=["resnet18", "resnet34", "resnet50", "hrnet_w48"],
)
def test_backbones_have_as_many_parameters_as_published(shapes, count):
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    found = sum(torch.Size(shape).numel() for name, shape in shapes.items() if not name.endswith(statistics))
    assert found == count


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ikol_resnet18", NetworkConfig(backbone="resnet18", num_joints=24, leaves=True, depth_extent=2.0)),
        ("hybrik_base_resnet34", NetworkConfig(backbone="resnet34", depth_extent=2.0)),
        ("hybrik_cam_resnet50", NetworkConfig(backbone="resnet50", camera=3, sigma=True)),
        ("hybrik_hrnet_w48", NetworkConfig(backbone="hrnet_w48", camera=1, sigma=True)),
    ],
)
def test_the_kind_of_network_is_told_from_its_tensors(name, expected):
    with torch.device("meta"):
        state = {key: torch.empty(shape) for key, shape in PUBLISHED[name]().items()}
    assert config_of(state) == expected


@pytest.mark.parametrize("wrapped", ["raw", "model", "module", "safetensors"])
def test_a_file_is_loaded_by_name_however_training_wrapped_it(tmp_path, wrapped):
    state = small_state()
    path = tmp_path / ("weights.safetensors" if wrapped == "safetensors" else "weights.pth")
    match wrapped:
        case "raw":
            torch.save(state, path)
        case "model":
            torch.save({"model": state, "epoch": 3}, path)
        case "module":
            torch.save({f"module.{name}": value for name, value in state.items()}, path)
        case _:
            safetensors.torch.save_file(state, path)
    network = load_pose_network(path)
    assert not network.training
    loaded = network.state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in state.items() if name in loaded)
    output = network(network.prepare(torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(1))))
    for value in (output.uvd, output.uvd_spread, output.peak, output.betas, output.twist, output.leaf_quat):
        assert value.isfinite().all()


def test_all_that_does_not_fit_is_in_one_message(tmp_path):
    state = small_state()
    del state["fc2.bias"]
    state["decphi.weight"] = state["decphi.weight"][:44].clone()
    state["surprise.weight"] = torch.zeros(2)
    torch.save(state, tmp_path / "weights.pth")
    with pytest.raises(FileFormatError) as caught:
        load_pose_network(tmp_path / "weights.pth")
    message = str(caught.value)
    assert "1 tensors missing (fc2.bias)" in message
    assert "1 unknown tensors (surprise.weight)" in message
    assert "decphi.weight: (44, 1024) instead of (46, 1024)" in message


def test_what_a_file_has_more_is_told(tmp_path, caplog):
    state = small_state()
    torch.save(state, tmp_path / "weights.pth")
    load_pose_network(tmp_path / "weights.pth")
    assert not caplog.records
    torch.save({**state, "surprise.weight": torch.zeros(2)}, tmp_path / "weights.pth")
    load_pose_network(tmp_path / "weights.pth")
    (record,) = caplog.records
    assert "1 unknown tensors (surprise.weight)" in record.getMessage()


def test_the_report_counts_the_body_s_tensors_and_nothing_else_as_ignored():
    state = small_state()
    report = load_tensors(PoseNetwork(config_of(state)), state)
    assert report.is_complete
    assert str(report) == ""
    assert report.ignored == 9


@pytest.mark.parametrize("averaged", [True, False])
@pytest.mark.parametrize("given", ["training", "checkpoint", "file"])
def test_what_a_training_leaves_is_a_network(tmp_path, averaged, given):
    config = NetworkConfig(
        backbone="resnet18", input_size=64, heatmap_size=16, depth_cells=4, deconv_channels=(8, 8, 8), mean=(0.5,) * 3
    )
    torch.manual_seed(0)
    state = PoseNetwork(config).state_dict()
    values = {"config": {"network": msgspec.to_builtins(config)}}
    tensors = {"network": state}
    if averaged:
        moved = {f"module.{name}": value + 1 for name, value in state.items()}
        tensors["ema"] = moved | {"n_averaged": torch.tensor(3)}
    folder = save_checkpoint(tmp_path / "checkpoints", Checkpoint(7, tensors, values), keep=1)
    file = folder / ("ema.safetensors" if averaged else "network.safetensors")
    network = load_pose_network({"training": tmp_path, "checkpoint": folder, "file": file}[given])
    assert network.config == config
    expected = state["fc1.bias"] + (1 if averaged else 0)
    assert torch.equal(network.state_dict()["fc1.bias"], expected)


def test_a_folder_without_a_training_is_none(tmp_path):
    with pytest.raises(FileFormatError, match="no checkpoint of `ikol train`"):
        load_pose_network(tmp_path)


class _Touch:
    """Pickled, it would make a file when it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("plain_pickle", [True, False], ids=["pickle", "torch.save"])
def test_code_in_a_file_does_not_run(tmp_path, plain_pickle):
    path, trace = tmp_path / "weights.pth", tmp_path / "ran"
    if plain_pickle:
        path.write_bytes(pickle.dumps({"preact.conv1.weight": _Touch(trace)}, protocol=2))
    else:
        torch.save({"preact.conv1.weight": _Touch(trace)}, path)
    with pytest.raises(FileFormatError, match="without running code"):
        read_tensors(path)
    assert not trace.exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.pth", b"", "cannot be read"),
        ("a.pth", b"PK\x03\x04 not a zip", "cannot be read"),
        ("a.safetensors", b"\xff" * 64, "not a safetensors file"),
        ("a.safetensors", (2**40).to_bytes(8, "little") + b"{}", "not a safetensors file"),
    ],
)
def test_what_is_no_file_of_weights_is_said(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FileFormatError, match=message):
        read_tensors(tmp_path / name)


@pytest.mark.skipif(sys.platform == "win32", reason="sparse files need a call there")
def test_a_huge_file_is_refused_before_it_is_read(tmp_path):
    with (tmp_path / "a.pth").open("wb") as file:
        file.truncate(2**31 + 1)
    with pytest.raises(FileFormatError, match="at most 2048 MB"):
        read_tensors(tmp_path / "a.pth")


@pytest.mark.parametrize("found", [[torch.zeros(1)], {"epoch": 3}, {3: torch.zeros(1)}])
def test_what_is_no_state_dict_is_said(tmp_path, found):
    torch.save(found, tmp_path / "a.pth")
    with pytest.raises(FileFormatError, match="no state dict|no tensors"):
        read_tensors(tmp_path / "a.pth")


def test_weights_of_another_network_ask_for_a_manifest():
    with pytest.raises(FileFormatError, match="need a manifest"):
        config_of({"fc.weight": torch.zeros(3, 3)})


def test_shapes_that_a_small_file_only_claims_are_refused():
    state = small_state()
    state["deconv_layers.0.weight"] = torch.zeros(1).expand(512, 10**9, 4, 4)
    with pytest.raises(FileFormatError, match="at most 2048 channels"):
        config_of(state)
