# SPDX-License-Identifier: Apache-2.0
"""What a head says of one person, back in the camera's axes, and the head that says it.

Imports: torch, the network, the inputs.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ikol.regressor.head.forearm_network import ForearmNetwork
from ikol.regressor.head.inputs import HeadInput, canonical
from ikol.regressor.head.network import NUM_JOINTS, NUM_TREE, HeadNetwork, HeadOutput
from ikol.regressor.landmarks import LEFT_RIGHT
from ikol.regressor.person import PersonLandmarks

# Joints by their number: those of the other side, and the order of the ends under a mirror.
MIRRORED_JOINTS = (0, 2, 1, 3, 5, 4, 6, 8, 7, 9, 11, 10, 12, 14, 13, 15, 17, 16, 19, 18, 21, 20, 23, 22)
MIRRORED_NODES = (*MIRRORED_JOINTS, 25, 24, 26, 28, 27, *(NUM_TREE + other for other in LEFT_RIGHT))


@dataclass(frozen=True)
class HeadPrediction:
    """What a network says of one person's body beyond the picture's landmarks; None where it says nothing.

    Joints are SMPL's 24 in their order. float32 on the CPU. Standard deviations are infinite where nothing is known.
    """

    joints: Float[Tensor, "24 3"] | None = None
    """Metres from the middle of the hip landmarks, camera axes (x right, y down, z forward)."""
    joints_sigma: Float[Tensor, "24 3"] | None = None
    """Along each axis of the camera."""
    landmarks: Float[Tensor, "33 3"] | None = None
    """Like the joints: where the body has the landmarks, which is not quite where the landmark network has them."""
    landmarks_sigma: Float[Tensor, "33 3"] | None = None
    twist: Float[Tensor, "24"] | None = None
    """Radians about the bone of each joint, as the pipeline's `Twist`."""
    twist_sigma: Float[Tensor, "24"] | None = None
    betas: Float[Tensor, "betas"] | None = None
    betas_sigma: Float[Tensor, "betas"] | None = None
    betas_body: str = ""
    """The name of the body that the betas and the joints are of; empty where that is not known."""
    depth: float = math.nan
    """Metres along the camera's axis to the middle of the hips."""
    depth_sigma: float = math.inf


@dataclass(frozen=True)
class Calibration:
    """By what the network's standard deviations are multiplied, found on validation data."""

    joints_plane: float = 1.0
    joints_depth: float = 1.0
    twist: float = 1.0
    betas: float = 1.0
    depth: float = 1.0
    forearm: float = 1.0


class LandmarkHead:
    """A trained head. Holds networks; no state between calls."""

    def __init__(
        self, network: HeadNetwork, calibration: Calibration, body: str, forearm: ForearmNetwork | None = None
    ) -> None:
        """Take a network with its calibration.

        Args:
            network: reads the landmarks.
            calibration: of both networks.
            body: the name of the body whose joints and betas they learned.
            forearm: reads the hands (`ikol.regressor.head.forearm`).
        """
        self.network = network.eval()
        self.forearm = None if forearm is None else forearm.eval()
        self.calibration = calibration
        self.body = body

    def predict(
        self, persons: Sequence[PersonLandmarks], focal: tuple[float, float], center: tuple[float, float]
    ) -> list[HeadPrediction]:
        """Return what the head says of persons of one picture, whose lens has this focal length and centre, pixels."""
        if not persons:
            return []
        with torch.inference_mode():
            landmarks = HeadInput.from_persons(persons, focal, center, self.network.components)
            frame = canonical(landmarks)
            output = run_both_ways(self.network, landmarks)
            rotation = frame.R_ray_camera
            factor = self.calibration
            scale = output.joints.new_tensor((factor.joints_plane, factor.joints_plane, factor.joints_depth))
            nodes = output.joints @ rotation
            # the variance along a camera axis of what is independent along the axes of the person's frame
            variance = (scale * output.joints_sigma).square() @ rotation.square()
            sigma, angle = variance.sqrt(), torch.atan2(output.twist[..., 1], output.twist[..., 0])
            twist_sigma = factor.twist * circular_sigma(output.concentration)
            place = hips_in_camera(output, frame.distance, rotation)
        return [
            HeadPrediction(
                joints=nodes[index, :NUM_JOINTS],
                joints_sigma=sigma[index, :NUM_JOINTS],
                landmarks=nodes[index, NUM_TREE:],
                landmarks_sigma=sigma[index, NUM_TREE:],
                twist=angle[index],
                twist_sigma=twist_sigma[index],
                betas=output.betas[index],
                betas_sigma=factor.betas * output.betas_sigma[index],
                betas_body=self.body,
                depth=float(place[index, 2]),
                depth_sigma=float(factor.depth * output.hips_sigma[index, 2] * place[index].norm()),
            )
            for index in range(len(persons))
        ]


