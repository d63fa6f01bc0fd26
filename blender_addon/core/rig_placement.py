# SPDX-License-Identifier: GPL-3.0-or-later
"""How the scene lies in a rig's own space: turned, scaled along its axes, mirrored."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from .rig_bones import FloatArray

_OTHER_SIDES: Final = {"L": "R", "R": "L", "left": "right", "right": "left"}


@dataclass(frozen=True, eq=False)
class Placement:
    """How the scene's space (metres, Y up) lies in that of the rig."""

    matrix: FloatArray
    """(4, 4), any that can be inverted."""

    @property
    def is_mirrored(self) -> bool:
        """Whether the rig's left is the person's right."""
        return bool(np.linalg.det(self.matrix[:3, :3]) < 0)

    @property
    def turn(self) -> FloatArray:
        """The rotation (3, 3) of the matrix; of a mirrored one that with left and right swapped before."""
        left, _, right = np.linalg.svd(self.matrix[:3, :3] @ self._mirror)
        return np.asarray(left @ right, dtype=np.float64)

    @property
    def _mirror(self) -> FloatArray:
        return np.diag([-1.0 if self.is_mirrored else 1.0, 1.0, 1.0])

    def to_rig(self, points: FloatArray) -> FloatArray:
        """Return points (..., 3) of the scene in the rig's space."""
        return points @ self.matrix[:3, :3].T + self.matrix[:3, 3]

    def to_scene(self, points: FloatArray) -> FloatArray:
        """Return points (..., 3) of the rig's space in the scene."""
        moved = np.linalg.solve(self.matrix[:3, :3], (points - self.matrix[:3, 3]).T).T
        return np.asarray(moved, dtype=np.float64)

    def turned(self, turn: FloatArray) -> FloatArray:
        """Return a rotation of the source from its rest pose as that of the rig from its own."""
        return self.turn @ self._mirror @ turn @ self._mirror

    def other_side(self, name: str) -> str:
        """Return which joint or point of the source is the rig's, and the other way round."""
        side, _, part = name.partition("_")
        return f"{_OTHER_SIDES[side]}_{part}" if self.is_mirrored and side in _OTHER_SIDES else name
