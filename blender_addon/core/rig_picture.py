# SPDX-License-Identifier: GPL-3.0-or-later
"""A photograph with the camera that sees a rig on it: where the camera goes, and what is asked of the solver.

A picture does not tell sizes: a person twice as large, twice as far away, looks the same. So the rig keeps its size,
and the camera goes where the rig covers the person. Its direction stays, and with it the horizon. A camera that is
held, the user's own, stays; the rig then stands where the body does, and covers the person as well as its size lets it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import msgspec
import numpy as np

from .pose_conversion import as_rotation, as_vector, project
from .record import Keypoints2D, PhotoCamera
from .rig_bones import FloatArray
from .rig_call import SeenOnPicture

OUTLIER: Final = 4.0
"""Standard deviations from where on a keypoint loses its say about the camera; the solver's own measure."""

STEPS: Final = 30
"""Of the search for the camera at most; four to eight are usual."""

STILL: Final = 1e-5
"""Metres: a camera that moves by less has arrived."""

NUDGE: Final = 1e-4
"""Metres by which the camera is moved to see how pixels move: a tenth of a pixel, far above rounding."""

Places = Callable[[str], FloatArray]
"""Where a joint or point of the rig is in the scene, by the name of the person's."""


@dataclass(frozen=True, eq=False)
class RigPicture:
    """What a photograph says of a rig, in the scene's space (metres, Y up)."""

    camera: PhotoCamera
    """Placed for the rig."""
    keypoints: tuple[Keypoints2D, ...]
    """Of joints and points that the rig has; names are the person's, pixels as the picture shows them."""
    places: Mapping[str, tuple[FloatArray, float]]
    """What the user has placed in space, with a standard deviation in metres."""
    is_held: bool = False
    """Whether the camera stays where it is."""
    shift: FloatArray = field(default_factory=lambda: np.zeros(3))
    """(3): by how much the camera was moved."""

    def seen(self, to_rig: FloatArray, name_of: Callable[[str], str]) -> SeenOnPicture:
        """Return what the solver is told.

        Args:
            to_rig: (4, 4) from the scene: a rotation, maybe mirrored, and a translation.
            name_of: What the rig calls a joint or point of the person.
        """
        blocks = [msgspec.structs.replace(one, names=tuple(map(name_of, one.names))) for one in self.keypoints]
        if np.linalg.det(to_rig[:3, :3]) < 0:
            width = self.camera.width
            blocks = [
                msgspec.structs.replace(one, points=tuple((width - x, y) for x, y in one.points)) for one in blocks
            ]
        return SeenOnPicture(camera_in(self.camera, to_rig), tuple(blocks))

    def moved(self, shift: FloatArray) -> "RigPicture":
        """Return the picture with the camera elsewhere: `shift` (3) from where it was in the beginning."""
        return replace(self, camera=_moved(self.camera, shift - self.shift), shift=shift)

    def followed(self, place: Places) -> "RigPicture":
        """Return the picture with the camera where it sees the rig best: moved, not turned.

        What the user has placed on the picture has no say here: the limb is to go there, and not the camera.
        """
        blocks = [block for block in self.keypoints if block.is_robust] or self.keypoints
        names = [name for block in blocks for name in block.names]
        points = np.array([place(name) for name in names])
        pixels = np.array([pixel for block in blocks for pixel in block.points])
        sigma = np.array([value for block in blocks for value in block.sigma])
        camera, shift = self.camera, self.shift
        for _ in range(0 if self.is_held else STEPS):
            rows = (project(camera, points) - pixels) / sigma[:, None]
            weight = 1.0 / (1.0 + (rows**2).sum(axis=1) / OUTLIER**2)
            nudged = [(project(_moved(camera, NUDGE * axis), points) - pixels) / sigma[:, None] for axis in np.eye(3)]
            slopes = np.stack([(one - rows) / NUDGE for one in nudged], axis=-1)
            normal = np.einsum("k,kix,kiy->xy", weight, slopes, slopes)
            step = -np.linalg.lstsq(normal, np.einsum("k,kix,ki->x", weight, slopes, rows), rcond=None)[0]
            camera, shift = _moved(camera, step), shift + step
            if float(np.linalg.norm(step)) < STILL:
                break
        return replace(self, camera=camera, shift=shift)

    def misses(self, place: Places) -> dict[str, float]:
        """Return how far each keypoint is from where the camera sees the rig's, in pixels."""
        return {
            name: float(np.linalg.norm(project(self.camera, place(name)) - pixel))
            for block in self.keypoints
            for name, pixel in zip(block.names, block.points, strict=True)
        }


def camera_in(camera: PhotoCamera, matrix: FloatArray) -> PhotoCamera:
    """Return a placed camera in another space, in which it sees the same.

    Args:
        camera: In its own space.
        matrix: (4, 4) from there to the other one: a rotation, a translation and one scale. In a mirrored space the
            picture is mirrored too, left to right.
    """
    assert camera.rotation is not None
    assert camera.translation is not None
    linear = matrix[:3, :3]
    scale, is_mirrored = float(np.cbrt(abs(np.linalg.det(linear)))), bool(np.linalg.det(linear) < 0)
    mirror = np.array([-1.0 if is_mirrored else 1.0, 1.0, 1.0])
    rotation = mirror[:, None] * np.array(camera.rotation).reshape(3, 3) @ (linear / scale).T
    translation = scale * mirror * np.array(camera.translation) - rotation @ matrix[:3, 3]
    k1, k2, p1, p2 = camera.distortion
    return msgspec.structs.replace(
        camera,
        center_x=camera.width - camera.center_x if is_mirrored else camera.center_x,
        distortion=(k1, k2, p1, -p2) if is_mirrored else camera.distortion,
        rotation=as_rotation(rotation),
        translation=as_vector(translation),
    )


def _moved(camera: PhotoCamera, step: FloatArray) -> PhotoCamera:
    """Return the camera a step (3) from where it was, the camera's own space."""
    assert camera.rotation is not None
    along = np.array(camera.rotation).reshape(3, 3) @ step
    return msgspec.structs.replace(camera, translation=as_vector(np.array(camera.translation) - along))
