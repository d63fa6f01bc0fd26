# SPDX-License-Identifier: Apache-2.0
"""`ikol convert` and `ikol solve`, as a user types them."""

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from exchange_motions import ROUND_TRIP, joints_of, markers, picture_points, walking
from model_files import model_arrays, official_objects, write_model
from own_body import more_betas
from photo_evidence import LENS, known_pose, seen_as
from pickles import python2_pickle
from whole_body import JAW_DEG, whole_body_keypoints, whole_body_pose

from ikol.body import load_default_body, load_smpl_body
from ikol.body.kinematics import forward_kinematics
from ikol.cli import main
from ikol.exchange import Keypoints, Rig, read_amass, read_bvh, read_smpl_codec, write_amass, write_bvh
from ikol.exchange.keypoint_json import KeypointFormat, write_keypoint_json
from ikol.exchange.trc import read_trc, write_trc
from ikol.geometry.rotations import rotmat_to_rotvec


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def test_an_official_body_is_converted_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "SMPL_NEUTRAL.pkl").write_bytes(python2_pickle(official_objects(model_arrays())))
    assert run("convert", tmp_path / "SMPL_NEUTRAL.pkl", tmp_path / "smpl.npz") == 0
    assert "smpl.npz: SMPL, 12 betas" in capsys.readouterr().out
    assert load_smpl_body(tmp_path / "smpl.npz").tree.num_joints == 24


def test_a_motion_goes_through_all_formats(tmp_path: Path) -> None:
    motion = walking()
    write_amass(tmp_path / "a.npz", motion)
    names = ("a.npz", "b.smpl", "c.pk", "d.bvh", "e.npz")
    for source, target in pairwise(names):
        assert run("convert", tmp_path / source, tmp_path / target) == 0
    off = float((joints_of(read_amass(tmp_path / "e.npz")) - joints_of(motion)).norm(dim=-1).max())
    # four files, two of float32
    assert off < 4 * ROUND_TRIP, off


def test_a_bvh_gets_the_bones_of_the_body_in_its_shape(tmp_path: Path) -> None:
    write_amass(tmp_path / "a.npz", walking())
    body_path = write_model(tmp_path / "own.npz")
    assert run("convert", tmp_path / "a.npz", tmp_path / "a.bvh", "--body", body_path) == 0
    body, rig = load_smpl_body(body_path), read_bvh(tmp_path / "a.bvh")
    wanted = body.rest_joints(walking().betas[0])
    order = [rig.tree.index(name) for name in body.tree.names]
    assert float((rig.rest_joints[order] - wanted).abs().max()) < 1e-5  # written to a millionth


def test_markers_and_keypoints_are_converted(tmp_path: Path) -> None:
    write_trc(tmp_path / "a.trc", markers())
    assert run("convert", tmp_path / "a.trc", tmp_path / "a.c3d") == 0
    assert run("convert", tmp_path / "a.c3d", tmp_path / "b.trc") == 0
    assert float((read_trc(tmp_path / "b.trc").points - markers().points).abs().max()) < ROUND_TRIP
    write_keypoint_json(tmp_path / "a.json", picture_points(1), "blazepose")
    assert run("convert", tmp_path / "a.json", tmp_path / "b.json", "--to", "openpose") == 0
    assert "pose_keypoints_2d" in json.loads((tmp_path / "b.json").read_text())["people"][0]


