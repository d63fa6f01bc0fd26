# SPDX-License-Identifier: Apache-2.0
"""A part of the body only, with the real solver: nothing else moves, and what is locked out of reach is told."""

from pathlib import Path

import bpy
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
SOLVER_PYTHON = ROOT / ".venv" / "bin" / "python"
PHOTO = ROOT / "samples" / "front_step.jpg"

STILL = 1e-5  # metres: float32 matrices some metres from the origin; a millimetre is a hundred times that
MET = 0.03  # metres: sigma is 5 mm, and the picture's wrist pulls the other way


@pytest.fixture(scope="module")
def real_solver(extension, part):
    """The real solver named in the preferences, started once for all tests."""
    preferences = bpy.context.preferences.addons[extension.__name__].preferences
    preferences.solver_python = str(SOLVER_PYTHON)
    yield
    part("blender.runtime").get().solver.close()
    preferences.solver_python = ""


@pytest.fixture
def posed(real_solver):
    bpy.ops.wm.read_homefile(use_empty=True)
    assert bpy.ops.ikol.pose_from_image(filepath=str(PHOTO)) == {"FINISHED"}
    return bpy.context.view_layer.objects.active


def heads(armature):
    bpy.context.view_layer.update()
    return {bone.name: np.array(armature.matrix_world @ bone.head) for bone in armature.pose.bones}


def moved(before, after, names):
    return max(float(np.linalg.norm(after[name] - before[name])) for name in names)


@pytest.mark.parametrize(("part_name", "below"), [("LEFT_ARM", "L_Collar"), ("UPPER_BODY", "Spine1")])
def test_only_the_chosen_part_moves(posed, part, part_name, below):
    joints = part("core.body_parts").PARTS[part_name.lower()]
    before = heads(posed)
    hand = bpy.data.objects["IKOL Left Hand"]
    hand.location.x += 0.08
    hand.location.z += 0.12
    assert bpy.ops.ikol.solve_part(part=part_name) == {"FINISHED"}
    after = heads(posed)
    resting = [name for name in before if name not in joints or name == below]  # its top joint only turns
    assert moved(before, after, resting) < STILL
    assert moved(before, after, ["L_Wrist"]) > 0.05
    miss = float(np.linalg.norm(after["L_Wrist"] - np.array(hand.matrix_world.translation)))
    assert miss < MET, f"{miss:.4f} m"


def test_a_locked_hand_out_of_reach_is_told_with_its_distance(posed, part):
    bpy.context.scene.ikol.part = "LEFT_ARM"
    hand = bpy.data.objects["IKOL Left Hand"]
    hand.location.x += 0.7
    bpy.context.view_layer.objects.active = hand
    bpy.ops.ikol.resolve()
    assert bpy.ops.ikol.lock_points() == {"FINISHED"}
    record = part("blender.bodies").read_record(posed)
    after = heads(posed)
    miss = float(np.linalg.norm(after["L_Wrist"] - np.array(hand.matrix_world.translation)))
    assert miss > 0.2
    assert record.solution.unreached["L_Wrist"] == pytest.approx(miss, abs=1e-3)
    (line,) = part("core.wording").out_of_reach(record, str)
    assert line == f"Left Hand (handle): {100 * miss:.1f} cm short"
