# SPDX-License-Identifier: Apache-2.0
"""The whole way on a user's own body, with the real solver: a photograph, a drag, and a body that does not fit."""

import time
from pathlib import Path

import bpy
import numpy as np
import pytest
from own_body import own_arrays, write_own_body

ROOT = Path(__file__).resolve().parents[2]
PHOTO = ROOT / "samples" / "front_step.jpg"
MAX_MISS = 0.015  # metres between a dragged keypoint and the body; its sigma is 5 mm, neighbours pull a little
MAX_BONE_ERROR = 1e-4  # metres; heads of bones are float32, and handed over as such


@pytest.fixture(scope="module")
def own_solver(extension, part, tmp_path_factory):
    """The preferences with the real solver and an own body; the solver is started once for all tests."""
    preferences = bpy.context.preferences.addons[extension.__name__].preferences
    preferences.solver_python = str(ROOT / ".venv" / "bin" / "python")
    preferences.body_file = str(write_own_body(tmp_path_factory.mktemp("body") / "own.npz"))
    yield preferences
    part("blender.runtime").get().solver.close()
    preferences.solver_python = preferences.body_file = ""


@pytest.fixture
def posed(own_solver):
    bpy.ops.wm.read_homefile(use_empty=True)
    assert bpy.ops.ikol.pose_from_image(filepath=str(PHOTO)) == {"FINISHED"}
    return bpy.context.view_layer.objects.active


def drag(part, armature, change):
    """Change the evidence as a drag does and take the answer."""
    found = part("blender.live").LiveDrag(bpy.context, armature, ())
    found.update(change(found.record))
    deadline = time.monotonic() + 20
    while not found.is_settled and time.monotonic() < deadline:
        found.pump(bpy.context)
        time.sleep(0.001)
    found.finish(bpy.context, "Drag")
    return found


def test_a_photograph_poses_the_mesh_of_the_own_body(posed, part):
    arrays = own_arrays()
    mesh = part("blender.armature").find_mesh(posed)
    assert len(mesh.data.vertices) == len(arrays["v_template"])
    assert len(mesh.data.shape_keys.key_blocks) == 13  # the basis and the file's twelve
    record = part("blender.bodies").read_record(posed)
    wanted = part("blender.own_body").current_body().rest_joints(record.solution.pose.betas)
    heads = np.array([posed.data.bones[name].head_local for name in part("core.rig").JOINT_NAMES])
    off = np.abs(heads - part("core.pose_conversion").to_blender(wanted)).max()
    assert off < MAX_BONE_ERROR, off
    assert 0 <= record.solution.reprojection_px < 15.0  # a hand is about 40 px wide on it
    # what the solver calls the joints is where the armature has them: both sides read the same body
    bpy.context.view_layer.update()
    for name in ("L_Wrist", "R_Ankle"):
        x, y, z = record.solution.points[name]
        distance = np.linalg.norm(np.array(posed.pose.bones[name].head) - (x, -z, y))
        assert distance < 1e-3, (name, distance)


def test_a_drag_moves_the_own_body_to_the_hand(posed, part):
    keypoints = part("core.keypoints")
    target = np.zeros(3)

    def change(record):
        target[:] = np.add(record.solution.points["L_Wrist"], (-0.05, 0.1, 0.05))
        return keypoints.move_positions(record, {"L_Wrist": tuple(target.tolist())})

    drag(part, posed, change)
    bpy.context.view_layer.update()
    x, y, z = target
    miss = np.linalg.norm(np.array(posed.pose.bones["L_Wrist"].head) - (x, -z, y))
    assert miss < MAX_MISS, f"{miss:.4f} m"


def test_a_body_that_was_made_with_another_file_is_not_posed_and_says_why(posed, part, own_solver):
    named = own_solver.body_file
    own_solver.body_file = ""
    try:
        sentence = r"IKOL Body \(own.npz\) was made with another body than the default body: its \w+ rests at \(.*\)"
        with pytest.raises(part("core.errors").SceneError, match=sentence):
            part("blender.live").LiveDrag(bpy.context, posed, ())
        with pytest.raises(RuntimeError, match="made with another body than the default body"):
            bpy.ops.ikol.resolve()
    finally:
        own_solver.body_file = named
    part("blender.own_body").check_fits(posed)  # and with its own file it works again


def test_a_file_that_is_no_body_is_said_before_anything_is_solved(posed, own_solver, tmp_path):
    named = own_solver.body_file
    own_solver.body_file = str(write_own_body(tmp_path / "broken.npz", weights=None))
    try:
        with pytest.raises(RuntimeError, match=r"body file broken.npz cannot be read \(it has no array weights\)"):
            bpy.ops.ikol.pose_from_image(filepath=str(PHOTO))
    finally:
        own_solver.body_file = named