def test_markers_pose_the_default_body(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    body = load_default_body(torch.float64)
    motion = walking(frames=3)
    local = torch.eye(3, dtype=torch.float64).repeat(3, 24, 1, 1)
    local[:, 0] = motion.local_rotmat[:, 0]
    pose = forward_kinematics(body.tree, body.joints_template, local, motion.transl)
    landmarks = body.points.select(body.points.names[24:])
    places = landmarks.posed_points(landmarks.rest, body.joints_template, pose)
    write_trc(tmp_path / "a.trc", Keypoints(landmarks.names, places, torch.ones(3, 33, dtype=torch.float64), 50.0))
    assert run("solve", "--keypoints", tmp_path / "a.trc", "--out", tmp_path / "a.smpl", "--mean-shape") == 0
    assert "3 frames, 33 points" in capsys.readouterr().out
    found = read_smpl_codec(tmp_path / "a.smpl", axes="y")
    again = forward_kinematics(body.tree, body.joints_template, found.local_rotmat, found.transl)
    # exact markers of 2 cm against the relaxed stance, whose arms hang
    off = (landmarks.posed_points(landmarks.rest, body.joints_template, again) - places).norm(dim=-1)
    assert float(off.median()) < 0.01, float(off.median())
    assert found.fps == 50.0


def test_points_on_a_picture_pose_a_body_with_fingers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_model(tmp_path / "x.npz", "SMPL-X")
    body = load_smpl_body(path)
    seen, _ = seen_as(body, known_pose(body))
    points = Keypoints(seen.names, seen.points[None], torch.ones(1, 33, dtype=torch.float64), 30.0, (1080, 1920))
    write_keypoint_json(tmp_path / "a.json", points, "coco")
    arguments = ["--keypoints", tmp_path / "a.json", "--size", "1080x1920", "--focal-px", LENS.focal[0]]
    assert run("solve", *arguments, "--skeleton", path, "--out", tmp_path / "a.npz") == 0
    said = capsys.readouterr().out
    assert "1 frames, 17 points" in said
    assert float(said.split(" points, ")[1].split(" px")[0]) < 12  # a hundredth of the person's height is its sigma
    motion = read_amass(tmp_path / "a.npz")
    assert len(motion.joint_names) == 55
    fingers = motion.local_rotmat[0, 25:]
    assert float((fingers - torch.eye(3, dtype=torch.float64)).abs().max()) < 1e-6


@pytest.mark.parametrize("form", ["wholebody", "openpose"])
def test_points_of_hands_and_lips_bend_fingers_and_open_the_jaw(tmp_path: Path, form: KeypointFormat) -> None:
    path = write_model(tmp_path / "x.npz", "SMPL-X")
    body = load_smpl_body(path)
    pose = whole_body_pose(body)
    write_keypoint_json(tmp_path / "a.json", whole_body_keypoints(body, [pose]), form)
    arguments = ["--keypoints", tmp_path / "a.json", "--size", "1080x1920", "--focal-px", LENS.focal[0]]
    assert run("solve", *arguments, "--skeleton", path, "--out", tmp_path / "a.npz") == 0
    local = read_amass(tmp_path / "a.npz").local_rotmat[0]
    jaw = local[body.tree.index("Jaw")]
    # of a face of another shape: the CLI solves that too, and one picture says little of it
    assert abs(float(torch.rad2deg(torch.atan2(jaw[2, 1], jaw[1, 1]))) - JAW_DEG) < 4.0
    fingers = slice(25, 55)
    between = rotmat_to_rotvec(local[fingers].mT @ pose.local_rotmat[fingers]).norm(dim=-1)
    # one picture leaves some bones' depth open; at rest the median would be 25 degrees
    assert float(torch.rad2deg(between.median())) < 12.0, torch.rad2deg(between)


def test_markers_pose_a_bvhs_hierarchy_with_its_own_names_and_bones(tmp_path: Path) -> None:
    body = load_default_body(torch.float64)
    theirs = {
        "Pelvis": "Hips", "L_Hip": "LeftUpLeg", "R_Hip": "RightUpLeg", "Spine1": "Spine", "L_Knee": "LeftLeg",
        "R_Knee": "RightLeg", "Spine2": "Spine1", "L_Ankle": "LeftFoot", "R_Ankle": "RightFoot", "Spine3": "Spine2",
        "L_Foot": "LeftToeBase", "R_Foot": "RightToeBase", "L_Collar": "LeftShoulder", "R_Collar": "RightShoulder",
        "L_Shoulder": "LeftArm", "R_Shoulder": "RightArm", "L_Elbow": "LeftForeArm", "R_Elbow": "RightForeArm",
        "L_Wrist": "LeftHand", "R_Wrist": "RightHand", "L_Hand": "LeftMiddle", "R_Hand": "RightMiddle",
    }  # fmt: skip
    names = tuple(theirs.get(name, name) for name in body.tree.names)
    tree = type(body.tree)(names, body.tree.parents)
    rest = 1.1 * body.joints_template
    still = walking(frames=1)
    own = type(still)(names, still.local_rotmat, still.transl, still.betas, 30.0)
    write_bvh(tmp_path / "rig.bvh", Rig(tree, rest, own))
    local = torch.eye(3, dtype=torch.float64).repeat(24, 1, 1)
    places = forward_kinematics(body.tree, rest, local, torch.tensor([0.5, 0.2, 1.0], dtype=torch.float64)).joints
    shown = (
        "L_Hip",
        "R_Hip",
        "L_Knee",
        "R_Knee",
        "L_Ankle",
        "R_Ankle",
        "L_Shoulder",
        "R_Shoulder",
        "L_Elbow",
        "R_Elbow",
    )
    points = places[[body.tree.index(name) for name in shown]][None]
    write_trc(tmp_path / "a.trc", Keypoints(shown, points, torch.ones(1, len(shown), dtype=torch.float64), 30.0))
    rig = tmp_path / "rig.bvh"
    assert run("solve", "--keypoints", tmp_path / "a.trc", "--skeleton", rig, "--out", tmp_path / "out.bvh") == 0
    read = read_bvh(tmp_path / "out.bvh")
    assert {*read.tree.names} == {*names}
    posed = forward_kinematics(read.tree, read.rest_joints, read.motion.local_rotmat, read.motion.transl).joints[0]
    found = posed[[read.tree.index(theirs[name]) for name in shown]]
    assert float((found - points[0]).norm(dim=-1).max()) < 0.03  # exact places of 2 cm against the stance


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["convert", "gone.npz", "a.smpl"], "error: there is no file gone.npz; name another file"),
        (
            ["convert", "gone.xyz", "a.smpl"],
            "gone.xyz: .npz, .smpl, .pk, .pkl, .bvh, .trc, .c3d, .json are known",
        ),
        (
            ["convert", "gone.bvh", "nowhere/a.smpl"],
            "the folder of nowhere/a.smpl does not exist; make it first",
        ),
        (["solve", "--keypoints", "gone.trc", "--sigma", "-1"], "error: --sigma and --focal-px must be positive"),
        (["solve", "--keypoints", "gone.trc"], "error: there is no file gone.trc; name another file"),
        (["solve", "--keypoints", "gone.trc", "--skeleton", "gone.pkl"], "error: there is no body file gone.pkl"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 1
    assert sentence in capsys.readouterr().err


def test_a_motion_is_not_solved_and_points_are_not_a_motion(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_amass(tmp_path / "a.npz", walking())
    write_trc(tmp_path / "a.trc", markers())
    write_keypoint_json(tmp_path / "a.json", picture_points(), "coco")
    np.savez(tmp_path / "empty.npz", a=np.zeros(1))
    for arguments, sentence in (
        (["solve", "--keypoints", tmp_path / "a.npz"], "a.npz is a motion, not keypoints; use `ikol convert`"),
        (["convert", tmp_path / "a.trc", tmp_path / "b.bvh"], "points are written as trc, c3d, points or openpose"),
        (["convert", tmp_path / "a.npz", tmp_path / "b.trc"], "a motion is written as amass, smpl, hybrik, bvh"),
        (["solve", "--keypoints", tmp_path / "a.json"], "points on a picture need its size"),
        (["convert", tmp_path / "empty.npz", tmp_path / "b.smpl"], "empty.npz has neither poses nor root_orient"),
    ):
        assert run(*arguments) == 1
        assert sentence in capsys.readouterr().err


def test_a_motion_in_a_format_of_points_is_refused_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_trc(tmp_path / "a.trc", markers())
    assert run("solve", "--keypoints", tmp_path / "a.trc", "--out", tmp_path / "a.json") == 1
    said = capsys.readouterr().err
    assert "a motion is written as amass, smpl, hybrik, bvh, not as coco" in said
    assert "frame" not in said, said  # no bar of progress: nothing was solved


@pytest.mark.parametrize("scale", ["-1", "0", "nan", "inf"])
def test_a_scale_that_is_none_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], scale: str) -> None:
    with pytest.raises(SystemExit):
        run("convert", tmp_path / "a.bvh", tmp_path / "b.bvh", f"--scale={scale}")
    assert f"must be a positive number, got '{scale}'" in capsys.readouterr().err


