# SPDX-License-Identifier: Apache-2.0
"""Rigs that are linked from another file: refused with a sentence; posed as a library override, and kept so."""

from pathlib import Path

import bpy
import numpy as np
import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
PHOTO = ROOT / "samples" / "front_step.jpg"


@pytest.fixture
def body(preferences):
    """The IKOL body after Pose from Image."""
    preferences.solver_python = str(ROOT / ".venv" / "bin" / "python")
    assert bpy.ops.ikol.pose_from_image(filepath=str(PHOTO)) == {"FINISHED"}
    return bpy.context.view_layer.objects.active


def linked_rig(path, *, is_mapped):
    """Make a rig in a file of its own, and link it; give its collection."""
    from blender_rigs import build_rig

    rig = build_rig("Mixamo", 1.15)
    if is_mapped:
        bpy.ops.ikol.find_rig_bones()
    collection = bpy.data.collections.new("character")
    collection.objects.link(rig)
    bpy.data.libraries.write(str(path), {collection}, fake_user=True)
    bpy.data.objects.remove(rig)
    bpy.data.collections.remove(collection)
    with bpy.data.libraries.load(str(path), link=True) as (inside, wanted):
        wanted.collections = inside.collections
    bpy.context.scene.collection.children.link(wanted.collections[0])
    return wanted.collections[0]


def overridden(collection, *, is_system):
    view = bpy.context.view_layer
    override = collection.override_hierarchy_create(bpy.context.scene, view, do_fully_editable=not is_system)
    (rig,) = override.objects
    view.objects.active = rig
    return rig


@pytest.mark.parametrize("is_mapped", [False, True])
def test_an_override_is_posed_and_keeps_bones_and_pose(body, tmp_path, is_mapped):
    rig = overridden(linked_rig(tmp_path / "hero.blend", is_mapped=is_mapped), is_system=False)
    assert (len(rig.ikol_rig.joints) > 0) is is_mapped
    rig.ikol_rig.source, rig.ikol_rig.place = body, "SCENE"
    assert bpy.ops.ikol.find_rig_bones() == {"FINISHED"}
    rig.ikol_rig.joints["Spine3"].bone = ""  # corrected by hand
    assert bpy.ops.ikol.pose_rig() == {"FINISHED"}
    knee = "mixamorig:LeftLeg"
    posed = rig.pose.bones[knee].matrix.copy()
    assert rig.pose.bones[knee].matrix_basis.to_quaternion().angle > 0.1
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "shot.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "shot.blend"))
    (rig,) = (thing for thing in bpy.context.scene.objects if thing.override_library)
    assert np.abs(np.array(rig.pose.bones[knee].matrix) - np.array(posed)).max() < 1e-5  # float32, keyed
    if is_mapped:  # Blender 5.2 drops what a rig's own file has nothing of
        rows = {row.name: row.bone for row in rig.ikol_rig.joints}
        assert (rows["L_Knee"], rows["Spine3"], rig.ikol_rig.place) == (knee, "", "SCENE")


def test_an_override_that_blender_does_not_let_edit_is_refused(body, tmp_path):
    rig = overridden(linked_rig(tmp_path / "hero.blend", is_mapped=True), is_system=True)
    rig.ikol_rig.source = body
    with pytest.raises(RuntimeError, match="cannot be edited; choose Object > Library Override > Make"):
        bpy.ops.ikol.pose_rig()
    assert rig.animation_data is None


def test_a_linked_rig_is_refused_with_what_to_do(body, tmp_path):
    (rig,) = linked_rig(tmp_path / "hero.blend", is_mapped=True).objects
    bpy.context.view_layer.objects.active = rig
    with pytest.raises(RuntimeError, match="is linked from another file; make a library override or a local copy"):
        bpy.ops.ikol.pose_rig()
