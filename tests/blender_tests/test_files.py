# SPDX-License-Identifier: Apache-2.0
"""A posed body in another file: appended, linked, overridden. Each works, or says why not."""

import bpy
import pytest


@pytest.fixture
def library(body, tmp_path):
    """A file with the posed body."""
    path = tmp_path / "library.blend"
    bpy.ops.wm.save_as_mainfile(filepath=str(path))
    names = [thing.name for thing in bpy.context.scene.objects]
    bpy.ops.wm.read_homefile(use_empty=True)
    return path, names


def bring(path, names, link=False):
    with bpy.data.libraries.load(str(path), link=link) as (_, wanted):
        wanted.objects = list(names)
    for thing in wanted.objects:
        bpy.context.scene.collection.objects.link(thing)
    bpy.context.view_layer.update()
    return next(thing for thing in wanted.objects if thing.type == "ARMATURE")


def drag(part, armature):
    """One live drag without a mouse."""
    live, keypoints = part("blender.live"), part("core.keypoints")
    found = live.LiveDrag(bpy.context, armature)
    x, y, z = found.record.solution.points["L_Wrist"]
    found.update(keypoints.move_positions(found.record, {"L_Wrist": (x, y + 0.1, z)}))
    part("blender.runtime").get().solver.settle(20.0)
    found.pump(bpy.context)
    assert found.is_settled
    found.finish(bpy.context, "Move")
    return found


def test_an_appended_body_is_dragged_on_with_its_handles(library, part):
    path, names = library
    armature = bring(path, names)
    assert len(part("blender.handles").find_handles(bpy.context.scene, armature)) == 13
    drag(part, armature)
    assert "L_Wrist" in part("blender.bodies").read_record(armature).edits


def test_an_armature_appended_alone_gets_handles_again(library, part):
    path, names = library
    armature = bring(path, [name for name in names if name == "IKOL Body"])
    bpy.context.view_layer.objects.active = armature
    assert not part("blender.handles").find_handles(bpy.context.scene, armature)
    assert bpy.ops.ikol.show_handles() == {"FINISHED"}
    assert len(part("blender.handles").find_handles(bpy.context.scene, armature)) == 13
    drag(part, armature)


def test_a_linked_body_says_what_to_do(library, part):
    path, names = library
    armature = bring(path, names, link=True)
    with pytest.raises(part("core.errors").SceneError, match="is linked from another file; make a library override"):
        part("blender.live").LiveDrag(bpy.context, armature)
    bpy.context.view_layer.objects.active = armature
    with pytest.raises(RuntimeError, match="is linked from another file; make a library override"):
        bpy.ops.ikol.key_pose()
    with pytest.raises(RuntimeError, match="is linked from another file; make a library override"):
        bpy.ops.ikol.show_handles()


def test_an_overridden_body_is_posed_and_keeps_its_evidence(library, part, tmp_path):
    path, names = library
    linked = bring(path, names, link=True)
    armature = linked.override_create(remap_local_usages=True)
    armature = armature or bpy.context.scene.objects["IKOL Body"]
    assert armature.library is None
    assert armature.override_library is not None
    before = tuple(armature.pose.bones["Head"].rotation_quaternion)
    drag(part, armature)
    assert "are linked from another file; make its action a single user copy" in str(
        part("blender.runtime").get().notice
    )
    armature.animation_data.action = armature.animation_data.action.copy()
    drag(part, armature)
    after = tuple(armature.pose.bones["Head"].rotation_quaternion)
    assert after != before
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "override.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "override.blend"))
    again = next(thing for thing in bpy.data.objects if thing.type == "ARMATURE" and thing.override_library)
    assert tuple(again.pose.bones["Head"].rotation_quaternion) == pytest.approx(after, abs=1e-6)
    assert "L_Wrist" in part("blender.bodies").read_record(again).edits
