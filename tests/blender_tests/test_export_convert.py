# SPDX-License-Identifier: Apache-2.0
"""Motions, markers and keypoints that the solver's Python writes, read again and compared."""

import json
import os
import subprocess
from pathlib import Path

import bpy
import numpy as np
import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
MAX_ERROR = 1e-4  # metres, what the issue asks for; .smpl, .pk and .c3d hold float32
FRAMES = (3, 4, 5, 6)
FORMS = {"SMPL_CODEC": ".smpl", "HYBRIK": ".pk"}
COCO = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
    "right_ankle",
)  # fmt: skip


@pytest.fixture
def writing(body, preferences):
    """A body, and the real solver's Python in the preferences."""
    preferences.solver_python = str(ROOT / ".venv" / "bin" / "python")
    bpy.context.scene.render.fps, bpy.context.scene.render.fps_base = 30, 1.0
    bpy.context.scene.frame_start, bpy.context.scene.frame_end = FRAMES[0], FRAMES[-1]
    return body


def animate(armature, names, seed=3):
    """Turn every bone at random in each frame; the object is moved and turned, and the body walks."""
    rng = np.random.default_rng(seed)
    armature.animation_data_clear()
    armature.location, armature.rotation_euler = (0.5, -0.25, 0.1), (0.1, -0.2, 0.9)
    for name in names:
        bone = armature.pose.bones[name]
        bone.rotation_mode = "XYZ"
        for frame in FRAMES:
            bone.rotation_euler = rng.uniform(-0.5, 0.5, 3)
            bone.keyframe_insert("rotation_euler", frame=frame)
    pelvis = armature.pose.bones[names[0]]
    for frame in FRAMES:
        pelvis.location = (0.1 * frame, 0.0, 0.05 * frame)
        pelvis.keyframe_insert("location", frame=frame)


def places(armature, names, frames=FRAMES):
    """Where the bones' heads are in the world, (F, J, 3)."""
    found = []
    for frame in frames:
        bpy.context.scene.frame_set(frame)
        found.append([np.array(armature.matrix_world @ armature.pose.bones[name].head) for name in names])
    return np.array(found)


