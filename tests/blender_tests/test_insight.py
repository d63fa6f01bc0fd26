# SPDX-License-Identifier: Apache-2.0
"""What the real solver knows of a photograph's pose, as the add-on's commands give it."""

from pathlib import Path

import bpy
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
PHOTO = ROOT / "samples" / "front_step.jpg"
JOINT = "L_Wrist"


@pytest.fixture(scope="module")
def posed(extension, part):
    preferences = bpy.context.preferences.addons[extension.__name__].preferences
    preferences.solver_python = str(ROOT / ".venv" / "bin" / "python")
    bpy.ops.wm.read_homefile(use_empty=True)
    assert bpy.ops.ikol.pose_from_image(filepath=str(PHOTO)) == {"FINISHED"}
    yield bpy.context.view_layer.objects.active
    part("blender.runtime").get().solver.close()
    preferences.solver_python = ""


def test_explain_tells_how_sure_each_joint_is_and_what_holds_it(posed, part):
    assert bpy.ops.ikol.explain() == {"FINISHED"}
    record, known = part("blender.insight").inspection_of(posed)
    insight, names = part("core.insight"), part("core.rig").JOINT_NAMES
    spread = insight.spread_of(known.joint_covariance[names.index(JOINT)], record.solution.points[JOINT], record.camera)
    assert 0.002 < spread.in_picture < 0.05
    assert spread.in_picture < spread.depth < 0.3  # one photograph says little of depth
    pulls = insight.pulls_on(known, record, JOINT, 8, str)
    assert pulls
    assert any("Left" in pull.text for pull in pulls)
    assert [pull.metres for pull in pulls] == sorted((pull.metres for pull in pulls), reverse=True)


def test_the_next_keypoint_is_selected(posed, part):
    selection = part("blender.selection")
    selection.select_points(posed, ())
    assert bpy.ops.ikol.next_keypoint() == {"FINISHED"}
    assert selection.active_point(posed) in part("core.keypoints").shown_points(
        part("blender.bodies").read_record(posed)
    )


def test_the_pose_stays_as_it_was(posed):
    before = [tuple(bone.rotation_quaternion) for bone in posed.pose.bones]
    bpy.ops.ikol.explain()
    assert [tuple(bone.rotation_quaternion) for bone in posed.pose.bones] == before


def test_a_body_without_evidence_has_nothing_to_explain(posed):
    with bpy.context.temp_override(view_layer=bpy.context.view_layer):
        scene = bpy.data.scenes.new("Empty")
        with bpy.context.temp_override(scene=scene, view_layer=scene.view_layers[0]):
            assert not bpy.ops.ikol.explain.poll()
            assert not bpy.ops.ikol.alternatives.poll()
    bpy.data.scenes.remove(scene)


def test_alternatives_of_a_limb_are_found_and_one_can_be_taken(posed, part):
    assert bpy.ops.ikol.alternatives(limb="left_arm") == {"FINISHED"}
    found = part("blender.runtime").get().result.alternatives.solutions
    assert 1 <= len(found) <= 4
    names, limb = part("core.rig").JOINT_NAMES, part("core.body_parts").PARTS["left_arm"]
    now = np.array([bone.matrix_basis.to_quaternion() for bone in map(posed.pose.bones.get, names)])
    for alternative in found:
        quats = np.array(alternative.pose.local_quat)
        turned = {name for name, a, b in zip(names, now, quats, strict=True) if abs(float(a @ b)) < 1 - 1e-5}
        assert turned <= set(limb)


def test_the_colours_of_the_mesh_come_from_its_own_weights(posed, part):
    overlay = part("blender.insight_overlay")
    mesh, tree = part("blender.armature").find_mesh(posed), part("core.rig").SMPL
    skin = overlay._skin_of(mesh, tree)
    assert np.allclose(skin.weights.sum(axis=1), 1.0, atol=0.02)
    assert skin.triangles.max() < len(mesh.data.vertices)
    assert overlay._skin_of(mesh, tree) is skin
