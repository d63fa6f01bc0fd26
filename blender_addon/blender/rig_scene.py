# SPDX-License-Identifier: GPL-3.0-or-later
"""Rigs in the scene as the core wants them: bones at rest, the mapping that is chosen, the pose of a source, limits.

Whatever rotation, scale or mirror an armature has in the scene is in one matrix; what cannot be inverted is refused.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import bpy
import numpy as np
from mathutils import Matrix, Quaternion

from .. import __package__ as base_package
from ..core.errors import FileError, SceneError
from ..core.pose_conversion import as_quaternion, to_smpl
from ..core.rig import SMPL, tree_of_bones
from ..core.rig_bones import Bones, FloatArray, RestBone
from ..core.rig_call import TurnLimits
from ..core.rig_fingers import FINGER_JOINTS, Fingers, find_fingers
from ..core.rig_locks import Locks
from ..core.rig_mapping import (
    RIG_JOINTS,
    RigMap,
    check_map,
    fitting_preset,
    map_of_preset,
    map_rig,
    read_preset,
    write_preset,
)
from ..core.rig_placement import Placement
from ..core.rig_skeleton import Posed, Skeleton, build_skeleton
from .bodies import is_body
from .own_body import current_body
from .posing import RotationLocks, rotation_locks, unlocked

LEAST_SCALE = 1e-6
"""Of an axis of an armature, in metres for a unit: below it the matrix tells no directions."""

SAME_SCALE = 1e-4
"""Of bones: a tenth of a millimetre on a leg."""

FREE = 10.0
"""Radians: a range that allows everything."""

MOST_TWIST = 3.14
"""Radians: a twist is known within half a turn."""

CLAMP_TOLERANCE = 1e-5
"""Radians beyond a range that are rounding."""

TurnRanges = dict[int, tuple[float, float]]
"""The least and the greatest angle about some of a bone's axes."""

PRESET_SUFFIX = ".json"


def rest_bones(armature: bpy.types.Object) -> Bones:
    """Return the bones at rest, parents first."""
    found: dict[str, RestBone] = {}
    for bone in armature.data.bones:  # Blender keeps them in the order of the tree
        found[bone.name] = RestBone(
            name=bone.name,
            parent=None if bone.parent is None else bone.parent.name,
            head=np.array(bone.head_local),
            tail=np.array(bone.tail_local),
            axes=np.array(bone.matrix_local.to_3x3()),
            is_deform=bone.use_deform,
        )
    return found


def world_up(armature: bpy.types.Object) -> FloatArray:
    """Return the scene's up in the armature's space, a unit vector."""
    linear = np.array(armature.matrix_world)[:3, :3]
    up = linear.T @ np.array([0.0, 0.0, 1.0])
    length = float(np.linalg.norm(up))
    return up / length if length > LEAST_SCALE else np.array([0.0, 0.0, 1.0])


def preset_folder() -> Path:
    """Return the user's folder for mappings."""
    return Path(bpy.utils.extension_path_user(base_package, path="rigs", create=True))


def read_presets() -> dict[str, dict[str, str]]:
    """Return the user's mappings by name; files that are none are passed over."""
    found: dict[str, dict[str, str]] = {}
    for path in sorted(preset_folder().glob(f"*{PRESET_SUFFIX}")):
        try:
            found[path.stem] = read_preset(path.read_text(encoding="utf-8"), path.name)
        except (FileError, OSError, UnicodeDecodeError):
            continue
    return found


def save_preset(name: str, joints: Mapping[str, str]) -> Path:
    """Write a mapping into the user's folder.

    Raises:
        FileError: The name is no file name, or the file cannot be written.
    """
    clean = bpy.path.clean_name(name.strip())
    if not clean:
        raise FileError("a preset needs a name; type one in")
    path = preset_folder() / f"{clean}{PRESET_SUFFIX}"
    try:
        path.write_text(write_preset(joints), encoding="utf-8")
    except OSError as error:
        raise FileError(f"the preset {path.name} cannot be written ({error}); free some space in its folder") from error
    return path


