# SPDX-License-Identifier: GPL-3.0-or-later
"""The handles of a body: which joints have one, where each belongs, and what moving them says of the body.

A handle that the user has placed stands where he put it, every other one stands on the solved joint. All in the SMPL
world: metres, quaternions wxyz.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from msgspec.structs import replace

from .keypoints import KeypointState, keypoint_state, move_positions, turn
from .record import KeypointEdit, Pose, Quaternion, Record, Vector3
from .rig import TREES

MOVED_METRES = 1e-4
"""A handle farther from where it was put has been moved; float32 and the armature's matrix stay a hundred below."""

TURNED_RADIANS = 2e-3
"""The same for its rotation: the angle between two float32 quaternions is good to 5e-4."""


@dataclass(frozen=True)
class Handle:
    """How the handle of a joint is called and drawn. `size` is its radius in metres."""

    point: str
    label: str
    shape: str
    size: float
    turns: bool = False
    """Whether turning it turns the joint."""


HANDLES = (
    Handle("Head", "Head", "CIRCLE", 0.15, turns=True),
    Handle("Spine3", "Chest", "SPHERE", 0.03),
    Handle("Pelvis", "Hips", "CIRCLE", 0.2, turns=True),
    *(
        Handle(f"{side[0]}_{joint}", f"{side} {label}", shape, size, turns)
        for side in ("Left", "Right")
        for joint, label, shape, size, turns in (
            ("Wrist", "Hand", "CUBE", 0.03, True),
            ("Elbow", "Elbow", "SPHERE", 0.03, False),
            ("Shoulder", "Shoulder", "SPHERE", 0.03, False),
            ("Ankle", "Foot", "CUBE", 0.03, True),
            ("Knee", "Knee", "SPHERE", 0.03, False),
        )
    ),
)
"""Spheres move, cubes and rings also turn. Small, since a click takes what is drawn within 5 pixels: of a body seen
whole, a click into a cube of 4 cm took the bone behind. A knuckle or an eye has none: those are
moved on the photograph."""

HANDLE_OF_POINT: dict[str, Handle] = {handle.point: handle for handle in HANDLES}


@dataclass(frozen=True)
class Placement:
    """Where a handle stands and how it is turned."""

    position: Vector3
    quat: Quaternion

    def is_moved_from(self, other: "Placement") -> bool:
        """Whether the two are different places."""
        return math.dist(self.position, other.position) > MOVED_METRES

    def is_turned_from(self, other: "Placement") -> bool:
        """Whether the two are different rotations."""
        dot = abs(sum(a * b for a, b in zip(self.quat, other.quat, strict=True)))
        return dot < math.cos(0.5 * TURNED_RADIANS)


def placements(record: Record) -> dict[str, Placement]:
    """Return where the handles of a body belong. One whose joint the solution does not know is left out.

    A muted one has no say: it stands on the solved joint, and goes back to its place when it is heard again.
    """
    quats = global_quats(record.solution.pose)
    result: dict[str, Placement] = {}
    for handle in HANDLES:
        point = handle.point
        solved = record.solution.points.get(point)
        edit = heard_edit(record, point)
        position = edit.position or solved
        if position is not None:
            result[point] = Placement(position, edit.orientation or quats[point])
    return result


def heard_edit(record: Record, point: str) -> KeypointEdit:
    """Return what the user said of a point, nothing while it is muted."""
    if keypoint_state(record, point) is KeypointState.MUTED:
        return KeypointEdit()
    return record.edits.get(point, KeypointEdit())


@dataclass(frozen=True)
class Driven:
    """Joints whose handles get place or rotation from keys, constraints or parents, and not from the mouse."""

    moved: frozenset[str] = frozenset()
    turned: frozenset[str] = frozenset()


def with_driven(record: Record, now: Mapping[str, Placement], driven: Driven) -> Record:
    """Return the record with the driven handles where they are now: also one that stands still has its say.

    The user's other edits of these joints stay, a pixel on the photograph too.
    """
    edits = dict(record.edits)
    for name in driven.moved & now.keys():
        edits[name] = replace(edits.get(name, KeypointEdit()), position=now[name].position)
    for name in driven.turned & now.keys():
        edits[name] = replace(edits.get(name, KeypointEdit()), orientation=now[name].quat)
    return replace(record, edits=edits)


def without_driven(record: Record, driven: Driven) -> Record:
    """Return the record without the places of driven handles: they are of one frame, and must not outlive it."""
    edits: dict[str, KeypointEdit] = {}
    for name, edit in record.edits.items():
        position = None if name in driven.moved else edit.position
        orientation = None if name in driven.turned else edit.orientation
        edits[name] = replace(edit, position=position, orientation=orientation)
    return replace(record, edits={name: edit for name, edit in edits.items() if edit != KeypointEdit()})


def with_handles(
    record: Record, placed: Mapping[str, Placement], now: Mapping[str, Placement], driven: Driven | None = None
) -> Record:
    """Return the record with what the user did to handles since they were placed, and with the driven ones."""
    driven = driven or Driven()
    own = {name: at for name, at in now.items() if name in placed}
    moved = {name: at.position for name, at in own.items() if at.is_moved_from(placed[name])}
    moved = {name: position for name, position in moved.items() if name not in driven.moved}
    if moved:
        record = move_positions(record, moved)
    for name, at in own.items():
        turns = name in HANDLE_OF_POINT and HANDLE_OF_POINT[name].turns and name not in driven.turned
        if turns and at.is_turned_from(placed[name]):
            record = turn(record, name, at.quat)
    return with_driven(record, now, driven)


def global_quats(pose: Pose) -> dict[str, Quaternion]:
    """Return the rotation of every joint in the SMPL world: the product of the local ones along its chain."""
    tree = TREES[len(pose.local_quat)]
    quats: list[Quaternion] = []
    for local, parent in zip(pose.local_quat, tree.parents, strict=True):
        quats.append(local if parent < 0 else _product(quats[parent], local))
    return dict(zip(tree.names, quats, strict=True))


def _product(left: Quaternion, right: Quaternion) -> Quaternion:
    w1, x1, y1, z1 = left
    w2, x2, y2, z2 = right
    return (
        w1 * w2 - x1 * x2 - y1 * y2 - z1 * z2,
        w1 * x2 + x1 * w2 + y1 * z2 - z1 * y2,
        w1 * y2 - x1 * z2 + y1 * w2 + z1 * x2,
        w1 * z2 + x1 * y2 - y1 * x2 + z1 * w2,
    )
