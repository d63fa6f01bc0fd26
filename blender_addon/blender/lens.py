# SPDX-License-Identifier: GPL-3.0-or-later
"""Which camera has taken a picture, by the panel's choices: a new one, or one that stands in the scene."""

import os
from collections.abc import Sequence
from pathlib import Path

import bpy
import numpy as np
from msgspec.structs import replace

from ..core.body import FloatArray
from ..core.errors import SceneError
from ..core.photo import Orientation
from ..core.picture_jobs import Lens
from ..core.record import PhotoCamera
from .bodies import body_to_world
from .camera import check_pinhole, get_camera, photo_camera, picture_size, scene_camera, shown_files


def body_place(armature: bpy.types.Object | None) -> FloatArray:
    """Return where the body stands that gets a pose (`body_to_world`); a new one, None, where the scene begins."""
    return np.eye(4) if armature is None else body_to_world(armature)


def choose_lens(
    context: bpy.types.Context, place: FloatArray, path: Path, orientation: Orientation
) -> tuple[Lens, float | None]:
    """Return which camera has taken the picture, by the panel's choices, and its focal length where that is known.

    Args:
        context: For the scene.
        place: Where the body stands that gets the pose (`body_place`).
        path: The picture file.
        orientation: How it must be turned.
    """
    name = None if context.scene.ikol.camera == "NEW" else scene_camera(context).name
    return lens_of(context, name, place, path, orientation)


def lens_of(
    context: bpy.types.Context, name: str | None, place: FloatArray, path: Path, orientation: Orientation
) -> tuple[Lens, float | None]:
    """Return a lens as `choose_lens` does, of the camera of that name; None for a new camera."""
    distortion = tuple(context.scene.ikol.distortion)
    if name is None:
        return (lambda told: replace(told, distortion=distortion)), None

    def lens(told: PhotoCamera) -> PhotoCamera:
        # looked up again: while the solver looks for persons the user may remove the camera, or undo
        return replace(photo_camera(get_camera(name), told, place), distortion=distortion)

    size = picture_size(path, orientation)
    return lens, None if size is None else lens(PhotoCamera(*size, 1.0, 1.0, 0.0, 0.0)).focal_x


def match_cameras(context: bpy.types.Context, paths: Sequence[Path]) -> list[str]:
    """Return the name of the scene's camera that has taken each picture: which shows it, else which is named so.

    Raises:
        SceneError: A picture has no camera or several, a camera has two pictures or shares its data with another
            one that has taken one, or it is no pinhole.
    """
    cameras = [thing for thing in context.scene.objects if thing.type == "CAMERA"]
    shown = [shown_files(camera.data) for camera in cameras]
    taken: dict[str, Path] = {}
    owners: dict[bpy.types.Camera, str] = {}
    for path in paths:
        file, names = os.path.realpath(path), {path.name.casefold(), path.stem.casefold()}
        found = [camera for camera, files in zip(cameras, shown, strict=True) if file in files]
        found = found or [camera for camera in cameras if camera.name.casefold() in names]
        camera = _only(found, path)
        check_pinhole(camera)
        if camera.name in taken:
            raise SceneError(
                f"the camera {camera.name} cannot have taken both {taken[camera.name].name} and {path.name}; give each "
                "picture a camera of its own, or choose New Camera"
            )
        owner = owners.setdefault(camera.data, camera.name)
        if owner != camera.name:
            raise SceneError(
                f"the cameras {owner} and {camera.name} share what is behind them; make {camera.name} a single user of "
                "its data, or choose New Camera"
            )
        taken[camera.name] = path
    return list(taken)


def _only(found: Sequence[bpy.types.Object], path: Path) -> bpy.types.Object:
    """Return the one camera that has taken a picture.

    Raises:
        SceneError: There is none, or more than one.
    """
    if not found:
        raise SceneError(
            f"no camera of the scene has taken {path.name}: name one {path.stem}, or give it the picture as its "
            "background; or choose New Camera"
        )
    if len(found) > 1:
        names = " and ".join(camera.name for camera in found)
        raise SceneError(
            f"several cameras of the scene have taken {path.name}: {names}; give the picture to only one as its "
            "background, or choose New Camera"
        )
    return found[0]
