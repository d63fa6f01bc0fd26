# SPDX-License-Identifier: GPL-3.0-or-later
"""What the panel *Keypoints* edits: the list of points, and tolerances of the selected ones as sliders.

They belong to the window manager and show what the active body has. Nothing of them is stored, and Blender makes no
undo step of its own when one is changed: the edit's is the only one.
"""

import bpy
from bpy.app.handlers import persistent
from bpy.props import BoolProperty, CollectionProperty, FloatProperty, IntProperty, StringProperty

from ..core.errors import AddonError
from ..core.keypoints import set_tolerance
from ..core.record import Record
from ..core.rig import ALL_JOINT_NAMES, LANDMARK_NAMES, POINT_PROPERTY
from ..core.wording import Residual, point_tolerance
from . import live_edit, runtime
from .bodies import find_body, handle_body
from .handles import find_handles
from .selection import active_point, select_points, selected_points

LISTED = (*LANDMARK_NAMES, *ALL_JOINT_NAMES)
"""All points of the body: the list shows those that the active body has."""

NOTHING = -1
CM = 100.0
MAX_PIXELS = 1000.0
MAX_CM = 100.0
MIN_TOLERANCE = 0.01


def chosen_points(context: bpy.types.Context, armature: bpy.types.Object) -> tuple[str, ...]:
    """Return the points that a command is for, the active one first: selected handles if one is active, else points."""
    objects = context.view_layer.objects
    active = objects.active
    if active is not None and handle_body(active) == armature:
        selected = [thing for thing in objects.selected if handle_body(thing) == armature]
        return tuple(dict.fromkeys(str(thing[POINT_PROPERTY]) for thing in (active, *selected)))
    point = active_point(armature)
    return tuple(dict.fromkeys((*((point,) if point else ()), *selected_points(armature))))


def choose_point(context: bpy.types.Context, armature: bpy.types.Object, point: str) -> None:
    """Select one point, and with it its handle if it has one."""
    select_points(armature, [point], point)
    if context.mode != "OBJECT":
        return
    objects = context.view_layer.objects
    thing = find_handles(context.scene, armature).get(point)
    if thing is None or thing.name not in objects or not thing.visible_get():
        thing = armature
    for other in objects.selected:
        if handle_body(other) == armature:
            other.select_set(False)
    thing.select_set(True)
    objects.active = thing


def _active() -> tuple[bpy.types.Object, Record, str] | None:
    """Return the active body, its newest record and its active point."""
    armature = find_body(bpy.context)
    points = () if armature is None else chosen_points(bpy.context, armature)
    if not points:
        return None
    try:
        return armature, live_edit.newest_record(armature), points[0]
    except AddonError:
        return None


def active_tolerance() -> Residual:
    """Return the tolerances of the active point; None for those that it has not."""
    active = _active()
    return Residual() if active is None else point_tolerance(active[1], active[2])


def _get_index(_properties: "IKOL_PG_window") -> int:
    active = _active()
    return NOTHING if active is None else LISTED.index(active[2])


def _set_index(_properties: "IKOL_PG_window", index: int) -> None:
    armature = find_body(bpy.context)
    if armature is not None and 0 <= index < len(LISTED):
        choose_point(bpy.context, armature, LISTED[index])
        runtime.redraw()


def _set_tolerance(pixels: float | None = None, metres: float | None = None) -> None:
    active = _active()
    if active is None:
        return
    armature, *_ = active
    names = chosen_points(bpy.context, armature)
    try:
        live_edit.begin(
            bpy.context,
            armature,
            lambda record: set_tolerance(record, names, pixels=pixels, metres=metres),
            "Keypoint Tolerance",
            live_edit.SLIDER_SECONDS,
        )
    except AddonError as error:  # a setter has no way to report
        runtime.get().notice = error


def _get_pixels(_properties: "IKOL_PG_window") -> float:
    return active_tolerance().pixels or 0.0


def _set_pixels(_properties: "IKOL_PG_window", value: float) -> None:
    _set_tolerance(pixels=value)


def _get_cm(_properties: "IKOL_PG_window") -> float:
    return CM * (active_tolerance().metres or 0.0)


def _set_cm(_properties: "IKOL_PG_window", value: float) -> None:
    _set_tolerance(metres=value / CM)


class IKOL_PG_point(bpy.types.PropertyGroup):
    """One line of the list."""

    point: StringProperty(name="Point", description="A point of the body")


class IKOL_PG_window(bpy.types.PropertyGroup):
    """The list of points and the sliders."""

    points: CollectionProperty(type=IKOL_PG_point, name="Keypoints", description="All points of the body")
    index: IntProperty(
        name="Active Keypoint", description="Keypoint that the sliders show", get=_get_index, set=_set_index
    )
    sort_by_residual: BoolProperty(
        name="Largest Residual First",
        description="Sort the list by how far the body misses each keypoint",
        default=False,
    )
    tolerance_px: FloatProperty(
        name="Tolerance (px)",
        description=(
            "How far the body may miss the selected keypoints on the picture, as one standard deviation in pixels. "
            "Small: they are met closely; large: they hardly count"
        ),
        min=MIN_TOLERANCE,
        max=MAX_PIXELS,
        soft_min=0.5,
        soft_max=50.0,
        precision=1,
        step=50,
        options={"SKIP_SAVE"},
        get=_get_pixels,
        set=_set_pixels,
    )
    tolerance_cm: FloatProperty(
        name="Tolerance (cm)",
        description=(
            "How far the body may miss the selected keypoints in space, as one standard deviation in centimetres. "
            "Small: they are met closely; large: they hardly count"
        ),
        min=MIN_TOLERANCE,
        max=MAX_CM,
        soft_min=0.1,
        soft_max=20.0,
        precision=2,
        step=10,
        options={"SKIP_SAVE"},
        get=_get_cm,
        set=_set_cm,
    )


def fill_list() -> None:
    """Put all points into the list; drawing may not do it."""
    for manager in bpy.data.window_managers:
        if len(manager.ikol.points) != len(LISTED):
            manager.ikol.points.clear()
            for name in LISTED:
                manager.ikol.points.add().point = name


@persistent
def on_load(*_: object) -> None:
    """Fill the list of the window manager that came with the file."""
    fill_list()


def _fill_soon() -> None:
    fill_list()


def register() -> None:
    """Add the properties and fill the list as soon as Blender lets data be changed."""
    bpy.types.WindowManager.ikol = bpy.props.PointerProperty(type=IKOL_PG_window)
    bpy.app.handlers.load_post.append(on_load)
    bpy.app.timers.register(_fill_soon, first_interval=0.0)


def unregister() -> None:
    """Take everything back."""
    if bpy.app.timers.is_registered(_fill_soon):
        bpy.app.timers.unregister(_fill_soon)
    if on_load in bpy.app.handlers.load_post:
        bpy.app.handlers.load_post.remove(on_load)
    if hasattr(bpy.types.WindowManager, "ikol"):
        del bpy.types.WindowManager.ikol
