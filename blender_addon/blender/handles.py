# SPDX-License-Identifier: GPL-3.0-or-later
"""The handles as empties in the scene: one for a joint, moved and turned by the user with Blender's own tools.

A handle stands in the frame of its body: it is a child of the root bone, so that it goes along when the body is moved,
and its own location is the joint's place in the body's axes. It remembers where the add-on put it; one that is
elsewhere was moved. One that has constraints, keys or another parent belongs to the user: it is read, never written.
"""

from collections.abc import Iterable, Mapping

import bpy
from mathutils import Matrix, Quaternion

from ..core.handles import HANDLE_OF_POINT, HANDLES, Handle, Placement, heard_edit, placements, with_handles
from ..core.keypoints import STATE_COLORS, keypoint_state
from ..core.pose_conversion import as_quaternion, as_vector, to_blender, to_smpl, turn_to_blender, turn_to_smpl
from ..core.record import Record
from ..core.rig import BODY_PROPERTY, HANDLE_COLLECTION, POINT_PROPERTY, ROOT_BONE, handle_object_name
from .bodies import body_to_world, handle_body

PLACED_PROPERTY = "ikol_placed"
"""On a handle: position and quaternion (SMPL world) where it was put."""


def find_handles(scene: bpy.types.Scene, armature: bpy.types.Object) -> dict[str, bpy.types.Object]:
    """Return the handles of a body by the joint that each stands for; of two for one joint, the first by name."""
    found: dict[str, bpy.types.Object] = {}
    for thing in scene.objects:
        if thing.type == "EMPTY" and handle_body(thing) == armature:
            point = str(thing[POINT_PROPERTY])
            if point not in found or thing.name < found[point].name:
                found[point] = thing
    return found


def is_driven(thing: bpy.types.Object, armature: bpy.types.Object) -> bool:
    """Whether something else than the mouse says where a handle is: constraints, keys, drivers, another parent."""
    animation = thing.animation_data
    return (
        thing.parent != armature
        or any(not constraint.mute for constraint in thing.constraints)
        or (animation is not None and (animation.action is not None or bool(animation.drivers)))
    )


def read_handles(armature: bpy.types.Object, handles: Mapping[str, bpy.types.Object]) -> dict[str, Placement]:
    """Return where handles are in the SMPL world of the body, constraints and parents included.

    For those that something drives the scene must be up to date: their matrices are of Blender's last evaluation. The
    others stand in the body's frame already, and are read also while they are hidden, when Blender evaluates nothing.
    """
    found: dict[str, Placement] = {}
    to_body: Matrix | None = None
    for point, thing in handles.items():
        if is_driven(thing, armature):
            to_body = to_body or Matrix(body_to_world(armature).tolist()).inverted_safe()
            found[point] = _placement(to_body @ thing.matrix_world)
        else:
            found[point] = _placement(thing.matrix_basis)
    return found


def _placement(matrix: Matrix) -> Placement:
    quat = matrix.to_quaternion()
    return Placement(as_vector(to_smpl(tuple(matrix.translation))), turn_to_smpl(as_quaternion(quat)))


def placed_handles(handles: Mapping[str, bpy.types.Object]) -> dict[str, Placement]:
    """Return where handles were put; without those that do not know it."""
    kept = {point: tuple(thing.get(PLACED_PROPERTY, ())) for point, thing in handles.items()}
    return {
        point: Placement(as_vector(values[:3]), as_quaternion(values[3:]))
        for point, values in kept.items()
        if len(values) == 7
    }


def record_with_handles(context: bpy.types.Context, armature: bpy.types.Object, record: Record) -> Record:
    """Return the record with the handles that the user has moved since they were placed."""
    context.view_layer.update()  # an object moved by a script has its old matrix until then
    handles = find_handles(context.scene, armature)
    return with_handles(record, placed_handles(handles), read_handles(armature, handles))


def place_handle(thing: bpy.types.Object, at: Placement) -> None:
    """Put a handle somewhere, in the rotation mode that it has."""
    thing.location = to_blender(at.position).tolist()
    turned = Quaternion(turn_to_blender(at.quat))
    if thing.rotation_mode == "QUATERNION":
        turned.make_compatible(thing.rotation_quaternion)
        thing.rotation_quaternion = turned
    elif thing.rotation_mode == "AXIS_ANGLE":
        axis, angle = turned.to_axis_angle()
        thing.rotation_axis_angle = (angle, *axis)
    else:
        thing.rotation_euler = turned.to_euler(thing.rotation_mode, thing.rotation_euler)
    note_placed(thing, at)


