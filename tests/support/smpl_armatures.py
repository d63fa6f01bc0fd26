# SPDX-License-Identifier: Apache-2.0
"""Armatures as the MPI's and Meshcapade's add-ons make them, in Blender: names, units, axes and bones of each.

MPI: metres, Z up, a bone's tail 0.1 above its head. Meshcapade: centimetres, Y up, tails 10 along Y, and an object that
is scaled by 0.01 and turned by 90 degrees. In both, local axes of bones are SMPL's.
"""

import math
from collections.abc import Mapping, Sequence

import bpy
import numpy as np
from blender_rigs import activate
from numpy_body import BODY_PATH, pose_body

_TRUNK = {"Pelvis": "pelvis", "Neck": "neck", "Head": "head", "Jaw": "jaw"}
_EYES = {"MPI SMPL-X": "{}_eye_smplhf", "Meshcapade SMPL-X": "{}_eye"}
STYLES = ("MPI SMPL", "MPI SMPL-X", "Meshcapade SMPL-H", "Meshcapade SMPL-X", "SMPL FBX")


def bone_names(style: str, names: tuple[str, ...]) -> dict[str, str]:
    """Return the bones of an add-on by our names of the joints."""
    if style == "MPI SMPL":
        return {name: name for name in names}
    if style == "SMPL FBX":
        return {name: f"m_avg_{name}" for name in names}
    found = {}
    for name in names:
        side, _, part = name.rpartition("_")
        long = {"L": "left", "R": "right"}.get(side, "")
        if part == "Eye":
            found[name] = _EYES[style].format(long)
        else:
            found[name] = _TRUNK.get(name, f"{long}_{part.lower()}" if side else part.lower())
    return found


def rest_joints(names: tuple[str, ...], legs: float = 1.0, betas: Sequence[float] = ()) -> dict[str, np.ndarray]:
    """Return where joints rest, metres in SMPL's axes: the default body's in a shape, with longer or shorter legs."""
    with np.load(BODY_PATH) as data:
        from_body = data["joint_names"].tolist()
    body = pose_body((0, 0, 0), [(1, 0, 0, 0)] * 24, betas or [0.0] * 10).joints
    at = dict(zip(from_body, body, strict=True))
    for side in "LR":
        hip = at[f"{side}_Hip"]
        for part in ("Knee", "Ankle", "Foot"):
            at[f"{side}_{part}"] = hip + (at[f"{side}_{part}"] - hip) * (1, legs, 1)
    fingers = ("Thumb", "Index", "Middle", "Ring", "Pinky")
    for name in names:
        side, _, part = name.rpartition("_")
        if name in at:
            continue
        if part in ("Jaw", "Eye"):
            at[name] = at["Head"] + ({"L": 0.03, "R": -0.03}.get(side, 0.0), 0.05, 0.06)
        else:
            along = at[f"{side}_Hand"] - at[f"{side}_Wrist"]
            across = 0.0375 - 0.015 * fingers.index(part[:-1])  # the four knuckles lie about the hand's middle
            at[name] = at[f"{side}_Wrist"] + (0.6 + 0.25 * int(part[-1])) * along + (0.0, 0.0, across)
    return {name: at[name] for name in names}


def build_armature(
    style: str,
    names: tuple[str, ...],
    parents: tuple[int, ...],
    legs: float = 1.0,
    betas: Sequence[float] = (),
    joints: Mapping[str, np.ndarray] | None = None,
) -> bpy.types.Object:
    """Make the armature of an add-on for a body of these joints, and make it active; `joints`: where they rest."""
    bones, joints = bone_names(style, names), joints or rest_joints(names, legs, betas)
    is_meshcapade = style.startswith("Meshcapade")
    rig = bpy.data.objects.new(style, bpy.data.armatures.new(style))
    bpy.context.scene.collection.objects.link(rig)
    if is_meshcapade:
        rig.scale = (0.01,) * 3
        rig.rotation_euler = (math.pi / 2, 0.0, 0.0)
    activate(rig)
    bpy.ops.object.mode_set(mode="EDIT")
    root = rig.data.edit_bones.new("m_avg_root" if style == "SMPL FBX" else "root")
    up = np.array([0.0, 10.0, 0.0]) if is_meshcapade else np.array([0.0, 0.0, 0.1])
    root.head, root.tail = (0, 0, 0), up
    for name, parent in zip(names, parents, strict=True):
        x, y, z = joints[name]
        bone = rig.data.edit_bones.new(bones[name])
        bone.head = np.array([100 * x, 100 * y, 100 * z]) if is_meshcapade else np.array([x, -z, y])
        bone.tail = np.array(bone.head) + up
        bone.parent = root if parent < 0 else rig.data.edit_bones[bones[names[parent]]]
    bpy.ops.object.mode_set(mode="OBJECT")
    for bone in rig.pose.bones:
        bone.rotation_mode = "QUATERNION"
    return rig
