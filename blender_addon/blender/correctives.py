# SPDX-License-Identifier: GPL-3.0-or-later
"""Pose correctives of a body's mesh: shape keys whose values follow the rotations. When, is following.py's to say."""

import bpy
import numpy as np

from ..core.body import FloatArray, corrective_values, pose_corrective_values
from ..core.record import Pose
from ..core.rig import SKIN_PROPERTY, corrective_name, smpl_bones

TOLERANCE = 1e-6
"""Of a value, below which nothing is written: writing has the mesh computed anew."""


def adopt_correctives(armature: bpy.types.Object) -> None:
    """Have the correctives of another SMPL add-on's body follow from now on; those of any other rig are not touched."""
    if SKIN_PROPERTY in armature or smpl_bones(armature.pose.bones.keys()) is None:
        return
    for child in armature.children:
        if child.type == "MESH" and child.data.shape_keys and corrective_name(0) in child.data.shape_keys.key_blocks:
            armature[SKIN_PROPERTY] = child
            return


def set_by_pose(armature: bpy.types.Object, pose: Pose) -> None:
    """Set the correctives of a body that is just given a pose.

    In a drag: what handlers set after the bones were computed has the mesh computed twice.
    """
    if SKIN_PROPERTY in armature:
        _write(armature, pose_corrective_values(pose.local_quat))


def set_by_bones(armature: bpy.types.Object, evaluated: bpy.types.Object) -> None:
    """Set the correctives of a body to what its bones do, constraints included.

    Args:
        armature: The body; its mesh must have correctives.
        evaluated: The same as the dependency graph has computed it.
    """
    wanted = bone_values(evaluated)
    if wanted is not None:
        _write(armature, wanted)


def bone_values(evaluated: bpy.types.Object) -> FloatArray | None:
    """Return the values of the correctives by the bones of an evaluated armature; None where they are not SMPL's."""
    bones = evaluated.pose.bones
    known = smpl_bones(bones.keys())
    if known is None:  # a bone was renamed or deleted
        return None
    tree, names = known
    rows = [bones.find(name) for name in names]
    matrices = np.empty(16 * len(bones), dtype=np.float32)
    bones.foreach_get("matrix", matrices)
    axes = matrices.reshape(-1, 4, 4)[rows, :3, :3].transpose(0, 2, 1).astype(np.float64)  # Blender's are transposed
    return corrective_values(axes / np.linalg.norm(axes, axis=1, keepdims=True), tree)


def _write(armature: bpy.types.Object, wanted: FloatArray) -> None:
    mesh = armature.get(SKIN_PROPERTY)
    if not isinstance(mesh, bpy.types.Object) or mesh.type != "MESH" or mesh.data.shape_keys is None:
        return
    blocks = mesh.data.shape_keys.key_blocks
    first = blocks.find(corrective_name(0))
    if first < 0:
        return
    wanted = wanted[: len(blocks) - first]  # Meshcapade's bodies have the first 207 of SMPL-X's 486
    values = np.empty(len(blocks), dtype=np.float32)
    blocks.foreach_get("value", values)
    if np.abs(values[first : first + len(wanted)] - wanted).max() > TOLERANCE:
        values[first : first + len(wanted)] = wanted
        blocks.foreach_set("value", values)
        mesh.data.shape_keys.update_tag()
