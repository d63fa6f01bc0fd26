# SPDX-License-Identifier: GPL-3.0-or-later
"""The photograph of the body that a rig is posed like, and the camera that sees the rig on it."""

import bpy
import numpy as np

from ..core.errors import SceneError
from ..core.pose_conversion import to_smpl
from ..core.record import PhotoCamera
from ..core.rig_bones import FloatArray
from ..core.rig_job import Placement
from ..core.rig_photo import Shot
from ..core.rig_skeleton import Posed
from .armature import link_visibly
from .bodies import body_camera, body_to_world, is_body, read_record
from .camera import current_photo_camera, look_through, place_camera
from .handles import find_handles, record_with_handles

RIGID = 1e-3
"""Relative: how far a rig's scales along its axes may differ for its camera to see what it does."""


def read_shot(
    context: bpy.types.Context, source: bpy.types.Object, pose: Posed, placement: Placement
) -> tuple[Shot | None, str]:
    """Return the photograph that a body was posed from; else None, and why it has no say where that is not obvious.

    Args:
        context: For the scene. With *Scene Camera* chosen the camera stays where it is, and so does the floor.
        source: What the rig is posed like.
        pose: The source's, in the scene.
        placement: Of the rig in the scene.
    """
    camera = body_camera(source) if is_body(source) else None
    if camera is None or context.scene.ikol.camera == "SCENE":
        return None, ""
    linear = placement.matrix[:3, :3]
    if placement.is_mirrored or float(np.abs(linear @ linear.T - np.eye(3)).max()) > RIGID:
        return None, "the rig is mirrored or scaled unevenly"
    record = record_with_handles(context, source, read_record(source))
    try:
        photo = current_photo_camera(source, record)
    except SceneError:
        return None, "the body is mirrored or scaled unevenly"
    if photo is None or photo.rotation is None:
        return None, ""
    shot = Shot(record, photo, _to_scene(source))
    if not shot.shows(pose):
        return None, "the body was posed otherwise since; use Re-solve"
    return shot, ""


def _to_scene(source: bpy.types.Object) -> FloatArray:
    """Return the matrix (4, 4) from a body's SMPL world to the scene with Y up."""
    upright = np.eye(4)
    upright[:3, :3] = to_smpl(np.eye(3)).T
    return upright @ body_to_world(source) @ upright.T


def show_camera(
    context: bpy.types.Context, rig: bpy.types.Object, source: bpy.types.Object, photo: PhotoCamera
) -> None:
    """Give the rig its camera, a copy of the body's with the photograph behind, and look through it."""
    pattern = body_camera(source)
    if pattern is None:
        raise SceneError(f"the camera of {source.name} is gone; the rig is posed, and has none")
    camera, data = rig.ikol_rig.camera, pattern.data.copy()
    if camera is None or camera.name not in context.view_layer.objects:
        camera = bpy.data.objects.new(f"{pattern.name} {rig.name}", data)
        link_visibly(context, camera)
        rig.ikol_rig.camera = camera
    else:
        old, camera.data = camera.data, data
        if not old.users:
            bpy.data.cameras.remove(old)
    place_camera(context, camera, photo, np.eye(4))
    camera.hide_set(False)  # Blender shows no photograph behind a camera that is hidden
    if context.scene.camera != camera:  # a view that the user has moved nearer stays so
        context.scene.camera = camera
        look_through(context)


def show_source(context: bpy.types.Context, source: bpy.types.Object, *, is_visible: bool) -> None:
    """Show or hide a body, its mesh, its handles and its camera: the rig stands in the same place, with its own."""
    handles = find_handles(context.scene, source).values()
    for thing in (source, *source.children_recursive, *handles, body_camera(source)):
        if thing is not None and thing.name in context.view_layer.objects:
            thing.hide_set(not is_visible)
