# SPDX-License-Identifier: GPL-3.0-or-later
"""Writing a solved pose on a rig: on bones of any roll, parents and rotation mode, within what is locked and limited.

From the root down, because what a control's parent does may be the work of constraints: Blender is asked where it is.
"""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import bpy
import numpy as np
from mathutils import Matrix

from ..core.errors import SceneError
from ..core.pose_conversion import as_quaternion
from ..core.rig_bones import Bones, FloatArray
from ..core.rig_call import TreeSolution
from ..core.rig_job import posed
from ..core.rig_skeleton import Skeleton, walk_up
from ..core.rig_twist import twisted_bones
from .keys import KEY_TYPE, animated_paths
from .posing import rotation_locks, rotation_path, turn_bone
from .rig_scene import limit_ranges, within
from .text import iface

HARMLESS = frozenset(("LIMIT_ROTATION", "LIMIT_LOCATION", "LIMIT_SCALE", "LIMIT_DISTANCE", "MAINTAIN_VOLUME"))
"""Constraints that leave a bone where it is put, within their range."""

_RIGIFY_LIMBS = ("upper_arm_parent.L", "upper_arm_parent.R", "thigh_parent.L", "thigh_parent.R")
_AUTO_RIG_SWITCHES = ("c_hand_ik.l", "c_hand_ik.r", "c_foot_ik.l", "c_foot_ik.r")
"""Controls of Auto-Rig Pro that say whether a limb follows them or its FK controls."""
_RIGIFY_MASTERS = ("hips", "chest")
"""Controls of a generated rig that turn what the ones below turn too."""


@dataclass(frozen=True)
class Written:
    """What came of writing a pose."""

    residual: float
    """Metres between a joint and where it was solved, the largest."""
    joint: str
    followers: tuple[str, ...]
    """Bones that constraints hold elsewhere."""
    bones: tuple[str, ...]
    """That were turned, the root first."""


def check_rig(armature: bpy.types.Object, skeleton: Skeleton) -> None:
    """Check that the rig can be written on.

    Raises:
        SceneError: It is linked without an override to edit, in edit mode, shown at rest, or its root cannot move.
    """
    if armature.library is not None:
        text = f"{armature.name} is linked from another file; make a library override or a local copy of it first"
        raise SceneError(text)
    override = armature.override_library
    if override is not None and override.is_system_override:  # Blender's own commands pose it no more than this one
        raise SceneError(
            f"{armature.name} is a library override that cannot be edited; choose Object > Library Override > Make"
        )
    if armature.mode == "EDIT":
        raise SceneError(f"{armature.name} is in edit mode; press Tab to leave it")
    if armature.data.pose_position == "REST":
        raise SceneError(f"{armature.name} is shown in its rest position; choose Pose Position in its data tab")
    root = armature.data.bones[skeleton.joints[0].bone]
    if root.use_connect and root.parent is not None:
        raise SceneError(
            f"{root.name} is connected to its parent and cannot be moved; switch Connected off in edit mode, or "
            f"choose another bone as Pelvis"
        )


@dataclass(frozen=True)
class Channel:
    """A property of a bone that was set for a pose."""

    bone: str
    path: str
    """From the bone."""

    def is_in(self, armature: bpy.types.Object, paths: Container[str]) -> bool:
        """Whether these paths from the object have it."""
        dot = "" if self.path.startswith("[") else "."
        return f"{armature.pose.bones[self.bone].path_from_id()}{dot}{self.path}" in paths


