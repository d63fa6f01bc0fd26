# SPDX-License-Identifier: GPL-3.0-or-later
"""The photograph of the body that a rig is posed like, and the camera that sees the rig on it."""

from collections.abc import Sequence

import bpy
import numpy as np

from ..core.errors import SceneError
from ..core.pose_conversion import to_smpl
from ..core.record import PhotoCamera
from ..core.rig_bones import FloatArray
from ..core.rig_photo import Shot
from ..core.rig_picture import camera_in
from ..core.rig_placement import Placement
from .armature import link_visibly
from .bodies import body_camera, body_to_world, is_body, read_record
from .camera import current_photo_camera, look_through, place_camera
from .handles import find_handles, record_with_handles

RIGID = 1e-3
"""Relative: how far a rig's scales along its axes may differ for its camera to see what it does."""

STILL = 1e-4
"""Metres and radians: a camera that moves by less from frame to frame stands still; Blender's matrices are float32."""


def read_shots(
    context: bpy.types.Context, source: bpy.types.Object, frames: Sequence[int], placement: Placement
) -> tuple[tuple[Shot, ...], str]:
    """Return the photograph that a body was posed from, as it is on each frame; else none, and why if not obvious.

    Args:
        context: For the scene, whose frame is the same afterwards.
        source: What the rig is posed like.
        frames: On which keypoints, camera and body may be at different places.
        placement: Of the rig in the scene.
    """
    camera = body_camera(source) if is_body(source) else None
    if camera is None:
        return (), ""
    linear = placement.matrix[:3, :3]
    if float(np.abs(linear @ linear.T - np.eye(3)).max()) > RIGID:
        return (), "the rig is scaled unevenly; apply its scale (Ctrl+A)"
    record, scene, now = read_record(source), context.scene, context.scene.frame_current
    shots: list[Shot] = []
    try:
        for frame in frames:
            if frame != scene.frame_current:
                scene.frame_set(frame)
            placed = record_with_handles(context, source, record)
            photo = current_photo_camera(source, placed)
            if photo is None or photo.rotation is None:
                return (), ""
            shots.append(Shot(placed, photo, _to_scene(source), scene.ikol.camera == "SCENE"))
    except SceneError:
        return (), "the body is mirrored or scaled unevenly"
    finally:
        if scene.frame_current != now:
            scene.frame_set(now)
    if not shots[0].is_held and any(_has_moved(shot, shots[0]) for shot in shots):
        return (), "its camera moves; choose Scene Camera to keep it as it is"
    return tuple(shots), ""


def _has_moved(shot: Shot, first: Shot) -> bool:
    """Return whether the camera of a frame sees the scene in another way than that of the first."""
    here, there = (camera_in(one.camera, one.to_scene) for one in (shot, first))
    assert here.rotation is not None
    assert there.rotation is not None
    return not np.allclose(
        (*here.rotation, *(here.translation or ())), (*there.rotation, *(there.translation or ())), atol=STILL
    )


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
