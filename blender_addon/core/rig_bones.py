# SPDX-License-Identifier: GPL-3.0-or-later
"""The bones of any armature at rest, as plain data, and the questions that are asked of their tree."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .._vendor.bone_names import ancestors, common_ancestor, path_down

__all__ = ("Bones", "FloatArray", "RestBone", "ancestors", "children_of", "common_ancestor", "path_down")

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RestBone:
    """One bone at rest, in the armature's own space and units."""

    name: str
    parent: str | None
    head: FloatArray
    """(3)"""
    tail: FloatArray
    """(3)"""
    axes: FloatArray
    """(3, 3): columns are the bone's axes; the second runs from head to tail."""
    is_deform: bool = True


Bones = Mapping[str, RestBone]
"""By name, parents before their children."""


def children_of(bones: Bones) -> dict[str, list[str]]:
    """Return the names of each bone's children."""
    children: dict[str, list[str]] = {name: [] for name in bones}
    for name, bone in bones.items():
        if bone.parent in children:
            children[bone.parent].append(name)
    return children
