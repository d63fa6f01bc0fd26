# SPDX-License-Identifier: Apache-2.0
"""What a person wears: skin, hair, face and clothes, painted on the default body and pushed out from its skin.

Everything is said in the coordinates of the default body at rest (T pose, metres), so it moves with the body and fits
every shape. Here: drawing an outfit, its colours at points of the skin and how far it stands off. Not here: light.
Imports: numpy.
"""

import colorsys
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

# Heights and distances of the default body at rest, see `default_body`: what the outfit's edges are drawn between.
_WAIST, _ANKLE = -0.10, -1.10
_NECK_Y = 0.235
_EYE = np.array([0.030, 0.386, 0.148])
_SKULL = np.array([0.0, 0.40, 0.06])
_ARM_X = 0.20  # further out than this at shoulder height is an arm

_SKIN = ((0.96, 0.80, 0.69), (0.88, 0.68, 0.54), (0.76, 0.55, 0.40), (0.55, 0.37, 0.25), (0.36, 0.23, 0.16))
_HAIR = ((0.05, 0.04, 0.03), (0.16, 0.10, 0.06), (0.33, 0.21, 0.12), (0.62, 0.48, 0.27), (0.45, 0.43, 0.41))

_Points = Float[np.ndarray, "points 3"]
_Mask = Bool[np.ndarray, " points"]


@dataclass(frozen=True)
class Cloth:
    """One garment's colours; the pattern repeats every `period` metres."""

    color: Float[np.ndarray, "3"]
    second: Float[np.ndarray, "3"]
    pattern: int
    """0 plain, 1 horizontal stripes, 2 vertical stripes, 3 checks, 4 spots, 5 a print in front."""
    period: float
    thickness: float
    """Metres that it stands off the skin."""

    def painted(self, rest: _Points) -> Float[np.ndarray, "points 3"]:
        """Return the colour at points of the rest pose."""
        phase = rest / self.period
        waves = np.mod(phase, 1.0) < 0.5
        match self.pattern:
            case 1:
                second = waves[:, 1]
            case 2:
                second = waves[:, 0]
            case 3:
                second = waves[:, 0] ^ waves[:, 1]
            case 4:
                second = np.square(np.mod(phase[:, 0], 1.0) - 0.5) + np.square(np.mod(phase[:, 1], 1.0) - 0.5) < 0.08
            case 5:
                second = (np.abs(rest[:, 0]) < 0.09) & (np.abs(rest[:, 1] - 0.06) < 0.08) & (rest[:, 2] > 0.03)
                second &= waves[:, 1] | waves[:, 0]
            case _:
                second = np.zeros(len(rest), dtype=bool)
        return np.where(second[:, None], self.second, self.color)


