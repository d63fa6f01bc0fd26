# SPDX-License-Identifier: GPL-3.0-or-later
"""The only place where axes change: SMPL's world and OpenCV's camera on one side, Blender's on the other.

SMPL: Y up, the person faces +Z. Blender: Z up, the person faces -Y. A point (x, y, z) of SMPL is (x, -z, y) in Blender.
A body may stand anywhere in the scene: `body_to_world` is the 4x4 matrix of its armature (and root bone), a rotation, a
translation and one scale. Units are metres and radians; quaternions are wxyz.
"""

import math
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import SceneError
from .record import PhotoCamera, Quaternion, Rotation, Vector2, Vector3

FloatArray = NDArray[np.float64]

SENSOR_WIDTH_MM = 36.0
"""Blender's default sensor; with it the lens of a landscape picture reads as on a 35 mm camera."""

SCALE_TOLERANCE = 1e-3
"""Relative difference of the three axes' scales that still counts as one scale; Blender's matrices are float32."""

NEAR = 0.05
"""Metres before the camera; the solver's NEAR."""

UNBEND_STEPS = 20
"""Of a fixed point; the strongest lens of a phone is a thousandth of a pixel off after ten."""

_BLENDER_FROM_SMPL: FloatArray = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
_BLENDER_CAMERA_FROM_OPENCV: FloatArray = np.diag([1.0, -1.0, -1.0])


@dataclass(frozen=True)
class BlenderCamera:
    """A camera as Blender describes it; the sensor is fitted to the picture's width (`sensor_fit` HORIZONTAL)."""

    matrix_world: FloatArray
    """(4, 4) rotation and translation."""
    lens_mm: float
    sensor_width_mm: float
    shift_x: float
    shift_y: float
    """Shift of the picture against the optical axis, in widths of the picture."""
    pixel_aspect_x: float = 1.0
    pixel_aspect_y: float = 1.0


@dataclass(frozen=True)
class CameraData:
    """A perspective camera as a user may have set it in Blender, its sensor fitted to either side."""

    matrix_world: FloatArray
    """(4, 4) rotation, translation, and a scale that Blender passes over."""
    lens_mm: float
    sensor_width_mm: float
    sensor_height_mm: float
    sensor_fit: str
    """AUTO, HORIZONTAL or VERTICAL."""
    shift_x: float
    shift_y: float


def fitted_to_width(camera: CameraData, width: float, height: float) -> BlenderCamera:
    """Return the same camera described by a sensor that is fitted to the picture's width.

    Args:
        camera: As the user has set it.
        width: Of the picture.
        height: Of the picture, in the same unit: with pixels that are not square, no count of them.
    """
    is_vertical = camera.sensor_fit == "VERTICAL"
    fitted = height if is_vertical or (camera.sensor_fit == "AUTO" and height > width) else width
    # AUTO takes the sensor's width for whichever side is longer (Blender: BKE_camera_sensor_size)
    sensor = camera.sensor_height_mm if is_vertical else camera.sensor_width_mm
    share = fitted / width
    return BlenderCamera(
        camera.matrix_world, camera.lens_mm, sensor / share, camera.shift_x * share, camera.shift_y * share
    )


def to_blender(points: ArrayLike) -> FloatArray:
    """Return SMPL points or directions (..., 3) in Blender's axes."""
    return np.asarray(points, dtype=np.float64) @ _BLENDER_FROM_SMPL.T


def to_smpl(points: ArrayLike) -> FloatArray:
    """Return Blender points or directions (..., 3) in SMPL's axes."""
    return np.asarray(points, dtype=np.float64) @ _BLENDER_FROM_SMPL


def body_to_scene(points: ArrayLike, body_to_world: ArrayLike) -> FloatArray:
    """Return points (..., 3) of the SMPL world where they are in the Blender scene."""
    matrix = np.asarray(body_to_world, dtype=np.float64)
    return to_blender(points) @ matrix[:3, :3].T + matrix[:3, 3]


def scene_to_body(points: ArrayLike, body_to_world: ArrayLike) -> FloatArray:
    """Return points (..., 3) of the Blender scene in the SMPL world of a body."""
    matrix = np.asarray(body_to_world, dtype=np.float64)
    rotation, scale = _rotation_and_scale(matrix)
    offset = np.asarray(points, dtype=np.float64) - matrix[:3, 3]
    return to_smpl(offset @ rotation / scale)