def test_several_frames_are_not_cut_to_the_one_of_an_openpose_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    points = Keypoints(("nose", "left_knee"), torch.rand(3, 2, 2, dtype=torch.float64), torch.ones(3, 2).double())
    write_keypoint_json(tmp_path / "a.json", points, "coco")
    assert run("convert", tmp_path / "a.json", tmp_path / "b.json", "--to", "openpose") == 1
    assert "a file of OpenPose holds one frame, these are 3" in capsys.readouterr().err
    assert not (tmp_path / "b.json").exists()


@pytest.mark.parametrize("count", [16, 300])
def test_all_betas_go_from_format_to_format(tmp_path: Path, count: int) -> None:
    path = write_model(tmp_path / "many.npz", shapedirs=more_betas(model_arrays(), count))
    body = load_smpl_body(path, num_betas=None)
    betas = torch.linspace(-1.0, 1.0, count, dtype=torch.float64)[None]
    motion = replace(walking(frames=3), betas=betas)
    rest = body.rest_joints(betas[0])
    write_amass(tmp_path / "a.npz", motion, pelvis=lambda _: rest[0])
    for source, target in pairwise(("a.npz", "b.smpl", "c.pk", "d.npz", "e.bvh")):
        options = ["--up", {".npz": "z", ".smpl": "y"}.get(Path(source).suffix, "camera")]
        assert run("convert", tmp_path / source, tmp_path / target, "--body", path, *options) == 0
    found = read_amass(tmp_path / "d.npz", "z", lambda _: rest[0])
    assert float((found.betas - betas).abs().max()) < 1e-6  # float32 on the way
    rig = read_bvh(tmp_path / "e.bvh")
    order = [rig.tree.index(name) for name in body.tree.names]
    for again, bones in ((found, rest), (rig.motion, rig.rest_joints[order])):
        places = forward_kinematics(body.tree, bones, again.on(body.tree).local_rotmat, again.transl).joints
        wanted = forward_kinematics(body.tree, rest, motion.local_rotmat, motion.transl).joints
        off = float((places - places[0, 0] - (wanted - wanted[0, 0])).norm(dim=-1).max())
        assert off < ROUND_TRIP, off


