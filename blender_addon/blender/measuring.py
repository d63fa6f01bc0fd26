# SPDX-License-Identifier: GPL-3.0-or-later
"""The measurements of a body in the scene: shown, and typed in to set its shape."""

import bpy

from ..core.errors import AddonError, SceneError
from ..core.measurements import MEASURES
from . import runtime
from .armature import check_writable, find_mesh, match_bones, read_betas, set_shape_keys
from .own_body import check_body, current_body, current_measurer

_NONE = (0.0,) * 10


def measures(armature: bpy.types.Object) -> dict[str, float]:
    """Return the measurements of a body by their names, metres; none where its file is not the one in use."""
    try:
        body = current_body()
        check_body(armature, body)
        return current_measurer().measure(read_betas(armature, _NONE[: body.num_betas]))
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
        mesh = find_mesh(armature)
        if mesh is None:
            raise SceneError(f"the mesh of {armature.name} is gone, so that it has no shape to change")
        betas = _fitted(armature, name, value)
        set_shape_keys(mesh, betas)
        if bpy.app.background:  # without a window nothing follows by itself
            match_bones(bpy.context, armature, betas)
    except AddonError as error:
        runtime.get().notice = error
        runtime.redraw()


def _fitted(armature: bpy.types.Object, name: str, value: float) -> tuple[float, ...]:
    """Return the shape, and remember what was typed."""
    measurer, betas = current_measurer(), read_betas(armature, _NONE)
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
