# SPDX-License-Identifier: GPL-3.0-or-later
"""The shape of the active body as the panel edits it: ten sliders at a time, and measurements. The pose goes along.

As the tolerances of keypoints they belong to the window manager: the edit's undo step is the only one.
"""

from collections.abc import Sequence

import bpy
from bpy.props import FloatVectorProperty, IntProperty

from ..core.body import MAX_BETAS
from ..core.errors import AddonError
from ..core.keypoints import effective_evidence
from ..core.measurements import MAX_BETA
from ..core.rig import SHAPE_KEY_RANGE
from . import live_edit, runtime
from .armature import check_writable, find_mesh, read_betas, set_shape_keys
from .bodies import find_body, read_record
from .measuring import fitted, get_measure, measure_property, shaped_mesh

SLIDERS = 10
"""That are shown at a time."""


PAUSE_SECONDS = 2.0
"""Without a change, after which a slider counts as let go: who shapes a body stops to look at it."""


def change_shape(context: bpy.types.Context, armature: bpy.types.Object, betas: Sequence[float]) -> None:
    """Give a body a shape; where it has evidence, its pose is solved again in that shape while the slider moves.

    Raises:
        AddonError: The body cannot be changed.
    """
    check_writable(armature)
    set_shape_keys(shaped_mesh(armature), betas)
    live_edit.begin(context, armature, lambda record: record, "Shape", PAUSE_SECONDS, asks=_can_solve(armature))


def _can_solve(armature: bpy.types.Object) -> bool:
    """Whether there is something to solve, and a solver for it; a shape can be changed without."""
    if not effective_evidence(read_record(armature)):
        return False
    try:
        runtime.get().config()
    except AddonError:
        return False
    return True


def first_slider(armature: bpy.types.Object, page: int) -> int:
    """Return the beta of the first slider of a page, counted from 1; the last page where there are not so many."""
    pages = -(-len(read_betas(armature, ())) // SLIDERS)
    return SLIDERS * max(0, min(page, pages) - 1)


def _shown(shape: "IKOL_PG_shape") -> tuple[bpy.types.Object, tuple[float, ...], int] | None:
    """Return the active body, its betas, and the first that is shown."""
    armature = find_body(bpy.context)
    if armature is None or find_mesh(armature) is None:
        return None
    return armature, read_betas(armature, ()), first_slider(armature, shape.page)


def _get_betas(shape: "IKOL_PG_shape") -> tuple[float, ...]:
    shown = _shown(shape)
    betas = () if shown is None else shown[1][shown[2] : shown[2] + SLIDERS]
    return (*betas, *(0.0,) * (SLIDERS - len(betas)))


def _set_betas(shape: "IKOL_PG_shape", values: Sequence[float]) -> None:
    shown = _shown(shape)
    if shown is None:
        return
    armature, betas, first = shown
    changed = (*betas[:first], *values, *betas[first + SLIDERS :])[: len(betas)]
    _guarded(armature, changed)


def _get_measure(_shape: "IKOL_PG_shape", name: str) -> float:
    armature = find_body(bpy.context)
    return 0.0 if armature is None else get_measure(armature, name)


def _set_measure(_shape: "IKOL_PG_shape", name: str, value: float) -> None:
    armature = find_body(bpy.context)
    if armature is None:
        return
    try:
        betas = fitted(armature, name, value)
    except AddonError as error:
        runtime.get().notice = error
        runtime.redraw()
    else:
        _guarded(armature, betas)


def _guarded(armature: bpy.types.Object, betas: Sequence[float]) -> None:
    try:
        change_shape(bpy.context, armature, betas)
    except AddonError as error:  # a setter has no way to report
        runtime.get().notice = error
        runtime.redraw()


class IKOL_PG_shape(bpy.types.PropertyGroup):
    """Sliders and measurements."""

    page: IntProperty(
        name="Page",
        description="Which ten sliders of the shape are shown",
        min=1,
        max=-(-MAX_BETAS // SLIDERS),
        default=1,
        options={"SKIP_SAVE"},
    )
    betas: FloatVectorProperty(
        name="Shape",
        description="One direction of the shape, in standard deviations; the pose is fitted to the picture meanwhile",
        size=SLIDERS,
        min=-SHAPE_KEY_RANGE,
        max=SHAPE_KEY_RANGE,
        soft_min=-MAX_BETA,
        soft_max=MAX_BETA,
        precision=3,
        step=1,
        options={"SKIP_SAVE"},
        get=_get_betas,
        set=_set_betas,
    )
    height: measure_property("height", _get_measure, _set_measure)
    arm_span: measure_property("arm_span", _get_measure, _set_measure)
    leg_length: measure_property("leg_length", _get_measure, _set_measure)
    inseam: measure_property("inseam", _get_measure, _set_measure)


def register() -> None:
    """Add the properties."""
    bpy.types.WindowManager.ikol_shape = bpy.props.PointerProperty(type=IKOL_PG_shape)


def unregister() -> None:
    """Take them back."""
    if hasattr(bpy.types.WindowManager, "ikol_shape"):
        del bpy.types.WindowManager.ikol_shape
