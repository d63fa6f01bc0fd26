# SPDX-License-Identifier: GPL-3.0-or-later
"""A rig before a photograph: the person is taken to be as large as the rig, and the keypoints speak of the rig itself.

The source's directions and contacts stay evidence as in rig_job.py; the keypoints, with their weights and the user's
edits, come to them and have the last word where the rig's bones are other ones than the body's.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

import msgspec
import numpy as np

from .keypoints import TWINS, effective_evidence
from .record import Evidence, Keypoints2D, Keypoints3D, PhotoCamera, Pins, Record
from .rig import JOINT_NAMES, JOINT_PARENTS
from .rig_bones import FloatArray
from .rig_contacts import CONTACT_SIGMA, Contacts, FootContact, HandContact
from .rig_job import Task, copy_rotations, posed
from .rig_picture import RigPicture, camera_in
from .rig_skeleton import Posed, Skeleton
from .rig_turns import matrix_of

SAME_POSE: Final = 0.02
"""Metres: a body whose joints are farther from where they were solved was posed otherwise since."""

_SIZED: Final = (
    "Head", *(f"{side}_{joint}" for side in "LR" for joint in (
        "Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle"
    )),
)  # fmt: skip
"""Joints that tell how large a body is."""

_FACE: Final = ("nose", "left_eye_inner", "left_eye", "left_eye_outer", "right_eye_inner", "right_eye",
                "right_eye_outer", "left_ear", "right_ear", "mouth_left", "mouth_right")  # fmt: skip

_CARRIERS: Final[Mapping[str, tuple[str, str]]] = {
    **{name: (joint, joint) for name, joint in TWINS.items() if joint in JOINT_NAMES},
    **dict.fromkeys(_FACE, ("Head", "Head")),
    **{
        f"{side}_{part}": (f"{side[0].upper()}_{joint}", f"{side[0].upper()}_{carrier}")
        for side in ("left", "right")
        for part, joint, carrier in (
            ("heel", "Ankle", "Ankle"), ("foot_index", "Foot", "Foot"),
            ("pinky", "Wrist", "Wrist"), ("index", "Wrist", "Wrist"), ("thumb", "Wrist", "Wrist"),
        )
    },
    "left_hip": ("L_Hip", "Pelvis"), "right_hip": ("R_Hip", "Pelvis"),
    "L_Hand": ("L_Wrist", "L_Wrist"), "R_Hand": ("R_Wrist", "R_Wrist"),
}  # fmt: skip
"""Landmarks: from which joint they are measured, and with which they move."""


@dataclass(frozen=True, eq=False)
class Shot:
    """A photograph of the source."""

    record: Record
    """With the user's edits; of a body with SMPL's first joints."""
    camera: PhotoCamera
    """Where it is now, in the body's SMPL world."""
    to_scene: FloatArray
    """(4, 4) from there to the scene (metres, Y up): a rotation, a translation and one scale."""

    def shows(self, source: Posed) -> bool:
        """Return whether the source (in the scene) still has the pose that was solved."""
        points = self.record.solution.points
        known = [joint.name for joint in source.skeleton.joints if joint.name in points]
        wanted = _moved(self.to_scene, np.array([points[name] for name in known]))
        now = np.array([source.place(name) for name in known])
        scale = np.cbrt(np.linalg.det(self.to_scene[:3, :3]))
        return bool(known) and float(np.linalg.norm(now - wanted, axis=1).max()) < SAME_POSE * scale


def on_photograph(task: Task, shot: Shot) -> Task:
    """Return the task of a rig that is to be seen as the photograph shows the person.

    Args:
        task: Of one frame, in which the source has the pose that was solved.
        shot: The photograph.
    """
    (source,) = task.frames
    to_scene = task.placement.to_scene
    copied = posed(task.rig, copy_rotations(task, source))
    size = _size(np.array([to_scene(copied.place(name)) for name in _SIZED]), source)
    ground = 0.5 * (source.place("L_Hip") + source.place("R_Hip")) * (1.0, 0.0, 1.0)
    ground[1] = task.floor
    grow = np.eye(4)
    grow[:3, :3] *= size
    grow[:3, 3] = (1.0 - size) * ground
    grown = grow @ shot.to_scene
    landmarks = _landmarks(task.rig, shot, float(np.cbrt(np.linalg.det(grown[:3, :3]))))
    rig = replace(task.rig, points={**task.rig.points, **landmarks})
    names = {*landmarks, *(joint.name for joint in rig.joints)}
    evidence = effective_evidence(shot.record)
    picture = RigPicture(
        camera_in(shot.camera, grown), tuple(_on_picture(evidence, names)), _in_space(evidence, names, grown)
    )
    touched = tuple(_grown_contacts(one, grow) for one in task.touched())  # what is near by does not come apart by it
    larger = replace(task, rig=rig, frames=(_grown(source, size, ground),), stride=1.0, contacts=touched)
    first = posed(rig, copy_rotations(larger, larger.frames[0]))
    return replace(larger, picture=picture.followed(lambda name: to_scene(first.place(name))))


