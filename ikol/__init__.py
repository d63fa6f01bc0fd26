# SPDX-License-Identifier: Apache-2.0
"""IKOL: an inverse-kinematics optimisation layer, its body, and the pipeline from a picture to a pose."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ikol.solver.directions.layer import IKOLLayer as IKOLLayer


def __getattr__(name: str) -> object:
    # `import ikol` stays light: the command line and the server's start must not wait for torch
    if name == "IKOLLayer":
        from ikol.solver.directions.layer import IKOLLayer  # noqa: PLC0415

        return IKOLLayer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
