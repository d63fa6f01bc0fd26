# SPDX-License-Identifier: Apache-2.0
"""All errors of one solved picture. What the data set does not know stays None.

Imports: torch, the body, metrics, calibration's numbers.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ikol.body.bone_axes import bone_axes
from ikol.body.default_body import load_default_body
from ikol.body.model import BodyModel
from ikol.body.skinning import linear_blend_skinning
from ikol.camera import Camera
from ikol.evaluation.metrics import bone_angles_deg, geodesic_deg, mpjpe, pa_mpjpe, twist_errors_deg
from ikol.evaluation.samples import EvaluationSample, EvaluationSet, bones_of
from ikol.pipeline import Pose
from ikol.pipeline.placement import point_positions

METRES_TO_MM = 1000.0
LEAST_SIGMA = 1e-6  # metres; less has only what is the origin itself, up to rounding


@dataclass(frozen=True, eq=False)
class PointErrors:
    """Errors of points in space against the truth, both moved to the same origin."""

    mpjpe_mm: float
    pa_mpjpe_mm: float
    each_mm: Float[Tensor, "points"]
    """Of each scored point; NaN where the truth is unknown."""
    bones_deg: Float[Tensor, "bones"]
    """Of each bone of `bones_of`; NaN where the truth is unknown."""


@dataclass(frozen=True, eq=False)
class PictureErrors:
    """What is wrong with one solved picture."""

    name: str
    solved: PointErrors
    raw: PointErrors | None
    """Of the network's own landmarks in space, where these are what is scored."""
    geodesic_deg: Float[Tensor, "joints"] | None
    twist_deg: Float[Tensor, "joints"] | None
    pve_mm: float | None
    """Mean distance of the vertices, both meshes moved to the same root joint."""
    shape_mm: float | None
    """Mean distance of the vertices of the two shapes in the rest pose, both moved to the same root joint."""
    error_2d_percent: float
    """Mean distance on the picture, percent of the longer side of the box around the truth's points."""
    scores: Float[Tensor, "points 3"]
    """Errors along the camera's axes in standard deviations; NaN where truth or sigma are unknown."""
    up_deg: float | None
    """Between the vertical that the person was placed by and the true one."""
    seconds: float
    solved_px: Float[Tensor, "points 2"]
    """Scored points of the solved body on the picture."""
    truth_px: Float[Tensor, "points 2"]
    """Scored points of the truth on the picture; NaN where unknown."""


def picture_errors(
    sample: EvaluationSample,
    dataset: EvaluationSet,
    body: BodyModel,
    pose: Pose,
    camera: Camera,
    covariance: Float[Tensor, "points 3 3"],
    *,
    raw: PointErrors | None,
    seconds: float,
) -> PictureErrors:
    """Compare a solved body with the truth of a sample.

    Args:
        sample: with the truth.
        dataset: says what counts.
        body: that was posed.
        pose: the solved one.
        camera: that took the sample's picture.
        covariance: of the scored points relative to the origin, square metres, camera axes.
        raw: errors of the network's own landmarks.
        seconds: that the picture took.
    """
    points = camera.to_camera(point_positions(body, pose, dataset.scored))
    relative = points - camera.to_camera(point_positions(body, pose, dataset.origin)).mean(0)
    truth, valid = scored_truth(sample, dataset)
    lens = camera.with_extrinsics(torch.eye(3, dtype=points.dtype), torch.zeros(3, dtype=points.dtype))
    solved_px, truth_px = lens.project(points), lens.project(sample.truth.select(dataset.scored)[0].double())
    known = truth_px[valid]
    side = (known.amax(0) - known.amin(0)).max()
    sigma = covariance.diagonal(dim1=-2, dim2=-1).sqrt()
    scores = torch.where(valid[:, None] & (sigma > LEAST_SIGMA), (relative - truth) / sigma, torch.nan)
    turned = rotation_errors(body, pose, camera, sample)
    pve, shape = _mesh_errors(body, pose, camera, sample, dataset.body)
    up = sample.truth.up
    return PictureErrors(
        name=sample.name,
        solved=point_errors(relative, sample, dataset),
        raw=raw,
        geodesic_deg=None if turned is None else turned[0],
        twist_deg=None if turned is None else turned[1],
        pve_mm=pve,
        shape_mm=shape,
        error_2d_percent=100.0 * float((solved_px[valid] - known).norm(dim=-1).mean() / side),
        scores=scores,
        up_deg=None if up is None else _angle_deg(camera.R_camera_world[:, 1], up.double()),
        seconds=seconds,
        solved_px=solved_px,
        truth_px=torch.where(valid[:, None], truth_px, torch.nan),
    )


