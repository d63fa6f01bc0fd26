# SPDX-License-Identifier: Apache-2.0
"""Shape keys in the middle of a drag, with the real solver: correctives, shape and skin are SMPL's at every answer."""

import subprocess
import time
from pathlib import Path

import bpy
import numpy as np
import pytest
from numpy_body import quat_to_rotmat

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
MODELS = {"SMPL": 207, "SMPL-H": 459}
SKIN_ERROR = 2e-4  # metres; weights below 1e-4 are left out, sums are float32
VALUE_ERROR = 1e-5  # of a corrective: bones and values are float32
MAKE = """
import sys, pathlib, numpy as np
from model_files import model_arrays, write_model
count = len(model_arrays(sys.argv[2])["v_template"])
noise = np.random.default_rng(3).normal(scale=0.01, size=(count, 3, int(sys.argv[3])))
write_model(pathlib.Path(sys.argv[1]), sys.argv[2], posedirs=noise)
"""


@pytest.fixture(scope="module", params=MODELS)
def posed(request, extension, part, tmp_path_factory):
    """The name of a body with pose correctives, posed by the sample photograph, and its arrays."""
    path, python = tmp_path_factory.mktemp("body") / "model.npz", str(ROOT / ".venv" / "bin" / "python")
    arguments = [python, "-c", MAKE, str(path), request.param, str(MODELS[request.param])]
    subprocess.run(arguments, cwd=ROOT / "tests" / "support", check=True)
    preferences = bpy.context.preferences.addons[extension.__name__].preferences
    preferences.solver_python, preferences.body_file = python, str(path)
    bpy.ops.wm.read_homefile(use_empty=True)
    assert bpy.ops.ikol.pose_from_image(filepath=str(ROOT / "samples" / "front_step.jpg")) == {"FINISHED"}
    with np.load(path) as arrays:
        yield bpy.context.view_layer.objects.active.name, dict(arrays)
    part("blender.runtime").get().solver.close()
    preferences.solver_python = preferences.body_file = ""


@pytest.fixture
def begin(posed, part):
    """Begins a drag, which is cancelled afterwards."""
    drags = []

    def make():
        bpy.context.view_layer.update()
        drags.append(part("blender.live").LiveDrag(bpy.context, bpy.data.objects[posed[0]]))
        return drags[-1]

    yield make
    for drag in drags:
        drag.cancel(bpy.context)
    part("blender.runtime").get().free_live()


def pump(drag):
    """Look until the newest wish is fulfilled, as a timer does; the drag goes on."""
    deadline = time.monotonic() + 20
    while not drag.is_settled:
        drag.pump(bpy.context)
        assert time.monotonic() < deadline, "no answer"
        time.sleep(0.001)
    assert drag.error is None


def shape_keys(part, name):
    mesh = part("blender.armature").find_mesh(bpy.data.objects[name])
    return mesh, mesh.data.shape_keys.key_blocks


def values(blocks, kind):
    return np.array([block.value for block in blocks if block.name.startswith(kind)])


def features(pose):
    """SMPL's: the entries of the rotations of all joints but the root, less those of no rotation."""
    return (quat_to_rotmat(pose.local_quat)[1:] - np.eye(3)).ravel()


def skin(mesh):
    """The vertices as Blender shows them, (V, 3) metres."""
    bpy.context.view_layer.update()
    evaluated = mesh.evaluated_get(bpy.context.evaluated_depsgraph_get())
    points = np.empty(3 * len(evaluated.data.vertices), dtype=np.float32)
    evaluated.data.vertices.foreach_get("co", points)
    return points.reshape(-1, 3).astype(np.float64)


def skin_by_hand(arrays, pose, betas):
    """SMPL's formula, joint by joint, in Blender's axes."""
    shaped = arrays["v_template"] + arrays["shapedirs"][..., : len(betas)] @ np.asarray(betas)
    joints, local = arrays["J_regressor"] @ shaped, quat_to_rotmat(pose.local_quat)
    corrected = shaped + arrays["posedirs"] @ features(pose)
    turned, placed = local.copy(), joints + np.asarray(pose.transl)
    for joint, parent in enumerate(arrays["kintree_table"][0].tolist()):
        if joint:
            turned[joint] = turned[parent] @ local[joint]
            placed[joint] = placed[parent] + turned[parent] @ (joints[joint] - joints[parent])
    offsets = placed - np.einsum("jab,jb->ja", turned, joints)
    weights = arrays["weights"]
    points = np.einsum("vj,jab,vb->va", weights, turned, corrected, optimize=True) + weights @ offsets
    return np.stack([points[:, 0], -points[:, 2], points[:, 1]], axis=1)


