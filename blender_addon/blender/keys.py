# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys of the pose: by the user's settings in a drag, always for a new picture; marked as generated.

F-curves are read in every Blender from 4.2 (one list) to 5 (slots and channelbags).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import bpy

from ..core.errors import SceneError
from ..core.pose_conversion import as_quaternion, continuous_quaternion
from ..core.record import Quaternion
from .posing import ROOT_JOINT, body_tree, rotation_path

KEY_TYPE = "GENERATED"
"""Marks keys that the add-on makes. A key of the user's that is only given another value keeps its type."""

FRAME_TOLERANCE = 1e-3
"""Keys nearer than that are on the frame; Blender itself replaces keys within 0.01."""


@dataclass(frozen=True)
class Channel:
    """A property of a bone that can be keyed."""

    bone: str
    path: str
    is_rotation: bool

    def full_path(self) -> str:
        """Return where F-curves have it."""
        return f'pose.bones["{bpy.utils.escape_identifier(self.bone)}"].{self.path}'


@dataclass(frozen=True)
class _Keyed:
    """What the F-curves of a channel have on a frame, if anything, and the values nearest to it.

    `is_animated`: at least one of its numbers has a curve.
    """

    values: tuple[float, ...] | None
    kind: str
    neighbour: tuple[float, ...] | None
    is_animated: bool = True


class KeyPlan:
    """Which channels of a pose get a key on a frame: made once, carried out as often as the pose changes.

    `is_dropped`: the pose is animated and this one gets no key, so that a change of the frame drops it.
    """

    def __init__(
        self,
        armature: bpy.types.Object,
        frame: int,
        wanted: Callable[[Channel, bool], bool],
        joints: Sequence[str] = (),
    ) -> None:
        """Look at the keys that there are.

        Args:
            armature: The body.
            frame: Where keys are set.
            wanted: Says of a channel, and of whether it has a key on the frame already, whether it gets one.
            joints: The only bones that change; none for all.
        """
        self.frame = frame
        animation = armature.animation_data
        self._had_animation = animation is not None
        action = animation.action if animation is not None else None
        self._is_linked = action is not None and action.library is not None
        curves = {(curve.data_path, curve.array_index): curve for curve in fcurves(armature)}
        strips = _strip_paths(armature)
        self._keyed: dict[Channel, _Keyed] = {}
        for channel in _channels(armature, joints):
            keyed = _keyed(curves, channel, frame)
            if wanted(channel, keyed.values is not None):
                self._keyed[channel] = keyed
            elif keyed.values is None and (keyed.is_animated or channel.full_path() in strips):
                self.is_dropped = True

    is_dropped: bool = False

    def __bool__(self) -> bool:
        return bool(self._keyed)

    def insert(self, armature: bpy.types.Object) -> None:
        """Set the keys to what the bones have now; quaternions of the sign that the curves have nearby.

        Raises:
            SceneError: The channels cannot be keyed, as with an action from another file.
        """
        if self._is_linked:  # Blender only prints a line for each key
            raise SceneError(
                f"the keys of {armature.name} are linked from another file; make its action a single user copy to key "
                f"the pose here"
            )
        try:
            for channel, keyed in self._keyed.items():
                bone = armature.pose.bones[channel.bone]
                if channel.path == "rotation_quaternion" and keyed.neighbour is not None:
                    near: Quaternion = as_quaternion(keyed.neighbour)
                    bone.rotation_quaternion = continuous_quaternion(as_quaternion(bone.rotation_quaternion), near)
                bone.keyframe_insert(channel.path, frame=self.frame, group=channel.bone, keytype=keyed.kind)
        except (RuntimeError, TypeError) as error:  # its action is linked, or its curves are locked
            raise SceneError(f"no keys can be set on {armature.name}: {error}") from error

    def take_back(self, armature: bpy.types.Object) -> None:
        """Make the keys as they were when the plan was made. The bones end up with the keyed values."""
        for channel, keyed in self._keyed.items():
            bone = armature.pose.bones[channel.bone]
            if keyed.values is None:
                bone.keyframe_delete(channel.path, frame=self.frame)
            else:
                setattr(bone, channel.path, keyed.values)
                bone.keyframe_insert(channel.path, frame=self.frame, group=channel.bone, keytype=keyed.kind)
        if not self._had_animation:
            armature.animation_data_clear()


def plan_all(armature: bpy.types.Object, frame: int) -> KeyPlan:
    """Return the plan that keys the whole pose, as for a new picture."""
    return KeyPlan(armature, frame, lambda _channel, _is_keyed: True)


def plan_by_settings(context: bpy.types.Context, armature: bpy.types.Object, joints: Sequence[str] = ()) -> KeyPlan:
    """Return the plan for a drag: keys that are on the frame are updated, others made as Auto Keying has it.

    Args:
        context: For the scene's tool settings, its active keying set and the preferences.
        armature: The body.
        joints: Those that may have moved; none for all.
    """
    scene, tool = context.scene, context.scene.tool_settings
    is_auto = tool.use_keyframe_insert_auto
    replaces_only = tool.auto_keying_mode == "REPLACE_KEYS"
    only_available = getattr(context.preferences.edit, "use_keyframe_insert_available", False)
    keying_set = scene.keying_sets_all.active if tool.use_keyframe_insert_keyingset else None
    animated = {curve.data_path for curve in fcurves(armature)}

    def wanted(channel: Channel, is_keyed: bool) -> bool:
        if is_keyed:
            return True
        if not is_auto or replaces_only or (only_available and channel.full_path() not in animated):
            return False
        return keying_set is None or _is_in_set(keying_set, armature, channel)

    return KeyPlan(armature, scene.frame_current, wanted, joints)


