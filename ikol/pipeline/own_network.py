# SPDX-License-Identifier: Apache-2.0
"""What a user's network says of a picture, as evidence by the names of our body's points.

The network replaces the landmarks' evidence: two networks that look at the same picture err together, and who brings
one wants to see what it says. Persons are found by the network itself, or as always.
"""

from collections.abc import Sequence

import torch
from jaxtyping import UInt8
from numpy import ndarray
from torch import Tensor

from ikol.body.bone_axes import bone_axes
from ikol.body.model import BodyModel
from ikol.errors import InputError
from ikol.geometry.swing_twist import twist_angle
from ikol.pipeline.evidence import (
    DetectedPerson,
    Intrinsics,
    Keypoints2D,
    NamedEvidence,
    RelativeKeypoints3D,
    Shape,
    Twist,
)
from ikol.pipeline.problem import camera_of
from ikol.regressor.landmarks import BLAZEPOSE_LANDMARKS, NUM_LANDMARKS
from ikol.regressor.manifest import NetworkPerson, OwnNetwork
from ikol.regressor.networks.joints import LEAVES, SMPL24
from ikol.regressor.person import PersonLandmarks

Box = tuple[float, float, float, float]
BOX_GROWTH = 1.1  # the landmarks' box leaves out the crown, fingers and soles, which detectors' boxes hold
MIN_OVERLAP = 0.3  # of a box that the user gives and one that the network finds, to be one person's
_TWISTS = tuple(name for name in SMPL24[1:] if name not in LEAVES)


def evidence_of_network(person: NetworkPerson, body: BodyModel) -> tuple[NamedEvidence, ...]:
    """Return what a network says of one person as evidence; nothing where it sees nothing.

    Raises:
        InputError: it speaks of joints that the body does not have.
    """
    unknown = {*person.names2d, *person.names3d, *person.twist_names} - {*body.points.names}
    if unknown:
        raise InputError(f"the body {body.name!r} has no {', '.join(sorted(unknown)[:5])}, of which the network speaks")
    blocks: list[NamedEvidence] = []
    if person.points2d is not None and person.sigma2d is not None:
        blocks.append(Keypoints2D(person.names2d, person.points2d.double(), person.sigma2d.double()))
    if person.points3d is not None and person.sigma3d is not None:
        blocks.append(RelativeKeypoints3D(person.names3d, person.points3d.double(), person.sigma3d.double()))
    if not blocks:
        return ()
    twist = _twist(person, body)
    if twist is not None:
        blocks.append(twist)
    betas = person.betas
    if betas is not None and person.betas_body == body.name and bool(betas.isfinite().all()):
        used, count = betas[: body.num_betas].double(), min(len(betas), body.num_betas)
        mean, sigma = used.new_zeros(body.num_betas), used.new_ones(body.num_betas)  # the prior of what it does not say
        mean[:count], sigma[:count] = used, person.betas_sigma
        blocks.append(Shape(body.name, mean, sigma))
    return tuple(blocks)


def _twist(person: NetworkPerson, body: BodyModel) -> Twist | None:
    """Return the twists that the network says itself, else those of the rotations that it says."""
    names, angles = person.twist_names, person.twist
    if angles is None and person.local_rotmat is not None:
        known = [
            name
            for name in _TWISTS
            if name in body.tree.names and bool(person.local_rotmat[SMPL24.index(name)].isfinite().all())
        ]
        rotmat = person.local_rotmat[[SMPL24.index(name) for name in known]].double()
        axes = bone_axes(body)[[body.tree.names.index(name) for name in known]]
        names, angles = tuple(known), twist_angle(rotmat, axes.to(rotmat))
    if angles is None or not names:
        return None
    return Twist(names, angles.double(), torch.full((len(names),), person.twist_sigma, dtype=torch.float64))


