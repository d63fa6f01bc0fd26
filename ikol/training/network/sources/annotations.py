# SPDX-License-Identifier: Apache-2.0
"""Human3.6M, MPI-INF-3DHP, 3DPW and COCO from annotation files in the layouts that HybrIK and IKOL train from.

A file is read once, typed; pictures when they are asked for. Rotations and betas in such files are those of an SMPL
body: they are used when the training's body is one. Source of the layouts: hybrik/datasets/{h36m_smpl,hp3d,pw3d,
mscoco}.py of HybrIK's repository. Imports: numpy, msgspec.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import torch
from jaxtyping import Bool, Float
from msgspec import Struct

from ikol.errors import FileFormatError, InputError
from ikol.geometry.rotations import rotvec_to_rotmat
from ikol.regressor.image import decode_image
from ikol.regressor.networks.joints import SMPL24, SMPL29
from ikol.training.network.samples import TrainingSample

Layout = Literal["h36m", "mpi_inf_3dhp", "3dpw", "coco"]
_METRES = {"h36m": 1e-3, "mpi_inf_3dhp": 1e-3, "3dpw": 1.0}
_FOCAL_SHARE = 35 / 36  # of the longer side: a 35 mm lens, where a file knows no camera (COCO)
_UNKNOWN_TWIST = -10.0  # radians; files mark unknown twists with -999
_MOST = 1e9  # a kilometre in micrometres; what is larger, or NaN, is no length
_MIN_BOX = 5.0  # pixels

_MPI_JOINTS = {
    "Pelvis": 4, "Neck": 5,
    "L_Shoulder": 9, "L_Elbow": 10, "L_Wrist": 11, "R_Shoulder": 14, "R_Elbow": 15, "R_Wrist": 16,
    "L_Hip": 18, "L_Knee": 19, "L_Ankle": 20, "R_Hip": 23, "R_Knee": 24, "R_Ankle": 25,
}  # fmt: skip
_COCO_JOINTS = {
    "L_Shoulder": 5, "R_Shoulder": 6, "L_Elbow": 7, "R_Elbow": 8, "L_Wrist": 9, "R_Wrist": 10,
    "L_Hip": 11, "R_Hip": 12, "L_Knee": 13, "R_Knee": 14, "L_Ankle": 15, "R_Ankle": 16,
}  # fmt: skip


class _Camera(Struct, frozen=True):
    f: tuple[float, float] | None = None
    c: tuple[float, float] | None = None
    focal: tuple[float, float] | None = None
    princpt: tuple[float, float] | None = None
    intrinsic_param: list[list[float]] | None = None


class _Image(Struct, frozen=True):
    file_name: str
    width: int
    height: int
    id: int | str | None = None
    sequence: str = ""
    cam_param: _Camera | None = None


class _Twist(Struct, frozen=True):
    angle: list[float]


class _Smpl(Struct, frozen=True):
    shape: list[float]
    pose: list[float]


class _Person(Struct, frozen=True):
    image_id: int | str
    bbox: tuple[float, float, float, float]
    """x, y, width, height."""
    smpl_joints: Any = None
    smpl_joint_cam: Any = None
    keypoints_cam: Any = None
    keypoints: Any = None
    thetas: Any = None
    betas: Any = None
    smpl_param: _Smpl | None = None
    angle_twist: _Twist | None = None
    cam_param: _Camera | None = None


class _File(Struct, frozen=True):
    images: list[_Image]
    annotations: list[_Person]


@dataclass(frozen=True)
class AnnotatedPictures:
    """Samples of one annotation file."""

    layout: Layout
    pictures: Path
    is_smpl: bool
    """Whether rotations and betas are those of the training's body."""
    pairs: Sequence[tuple[_Image, _Person]]

    def __len__(self) -> int:
        """Return how many persons are annotated."""
        return len(self.pairs)

    def sample(self, index: int) -> TrainingSample:
        """Read one person and the picture.

        Raises:
            InputError: the picture is missing, cannot be read, or lies outside the folder of the pictures.
        """
        image, person = self.pairs[index]
        rgb = _read_picture(self.pictures, Path(image.sequence) / image.file_name)
        focal, center = _lens(person.cam_param or image.cam_param, image)
        joints, has_joints = self._joints(person)
        pixels, has_pixels = _project(joints, has_joints, focal, center)
        if self.layout == "coco":
            pixels, has_pixels = _coco_pixels(person)
        rotvec, betas = _smpl_pose(person)
        twist, has_twist = _twist(person)
        x, y, width, height = person.bbox
        return TrainingSample(
            picture=rgb,
            box=(x, y, x + width, y + height),
            focal=focal,
            center=center,
            pixels=pixels,
            has_pixels=has_pixels,
            joints=joints,
            has_joints=has_joints,
            local_rotmat=rotvec_to_rotmat(torch.from_numpy(np.zeros((24, 3)) if rotvec is None else rotvec))
            .float()
            .numpy(),
            has_rotations=self.is_smpl and rotvec is not None,
            twist=twist,
            has_twist=has_twist,
            betas=np.zeros(10, np.float32) if betas is None else betas,
            has_betas=self.is_smpl and betas is not None,
        )

    def _joints(self, person: _Person) -> tuple[Float[np.ndarray, "29 3"], Bool[np.ndarray, "29"]]:
        """Return the joints in camera axes, metres, and which are known."""
        joints, known = np.zeros((29, 3), np.float32), np.zeros(29, bool)
        if self.layout == "mpi_inf_3dhp":
            given = _array(person.keypoints_cam, "keypoints_cam", (28, 3), (17, 3))
            if len(given) == 28:  # the test set's 17 have their own order, which no training uses
                for name, number in _MPI_JOINTS.items():
                    joints[SMPL29.index(name)] = given[number]
                    known[SMPL29.index(name)] = True
        elif self.layout != "coco":
            given = person.smpl_joints if self.layout == "h36m" else person.smpl_joint_cam
            array = _array(given, "smpl_joints", (29, 3), (24, 3))
            joints[: len(array)], known[: len(array)] = array, True
        return joints * np.float32(_METRES.get(self.layout, 1.0)), known


