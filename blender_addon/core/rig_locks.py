# SPDX-License-Identifier: GPL-3.0-or-later
"""What a rig's channels do not let it do, and how a solve keeps to it.

The solver knows ranges about a bone's own axes; what is written are Euler angles and a location by channels, and one of
them may be locked alone. So what was solved is taken to the nearest that can be written, that is held, and the rest of
the rig is solved around it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from .rig_bones import FloatArray
from .rig_turns import rotvec_of

BEYOND = 5e-4
"""Radians by which a joint may be beyond its range: half a millimetre at the end of a leg."""


@dataclass(frozen=True, eq=False)
class Locks:
    """Of one rig."""

    place: FloatArray
    """(3) where the root is, the rig's space."""
    moves: FloatArray
    """(3, 3) rig's space: its columns are the root's ways by one unit of each channel of its location."""
    is_locked: tuple[bool, bool, bool]
    """These channels."""
    turns: Mapping[int, Callable[[FloatArray], FloatArray]]
    """By the number of a joint: the rotation from rest, relative to the joint above, that is written for one."""

    def nearest(self, place: FloatArray) -> FloatArray:
        """Return where the root goes that is to be at a place, the rig's space."""
        channels = np.linalg.solve(self.moves, place - self.place)
        return self.place + self.moves @ np.where(self.is_locked, 0.0, channels)

    def beyond(self, turns: Mapping[int, FloatArray]) -> dict[int, FloatArray]:
        """Return what is written for the joints whose rotations cannot be."""
        found: dict[int, FloatArray] = {}
        for number, written in self.turns.items():
            nearest = written(turns[number])
            if float(np.linalg.norm(rotvec_of(nearest.T @ turns[number]))) > BEYOND:
                found[number] = nearest
        return found