def _size(rig: FloatArray, source: Posed) -> float:
    """Return by how much the rig is larger than the source; both in one pose."""
    theirs = np.array([source.place(name) for name in _SIZED])
    rig, theirs = rig - rig.mean(axis=0), theirs - theirs.mean(axis=0)
    return float((rig * theirs).sum() / (theirs * theirs).sum())


def _grown(source: Posed, size: float, ground: FloatArray) -> Posed:
    """Return a pose that is larger, standing on the same ground."""
    old = source.skeleton
    points = {name: (carrier, size * place) for name, (carrier, place) in old.points.items()}
    skeleton = replace(old, rest=size * old.rest, to_rig=size * old.to_rig, floor=size * old.floor, points=points)
    return Posed(skeleton, source.turns, ground + size * (source.places - ground))


def _grown_contacts(contacts: Contacts, grow: FloatArray) -> Contacts:
    def foot(contact: FootContact) -> FootContact:
        return replace(contact, place=_moved(grow, contact.place))

    def hand(contact: HandContact) -> HandContact:
        if contact.offset is None:
            return contact
        is_on_floor = contact.other == ""
        return replace(contact, offset=_moved(grow, contact.offset) if is_on_floor else grow[0, 0] * contact.offset)

    return Contacts(
        tuple(map(foot, contacts.feet)), tuple(map(hand, contacts.hands)), tuple(map(foot, contacts.swinging))
    )


def _landmarks(rig: Skeleton, shot: Shot, metres: float) -> dict[str, tuple[int, FloatArray]]:
    """Return where the points of the body ride on the rig: as far from its joints as on the body, by its size."""
    solution = shot.record.solution
    turns: list[FloatArray] = []
    for quat, parent in zip(solution.pose.local_quat[: len(JOINT_NAMES)], JOINT_PARENTS, strict=False):
        local = matrix_of(np.array(quat))
        turns.append(local if parent < 0 else turns[parent] @ local)
    found: dict[str, tuple[int, FloatArray]] = {}
    for name, (joint, carrier) in _CARRIERS.items():
        start, at = (solution.points.get(one) for one in (joint, name))
        ball = f"{joint[:2]}ball"
        if rig.index(joint) < 0 and joint.endswith("_Foot"):  # a rig without toes
            number, origin = rig.points[ball]
        else:
            number, origin = rig.index(carrier), rig.rest[rig.index(joint)]
        if start is None or at is None or number < 0 or rig.index(name) >= 0:
            continue
        offset = turns[JOINT_NAMES.index(carrier)].T @ (np.array(at) - np.array(start))
        found[name] = number, origin + metres * rig.joints[number].calibration.T @ offset
    return found


def _on_picture(evidence: Iterable[Evidence], names: set[str]) -> Iterator[Keypoints2D]:
    for block in evidence:
        if not isinstance(block, Keypoints2D):
            continue
        rows = [row for row in zip(block.names, block.points, block.sigma, strict=True) if row[0] in names]
        if rows:
            known, points, sigma = (tuple(column) for column in zip(*rows, strict=True))
            yield msgspec.structs.replace(block, names=known, points=points, sigma=sigma)


def _in_space(
    evidence: Iterable[Evidence], names: set[str], to_scene: FloatArray
) -> dict[str, tuple[FloatArray, float]]:
    """Return what the user has placed in space."""
    found: dict[str, tuple[FloatArray, float]] = {}
    for block in evidence:
        if not isinstance(block, Keypoints3D | Pins):
            continue
        sigmas = (CONTACT_SIGMA,) * len(block.names) if isinstance(block, Pins) else block.sigma
        for name, point, sigma in zip(block.names, block.points, sigmas, strict=True):
            if name in names:
                found[name] = _moved(to_scene, np.array(point)), sigma
    return found


def _moved(matrix: FloatArray, points: FloatArray) -> FloatArray:
    return points @ matrix[:3, :3].T + matrix[:3, 3]
