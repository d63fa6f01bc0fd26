# SPDX-License-Identifier: Apache-2.0
"""The shape in Blender: bones and correctives that follow, measurements, a shape that is locked or fitted."""

import bpy
import numpy as np
import pytest
from mathutils import Quaternion
from own_body import own_arrays, write_own_body

BONE_ERROR = 1e-5  # metres; heads of bones are float32
SKIN_ERROR = 2e-4  # metres; weights below 1e-4 are left out, sums are float32


def heads(armature, names):
    return np.array([armature.data.bones[name].head_local for name in names])


def wanted_heads(part, betas):
    body = part("blender.own_body").current_body()
    return part("core.pose_conversion").to_blender(body.rest_joints(betas)), body.tree.names


def set_slider(part, armature, index, value):
    mesh = part("blender.armature").find_mesh(armature)
    mesh.data.shape_keys.key_blocks[f"Shape{index:03d}"].value = value


def test_bones_follow_a_slider_there_and_back(body, part):
    stored = part("blender.bodies").read_record(body).solution.pose.betas
    for value in (3.0, stored[0]):
        set_slider(part, body, 0, value)
        part("blender.following").catch_up(bpy.context)
        expected, names = wanted_heads(part, (value, *stored[1:]))
        off = np.abs(heads(body, names) - expected).max()
        assert off < part("blender.armature").BETA_TOLERANCE, off
    assert body.mode == "OBJECT"


def test_a_drag_is_solved_with_the_shape_of_the_sliders(body, part, solver):
    set_slider(part, body, 1, 2.5)
    drag = part("blender.live").LiveDrag(bpy.context, body, ())
    assert drag._newest.betas[1] == 2.5
    expected, names = wanted_heads(part, drag._newest.betas)
    assert np.abs(heads(body, names) - expected).max() < BONE_ERROR


def test_the_pose_mode_and_its_selection_stay_while_bones_follow(body, part):
    bpy.context.view_layer.objects.active = body
    bpy.ops.object.mode_set(mode="POSE")
    before = part("blender.part_operators").selected_bones(body)
    set_slider(part, body, 0, -2.0)
    part("blender.following").catch_up(bpy.context)
    assert bpy.context.mode == "POSE"
    assert part("blender.part_operators").selected_bones(body) == before


def test_bones_of_another_body_do_not_follow(body, part, preferences, tmp_path):
    names = part("core.rig").JOINT_NAMES
    before = heads(body, names)
    preferences.body_file = str(write_own_body(tmp_path / "own.npz"))
    try:
        set_slider(part, body, 0, 3.0)
        part("blender.following").catch_up(bpy.context)
        assert np.abs(heads(body, names) - before).max() == 0.0
        assert part("blender.measuring").measures(body) == {}
    finally:
        preferences.body_file = ""


def test_a_typed_measurement_sets_the_shape_and_keeps_the_one_typed_before(body, part):
    shown = part("blender.measuring").measures(body)
    assert list(shown) == ["height", "arm_span", "leg_length", "inseam"]
    body.ikol.height = 1.80
    assert abs(body.ikol.height - 1.80) < 1e-5  # sliders are float32
    body.ikol.inseam = 0.84
    assert abs(body.ikol.inseam - 0.84) < 1e-5
    assert abs(body.ikol.height - 1.80) < 1e-5
    betas = part("blender.armature").read_betas(body, (0.0,) * 10)
    expected, names = wanted_heads(part, betas)
    assert np.abs(heads(body, names) - expected).max() < BONE_ERROR
    # what the mesh shows is what was typed, in the rest pose
    body.data.pose_position = "REST"
    mesh = part("blender.armature").find_mesh(body)
    points = skin(mesh)
    assert abs(np.ptp(points[:, 2]) - 1.80) < 1e-3  # another vertex may be the lowest in another shape


