# SPDX-License-Identifier: Apache-2.0
"""Keypoints, bone lengths and twists to local rotations on any tree: exact, fast and differentiable."""

from ikol.solver.directions.config import DirectionConfig as DirectionConfig
from ikol.solver.directions.config import DirectionResult as DirectionResult
from ikol.solver.directions.layer import IKOLLayer as IKOLLayer
from ikol.solver.directions.solve import solve_directions as solve_directions

__all__ = ["DirectionConfig", "DirectionResult", "IKOLLayer", "solve_directions"]  # not the module `solve` as well