def use_controls(armature: bpy.types.Object, bones: Bones, skeleton: Skeleton) -> tuple[Channel, ...]:
    """Make the mapped bones those that count: FK on Rigify's and Auto-Rig Pro's rigs, nothing turned in between.

    What stands between two joints is put to rest, for the solver takes it to move with the joint above.

    Returns:
        What was set.
    """
    mapped = {joint.bone for joint in skeleton.joints}
    touched: list[Channel] = []
    for names, switch, is_control in (
        (_RIGIFY_LIMBS, "IK_FK", lambda known: known.endswith(("_fk.L", "_fk.R"))),
        (_AUTO_RIG_SWITCHES, "ik_fk_switch", lambda known: known.startswith("c_")),
    ):
        for name in names if any(map(is_control, mapped)) else ():
            bone = armature.pose.bones.get(name)
            if bone is not None and switch in bone:
                bone[switch] = 1.0
                touched.append(Channel(name, f'["{switch}"]'))
    root = skeleton.joints[0].bone
    between = {name for joint in skeleton.joints[1:] for name in _up_to(bones, joint.bone, root)} - mapped
    if "torso" in mapped:
        between |= {name for name in _RIGIFY_MASTERS if name in bones}
    for name in between:
        bone = armature.pose.bones[name]
        if not any(bone.lock_rotation):
            turn_bone(bone, (1.0, 0.0, 0.0, 0.0))
            touched.append(Channel(name, rotation_path(bone)))
        if not any(bone.lock_location):
            bone.location = (0.0, 0.0, 0.0)
            touched.append(Channel(name, "location"))
    armature.update_tag()
    return tuple(touched)


def _up_to(bones: Bones, name: str, root: str) -> list[str]:
    above = list(walk_up(bones, name))
    return above[: above.index(root)] if root in above else []


def write_pose(
    armature: bpy.types.Object,
    bones: Bones,
    skeleton: Skeleton,
    solution: TreeSolution,
    fingers: Mapping[str, FloatArray] = MappingProxyType({}),
) -> Written:
    """Turn the bones, fingers by their rotations from rest (the rig's space), and move the root; no keys."""
    layer = bpy.context.view_layer
    pose, metres = posed(skeleton, solution), float(np.cbrt(np.linalg.det(skeleton.to_rig)))
    axes, to_armature = skeleton.to_rig / metres, np.linalg.inv(skeleton.to_rig)
    wanted: dict[str, tuple[FloatArray, FloatArray]] = {}
    for number, joint in enumerate(skeleton.joints):
        wanted[joint.bone] = (pose.turns[number] @ joint.axes, pose.places[number])
    for name, turn in {**twisted_bones(bones, pose), **fingers}.items():
        if name in wanted or _is_free(armature.pose.bones[name]):
            wanted[name] = (turn @ axes @ bones[name].axes, wanted.get(name, (None, np.zeros(3)))[1])
    levels: dict[int, list[str]] = {}
    for name in wanted:
        levels.setdefault(len(armature.data.bones[name].parent_recursive), []).append(name)
    for depth in sorted(levels):
        layer.update()
        for name in levels[depth]:
            matrix = np.eye(4)
            matrix[:3, :3] = axes.T @ wanted[name][0]
            matrix[:3, 3] = to_armature @ wanted[name][1]
            _put(armature.pose.bones[name], Matrix(matrix.tolist()), moves=name == skeleton.joints[0].bone)
    layer.update()
    heads = np.array([armature.pose.bones[joint.bone].head for joint in skeleton.joints])
    missed = np.linalg.norm(heads @ skeleton.to_rig.T - pose.places, axis=1)
    worst = int(missed.argmax())
    written = tuple(wanted)
    return Written(float(missed[worst]), skeleton.joints[worst].name, followers(armature, skeleton), written)


def _is_free(bone: "bpy.types.PoseBone") -> bool:
    return not any(bone.lock_rotation) and all(one.mute or one.type in HARMLESS for one in bone.constraints)


def _put(bone: "bpy.types.PoseBone", wanted: Matrix, *, moves: bool) -> None:
    """Give a bone the channels with which it has this matrix in the armature's space."""
    rest = bone.bone.matrix_local
    if bone.parent is None:
        basis = bone.bone.convert_local_to_pose(wanted, rest, invert=True)
    else:
        above = bone.parent
        basis = bone.bone.convert_local_to_pose(
            wanted, rest, parent_matrix=above.matrix, parent_matrix_local=above.bone.matrix_local, invert=True
        )
    turn_bone(bone, as_quaternion(basis.to_quaternion()))
    turn = bone.matrix_basis.to_quaternion()
    kept = within(turn, rotation_locks(bone).order, limit_ranges(bone))
    if kept is not turn:
        turn_bone(bone, as_quaternion(kept))
    if moves:
        location, locks = basis.to_translation(), bone.lock_location
        bone.location = [bone.location[i] if locks[i] else location[i] for i in range(3)]


