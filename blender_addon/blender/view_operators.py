# SPDX-License-Identifier: GPL-3.0-or-later
"""Looking at a body as its photograph did."""

import bpy

from .bodies import body_camera, find_body
from .camera import look_through
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
        """Make the body's camera the scene's and look through it."""
        context.scene.camera = body_camera(find_body(context))
        look_through(context)
        return {"FINISHED"}
