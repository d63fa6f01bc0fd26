# SPDX-License-Identifier: Apache-2.0
"""Light on a mesh: an ambient part from above and below, up to three lamps far away, one of which throws shadows.

Imports: numpy, the rasteriser.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from ikol.rendering.rasteriser import rasterise

_SHADOW_PIXELS = 256
_SHADOW_DISTANCE = 20.0  # metres to the lamp; far enough for rays to be nearly parallel
_SHADOW_BIAS = 0.025  # metres; a surface does not shade itself, at 256 pixels for two metres and grazing light


@dataclass(frozen=True)
class Lights:
    """Lamps in camera axes."""

    up: Float[np.ndarray, "3"]
    sky: Float[np.ndarray, "3"]
    ground: Float[np.ndarray, "3"]
    """Ambient colours from above and below."""
    directions: Float[np.ndarray, "lamps 3"]
    """Unit vectors to the lamps; the first throws shadows."""
    colors: Float[np.ndarray, "lamps 3"]
    gloss: float


def draw_lights(rng: np.random.Generator, up: Float[np.ndarray, "3"]) -> Lights:
    """Return random lights; the brightest is usually above and in front."""
    tint = 1.0 + rng.uniform(-0.12, 0.12, size=3)
    count = int(rng.integers(1, 4))
    # the camera looks along +z, so lamps in front of the person are at negative z
    directions = rng.normal(size=(count, 3)) + 0.9 * up + np.array([0.0, 0.0, -0.6])
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    strengths = rng.uniform(0.25, 0.9) * np.array([1.0, 0.45, 0.3])[:count]
    colors = strengths[:, None] * (1.0 + rng.uniform(-0.12, 0.12, size=(count, 3)))
    ambient = rng.uniform(0.25, 0.65)
    return Lights(up, ambient * tint, 0.7 * ambient * tint, directions, colors, rng.uniform(0.0, 0.25))


def light_on(
    lights: Lights,
    vertices: Float[np.ndarray, "vertices 3"],
    faces: Int[np.ndarray, "faces 3"],
    places: Float[np.ndarray, "fragments 3"],
    normals: Float[np.ndarray, "fragments 3"],
) -> tuple[Float[np.ndarray, "fragments 3"], Float[np.ndarray, "fragments 3"]]:
    """Return what colours are multiplied with, and the gloss to add.

    Args:
        lights: the lamps.
        vertices: metres, camera axes.
        faces: of the mesh.
        places: of the fragments, metres, camera axes.
        normals: of the fragments, unit vectors.
    """
    upness = 0.5 + 0.5 * (normals @ lights.up)[:, None]
    total = upness * lights.sky + (1.0 - upness) * lights.ground
    shine = np.zeros_like(total)
    view = -places / np.linalg.norm(places, axis=-1, keepdims=True)
    for number, (direction, color) in enumerate(zip(lights.directions, lights.colors, strict=True)):
        facing = np.clip(normals @ direction, 0.0, None)
        if number == 0:
            facing = facing * _is_lit(direction, vertices, faces, places)
        total += facing[:, None] * color
        half = view + direction
        half /= np.linalg.norm(half, axis=-1, keepdims=True)
        shine += (lights.gloss * np.clip((normals * half).sum(-1), 0.0, None) ** 20 * (facing > 0))[:, None] * color
    return total, shine


def vertex_normals(
    vertices: Float[np.ndarray, "vertices 3"], faces: Int[np.ndarray, "faces 3"]
) -> Float[np.ndarray, "vertices 3"]:
    """Return unit normals, each the mean of its faces' normals weighted by their areas."""
    a, b, c = (vertices[faces[:, corner]] for corner in range(3))
    normal = np.cross(b - a, c - a)
    count = len(vertices)
    corners = faces.T.reshape(-1)
    total = np.stack([np.bincount(corners, np.tile(normal[:, axis], 3), count) for axis in range(3)], -1)
    return total / np.maximum(np.linalg.norm(total, axis=-1, keepdims=True), 1e-12)


def _is_lit(
    direction: Float[np.ndarray, "3"],
    vertices: Float[np.ndarray, "vertices 3"],
    faces: Int[np.ndarray, "faces 3"],
    places: Float[np.ndarray, "fragments 3"],
) -> Float[np.ndarray, " fragments"]:
    """Return 1 where no part of the mesh is between a place and the lamp, 0.15 in the shadow."""
    middle = vertices.mean(0)
    side = np.cross(direction, np.eye(3)[np.abs(direction).argmin()])
    side /= np.linalg.norm(side)
    axes = np.stack((side, np.cross(-direction, side), -direction))  # right-handed, looking away from the lamp

    def seen(points: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points 3"]:
        return (points - middle) @ axes.T + np.array([0.0, 0.0, _SHADOW_DISTANCE])

    turned = seen(vertices)
    reach = np.abs(turned[:, :2] / turned[:, 2:]).max()
    focal, center = 0.48 * _SHADOW_PIXELS / reach, _SHADOW_PIXELS / 2
    found = rasterise(turned, faces, (focal, focal), (center, center), _SHADOW_PIXELS, _SHADOW_PIXELS)
    depth = np.full(_SHADOW_PIXELS**2, np.inf)
    depth[found.pixel] = found.depth
    place = seen(places)
    cell = np.clip(place[:, :2] / place[:, 2:] * focal + center, 0, _SHADOW_PIXELS - 1).astype(int)
    return np.where(place[:, 2] > depth[cell[:, 1] * _SHADOW_PIXELS + cell[:, 0]] + _SHADOW_BIAS, 0.15, 1.0)