def convert(path, out, *options):
    """Have the command line read a file; return the arrays that it writes."""
    python = str(ROOT / ".venv" / "bin" / "python")
    command = [python, "-m", "ikol.cli", "convert", str(path), str(out), *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with np.load(out) as data:
        return dict(data)


@pytest.mark.parametrize("form", FORMS)
def test_a_motion_is_imported_again_with_every_joint_in_its_place(writing, part, tmp_path, form):
    names = part("core.rig").JOINT_NAMES
    animate(writing, names)
    expected = places(writing, names)
    bpy.context.scene.frame_set(FRAMES[0])
    path = tmp_path / f"dance{FORMS[form]}"
    assert bpy.ops.ikol.export(filepath=str(path.with_suffix("")), form=form, frames="RANGE") == {"FINISHED"}
    assert [found.name for found in tmp_path.glob("dance*")] == [path.name]
    writing.animation_data_clear()
    writing.location, writing.rotation_euler = (0.0, 0.0, 0.0), (0.0, 0.0, 0.0)
    bpy.context.scene.ikol.target = "ACTIVE"  # in its own shape: SMPL's betas are not the default body's
    up = "Y" if form == "SMPL_CODEC" else "AUTO"
    assert bpy.ops.ikol.import_motion(filepath=str(path), up=up) == {"FINISHED"}
    error = np.abs(places(writing, names) - expected).max()
    print(f"{form}: {1000 * error:.5f} mm")
    assert error < MAX_ERROR, error


@pytest.fixture
def with_fingers(writing, preferences, part, tmp_path):
    """A body in the layout of SMPL-X, of another shape, in place of the default one."""
    path = tmp_path / "SMPLX_FEMALE.npz"
    code = "import sys, pathlib, model_files; model_files.write_model(pathlib.Path(sys.argv[1]), 'SMPL-X')"
    python = str(ROOT / ".venv" / "bin" / "python")
    subprocess.run([python, "-c", code, str(path)], cwd=ROOT / "tests" / "support", check=True)
    preferences.body_file = str(path)
    body = part("blender.own_body").current_body()
    betas = tuple(np.linspace(-1.0, 1.0, 10).tolist())
    armature = part("blender.armature").build_body(bpy.context, body, betas)
    pose = part("core.record").Pose((0.0,) * 3, ((1.0, 0.0, 0.0, 0.0),) * 55, betas)
    part("blender.bodies").write_record(armature, part("core.motion_file").motion_record("x", body, pose))
    bpy.context.view_layer.objects.active = armature
    yield armature
    preferences.body_file = ""


@pytest.mark.parametrize("form", ["SMPL_CODEC", "TRC", "C3D"])
def test_fingers_and_jaw_go_along(with_fingers, part, tmp_path, form):
    names = part("blender.own_body").current_body().tree.names
    animate(with_fingers, names)
    expected = places(with_fingers, names)
    path = tmp_path / f"hands.{form.lower()}"
    path = path.with_suffix(".smpl") if form == "SMPL_CODEC" else path
    assert bpy.ops.ikol.export(filepath=str(path), form=form, frames="RANGE") == {"FINISHED"}
    if form == "SMPL_CODEC":
        bpy.context.scene.frame_set(FRAMES[0])
        bpy.context.scene.ikol.target = "NEW"
        assert bpy.ops.ikol.import_motion(filepath=str(path), up="Y") == {"FINISHED"}
        copy = bpy.context.view_layer.objects.active
        assert copy != with_fingers
        found = places(copy, names)
    else:
        arrays = convert(path, tmp_path / "points.npz", "--to", "points", "--up", "y" if form == "TRC" else "z")
        assert tuple(arrays["names"].tolist()) == names
        x, y, z = np.moveaxis(arrays["points"], -1, 0)
        found = np.stack((x, -z, y), -1)
    error = np.abs(found - expected).max()
    print(f"{form}, 55 joints: {1000 * error:.5f} mm")
    assert error < MAX_ERROR, error


def test_keypoints_of_hands_and_lips_bend_fingers_and_open_the_jaw(with_fingers, part, tmp_path):
    code = (
        "import sys, pathlib, whole_body as made; from ikol.body import load_smpl_body; from ikol.exchange import *; "
        "body = load_smpl_body(pathlib.Path(sys.argv[1])); points = made.whole_body_keypoints(body, "
        "[made.whole_body_pose(body)]); write_keypoint_json(pathlib.Path(sys.argv[2]), points, 'wholebody')"
    )
    path, python = tmp_path / "whole.json", str(ROOT / ".venv" / "bin" / "python")
    arguments = [python, "-c", code, str(tmp_path / "SMPLX_FEMALE.npz"), str(path)]
    environment = dict(os.environ, PYTHONPATH=f"{ROOT / 'tests' / 'support'}{os.pathsep}{ROOT}")
    subprocess.run(arguments, env=environment, check=True)
    bpy.context.scene.ikol.target = "NEW"
    assert bpy.ops.ikol.import_motion(filepath=str(path), size=(1080, 1920)) == {"FINISHED"}
    bones = bpy.context.view_layer.objects.active.pose.bones
    turned = {name: np.degrees(bones[name].rotation_quaternion.angle) for name in ("Jaw", "L_Ring1", "R_Ring2")}
    # 18, 70 and 80 degrees; the lens is not the one of these points, and one picture leaves depth open
    assert 12 < turned["Jaw"] < 24, turned
    assert turned["L_Ring1"] > 35, turned
    assert turned["R_Ring2"] > 35, turned


@pytest.mark.parametrize("form", ["TRC", "C3D"])
def test_markers_are_read_again_where_the_joints_are(writing, part, tmp_path, form):
    names = part("core.rig").JOINT_NAMES
    animate(writing, names)
    writing.scale = (1.2,) * 3  # markers are places, whatever the scale
    expected = places(writing, names)
    bpy.context.scene.frame_set(FRAMES[1])
    path = tmp_path / f"trial.{form.lower()}"
    assert bpy.ops.ikol.export(filepath=str(path), form=form, frames="RANGE") == {"FINISHED"}
    assert bpy.context.scene.frame_current == FRAMES[1]
    found = convert(path, tmp_path / "points.npz", "--to", "points", "--up", "y" if form == "TRC" else "z")
    assert tuple(found["names"].tolist()) == names
    assert (found["points"].shape, float(found["fps"])) == ((len(FRAMES), 24, 3), 30.0)
    x, y, z = np.moveaxis(found["points"], -1, 0)
    error = np.abs(np.stack((x, -z, y), -1) - expected).max()
    print(f"{form}: {1000 * error:.5f} mm")
    assert error < MAX_ERROR, error
    bpy.context.scene.ikol.target = "NEW"
    assert bpy.ops.ikol.import_motion(filepath=str(path)) == {"FINISHED"}


def edited(armature, part):
    """Move, mute and remove keypoints of the photograph; return the record."""
    bodies, keypoints = part("blender.bodies"), part("core.keypoints")
    record = keypoints.move_pixels(
        bodies.read_record(armature), {"left_elbow": (101.25, 57.5), "R_Knee": (33.0, 250.75)}
    )
    record = keypoints.remove(keypoints.mute(record, ["right_ear"]), ["left_ear"])
    bodies.write_record(armature, record)
    return record


def wanted_rows(record, part):
    """What a file should hold of the points of the photograph, by name: x, y, confidence."""
    target = part("core.keypoints").target_pixel
    rows = {name: (*target(record, name), record.confidence.get(name, 1.0)) for name in COCO if target(record, name)}
    rows |= {"left_elbow": (101.25, 57.5, 1.0), "right_knee": (33.0, 250.75, 1.0)}
    return {name: row for name, row in rows.items() if name not in ("left_ear", "right_ear")}


@pytest.mark.parametrize("form", ["OPENPOSE", "COCO", "WHOLEBODY", "BLAZEPOSE"])
def test_the_photograph_s_edited_keypoints_are_read_again(writing, part, tmp_path, form):
    record = edited(writing, part)
    wanted = wanted_rows(record, part)
    assert len(wanted) == 15
    path = tmp_path / "photo_keypoints.json"
    assert bpy.ops.ikol.export_keypoints(filepath=str(path), form=form) == {"FINISHED"}
    found = convert(path, tmp_path / "points.npz", "--to", "points")
    rows = {
        str(name): (x, y, sure)
        for name, (x, y), sure in zip(found["names"], found["points"][0], found["confidence"][0], strict=True)
    }
    off = max(abs(rows[name][axis] - row[axis]) for name, row in wanted.items() for axis in range(3))
    print(f"{form}: {off:.2e} px")
    assert off < 1e-9, off  # BlazePose's are fractions of the picture
    assert [rows[name][2] for name in ("left_ear", "right_ear")] == [0.0, 0.0]


def test_openposes_file_is_as_openpose_writes_it(writing, part, tmp_path):
    wanted = wanted_rows(edited(writing, part), part)
    path = tmp_path / "photo_keypoints.json"
    assert bpy.ops.ikol.export_keypoints(filepath=str(path), form="OPENPOSE") == {"FINISHED"}
    (person,) = json.loads(path.read_text(encoding="utf-8"))["people"]
    flat = np.array(person["pose_keypoints_2d"]).reshape(25, 3)
    assert np.abs(flat[6] - wanted["left_elbow"]).max() < 1e-9
    middle = (np.array(wanted["left_hip"]) + wanted["right_hip"])[:2] / 2
    assert np.abs(flat[8, :2] - middle).max() < 1e-9
    assert flat[18, 2] == 0.0  # the ear that was removed


def test_what_cannot_be_written_is_said_and_leaves_nothing(writing, part, monkeypatch, tmp_path):
    with pytest.raises(RuntimeError, match=r"The folder of a\.smpl does not exist; make it first"):
        bpy.ops.ikol.export(filepath=str(tmp_path / "no" / "a.smpl"), form="SMPL_CODEC")
    (tmp_path / "a.trc").mkdir()
    with pytest.raises(RuntimeError, match=r"a\.trc could not be written"):
        bpy.ops.ikol.export(filepath=str(tmp_path / "a.trc"), form="TRC", frames="CURRENT")
    writing.scale = (1.1,) * 3
    with pytest.raises(RuntimeError, match=r"has scale 1\.100, of which a file of rotations knows nothing"):
        bpy.ops.ikol.export(filepath=str(tmp_path / "a.pk"), form="HYBRIK")
    writing.scale = (1.0,) * 3
    runtime = part("blender.runtime")
    shared = part("client.process").SolverConfig("", "", tmp_path / "log", listen_file="x")
    monkeypatch.setattr(runtime.Runtime, "config", lambda _self: shared)
    monkeypatch.setattr(runtime, "local_python", lambda: "")
    with pytest.raises(RuntimeError, match="are written by a solver on this computer"):
        bpy.ops.ikol.export(filepath=str(tmp_path / "a.c3d"), form="C3D")
    assert [found.name for found in tmp_path.iterdir() if "a." in found.name] == ["a.trc"]


def test_a_body_without_a_picture_has_no_keypoints_to_write(writing, part, tmp_path):
    bodies = part("blender.bodies")
    record = bodies.read_record(writing)
    muted = part("core.keypoints").mute(record, part("core.keypoints").shown_points(record))
    bodies.write_record(writing, muted)
    with pytest.raises(RuntimeError, match="No keypoint of the picture counts; bring some back first"):
        bpy.ops.ikol.export_keypoints(filepath=str(tmp_path / "a.json"))
    names = part("core.rig").JOINT_NAMES
    animate(writing, names)
    path = tmp_path / "a.smpl"
    assert bpy.ops.ikol.export(filepath=str(path), form="SMPL_CODEC", frames="CURRENT") == {"FINISHED"}
    bpy.context.scene.ikol.target = "NEW"
    assert bpy.ops.ikol.import_motion(filepath=str(path), up="Y") == {"FINISHED"}
    assert not bpy.ops.ikol.export_keypoints.poll()
