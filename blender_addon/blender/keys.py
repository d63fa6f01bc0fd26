# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading keys back, in every Blender from 4.2 (one list of F-curves) to 5 (slots and channelbags)."""

from collections.abc import Iterable

import bpy

from ..core.pose_conversion import as_quaternion
from ..core.record import Quaternion


class KeyReader:
    """The keyed rotations of an armature next to a frame."""

    def __init__(self, armature: bpy.types.Object, frame: int) -> None:
        self._frame = frame
        self._curves = {(curve.data_path, curve.array_index): curve for curve in _fcurves(armature)}

    def rotation(self, data_path: str) -> Quaternion | None:
        """Return the quaternion of the last key before the frame, else of the first one after it, else None."""
        curves = [self._curves.get((data_path, index)) for index in range(4)]
        if any(curve is None for curve in curves):
            return None
        values = [self._nearest(curve) for curve in curves]
        return None if any(value is None for value in values) else as_quaternion(values)

    def _nearest(self, curve: "bpy.types.FCurve") -> float | None:
        points = [tuple(point.co) for point in curve.keyframe_points]
        before = [value for frame, value in points if frame < self._frame]
        after = [value for frame, value in points if frame > self._frame]
        return before[-1] if before else after[0] if after else None


def _fcurves(armature: bpy.types.Object) -> Iterable["bpy.types.FCurve"]:
    animation = armature.animation_data
    action = animation.action if animation is not None else None
    if action is None:
        return ()
    if hasattr(action, "fcurves"):  # until Blender 4.5; in 4.4 and 4.5 those of the first slot, which is this one
        return action.fcurves
    slot = animation.action_slot
    bags = [strip.channelbag(slot) for layer in action.layers for strip in layer.strips] if slot is not None else []
    return [curve for bag in bags if bag is not None for curve in bag.fcurves]