def find_map(armature: bpy.types.Object) -> RigMap:
    """Return a mapping of a rig: the user's preset whose bones it has, else what names and rest pose tell."""
    bones = rest_bones(armature)
    presets = read_presets()
    fitting = fitting_preset(bones, presets)
    if fitting is not None:
        return map_of_preset(bones, presets[fitting], fitting)
    return map_rig(bones, world_up(armature))


def chosen_map(armature: bpy.types.Object) -> dict[str, str]:
    """Return the mapping that the panel shows, bones by joints."""
    return {row.name: row.bone for row in armature.ikol_rig.joints if row.name in RIG_JOINTS and row.bone}


def chosen_fingers(armature: bpy.types.Object) -> dict[str, str]:
    """Return the finger bones that the panel shows, by joints."""
    return {row.name: row.bone for row in armature.ikol_rig.joints if row.name in FINGER_JOINTS and row.bone}


def choose_map(armature: bpy.types.Object, found: RigMap) -> None:
    """Show a mapping in the panel, and keep it with the armature."""
    settings = armature.ikol_rig
    bones = {**found.bones, **found.fingers}
    for joint in (*RIG_JOINTS, *FINGER_JOINTS):
        row = settings.joints.get(joint)  # those that an overridden rig has from its file cannot be removed
        if row is None:
            row = settings.joints.add()
            row.name = joint
        row.bone, row.is_guessed = bones.get(joint, ""), joint in found.guessed
    settings.way = found.way


def metres_per_unit(armature: bpy.types.Object) -> float:
    """Return the scale of an armature in the scene, the mean of its axes.

    Raises:
        SceneError: It has none: one of its axes is scaled to nothing.
    """
    linear = np.array(armature.matrix_world)[:3, :3]
    if float(np.linalg.svd(linear, compute_uv=False)[-1]) < LEAST_SCALE:
        raise SceneError(f"{armature.name} is scaled to nothing along an axis; give its scale other numbers than 0")
    return float(abs(np.linalg.det(linear)) ** (1 / 3))


def rig_skeleton(armature: bpy.types.Object) -> Skeleton:
    """Return the skeleton of a mapped rig.

    Raises:
        SceneError: The mapping does not fit it.
    """
    bones, joints = rest_bones(armature), chosen_map(armature)
    check_map(bones, {**joints, **chosen_fingers(armature)})
    return _as_large_as_posed(armature, bones, joints)


def _as_large_as_posed(armature: bpy.types.Object, bones: Bones, joints: Mapping[str, str]) -> Skeleton:
    """Return the skeleton of bones that are as large as they are posed: characters are scaled by a master bone too."""
    metres = metres_per_unit(armature)
    skeleton = build_skeleton(bones, joints, metres)
    pose = np.array(armature.pose.bones[skeleton.joints[0].bone].matrix)[:3, :3]
    scale = float(abs(np.linalg.det(pose)) ** (1 / 3))
    if scale < LEAST_SCALE:
        raise SceneError(f"the bones of {armature.name} are scaled to nothing; give their scale other numbers than 0")
    if abs(scale - 1.0) < SAME_SCALE:
        return skeleton
    larger = {name: replace(bone, head=scale * bone.head, tail=scale * bone.tail) for name, bone in bones.items()}
    return build_skeleton(larger, joints, metres)


def rig_fingers(armature: bpy.types.Object, skeleton: Skeleton) -> Fingers:
    """Return the fingers of an armature whose skeleton is known: a rig, or what one is posed like."""
    bones = rest_bones(armature)
    if is_body(armature):
        names = {joint: joint for joint in FINGER_JOINTS if joint in bones}
    elif armature.ikol_rig.joints:
        names = chosen_fingers(armature)
    else:
        names = find_fingers(bones, {joint.name: joint.bone for joint in skeleton.joints})
    return Fingers(skeleton, bones, {joint: bone for joint, bone in names.items() if bone in bones})


