# SPDX-License-Identifier: GPL-3.0-or-later
"""Which keypoints of a body are selected: stored on the armature, so that tool, panel and undo agree."""

from collections.abc import Iterable

import bpy

from ..core.rig import POINT_NAMES

SEPARATOR = ","


def active_point(armature: bpy.types.Object) -> str:
    """Return the active keypoint, empty for none."""
    name = armature.ikol.active_point
    return name if name in POINT_NAMES else ""


def selected_points(armature: bpy.types.Object) -> tuple[str, ...]:
    """Return the selected keypoints in the order in which they were selected."""
    names = dict.fromkeys(armature.ikol.selected_points.split(SEPARATOR))
    return tuple(name for name in names if name in POINT_NAMES)  # a file may hold anything


def select_points(armature: bpy.types.Object, names: Iterable[str], active: str = "") -> None:
    """Select these keypoints and no others; nothing is written when they are selected already."""
    joined = SEPARATOR.join(dict.fromkeys(names))
    if armature.ikol.selected_points != joined:
        armature.ikol.selected_points = joined
    if armature.ikol.active_point != active:
        armature.ikol.active_point = active