def _angle_deg(one: Float[Tensor, "3"], other: Float[Tensor, "3"]) -> float:
    first, second = (torch.stack((torch.zeros_like(each), each)) for each in (one, other))
    return float(bone_angles_deg(first, second, torch.tensor([[0, 1]]))[0])


def point_errors(relative: Float[Tensor, "points 3"], sample: EvaluationSample, dataset: EvaluationSet) -> PointErrors:
    """Compare scored points (camera axes, metres, relative to their origin) with the truth's."""
    truth, valid = scored_truth(sample, dataset)
    bones = torch.tensor([[dataset.scored.index(end) for end in bone] for bone in bones_of(dataset.scored)])
    return PointErrors(
        METRES_TO_MM * float(mpjpe(relative, truth, valid)),
        METRES_TO_MM * float(pa_mpjpe(relative, truth, valid)),
        torch.where(valid, METRES_TO_MM * (relative - truth).norm(dim=-1), torch.nan),
        torch.where(valid[bones].all(-1), bone_angles_deg(relative, truth, bones), torch.nan),
    )


def scored_truth(
    sample: EvaluationSample, dataset: EvaluationSet
) -> tuple[Float[Tensor, "points 3"], Bool[Tensor, "points"]]:
    """Return the truth's scored points relative to its origin, and which are known."""
    points, valid = sample.truth.select(dataset.scored)
    return points.double() - sample.truth.select(dataset.origin)[0].double().mean(0), valid


def rotation_errors(
    body: BodyModel, pose: Pose, camera: Camera, sample: EvaluationSample
) -> tuple[Tensor, Tensor] | None:
    """Return geodesic distance and twist error of each joint in degrees; None without true rotations.

    The root's twist is about the picture's vertical, in axes whose y points up. In the camera's own, with y down,
    who stands is half a turn away from the rest pose, where a twist means nothing.
    """
    truth = sample.truth.camera_rotmat
    if truth is None:
        return None
    predicted, truth = (_with_y_up(each) for each in (_camera_rotmat(pose, camera), truth.double()))
    return geodesic_deg(predicted, truth), twist_errors_deg(predicted, truth, bone_axes(body))


def _with_y_up(camera_rotmat: Float[Tensor, "joints 3 3"]) -> Float[Tensor, "joints 3 3"]:
    flip = camera_rotmat.new_tensor((1.0, -1.0, -1.0))[:, None]
    return torch.cat((flip * camera_rotmat[:1], camera_rotmat[1:]))


def _camera_rotmat(pose: Pose, camera: Camera) -> Float[Tensor, "joints 3 3"]:
    """Return local rotations whose root's takes the model axes to camera axes."""
    return torch.cat((camera.R_camera_world @ pose.local_rotmat[:1], pose.local_rotmat[1:]))


def _mesh_errors(
    body: BodyModel, pose: Pose, camera: Camera, sample: EvaluationSample, truth_body: BodyModel | None
) -> tuple[float | None, float | None]:
    """Return PVE and shape error in mm; None where the truth lacks them or its mesh is another one."""
    theirs = load_default_body(dtype=torch.float64) if truth_body is None else truth_body
    truth = sample.truth
    if truth.betas is None or theirs.num_vertices != body.num_vertices:
        return None, None

    def posed(model: BodyModel, betas: Tensor, rotmat: Tensor) -> Tensor:
        # without translation the root joint is where it rests
        return linear_blend_skinning(model, betas, rotmat, rotmat.new_zeros(3)) - model.rest_joints(betas)[0]

    def distance(mine: Tensor, true: Tensor) -> float:
        return METRES_TO_MM * float((mine - true).norm(dim=-1).mean())

    betas = truth.betas.double()
    rest = torch.eye(3, dtype=torch.float64).expand(body.tree.num_joints, 3, 3)
    shape = distance(posed(body, pose.betas, rest), posed(theirs, betas, rest))
    if truth.camera_rotmat is None:
        return None, shape
    mine = posed(body, pose.betas, _camera_rotmat(pose, camera))
    return distance(mine, posed(theirs, betas, truth.camera_rotmat.double())), shape
