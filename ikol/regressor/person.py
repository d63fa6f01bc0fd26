# SPDX-License-Identifier: Apache-2.0
"""One person's landmarks with their uncertainty, from several augmented crops of that person.

How sure a landmark is, is read from how far it moves when the crop is mirrored, turned and scaled: the network's own
visibility and presence are 0.96 to 1.0 on garbage.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ikol.regressor.crops import PERSON_MARGIN, Crops
from ikol.regressor.hands import HandLandmarks
from ikol.regressor.landmarks import LEFT_RIGHT, NUM_LANDMARKS, CropLandmarks

AUGMENTATIONS: Sequence[tuple[float, float, bool]] = (
    (1.0, 0.0, False),
    (1.0, 0.0, True),
    (0.82, 0.2, False),
    (0.82, 0.2, True),
    (1.08, -0.2, False),
    (1.08, -0.2, True),
)
"""Scale of the side, added rotation (radians), mirrored.

On the four-view recording these 6 gain what 50 gain: MPJPE 111 mm without, 101 mm with them, 101 mm with 50. Crops
scaled by 1.15 and more swapped the arms of a man whose face is hidden in up to 12 % of the frames, those up to 1.05 in
3 %. The first two alone are the quick look.
"""
CLOSE_AUGMENTATIONS: Sequence[tuple[float, float, bool]] = tuple(
    (scale, turn, is_mirrored)
    for scale, turn in ((0.91, 0.1), (1.04, 0.1), (0.91, -0.1), (1.04, -0.2), (0.86, -0.2), (0.95, 0.2))
    for is_mirrored in (False, True)
)
"""More of them for the second look. On the recording (every eighth picture) they take the solve's MPJPE from 72.2 to
71.0 mm, on rendered people from 76.0 to 74.4. With turns up to 0.35 and sides of 0.75 the recording's got worse."""
QUICK_LOOK = 2
NUM_FACE = 11  # the first landmarks are those of the face

# Lengths in body sizes: the diameter of the circle around the body that the detector finds, about 1.3 body heights.
_AGREEMENT_SCALE = 0.02  # crops that agree are 0.005 apart on average, swapped arms make it 0.05
_AGREEMENT_CAP = 0.1  # beyond it a landmark is simply elsewhere
_FACE_WEIGHT = 0.3  # eleven points on a head say as much as three on a body
_MEDIAN_STEPS = 8  # Weiszfeld steps; six points are within 1 % of their spread after five

# Errors against the triangulated recording (2268 landmarks, heavy network), fitted as a sum of squares.
_IMAGE_FLOOR = 0.009  # what all crops get wrong together; the triangulation's own error is part of it
_IMAGE_SPREAD = 1.6  # crops of one picture share more than the truth, so their spread is too small
_IMAGE_HIDDEN = 0.03  # for a landmark that the network calls hidden; 30 px were seen where 13 were expected
_WORLD_SPREAD = (1.0, 1.0, 1.5)
_WORLD_FLOOR = ((0.07, 0.012, 0.04), (0.07, 0.012, 0.04), (0.2, 0.03, 0.12))
"""Per axis: metres a metre of distance from the hips, at least, at most. Depth is three times worse than the plane."""
_CONFIDENCE_SCALE = 0.03  # a crop that is this far off counts half
_SAME_PERSON = 0.07  # of the diagonal of the box; two heads side by side are 0.3 apart
_SAME_BOX = 0.65  # overlap: of a far person two crops may see skeletons that agree on little else
_HIDDEN_SHARE = 0.6  # of the confidence is lost by a landmark that the network calls hidden


@dataclass(frozen=True)
class PersonLandmarks:
    """Landmarks of one person, in the order of ``BLAZEPOSE_LANDMARKS``. float32 on the CPU."""

    score: float
    """Probability that this is a person: the landmark network's presence, averaged over the crops."""
    box: Float[Tensor, "4"]
    """x0, y0, x1, y1 around the landmarks that lie in the picture; pixels."""
    image_points: Float[Tensor, "33 2"]
    """Pixels of the upright picture, origin at its top-left corner; may lie outside the picture."""
    image_sigma: Float[Tensor, "33"]
    """Standard deviation of ``image_points`` along each axis; pixels."""
    world_points: Float[Tensor, "33 3"]
    """Metres from the middle of the hips; camera axes (x right, y down, z forward)."""
    world_sigma: Float[Tensor, "33 3"]
    """Standard deviation of ``world_points``; metres."""
    visibility: Float[Tensor, "33"]
    """The network's guess, 0 to 1, that a landmark is seen; a hint only."""
    confidence: Float[Tensor, "33"]
    """0 (useless) to 1, from how well the augmented crops agree."""
    in_picture: Bool[Tensor, "33"]
    """Whether the landmark lies inside the picture; what lies outside is the network's invention."""
    samples: "CropSamples | None" = None
    """What the augmented crops said, of which this is made; None for landmarks from elsewhere."""
    doubts: tuple[str, ...] = ()
    """Why the pose may be wrong as a whole (`ikol.regressor.doubts`)."""
    inner: Float[Tensor, "2 inner"] | None = None
    """Mean inner values of the network, of the plain crops and of the mirrored ones; None where it gave none."""
    hands: HandLandmarks | None = None
    """What the hand network says; None where it was not asked."""

    def pixels_per_metre(self) -> float:
        """Return how many pixels, at least 1, a metre at the person has, by how large its world landmarks look."""
        seen = self.in_picture if bool(self.in_picture.any()) else torch.ones_like(self.in_picture)
        world, image = self.world_points[seen, :2], self.image_points[seen]
        spread = (world - world.mean(0)).norm(dim=-1).mean()
        return max(1.0, float((image - image.mean(0)).norm(dim=-1).mean() / spread.clamp_min(0.05)))