def hips_in_camera(
    output: HeadOutput, distance: Float[Tensor, " people"], rotation: Float[Tensor, "people 3 3"]
) -> Float[Tensor, "people 3"]:
    """Return the middle of the hip landmarks in camera axes, metres."""
    depth = distance * output.hips[:, 2].exp()
    plane = output.hips[:, :2] * depth[:, None] / distance[:, None]
    return (torch.cat((plane, depth[:, None]), -1)[:, None] @ rotation)[:, 0]


def circular_sigma(concentration: Tensor) -> Tensor:
    """Return the standard deviation of an angle, radians, for von Mises' kappa: sqrt(-2 ln(I1(kappa) / I0(kappa)))."""
    length = torch.special.i1e(concentration) / torch.special.i0e(concentration)
    return (-2.0 * length.clamp(1e-6, 1.0 - 1e-7).log()).sqrt()


def run_both_ways(network: HeadNetwork, landmarks: HeadInput) -> HeadOutput:
    """Return the mean of what the network says of the persons and of their mirror images.

    So a mirrored person gets the mirrored answer exactly, and the error drops by some percent.
    """
    count = len(landmarks.rays)
    both = network(canonical(landmarks.joined(landmarks.mirrored())).features)
    one, other = output_rows(both, slice(None, count)), mirrored_output(output_rows(both, slice(count, None)))
    twist = one.twist + other.twist
    length = twist.norm(dim=-1, keepdim=True)
    return HeadOutput(
        joints=(one.joints + other.joints) / 2,
        joints_sigma=((one.joints_sigma.square() + other.joints_sigma.square()) / 2).sqrt(),
        twist=twist / length.clamp_min(1e-6),
        # where the two ways disagree, their mean is short and less is known
        concentration=(one.concentration + other.concentration) / 2 * (length[..., 0] / 2).square(),
        betas=(one.betas + other.betas) / 2,
        betas_sigma=((one.betas_sigma.square() + other.betas_sigma.square()) / 2).sqrt(),
        hips=(one.hips + other.hips) / 2,
        hips_sigma=((one.hips_sigma.square() + other.hips_sigma.square()) / 2).sqrt(),
    )


def output_rows(output: HeadOutput, rows: slice | Tensor) -> HeadOutput:
    """Return the output of some persons."""
    return HeadOutput(
        output.joints[rows],
        output.joints_sigma[rows],
        output.twist[rows],
        output.concentration[rows],
        output.betas[rows],
        output.betas_sigma[rows],
        output.hips[rows],
        output.hips_sigma[rows],
    )


def mirrored_output(output: HeadOutput) -> HeadOutput:
    """Return the output of the mirrored persons: left and right change places, angles about bones their sign."""
    nodes = torch.tensor(MIRRORED_NODES, device=output.joints.device)
    joints = nodes[:NUM_JOINTS]
    flip = output.joints.new_tensor((-1.0, 1.0, 1.0))
    return HeadOutput(
        output.joints[:, nodes] * flip,
        output.joints_sigma[:, nodes],
        output.twist[:, joints] * output.twist.new_tensor((1.0, -1.0)),
        output.concentration[:, joints],
        output.betas,
        output.betas_sigma,
        output.hips * flip,
        output.hips_sigma,
    )
