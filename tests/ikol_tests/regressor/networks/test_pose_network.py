# SPDX-License-Identifier: Apache-2.0
import dataclasses

import msgspec
import pytest
import torch

from ikol.errors import InputError
from ikol.geometry.rotations import sixd_to_rotmat
from ikol.regressor.graph import GraphNetwork
from ikol.regressor.landmarks import run_landmarks
from ikol.regressor.networks import NetworkConfig, PoseNetwork
from ikol.regressor.networks.blazepose import BlazePose
from ikol.regressor.networks.hrnet import HRNet
from ikol.regressor.networks.joints import LEAVES, SMPL24, SMPL29, mirror_order
from ikol.regressor.networks.resnet import ResNet
from ikol.regressor.weights import load_network

SMALL = {
    "backbone": "resnet18",
    "input_size": 64,
    "heatmap_size": 16,
    "depth_cells": 8,
    "deconv_channels": (16, 16, 16),
}
CONFIGS = {
    "24 joints, leaves": NetworkConfig(num_joints=24, leaves=True, **SMALL),
    "29 joints": NetworkConfig(**SMALL),
    "camera of 3, sigma": NetworkConfig(camera=3, sigma=True, **SMALL),
    "rotations": NetworkConfig(rotations=True, **SMALL),
    "hrnet": NetworkConfig(**{**SMALL, "backbone": "hrnet_w32"}, camera=1, sigma=True),
    "blazepose": NetworkConfig(backbone="blazepose_full", camera=1, rotations=True, mean=(0.0,) * 3, std=(1.0,) * 3),
}


def pictures(batch=2, size=64):
    return torch.rand(batch, 3, size, size, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("name", CONFIGS)
def test_outputs_have_their_shapes_and_are_finite(name):
    config = CONFIGS[name]
    network = PoseNetwork(config).eval()
    output = network(network.prepare(pictures(size=config.input_size)))
    joints = config.num_joints
    expected = {
        "uvd": (2, joints, 3),
        "uvd_spread": (2, joints, 3),
        "peak": (2, joints),
        "betas": (2, 10),
        "twist": (2, 23, 2),
        "leaf_quat": (2, 5, 4) if config.leaves else None,
        "camera": (2, config.camera) if config.camera else None,
        "sigma": (2, joints) if config.sigma else None,
        "rotation_6d": (2, 24, 6) if config.rotations else None,
    }
    found = {field.name: getattr(output, field.name) for field in dataclasses.fields(output)}
    assert {name: None if value is None else tuple(value.shape) for name, value in found.items()} == expected
    assert all(value.isfinite().all() for value in found.values() if value is not None)
    assert config.joint_names[:24] == SMPL24


@pytest.mark.parametrize("name", ["24 joints, leaves", "hrnet", "blazepose"])
def test_gradients_reach_every_parameter(name):
    network = PoseNetwork(CONFIGS[name])
    output = network(network.prepare(pictures(size=CONFIGS[name].input_size)))
    parts = [getattr(output, field.name) for field in dataclasses.fields(output)]
    sum(part.square().sum() for part in parts if part is not None).backward()
    without = [name for name, value in network.named_parameters() if value.grad is None]
    # conv340: by which BlazePose says whether there is a person
    assert [each for each in without if "conv340" not in each] == []
    assert all(value.grad.isfinite().all() for value in network.parameters() if value.grad is not None)


def test_it_runs_under_autocast_and_answers_in_float32():
    network = PoseNetwork(CONFIGS["29 joints"]).eval()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = network(network.prepare(pictures()))
    assert output.uvd.dtype == output.twist.dtype == output.betas.dtype == torch.float32


@pytest.mark.parametrize("name", CONFIGS)
def test_mirroring_twice_changes_nothing(name):
    network = PoseNetwork(CONFIGS[name]).eval()
    output = network(network.prepare(pictures(1, CONFIGS[name].input_size)))
    twice = network.mirrored(network.mirrored(output))
    for field in dataclasses.fields(output):
        value = getattr(output, field.name)
        if value is not None:
            torch.testing.assert_close(getattr(twice, field.name), value)


def test_the_flip_test_says_the_same_of_a_picture_and_its_mirror_image():
    network = PoseNetwork(CONFIGS["camera of 3, sigma"]).eval()
    crops = network.prepare(pictures())
    one, other = network.flip_test(crops), network.mirrored(network.flip_test(crops.flip(-1)))
    for field in dataclasses.fields(one):
        if getattr(one, field.name) is not None:
            torch.testing.assert_close(getattr(one, field.name), getattr(other, field.name), rtol=1e-4, atol=1e-5)


def test_left_and_right_are_swapped_by_name():
    order = mirror_order(SMPL29)
    assert SMPL29[order[SMPL29.index("L_Wrist")]] == "R_Wrist"
    assert SMPL29[order[28]] == "L_Foot_end"
    assert order[0] == 0
    assert mirror_order(LEAVES) == (1, 0, 2, 4, 3)  # the pairs of the published models


def test_a_twist_of_zero_length_is_no_angle_and_has_a_gradient():
    network = PoseNetwork(CONFIGS["29 joints"]).eval()
    output = network(network.prepare(pictures(1)))
    twist = torch.zeros(1, 23, 2, requires_grad=True)
    angle = dataclasses.replace(output, twist=twist).twist_angle
    angle.sum().backward()
    assert torch.equal(angle, torch.zeros(1, 23))
    assert twist.grad.isfinite().all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"backbone": "vgg"}, "unknown backbone 'vgg'"),
        ({"num_joints": 17}, "num_joints must be 24 or 29"),
        ({"input_size": 200}, "four times heatmap_size"),
        ({"backbone": "blazepose_full"}, "needs camera = 1, input_size = 256, mean"),
    ],
)
def test_settings_that_cannot_be_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        NetworkConfig(**{**SMALL, **change})


