# SPDX-License-Identifier: Apache-2.0
import numpy as np

from ikol.rendering.lighting import Lights, light_on, vertex_normals


def _slab(height: float, half: float) -> tuple[np.ndarray, np.ndarray]:
    """A square on y = height that faces up (-y in camera axes)."""
    corners = half * np.array([[-1, 0, -1], [1, 0, -1], [1, 0, 1], [-1, 0, 1]]) + np.array([0, height, 4.0])
    return corners, np.array([[0, 1, 2], [0, 2, 3]])


def test_normals_point_out_of_a_closed_mesh() -> None:
    corners = np.array([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
    faces = np.array([[0, 1, 2], [0, 3, 1], [0, 2, 3], [1, 3, 2]])
    # the normals of a tetrahedron at the origin are its corners' directions
    assert np.abs(vertex_normals(corners, faces) - corners / np.sqrt(3)).max() < 1e-9


def test_lamp_throws_the_shadow_of_what_is_above() -> None:
    floor, floor_faces = _slab(1.0, 1.0)
    roof, roof_faces = _slab(0.0, 0.3)
    up = np.array([0.0, -1.0, 0.0])
    lights = Lights(up, np.zeros(3), np.zeros(3), up[None], np.ones((1, 3)), 0.0)
    places = np.array([[0.0, 1.0, 4.0], [0.8, 1.0, 4.0]])
    mesh, faces = np.concatenate((floor, roof)), np.concatenate((floor_faces, roof_faces + 4))
    light, shine = light_on(lights, mesh, faces, places, np.repeat(up[None], 2, 0))
    assert np.abs(light[:, 0] - (0.15, 1.0)).max() < 1e-9, light
    assert not shine.any()
