# SPDX-License-Identifier: Apache-2.0
"""What a user's network says becomes a pose: a network that knows the truth must give it back."""

import dataclasses
import math

import msgspec
import numpy as np
import pytest
import torch
from head_people import one_person
from own_networks import BrightestMaps, KnowsTruth, bright_spot, torchscript_bytes, write_network
from PIL import Image
from safetensors.torch import save_file

from ikol.body import forward_kinematics, load_default_body
from ikol.cli import main
from ikol.errors import InputError
from ikol.geometry.rotations import rotvec_to_rotmat
from ikol.pipeline import Keypoints2D, PosePipeline, RelativeKeypoints3D, Shape, Twist
from ikol.pipeline.own_network import evidence_of_network, look_with
from ikol.pipeline.reading import intrinsics_of
from ikol.regressor.manifest import NetworkPerson, load_own_network
from ikol.regressor.networks import NetworkConfig, PoseNetwork

HALF_TURN = torch.diag(torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64))  # of a level camera
BOX = [400.0, 100.0, 400.0, 800.0]
BODY = load_default_body(dtype=torch.float64)


def true_pose():
    """A person 3.5 m away who steps, bends an elbow and turns its forearm."""
    rotvec = torch.zeros(24, 3, dtype=torch.float64)
    turns = {"L_Hip": (-0.5, 0, 0.1), "L_Knee": (0.7, 0, 0), "R_Shoulder": (0, 0.3, 0.9), "R_Elbow": (0.5, 0.8, 0),
             "L_Shoulder": (0, -0.2, -1.0), "L_Elbow": (-0.6, -0.7, 0), "Neck": (0.1, 0.4, 0)}  # fmt: skip
    for name, turn in turns.items():
        rotvec[BODY.tree.names.index(name)] = torch.tensor(turn)
    rotmat = rotvec_to_rotmat(rotvec)
    posed = forward_kinematics(BODY.tree, BODY.joints_template, rotmat, torch.zeros(3, dtype=torch.float64))
    camera = (posed.joints - posed.joints[:1]) @ HALF_TURN.T + torch.tensor([0.0, 0.0, 3.5])
    return rotvec, rotmat, camera


def lens(width, height):
    return intrinsics_of(width, height, 1100.0, None)


@pytest.fixture(scope="module")
def knowing(tmp_path_factory):
    rotvec, _, camera = true_pose()
    # NLF says the root's rotation in the camera's axes
    network = KnowsTruth(camera, rotvec, BOX)
    return write_network(
        tmp_path_factory.mktemp("network"), torchscript_bytes(network), ".pt", name="knows", format="torchscript",
        call="detect_smpl_batched", units="mm", sigma={"image": 0.002, "plane": 0.005, "depth": 0.005, "twist": 0.05},
    )  # fmt: skip


@pytest.fixture(scope="module")
def pipeline(knowing):
    return PosePipeline(own_networks=[load_own_network(knowing, trust=True)])


def test_the_pose_that_a_network_knows_is_found(pipeline):
    _, rotmat, camera = true_pose()
    assert pipeline.own_models == ("knows",)
    picture = np.zeros((1000, 1200, 3), np.uint8)
    intrinsics = lens(1200, 1000)
    (person,) = pipeline.detect_rgb(picture, intrinsics=intrinsics, model="knows").persons
    assert [type(block) for block in person.evidence] == [Keypoints2D, RelativeKeypoints3D, Twist]
    solution = pipeline.solve(person.evidence, intrinsics=intrinsics)
    found = (solution.joints - solution.joints[:1]) @ solution.camera.R_camera_world.T
    error = (found - (camera - camera[:1])).norm(dim=-1)
    # the relaxed stance and the mean shape pull against evidence of 5 mm
    assert float(error.mean()) < 0.02, f"{1e3 * float(error.mean()):.1f} mm"
    turned = solution.pose.local_rotmat[18:20] @ rotmat[18:20].mT
    angle = ((turned.diagonal(dim1=-2, dim2=-1).sum(-1) - 1) / 2).clamp(-1, 1).acos()
    assert float(angle.max()) < math.radians(12.0), angle.rad2deg()  # elbows, twist and all


def test_a_box_of_the_user_chooses_among_those_whom_the_network_finds(pipeline):
    picture, intrinsics = np.zeros((1000, 1200, 3), np.uint8), lens(1200, 1000)
    near = pipeline.detect_rgb(picture, intrinsics=intrinsics, model="knows", boxes=[(410.0, 120.0, 790.0, 880.0)])
    far = pipeline.detect_rgb(picture, intrinsics=intrinsics, model="knows", boxes=[(0.0, 0.0, 90.0, 90.0)])
    assert len(near.persons) == 1
    assert far.persons == ()


def test_an_unknown_network_is_named_with_those_that_there_are(pipeline):
    with pytest.raises(InputError, match="unknown network 'other'; there are heavy, full, knows"):
        pipeline.detect_rgb(np.zeros((64, 64, 3), np.uint8), intrinsics=lens(64, 64), model="other")