def followers(armature: bpy.types.Object, skeleton: Skeleton) -> tuple[str, ...]:
    """Return the mapped bones that constraints put elsewhere."""
    found: list[str] = []
    for joint in skeleton.joints:
        active = [c for c in armature.pose.bones[joint.bone].constraints if not c.mute and c.influence > 0]
        if any(constraint.type not in HARMLESS for constraint in active):
            found.append(joint.bone)
    return tuple(found)


def is_unknown_control_rig(armature: bpy.types.Object, skeleton: Skeleton) -> bool:
    """Return whether the rig has controls, and none of them was mapped."""
    mapped = {joint.bone for joint in skeleton.joints}
    shaped = {bone.name for bone in armature.pose.bones if bone.custom_shape is not None}
    return bool(shaped) and not shaped & mapped


def _posed_channels(armature: bpy.types.Object, bones: Sequence[str]) -> tuple[Channel, ...]:
    """Return what a pose sets of these bones: rotations and the first one's location, less what is locked."""
    pose = armature.pose.bones
    turned = [Channel(name, rotation_path(pose[name])) for name in bones if not all(pose[name].lock_rotation)]
    moved = [Channel(name, "location") for name in bones[:1] if not all(pose[name].lock_location)]
    return (*turned, *moved)


def key_rig(
    armature: bpy.types.Object, bones: Sequence[str], touched: Iterable[Channel], frame: int
) -> tuple[str, ...]:
    """Set keys on what was written, and on what else was set for it and is animated: its keys would take it back.

    Args:
        armature: The rig.
        bones: That were turned, the root first.
        touched: What `use_controls` has set; gets keys only where it has some.
        frame: Where.

    Returns:
        Bones that could not be keyed: Blender prints a line, and raises nothing.

    Raises:
        SceneError: The channels cannot be keyed at all.
    """
    animated = animated_paths(armature) - _driven_paths(armature)
    channels = (*_posed_channels(armature, bones), *(one for one in touched if one.is_in(armature, animated)))
    action = armature.animation_data.action if armature.animation_data is not None else None
    if action is not None and action.library is not None:
        return tuple(bones)
    missed: list[str] = []
    try:
        for one in channels:
            bone = armature.pose.bones[one.bone]
            if not bone.keyframe_insert(one.path, frame=frame, group=one.bone, keytype=KEY_TYPE):
                missed.append(one.bone)
    except (RuntimeError, TypeError) as error:
        raise SceneError(f"no keys can be set on {armature.name}: {error}") from error
    armature.update_tag()  # else Blender 4.2 to 5.2 do not see an action that was made beside strips of the NLA
    return tuple(missed)


def why_not_kept(
    armature: bpy.types.Object, skeleton: Skeleton, touched: Iterable[Channel], unkeyed: Iterable[str] | None
) -> str:
    """Return why the rig will not keep its pose, for the user; empty where it does.

    Args:
        armature: The rig.
        skeleton: Its joints.
        touched: What else was set.
        unkeyed: Bones that could not be keyed; None where no keys were wanted.
    """
    channels = (*touched, *_posed_channels(armature, [joint.bone for joint in skeleton.joints]))
    driven = _driven_paths(armature)
    bones = dict.fromkeys(one.bone for one in channels if one.is_in(armature, driven))
    if bones:
        return iface("drivers set {bones}, and the pose does not; mute these drivers", bones=_few(bones))
    animated = animated_paths(armature)
    if unkeyed is None and any(one.is_in(armature, animated) for one in channels):
        return iface(
            "{rig} has keys, and this pose has none: it is lost when the frame changes; choose Set Keys",
            rig=armature.name,
        )
    bones = dict.fromkeys(unkeyed or ())
    if bones:
        return iface(
            "no keys can be set on {bones}: unlock their curves, or make the linked action a local one",
            bones=_few(bones),
        )
    return ""


def _few(bones: Iterable[str]) -> str:
    return ", ".join([*bones][:4])


def _driven_paths(armature: bpy.types.Object) -> set[str]:
    animation = armature.animation_data
    return set() if animation is None else {curve.data_path for curve in animation.drivers}
