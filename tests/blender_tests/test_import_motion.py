# SPDX-License-Identifier: Apache-2.0
"""Other programs' motions, markers and keypoints in Blender, read by the real solver's Python."""

from pathlib import Path

import bpy
import numpy as np
import pytest
from numpy_body import pose_body, random_quats
from own_body import more_betas, own_arrays, write_own_body

ROOT = Path(__file__).resolve().parents[2]
MAX_ERROR = 1e-4  # metres; the reader hands float32 over, keys are float32


@pytest.fixture
def reading(preferences):
    """The preferences with the real solver's Python; the solver itself is not started."""
    preferences.solver_python = str(ROOT / ".venv" / "bin" / "python")
    bpy.context.scene.render.fps, bpy.context.scene.render.fps_base = 30, 1.0
    bpy.context.scene.frame_set(1)
    return preferences


def rotvec(quats):
    w, xyz = quats[..., :1], quats[..., 1:]
    norm = np.linalg.norm(xyz, axis=-1, keepdims=True)
    return 2 * np.arctan2(norm, w) * xyz / np.maximum(norm, 1e-12)


def motion(frames=5, max_angle=0.8):
    """Rotations (F, 24, 4) and translations (F, 3)."""
    quats = np.array([random_quats(seed, max_angle=max_angle) for seed in range(frames)])
    quats[:, 0] = (1, 0, 0, 0)
    return quats, np.random.default_rng(1).normal(scale=0.2, size=(frames, 3))


def write_amass(path, quats, transl, rate=30.0):
    """An AMASS file as of SMPL, whose up is Y: the pelvis does not turn."""
    poses = rotvec(quats).reshape(len(quats), 72)
    np.savez(path, poses=poses, trans=transl, betas=np.zeros(10), gender="neutral", mocap_frame_rate=rate)
    return path


def heads(armature, frame, names):
    bpy.context.scene.frame_set(frame)
    bpy.context.view_layer.update()
    return np.array([armature.matrix_world @ armature.pose.bones[name].head for name in names])


def in_blender(points):
    return points @ np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]], dtype=float)


def test_an_amass_motion_becomes_a_body_with_keys(reading, part, tmp_path):
    quats, transl = motion()
    path = write_amass(tmp_path / "dance_poses.npz", quats, transl)
    assert bpy.ops.ikol.import_motion(filepath=str(path), up="Y") == {"FINISHED"}
    armature = bpy.context.view_layer.objects.active
    names = part("core.rig").JOINT_NAMES
    assert armature.name == "dance_poses"
    for frame in range(5):
        expected = in_blender(pose_body(transl[frame], quats[frame], np.zeros(10)).joints)
        error = np.abs(heads(armature, 1 + frame, names) - expected).max()
        assert error < MAX_ERROR, (frame, error)
    record = part("blender.bodies").read_record(armature)
    assert (record.source, record.evidence) == ("dance_poses.npz", ())
    assert bpy.context.scene.frame_end >= 5


def test_a_motion_goes_on_the_active_body_in_its_rotation_modes_and_its_shape(body, reading, part, tmp_path):
    quats, transl = motion()
    path = write_amass(tmp_path / "a.npz", quats, transl, rate=60.0)
    names, betas = part("core.rig").JOINT_NAMES, part("blender.bodies").read_record(body).solution.pose.betas
    for number, name in enumerate(names):
        body.pose.bones[name].rotation_mode = ("QUATERNION", "ZYX", "AXIS_ANGLE")[number % 3]
    kept = body.animation_data.action
    bpy.context.scene.ikol.target = "ACTIVE"
    bpy.context.scene.frame_set(10)
    assert bpy.ops.ikol.import_motion(filepath=str(path), up="Y") == {"FINISHED"}
    assert body.animation_data.action != kept
    assert kept.use_fake_user
    for key, frame in enumerate((0, 2, 4)):  # 60 frames a second on 30
        expected = in_blender(pose_body(transl[frame], quats[frame], betas).joints)
        error = np.abs(heads(body, 10 + key, names) - expected).max()
        assert error < MAX_ERROR, (frame, error)


def test_markers_are_solved_to_a_motion(reading, part, tmp_path):
    frames = 4
    quats, transl = motion(1, max_angle=0.25)
    betas = np.zeros(10)
    names = part("core.rig").JOINT_NAMES
    points = np.array([pose_body(transl[0] + (0, 0, 0.05 * frame), quats[0], betas).joints for frame in range(frames)])
    path = tmp_path / "trial.trc"
    labels = "\t\t\t".join(names)
    axes = "\t".join(f"X{number}\tY{number}\tZ{number}" for number in range(1, 25))
    rows = [
        f"{frame + 1}\t{frame / 30:.6f}\t" + "\t".join(f"{value:.6f}" for value in places.ravel())
        for frame, places in enumerate(points)
    ]
    path.write_text(
        f"PathFileType\t4\t(X/Y/Z)\ttrial.trc\nDataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits\tOrigDataRate\t"
        f"OrigDataStartFrame\tOrigNumFrames\n30\t30\t{frames}\t24\tm\t30\t1\t{frames}\nFrame#\tTime\t{labels}\n\t\t{axes}\n\n"
        + "\n".join(rows)
        + "\n",
        encoding="utf-8",
    )
    assert bpy.ops.ikol.import_motion(filepath=str(path), up="Y") == {"FINISHED"}
    armature = bpy.context.view_layer.objects.active
    errors = np.array(
        [np.linalg.norm(heads(armature, 1 + f, names) - in_blender(points[f]), axis=1) for f in range(frames)]
    )
    assert np.median(errors) < 0.01, errors  # markers count with 2 cm each, against limits and a relaxed stance