def test_an_impossible_measurement_changes_nothing_and_is_told(body, part):
    before = part("blender.armature").read_betas(body, (0.0,) * 10)
    body.ikol.height = 3.2
    assert part("blender.armature").read_betas(body, (0.0,) * 10) == before
    runtime = part("blender.runtime")
    assert "no body of a plausible shape has height 3.20 m" in str(runtime.get().notice)
    runtime.get().notice = None


@pytest.mark.parametrize(("keep", "fit", "solves"), [(True, False, False), (True, True, True), (False, False, True)])
def test_a_locked_shape_is_sent_as_fixed(body, solver, keep, fit, solves):
    body.ikol.keep_shape = keep
    assert bpy.ops.ikol.resolve(fit_shape=fit) == {"FINISHED"}
    assert solver.requests("Solve")[-1]["request"]["solve_shape"] is solves


def test_a_body_without_a_picture_has_no_shape_to_fit(body, part):
    bodies = part("blender.bodies")
    record = bodies.read_record(body)
    bodies.write_record(body, part("core.record").Record("walk.npz", (), record.solution))
    with pytest.raises(RuntimeError, match=r"was made from walk\.npz, which tells no shape; choose a picture"):
        bpy.ops.ikol.resolve(fit_shape=True)


@pytest.mark.parametrize(("keep", "calls"), [(True, [True, False]), (False, [True])])
def test_another_picture_of_the_shot_keeps_a_locked_shape(body, photo, solver, keep, calls):
    body.ikol.keep_shape = keep
    bpy.context.scene.ikol.target = "ACTIVE"
    count = len(solver.requests("Solve"))
    assert bpy.ops.ikol.pose_from_image(filepath=str(photo)) == {"FINISHED"}
    assert [asked["request"]["solve_shape"] for asked in solver.requests("Solve")[count:]] == calls


def skin(mesh):
    """The vertices of a mesh with shape keys and armature, (V, 3) metres."""
    bpy.context.view_layer.update()
    evaluated = mesh.evaluated_get(bpy.context.evaluated_depsgraph_get())
    points = np.empty(3 * len(evaluated.data.vertices), dtype=np.float32)
    evaluated.data.vertices.foreach_get("co", points)
    return points.reshape(-1, 3).astype(np.float64)


@pytest.fixture
def corrected(body, part, preferences, tmp_path):
    """A body of a file with pose correctives, and its arrays."""
    arrays = own_arrays(step=64)
    noise = np.random.default_rng(3).normal(scale=0.01, size=(len(arrays["v_template"]), 3, 207))
    path = tmp_path / "posedirs.npz"
    np.savez(path, **arrays | {"posedirs": noise})
    preferences.body_file = str(path)
    armature = part("blender.armature").build_body(
        bpy.context, part("blender.own_body").current_body(), (0.5, *[0.0] * 9)
    )
    yield armature, arrays | {"posedirs": noise}
    preferences.body_file = ""


def by_hand(arrays, quats, names, parents):
    """SMPL's formula: vertices in Blender's axes of a pose about the resting pelvis."""
    betas = np.zeros(arrays["shapedirs"].shape[2])
    betas[0] = 0.5
    shaped = arrays["v_template"] + arrays["shapedirs"] @ betas
    joints = arrays["J_regressor"] @ shaped
    local = np.array([np.array(Quaternion(quats.get(name, (1, 0, 0, 0))).to_matrix()) for name in names])
    features = (local[1:] - np.eye(3)).ravel()
    posed = shaped + arrays["posedirs"] @ features
    transforms = []
    for joint, parent in enumerate(parents):
        matrix = np.eye(4)
        matrix[:3, :3] = local[joint]
        matrix[:3, 3] = joints[joint] - (joints[parent] if parent >= 0 else 0)
        transforms.append(matrix if parent < 0 else transforms[parent] @ matrix)
    moved = np.array(transforms)
    moved[:, :3, 3] -= np.einsum("jik,jk->ji", moved[:, :3, :3], joints)
    blended = np.einsum("vj,jik->vik", arrays["weights"], moved)
    points = np.einsum("vik,vk->vi", blended[:, :3, :3], posed) + blended[:, :3, 3]
    return points @ np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]], dtype=float)


