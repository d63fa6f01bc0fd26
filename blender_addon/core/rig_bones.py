# SPDX-License-Identifier: GPL-3.0-or-later
"""The bones of any armature at rest, as plain data, and the questions that are asked of their tree."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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


def ancestors(bones: Bones, name: str) -> list[str]:
    """Return a bone and all bones above it, upwards."""
    path: list[str] = []
    current: str | None = name
    while current is not None and current in bones:
        path.append(current)
        current = bones[current].parent
    return path


def common_ancestor(bones: Bones, names: Iterable[str]) -> str | None:
    """Return the lowest bone that is each of these, or above it; None where they hang on different roots."""
    paths = [ancestors(bones, name) for name in names]
    if not paths:
        return None
    shared = set(paths[0]).intersection(*paths[1:])
    return next((name for name in paths[0] if name in shared), None)


def path_down(bones: Bones, top: str, bottom: str) -> list[str]:
    """Return the bones from below `top` to `bottom`, both ends as named: top excluded, bottom included."""
    path = ancestors(bones, bottom)
    return path[: path.index(top)][::-1] if top in path else []


def children_of(bones: Bones) -> dict[str, list[str]]:
    """Return the names of each bone's children."""
    children: dict[str, list[str]] = {name: [] for name in bones}
    for name, bone in bones.items():
        if bone.parent in children:
            children[bone.parent].append(name)
    return children
