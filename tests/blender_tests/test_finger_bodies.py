# SPDX-License-Identifier: Apache-2.0
"""Bodies in the layouts of SMPL-H and SMPL-X: a photograph and a dragged finger, with the real solver."""

import subprocess
import time
from pathlib import Path

import bpy
import numpy as np
import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
PHOTO = ROOT / "samples" / "front_step.jpg"
MODELS = {"SMPL-H": 52, "SMPL-X": 55}


def write_model(path, model):
    """Write a body file; its maker needs torch, which Blender's Python has not."""
    code = "import sys, pathlib, model_files; model_files.write_model(pathlib.Path(sys.argv[1]), sys.argv[2])"
    python = str(ROOT / ".venv" / "bin" / "python")
    subprocess.run([python, "-c", code, str(path), model], cwd=ROOT / "tests" / "support", check=True)
    return path


@pytest.fixture(scope="module", params=MODELS)
def posed(request, extension, part, tmp_path_factory):
    """A body of each model, posed by the sample photograph."""
    preferences = bpy.context.preferences.addons[extension.__name__].preferences
    preferences.solver_python = str(ROOT / ".venv" / "bin" / "python")
    preferences.body_file = str(write_model(tmp_path_factory.mktemp("body") / "model.npz", request.param))
    bpy.ops.wm.read_homefile(use_empty=True)
    assert bpy.ops.ikol.pose_from_image(filepath=str(PHOTO)) == {"FINISHED"}
    yield bpy.context.view_layer.objects.active, MODELS[request.param]
    part("blender.runtime").get().solver.close()
    preferences.solver_python = preferences.body_file = ""


def miss(armature, record):
    """How far each bone's head is from where the solver has its joint, metres, by name."""
    bpy.context.view_layer.update()
    return {
        name: float(np.linalg.norm(np.array(armature.pose.bones[name].head) - (x, -z, y)))
        for name in record.tree.names
        for x, y, z in (record.solution.points[name],)
    }


def test_every_joint_is_a_bone_at_the_solvers_place(posed, part):
    armature, num_joints = posed
    record = part("blender.bodies").read_record(armature)
    assert len(armature.data.bones) == num_joints + 1  # and the root
    assert len(record.solution.pose.local_quat) == num_joints
    far = {name: distance for name, distance in miss(armature, record).items() if distance > 1e-4}
    assert not far, far  # float32 along a chain of ten bones: some 1e-6 m
    assert 0 <= record.solution.reprojection_px < 15.0


def test_a_finger_goes_where_it_is_dragged_and_the_other_hand_stays(posed, part):
    armature, _ = posed
    record = part("blender.bodies").read_record(armature)
    before = miss(armature, record)
    other = np.array(armature.pose.bones["R_Index3"].head)
    hand = np.array([record.solution.points[f"L_Index{number}"] for number in (1, 3)])
    target = hand[0] + 0.5 * (hand[1] - hand[0]) + (0.0, -0.02, 0.0)
    drag = part("blender.live").LiveDrag(bpy.context, armature, ())
    drag.update(part("core.keypoints").move_positions(drag.record, {"L_Index3": tuple(target.tolist())}))
    deadline = time.monotonic() + 30
    while not drag.is_settled and time.monotonic() < deadline:
        drag.pump(bpy.context)
        time.sleep(0.002)
    drag.finish(bpy.context, "Drag")
    assert before["L_Index3"] < 1e-4
    bpy.context.view_layer.update()
    x, y, z = target
    distance = np.linalg.norm(np.array(armature.pose.bones["L_Index3"].head) - (x, -z, y))
    assert distance < 0.015, distance  # its sigma is 5 mm, neighbours pull a little
    moved = np.linalg.norm(np.array(armature.pose.bones["R_Index3"].head) - other)
    assert moved < 0.03, moved  # the rest of the body keeps to the picture


def test_a_command_on_one_hand_turns_fingers_too(posed, part):
    armature, _ = posed
    joints = part("blender.part_operators").part_joints(bpy.context, armature, "LEFT_ARM")
    assert {"L_Wrist", "L_Index1", "L_Thumb3"} <= set(joints)
    assert "L_Hand" not in joints
    assert bpy.ops.ikol.solve_part(part="LEFT_ARM") == {"FINISHED"}
