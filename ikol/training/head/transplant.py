# SPDX-License-Identifier: Apache-2.0
"""New poses with the errors that the landmark network made on rendered people of similar poses.

Rendered people are few, poses are many. The errors of the network depend on the pose, on the light and on the clothes;
taking all of them from one person who stands much alike keeps what belongs together. Imports: torch, the examples.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from ikol.geometry.rotations import rotvec_to_rotmat
from ikol.pipeline.problem import LEVEL
from ikol.regressor.head import HeadInput
from ikol.regressor.head.network import NUM_TREE
from ikol.training.head.examples import HeadExamples
from ikol.training.head.truth import HeadTruth, PosedBodies, rest_height

CANDIDATES = 96  # rendered people, of whom the one is taken whose pose is nearest
PITCH = 0.15  # radians, standard deviation: how far the camera looks up or down


def transplanted(
    bodies: PosedBodies,
    local_rotmat: Float[Tensor, "people 24 3 3"],
    betas: Float[Tensor, "people 10"],
    rendered: HeadExamples,
    generator: torch.Generator,
) -> HeadExamples:
    """Return people of new poses, each seen where a rendered one of much the same pose is, with that one's errors.

    Args:
        bodies: the body.
        local_rotmat: the root's in the SMPL world.
        betas: of the shapes.
        rendered: whose errors there are.
        generator: of all that is random.
    """
    count = len(betas)
    pitch = torch.zeros(count, 3)
    pitch[:, 0] = PITCH * torch.randn(count, generator=generator)
    local = local_rotmat.clone()
    local[:, 0] = rotvec_to_rotmat(pitch) @ torch.tensor(LEVEL) @ local[:, 0]
    truth, points = bodies.truth(local, betas)
    candidates = torch.randint(len(rendered), (CANDIDATES,), generator=generator)
    known = rendered.truth.joints[candidates, NUM_TREE:]
    nearest = torch.cdist(points.flatten(1), known.flatten(1)).argmin(1)
    donor = rendered[candidates[nearest]]
    landmarks, was = donor.landmarks, donor.truth.joints[:, NUM_TREE:]
    hips = donor.truth.hips
    # a picture does not say how large a person is: the network's metres are as large whoever is seen
    size = (rest_height(bodies, donor.truth.betas) / rest_height(bodies, betas))[:, None, None]
    seen = HeadInput(
        landmarks.rays + _seen(points + hips[:, None]) - _seen(was + hips[:, None]),
        landmarks.rays_sigma,
        landmarks.world + size * points - was,
        landmarks.world_sigma,
        landmarks.visibility,
        landmarks.in_picture,
    )
    return HeadExamples(seen, HeadTruth(truth.joints, truth.local_rotmat, truth.twist, truth.betas, hips))


def _seen(points: Float[Tensor, "people 33 3"]) -> Float[Tensor, "people 33 2"]:
    return points[..., :2] / points[..., 2:].clamp_min(0.2)