def _rotation_and_scale(matrix: FloatArray) -> tuple[FloatArray, float]:
    """Split the linear part of a body's matrix into a rotation and one scale.

    Raises:
        SceneError: The scale is zero, mirrored, or not the same along all axes: no rigid body is seen there.
    """
    scales = np.linalg.norm(matrix[:3, :3], axis=0)
    scale = float(scales.mean())
    even = scale > 0 and float(np.ptp(scales)) <= SCALE_TOLERANCE * scale
    if not even or np.linalg.det(matrix[:3, :3]) <= 0:
        raise SceneError("the armature is scaled unevenly or mirrored; apply its scale (Ctrl+A) or set it to 1 first")
    return matrix[:3, :3] / scales, scale


def project(camera: PhotoCamera, points: ArrayLike) -> FloatArray:
    """Return the pixels (..., 2) of points (..., 3) of the SMPL world on a photograph whose camera is placed.

    A point nearer than NEAR or behind the camera is taken as at NEAR: its pixel is finite and far outside.

    Raises:
        SceneError: The camera has not been placed.
    """
    rotation, translation = _place(camera)
    seen = np.asarray(points, dtype=np.float64) @ rotation.T + translation
    focal, center = (camera.focal_x, camera.focal_y), (camera.center_x, camera.center_y)
    return _bent(seen[..., :2] / np.maximum(seen[..., 2:], NEAR), camera.distortion) * focal + center


def depths(camera: PhotoCamera, points: FloatArray) -> FloatArray:
    """Return how far before a placed camera points (N, 3) of the SMPL world are, in metres (N,)."""
    rotation, translation = _place(camera)
    return points @ rotation[2] + translation[2]


def ray(camera: PhotoCamera, pixel: Vector2) -> tuple[FloatArray, FloatArray]:
    """Return from where and in which direction (both (3,), SMPL world) a placed camera looks at a pixel.

    Raises:
        SceneError: The camera has not been placed.
    """
    rotation, translation = _place(camera)
    focal, center = np.array((camera.focal_x, camera.focal_y)), np.array((camera.center_x, camera.center_y))
    shown = (np.array(pixel) - center) / focal
    straight = shown
    for _ in range(UNBEND_STEPS):
        straight = straight + shown - _bent(straight, camera.distortion)
    direction = rotation.T @ (*straight, 1.0)
    return -rotation.T @ translation, direction / np.linalg.norm(direction)


def _bent(points: FloatArray, distortion: tuple[float, float, float, float]) -> FloatArray:
    """Return where a lens shows what a pinhole would show at `points`, in focal lengths from the principal point.

    Source: Brown 1971, with OpenCV's k1, k2, p1, p2.
    """
    if not any(distortion):
        return points
    k1, k2, p1, p2 = distortion
    radii = np.linspace(0.0, 3.0, 3001)
    turns = np.flatnonzero(np.diff(radii * (1.0 + radii**2 * (k1 + radii**2 * k2))) <= 0.0)
    last = radii[turns[0]] if len(turns) else np.inf  # from there on the model turns back on itself
    points = points * np.minimum(last / np.maximum(np.linalg.norm(points, axis=-1, keepdims=True), 1e-12), 1.0)
    x, y = points[..., 0], points[..., 1]
    square = x * x + y * y
    radial = 1.0 + square * (k1 + square * k2)
    bent_x = x * radial + 2.0 * p1 * x * y + p2 * (square + 2.0 * x * x)
    bent_y = y * radial + p1 * (square + 2.0 * y * y) + 2.0 * p2 * x * y
    return np.stack([bent_x, bent_y], axis=-1)


def _place(camera: PhotoCamera) -> tuple[FloatArray, FloatArray]:
    """Return rotation (3, 3) and translation (3) of a camera that has been placed."""
    if camera.rotation is None or camera.translation is None:
        raise SceneError("the solver did not place the camera; run Pose from Image again")
    return np.array(camera.rotation).reshape(3, 3), np.array(camera.translation)