def look_with(
    network: OwnNetwork,
    rgb: UInt8[ndarray, "height width 3"],
    intrinsics: Intrinsics,
    body: BodyModel,
    persons: Sequence[PersonLandmarks],
    *,
    boxes: Sequence[Box] = (),
    max_persons: int = 8,
    rotation_deg: float = 0.0,
) -> tuple[DetectedPerson, ...]:
    """Return the persons of a picture as a user's network sees them.

    Args:
        network: the user's.
        rgb: the upright picture.
        intrinsics: its lens.
        body: whose points the evidence names.
        persons: whom our own network found, whose landmarks stay with the result; none for a network that finds
            persons itself, and with boxes.
        boxes: the user's, instead of persons.
        max_persons: how many at most.
        rotation_deg: by how much the persons are turned clockwise from upright.

    Raises:
        InputError: the network's answers are not what its manifest says.
    """
    camera = camera_of(intrinsics, None)
    if network.finds_persons:
        found = network.look_at_picture(rgb, camera.to(dtype=torch.float32), max(max_persons, len(boxes)))
        found = [match for box in boxes if (match := _match(found, box)) is not None] if boxes else found
    else:
        windows = boxes or [_grown(one.box) for one in persons]
        seen = () if boxes else persons[:max_persons]
        found = network.look_at_boxes(rgb, windows[:max_persons], camera, rotation_deg, seen)
    landmarks = [None] * len(found) if boxes or network.finds_persons else persons[: len(found)]
    result: list[DetectedPerson] = []
    for person, known in zip(found, landmarks, strict=True):
        evidence = evidence_of_network(person, body)
        if evidence:
            raw = _landmarks(person, rgb.shape[1], rgb.shape[0]) if known is None else known
            doubts = () if known is None else known.doubts
            result.append(DetectedPerson(person.score, person.box, evidence, _confidence(person), raw, doubts))
    return tuple(result)


def _grown(box: Tensor) -> Box:
    x0, y0, x1, y1 = (float(value) for value in box)
    more_x, more_y = (x1 - x0) * (BOX_GROWTH - 1) / 2, (y1 - y0) * (BOX_GROWTH - 1) / 2
    return x0 - more_x, y0 - more_y, x1 + more_x, y1 + more_y


def _match(persons: list[NetworkPerson], box: Box) -> NetworkPerson | None:
    """Return the person whose box overlaps this one most."""

    def overlap(other: Box) -> float:
        wide = min(box[2], other[2]) - max(box[0], other[0])
        high = min(box[3], other[3]) - max(box[1], other[1])
        shared = max(wide, 0.0) * max(high, 0.0)
        areas = (box[2] - box[0]) * (box[3] - box[1]) + (other[2] - other[0]) * (other[3] - other[1])
        return shared / max(areas - shared, 1e-9)

    best = max(persons, key=lambda person: overlap(person.box), default=None)
    return best if best is not None and overlap(best.box) >= MIN_OVERLAP else None


def _confidence(person: NetworkPerson) -> dict[str, float]:
    """Return how sure each landmark is beside the surest, for the add-on's colours."""
    if person.sigma2d is None:
        return {}
    share = person.score * person.sigma2d.min() / person.sigma2d
    return {name: round(float(value), 4) for name, value in zip(person.names2d, share, strict=True)}


def _landmarks(person: NetworkPerson, width: int, height: int) -> PersonLandmarks:
    """Return the network's points as landmarks; those that it does not give are not in the picture."""
    image, sigma = torch.zeros(NUM_LANDMARKS, 2), torch.full((NUM_LANDMARKS,), float(max(width, height)))
    world, world_sigma = torch.zeros(NUM_LANDMARKS, 3), torch.ones(NUM_LANDMARKS, 3)
    confidence, inside = torch.zeros(NUM_LANDMARKS), torch.zeros(NUM_LANDMARKS, dtype=torch.bool)
    sure = _confidence(person)
    if person.points2d is not None and person.sigma2d is not None:
        for name, point, doubt in zip(person.names2d, person.points2d, person.sigma2d, strict=True):
            if name in BLAZEPOSE_LANDMARKS:
                index = BLAZEPOSE_LANDMARKS.index(name)
                image[index], sigma[index], confidence[index] = point, doubt, sure[name]
                inside[index] = bool((point >= 0).all()) and float(point[0]) < width and float(point[1]) < height
    if person.points3d is not None and person.sigma3d is not None:
        for name, point, doubt in zip(person.names3d, person.points3d, person.sigma3d, strict=True):
            if name in BLAZEPOSE_LANDMARKS:
                index = BLAZEPOSE_LANDMARKS.index(name)
                world[index], world_sigma[index] = point, doubt
    return PersonLandmarks(
        person.score, torch.tensor(person.box), image, sigma, world, world_sigma, confidence, confidence, inside
    )
