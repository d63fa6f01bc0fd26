# SPDX-License-Identifier: Apache-2.0
"""Published methods to be measured against, written from their formulas: one problem, four ways to solve it."""

from ikol.solver.baselines.damped_least_squares import DampedLeastSquaresConfig as DampedLeastSquaresConfig
from ikol.solver.baselines.damped_least_squares import solve_damped_least_squares as solve_damped_least_squares
from ikol.solver.baselines.hybrik import RELEASED_FALLBACK as RELEASED_FALLBACK
from ikol.solver.baselines.hybrik import HybrikConfig as HybrikConfig
from ikol.solver.baselines.hybrik import solve_hybrik as solve_hybrik
from ikol.solver.baselines.problem import BaselineProblem as BaselineProblem
from ikol.solver.baselines.problem import BaselineResult as BaselineResult
from ikol.solver.baselines.problem import twist_of as twist_of
from ikol.solver.baselines.problem import with_leaf_points as with_leaf_points
from ikol.solver.baselines.released_ikol import ReleasedIkolConfig as ReleasedIkolConfig
from ikol.solver.baselines.released_ikol import solve_released_ikol as solve_released_ikol
from ikol.solver.baselines.smplify import SmplifyConfig as SmplifyConfig
from ikol.solver.baselines.smplify import solve_smplify as solve_smplify