def _is_in_set(keying_set: "bpy.types.KeyingSet", armature: bpy.types.Object, channel: Channel) -> bool:
    """Whether a keying set has the channel: by its list of paths, or by its name for Blender's built-in ones."""
    if keying_set.paths:
        return any(path.id == armature and path.data_path == channel.full_path() for path in keying_set.paths)
    name = keying_set.bl_idname
    if name == "Available":
        return any(curve.data_path == channel.full_path() for curve in fcurves(armature))
    if name.startswith("WholeCharacter"):
        return True
    if "Delta" in name:  # of whole objects
        return False
    return ("Rot" in name) if channel.is_rotation else ("Loc" in name)


def fcurves(thing: bpy.types.Object) -> Iterable["bpy.types.FCurve"]:
    """Return the F-curves of an object's action."""
    return () if thing.animation_data is None else _curves_of(thing.animation_data)


def animated_paths(thing: bpy.types.Object) -> set[str]:
    """Return the properties of an object that keys, strips of the NLA editor, or drivers set."""
    drivers = () if thing.animation_data is None else thing.animation_data.drivers
    return {curve.data_path for curve in (*fcurves(thing), *drivers)} | _strip_paths(thing)


def _strip_paths(thing: bpy.types.Object) -> set[str]:
    """Return the properties of an object that strips of the NLA editor set."""
    tracks = () if thing.animation_data is None else thing.animation_data.nla_tracks
    strips = [strip for track in tracks if not track.mute for strip in track.strips if not strip.mute]
    for strip in strips:
        strips.extend(strip.strips)  # those of a meta strip
    return {curve.data_path for strip in strips for curve in _curves_of(strip)}


def _curves_of(user: "bpy.types.AnimData | bpy.types.NlaStrip") -> Iterable["bpy.types.FCurve"]:
    """Return the F-curves of what has an action: since Blender 4.4 those of its slot, and not those of others."""
    action = user.action
    if action is None:
        return ()
    if not hasattr(user, "action_slot"):
        return action.fcurves
    slot = user.action_slot
    bags = [strip.channelbag(slot) for layer in action.layers for strip in layer.strips] if slot is not None else []
    return [curve for bag in bags if bag is not None for curve in bag.fcurves]


def _channels(armature: bpy.types.Object, joints: Sequence[str]) -> list[Channel]:
    """Return the channels of a pose, less those that are locked or of other joints; no joints: all."""
    bones = [armature.pose.bones[name] for name in joints or body_tree(armature).names]
    channels = [Channel(bone.name, rotation_path(bone), True) for bone in bones if not all(bone.lock_rotation)]
    if (not joints or ROOT_JOINT in joints) and not all(armature.pose.bones[ROOT_JOINT].lock_location):
        channels.append(Channel(ROOT_JOINT, "location", False))
    return channels


def _keyed(curves: dict[tuple[str, int], "bpy.types.FCurve"], channel: Channel, frame: int) -> _Keyed:
    size = 4 if channel.path in ("rotation_quaternion", "rotation_axis_angle") else 3
    own = [curves.get((channel.full_path(), index)) for index in range(size)]
    if any(curve is None or not curve.keyframe_points for curve in own):
        return _Keyed(None, KEY_TYPE, None, is_animated=any(curve is not None for curve in own))
    places = [(curve.keyframe_points, _first_from(curve.keyframe_points, frame - FRAME_TOLERANCE)) for curve in own]
    on_frame = [
        points[index] if index < len(points) and points[index].co[0] <= frame + FRAME_TOLERANCE else None
        for points, index in places
    ]
    nearest = tuple(points[max(index - 1, 0)].co[1] for points, index in places)  # the one before, else the first
    if any(point is None for point in on_frame):
        return _Keyed(None, KEY_TYPE, nearest)
    is_only = all(index == 0 and len(points) == 1 for points, index in places)
    values = tuple(point.co[1] for point in on_frame)
    return _Keyed(values, on_frame[0].type, values if is_only else _beside(places))


def _beside(places: list[tuple["bpy.types.FCurveKeyframePoints", int]]) -> tuple[float, ...]:
    """Return the values of the last keys before the one on the frame, else of the first ones after it."""
    return tuple(points[index - 1 if index > 0 else min(1, len(points) - 1)].co[1] for points, index in places)


def _first_from(points: "bpy.types.FCurveKeyframePoints", frame: float) -> int:
    """Return the number of the first key at or after `frame`; curves may have thousands."""
    low, high = 0, len(points)
    while low < high:
        middle = (low + high) // 2
        if points[middle].co[0] < frame:
            low = middle + 1
        else:
            high = middle
    return low
