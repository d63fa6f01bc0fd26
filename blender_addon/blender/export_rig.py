# SPDX-License-Identifier: GPL-3.0-or-later
"""A copy of the user's rig for another program: upright at rest in metres, its motion baked, the bones renamed.

What is written is where the bones are in the scene, whatever moves them. The rig itself is not touched.
"""

from collections.abc import Sequence
from dataclasses import replace

import bpy
import numpy as np
from mathutils import Matrix

from ..core.body import FloatArray
from ..core.export_presets import Preset
from ..core.pose_conversion import to_blender
from ..core.rig import BONE_LENGTH, Tree
from ..core.rig_export import ExportPlan, plan_export
from ..core.rig_mapping import NEEDED
from ..core.rig_skeleton import build_skeleton
from .export_copy import bake, key_copy
from .rig_scene import chosen_fingers, chosen_map, find_map, metres_per_unit, rest_bones


def plan_rig(rig: bpy.types.Object, preset: Preset | None) -> ExportPlan:
    """Return what is written of a rig.

    Raises:
        SceneError: Its bones are not known by the joints that the preset names.
    """
    bones, joints, fingers = rest_bones(rig), chosen_map(rig), chosen_fingers(rig)
    if not joints:
        found = find_map(rig)
        joints, fingers = (dict(found.bones), dict(found.fingers)) if not found.missing else ({}, {})
    known = {joint: bone for joint, bone in joints.items() if bone in bones}
    return plan_export(bones, known, {joint: bone for joint, bone in fingers.items() if bone in bones}, preset)


def build_rig_copy(
    context: bpy.types.Context, rig: bpy.types.Object, plan: ExportPlan, frames: Sequence[int], axes: FloatArray
) -> list[bpy.types.Object]:
    """Make the copy in object mode, selected and active; the armature comes first, then its meshes.

    Args:
        context: For the scene.
        rig: The user's.
        plan: What is written of it.
        frames: Those to bake.
        axes: (3, 3) from Blender's axes to those of the file, where the exporter does not turn them.

    Raises:
        SceneError: The rig is scaled unevenly or mirrored.
    """
    order = list(plan.bones)
    parents = tuple(-1 if bone.parent is None else order.index(bone.parent) for bone in plan.bones.values())
    tree = Tree("rig", tuple(order), parents)
    baked = bake(context, rig, tree, frames)
    upright, turn = np.eye(4), np.eye(4)
    upright[:3, :3], turn[:3, :3] = _upright(rig), axes
    rest = upright @ np.array([rig.data.bones[name].matrix_local for name in order])
    rest[:, :3, :3] /= np.linalg.norm(rest[:, :3, :3], axis=-2, keepdims=True)
    data = bpy.data.armatures.new(rig.name)
    copy = bpy.data.objects.new(rig.name, data)
    context.scene.collection.objects.link(copy)
    for thing in context.selected_objects:
        thing.select_set(False)
    copy.select_set(True)
    context.view_layer.objects.active = copy
    lengths = [baked.scale * rig.data.bones[name].length for name in order]
    _build_bones(copy, tree, plan, turn @ rest, lengths)
    meshes = [
        _build_mesh(context, rig, thing, copy, plan, turn @ upright)
        for thing in context.view_layer.objects
        if thing.type == "MESH" and thing.visible_get() and _moved_by(thing, rig)
    ]
    key_copy(copy, tree, plan.names, frames, replace(baked, rest=rest), turn)
    context.view_layer.update()
    return [copy, *meshes]


def _upright(rig: bpy.types.Object) -> FloatArray:
    """Return the matrix (3, 3) to metres, from a rig that rests lying, turned or in centimetres: facing -Y, Z up."""
    joints = chosen_map(rig) or find_map(rig).bones
    if all(joint in joints and joints[joint] in rig.data.bones for joint in NEEDED):
        to_rig = build_skeleton(rest_bones(rig), joints, metres_per_unit(rig)).to_rig
        return np.asarray(to_blender(np.eye(3)).T @ to_rig, dtype=np.float64)
    return np.array(rig.matrix_world)[:3, :3]


def _build_bones(
    copy: bpy.types.Object, tree: Tree, plan: ExportPlan, rest: FloatArray, lengths: Sequence[float]
) -> None:
    bpy.ops.object.mode_set(mode="EDIT")
    try:
        bones = copy.data.edit_bones
        if plan.root:
            root = bones.new(plan.root)
            root.head, root.tail = (0.0, 0.0, 0.0), (0.0, 0.0, BONE_LENGTH)
        for number, name in enumerate(tree.names):
            bone = bones.new(plan.names[name])
            bone.tail = (0.0, lengths[number], 0.0)
            bone.matrix = Matrix(rest[number].tolist())  # head, way and roll; the length stays
            parent = tree.parents[number]
            if parent >= 0:
                bone.parent = bones[plan.names[tree.names[parent]]]
            elif plan.root:
                bone.parent = bones[plan.root]
    finally:
        bpy.ops.object.mode_set(mode="OBJECT")


def _moved_by(thing: bpy.types.Object, rig: bpy.types.Object) -> bool:
    return any(modifier.type == "ARMATURE" and modifier.object == rig for modifier in thing.modifiers)


def _build_mesh(
    context: bpy.types.Context,
    rig: bpy.types.Object,
    mesh: bpy.types.Object,
    copy: bpy.types.Object,
    plan: ExportPlan,
    space: FloatArray,
) -> bpy.types.Object:
    """Copy a mesh with its shape keys and modifiers, moved by the copy's bones.

    Args:
        context: For the scene.
        rig: The user's.
        mesh: That it moves.
        copy: Of the rig.
        plan: The names of its bones.
        space: (4, 4) from the rig's own space to the copy's.
    """
    thing = mesh.copy()
    thing.data = mesh.data.copy()
    thing.animation_data_clear()
    context.scene.collection.objects.link(thing)
    for group in thing.vertex_groups:
        group.name = plan.names.get(group.name, group.name)
    for modifier in thing.modifiers:
        if modifier.type == "ARMATURE" and modifier.object == rig:
            modifier.object = copy
    thing.constraints.clear()
    thing.parent = copy
    thing.matrix_parent_inverse = Matrix()
    place = space @ np.array(rig.matrix_world.inverted() @ mesh.matrix_world)
    thing.matrix_basis = Matrix(place.tolist())
    thing.hide_set(False)
    thing.select_set(True)
    return thing
