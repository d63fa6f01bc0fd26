# SPDX-License-Identifier: GPL-3.0-or-later
"""A rig before a photograph: the person is taken to be as large as the rig, and the keypoints speak of the rig itself.

The source's directions and contacts stay evidence as in rig_job.py; the keypoints, with their weights and the user's
edits, come to them and have the last word where the rig's bones are other ones than the body's.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import msgspec
import numpy as np
from numpy.typing import ArrayLike

from .keypoints import TWINS, effective_evidence
from .pose_conversion import NEAR, project
from .record import Evidence, Keypoints2D, Keypoints3D, PhotoCamera, Pins, Record
from .rig import JOINT_NAMES, JOINT_PARENTS
from .rig_bones import FloatArray
from .rig_contacts import CONTACT_SIGMA, Contacts, FootContact, HandContact
from .rig_job import Task, copy_rotations, in_scene, posed
from .rig_picture import Places, RigPicture, camera_in
from .rig_placement import Placement
from .rig_skeleton import Posed, Skeleton
from .rig_turns import matrix_of

SAME_POSE: Final = 0.02
"""Metres: a body whose joints are farther from where they were solved was posed otherwise since."""

SILENT: Final = 30.0
"""A keypoint that is doubted by more has no say: at 5 to 10 pixels it would be known to a tenth of the picture."""

LEAST_SAID: Final = 6.0
"""Keypoints that a frame needs for the photograph to count in it: fewer place no camera."""

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
    is_held: bool = False
    """Whether the camera is the user's own, and stays where it is."""

    @property
    def metres(self) -> float:
        """In the scene, of one metre of the body's."""
        return float(np.cbrt(np.linalg.det(self.to_scene[:3, :3])))

    def shows(self, source: Posed) -> bool:
        """Return whether the source (in the scene) still has the pose that was solved."""
        points = self.record.solution.points
        known = [joint.name for joint in source.skeleton.joints if joint.name in points]
        wanted = _moved(self.to_scene, np.array([points[name] for name in known]))
        now = np.array([source.place(name) for name in known])
        return bool(known) and float(np.linalg.norm(now - wanted, axis=1).max()) < SAME_POSE * self.metres

    def doubts(self, source: Posed) -> dict[str, float]:
        """Return by how much less each point says of the source (in the scene), which may have been posed otherwise.

        1 where the source still meets the keypoint as the pose did that was solved, and the more the farther it is from
        there: what the person did with this limb on the photograph is not what it does now.
        """
        solution, metres = self.record.solution, self.metres
        camera, before = camera_in(self.camera, self.to_scene), self.record.camera or self.camera
        rides = _landmarks(source.skeleton, self, metres, Placement(np.eye(4)))
        now = replace(source, skeleton=replace(source.skeleton, points={**source.skeleton.points, **rides}))
        known = {*rides, *(joint.name for joint in source.skeleton.joints)} & {*solution.points}
        depth = (np.array(camera.rotation).reshape(3, 3) @ source.places[0] + np.array(camera.translation))[2]
        pixels = camera.focal_x / max(float(depth), NEAR)  # of a metre
        found: dict[str, float] = {}

        def doubt(name: str, more: float) -> None:
            excess = more / (SAME_POSE * metres) - 1.0
            found[name] = max(found.get(name, 1.0), 1.0 + max(0.0, excess) ** 2)

        for block in _said(self.record):
            if isinstance(block, Keypoints2D):
                for name, pixel in _known(block, known):
                    far = (
                        _far(project(camera, now.place(name)), pixel),
                        _far(project(before, solution.points[name]), pixel),
                    )
                    doubt(name, (far[0] - far[1]) / pixels)
            elif isinstance(block, Keypoints3D | Pins):
                for name, point in _known(block, known):
                    at = _moved(self.to_scene, np.array(point))
                    doubt(name, _far(now.place(name), at) - metres * _far(solution.points[name], point))
        return found


def _said(record: Record) -> tuple[Evidence, ...]:
    """Return the evidence of one picture, without what others say: a rig of other proportions is not where they saw it.

    What they say is in the source's pose.
    """
    own = tuple(block for block in record.evidence if not isinstance(block, Keypoints3D))
    return effective_evidence(msgspec.structs.replace(record, evidence=own, pictures=()))


def _known(block: Keypoints2D | Keypoints3D | Pins, known: set[str]) -> Iterator[tuple[str, tuple[float, ...]]]:
    return ((name, point) for name, point in zip(block.names, block.points, strict=True) if name in known)


def _far(first: ArrayLike, second: ArrayLike) -> float:
    return float(np.linalg.norm(np.subtract(first, second)))


def on_photograph(task: Task, shot: Shot) -> Task:
    """Return the task of a rig that is to be seen as the photograph shows the person.

    Args:
        task: Of one frame, in which the source has the pose that was solved.
        shot: The photograph.
    """
    return _on_photographs(task, (shot,), ({},))


def on_photographs(task: Task, shots: Sequence[Shot]) -> Task:
    """Return the task of a rig of which a photograph says what the source still does of it, frame by frame.

    Args:
        task: Of any number of frames.
        shots: The photograph with what the user has said in each frame.
    """
    doubts = tuple(shot.doubts(source) for shot, source in zip(shots, task.frames, strict=True))
    return _on_photographs(task, shots, doubts)


