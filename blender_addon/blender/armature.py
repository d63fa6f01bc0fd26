# SPDX-License-Identifier: GPL-3.0-or-later
"""The armature with its skinned mesh: built from a body file, shaped by betas, posed and keyed.

Bones stand straight up, so that their local axes equal SMPL's: a local rotation goes into `rotation_quaternion`
unchanged, and the translation into the pelvis' location.
"""

from collections.abc import Sequence
from itertools import takewhile

import bpy
import numpy as np
from numpy.typing import NDArray

from ..core.body import MAX_BETAS, WEIGHT_THRESHOLD, BodyData
from ..core.errors import SceneError
from ..core.pose_conversion import to_blender
from ..core.record import Pose
from ..core.rig import (
    BODY_FILE_PROPERTY,
    BONE_LENGTH,
    BONES_SHAPE_PROPERTY,
    CORRECTIVE_RANGE,
    ROOT_BONE,
    SHAPE_KEY_RANGE,
    SKIN_PROPERTY,
    corrective_name,
    shape_key_name,
)
from .keys import plan_all
from .own_body import body_name, check_body, check_fits, current_body, current_posedirs
from .posing import apply_pose

_SHAPE_KEY_NAMES = tuple(shape_key_name(index) for index in range(MAX_BETAS))

BETA_TOLERANCE = 1e-4
"""Betas nearer than that move no joint by a hundredth of a millimetre: the bones stay where they are."""


def build_body(context: bpy.types.Context, body: BodyData, betas: Sequence[float]) -> bpy.types.Object:
    """Make an armature and its mesh in the active collection, in rest pose, and return the armature."""
    armature = bpy.data.objects.new("IKOL Body", bpy.data.armatures.new("IKOL Body"))
    link_visibly(context, armature)
    if body_name():
        armature[BODY_FILE_PROPERTY] = body_name()
    armature.data.display_type = "STICK"  # octahedra that all point up hide the body
    armature.show_in_front = True
    betas = body.complete(betas)
    _edit_bones(context, armature, body, betas)
    for bone in armature.pose.bones:
        bone.rotation_mode = "QUATERNION"
    mesh = _build_mesh(body)
    posedirs = current_posedirs()
    if posedirs is not None:
        _add_correctives(mesh, body, posedirs)
        armature[SKIN_PROPERTY] = mesh
    link_visibly(context, mesh)
    mesh.parent = armature
    modifier = mesh.modifiers.new("IKOL Armature", "ARMATURE")
    modifier.object = armature
    set_shape_keys(mesh, betas)
    return armature


def link_visibly(context: bpy.types.Context, thing: bpy.types.Object) -> None:
    """Link an object where the user works; a collection that is switched off would make it unreachable."""
    context.collection.objects.link(thing)
    if thing.name not in context.view_layer.objects:
        context.collection.objects.unlink(thing)
        context.scene.collection.objects.link(thing)


def _edit_bones(context: bpy.types.Context, armature: bpy.types.Object, body: BodyData, betas: Sequence[float]) -> None:
    """Make or move the bones. Edit mode is the only way to it; the user's mode and active object come back.

    Raises:
        SceneError: Blender does not let the armature be edited.
    """
    objects = context.view_layer.objects
    active = objects.active
    mode = active.mode if active is not None else "OBJECT"
    if mode != "OBJECT":
        bpy.ops.object.mode_set(mode="OBJECT")
    hidden = armature.hide_get()
    try:
        armature.hide_set(False)
        objects.active = armature
        bpy.ops.object.mode_set(mode="EDIT")
    except RuntimeError as error:  # its collection is switched off, or it comes from another file
        text = f"the bones of {armature.name} cannot be edited; show it in the view layer, or make a local copy of it"
        raise SceneError(text) from error
    try:
        _place_edit_bones(armature.data.edit_bones, body, betas)
        armature.data[BONES_SHAPE_PROPERTY] = list(betas)
    finally:
        bpy.ops.object.mode_set(mode="OBJECT")
        armature.hide_set(hidden)
        objects.active = active
        if active is not None and mode != "OBJECT":
            bpy.ops.object.mode_set(mode=mode)


def _place_edit_bones(edit_bones: "bpy.types.ArmatureEditBones", body: BodyData, betas: Sequence[float]) -> None:
    joints = to_blender(body.rest_joints(betas))
    heads = {ROOT_BONE: np.zeros(3), **dict(zip(body.tree.names, joints, strict=True))}
    for name, head in heads.items():
        bone = edit_bones.get(name) or edit_bones.new(name)
        bone.head = head
        bone.tail = head + np.array([0.0, 0.0, BONE_LENGTH])
        bone.roll = 0.0
    edit_bones[ROOT_BONE].use_deform = False
    for name, parent in zip(body.tree.names, body.tree.parents, strict=True):
        edit_bones[name].parent = edit_bones[ROOT_BONE if parent < 0 else body.tree.names[parent]]


def _build_mesh(body: BodyData) -> bpy.types.Object:
    mesh = bpy.data.meshes.new("IKOL Body Mesh")
    mesh.from_pydata(to_blender(body.v_template).tolist(), [], body.faces.tolist())
    mesh.shade_smooth()
    thing = bpy.data.objects.new("IKOL Body Mesh", mesh)
    for joint, name in enumerate(body.tree.names):
        group = thing.vertex_groups.new(name=name)
        column = body.lbs_weights[:, joint]
        for vertex in np.flatnonzero(column > WEIGHT_THRESHOLD).tolist():
            group.add((vertex,), float(column[vertex]), "REPLACE")
    thing.shape_key_add(name="Basis", from_mix=False)
    _add_shape_keys(thing, body)
    return thing