def read_fingers(armature: bpy.types.Object, fingers: Fingers) -> dict[str, FloatArray]:
    """Return how the fingers of an armature are turned now, against the hands and from rest."""
    evaluated = armature.evaluated_get(bpy.context.evaluated_depsgraph_get())
    hands = (joint.bone for joint in fingers.skeleton.joints if joint.name.endswith("_Wrist"))
    used = {*fingers.names.values(), *hands}
    turns: dict[str, FloatArray] = {}
    for name in used:
        left, _, right = np.linalg.svd(np.array(evaluated.pose.bones[name].matrix)[:3, :3])
        turns[name] = left @ right
    return fingers.turns(turns) if fingers.names else {}


def source_skeleton(armature: bpy.types.Object) -> Skeleton:
    """Return the skeleton of what a rig is to be posed like: an IKOL body, or any armature whose bones are found.

    Raises:
        SceneError: Its bones are not found.
    """
    bones, metres = rest_bones(armature), metres_per_unit(armature)
    if is_body(armature):
        tree = tree_of_bones(bones)
        joints = {joint: joint for joint in RIG_JOINTS if joint in tree.names}
        check_map(bones, joints)
        return build_skeleton(bones, joints, metres, metres * _body_floor(armature))
    joints = chosen_map(armature) or find_map(armature).bones
    check_map(bones, joints)
    return _as_large_as_posed(armature, bones, joints)


def _body_floor(armature: bpy.types.Object) -> float:
    """Return the height of the sole of a body at rest, its own units, over the origin of its bones."""
    body = current_body()
    above = float(body.joints_template[SMPL.index("L_Foot")][1] - body.v_template[:, 1].min())
    return float(to_smpl(armature.data.bones["L_Foot"].head_local)[1]) - above


def read_source(armature: bpy.types.Object, skeleton: Skeleton, is_in_scene: bool) -> Posed:
    """Return the pose that an armature has now, with its constraints.

    Args:
        armature: The source.
        skeleton: Its own.
        is_in_scene: Where it stands in the scene; otherwise in its own space.
    """
    evaluated = armature.evaluated_get(bpy.context.evaluated_depsgraph_get())
    matrix = to_scene(armature, skeleton) if is_in_scene else np.eye(4)
    placement = Placement(matrix)
    axes = skeleton.to_rig / np.cbrt(np.linalg.det(skeleton.to_rig))
    turns, places = [], []
    for joint in skeleton.joints:
        pose = np.array(evaluated.pose.bones[joint.bone].matrix)
        left, _, right = np.linalg.svd(pose[:3, :3])  # without the scale of bones that stretch
        turns.append(placement.turned(axes @ left @ right @ joint.axes.T))
        places.append(placement.to_rig(skeleton.to_rig @ pose[:3, 3]))
    return Posed(skeleton, np.array(turns), np.array(places))


def to_scene(armature: bpy.types.Object, skeleton: Skeleton) -> FloatArray:
    """Return the matrix (4, 4) from an armature's rig space to the scene's, with Y up."""
    to_armature = np.eye(4)
    to_armature[:3, :3] = np.linalg.inv(skeleton.to_rig)
    upright = np.eye(4)
    upright[:3, :3] = to_smpl(np.eye(3)).T
    return upright @ np.array(armature.matrix_world) @ to_armature


def read_limits(armature: bpy.types.Object, skeleton: Skeleton) -> TurnLimits | None:
    """Return how far the bones may turn: Limit Rotation, IK limits, and locked channels, which stay as they are."""
    rows: list[tuple[int, FloatArray, list[float], list[float]]] = []
    for number, joint in enumerate(skeleton.joints):
        bone = armature.pose.bones[joint.bone]
        ranges = turn_ranges(bone)
        if not ranges or not bone.bone.use_inherit_rotation:
            continue
        low, high = zip(*(ranges.get(axis, (-FREE, FREE)) for axis in range(3)), strict=True)
        axes = joint.axes.T[[1, 0, 2]]
        twist = [max(low[1], -MOST_TWIST), min(high[1], MOST_TWIST)]
        rows.append((number, axes, [low[0], high[0], low[2], high[2]], twist))
    if not rows:
        return None
    numbers, axes, swing, twist = zip(*rows, strict=True)
    return TurnLimits(tuple(numbers), np.array(axes), np.array(swing), np.array(twist))