POSE = {"L_Elbow": (0.8, 0.1, 0.5, -0.3), "R_Knee": (0.7, 0.7, 0.0, 0.1), "Spine2": (0.95, 0.1, -0.2, 0.2)}


def test_correctives_follow_rotations_and_frames_as_smpl_has_them(corrected, part):
    armature, arrays = corrected
    rig, mesh = part("core.rig"), part("blender.armature").find_mesh(armature)
    assert "Pose206" in mesh.data.shape_keys.key_blocks
    for frame, share in ((1, 0.0), (10, 1.0)):
        for name, quat in POSE.items():
            bone = armature.pose.bones[name]
            bone.rotation_quaternion = Quaternion().slerp(Quaternion(quat).normalized(), share)
            bone.keyframe_insert("rotation_quaternion", frame=frame)
    turned = {name: Quaternion(quat).normalized() for name, quat in POSE.items()}
    expected = by_hand(arrays, turned, rig.JOINT_NAMES, rig.JOINT_PARENTS)
    bpy.context.scene.frame_set(10)
    off = np.abs(skin(mesh) - expected).max()
    assert off < SKIN_ERROR, off
    bpy.context.scene.frame_set(1)
    assert np.abs(skin(mesh) - by_hand(arrays, {}, rig.JOINT_NAMES, rig.JOINT_PARENTS)).max() < SKIN_ERROR
    # by hand, without keys: another rotation mode and a constraint
    armature.animation_data_clear()
    knee = armature.pose.bones["R_Knee"]
    knee.rotation_mode = "XYZ"
    knee.rotation_euler = turned["R_Knee"].to_euler("XYZ")
    copy = armature.pose.bones["L_Knee"].constraints.new("COPY_ROTATION")
    copy.target, copy.subtarget = armature, "R_Knee"
    copy.target_space = copy.owner_space = "LOCAL"
    both = {"R_Knee": turned["R_Knee"], "L_Knee": turned["R_Knee"]}
    off = np.abs(skin(mesh) - by_hand(arrays, both, rig.JOINT_NAMES, rig.JOINT_PARENTS)).max()
    assert off < SKIN_ERROR, off


def test_a_pose_of_the_solver_brings_its_correctives_along(corrected, part):
    armature, arrays = corrected
    rig, mesh = part("core.rig"), part("blender.armature").find_mesh(armature)
    turned = {name: Quaternion(quat).normalized() for name, quat in POSE.items()}
    quats = tuple(tuple(turned.get(name, Quaternion())) for name in rig.JOINT_NAMES)
    pose = part("core.record").Pose((0.0, 0.0, 0.0), quats, (0.5, *[0.0] * 9))
    part("blender.posing").apply_pose(armature, pose)
    blocks = mesh.data.shape_keys.key_blocks
    before = [blocks[f"Pose{index:03d}"].value for index in range(207)]  # nothing was computed yet
    assert max(map(abs, before)) > 0.5
    assert np.abs(skin(mesh) - by_hand(arrays, turned, rig.JOINT_NAMES, rig.JOINT_PARENTS)).max() < SKIN_ERROR
    after = [blocks[f"Pose{index:03d}"].value for index in range(207)]
    assert np.abs(np.subtract(after, before)).max() < 1e-6  # the handler had nothing to add


def test_a_wrong_array_of_correctives_is_refused(part, preferences, tmp_path):
    load, body = part("core.body").load_posedirs, part("blender.own_body").current_body
    path = write_own_body(tmp_path / "own.npz", posedirs=np.zeros((3, 3, 207)))
    preferences.body_file = str(path)
    try:
        with pytest.raises(part("core.errors").FileError, match=r"pose correctives of own.npz .*\(posedirs has shape"):
            load(path, body())
    finally:
        preferences.body_file = ""
