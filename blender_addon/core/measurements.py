# SPDX-License-Identifier: GPL-3.0-or-later
"""What a tailor measures of a body, from its shape, and the shape that has given measurements; numpy's `ikol.body`.

Each is the distance between two places of the unposed body along one axis, at vertices that are chosen once on the mean
body: so it is linear in the betas, and the way back is a small least-norm problem. A test compares it with ikol's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .body import BodyData, FloatArray
from .errors import SceneError

MEASURES = ("height", "arm_span", "leg_length", "inseam")
"""Crown to sole; finger tip to finger tip in the T-pose; hip joints to sole; crotch to sole."""

MAX_BETA = 5.0
"""Standard deviations; one body in a million is beyond."""

CROTCH_WIDTH = 0.02
"""Metres from the middle plane, within which the crotch is looked for."""

_X, _Y = 0, 1


@dataclass(frozen=True)
class Measurer:
    """Measures one body in any shape: metres."""

    mean: FloatArray
    """(4,) of the mean shape; NaN for one that the mesh does not tell."""
    directions: FloatArray
    """(4, B): by how much each beta changes them."""

    def measure(self, betas: Sequence[float]) -> dict[str, float]:
        """Return the measurements of a shape that can be taken, by their names."""
        values = self.mean + self.directions @ np.asarray(betas, dtype=np.float64)
        return {name: value for name, value in zip(MEASURES, values.tolist(), strict=True) if np.isfinite(value)}

    def betas_for(self, wanted: Mapping[str, float], near: Sequence[float]) -> tuple[float, ...]:
        """Return the shape nearest to another one that has given measurements; what is not named may change.

        Raises:
            SceneError: No body of a plausible shape has them.
        """
        rows = [MEASURES.index(name) for name in wanted]
        start, mean, directions = np.asarray(near, dtype=np.float64), self.mean[rows], self.directions[rows]
        target = np.array(list(wanted.values()))
        found = start + np.linalg.lstsq(directions, target - mean - directions @ start, rcond=None)[0]
        off = np.abs(mean + directions @ found - target).max()
        if not (off < 1e-4 and np.abs(found).max() <= MAX_BETA):
            asked, usual = (
                ", ".join(f"{name.replace('_', ' ')} {value:.2f} m" for name, value in zip(wanted, values, strict=True))
                for values in (target, mean)
            )
            raise SceneError(
                f"no body of a plausible shape has {asked}; the mean has {usual}: choose values nearer to each other's "
                "proportions"
            )
        return tuple(found.tolist())


def measurer_of(body: BodyData) -> Measurer:
    """Return what measures a body: the vertices are those of its mean shape."""
    rest, at = body.v_template, body.joints_template[:, _Y]
    sole, crown = rest[:, _Y].argmin(), rest[:, _Y].argmax()
    left, right = rest[:, _X].argmax(), rest[:, _X].argmin()
    hips = [body.tree.index("L_Hip"), body.tree.index("R_Hip")]
    is_between = np.abs(rest[:, _X]) < CROTCH_WIDTH
    is_between &= (rest[:, _Y] > at[body.tree.index("L_Knee")]) & (rest[:, _Y] < at[hips[0]])
    crotch = np.where(is_between, rest[:, _Y], np.inf).argmin()

    def rows(rest: FloatArray, joints: FloatArray) -> FloatArray:
        floor = rest[sole, _Y]
        height, leg = rest[crown, _Y] - floor, joints[hips, _Y].mean(axis=0) - floor
        return np.stack([height, rest[left, _X] - rest[right, _X], leg, rest[crotch, _Y] - floor])

    mean = rows(body.v_template, body.joints_template)
    if not is_between.any():
        mean[MEASURES.index("inseam")] = np.nan
    return Measurer(mean, rows(body.shapedirs, body.joints_shapedirs))
