# SPDX-License-Identifier: GPL-3.0-or-later
"""Looking at a body as its photograph did."""

import bpy
from bpy.props import IntProperty

from ..core import pictures
from ..core.errors import AddonError, SceneError
from ..core.record import Record
from ..core.rig import CAMERA_PROPERTY
from . import live_edit, runtime
from .bodies import body_camera, find_body, picture_camera, read_record, write_record
from .camera import current_picture_cameras, look_through, take_shape
from .live import let_go
from .text import iface


class PhotoCameraOperator:
    """Mixin: a command that needs a body with the camera of its photograph."""

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only with a body whose camera is there."""
        armature = find_body(context)
        if armature is None:
            cls.poll_message_set(iface("Select a body that was made by Pose from Image"))
            return False
        if body_camera(armature) is None:
            cls.poll_message_set(iface("This body was not made from a photograph, or its camera was deleted"))
            return False
        return True


class IKOL_OT_look_through(PhotoCameraOperator, bpy.types.Operator):
    """The command *Look Through Photo Camera*."""

    bl_idname = "ikol.look_through"
    bl_label = "Look Through Photo Camera"
    bl_description = "Show the body in the 3D view as its photograph does, with the photograph behind it"

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Make the body's camera the scene's, which is rendered in the picture's shape, and look through it."""
        armature = find_body(context)
        try:
            look_at_photo(context, armature, read_record(armature))
        except AddonError as error:
            self.report({"ERROR"}, runtime.sentence(error))
            return {"CANCELLED"}
        return {"FINISHED"}


class IKOL_OT_show_picture(bpy.types.Operator):
    """The command *Show Picture*: of several pictures of one pose, the one that is edited."""

    bl_idname = "ikol.show_picture"
    bl_label = "Show Picture"
    bl_description = (
        "Look through this photograph's camera and edit its keypoints; those placed on the others go on to count"
    )
    bl_options = {"REGISTER", "UNDO"}

    number: IntProperty(name="Picture", description="Which of the pictures of the pose, from 0", min=0)

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only with a body."""
        if find_body(context) is None:
            cls.poll_message_set(iface("Select a body that was made by Pose from Image"))
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Show the picture."""
        try:
            show_picture(context, find_body(context), self.number)
        except AddonError as error:
            self.report({"ERROR"}, runtime.sentence(error))
            return {"CANCELLED"}
        runtime.redraw()
        return {"FINISHED"}


def show_picture(context: bpy.types.Context, armature: bpy.types.Object, number: int) -> None:
    """Have another of a pose's pictures looked at and edited; the pose stays.

    Raises:
        AddonError: There is no such picture, or its camera is gone.
    """
    live_edit.finish()
    let_go(armature)  # an answer that is still due was asked with the keypoints of the picture before
    record = read_record(armature)
    if number >= len(record.pictures):
        raise SceneError(f"{armature.name} has no picture {number + 1}; it was made from {record.source}")
    camera = picture_camera(armature, number)
    if camera is None:
        name = record.pictures[number].name
        raise SceneError(f"the camera of {name} was deleted; undo that, or choose another picture")
    record = pictures.show_picture(record, number, current_picture_cameras(armature, record))
    write_record(armature, record)
    armature[CAMERA_PROPERTY] = camera
    look_at_photo(context, armature, record)


def look_at_photo(context: bpy.types.Context, armature: bpy.types.Object, record: Record) -> None:
    """Make a body's camera the scene's, which is rendered in the picture's shape, and look through it."""
    context.scene.camera = body_camera(armature)
    if record.camera is not None:
        take_shape(context.scene, record.camera)
    look_through(context)