def read_locks(armature: bpy.types.Object, skeleton: Skeleton) -> Locks | None:
    """Return what the channels of the root's location and the rotations of all bones keep; None where nothing."""
    root = armature.pose.bones[skeleton.joints[0].bone]
    turns: dict[int, Callable[[FloatArray], FloatArray]] = {}
    for number, joint in enumerate(skeleton.joints):
        bone = armature.pose.bones[joint.bone]
        ranges = turn_ranges(bone)
        if ranges and bone.bone.use_inherit_rotation:
            turns[number] = partial(_written, joint.axes, rotation_locks(bone), limit_ranges(bone))
    if not turns and not any(root.lock_location):
        return None
    place = skeleton.to_rig @ np.array(root.head)
    return Locks(place, skeleton.to_rig @ _moves(root), tuple(root.lock_location), turns)


def _moves(bone: "bpy.types.PoseBone") -> FloatArray:
    """Return the ways of a bone's head by one unit of each channel of its location, as columns, armature's space."""
    above: dict[str, Matrix] = {}
    if bone.parent is not None:
        above = {"parent_matrix": bone.parent.matrix, "parent_matrix_local": bone.parent.bone.matrix_local}
    heads = [
        bone.bone.convert_local_to_pose(Matrix.Translation(way), bone.bone.matrix_local, **above).to_translation()
        for way in (np.zeros(3), *np.eye(3))
    ]
    return np.stack([np.array(head - heads[0]) for head in heads[1:]], axis=1)


def _written(axes: FloatArray, locks: RotationLocks, limits: TurnRanges, turn: FloatArray) -> FloatArray:
    """Return the local rotation (3, 3), in the rig's space, that is written for one."""
    basis = Matrix((axes.T @ turn @ axes).tolist()).to_quaternion()
    kept = Quaternion(unlocked(locks, as_quaternion(basis)))
    limited = within(kept, locks.order, limits)
    if limited is not kept:
        kept = Quaternion(unlocked(locks, as_quaternion(limited)))
    return axes @ np.array(kept.to_matrix()) @ axes.T


def within(basis: Quaternion, order: str, ranges: TurnRanges) -> Quaternion:
    """Return a bone's own rotation with its Euler angles in their ranges; itself where they are."""
    euler = basis.to_euler(order)
    clamped = euler.copy()
    for axis, (low, high) in ranges.items():
        clamped[axis] = min(max(euler[axis], low), high)
    if max(abs(a - b) for a, b in zip(euler, clamped, strict=True)) < CLAMP_TOLERANCE:
        return basis
    return clamped.to_quaternion()


def turn_ranges(bone: "bpy.types.PoseBone") -> TurnRanges:
    """Return the least and the greatest angle about each of a bone's axes that is limited or locked, radians."""
    found, locks = limit_ranges(bone), rotation_locks(bone)
    now = bone.matrix_basis.to_euler(locks.order)
    for axis in range(3):
        if locks.axes[axis]:
            found[axis] = (now[axis], now[axis])
    return found


def limit_ranges(bone: "bpy.types.PoseBone") -> TurnRanges:
    """Return the least and the greatest angle about each of a bone's axes that is limited, radians."""
    found: TurnRanges = {}

    def narrow(axis: int, low: float, high: float) -> None:
        before = found.get(axis, (-FREE, FREE))
        low, high = max(low, before[0]), min(high, before[1])
        found[axis] = (min(low, high), max(low, high))

    for limit in bone.constraints:
        if limit.type == "LIMIT_ROTATION" and not limit.mute and limit.influence > 0 and limit.owner_space == "LOCAL":
            for axis, letter in enumerate("xyz"):
                if getattr(limit, f"use_limit_{letter}"):
                    narrow(axis, getattr(limit, f"min_{letter}"), getattr(limit, f"max_{letter}"))
    for axis, letter in enumerate("xyz"):
        if getattr(bone, f"use_ik_limit_{letter}"):
            narrow(axis, getattr(bone, f"ik_min_{letter}"), getattr(bone, f"ik_max_{letter}"))
    return found