def test_a_hostile_file_changes_nothing_and_is_said(reading, tmp_path):
    things = set(bpy.data.objects)
    evil = tmp_path / "res.pk"
    evil.write_bytes(b"cposix\nsystem\n(S'touch " + str(tmp_path / "owned").encode() + b"'\ntR.")
    with pytest.raises(RuntimeError, match=r"res\.pk cannot be read: .*posix"):
        bpy.ops.ikol.import_motion(filepath=str(evil))
    assert not (tmp_path / "owned").exists()
    (tmp_path / "a.npz").write_bytes(b"PK\3\4 cut off")
    with pytest.raises(RuntimeError, match=r"a\.npz cannot be read"):
        bpy.ops.ikol.import_motion(filepath=str(tmp_path / "a.npz"))
    with pytest.raises(RuntimeError, match=r"no\.trc cannot be read"):
        bpy.ops.ikol.import_motion(filepath=str(tmp_path / "no.trc"))
    assert set(bpy.data.objects) == things


def test_a_motion_written_as_amass_comes_in_again_joint_by_joint(reading, part, tmp_path):
    reading.body_file = str(write_own_body(tmp_path / "SMPL_FEMALE.npz", shapedirs=more_betas(own_arrays(), 16)))
    try:
        body = part("blender.own_body").current_body()
        betas = tuple(np.linspace(-1.0, 1.0, 16).tolist())
        armature = part("blender.armature").build_body(bpy.context, body, betas)
        quats, _ = motion(4)
        names = body.tree.names
        armature.rotation_euler, armature.location = (0.2, -0.3, 1.0), (1.0, 0.5, 0.25)
        for frame in range(4):
            for name, quat in zip(names, quats[frame], strict=True):
                armature.pose.bones[name].rotation_quaternion = quat
                armature.pose.bones[name].keyframe_insert("rotation_quaternion", frame=1 + frame)
        place = part("core.record").Pose((0.0,) * 3, tuple(map(tuple, quats[0].tolist())), betas)
        part("blender.bodies").write_record(armature, part("core.motion_file").motion_record("x", body, place))
        bpy.context.view_layer.objects.active = armature
        bpy.context.scene.frame_start, bpy.context.scene.frame_end = 1, 4
        expected = [heads(armature, frame, names) for frame in range(1, 5)]
        bpy.context.scene.frame_set(1)
        path = tmp_path / "dance.npz"
        assert bpy.ops.ikol.export(filepath=str(path), form="AMASS") == {"FINISHED"}
        with np.load(path) as data:
            assert (data["poses"].shape, data["betas"].shape, str(data["gender"])) == ((4, 72), (16,), "female")
            assert {"root_orient", "pose_body", "trans", "mocap_frame_rate"} <= set(data)
        bpy.context.scene.ikol.target = "NEW"
        assert bpy.ops.ikol.import_motion(filepath=str(path), up="Z") == {"FINISHED"}
        copy = bpy.context.view_layer.objects.active
        assert copy != armature
        assert np.abs(np.subtract(part("blender.armature").read_betas(copy, ()), betas)).max() < 1e-6
        error = max(np.abs(heads(copy, 1 + number, names) - want).max() for number, want in enumerate(expected))
        print(f"AMASS: {1000 * error:.4f} mm")
        assert error < MAX_ERROR, error
        armature.scale = (1.1,) * 3
        bpy.context.view_layer.objects.active = armature
        with pytest.raises(RuntimeError, match=r"has scale 1\.100, of which a file of rotations knows nothing"):
            bpy.ops.ikol.export(filepath=str(path), form="AMASS")
    finally:
        reading.body_file = ""


def test_the_default_body_s_motion_as_amass_keeps_place_and_rotations(body, reading, part, tmp_path):
    names = part("core.rig").JOINT_NAMES
    bpy.context.scene.frame_start = bpy.context.scene.frame_end = 1
    body.location = (0.5, 0.0, 0.0)
    expected = heads(body, 1, names)
    path = tmp_path / "still.npz"
    assert bpy.ops.ikol.export(filepath=str(path), form="AMASS") == {"FINISHED"}
    bpy.context.scene.ikol.target = "ACTIVE"  # in its own shape
    body.location = (0.0, 0.0, 0.0)
    assert bpy.ops.ikol.import_motion(filepath=str(path), up="Z") == {"FINISHED"}
    error = np.abs(heads(body, 1, names) - expected).max()
    assert error < MAX_ERROR, error


def test_a_shared_solver_leaves_reading_to_the_one_on_this_computer(body, reading, part, monkeypatch, tmp_path):
    runtime = part("blender.runtime")
    shared = part("client.process").SolverConfig("", "", tmp_path / "log", listen_file="x")
    monkeypatch.setattr(runtime.Runtime, "config", lambda _self: shared)
    quats, transl = motion(2)
    path = write_amass(tmp_path / "a.npz", quats, transl)
    assert bpy.ops.ikol.import_motion(filepath=str(path), up="Y") == {"FINISHED"}
    monkeypatch.setattr(runtime, "local_python", lambda: "")
    with pytest.raises(RuntimeError, match="are read by a solver on this computer"):
        bpy.ops.ikol.import_motion(filepath=str(path), up="Y")