@dataclass(frozen=True)
class CropSamples:
    """What several crops say about one person, all in the frame of the picture and with the person's own left."""

    points: Float[Tensor, "crops 33 2"]
    world: Float[Tensor, "crops 33 3"]
    visibility: Float[Tensor, "crops 33"]
    presence: Float[Tensor, " crops"]
    size: float
    """Body size in pixels."""
    inner: Float[Tensor, "crops inner"] | None = None
    """Inner values of the network, those of mirrored crops as of a mirrored person."""
    mirrored: Bool[Tensor, " crops"] | None = None
    """Of which crops the inner values are mirrored."""

    @staticmethod
    def from_crops(crops: Crops, landmarks: CropLandmarks) -> "CropSamples":
        """Map the network's answers back from their crops."""
        swap = torch.tensor(LEFT_RIGHT)
        points = crops.to_picture(landmarks.points[:, :NUM_LANDMARKS])
        world = crops.directions_to_picture(landmarks.world)
        mirrored = crops.mirrored[:, None, None]
        return CropSamples(
            torch.where(mirrored, points[:, swap], points),
            torch.where(mirrored, world[:, swap], world),
            torch.where(mirrored[..., 0], landmarks.visibility[:, swap], landmarks.visibility),
            landmarks.presence,
            float(crops.side.mean()) / PERSON_MARGIN,
            landmarks.inner,
            crops.mirrored,
        )

    def joined(self, other: "CropSamples") -> "CropSamples":
        """Return the samples of both; the body size stays."""
        return CropSamples(
            torch.cat([self.points, other.points]),
            torch.cat([self.world, other.world]),
            torch.cat([self.visibility, other.visibility]),
            torch.cat([self.presence, other.presence]),
            self.size,
            None if self.inner is None or other.inner is None else torch.cat([self.inner, other.inner]),
            None if self.mirrored is None or other.mirrored is None else torch.cat([self.mirrored, other.mirrored]),
        )

    def mean_inner(self) -> Float[Tensor, "2 inner"] | None:
        """Return the mean inner values of the plain and of the mirrored crops; None unless there are both."""
        if self.inner is None or self.mirrored is None or bool(self.mirrored.all()) or not bool(self.mirrored.any()):
            return None
        return torch.stack([self.inner[self.mirrored == side].float().mean(0) for side in (False, True)])

    def spread(self, of: Bool[Tensor, "33"]) -> float:
        """Return how far these landmarks (at least one) typically move between the crops, in body sizes.

        Persons are below 0.012 where they are plain to see; a butterfly or a lighthouse that the detector takes for a
        person is above it, because the network invents a different body in every crop. Left and right may be swapped
        between crops: that happens to a real person whose face is hidden, and only lowers the confidence.
        """
        swap = torch.tensor(LEFT_RIGHT)
        typical = self.points[_crop_distances(self, of).sum(1).argmin()]
        apart, crossed = (self.points - typical).norm(dim=-1), (self.points - typical[swap]).norm(dim=-1)
        is_straight = apart + apart[:, swap] <= crossed + crossed[:, swap]
        moved = torch.where(is_straight, apart, crossed).square().mean(0).sqrt()
        return float(moved[of].median()) / (math.sqrt(2.0) * self.size)  # two crops differ by sqrt(2) deviations


def _inside(points: Float[Tensor, "33 2"], width: int, height: int) -> Bool[Tensor, "33"]:
    return ((points >= 0) & (points < points.new_tensor([width, height]))).all(-1)


def _geometric_median(
    samples: Float[Tensor, "crops points axes"], weight: Float[Tensor, " crops"]
) -> Float[Tensor, "points axes"]:
    """Return the point with the least weighted sum of distances to the samples. Source: Weiszfeld's iteration."""
    share = (weight / weight.sum())[:, None, None]
    center = (samples * share).sum(0)
    # A sample closer than this counts as if it were this far: the iteration divides by the distance.
    least = 1e-3 * (samples - center).norm(dim=-1).amax(0).clamp_min(1e-9)[None, :, None]
    for _ in range(_MEDIAN_STEPS):
        pull = share / (samples - center).norm(dim=-1, keepdim=True).maximum(least)
        center = (samples * pull).sum(0) / pull.sum(0)
    return center