def _on_photographs(task: Task, shots: Sequence[Shot], doubts: Sequence[Mapping[str, float]]) -> Task:
    says = [sum(1.0 / doubt for doubt in one.values()) if one else np.inf for one in doubts]
    lead = int(np.argmax(says))
    if says[lead] < LEAST_SAID:
        return task
    source, shot, placement = task.frames[lead], shots[lead], task.placement
    size = _size(in_scene(placement, posed(task.rig, copy_rotations(task, source))), source)
    ground = 0.5 * (source.place("L_Hip") + source.place("R_Hip")) * (1.0, 0.0, 1.0)
    ground[1] = task.floor
    grown = 1.0 if shot.is_held else size  # before a camera that is held feet are where the body's are
    grow = np.eye(4)
    grow[:3, :3] *= grown
    grow[:3, 3] = (1.0 - grown) * ground
    landmarks = _landmarks(task.rig, shot, size * shot.metres, placement)
    rig = replace(task.rig, points={**task.rig.points, **landmarks})
    names = {placement.other_side(name) for name in (*landmarks, *(joint.name for joint in rig.joints))}
    pictures = tuple(
        _picture(one, names, doubt, grow) if said >= LEAST_SAID else None
        for one, doubt, said in zip(shots, doubts, says, strict=True)
    )
    touched = tuple(_grown_contacts(one, grow) for one in task.touched())  # what is near by does not come apart by it
    frames = tuple(_grown(frame, grown, ground) for frame in task.frames)
    larger = replace(task, rig=rig, frames=frames, stride=1.0, contacts=touched)
    first = posed(rig, copy_rotations(larger, frames[lead]))
    begun = tuple(
        picture.followed(in_scene(placement, first)) if picture is not None and number == lead else picture
        for number, picture in enumerate(pictures)
    )
    return replace(larger, pictures=begun, lead=lead)


def _picture(shot: Shot, names: set[str], doubts: Mapping[str, float], grow: FloatArray) -> RigPicture:
    evidence = _said(shot.record)
    space = grow @ shot.to_scene
    return RigPicture(
        camera_in(shot.camera, space),
        tuple(_on_picture(evidence, names, doubts)),
        _in_space(evidence, names, space, doubts),
        shot.is_held,
    )


def _size(place: Places, source: Posed) -> float:
    """Return by how much the rig, whose joints are at their places, is larger than the source; both in one pose."""
    rig, theirs = (np.array([at(name) for name in _SIZED]) for at in (place, source.place))
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
        return replace(contact, place=_moved(grow, contact.place), anchor=_moved(grow, contact.anchor))

    def hand(contact: HandContact) -> HandContact:
        if contact.offset is None:
            return contact
        is_on_floor = contact.other == ""
        return replace(contact, offset=_moved(grow, contact.offset) if is_on_floor else grow[0, 0] * contact.offset)

    return Contacts(
        tuple(map(foot, contacts.feet)), tuple(map(hand, contacts.hands)), tuple(map(foot, contacts.swinging))
    )


def _landmarks(rig: Skeleton, shot: Shot, metres: float, placement: Placement) -> dict[str, tuple[int, FloatArray]]:
    """Return where the points of the body ride on the rig: as far from its joints as on the body, by its size."""
    mirror = np.array([-1.0 if placement.is_mirrored else 1.0, 1.0, 1.0])
    solution = shot.record.solution
    turns: list[FloatArray] = []
    for quat, parent in zip(solution.pose.local_quat[: len(JOINT_NAMES)], JOINT_PARENTS, strict=False):
        local = matrix_of(np.array(quat))
        turns.append(local if parent < 0 else turns[parent] @ local)
    found: dict[str, tuple[int, FloatArray]] = {}
    for name, (joint, carrier) in _CARRIERS.items():
        start, at = (solution.points.get(placement.other_side(one)) for one in (joint, name))
        ball = f"{joint[:2]}ball"
        if rig.index(joint) < 0 and joint.endswith("_Foot"):  # a rig without toes
            number, origin = rig.points[ball]
        else:
            number, origin = rig.index(carrier), rig.rest[rig.index(joint)]
        if start is None or at is None or number < 0 or rig.index(name) >= 0:
            continue
        turn = turns[JOINT_NAMES.index(placement.other_side(carrier))]
        offset = mirror * (turn.T @ (np.array(at) - np.array(start)))
        found[name] = number, origin + metres * rig.joints[number].calibration.T @ offset
    return found


def _on_picture(evidence: Iterable[Evidence], names: set[str], doubts: Mapping[str, float]) -> Iterator[Keypoints2D]:
    for block in evidence:
        if not isinstance(block, Keypoints2D):
            continue
        rows = [
            (name, point, sigma * doubts.get(name, 1.0))
            for name, point, sigma in zip(block.names, block.points, block.sigma, strict=True)
            if name in names and doubts.get(name, 1.0) < SILENT
        ]
        if rows:
            known, points, sigma = (tuple(column) for column in zip(*rows, strict=True))
            yield msgspec.structs.replace(block, names=known, points=points, sigma=sigma)


def _in_space(
    evidence: Iterable[Evidence], names: set[str], to_scene: FloatArray, doubts: Mapping[str, float]
) -> dict[str, tuple[FloatArray, float]]:
    """Return what the user has placed in space."""
    found: dict[str, tuple[FloatArray, float]] = {}
    for block in evidence:
        if not isinstance(block, Keypoints3D | Pins):
            continue
        sigmas = (CONTACT_SIGMA,) * len(block.names) if isinstance(block, Pins) else block.sigma
        for name, point, sigma in zip(block.names, block.points, sigmas, strict=True):
            if name in names and doubts.get(name, 1.0) < SILENT:
                found[name] = _moved(to_scene, np.array(point)), sigma * doubts.get(name, 1.0)
    return found


def _moved(matrix: FloatArray, points: FloatArray) -> FloatArray:
    return points @ matrix[:3, :3].T + matrix[:3, 3]