def moved(part, record, point, metres):
    at = np.add(record.solution.points[point], metres)
    return part("core.keypoints").move_positions(record, {point: tuple(at.tolist())})


WAY = [("L_Wrist", (0.0, 0.1, 0.1)), ("L_Wrist", (-0.1, 0.2, 0.1)), ("R_Ankle", (0.0, 0.25, 0.1))]


def test_pose_correctives_follow_every_answer_of_a_drag(posed, begin, part):
    name, arrays = posed
    mesh, blocks = shape_keys(part, name)
    drag = begin()
    before = values(blocks, "Pose")
    assert len(before) == arrays["posedirs"].shape[2]
    last = before
    for number, (point, metres) in enumerate(WAY, start=1):
        drag.update(moved(part, drag.record, point, metres))
        pump(drag)
        assert drag.answers >= number
        pose = drag.record.solution.pose
        now = values(blocks, "Pose")  # set with the bones, before anything is computed
        assert np.abs(now - features(pose)).max() < VALUE_ERROR
        assert np.abs(now - last).max() > 0.05  # it moves
        far = np.abs(skin(mesh) - skin_by_hand(arrays, pose, drag.record.solution.pose.betas)).max()
        assert far < SKIN_ERROR, far
        assert np.abs(values(blocks, "Pose") - now).max() < VALUE_ERROR  # and the handler has nothing to add
        last = now
    drag.cancel(bpy.context)
    bpy.context.view_layer.update()
    assert np.abs(values(blocks, "Pose") - before).max() < VALUE_ERROR


def test_shape_keys_that_are_moved_in_a_drag_move_bones_and_skin_with_every_answer(posed, begin, part):
    name, arrays = posed
    mesh, blocks = shape_keys(part, name)
    drag = begin()
    betas = np.array(drag.record.solution.pose.betas)
    heads = np.array([bone.head_local for bone in bpy.data.objects[name].data.bones])
    for number, (step, (point, metres)) in enumerate(zip((0.8, 1.6, -0.7), WAY, strict=True), start=1):
        blocks["Shape000"].value = betas[0] + step
        wanted = (betas[0] + step, *betas[1:])
        drag.update(moved(part, drag.record, point, metres))
        pump(drag)
        assert drag.answers >= number
        assert drag.record.solution.pose.betas == pytest.approx(wanted, abs=1e-5)
        assert values(blocks, "Shape")[: len(betas)] == pytest.approx(wanted, abs=1e-5)
        assert np.abs(values(blocks, "Pose") - features(drag.record.solution.pose)).max() < VALUE_ERROR
        far = np.abs(skin(mesh) - skin_by_hand(arrays, drag.record.solution.pose, wanted)).max()
        assert far < SKIN_ERROR, far
        now = np.array([bone.head_local for bone in bpy.data.objects[name].data.bones])
        assert np.abs(now - heads).max() > 0.003  # rest joints follow betas
        heads = now
    blocks["Shape000"].value = betas[0]


def test_after_the_drag_undo_brings_the_correctives_of_the_pose_before(posed, part):
    name, _ = posed
    live = part("blender.live")
    bpy.context.view_layer.update()
    before = values(shape_keys(part, name)[1], "Pose")
    live.push_undo("before")
    drag = live.LiveDrag(bpy.context, bpy.data.objects[name])
    drag.update(moved(part, drag.record, *WAY[1]))
    pump(drag)
    drag.finish(bpy.context, "Drag")
    bpy.context.view_layer.update()
    after = values(shape_keys(part, name)[1], "Pose")
    assert np.abs(after - before).max() > 0.05
    for step, expected in ((bpy.ops.ed.undo, before), (bpy.ops.ed.redo, after)):
        with bpy.context.temp_override(window=bpy.context.window_manager.windows[0]):
            step()
        bpy.context.view_layer.update()
        assert np.abs(values(shape_keys(part, name)[1], "Pose") - expected).max() < VALUE_ERROR