def test_markers_find_the_shape_among_all_betas_of_a_skeleton(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_model(tmp_path / "many.npz", shapedirs=more_betas(model_arrays(), 300))
    body = load_smpl_body(path, num_betas=None)
    betas = torch.zeros(300, dtype=torch.float64)
    betas[0], betas[11] = -1.0, 2.0
    rest = body.rest_joints(betas)
    local = torch.eye(3, dtype=torch.float64).repeat(2, 24, 1, 1)
    places = forward_kinematics(body.tree, rest, local, torch.zeros(2, 3, dtype=torch.float64)).joints
    write_trc(tmp_path / "a.trc", Keypoints(body.tree.names, places, torch.ones(2, 24, dtype=torch.float64), 50.0))
    arguments = ["--keypoints", tmp_path / "a.trc", "--skeleton", path, "--up", "y", "--sigma", "0.002"]
    assert run("solve", *arguments, "--out", tmp_path / "a.smpl") == 0
    assert float(capsys.readouterr().out.split(" points, ")[1].split(" mm")[0]) < 2.0  # the stance pulls a little
    found = read_smpl_codec(tmp_path / "a.smpl", axes="y")
    assert found.betas.shape == (1, 300)
    assert float(found.betas[0, 10:].abs().max()) > 0.2  # not the first ten alone