def note_placed(thing: bpy.types.Object, at: Placement) -> None:
    """Take note that a handle is where it belongs, whoever put it there."""
    thing[PLACED_PROPERTY] = (*at.position, *at.quat)


def show_handles(context: bpy.types.Context, armature: bpy.types.Object, record: Record) -> None:
    """Make the body's handles those of the record: at their places, in the colours of their states."""
    wanted = placements(record)
    existing = find_handles(context.scene, armature)
    for point in set(existing) - set(HANDLE_OF_POINT):  # landmarks, of a file by an older add-on
        bpy.data.objects.remove(existing.pop(point))
    collection = None
    for handle in HANDLES:
        if handle.point not in wanted:
            continue
        thing = existing.get(handle.point)
        if thing is None:
            collection = collection or _collection(context.scene, armature)
            thing = _new_handle(collection, armature, handle)
        if not is_driven(thing, armature):
            place_handle(thing, wanted[handle.point])
        _color(thing, record, handle.point)
    context.view_layer.update()


def follow_bones(scene: bpy.types.Scene, armature: bpy.types.Object, record: Record) -> None:
    """Put the handles that nobody has placed on the joints of the bones, as keys or the user have posed them."""
    root = armature.pose.bones[ROOT_BONE]
    to_body = (root.matrix @ root.bone.matrix_local.inverted()).inverted_safe()
    handles = find_handles(scene, armature)
    placed = placed_handles(handles)
    for point, thing in handles.items():
        if point not in HANDLE_OF_POINT or is_driven(thing, armature):
            continue
        edit = heard_edit(record, point)
        bone = armature.pose.bones[point]
        joint = _placement(to_body @ bone.matrix @ bone.bone.matrix_local.inverted())
        at = Placement(edit.position or as_vector(to_smpl(tuple(to_body @ bone.head))), edit.orientation or joint.quat)
        if point not in placed or at.is_moved_from(placed[point]) or at.is_turned_from(placed[point]):
            place_handle(thing, at)


def color_handles(scene: bpy.types.Scene, armature: bpy.types.Object, record: Record) -> None:
    """Show by their colours what the handles are: locked, muted, placed by the user."""
    for point, thing in find_handles(scene, armature).items():
        _color(thing, record, point)


def _color(thing: bpy.types.Object, record: Record, point: str) -> None:
    thing.color = STATE_COLORS[keypoint_state(record, point)]


def _collection(scene: bpy.types.Scene, armature: bpy.types.Object) -> bpy.types.Collection:
    """Return the collection of the body's handles, beside the armature's own."""
    name = f"{armature.name} {HANDLE_COLLECTION}"
    collection = bpy.data.collections.get(name) or bpy.data.collections.new(name)
    if collection not in scene.collection.children_recursive:
        scene.collection.children.link(collection)
    return collection


def _new_handle(collection: bpy.types.Collection, armature: bpy.types.Object, handle: Handle) -> bpy.types.Object:
    thing = bpy.data.objects.new(handle_object_name(handle.label), None)
    collection.objects.link(thing)
    thing[POINT_PROPERTY] = handle.point
    thing[BODY_PROPERTY] = armature
    thing.parent, thing.parent_type, thing.parent_bone = armature, "BONE", ROOT_BONE
    root = armature.data.bones[ROOT_BONE]  # a child of a bone hangs from its tail
    thing.matrix_parent_inverse = (root.matrix_local @ Matrix.Translation((0.0, root.length, 0.0))).inverted()
    thing.rotation_mode = "QUATERNION"
    thing.empty_display_type, thing.empty_display_size = handle.shape, handle.size
    thing.show_in_front = True  # most of them lie inside the body
    thing.lock_scale = (True, True, True)
    return thing


def handle_points(things: Iterable[bpy.types.Object], armature: bpy.types.Object) -> set[str]:
    """Return the joints whose handles are among some objects."""
    return {str(thing[POINT_PROPERTY]) for thing in things if handle_body(thing) == armature}
