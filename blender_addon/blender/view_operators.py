# SPDX-License-Identifier: GPL-3.0-or-later
"""Looking at a body as its photograph did."""

import bpy

from ..core.errors import AddonError
from . import runtime
from .bodies import body_camera, find_body, read_record
from .camera import look_through, take_shape
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
            photo = read_record(armature).camera
        except AddonError as error:
            self.report({"ERROR"}, runtime.sentence(error))
            return {"CANCELLED"}
        context.scene.camera = body_camera(armature)
        if photo is not None:
            take_shape(context.scene, photo)
        look_through(context)
        return {"FINISHED"}
