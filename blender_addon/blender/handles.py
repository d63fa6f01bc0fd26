# SPDX-License-Identifier: GPL-3.0-or-later
"""The handles as empties in the scene: one for a joint, moved and turned by the user with Blender's own tools.

A handle stands in the frame of its body: it is a child of the root bone, so that it goes along when the body is moved,
and its own location is the joint's place in the body's axes. It remembers where the add-on put it; one that is
elsewhere was moved. One that has constraints, keys or another parent belongs to the user: it is read, never written.
"""

import math
from collections.abc import Iterable, Iterator, Mapping

import bpy
from mathutils import Matrix, Quaternion

from ..core.handles import (
    HANDLE_OF_POINT,
    HANDLES,
    Driven,
    Handle,
    Placement,
    heard_edit,
    placements,
    with_driven,
    with_handles,
)
from ..core.keypoints import STATE_COLORS, keypoint_state
from ..core.pose_conversion import as_quaternion, as_vector, to_blender, to_smpl, turn_to_blender, turn_to_smpl
from ..core.record import Record
from ..core.rig import BODY_PROPERTY, HANDLE_COLLECTION, POINT_PROPERTY, ROOT_BONE, handle_object_name
from .bodies import body_to_world, check_bones, handle_body
from .keys import animated_paths

PLACED_PROPERTY = "ikol_placed"
"""On a handle: position and quaternion (SMPL world) where it was put."""


def find_handles(scene: bpy.types.Scene, armature: bpy.types.Object) -> dict[str, bpy.types.Object]:
    """Return the handles of a body by the joint that each stands for; of two for one joint, the first by name."""
    found: dict[str, bpy.types.Object] = {}
    for thing in _empties(scene, armature):
        point = str(thing[POINT_PROPERTY])
        if point in HANDLE_OF_POINT and (point not in found or thing.name < found[point].name):
            found[point] = thing
    return found


def _empties(scene: bpy.types.Scene, armature: bpy.types.Object) -> Iterator[bpy.types.Object]:
    """Go through the handles of a body, with those of landmarks: a file by an older add-on has them."""
    return (thing for thing in scene.objects if thing.type == "EMPTY" and handle_body(thing) == armature)


def is_driven(thing: bpy.types.Object, armature: bpy.types.Object) -> bool:
    """Whether something else than the mouse says where a handle is: constraints, keys, drivers, another parent."""
    animation = thing.animation_data
    return (
        not _hangs_as_made(thing, armature)
        or any(not constraint.mute for constraint in thing.constraints)
        or (animation is not None and (animation.action is not None or bool(animation.drivers)))
        or bool(animated_paths(thing))
    )


def _hangs_as_made(thing: bpy.types.Object, armature: bpy.types.Object) -> bool:
    return thing.parent == armature and thing.parent_type == "BONE" and thing.parent_bone == ROOT_BONE


def find_driven(armature: bpy.types.Object, handles: Mapping[str, bpy.types.Object]) -> Driven:
    """Return which handles have their place, and which their rotation, from something else than the mouse.

    One that was only turned by keys or constraints says nothing of its place, and the other way round. One that is
    disabled in viewports says nothing: Blender does not evaluate it, and its matrix is of another time.
    """
    moved: set[str] = set()
    turned: set[str] = set()
    for point, thing in handles.items():
        if thing.hide_viewport or not is_driven(thing, armature):
            continue
        kinds = {constraint.type for constraint in thing.constraints if not constraint.mute and constraint.influence}
        paths = animated_paths(thing)
        hangs_elsewhere = not _hangs_as_made(thing, armature)
        if hangs_elsewhere or kinds - _ONLY_TURN or any("location" in path for path in paths):
            moved.add(point)
        is_turned = hangs_elsewhere or kinds - _ONLY_MOVE or any("rotation" in path for path in paths)
        if is_turned and HANDLE_OF_POINT[point].turns:
            turned.add(point)
    return Driven(frozenset(moved), frozenset(turned))


_ONLY_SCALE = {"COPY_SCALE", "LIMIT_SCALE", "MAINTAIN_VOLUME"}
_ONLY_TURN = {"COPY_ROTATION", "LIMIT_ROTATION", "TRACK_TO", "DAMPED_TRACK", "LOCKED_TRACK"} | _ONLY_SCALE
_ONLY_MOVE = {"COPY_LOCATION", "LIMIT_LOCATION", "LIMIT_DISTANCE", "FLOOR", "SHRINKWRAP", "CLAMP_TO"} | _ONLY_SCALE
"""Types of Blender's constraints; any other may do both."""


def with_driven_handles(body_name: str, names: Mapping[str, str], record: Record) -> Record:
    """Return the record with the places that driven handles have now, for a question that is asked now.

    Args:
        body_name: The name of the armature.
        names: The names of its handles, by joint.
        record: Evidence and edits.
    """
    armature = bpy.data.objects.get(body_name)
    if armature is None:
        return record
    objects = {point: bpy.data.objects.get(name) for point, name in names.items()}
    handles = {point: thing for point, thing in objects.items() if thing is not None}
    driven = find_driven(armature, handles)
    wanted = driven.moved | driven.turned
    if not wanted:
        return record
    return with_driven(record, read_handles(armature, {point: handles[point] for point in wanted}), driven)


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
    kept = {point: _stored_placement(thing) for point, thing in handles.items()}
    return {point: at for point, at in kept.items() if at is not None}


def _stored_placement(thing: bpy.types.Object) -> Placement | None:
    """Return where a handle says that it was put; a file may hold anything."""
    try:
        values = [float(value) for value in thing.get(PLACED_PROPERTY, ())]
    except (TypeError, ValueError):
        return None
    if len(values) != 7 or not all(map(math.isfinite, values)):
        return None
    return Placement(as_vector(values[:3]), as_quaternion(values[3:]))


def record_with_handles(context: bpy.types.Context, armature: bpy.types.Object, record: Record) -> Record:
    """Return the record with the handles that the user has moved since they were placed, and all driven ones."""
    context.view_layer.update()  # an object moved by a script has its old matrix until then
    handles = find_handles(context.scene, armature)
    driven = find_driven(armature, handles)
    return with_handles(record, placed_handles(handles), read_handles(armature, handles), driven)


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
    for thing in list(_empties(context.scene, armature)):
        if str(thing[POINT_PROPERTY]) not in HANDLE_OF_POINT:
            bpy.data.objects.remove(thing)
    existing = find_handles(context.scene, armature)
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
    """Put the handles that nobody has placed on the joints of the bones, as keys or the user have posed them.

    Raises:
        SceneError: A bone is gone.
    """
    check_bones(armature)
    root = armature.pose.bones[ROOT_BONE]
    to_body = (root.matrix @ root.bone.matrix_local.inverted()).inverted_safe()
    handles = find_handles(scene, armature)
    placed = placed_handles(handles)
    for point, thing in handles.items():
        if is_driven(thing, armature):
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
