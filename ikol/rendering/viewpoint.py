# SPDX-License-Identifier: Apache-2.0
"""Random cameras that look at a body, and the square around a body that a person detector would cut out.

Imports: numpy.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

_ASPECTS = ((3, 4), (4, 3), (9, 16), (16, 9), (2, 3), (1, 1))
_FOCAL = (0.75, 2.6)  # times the longer side; a phone's lens has 0.75, a portrait's 2.4
_LEAST_DISTANCE = 1.4  # metres from the camera to the middle of the body


@dataclass(frozen=True)
class View:
    """A pinhole camera; x_camera = R_camera_world x_world + t_camera_world, pixels as ikol.camera has them."""

    focal: float
    center: tuple[float, float]
    R_camera_world: Float[np.ndarray, "3 3"]
    t_camera_world: Float[np.ndarray, "3"]
    width: int
    height: int

    def to_camera(self, points: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points 3"]:
        """Return points of the world in camera axes, metres."""
        return points @ self.R_camera_world.T + self.t_camera_world

    def project(self, points_camera: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points 2"]:
        """Return pixels of points in camera axes."""
        return points_camera[:, :2] / points_camera[:, 2:] * self.focal + np.array(self.center)

    def window(self, low: tuple[float, float], high: tuple[float, float], scale: float) -> "View":
        """Return the camera of the part of the picture between two corners, in pixels of another size."""
        corner, end = np.clip(low, 0, (self.width, self.height)), np.clip(high, 0, (self.width, self.height))
        width, height = (max(8, round(float(value))) for value in (end - corner) * scale)
        center = ((self.center[0] - float(corner[0])) * scale, (self.center[1] - float(corner[1])) * scale)
        return View(self.focal * scale, center, self.R_camera_world, self.t_camera_world, width, height)


@dataclass(frozen=True)
class Circle:
    """The circle around a body: middle of the hips, radius in pixels, radians clockwise from upright."""

    center: Float[np.ndarray, "2"]
    radius: float
    rotation: float


def body_circle(landmarks: Float[np.ndarray, "33 2"]) -> Circle:
    """Return the circle around a body as the detector means it, from the 33 landmarks' pixels."""
    hips = landmarks[23:25].mean(0)
    up = landmarks[11:13].mean(0) - hips
    radius = float(np.linalg.norm(landmarks - hips, axis=-1).max())
    return Circle(hips, radius, math.atan2(up[0], -up[1]))


def draw_view(rng: np.random.Generator, points: Float[np.ndarray, "points 3"], long_side: int) -> View:
    """Return a random camera that sees the body whose points (metres, SMPL world) are given.

    Most bodies are whole in the picture and near its middle; some are cut by its border, down to half a body.
    """
    aspect = _ASPECTS[rng.choice(len(_ASPECTS), p=(0.3, 0.15, 0.2, 0.1, 0.15, 0.1))]
    width, height = (round(long_side * part / max(aspect)) for part in aspect)
    focal = long_side * math.exp(rng.uniform(*np.log(_FOCAL)))
    pitch = math.radians(rng.normal(5.0, 8.0) if rng.random() < 0.85 else rng.uniform(-30.0, 45.0))
    roll = math.radians(rng.normal(0.0, 2.5) if rng.random() < 0.95 else rng.uniform(-20.0, 20.0))
    # the world is seen from its front: x to the right, y up, z towards the camera
    tilt = np.array([[1, 0, 0], [0, math.cos(pitch), -math.sin(pitch)], [0, math.sin(pitch), math.cos(pitch)]])
    turn = np.array([[math.cos(roll), -math.sin(roll), 0], [math.sin(roll), math.cos(roll), 0], [0, 0, 1]])
    rotation = turn @ tilt @ np.diag([1.0, -1.0, -1.0])
    turned = points @ rotation.T
    low, high = turned.min(0), turned.max(0)
    middle, extent = (low + high) / 2, (high - low)[:2]
    fill = rng.uniform(0.4, 0.95) if rng.random() < 0.85 else rng.uniform(0.95, 1.8)
    distance = max(focal * float((extent / (width, height)).max()) / fill, _LEAST_DISTANCE)
    shown = focal * extent / distance
    room = np.array([width, height]) - shown
    place = np.array([width, height]) / 2 + rng.uniform(-0.45, 0.45, 2) * np.abs(room)
    if fill > 0.95:
        place[1] = max(place[1], shown[1] / 2)  # it is the legs that are cut, not the head
    center = (width / 2, height / 2)
    ray = np.append((place - center) / focal, 1.0)
    return View(focal, center, rotation, distance * ray - middle, width, height)
