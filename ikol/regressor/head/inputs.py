# SPDX-License-Identifier: Apache-2.0
"""What the head reads: landmarks of some persons, brought into a frame in which all persons look alike.

In that frame the camera looks straight at the person and lengths on the picture are metres at about the person's
distance, so that the head need not learn where on the picture a person stands, how large it is, or what the lens does.
Imports: torch, the landmarks.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ikol.regressor.landmarks import LEFT_RIGHT, NUM_LANDMARKS
from ikol.regressor.person import PersonLandmarks

NUM_FEATURES = NUM_LANDMARKS * 11 + 1
NUM_COMPONENTS = 512  # of the landmark network's inner values
NUM_INNER_FEATURES = 2 * NUM_COMPONENTS + 1
MIN_EXTENT = 0.05  # metres and, a metre away, radians: what a degenerate person's landmarks are spread by at least
MIN_SPREAD, MAX_SPREAD = 0.005, 0.5  # metres; beyond them a standard deviation says that all or nothing is known
RAY_LIMIT = 2.0  # metres from the person's middle; what lies further off is an outlier and must not drown the rest


@dataclass(frozen=True)
class HeadInput:
    """Landmarks of some persons, in the order of ``BLAZEPOSE_LANDMARKS``."""

    rays: Float[Tensor, "people 33 2"]
    """(x - center) / focal: where the landmark's line of sight meets the plane a metre before the camera."""
    rays_sigma: Float[Tensor, "people 33"]
    """Standard deviation of ``rays``."""
    world: Float[Tensor, "people 33 3"]
    """The network's metres from the middle of the hips, camera axes."""
    world_sigma: Float[Tensor, "people 33 3"]
    visibility: Float[Tensor, "people 33"]
    in_picture: Bool[Tensor, "people 33"]
    """Where it is False the ray is not read."""
    inner: Float[Tensor, "people 2 components"] | None = None
    """Components of the network's inner values, of the plain crops and of the mirrored ones; all zero for a person of
    whom they are not known, None for people of whom none are."""

    @staticmethod
    def from_persons(
        persons: Sequence[PersonLandmarks],
        focal: tuple[float, float],
        center: tuple[float, float],
        components: Callable[[Tensor], Tensor] | None = None,
    ) -> "HeadInput":
        """Return the persons of one picture.

        Args:
            persons: at least one.
            focal: of the picture's lens, pixels.
            center: of the picture's lens, pixels.
            components: takes inner values (..., inner) to their components; None leaves the inner values out.
        """
        scale = persons[0].image_points.new_tensor(focal)
        unknown = scale.new_zeros(2, NUM_COMPONENTS)
        inner = [unknown if components is None or one.inner is None else components(one.inner) for one in persons]
        return HeadInput(
            torch.stack([(one.image_points - scale.new_tensor(center)) / scale for one in persons]),
            torch.stack([one.image_sigma / scale.mean() for one in persons]),
            torch.stack([one.world_points for one in persons]),
            torch.stack([one.world_sigma for one in persons]),
            torch.stack([one.visibility for one in persons]),
            torch.stack([one.in_picture for one in persons]),
            None if components is None else torch.stack(inner),
        )

    def mirrored(self) -> "HeadInput":
        """Return what a mirror would show: left and right change places."""
        swap = torch.tensor(LEFT_RIGHT, device=self.rays.device)
        flip = self.world.new_tensor([-1.0, 1.0, 1.0])
        return HeadInput(
            self.rays[:, swap] * flip[:2],
            self.rays_sigma[:, swap],
            self.world[:, swap] * flip,
            self.world_sigma[:, swap],
            self.visibility[:, swap],
            self.in_picture[:, swap],
            # the mirrored crops of a mirrored person are the plain ones
            None if self.inner is None else self.inner.flip(1),
        )

    def known_inner(self) -> Float[Tensor, "people 2 components"]:
        """Return the components, zero where none are known."""
        unknown = self.world.new_zeros(1, 2, NUM_COMPONENTS).expand(len(self.world), -1, -1)
        return unknown if self.inner is None else self.inner

    def without_inner(self, people: Bool[Tensor, " people"]) -> "HeadInput":
        """Return the persons, of some of whom the inner values are not known."""
        return replace(self, inner=torch.where(people[:, None, None], 0.0, self.known_inner()))

    def joined(self, other: "HeadInput") -> "HeadInput":
        """Return the persons of both."""
        return HeadInput(
            torch.cat((self.rays, other.rays)),
            torch.cat((self.rays_sigma, other.rays_sigma)),
            torch.cat((self.world, other.world)),
            torch.cat((self.world_sigma, other.world_sigma)),
            torch.cat((self.visibility, other.visibility)),
            torch.cat((self.in_picture, other.in_picture)),
            None
            if self.inner is None and other.inner is None
            else torch.cat((self.known_inner(), other.known_inner())),
        )

    def __getitem__(self, index: slice | Tensor) -> "HeadInput":
        """Return some of the persons."""
        return HeadInput(
            self.rays[index],
            self.rays_sigma[index],
            self.world[index],
            self.world_sigma[index],
            self.visibility[index],
            self.in_picture[index],
            None if self.inner is None else self.inner[index],
        )


