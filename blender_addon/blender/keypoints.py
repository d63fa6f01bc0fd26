# SPDX-License-Identifier: GPL-3.0-or-later
"""The keypoints of the evidence as empties in the scene: shown where the solver put them, moved by the user.

Each belongs to its armature (it is its child) and remembers where it was put: one that is elsewhere was moved.
"""

from collections.abc import Mapping

import bpy
import numpy as np
from mathutils import Matrix, Vector

from ..core.pose_conversion import as_vector, body_to_scene, scene_to_body
from ..core.record import Record, Vector3, keypoint_names
from ..core.rig import KEYPOINT_COLLECTION, POINT_PROPERTY, keypoint_object_name
from .bodies import body_to_world

PLACED_PROPERTY = "ikol_placed"
"""On a keypoint: its location when it was put there."""

MOVED_METRES = 1e-4
"""A keypoint farther from where it was put has been moved; float32 and the armature's matrix stay a hundred below."""

CERTAIN = 0.5
"""Confidence from which a keypoint is drawn as a sphere; a guess is drawn as a cross."""

DISPLAY_SIZE = 0.02
"""Metres, the radius: well seen on a full-body photograph (0.015 was not); landmarks of a hand are 0.06 apart."""


def find_keypoints(armature: bpy.types.Object) -> dict[str, bpy.types.Object]:
    """Return the keypoint objects of an armature by the point that each stands for."""
    return {child[POINT_PROPERTY]: child for child in armature.children if POINT_PROPERTY in child}


def read_edits(context: bpy.types.Context, armature: bpy.types.Object, record: Record) -> dict[str, Vector3]:
    """Return the keypoints that the user has placed, now or before, where they are now (SMPL world)."""
    context.view_layer.update()  # an object moved by a script has its old matrix until then
    place = body_to_world(armature)
    edits: dict[str, Vector3] = {}
    for point, thing in find_keypoints(armature).items():
        if point in record.edits or _is_moved(thing):
            edits[point] = as_vector(scene_to_body(thing.matrix_world.translation, place))
    return edits


def _is_moved(thing: bpy.types.Object) -> bool:
    placed = thing.get(PLACED_PROPERTY)
    if placed is None:
        return False
    return (thing.location - Vector(placed)).length > MOVED_METRES


def show_keypoints(context: bpy.types.Context, armature: bpy.types.Object, record: Record) -> None:
    """Make the armature's keypoint objects those of the record, at their solved or user-given places."""
    context.view_layer.update()
    existing = find_keypoints(armature)
    names = [name for name in keypoint_names(record.evidence) if name in record.solution.points]
    for name in set(existing) - set(names):
        bpy.data.objects.remove(existing[name])
    collection = _collection(context.scene) if names else None
    to_local = armature.matrix_world.inverted()
    place = body_to_world(armature)
    positions: Mapping[str, Vector3] = {
        **record.solution.points,
        **{name: edit.position for name, edit in record.edits.items() if edit.position is not None},
    }
    for name in names:
        thing = existing.get(name) or _new_keypoint(collection, armature, name)
        _put(thing, to_local, body_to_scene(positions[name], place))
        _dress(thing, record.confidence.get(name, 1.0), is_edited=name in record.edits)


def _collection(scene: bpy.types.Scene) -> bpy.types.Collection:
    collection = bpy.data.collections.get(KEYPOINT_COLLECTION)
    if collection is None:
        collection = bpy.data.collections.new(KEYPOINT_COLLECTION)
    if collection.name not in scene.collection.children:
        scene.collection.children.link(collection)
    return collection


def _new_keypoint(collection: bpy.types.Collection, armature: bpy.types.Object, point: str) -> bpy.types.Object:
    thing = bpy.data.objects.new(keypoint_object_name(point), None)
    collection.objects.link(thing)
    thing[POINT_PROPERTY] = point
    thing.parent = armature
    thing.matrix_parent_inverse = Matrix.Identity(4)
    thing.show_in_front = True  # most of them lie inside the body
    thing.empty_display_size = DISPLAY_SIZE
    return thing


def _put(thing: bpy.types.Object, to_local: Matrix, position: np.ndarray) -> None:
    thing.location = to_local @ Vector(position.tolist())
    thing[PLACED_PROPERTY] = tuple(thing.location)


def _dress(thing: bpy.types.Object, confidence: float, is_edited: bool) -> None:
    """Tell by shape (and by colour, where a view shows object colours) what may be trusted."""
    if is_edited:
        thing.empty_display_type, thing.color = "CUBE", (0.1, 0.4, 1.0, 1.0)
        return
    thing.empty_display_type = "SPHERE" if confidence >= CERTAIN else "PLAIN_AXES"
    certainty = min(max(confidence, 0.0), 1.0)
    thing.color = (1.0 - certainty, certainty, 0.0, 1.0)
