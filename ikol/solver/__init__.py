# SPDX-License-Identifier: Apache-2.0
"""From evidence to a pose of any joint tree: blocks of residuals, Levenberg-Marquardt, a start."""

from ikol.solver.anatomy import default_limits as default_limits
from ikol.solver.bones import elastic_bones as elastic_bones
from ikol.solver.config import Progress as Progress
from ikol.solver.config import SolveConfig as SolveConfig
from ikol.solver.evidence import Anchor as Anchor
from ikol.solver.evidence import BonePrior as BonePrior
from ikol.solver.evidence import Evidence as Evidence
from ikol.solver.evidence import Limits as Limits
from ikol.solver.evidence import Orientation as Orientation
from ikol.solver.evidence import Pins as Pins
from ikol.solver.evidence import Points2D as Points2D
from ikol.solver.evidence import Points3D as Points3D
from ikol.solver.evidence import RelativePoints3D as RelativePoints3D
from ikol.solver.evidence import ShapePrior as ShapePrior
from ikol.solver.evidence import Twist as Twist
from ikol.solver.limits import JointLimits as JointLimits
from ikol.solver.prepared import PreparedSolve as PreparedSolve
from ikol.solver.result import BlockResidual as BlockResidual
from ikol.solver.result import SolveResult as SolveResult
from ikol.solver.result import SolveStatus as SolveStatus
from ikol.solver.robust import GemanMcClure as GemanMcClure
from ikol.solver.robust import Huber as Huber
from ikol.solver.robust import RobustLoss as RobustLoss
from ikol.solver.skeleton import Skeleton as Skeleton
from ikol.solver.solve import solve as solve
from ikol.solver.start import start_from_points as start_from_points
from ikol.solver.start import translation_from_projection as translation_from_projection
from ikol.solver.state import SolveState as SolveState
from ikol.solver.uncertainty import Marginals as Marginals
from ikol.solver.uncertainty import covariance as covariance
from ikol.solver.uncertainty import sensitivity as sensitivity