@dataclass(frozen=True)
class CanonicalInput:
    """The landmarks in the persons' own frames, and where these frames are."""

    features: Float[Tensor, "people features"]
    """The landmarks, then the components and whether they are known."""
    R_ray_camera: Float[Tensor, "people 3 3"]
    """Rotates the camera's axes so that z points at the person's middle."""
    distance: Float[Tensor, " people"]
    """Metres at which a person as large as its world landmarks looks as large as it does."""


def canonical(landmarks: HeadInput) -> CanonicalInput:
    """Turn the camera to the person, and scale the picture to metres.

    Source: the network sees a crop, in which every person is in the middle; see docs/models/head.md.
    """
    weight = landmarks.in_picture.to(landmarks.rays)[..., None]
    count = weight.sum(1).clamp_min(1.0)
    rays = torch.where(landmarks.in_picture[..., None], landmarks.rays, 0.0)
    middle = (rays * weight).sum(1) / count
    rotation = towards(middle)
    turned = torch.cat((rays, torch.ones_like(rays[..., :1])), -1) @ rotation.mT
    rays = turned[..., :2] / turned[..., 2:].clamp_min(1e-3)
    rays = torch.where(landmarks.in_picture[..., None], rays, 0.0)
    # Missing landmarks have no ray; then their world places do not count for the scale either.
    plane = landmarks.world[..., :2]
    plane = (plane - ((plane * weight).sum(1) / count)[:, None]) * weight
    extent = (plane.square().sum((1, 2)) / count[:, 0]).sqrt().clamp_min(MIN_EXTENT)
    angular = (rays.square().sum((1, 2)) / count[:, 0]).sqrt()
    distance = extent / angular.maximum(MIN_EXTENT * extent / 10.0)
    places = (rays * distance[:, None, None]).clamp(-RAY_LIMIT, RAY_LIMIT)
    sigma, inner = landmarks.rays_sigma * distance[:, None], landmarks.known_inner()
    features = torch.cat(
        (
            places.flatten(1),
            landmarks.world.flatten(1).clamp(-RAY_LIMIT, RAY_LIMIT),
            _log_spread(torch.where(landmarks.in_picture, sigma, MAX_SPREAD)),
            _log_spread(landmarks.world_sigma).flatten(1),
            landmarks.visibility,
            landmarks.in_picture.to(places),
            distance.log()[:, None],
            inner.flatten(1),
            (inner != 0).any(2).any(1, keepdim=True).to(places),
        ),
        -1,
    )
    return CanonicalInput(features, rotation, distance)


def _log_spread(sigma: Tensor) -> Tensor:
    return (sigma.clamp(MIN_SPREAD, MAX_SPREAD) / 0.03).log()


def towards(middle: Float[Tensor, "people 2"]) -> Float[Tensor, "people 3 3"]:
    """Return the smallest rotations that take the directions (x, y, 1) to z."""
    direction = torch.cat((middle, torch.ones_like(middle[:, :1])), -1)
    x, y, z = (direction / direction.norm(dim=-1, keepdim=True)).unbind(-1)
    rest = 1.0 / (1.0 + z)  # z > 0: what a camera sees lies before it
    rows = (
        (1.0 - x * x * rest, -x * y * rest, -x),
        (-x * y * rest, 1.0 - y * y * rest, -y),
        (x, y, z),
    )
    return torch.stack([torch.stack(row, -1) for row in rows], -2)
