# SPDX-License-Identifier: Apache-2.0
"""How good a head is on examples with truth, and by what its standard deviations must be multiplied.

Imports: torch, the head, the IKOL layer, the truth.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ikol.evaluation.metrics import mpjpe, pa_mpjpe
from ikol.regressor.head import HeadNetwork, HeadOutput
from ikol.regressor.head.inputs import canonical
from ikol.regressor.head.network import NUM_JOINTS, NUM_TREE
from ikol.regressor.head.prediction import Calibration, circular_sigma, output_rows, run_both_ways
from ikol.solver.directions import IKOLLayer
from ikol.training.head.examples import HeadExamples
from ikol.training.head.losses import geodesic
from ikol.training.head.truth import HeadTruth

TWISTED = (1, 2, 4, 5, 7, 8, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21)
"""The joints whose twist no other joint's place says: the limbs', the neck's and the head's."""
_ROWS = 4096  # people at a time


@dataclass(frozen=True)
class HeadScores:
    """Means over the people; millimetres, degrees, shares."""

    mpjpe_mm: float
    pa_mpjpe_mm: float
    depth_mm: float
    """Mean distance along the line of sight alone."""
    rotation_deg: float
    """Mean angle of the local rotations after the layer."""
    twist_deg: float
    """Mean twist error of the limbs, the neck and the head."""
    forearm_deg: float
    """Of the elbows' twist alone, which turns the hands."""
    beta_error: float
    """Mean absolute error of a beta."""
    one_sigma: float
    """Share of the joints' coordinates within one standard deviation."""
    two_sigma: float
    one_sigma_depth: float
    two_sigma_depth: float
    twist_one_sigma: float
    twist_two_sigma: float
    betas_one_sigma: float


@dataclass(frozen=True)
class Judged:
    """What a head says of examples, and the truth in the same frames."""

    output: HeadOutput
    truth: HeadTruth
    distance: Float[Tensor, " people"]


def judge(network: HeadNetwork, examples: HeadExamples) -> Judged:
    """Run a head on examples."""
    frame = canonical(examples.landmarks)
    starts = range(0, len(examples), _ROWS)
    with torch.inference_mode():
        parts = [run_both_ways(network, examples.landmarks[start : start + _ROWS]) for start in starts]
    names = vars(parts[0])
    output = HeadOutput(**{name: torch.cat([getattr(part, name) for part in parts]) for name in names})
    return Judged(output, examples.truth.turned(frame.R_ray_camera), frame.distance)


def calibrate(judged: Judged) -> Calibration:
    """Return the factors with which two thirds of what was judged lies within one standard deviation."""
    output, truth = judged.output, judged.truth
    error, sigma = output.joints - truth.joints, output.joints_sigma
    some = torch.linspace(0, len(error) - 1, min(len(error), 2000)).long()  # quantile() takes 16 million numbers
    twisted = list(TWISTED)
    depth = (truth.hips[:, 2] / judged.distance).log()
    return Calibration(
        joints_plane=one_sigma_factor(error[some, :, :2], sigma[some, :, :2]),
        joints_depth=one_sigma_factor(error[some, :, 2], sigma[some, :, 2]),
        twist=one_sigma_factor(
            angle_error(output.twist, truth.twist)[some][:, twisted],
            circular_sigma(output.concentration)[some][:, twisted],
        ),
        betas=one_sigma_factor((output.betas - truth.betas)[some], output.betas_sigma[some]),
        depth=one_sigma_factor(output.hips[some, 2] - depth[some], output.hips_sigma[some, 2]),
    )


def scores(judged: Judged, calibration: Calibration, layer: IKOLLayer) -> HeadScores:
    """Return how good a head is."""
    output, truth = judged.output, judged.truth
    joints, known = output.joints[:, :NUM_JOINTS], truth.joints[:, :NUM_JOINTS]
    valid = torch.ones(joints.shape[:2], dtype=torch.bool)
    error = joints - known
    plane = error[..., :2].abs() / (calibration.joints_plane * output.joints_sigma[:, :NUM_JOINTS, :2])
    depth = error[..., 2].abs() / (calibration.joints_depth * output.joints_sigma[:, :NUM_JOINTS, 2])
    every = torch.cat((plane.flatten(), depth.flatten()))
    twist = angle_error(output.twist, truth.twist).abs()
    turned = (twist / (calibration.twist * circular_sigma(output.concentration)))[:, list(TWISTED)]
    shape = (output.betas - truth.betas).abs() / (calibration.betas * output.betas_sigma)
    return HeadScores(
        mpjpe_mm=1000 * float(mpjpe(joints, known, valid).mean()),
        pa_mpjpe_mm=1000 * float(pa_mpjpe(joints, known, valid).mean()),
        depth_mm=1000 * float(error[..., 2].abs().mean()),
        rotation_deg=math.degrees(float(_rotation_error(output, truth, layer))),
        twist_deg=math.degrees(float(twist[:, list(TWISTED)].mean())),
        forearm_deg=math.degrees(float(twist[:, 18:20].mean())),
        beta_error=float((output.betas - truth.betas).abs().mean()),
        one_sigma=share_within(every, 1.0),
        two_sigma=share_within(every, 2.0),
        one_sigma_depth=share_within(depth, 1.0),
        two_sigma_depth=share_within(depth, 2.0),
        twist_one_sigma=share_within(turned, 1.0),
        twist_two_sigma=share_within(turned, 2.0),
        betas_one_sigma=share_within(shape, 1.0),
    )


_ONE_SIGMA = 0.683


def one_sigma_factor(error: Tensor, sigma: Tensor) -> float:
    """Return by what standard deviations must be multiplied to have two thirds of the errors within one.

    The 68.3 % quantile of |error| / sigma, so that outliers, which no factor mends, have no say.
    """
    return float((error.abs() / sigma).flatten().double().quantile(_ONE_SIGMA))


def share_within(standing: Tensor, most: float) -> float:
    """Return the share that is below a bound."""
    return float((standing < most).double().mean())


def angle_error(direction: Float[Tensor, "*batch 2"], angle: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """Return how far the angle of (cos, sin) is from another one, radians, in (-pi, pi]."""
    difference = torch.atan2(direction[..., 1], direction[..., 0]) - angle
    return torch.atan2(difference.sin(), difference.cos())


def _rotation_error(output: HeadOutput, truth: HeadTruth, layer: IKOLLayer) -> Tensor:
    angles: list[Tensor] = []
    with torch.no_grad():
        for start in range(0, len(truth.betas), _ROWS):
            some = output_rows(output, slice(start, start + _ROWS))
            # an inference tensor may not enter the layer, which keeps what it is given for a derivative
            twist = torch.atan2(some.twist[..., 1], some.twist[..., 0])
            result = layer(some.joints[:, :NUM_TREE].clone(), twist.clone(), some.betas.clone())
            angles.append(geodesic(result.local_rotmat[:, :NUM_JOINTS], truth.local_rotmat[start : start + _ROWS]))
    return torch.cat(angles).mean()