def to_blender_camera(camera: PhotoCamera, body_to_world: ArrayLike) -> BlenderCamera:
    """Return the Blender camera that sees the body as `camera` does.

    Blender's viewplane is W pixels wide and W * shift off the axis; its y axis points up. With pixels of unequal
    focal lengths the aspect of Blender's pixels is focal_x : focal_y.

    Raises:
        SceneError: The camera has not been placed, or the body is scaled unevenly.
    """
    camera_from_body, camera_translation = _place(camera)
    matrix = np.asarray(body_to_world, dtype=np.float64)
    rotation, scale = _rotation_and_scale(matrix)
    camera_from_world = camera_from_body @ _BLENDER_FROM_SMPL.T @ rotation.T
    world = np.eye(4)
    world[:3, :3] = camera_from_world.T @ _BLENDER_CAMERA_FROM_OPENCV
    world[:3, 3] = matrix[:3, 3] - scale * camera_from_world.T @ camera_translation
    aspect_y = camera.focal_x / camera.focal_y
    return BlenderCamera(
        matrix_world=world,
        lens_mm=camera.focal_x * SENSOR_WIDTH_MM / camera.width,
        sensor_width_mm=SENSOR_WIDTH_MM,
        shift_x=(0.5 * camera.width - camera.center_x) / camera.width,
        shift_y=(camera.center_y - 0.5 * camera.height) * aspect_y / camera.width,
        pixel_aspect_x=max(1.0, 1.0 / aspect_y),  # Blender allows no aspect below 1
        pixel_aspect_y=max(1.0, aspect_y),
    )


def to_photo_camera(camera: BlenderCamera, photo: PhotoCamera, body_to_world: ArrayLike) -> PhotoCamera:
    """Return the photograph's camera after the user has moved or changed the Blender camera.

    Args:
        camera: The camera in the scene. Its pixel aspect is not read: that of `photo` stays.
        photo: What is known of the photograph: its size, and the ratio of its focal lengths.
        body_to_world: Where the body stands.

    Raises:
        SceneError: The body is scaled unevenly.
    """
    matrix = np.asarray(body_to_world, dtype=np.float64)
    rotation, scale = _rotation_and_scale(matrix)
    axes = camera.matrix_world[:3, :3] / np.linalg.norm(camera.matrix_world[:3, :3], axis=0)
    camera_from_world = _BLENDER_CAMERA_FROM_OPENCV @ axes.T
    camera_from_body = camera_from_world @ rotation @ _BLENDER_FROM_SMPL
    translation = camera_from_world @ (matrix[:3, 3] - camera.matrix_world[:3, 3]) / scale
    aspect_y = photo.focal_x / photo.focal_y
    focal_x = camera.lens_mm * photo.width / camera.sensor_width_mm
    same_focal = math.isclose(focal_x, photo.focal_x, rel_tol=1e-4)  # Blender keeps the lens as float32
    return msgspec.structs.replace(
        photo,
        focal_x=focal_x,
        focal_y=focal_x / aspect_y,
        center_x=(0.5 - camera.shift_x) * photo.width,
        center_y=0.5 * photo.height + camera.shift_y * photo.width / aspect_y,
        rotation=as_rotation(camera_from_body),
        translation=as_vector(translation),
        focal_source=photo.focal_source if same_focal else "given",
    )


def as_pixels(points: ArrayLike) -> tuple[Vector2, ...]:
    """Return points (N, 2) of a picture as plain tuples."""
    return tuple((float(x), float(y)) for x, y in np.asarray(points, dtype=np.float64).reshape(-1, 2))


def as_vector(values: ArrayLike) -> Vector3:
    """Return three numbers as a plain tuple."""
    x, y, z = (float(value) for value in np.asarray(values, dtype=np.float64))
    return (x, y, z)


def as_quaternion(values: ArrayLike) -> Quaternion:
    """Return four numbers as a plain tuple."""
    w, x, y, z = (float(value) for value in np.asarray(values, dtype=np.float64))
    return (w, x, y, z)


def as_rotation(matrix: ArrayLike) -> Rotation:
    """Return a 3x3 matrix row by row as a plain tuple."""
    a, b, c, d, e, f, g, h, i = (float(value) for value in np.asarray(matrix, dtype=np.float64).reshape(9))
    return (a, b, c, d, e, f, g, h, i)


def turn_to_blender(quat: Quaternion) -> Quaternion:
    """Return a rotation of the SMPL world (wxyz) as one in Blender's axes: unturned stays unturned."""
    w, x, y, z = quat
    return (w, x, -z, y)


def turn_to_smpl(quat: Quaternion) -> Quaternion:
    """Return a rotation in Blender's axes (wxyz) as one of the SMPL world."""
    w, x, y, z = quat
    return (w, x, z, -y)


def continuous_quaternion(quat: Quaternion, previous: Quaternion) -> Quaternion:
    """Return `quat` or its negative, whichever is nearer to `previous`.

    Both are the same rotation; between keys of opposite sign the F-curves would go the long way round.
    """
    dot = sum(a * b for a, b in zip(quat, previous, strict=True))
    if dot >= 0:
        return quat
    return (-quat[0], -quat[1], -quat[2], -quat[3])