@dataclass(frozen=True)
class Outfit:
    """Skin, hair and garments of one person."""

    skin: Float[np.ndarray, "3"]
    hair: Float[np.ndarray, "3"]
    hair_length: int
    """0 bald, 1 short, 2 to the neck, 3 to the shoulders."""
    hairline: float
    """Metres above the eyes."""
    shirt: Cloth
    sleeve_x: float
    hem_y: float
    neckline: float
    """Radius of the hole around the neck."""
    trousers: Cloth
    leg_y: float
    shoes: Cloth
    barefoot: bool
    glasses: bool
    beard: bool
    seed: int

    def _masks(self, rest: _Points) -> dict[str, _Mask]:
        x, y, z = np.abs(rest[:, 0]), rest[:, 1], rest[:, 2]
        is_arm = (x > _ARM_X) & (y > 0.0)
        # the hole around the neck goes deeper in front than behind
        hole = np.hypot(rest[:, 0], np.where(z > 0.03, 1.0, 2.2) * np.minimum(y - _NECK_Y, 0.0))
        is_trunk = ~is_arm & (y < _NECK_Y + 0.02) & (hole > self.neckline)
        behind = z < _SKULL[2] + 0.02
        above = y > _EYE[1] + self.hairline - 0.25 * np.maximum(_SKULL[2] + 0.04 - z, 0.0)
        scalp = (above & (y > 0.38)) | (behind & (y > 0.40 - 0.03 * self.hair_length))
        if self.hair_length >= 2:
            scalp |= (z < 0.055) & (y > 0.27) & (x < 0.12)
        if self.hair_length == 3:
            scalp |= (z < 0.01) & (y > 0.15) & (x < 0.12)
        return {
            "trousers": (y < _WAIST) & (y > self.leg_y) & ~is_arm,
            "shirt": (is_trunk & (y > self.hem_y)) | (is_arm & (x < self.sleeve_x)),
            "shoes": (y < _ANKLE + 0.03) & (not self.barefoot),
            "hair": scalp & (self.hair_length > 0) & ~is_arm,
        }

    def stand_off(self, rest: _Points) -> Float[np.ndarray, " points"]:
        """Return how far the outfit stands off the skin along its normal, metres."""
        masks = self._masks(rest)
        wobble = 1.0 + 0.5 * _noise(rest * 9.0, self.seed)
        away = np.where(masks["trousers"], self.trousers.thickness * wobble, 0.0)
        away = np.where(masks["shirt"], np.maximum(self.shirt.thickness * wobble, away + 0.002), away)
        away = np.where(masks["shoes"], 0.008, away)
        return np.where(masks["hair"], 0.006 + 0.008 * self.hair_length * wobble, away)

    def painted(self, rest: _Points) -> Float[np.ndarray, "points 3"]:
        """Return the colour of points of the rest pose, 0 to 1, before light."""
        masks = self._masks(rest)
        color = self.skin * (1.0 + 0.06 * _noise(rest * 30.0, self.seed + 1))[:, None]
        head = np.flatnonzero(rest[:, 1] > _NECK_Y)
        color[head] = self._faced(rest[head], color[head])
        for part, cloth in (("trousers", self.trousers), ("shirt", self.shirt), ("shoes", self.shoes)):
            worn = np.flatnonzero(masks[part])
            color[worn] = cloth.painted(rest[worn])
        hair = np.flatnonzero(masks["hair"])
        color[hair] = self.hair * (1.0 + 0.35 * _noise(rest[hair] * (90.0, 12.0, 90.0), self.seed + 2))[:, None]
        return color

    def _faced(self, rest: _Points, color: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points 3"]:
        x, y, z = np.abs(rest[:, 0]), rest[:, 1], rest[:, 2]
        in_front = z > 0.10
        lips = in_front & (np.square(rest[:, 0] / 0.025) + np.square((y - 0.317) / 0.008) < 1.0)
        color = np.where(lips[:, None], self.skin * np.array([0.85, 0.55, 0.55]), color)
        brow = in_front & (np.abs(y - 0.405 + 0.15 * np.square(x - 0.03) * 20) < 0.0045) & (np.abs(x - 0.031) < 0.018)
        color = np.where(brow[:, None], self.hair * 0.8, color)
        if self.beard:
            chin = (y < 0.335) & (y > 0.26) & (z > 0.07) & ~lips & (x < 0.08)
            color = np.where(chin[:, None], 0.4 * self.skin + 0.6 * self.hair, color)
        socket = in_front & (np.square((x - 0.030) / 0.017) + np.square((y - 0.386) / 0.009) < 1.0)
        color = np.where(socket[:, None], self.skin * 0.55, color)
        white = (z > 0.125) & (np.square(x - 0.030) + np.square(y - 0.386) < 0.0105**2)
        iris = white & (np.square(x - 0.030) + np.square(y - 0.386) < 0.0058**2)
        color = np.where(white[:, None], np.array([0.92, 0.90, 0.88]), color)
        color = np.where(iris[:, None], np.array([0.12, 0.08, 0.06]), color)
        nostril = (z > 0.15) & (np.square((x - 0.009) / 0.005) + np.square((y - 0.339) / 0.003) < 1.0)
        color = np.where(nostril[:, None], self.skin * 0.4, color)
        if self.glasses:
            ring = np.hypot((x - 0.031) / 1.15, y - 0.384)
            frame = in_front & ((np.abs(ring - 0.02) < 0.0025) | ((np.abs(y - 0.388) < 0.002) & (x < 0.012)))
            color = np.where(frame[:, None], 0.08, color)
        return color


def draw_outfit(rng: np.random.Generator) -> Outfit:
    """Return a random outfit."""
    skin = np.array(_SKIN[rng.integers(len(_SKIN))]) * rng.uniform(0.88, 1.08)
    hair = np.array(_HAIR[rng.choice(len(_HAIR), p=(0.3, 0.25, 0.2, 0.15, 0.1))]) * rng.uniform(0.7, 1.3)
    legs = rng.choice(4, p=(0.62, 0.2, 0.06, 0.12))
    return Outfit(
        skin=np.clip(skin, 0.0, 1.0),
        hair=np.clip(hair, 0.0, 1.0),
        hair_length=int(rng.choice(4, p=(0.08, 0.5, 0.2, 0.22))),
        hairline=rng.uniform(0.04, 0.065),
        shirt=_draw_cloth(rng, (0.004, 0.022)),
        sleeve_x=float(
            rng.choice((rng.uniform(0.19, 0.24), rng.uniform(0.28, 0.40), rng.uniform(0.58, 0.67)), p=(0.15, 0.4, 0.45))
        ),
        hem_y=rng.uniform(-0.32, -0.12),
        neckline=rng.uniform(0.06, 0.11),
        trousers=_draw_cloth(rng, (0.004, 0.018)),
        leg_y=float((rng.uniform(-1.11, -1.0), rng.uniform(-0.72, -0.5), -0.42, rng.uniform(-0.9, -0.7))[legs]),
        shoes=_draw_cloth(rng, (0.008, 0.008)),
        barefoot=bool(rng.random() < 0.12),
        glasses=bool(rng.random() < 0.12),
        beard=bool(rng.random() < 0.15),
        seed=int(rng.integers(1 << 30)),
    )


def _draw_cloth(rng: np.random.Generator, thickness: tuple[float, float]) -> Cloth:
    def color() -> Float[np.ndarray, "3"]:
        # grey, black, white and dull colours are worn more often than bright ones
        saturation = rng.choice((0.05, 0.3, 0.75), p=(0.4, 0.4, 0.2)) * rng.uniform(0.6, 1.3)
        return np.array(colorsys.hsv_to_rgb(rng.random(), min(saturation, 1.0), rng.uniform(0.06, 0.95)))

    pattern = int(rng.choice(6, p=(0.6, 0.1, 0.06, 0.1, 0.06, 0.08)))
    return Cloth(color(), color(), pattern, rng.uniform(0.015, 0.09), rng.uniform(*thickness))


def _noise(points: _Points, seed: int) -> Float[np.ndarray, " points"]:
    """Return smooth noise, -1 to 1: a sum of plane waves whose directions the seed draws."""
    rng = np.random.default_rng(seed)
    total = np.zeros(len(points), dtype=np.float32)
    for _ in range(4):
        direction = rng.normal(size=3).astype(np.float32) * 2.0
        total += np.sin(points.astype(np.float32) @ direction + np.float32(rng.uniform(0, 2 * np.pi)))
    return total / 4
