# SPDX-License-Identifier: Apache-2.0
"""Hands of SMPL-H and SMPL-X bodies on rigs: the written finger bones do what the body's joints do, all thirty."""

import subprocess
from pathlib import Path

import bpy
import numpy as np
import pytest
from mathutils import Quaternion

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
FINGERS = ("Thumb", "Index", "Middle", "Ring", "Pinky")
MAX_DEG = 0.1  # float32: an angle between equal directions is read as 0.02 at times


@pytest.fixture(scope="module", params=["SMPL-H", "SMPL-X"])
def body(request, extension, part, tmp_path_factory):
    """A body with fingers that are all bent otherwise, also about their own axes; and its model's name."""
    code = "import sys, pathlib, model_files; model_files.write_model(pathlib.Path(sys.argv[1]), sys.argv[2])"
    path, python = tmp_path_factory.mktemp("body") / "model.npz", str(ROOT / ".venv" / "bin" / "python")
    subprocess.run([python, "-c", code, str(path), request.param], cwd=ROOT / "tests" / "support", check=True)
    preferences = bpy.context.preferences.addons[extension.__name__].preferences
    preferences.solver_python, preferences.body_file = python, str(path)
    bpy.ops.wm.read_homefile(use_empty=True)
    assert bpy.ops.ikol.pose_from_image(filepath=str(ROOT / "samples" / "front_step.jpg")) == {"FINISHED"}
    armature, rng = bpy.context.view_layer.objects.active, np.random.default_rng(4)
    for name in joints_of_hands():
        axis = rng.normal(size=3) * (0.3, 0.5, 1.0)  # mostly as fingers curl, about SMPL's z
        armature.pose.bones[name].rotation_quaternion = Quaternion(axis.tolist(), float(rng.uniform(0.2, 0.8)))
    bpy.context.view_layer.update()
    yield armature.name, request.param
    part("blender.runtime").get().solver.close()
    preferences.solver_python = preferences.body_file = ""


def joints_of_hands():
    return [f"{side}_{finger}{number}" for side in "LR" for finger in FINGERS for number in (1, 2, 3)]


@pytest.fixture
def pose(body):
    """Poses a rig like the body; gives its bones by joints. What was made is removed afterwards."""
    from blender_rigs import activate

    before = set(bpy.data.objects)

    def press(rig):
        activate(rig)
        rig.ikol_rig.source, rig.ikol_rig.place = bpy.data.objects[body[0]], "SCENE"
        assert bpy.ops.ikol.pose_rig() == {"FINISHED"}
        bpy.context.view_layer.update()
        return {row.name: row.bone for row in rig.ikol_rig.joints if row.bone}

    yield press
    for thing in set(bpy.data.objects) - before:
        bpy.data.objects.remove(thing)


def way(armature, first, second):
    """Give the direction from a bone to another in the scene."""
    bones = armature.pose.bones
    return armature.matrix_world.to_3x3() @ (bones[second].head - bones[first].head)


def degrees_between(first, second):
    angle = np.degrees(first.rotation_difference(second).angle)
    return min(angle, 360.0 - angle)


@pytest.mark.parametrize("maker", ["MPI", "Meshcapade"])
def test_an_armature_of_the_same_model_has_the_bodys_local_rotations_in_all_finger_bones(body, pose, part, maker):
    from smpl_armatures import bone_names, build_armature

    source, model = bpy.data.objects[body[0]], body[1]
    tree = {"SMPL-H": part("core.rig").SMPLH, "SMPL-X": part("core.rig").SMPLX}[model]
    rest = {name: source.data.bones[name].head_local for name in tree.names}
    at = {name: np.array([x, z, -y]) for name, (x, y, z) in rest.items()}
    rig = build_armature(f"{maker} {model}", tree.names, tree.parents, joints=at)
    names = bone_names(f"{maker} {model}", tree.names)
    found = pose(rig)
    assert {joint: found[joint] for joint in joints_of_hands()} == {joint: names[joint] for joint in joints_of_hands()}
    for joint in ("L_Wrist", "R_Wrist", *joints_of_hands()):
        mine = rig.pose.bones[names[joint]].matrix_basis.to_quaternion()
        other = source.pose.bones[joint].matrix_basis.to_quaternion()
        off = degrees_between(mine, other)
        print(f"{maker} {model} {joint}: {off:.3f} of {np.degrees(other.angle):.0f} degrees")
        assert off < MAX_DEG, joint
        assert mine.angle > 0.15 or joint.endswith("Wrist")


@pytest.mark.parametrize(
    ("style", "mode"), [("Mixamo", "XYZ"), ("Unreal", "QUATERNION"), ("VRM J_Bip", "AXIS_ANGLE"), ("metarig", "ZYX")]
)
def test_fingers_of_other_rigs_point_where_the_bodys_do(body, pose, style, mode):
    from blender_rigs import build_rig

    source = bpy.data.objects[body[0]]
    rig = build_rig(style, 1.1, 40, mode, finger_curl_deg=15.0)
    names = pose(rig)
    for side in "LR":
        for finger in FINGERS:
            for number in (1, 2):
                pair = [f"{side}_{finger}{number}", f"{side}_{finger}{number + 1}"]
                ways = [
                    armature.matrix_world.to_3x3()
                    @ (armature.pose.bones[second].head - armature.pose.bones[first].head)
                    for armature, (first, second) in ((source, pair), (rig, [names[one] for one in pair]))
                ]
                off = np.degrees(ways[0].angle(ways[1]))
                print(f"{style} {pair[0]}: {off:.3f} degrees")
                assert off < MAX_DEG, pair[0]
