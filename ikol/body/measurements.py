# SPDX-License-Identifier: Apache-2.0
"""What a tailor measures of a body, from its shape, and the shape that has given measurements.

Each is the distance between two places of the unposed body along one axis, at vertices that are chosen once on the mean
body: so it is linear in the betas, and the way back is a small least-norm problem. Imports: torch, ikol.body.model,
ikol.errors.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor

from ikol.body.model import BodyModel
from ikol.errors import InputError

MEASURES: Final = ("height", "arm_span", "leg_length", "inseam")
"""Crown to sole; finger tip to finger tip in the T-pose; hip joints to sole; crotch to sole."""
MAX_BETA: Final = 5.0  # standard deviations; one body in a million is beyond
CROTCH_WIDTH: Final = 0.02  # metres from the middle plane, within which the crotch is looked for
_X, _Y = 0, 1


@dataclass(frozen=True, eq=False)
class Measurer:
    """Measures one body in any shape: metres."""

    body: BodyModel

    @cached_property
    def _linear(self) -> tuple[Float[Tensor, "measures"], Float[Tensor, "measures betas"]]:
        """Return the measures of the mean body, and by how much each beta changes them."""
        body, rest = self.body, self.body.v_template
        sole, crown = int(rest[:, _Y].argmin()), int(rest[:, _Y].argmax())
        left, right, crotch = int(rest[:, _X].argmax()), int(rest[:, _X].argmin()), self._crotch()
        hips = [body.tree.index("L_Hip"), body.tree.index("R_Hip")]

        def row(rest: Tensor, joints: Tensor) -> Tensor:
            floor = rest[sole, _Y]
            return torch.stack(
                (
                    rest[crown, _Y] - floor,
                    rest[left, _X] - rest[right, _X],
                    joints[hips, _Y].mean(0) - floor,
                    rest[crotch, _Y] - floor,
                )
            )

        return row(rest, body.joints_template), row(body.shapedirs, body.joints_shapedirs)

    def _crotch(self) -> int:
        """Return the lowest vertex between the legs: near the middle plane, below the hips and above the knees."""
        body, rest = self.body, self.body.v_template
        at = {name: body.joints_template[body.tree.index(name), _Y] for name in ("L_Hip", "L_Knee")}
        is_between = (rest[:, _X].abs() < CROTCH_WIDTH) & (rest[:, _Y] > at["L_Knee"]) & (rest[:, _Y] < at["L_Hip"])
        if not bool(is_between.any()):
            raise InputError(f"{body.name} has no vertex between its legs; its inseam cannot be measured")
        return int(rest[:, _Y].masked_fill(~is_between, torch.inf).argmin())

    def measure(self, betas: Float[Tensor, "*batch betas"]) -> Float[Tensor, "*batch measures"]:
        """Return `MEASURES` of a shape."""
        mean, directions = self._linear
        return mean + betas @ directions.mT

    def betas_for(
        self, wanted: Mapping[str, float], betas: Float[Tensor, "betas"] | None = None
    ) -> Float[Tensor, "betas"]:
        """Return the shape nearest to another one that has given measurements.

        Args:
            wanted: metres for some of `MEASURES`; what is not named may change.
            betas: the shape to stay near; None for the mean one.

        Raises:
            InputError: no body of a plausible shape has them.
        """
        unknown = sorted({*wanted} - {*MEASURES})
        if unknown or not wanted:
            raise InputError(f"measurements are {', '.join(MEASURES)}; got {', '.join(unknown) or 'none'}")
        mean, directions = self._linear
        near = torch.zeros_like(directions[0]) if betas is None else betas
        rows = [MEASURES.index(name) for name in wanted]
        target = torch.tensor(list(wanted.values()), dtype=mean.dtype)
        missing = torch.nan_to_num(target - self.measure(near)[rows], nan=torch.inf).clamp(-1e3, 1e3)
        found = near + torch.linalg.lstsq(directions[rows], missing[:, None], driver="gelsd").solution[:, 0]
        off = float((self.measure(found)[rows] - target).abs().max())
        largest = float(found.abs().max())
        if not (off < 1e-4 and largest <= MAX_BETA):
            asked = ", ".join(f"{name} {value:.2f} m" for name, value in wanted.items())
            usual = ", ".join(f"{name} {float(mean[MEASURES.index(name)]):.2f} m" for name in wanted)
            raise InputError(
                f"no body of a plausible shape has {asked}; {self.body.name}'s mean has {usual}: choose values nearer "
                "to each other's proportions"
            )
        return found
