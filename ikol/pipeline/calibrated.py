# SPDX-License-Identifier: Apache-2.0
"""How sure a pose that one picture tells is, once it has been compared with the truth.

The weights of the evidence find the pose best when landmarks that are wrong together are believed a little more than
each would be by itself; the covariance that follows from them is then too small. Here it is stretched by what is
missing on rendered validation people, along the camera's axes.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from ikol.pipeline.evidence import RelativeKeypoints3D
from ikol.pipeline.problem import Problem

PLANE_STRETCH, DEPTH_STRETCH = 1.2, 1.5


def stretch(problem: Problem) -> Float[Tensor, "3 3"]:
    """Return S: a covariance C of points of the solved problem is S C S in truth; world axes.

    Only where a network has guessed places in space: what somebody has placed or measured is as sure as is said.
    """
    if problem.camera is None or not any(isinstance(block, RelativeKeypoints3D) for block in problem.evidence):
        return torch.eye(3, dtype=torch.float64)
    axes = problem.camera.R_camera_world
    return axes.mT @ torch.diag(axes.new_tensor((PLANE_STRETCH, PLANE_STRETCH, DEPTH_STRETCH))) @ axes
