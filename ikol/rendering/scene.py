# SPDX-License-Identifier: Apache-2.0
"""One picture: a posed body in its outfit, lit, before a background, through a camera. Imports: numpy."""

import numpy as np
from jaxtyping import Float, Int

from ikol.rendering.background import draw_background, draw_occluder
from ikol.rendering.lighting import draw_lights, light_on, vertex_normals
from ikol.rendering.outfit import Outfit, draw_outfit
from ikol.rendering.photograph import develop
from ikol.rendering.rasteriser import rasterise
from ikol.rendering.viewpoint import View

_FINE = 2  # pixels a side that are averaged into one, below this many pixels along the longer side
_FINE_BELOW = 512


def render_scene(
    rng: np.random.Generator,
    rest: Float[np.ndarray, "vertices 3"],
    faces: Int[np.ndarray, "faces 3"],
    vertices: Float[np.ndarray, "vertices 3"],
    view: View,
) -> bytes:
    """Return the JPEG file of a body in a random outfit, light and place.

    Args:
        rng: what everything random is drawn from.
        rest: the template at rest, where outfits are painted.
        faces: of the body.
        vertices: of the posed body, metres, SMPL world.
        view: the camera.
    """
    outfit = draw_outfit(rng)
    color, cover = _person(rng, outfit, rest, faces, view.to_camera(vertices).astype(np.float32), view)
    picture = draw_background(rng, view.width, view.height) * (1.0 - cover) + color
    occluder = draw_occluder(rng, view.width, view.height)
    if occluder is not None:
        before, mask = occluder
        picture = np.where(mask[..., None] > 0.5, before, picture)
    return develop(rng, picture)


def _person(
    rng: np.random.Generator,
    outfit: Outfit,
    rest: Float[np.ndarray, "vertices 3"],
    faces: Int[np.ndarray, "faces 3"],
    skin: Float[np.ndarray, "vertices 3"],
    view: View,
) -> tuple[Float[np.ndarray, "height width 3"], Float[np.ndarray, "height width 1"]]:
    """Return the person's colours, multiplied by how much of each pixel it covers, and that."""
    fine = _FINE if max(view.width, view.height) <= _FINE_BELOW else 1
    vertices = skin + outfit.stand_off(rest)[:, None] * vertex_normals(skin, faces)
    width, height = fine * view.width, fine * view.height
    center = (fine * view.center[0], fine * view.center[1])
    found = rasterise(vertices, faces, (fine * view.focal, fine * view.focal), center, width, height)
    carried = np.concatenate((rest, vertices, vertex_normals(vertices, faces)), axis=-1).astype(np.float32)
    place_at_rest, places, normals = np.split(found.interpolated(faces, carried), 3, axis=-1)
    normals = normals / np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-6)
    lights = draw_lights(rng, view.R_camera_world[:, 1])
    light, shine = light_on(lights, vertices, faces, places, normals)
    layer = np.zeros((height * width, 4), dtype=np.float32)
    layer[found.pixel, :3] = np.clip(outfit.painted(place_at_rest) * light + shine, 0.0, 1.0)
    layer[found.pixel, 3] = 1.0
    layer = layer.reshape(height, width, 4)
    parts = [layer[row::fine, column::fine] for row in range(fine) for column in range(fine)]
    layer = np.add.reduce(parts) / np.float32(len(parts))
    return layer[..., :3], layer[..., 3:]