def _add_shape_keys(mesh: bpy.types.Object, body: BodyData) -> None:
    """Give the mesh a shape key for each beta that has none yet."""
    there = set(mesh.data.shape_keys.key_blocks.keys())
    for index in range(body.num_betas):
        if shape_key_name(index) in there:
            continue
        key = mesh.shape_key_add(name=shape_key_name(index), from_mix=False)
        key.slider_min, key.slider_max = -SHAPE_KEY_RANGE, SHAPE_KEY_RANGE
        key.value = 0.0  # Blender 5 makes shape keys with value 1
        points = to_blender(body.v_template + body.shapedirs[:, :, index])
        key.data.foreach_set("co", points.astype(np.float32).ravel())


def _add_correctives(mesh: bpy.types.Object, body: BodyData, posedirs: NDArray[np.float32]) -> None:
    """Give the mesh a shape key for each pose corrective; following.py sets their values."""
    template = to_blender(body.v_template)
    for index in range(posedirs.shape[2]):
        key = mesh.shape_key_add(name=corrective_name(index), from_mix=False)
        key.slider_min, key.slider_max = -CORRECTIVE_RANGE, CORRECTIVE_RANGE
        key.value = 0.0
        points = template + to_blender(posedirs[:, :, index])
        key.data.foreach_set("co", points.astype(np.float32).ravel())


def find_mesh(armature: bpy.types.Object) -> bpy.types.Object | None:
    """Return the mesh that the armature moves and that has the shape keys, if it is still there."""
    for child in armature.children:
        if child.type == "MESH" and child.data.shape_keys and shape_key_name(0) in child.data.shape_keys.key_blocks:
            return child
    return None


def read_betas(armature: bpy.types.Object, stored: Sequence[float]) -> tuple[float, ...]:
    """Return the shape as the sliders show it, one beta for each; the stored one when the mesh is gone."""
    mesh = find_mesh(armature)
    if mesh is None:
        return tuple(stored)
    values = {block.name: block.value for block in mesh.data.shape_keys.key_blocks}
    return tuple(takewhile(lambda value: value is not None, (values.get(name) for name in _SHAPE_KEY_NAMES)))


def set_shape_keys(mesh: bpy.types.Object, betas: Sequence[float]) -> None:
    """Set the sliders of the shape; following.py moves the bones after them."""
    blocks = {block.name: block for block in mesh.data.shape_keys.key_blocks}
    for name, beta in zip(_SHAPE_KEY_NAMES, betas, strict=False):
        if name in blocks and blocks[name].value != beta:
            blocks[name].value = beta


def match_bones(context: bpy.types.Context, armature: bpy.types.Object, stored: Sequence[float]) -> tuple[float, ...]:
    """Move the bones to the joints of the shape that the sliders show, and return it.

    Args:
        context: For the user's mode.
        armature: The body.
        stored: Its shape where the mesh is gone.

    Raises:
        FileError: The body's file cannot be read.
        SceneError: Blender does not let the armature be edited, or it was made with another body.
    """
    body = current_body()
    betas = body.complete(read_betas(armature, stored))
    if find_mesh(armature) is not None and _is_off(armature, body, betas):
        check_body(armature, body)
        _edit_bones(context, armature, body, betas)
    return betas


def set_shape(context: bpy.types.Context, armature: bpy.types.Object, body: BodyData, betas: Sequence[float]) -> None:
    """Give the body a shape: shape keys, and the bones at the joints of that shape."""
    mesh = find_mesh(armature)
    if mesh is not None:
        if len(mesh.data.vertices) == len(body.v_template):  # else it was changed; it keeps the betas that it has
            _add_shape_keys(mesh, body)
        set_shape_keys(mesh, betas)
    if _is_off(armature, body, betas):
        _edit_bones(context, armature, body, betas)


def _is_off(armature: bpy.types.Object, body: BodyData, betas: Sequence[float]) -> bool:
    """Whether bones are not at the joints of a shape; those of another body have no such bones."""
    bones = armature.data.bones
    if any(name not in bones for name in body.tree.names):
        return False
    heads = [bones[name].head_local for name in body.tree.names]
    return bool(np.abs(to_blender(body.rest_joints(betas)) - np.array(heads)).max() > BETA_TOLERANCE)


def key_pose(armature: bpy.types.Object, pose: Pose, frame: int) -> None:
    """Pose the bones and set keys on `frame`; keys on other frames stay as they are.

    Raises:
        SceneError: The channels cannot be keyed, as on a linked armature.
    """
    check_writable(armature)
    apply_pose(armature, pose)
    plan_all(armature, frame).insert(armature)


def check_writable(armature: bpy.types.Object) -> None:
    """Check that the body can be posed.

    Raises:
        SceneError: It is linked from another file, without an override, or was made with another body.
        FileError: The own body's file cannot be read.
    """
    if armature.library is not None:
        text = f"{armature.name} is linked from another file; make a library override or a local copy of it first"
        raise SceneError(text)
    check_fits(armature)
