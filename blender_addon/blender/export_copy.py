# SPDX-License-Identifier: GPL-3.0-or-later
"""A copy of a body for another program: in world space, its motion baked, its shape in the mesh, the bones renamed.

What is written is where the joints are in the scene, whatever moves them: keys in any rotation mode, constraints, the
object's own transform, strips of the NLA editor. The body itself is not touched.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import bpy
import numpy as np
from mathutils import Matrix

from ..core.body import FloatArray
from ..core.errors import SceneError
from ..core.export_presets import Preset, basis_matrices, bone_tails
from ..core.pose_conversion import SCALE_TOLERANCE
from ..core.rig import BONE_LENGTH, SKIN_PROPERTY, Tree
from .armature import find_mesh
from .correctives import bone_values
from .motion_keys import continuous, key_property, key_values, new_action
from .posing import body_tree

_CORRECTIVE = re.compile(r"Pose\d{3}")

MIN_SHIFT = 1e-6
"""Metres; a bone that moves less against its parent needs no keys of its place."""


@dataclass(frozen=True)
class Baked:
    """Where the bones are: (F, J, 4, 4) in the world without scale, and (J, 4, 4) at rest at the origin.

    `correctives` (F, C) are the values of the pose correctives, (F, 0) where the mesh has none.
    """

    posed: FloatArray
    rest: FloatArray
    scale: float
    correctives: FloatArray


def bake(context: bpy.types.Context, armature: bpy.types.Object, tree: Tree, frames: Sequence[int]) -> Baked:
    """Look at the bones of a tree on each frame; the user's frame is shown again.

    Raises:
        SceneError: The armature is scaled unevenly or mirrored.
    """
    scene = context.scene
    now = scene.frame_current
    local = np.array([armature.data.bones[name].matrix_local for name in tree.names])
    posed: list[FloatArray] = []
    scales: list[float] = []
    values: list[FloatArray] = []
    try:
        for frame in frames:
            if len(frames) > 1 or frame != now:
                scene.frame_set(frame)
            evaluated = armature.evaluated_get(context.evaluated_depsgraph_get())
            world = np.array(evaluated.matrix_world)
            scales.append(_scale(world, armature.name))
            posed.append(world @ np.array([evaluated.pose.bones[name].matrix for name in tree.names]))
            value = bone_values(evaluated) if SKIN_PROPERTY in armature else None
            values.append(np.empty(0) if value is None else value)
    finally:
        if scene.frame_current != now:
            scene.frame_set(now)
    moved = np.array(posed)
    moved[..., :3, :3] /= np.linalg.norm(moved[..., :3, :3], axis=-2, keepdims=True)
    local[:, :3, 3] *= scales[0]
    return Baked(moved, local, scales[0], np.array(values))


def _scale(world: FloatArray, name: str) -> float:
    scales = np.linalg.norm(world[:3, :3], axis=0)
    if np.ptp(scales) > SCALE_TOLERANCE * scales.mean() or np.linalg.det(world[:3, :3]) <= 0:
        raise SceneError(f"{name} is scaled unevenly or mirrored; apply its scale (Ctrl+A) first")
    return float(scales.mean())


def build_copy(
    context: bpy.types.Context,
    armature: bpy.types.Object,
    preset: Preset,
    frames: Sequence[int],
    axes: FloatArray,
) -> list[bpy.types.Object]:
    """Make the copy in object mode, selected and active; the armature comes first, then the mesh if there is one.

    Args:
        context: For the scene.
        armature: The body.
        preset: How the skeleton is to be.
        frames: Those to bake.
        axes: (3, 3) from Blender's axes to those of the file, where the exporter does not turn them.

    Raises:
        SceneError: The armature is scaled unevenly or mirrored.
    """
    tree = body_tree(armature)
    baked = bake(context, armature, tree, frames)
    turn = np.eye(4)
    turn[:3, :3] = axes
    data = bpy.data.armatures.new(armature.name)
    copy = bpy.data.objects.new(armature.name, data)
    context.scene.collection.objects.link(copy)
    for thing in context.selected_objects:
        thing.select_set(False)
    copy.select_set(True)
    context.view_layer.objects.active = copy
    heads = baked.rest[:, :3, 3] @ axes.T
    up = axes @ (0.0, 0.0, 1.0)
    tails = bone_tails(tree, heads, up, None if preset.is_along else BONE_LENGTH * baked.scale)
    _build_bones(copy, tree, preset, heads, tails, baked.scale)
    things = [copy]
    mesh = find_mesh(armature)
    if mesh is not None:
        things.append(_build_mesh(context, armature, mesh, copy, preset, baked, axes, frames))
    key_copy(copy, tree, preset.names, frames, baked, turn)
    context.view_layer.update()
    return things


def _build_bones(
    copy: bpy.types.Object, tree: Tree, preset: Preset, heads: FloatArray, tails: FloatArray, scale: float
) -> None:
    bpy.ops.object.mode_set(mode="EDIT")
    try:
        bones = copy.data.edit_bones
        if preset.root:
            root = bones.new(preset.root)
            root.head, root.tail = (0.0, 0.0, 0.0), (0.0, 0.0, BONE_LENGTH * scale)
        for joint, name in enumerate(tree.names):
            bone = bones.new(preset.names[name])
            bone.head, bone.tail = heads[joint], tails[joint]
            parent = tree.parents[joint]
            if parent >= 0:
                bone.parent = bones[preset.names[tree.names[parent]]]
            elif preset.root:
                bone.parent = bones[preset.root]
    finally:
        bpy.ops.object.mode_set(mode="OBJECT")


def _build_mesh(
    context: bpy.types.Context,
    armature: bpy.types.Object,
    mesh: bpy.types.Object,
    copy: bpy.types.Object,
    preset: Preset,
    baked: Baked,
    axes: FloatArray,
    frames: Sequence[int],
) -> bpy.types.Object:
    """Copy the mesh with its shape; of the shape keys only the pose correctives that change are left."""
    blocks = mesh.data.shape_keys.key_blocks
    points = _coordinates(blocks[0].data)
    correctives: list[tuple[str, FloatArray, FloatArray]] = []
    for block in blocks[1:]:
        is_corrective = _CORRECTIVE.fullmatch(block.name) and int(block.name[4:]) < baked.correctives.shape[1]
        if block.mute or not (is_corrective or block.value):
            continue
        moved = _coordinates(block.data) - _coordinates(block.relative_key.data)
        if is_corrective:
            values = baked.correctives[:, int(block.name[4:])]
            points = points + values.min() * moved
            moved, share = np.ptp(values) * moved, (values - values.min()) / max(np.ptp(values), 1e-12)
            if np.abs(moved).max() > MIN_SHIFT:
                correctives.append((block.name, moved, share))
        else:
            points = points + block.value * moved
    to_armature = np.array(armature.matrix_world.inverted() @ mesh.matrix_world)
    turn = baked.scale * axes @ to_armature[:3, :3]
    points = points @ turn.T + baked.scale * axes @ to_armature[:3, 3]
    thing = mesh.copy()
    thing.data = bpy.data.meshes.new_from_object(mesh)  # which leaves the shape keys out
    thing.animation_data_clear()
    context.scene.collection.objects.link(thing)
    thing.data.vertices.foreach_set("co", points.astype(np.float32).ravel())
    thing.data.update()
    if correctives:
        _add_correctives(thing, points, [(name, moved @ turn.T, share) for name, moved, share in correctives], frames)
    for group in thing.vertex_groups:
        group.name = preset.names.get(group.name, group.name)
    thing.modifiers.clear()
    thing.constraints.clear()
    thing.modifiers.new("Armature", "ARMATURE").object = copy
    thing.parent = copy
    thing.matrix_parent_inverse = Matrix()
    thing.matrix_basis = Matrix()
    thing.hide_set(False)
    thing.select_set(True)
    return thing


def _add_correctives(
    thing: bpy.types.Object,
    points: FloatArray,
    correctives: Sequence[tuple[str, FloatArray, FloatArray]],
    frames: Sequence[int],
) -> None:
    """Give the copy's mesh shape keys that go from 0 to 1, where readers cut them off, and their keys.

    Args:
        thing: The copy's mesh.
        points: (V, 3) its vertices; they have the lowest value of each corrective already.
        correctives: Name, (V, 3) from the lowest to the highest value, and (F,) where each frame is between them.
        frames: Their numbers.
    """
    thing.shape_key_add(name="Basis", from_mix=False)
    action = None
    for name, moved, share in correctives:
        key = thing.shape_key_add(name=name, from_mix=False)
        key.data.foreach_set("co", (points + moved).astype(np.float32).ravel())
        key.value = float(share[0])
        if action is None:
            action = new_action(thing.data.shape_keys, thing.name)
        path = f'key_blocks["{name}"].value'
        key_property(thing.data.shape_keys, action, path, frames, share[:, None], "Correctives")


def _coordinates(points: "bpy.types.bpy_prop_collection") -> FloatArray:
    values = np.empty(3 * len(points), dtype=np.float32)
    points.foreach_get("co", values)
    return values.reshape(-1, 3).astype(np.float64)


def key_copy(
    copy: bpy.types.Object,
    tree: Tree,
    names: Mapping[str, str],
    frames: Sequence[int],
    baked: Baked,
    turn: FloatArray,
) -> None:
    """Give the copy's bones the motion: each turns from rest as the body's bone does, its head where that one's is.

    Args:
        copy: The armature that is written.
        tree: The bones that were baked.
        names: What they are called on the copy.
        frames: Their numbers.
        baked: The motion.
        turn: (4, 4) from Blender's axes to those of the file.
    """
    rest = np.array([copy.data.bones[names[name]].matrix_local for name in tree.names])
    delta = turn @ baked.posed @ np.linalg.inv(baked.rest) @ turn.T
    posed = delta @ rest
    posed[..., :3, 3] = baked.posed[..., :3, 3] @ turn[:3, :3].T
    basis = basis_matrices(rest, posed, tree.parents)
    action = new_action(copy, copy.name)
    numbers = np.asarray(frames, dtype=np.float64)
    for joint, name in enumerate(tree.names):
        bone = copy.pose.bones[names[name]]
        bone.rotation_mode = "QUATERNION"
        quats = continuous(np.array([Matrix(turn).to_quaternion() for turn in basis[:, joint, :3, :3].tolist()]))
        places = basis[:, joint, :3, 3]
        key_values(copy, action, bone.name, "rotation_quaternion", numbers, quats)
        bone.rotation_quaternion = quats[0]
        if tree.parents[joint] < 0 or np.abs(places).max() > MIN_SHIFT:
            key_values(copy, action, bone.name, "location", numbers, places)
            bone.location = places[0]


def remove_copy(things: Sequence[bpy.types.Object]) -> None:
    """Remove the copy with all that was made for it."""
    for thing in reversed(things):
        data = thing.data
        animated = [thing.animation_data, getattr(getattr(data, "shape_keys", None), "animation_data", None)]
        actions = [animation.action for animation in animated if animation is not None and animation.action is not None]
        bpy.data.objects.remove(thing)
        collection = bpy.data.armatures if isinstance(data, bpy.types.Armature) else bpy.data.meshes
        collection.remove(data)
        for action in actions:
            if not action.users:  # a mesh's own goes on moving its shape keys
                bpy.data.actions.remove(action)
