# SPDX-License-Identifier: GPL-3.0-or-later
"""Finding the add-on's armatures in the scene, where they stand, and what is stored on them."""

from collections.abc import Sequence

import bpy
import numpy as np

from ..core.body import FloatArray
from ..core.errors import SceneError
from ..core.record import Record, decode_record, encode_record
from ..core.rig import BODY_PROPERTY, CAMERA_PROPERTY, EVIDENCE_PROPERTY, POINT_PROPERTY, ROOT_BONE, tree_of_bones


def is_body(candidate: bpy.types.Object | None) -> bool:
    """Return whether the object is an armature with stored evidence."""
    return candidate is not None and candidate.type == "ARMATURE" and EVIDENCE_PROPERTY in candidate


def handle_body(thing: bpy.types.Object) -> bpy.types.Object | None:
    """Return the armature that a handle is for; None for anything else.

    A pointer and not only the parent: a handle may be parented to a prop. Blender turns the pointers of copies to the
    copied armature.
    """
    if POINT_PROPERTY not in thing:
        return None
    body = thing.get(BODY_PROPERTY)
    return body if isinstance(body, bpy.types.Object) else thing.parent


def find_bodies(scene: bpy.types.Scene) -> list[bpy.types.Object]:
    """Return the armatures of a scene that have evidence."""
    return [candidate for candidate in scene.objects if is_body(candidate)]


def find_body(context: bpy.types.Context) -> bpy.types.Object | None:
    """Return the armature that a command is for.

    That is the active object or the armature that it belongs to (its mesh or a handle may be active), else the only
    one of the scene.
    """
    candidate = context.view_layer.objects.active
    seen: set[bpy.types.Object] = set()  # in a file of somebody else's, handles may name each other
    while candidate is not None and candidate not in seen:
        if is_body(candidate) and is_in_scene(candidate):
            return candidate
        seen.add(candidate)
        candidate = handle_body(candidate) or candidate.parent
    bodies = find_bodies(context.scene)
    return bodies[0] if len(bodies) == 1 else None


def is_in_scene(thing: bpy.types.Object) -> bool:
    """Return whether an object is in any scene: a deleted one stays in the file while a property points to it."""
    by_name = any(scene.objects.get(thing.name) == thing for scene in bpy.data.scenes)
    return by_name or bool(thing.users_scene)  # slow, and only asked of deleted and of linked objects


def get_body(name: str) -> bpy.types.Object:
    """Return the armature of that name.

    Raises:
        SceneError: It is gone, or bones of it are.
    """
    armature = bpy.data.objects.get(name)
    if armature is None or armature.type != "ARMATURE" or not is_in_scene(armature):
        raise SceneError(f"the armature {name} is gone; nothing was changed")
    check_bones(armature)
    return armature


def check_bones(armature: bpy.types.Object) -> None:
    """Check that the body has its bones.

    Raises:
        SceneError: One was deleted or renamed.
    """
    names = armature.pose.bones.keys()
    missing = [bone for bone in (ROOT_BONE, *tree_of_bones(names).names) if bone not in names]
    if missing:
        raise SceneError(
            f"the armature {armature.name} lacks the bone {missing[0]}; run Pose from Image for a new body"
        )


def read_record(armature: bpy.types.Object) -> Record:
    """Return what is stored on the armature.

    Raises:
        EvidenceError: It cannot be read.
    """
    return decode_record(str(armature[EVIDENCE_PROPERTY]))


def write_record(armature: bpy.types.Object, record: Record) -> None:
    """Store a record on the armature; a library override of it can keep another one."""
    armature[EVIDENCE_PROPERTY] = encode_record(record)
    if armature.override_library is None:
        armature.property_overridable_library_set(f'["{EVIDENCE_PROPERTY}"]', True)


def body_camera(armature: bpy.types.Object) -> bpy.types.Object | None:
    """Return the camera that sees the person as the photograph did, if it is still there."""
    return _camera(armature, CAMERA_PROPERTY)


def picture_camera(armature: bpy.types.Object, number: int) -> bpy.types.Object | None:
    """Return the camera of one of several pictures of the pose, if it is still there."""
    return _camera(armature, f"{CAMERA_PROPERTY}_{number}")


def give_cameras(armature: bpy.types.Object, cameras: Sequence[bpy.types.Object]) -> None:
    """Let a body have the camera of each picture of its pose; that of the first is looked through."""
    for name in [name for name in armature.keys() if name.startswith(CAMERA_PROPERTY)]:  # noqa: SIM118
        del armature[name]
    for camera in cameras[:1]:
        armature[CAMERA_PROPERTY] = camera
    for number, camera in enumerate(cameras if len(cameras) > 1 else ()):
        armature[f"{CAMERA_PROPERTY}_{number}"] = camera


def _camera(armature: bpy.types.Object, name: str) -> bpy.types.Object | None:
    camera = armature.get(name)
    if not isinstance(camera, bpy.types.Object) or camera.type != "CAMERA" or not is_in_scene(camera):
        return None
    return camera


def body_to_world(armature: bpy.types.Object) -> FloatArray:
    """Return the 4x4 matrix of the body's place in the scene: of the armature, moved on by its root bone.

    Raises:
        SceneError: A bone is gone.
    """
    check_bones(armature)
    root = armature.pose.bones[ROOT_BONE]
    return np.array(armature.matrix_world @ root.matrix @ root.bone.matrix_local.inverted())