def open_annotations(layout: Layout, file: Path, pictures: Path, *, is_smpl: bool) -> AnnotatedPictures:
    """Read an annotation file.

    Args:
        layout: whose.
        file: JSON.
        pictures: what the file's names start from.
        is_smpl: whether the training's body is SMPL.

    Raises:
        FileFormatError: it is not JSON of this layout, or holds nobody.
    """
    try:
        read = msgspec.json.decode(file.read_bytes(), type=_File)
    except (msgspec.DecodeError, OSError) as error:
        raise FileFormatError(f"{file} is no annotation file of {layout} in HybrIK's layout: {error}") from error
    if layout in ("h36m", "mpi_inf_3dhp") and len(read.images) == len(read.annotations):
        pairs = list(zip(read.images, read.annotations, strict=True))
    else:
        by_id: Mapping[object, _Image] = {image.id: image for image in read.images}
        unknown = next((each.image_id for each in read.annotations if each.image_id not in by_id), None)
        if unknown is not None:
            raise FileFormatError(f"{file} annotates the image {unknown!r}, which is not among its images")
        pairs = [(by_id[each.image_id], each) for each in read.annotations]
    pairs = [
        (image, person) for image, person in pairs if min(person.bbox[2:]) >= _MIN_BOX and _is_used(layout, person)
    ]
    if not pairs:
        raise FileFormatError(f"{file} holds no person that can be learned from")
    return AnnotatedPictures(layout, pictures, is_smpl, pairs)


def _is_used(layout: Layout, person: _Person) -> bool:
    if layout != "coco":
        return True
    return person.keypoints is not None and bool(_coco_pixels(person)[1].any())