def test_a_setting_with_a_typing_error_is_refused():
    with pytest.raises(msgspec.ValidationError, match="backbne"):
        msgspec.convert({"backbne": "resnet18"}, NetworkConfig)


def test_a_crop_of_another_size_is_refused():
    with pytest.raises(InputError, match="takes crops of 64 x 64 pixels"):
        PoseNetwork(CONFIGS["29 joints"])(pictures(1, 96))


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50"])
def test_resnet_is_torchvision_s(name):
    try:
        from torchvision import models
    except (ImportError, RuntimeError) as error:  # the second: it was built for another torch
        pytest.skip(f"torchvision cannot be used: {error}")
    theirs = getattr(models, name)(weights=None).eval()
    ours = ResNet(name).eval()
    state = {key: value for key, value in theirs.state_dict().items() if not key.startswith("fc.")}
    ours.load_state_dict(state)
    batch = pictures()
    x = theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(batch))))
    expected = theirs.layer4(theirs.layer3(theirs.layer2(theirs.layer1(x))))
    torch.testing.assert_close(ours(batch), expected)


def test_hrnet_s_maps_have_a_quarter_of_the_picture_s_size():
    network = HRNet(7, 32).eval()
    maps, features = network(pictures(1, 64))
    assert maps.shape == (1, 7, 16, 16)
    assert features.shape == (1, 2048)


def test_blazepose_s_features_are_its_landmarks_in_the_crop():
    with torch.no_grad():
        seen = run_landmarks(GraphNetwork(load_network("blazepose_full")), pictures(1, 256))
        features = BlazePose("blazepose_full")(pictures(1, 256)).reshape(1, 33, 6)
    torch.testing.assert_close(features[..., :2], seen.points[:, :33] - 0.5 - 0.5 / 256)
    torch.testing.assert_close(features[..., 2:5], seen.world)


def test_rotations_are_mirrored_as_rotations():
    network = PoseNetwork(CONFIGS["rotations"]).eval()
    output = network(network.prepare(pictures()))
    flip = torch.diag(torch.tensor([-1.0, 1.0, 1.0]))
    expected = flip @ sixd_to_rotmat(output.rotation_6d)[:, list(mirror_order(SMPL24))] @ flip
    torch.testing.assert_close(sixd_to_rotmat(network.mirrored(output).rotation_6d), expected)