def _crop_distances(samples: CropSamples, of: Bool[Tensor, "33"]) -> Float[Tensor, "crops crops"]:
    """Return how far apart each two crops put these landmarks on average, in body sizes; outliers are capped."""
    share = of.float()
    share[:NUM_FACE] *= _FACE_WEIGHT
    share = share / share.sum().clamp_min(1e-9)
    apart = (samples.points[:, None] - samples.points[None]).norm(dim=-1) / samples.size
    return apart.clamp_max(_AGREEMENT_CAP) @ share


def _crop_weights(samples: CropSamples, inside: Bool[Tensor, "33"]) -> Float[Tensor, " crops"]:
    """Return how much each crop agrees with the one that agrees best with all others, 0 to 1.

    Landmark by landmark a median would take an arm from one crop and a leg from another; where some crops have left
    and right swapped, that gives a body that none of them saw. Landmarks outside the picture have no say.
    """
    apart = _crop_distances(samples, inside)
    best = int(apart.sum(1).argmin())
    return 1.0 / (1.0 + (apart[best] / _AGREEMENT_SCALE).square())


def _probability_inside(
    points: Float[Tensor, "33 2"], sigma: Float[Tensor, "33"], width: int, height: int
) -> Float[Tensor, "33"]:
    limits = points.new_tensor([width, height])
    low, high = points / sigma[:, None], (limits - points) / sigma[:, None]
    return (torch.special.ndtr(low) + torch.special.ndtr(high) - 1.0).clamp_min(0.0).prod(-1)


def combine(samples: CropSamples, width: int, height: int) -> PersonLandmarks:
    """Combine what several crops say about one person in a picture of the given size."""
    weight = _crop_weights(samples, _inside(samples.points.median(0).values, width, height))
    share = (weight / weight.sum())[:, None, None]
    size, visibility = samples.size, samples.visibility.mean(0)
    hidden = (1.0 - visibility).square()

    points = _geometric_median(samples.points, weight)
    offset = samples.points - points
    spread = (offset.square() * share).sum(0).mean(-1).sqrt() / size
    image_variance = _IMAGE_FLOOR**2 + (_IMAGE_SPREAD * spread).square() + (_IMAGE_HIDDEN * hidden).square()
    image_sigma = size * image_variance.sqrt()

    # The mean is 1 mm better than the median: in depth the crops differ by chance, not by outliers.
    world = (samples.world * share).sum(0)
    world_spread = ((samples.world - world).square() * share).sum(0).sqrt()
    slope, least, most = world.new_tensor(_WORLD_FLOOR).unbind(-1)
    floor = (slope * world.norm(dim=-1, keepdim=True)).maximum(least).minimum(most)
    world_sigma = (floor.square() + (world.new_tensor(_WORLD_SPREAD) * world_spread).square()).sqrt()

    in_picture = _inside(points, width, height)
    agreement = (1.0 / (1.0 + (offset.norm(dim=-1) / (_CONFIDENCE_SCALE * size)).square())).mean(0)
    confidence = agreement * (1.0 - _HIDDEN_SHARE * hidden) * _probability_inside(points, image_sigma, width, height)
    clipped = points.clamp_min(0.0).minimum(points.new_tensor([width, height]))
    return PersonLandmarks(
        score=float(samples.presence.mean()),
        box=torch.cat([clipped.amin(0), clipped.amax(0)]),
        image_points=points,
        image_sigma=image_sigma,
        world_points=world,
        world_sigma=world_sigma,
        visibility=visibility,
        confidence=confidence * in_picture,
        in_picture=in_picture,
        samples=samples,
        inner=samples.mean_inner(),
    )


def is_same_person(first: PersonLandmarks, second: PersonLandmarks) -> bool:
    """Say whether two results are one person found twice, perhaps with left and right swapped."""
    both = first.in_picture & second.in_picture
    if not bool(both.any()):
        return False
    swap = torch.tensor(LEFT_RIGHT)
    extent = float((first.box[2:] - first.box[:2]).norm().maximum((second.box[2:] - second.box[:2]).norm()))
    apart = [
        float((first.image_points - points)[both].norm(dim=-1).median())
        for points in (second.image_points, second.image_points[swap])
    ]
    return min(apart) < _SAME_PERSON * extent or _overlap(first, second) > _SAME_BOX


def _overlap(first: PersonLandmarks, second: PersonLandmarks) -> float:
    """Return intersection over union of the boxes around the landmarks in the picture; there must be some."""
    points = [one.image_points[one.in_picture] for one in (first, second)]
    low, high = (torch.stack([each.amin(0) for each in points]), torch.stack([each.amax(0) for each in points]))
    shared = float((high.amin(0) - low.amax(0)).clamp_min(0.0).prod())
    return shared / max(float((high - low).prod(-1).sum()) - shared, 1e-9)