def _read_picture(folder: Path, name: Path) -> np.ndarray:
    path = folder if "\0" in str(name) else (folder / name).resolve()
    if path == folder or not path.is_relative_to(folder.resolve()):
        raise InputError(f"the annotation names the picture {str(name)!r}, which lies outside {folder}")
    try:
        return decode_image(path.read_bytes()).rgb
    except OSError as error:
        raise InputError(f"the picture {path} cannot be read: {error.strerror}") from error


def _lens(camera: _Camera | None, image: _Image) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return focal length and principal point, pixels."""
    if camera is not None and camera.intrinsic_param is not None:
        K = _array(camera.intrinsic_param, "intrinsic_param", (3, 3), (4, 4), (3, 4))
        return (float(K[0, 0]), float(K[1, 1])), (float(K[0, 2]), float(K[1, 2]))
    if camera is not None and camera.f is not None and camera.c is not None:
        return camera.f, camera.c
    if camera is not None and camera.focal is not None and camera.princpt is not None:
        return camera.focal, camera.princpt
    focal = _FOCAL_SHARE * max(image.width, image.height)
    return (focal, focal), (image.width / 2, image.height / 2)


def _array(value: Any, what: str, *shapes: tuple[int, ...]) -> Float[np.ndarray, "..."]:
    """Return numbers in the first shape whose size they have.

    Raises:
        FileFormatError: they have none of the sizes, or are no numbers.
    """
    try:
        array = np.asarray(value, dtype=np.float64).ravel()
    except (TypeError, ValueError) as error:
        raise FileFormatError(f"{what} must be numbers: {error}") from error
    for shape in shapes:
        if array.size == np.prod(shape) and (np.abs(array) < _MOST).all():
            return array.reshape(shape).astype(np.float32)
    expected = " or ".join(" x ".join(map(str, shape)) for shape in shapes)
    raise FileFormatError(f"{what} must be {expected} finite numbers, got {array.size}")


def _project(
    joints: Float[np.ndarray, "29 3"],
    known: Bool[np.ndarray, "29"],
    focal: tuple[float, float],
    center: tuple[float, float],
) -> tuple[Float[np.ndarray, "29 2"], Bool[np.ndarray, "29"]]:
    ahead = known & (joints[:, 2] > 0.1)
    depth = np.where(ahead, joints[:, 2], 1.0)[:, None]
    pixels = joints[:, :2] / depth * np.array(focal, np.float32) + np.array(center, np.float32)
    return np.where(ahead[:, None], pixels, 0.0).astype(np.float32), ahead


def _coco_pixels(person: _Person) -> tuple[Float[np.ndarray, "29 2"], Bool[np.ndarray, "29"]]:
    given = _array(person.keypoints, "keypoints", (17, 3))
    pixels, known = np.zeros((29, 2), np.float32), np.zeros(29, bool)
    for name, number in _COCO_JOINTS.items():
        pixels[SMPL29.index(name)] = given[number, :2] + 0.5  # COCO counts from the centre of the first pixel
        known[SMPL29.index(name)] = given[number, 2] > 0
    return pixels, known


def _smpl_pose(person: _Person) -> tuple[Float[np.ndarray, "24 3"] | None, Float[np.ndarray, "10"] | None]:
    pose, shape = person.thetas, person.betas
    if person.smpl_param is not None:
        pose, shape = person.smpl_param.pose, person.smpl_param.shape
    rotvec = None if pose is None else _array(pose, "thetas", (24, 3))
    return rotvec, None if shape is None else _array(shape, "betas", (10,))


def _twist(person: _Person) -> tuple[Float[np.ndarray, "24"], Bool[np.ndarray, "24"]]:
    twist, known = np.zeros(24, np.float32), np.zeros(24, bool)
    if person.angle_twist is not None:
        twist[1:] = _array(person.angle_twist.angle, "angle_twist", (len(SMPL24) - 1,))
        known[1:] = twist[1:] > _UNKNOWN_TWIST
    return np.where(known, twist, 0.0).astype(np.float32), known
