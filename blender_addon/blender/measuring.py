# SPDX-License-Identifier: GPL-3.0-or-later
"""The measurements of a body in the scene, and the shape that has those that are typed in."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import bpy
from bpy.props import FloatProperty

from ..core.errors import AddonError, SceneError
from ..core.measurements import MEASURES
from . import runtime
from .armature import check_writable, find_mesh, match_bones, read_betas, set_shape_keys
from .own_body import check_body, current_body, current_measurer

_TEXTS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "height": ("Height", "From the crown to the sole"),
        "arm_span": ("Arm Span", "From finger tip to finger tip, arms to the sides"),
        "leg_length": ("Leg Length", "From the joints of the hips to the sole"),
        "inseam": ("Inseam", "From the crotch to the sole"),
    }
)
"""Label and tooltip of each measurement."""


def measure_property(name: str, get: Callable[[Any, str], float], put: Callable[[Any, str, float], None]) -> object:
    """Return a property for a measurement, metres: `get` reads it for a property group, `put` is told what is typed."""
    label, description = _TEXTS[name]
    return FloatProperty(
        name=label,
        description=description,
        subtype="DISTANCE",
        unit="LENGTH",
        precision=3,
        step=1,
        options={"SKIP_SAVE"},
        get=lambda group: get(group, name),
        set=lambda group, value: put(group, name, value),
    )


def measures(armature: bpy.types.Object) -> dict[str, float]:
    """Return the measurements of a body by their names, metres; none where its file is not the one in use."""
    try:
        body = current_body()
        check_body(armature, body)
        return current_measurer().measure(body.complete(read_betas(armature, ())))
    except AddonError:
        return {}


def get_measure(armature: bpy.types.Object, name: str) -> float:
    """Return one measurement; 0 where it cannot be taken."""
    return measures(armature).get(name, 0.0)


def set_measure(armature: bpy.types.Object, name: str, value: float) -> None:
    """Give the body the shape nearest to its own that has this measurement, and those that were typed in before.

    Where no body has all of them, only the newest counts. What no body has is told in the panel.
    """
    try:
        check_writable(armature)
        mesh, betas = shaped_mesh(armature), fitted(armature, name, value)
        set_shape_keys(mesh, betas)
        if bpy.app.background:  # without a window nothing follows by itself
            match_bones(bpy.context, armature, betas)
    except AddonError as error:
        runtime.get().notice = error
        runtime.redraw()


def shaped_mesh(armature: bpy.types.Object) -> bpy.types.Object:
    """Return the mesh whose sliders are the shape.

    Raises:
        SceneError: It is gone.
    """
    mesh = find_mesh(armature)
    if mesh is None:
        raise SceneError(f"the mesh of {armature.name} is gone, so that it has no shape to change")
    return mesh


def fitted(armature: bpy.types.Object, name: str, value: float) -> tuple[float, ...]:
    """Return the shape nearest to the body's that has a measurement, and remember which one was typed.

    Raises:
        AddonError: No body has it, or the body is not the one in use.
    """
    measurer, betas = current_measurer(), current_body().complete(read_betas(armature, ()))
    now = measurer.measure(betas)
    typed = [other for other in armature.ikol.typed_measures.split(",") if other in now and other != name]
    try:
        found = measurer.betas_for({**{other: now[other] for other in typed}, name: value}, betas)
    except SceneError:
        if not typed:
            raise
        found, typed = measurer.betas_for({name: value}, betas), []
    armature.ikol.typed_measures = ",".join(each for each in MEASURES if each in (*typed, name))
    return found
