# SPDX-License-Identifier: Apache-2.0
"""Picture to evidence, evidence to pose, for one click."""

from ikol.pipeline.alternatives import Alternative as Alternative
from ikol.pipeline.evidence import Anchor as Anchor
from ikol.pipeline.evidence import DetectedPerson as DetectedPerson
from ikol.pipeline.evidence import Detection as Detection
from ikol.pipeline.evidence import Intrinsics as Intrinsics
from ikol.pipeline.evidence import Keypoints2D as Keypoints2D
from ikol.pipeline.evidence import Keypoints3D as Keypoints3D
from ikol.pipeline.evidence import NamedEvidence as NamedEvidence
from ikol.pipeline.evidence import Orientations as Orientations
from ikol.pipeline.evidence import Pins as Pins
from ikol.pipeline.evidence import Pose as Pose
from ikol.pipeline.evidence import PoseSolution as PoseSolution
from ikol.pipeline.evidence import Progress as Progress
from ikol.pipeline.evidence import RelativeKeypoints3D as RelativeKeypoints3D
from ikol.pipeline.evidence import Shape as Shape
from ikol.pipeline.evidence import Twist as Twist
from ikol.pipeline.evidence import ViewKeypoints2D as ViewKeypoints2D
from ikol.pipeline.flips import Limb as Limb
from ikol.pipeline.inspection import InspectedRow as InspectedRow
from ikol.pipeline.inspection import Inspection as Inspection
from ikol.pipeline.multiview import View as View
from ikol.pipeline.multiview import ViewsSolution as ViewsSolution
from ikol.pipeline.pose_pipeline import Model as Model
from ikol.pipeline.pose_pipeline import PosePipeline as PosePipeline
from ikol.pipeline.swaps import Swap as Swap
from ikol.pipeline.views_inspection import ViewsInspection as ViewsInspection