def test_a_network_that_looks_at_crops_looks_at_the_user_s_boxes(tmp_path):
    path = write_network(
        tmp_path, torchscript_bytes(BrightestMaps()), ".pt", format="torchscript", joint_set="coco17", name="bright",
        input={"size": [128, 128]}, outputs={"joints2d": "maps", "joints2d_kind": "heatmap"},
    )  # fmt: skip
    pipeline = PosePipeline(own_networks=[load_own_network(path, trust=True)])
    found = pipeline.detect_rgb(
        bright_spot(163.0, 151.0), intrinsics=lens(320, 240), model="bright", boxes=[(100.0, 40.0, 200.0, 200.0)]
    )
    (person,) = found.persons
    (block,) = person.evidence
    assert block.names[:2] == ("nose", "left_eye")
    torch.testing.assert_close(block.points[0], torch.tensor([163.0, 151.0]).double(), rtol=0, atol=1.0)
    assert person.landmarks.in_picture.sum() == 17
    assert person.confidence["nose"] == pytest.approx(float(person.score), abs=1e-3)


def test_betas_are_evidence_on_their_own_body_only():
    points = torch.tensor([[10.0, 20.0]])
    person = NetworkPerson(
        1.0, (0.0, 0.0, 9.0, 9.0), ("nose",), points, torch.ones(1), betas=torch.ones(10), betas_body="smpl"
    )
    assert [type(block) for block in evidence_of_network(person, BODY)] == [Keypoints2D]
    person = NetworkPerson(
        1.0, (0.0, 0.0, 9.0, 9.0), ("nose",), points, torch.ones(1), betas=torch.ones(10), betas_body=BODY.name
    )
    assert [type(block) for block in evidence_of_network(person, BODY)] == [Keypoints2D, Shape]


def test_a_joint_that_the_body_has_not_is_named():
    person = NetworkPerson(1.0, (0.0, 0.0, 9.0, 9.0), ("tail",), torch.zeros(1, 2), torch.ones(1))
    with pytest.raises(InputError, match="has no tail"):
        evidence_of_network(person, BODY)


def test_the_command_line_takes_a_manifest(tmp_path, knowing, capsys):
    Image.new("RGB", (1200, 1000)).save(tmp_path / "photo.png")
    arguments = ["pose", str(tmp_path / "photo.png"), "--model", str(knowing), "--focal-px", "1100"]
    assert main([*arguments, "--trust-model", "--out", str(tmp_path / "pose.npz")]) == 0
    assert "1 person(s)" in capsys.readouterr().out
    with np.load(tmp_path / "pose.npz") as found:
        assert found["local_quat"].shape == (1, 24, 4)


def test_the_command_line_says_why_it_does_not_take_a_program(tmp_path, knowing, capsys):
    Image.new("RGB", (64, 64)).save(tmp_path / "photo.png")
    assert main(["pose", str(tmp_path / "photo.png"), "--model", str(knowing)]) == 1
    assert "--trust-model" in capsys.readouterr().err


def test_two_networks_of_one_name_are_refused(knowing):
    network = load_own_network(knowing, trust=True)
    with pytest.raises(InputError, match="a name of its own, got knows, knows"):
        PosePipeline(own_networks=[network, network])


def test_a_network_may_see_a_circle_around_the_landmarks(tmp_path):
    torch.manual_seed(0)
    config = NetworkConfig(
        backbone="resnet18", input_size=64, heatmap_size=16, depth_cells=4, deconv_channels=(8, 8, 8), framing="circle"
    )
    path = tmp_path / "network.safetensors"
    save_file(PoseNetwork(config).state_dict(), path)
    network = load_own_network(
        write_network(
            tmp_path, path.read_bytes(), ".safetensors", format="state_dict", network=msgspec.to_builtins(config)
        )
    )
    # the hips are not in the middle of the person's box
    person = one_person()
    points = torch.rand(33, 2) * 40.0 + torch.tensor([400.0, 250.0])
    points[23:25] = torch.tensor([[300.0, 200.0], [310.0, 200.0]])
    person = dataclasses.replace(person, image_points=points, box=torch.tensor([300.0, 200.0, 440.0, 290.0]))
    picture, body = np.zeros((480, 640, 3), np.uint8), BODY

    def middle(persons, boxes=()):
        (found,) = look_with(network, picture, lens(640, 480), body, persons, boxes=boxes)
        (block,) = [each for each in found.evidence if isinstance(each, Keypoints2D)]
        return block.points.mean(0)

    # a network of random weights says the middle of its crop, here 2.5 times 160 pixels wide, give or take some percent
    torch.testing.assert_close(middle((person,)), torch.tensor([305.0, 200.0]).double(), rtol=0, atol=20.0)
    boxed = middle((), [(400.0, 100.0, 500.0, 300.0)])
    torch.testing.assert_close(boxed, torch.tensor([450.0, 200.0]).double(), rtol=0, atol=20.0)
