# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands for keypoints: lock, mute, solo, remove, reset, bring back, presets. Each solves again at once."""

import bpy
from bpy.props import EnumProperty, StringProperty

from ..core import keypoints
from ..core.errors import AddonError
from ..core.keypoints import PRESETS
from ..core.record import KeypointEdit, Record
from . import live_edit, runtime
from .bodies import find_body, read_record
from .keypoint_properties import chosen_points
from .live_edit import Change
from .text import iface


class KeypointOperator:
    """An edit of the active body's evidence; subclasses say which one."""

    # no UNDO: the edit makes its undo step when the solver has answered
    bl_options = {"REGISTER"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only with a body."""
        if find_body(context) is None:
            cls.poll_message_set(iface("Select a body that was made by Pose from Image or Solve Keypoints"))
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Begin the edit."""
        armature = find_body(context)
        try:
            change = self.change(live_edit.newest_record(armature), chosen_points(context, armature))
            live_edit.begin(context, armature, change, self.bl_label)
        except AddonError as error:
            runtime.get().notice = error
            self.report({"ERROR"}, runtime.sentence(error))
            return {"CANCELLED"}
        runtime.redraw()
        return {"FINISHED"}

    def change(self, record: Record, points: tuple[str, ...]) -> Change:
        """Return what becomes of the record."""
        raise NotImplementedError


class SelectionOperator(KeypointOperator):
    """An edit of the selected keypoints."""

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only with a body that has selected keypoints."""
        if not super().poll(context):
            return False
        if not chosen_points(context, find_body(context)):
            cls.poll_message_set(iface("Select a keypoint: in the panel's list, on the photograph, or by its handle"))
            return False
        return True


def _edit(record: Record, point: str) -> KeypointEdit:
    return record.edits.get(point, KeypointEdit())


def is_locked(record: Record, point: str) -> bool:
    """Return whether a point is locked."""
    return _edit(record, point).is_locked


def is_muted(record: Record, point: str) -> bool:
    """Return whether the user has muted a point."""
    return _edit(record, point).is_muted


def toggle_lock(record: Record, points: tuple[str, ...]) -> Change:
    """Return the change that locks points, or lets them go when all of them are locked."""
    wanted = not all(is_locked(record, point) for point in points)
    return lambda record: keypoints.lock(record, points, is_locked=wanted)


def toggle_mute(record: Record, points: tuple[str, ...]) -> Change:
    """Return the change that mutes points, or gives them their say again when all of them are muted."""
    wanted = not all(is_muted(record, point) for point in points)
    return lambda record: keypoints.mute(record, points, is_muted=wanted)


def toggle_solo(record: Record, points: tuple[str, ...]) -> Change:
    """Return the change that lets only points count, or all again when just these do."""
    wanted = () if set(record.solo) == set(points) else points
    return lambda record: keypoints.solo(record, wanted)


class IKOL_OT_lock_points(SelectionOperator, bpy.types.Operator):
    """The command *Lock Keypoints*."""

    bl_idname = "ikol.lock_points"
    bl_label = "Lock Keypoints"
    bl_description = (
        "Hold the selected keypoints exactly where they are, as far as the body reaches; again: let them go. "
        "What is out of reach is listed under Solve with its distance"
    )

    def change(self, record: Record, points: tuple[str, ...]) -> Change:
        """Lock, or let go."""
        return toggle_lock(record, points)


class IKOL_OT_mute_points(SelectionOperator, bpy.types.Operator):
    """The command *Mute Keypoints*."""

    bl_idname = "ikol.mute_points"
    bl_label = "Mute Keypoints"
    bl_description = "Let the selected keypoints have no say, but keep what is known of them; again: let them count"

    def change(self, record: Record, points: tuple[str, ...]) -> Change:
        """Mute, or give the say back."""
        return toggle_mute(record, points)


class IKOL_OT_solo_points(SelectionOperator, bpy.types.Operator):
    """The command *Solo Keypoints*."""

    bl_idname = "ikol.solo_points"
    bl_label = "Solo Keypoints"
    bl_description = "Let only the selected keypoints count; again: let all of them count"

    def change(self, record: Record, points: tuple[str, ...]) -> Change:
        """Only these, or all."""
        return toggle_solo(record, points)


class IKOL_OT_remove_points(SelectionOperator, bpy.types.Operator):
    """The command *Remove Keypoints*."""

    bl_idname = "ikol.remove_points"
    bl_label = "Remove Keypoints"
    bl_description = "Take the selected keypoints off the picture: they have no say and are not shown"

    def change(self, _record: Record, points: tuple[str, ...]) -> Change:
        """Remove."""
        return lambda record: keypoints.remove(record, points)


class IKOL_OT_reset_points(SelectionOperator, bpy.types.Operator):
    """The command *Reset Keypoints*."""

    bl_idname = "ikol.reset_points"
    bl_label = "Reset Keypoints"
    bl_description = "Forget place, tolerance, lock and mute of the selected keypoints: what was detected counts again"

    def change(self, _record: Record, points: tuple[str, ...]) -> Change:
        """Reset."""
        return lambda record: keypoints.reset(record, points)


class IKOL_OT_restore_points(KeypointOperator, bpy.types.Operator):
    """The command *Restore Removed Keypoints*."""

    bl_idname = "ikol.restore_points"
    bl_label = "Restore Removed Keypoints"
    bl_description = "Bring all removed keypoints back to where they were detected"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only when some are removed."""
        if not super().poll(context):
            return False
        try:
            has_removed = any(edit.is_removed for edit in read_record(find_body(context)).edits.values())
        except AddonError as error:
            cls.poll_message_set(runtime.sentence(error))
            return False
        if not has_removed:
            cls.poll_message_set(iface("No keypoint has been removed"))
        return has_removed

    def change(self, _record: Record, _points: tuple[str, ...]) -> Change:
        """Bring back."""
        return keypoints.restore


class IKOL_OT_toggle_point(KeypointOperator, bpy.types.Operator):
    """Mute or lock one keypoint of the list."""

    bl_idname = "ikol.toggle_point"
    bl_label = "Toggle Keypoint"
    bl_options = {"REGISTER", "INTERNAL"}

    point: StringProperty(name="Point", description="A point of the body", options={"SKIP_SAVE"})
    action: EnumProperty(
        name="Action",
        description="What is switched on or off",
        items=[
            ("LOCK", "Lock", "Hold it exactly where it is, as far as the body reaches, or let it go"),
            ("MUTE", "Mute", "Let it have no say, or let it count again"),
        ],
    )

    @classmethod
    def description(cls, _context: bpy.types.Context, properties: "bpy.types.OperatorProperties") -> str:
        """Return what this button does."""
        return iface(properties.bl_rna.properties["action"].enum_items[properties.action].description)

    def change(self, record: Record, _points: tuple[str, ...]) -> Change:
        """Switch it."""
        toggle = toggle_lock if self.action == "LOCK" else toggle_mute
        return toggle(record, (self.point,))


class IKOL_OT_apply_preset(KeypointOperator, bpy.types.Operator):
    """The command *Apply Keypoint Preset*."""

    bl_idname = "ikol.apply_preset"
    bl_label = "Apply Keypoint Preset"
    bl_description = "Give all keypoints of the body a set of weights and locks"

    preset: EnumProperty(
        name="Preset",
        description="A set of weights and locks",
        items=[(name, preset.label, preset.description) for name, preset in PRESETS.items()],
    )

    @classmethod
    def description(cls, _context: bpy.types.Context, properties: "bpy.types.OperatorProperties") -> str:
        """Return what this preset does."""
        return iface(PRESETS[properties.preset].description)

    def change(self, _record: Record, _points: tuple[str, ...]) -> Change:
        """Apply it."""
        return PRESETS[self.preset].apply
