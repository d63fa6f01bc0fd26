# SPDX-License-Identifier: GPL-3.0-or-later
"""What the user's edits do to the evidence of a picture: what the solver is sent, and how each point is shown.

Every edit is a function from a record to a new one, so that an undo is the old one.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import cast

from msgspec.structs import replace

from .errors import EvidenceError
from .limbs import is_middle, limb_of, regions_of
from .pictures import as_shown, edited_points, forget_elsewhere, placed_elsewhere
from .record import (
    Evidence,
    KeypointEdit,
    Keypoints2D,
    Keypoints3D,
    Orientations,
    PhotoCamera,
    Pins,
    Quaternion,
    Record,
    RelativeKeypoints3D,
    Twist,
    Vector2,
    Vector3,
    ViewKeypoints2D,
)
from .rig import POINT_NAMES

PIXEL_SHARE = 0.00075
"""Standard deviation of a point placed on the picture, in parts of its longer side: 0.75 px of 1000. At twice that a
hip dragged by 60 px was met only within 14 px."""

POSITION_SIGMA = 0.005
"""Metres. A point that the user placed in space counts like a measurement good to 5 mm: at 1 cm neighbouring
landmarks of the picture (the knuckles of a moved wrist) still pulled it 3 cm away."""

ORIENTATION_SIGMA = 0.05
"""Radians, 3 degrees: a turned handle wins over the picture and gives way to the joint's limits."""

LOCKED_PIXEL_SHARE = 0.0002
LOCKED_ORIENTATION_SIGMA = 0.003

LOOSE_PIXELS = 16.0
"""Standard deviation of detected points under *Mine First*, in that of a placed one."""

FREE_SIGMA = 10.0
"""Metres: what a network said of a point along the picture's axes has no say once the user has placed it there."""

LOOSENED_SIGMA = 0.1
"""Metres: what several pictures said of points beside one that the user has placed otherwise, which shall follow it.
With less, the elbow holds a pulled hand back; with none, nothing would say where the elbow was."""

YIELDING_SIGMA = 0.03
"""The same of what joins these to the rest, which a pull beyond an arm's reach takes along. What is within reach is met
to 5 mm; an elbow pulled 9 cm beyond, by 48 mm, before a trunk that stayed within millimetres by 75. One picture alone,
which knows less of the trunk, gives it 10 mm and moves the head by 12 cm."""

DOUBTFUL = 0.5
"""Confidence below which a detected point is shown as a guess."""

FOLLOWERS = {
    f"{side}_{leader}": tuple(f"{side}_{name}" for name in names)
    for side in ("left", "right")
    for leader, names in (("wrist", ("pinky", "index", "thumb")), ("ankle", ("heel", "foot_index")))
} | {
    "nose": (
        "left_eye_inner", "left_eye", "left_eye_outer", "right_eye_inner", "right_eye", "right_eye_outer", "left_ear",
        "right_ear", "mouth_left", "mouth_right",
    )
}  # fmt: skip
"""Points that go along when their leader is moved on the picture: a hand is not left behind by its wrist."""


_LEADERS = {name: leader for leader, followers in FOLLOWERS.items() for name in followers}

_SIDES = MappingProxyType({"L": "left", "R": "right"})
_LIMB_JOINTS = ("Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle")

TWINS = MappingProxyType(
    {f"{letter}_{joint}": f"{side}_{joint.lower()}" for letter, side in _SIDES.items() for joint in _LIMB_JOINTS}
    | {f"{side}_{joint.lower()}": f"{letter}_{joint}" for letter, side in _SIDES.items() for joint in _LIMB_JOINTS}
)
"""Joints and landmarks that are the same place of the body."""

_SEEN_BY = MappingProxyType(
    {
        f"{letter}_{joint}": f"{side}_{landmark}"
        for letter, side in _SIDES.items()
        for joint, landmark in (
            *((joint, joint.lower()) for joint in _LIMB_JOINTS),
            ("Hand", "wrist"),
            ("Foot", "ankle"),
        )
    }
)
"""Joints of the limbs, by the landmark that shows where they are."""


_NONE = KeypointEdit()


class KeypointState(Enum):
    """How a point is shown."""

    DETECTED = "detected"
    DOUBTFUL = "doubtful"
    EDITED = "edited"
    LOCKED = "locked"
    MUTED = "muted"


STATE_COLORS: dict[KeypointState, tuple[float, float, float, float]] = {
    KeypointState.DETECTED: (0.20, 0.80, 0.35, 1.0),
    KeypointState.DOUBTFUL: (0.95, 0.65, 0.10, 1.0),
    KeypointState.EDITED: (0.20, 0.55, 1.00, 1.0),
    KeypointState.LOCKED: (0.95, 0.20, 0.55, 1.0),
    KeypointState.MUTED: (0.55, 0.55, 0.55, 0.6),
}
"""RGBA. Told apart by lightness too, for eyes that do not tell red from green."""


def keypoint_state(record: Record, name: str) -> KeypointState:
    """Return how a point is shown."""
    edit = record.edits.get(name, _NONE)
    if edit.is_muted or (record.solo and name not in record.solo):
        return KeypointState.MUTED
    if edit.is_locked:
        return KeypointState.LOCKED
    if edit != _NONE or name in placed_elsewhere(record):
        return KeypointState.EDITED
    return KeypointState.DOUBTFUL if record.confidence.get(name, 1.0) < DOUBTFUL else KeypointState.DETECTED


def shown_points(record: Record) -> tuple[str, ...]:
    """Return the points that are shown on the photograph: detected or added, and not removed."""
    names = dict.fromkeys(_detected_pixels(record))
    names.update(dict.fromkeys(name for name, edit in record.edits.items() if edit.pixel is not None))
    return tuple(name for name in names if not record.edits.get(name, _NONE).is_removed)


def target_pixel(record: Record, name: str) -> Vector2 | None:
    """Return where the evidence has a point on the picture: where the user put it, or where it was detected.

    A point whose leader was moved has moved along. None for one that the picture says nothing of.
    """
    return _target_pixel(record, name, _detected_pixels(record))


def _target_pixel(record: Record, name: str, detected: Mapping[str, Vector2]) -> Vector2 | None:
    edit = record.edits.get(name)
    if edit is not None and edit.pixel is not None:
        return edit.pixel
    pixel = detected.get(name)
    for leader, followers in FOLLOWERS.items():
        led = record.edits.get(leader)
        if (
            pixel is not None
            and name in followers
            and led is not None
            and led.pixel is not None
            and _has_say(record, leader)
        ):
            start = detected.get(leader)
            if start is not None:
                pixel = (pixel[0] + led.pixel[0] - start[0], pixel[1] + led.pixel[1] - start[1])
    return pixel


def pixel_sigma(camera: PhotoCamera) -> float:
    """Return the standard deviation of a point that the user places on the picture, in pixels."""
    return PIXEL_SHARE * max(camera.width, camera.height)


def effective_evidence(record: Record) -> tuple[Evidence, ...]:
    """Return what the solver is sent: the picture's evidence as the user's edits leave it, and the edits' own."""
    detected = _detected_pixels(record)
    kept = [_under_edits(record, block, detected) for block in record.evidence]
    return (*(block for block in kept if block is not None), *_placed(record), *_on_other_pictures(record))


def move_pixels(record: Record, pixels: Mapping[str, Vector2]) -> Record:
    """Return the record with points placed on the picture; the newest wish wins over older ones.

    A place in space that was given earlier to the same point, or without a lock to its twin, would hold it back.
    """
    freed = _edited(record, _older(record, pixels), lambda edit, _: replace(edit, position=None, locked_at=None))

    def placed(edit: KeypointEdit, name: str) -> KeypointEdit:
        tolerance = None if edit.pixel is None else edit.tolerance_px  # that of the detected point is not the user's
        return replace(edit, pixel=pixels[name], tolerance_px=tolerance, is_removed=False)

    return _heard(_edited(freed, pixels, placed), pixels)


def move_positions(record: Record, positions: Mapping[str, Vector3]) -> Record:
    """Return the record with points placed in the SMPL world; the newest wish wins over older ones."""
    older = _older(record, positions)
    freed = _edited(record, older, lambda edit, _: replace(edit, pixel=None, locked_at=None))
    freed = forget_elsewhere(freed, older)

    def placed(edit: KeypointEdit, name: str) -> KeypointEdit:
        tolerance = None if edit.position is None else edit.tolerance_m
        return replace(edit, position=positions[name], tolerance_m=tolerance, is_removed=False)

    return _heard(_edited(freed, positions, placed), positions)


def turn(record: Record, name: str, orientation: Quaternion) -> Record:
    """Return the record with a joint turned (wxyz, in the SMPL world)."""
    turned = _edited(record, (name,), lambda edit, _: replace(edit, orientation=orientation, is_removed=False))
    return _heard(turned, (name,))


def set_tolerance(
    record: Record, names: Iterable[str], pixels: float | None = None, metres: float | None = None
) -> Record:
    """Return the record with other tolerances (standard deviations); None leaves one as it is."""

    def changed(edit: KeypointEdit, _: str) -> KeypointEdit:
        return replace(
            edit,
            tolerance_px=edit.tolerance_px if pixels is None else pixels,
            tolerance_m=edit.tolerance_m if metres is None else metres,
        )

    return _edited(record, names, changed)


def lock(record: Record, names: Collection[str], *, is_locked: bool = True) -> Record:
    """Return the record with points locked where they are now, or let go.

    Raises:
        EvidenceError: Nothing is known of where a point is.
    """

    def changed(edit: KeypointEdit, name: str) -> KeypointEdit:
        if not is_locked or edit.position is not None:
            return replace(edit, is_locked=is_locked, locked_at=None)
        at = record.solution.points.get(name)
        if at is None:
            raise EvidenceError(f"it is not known where {name} is; solve once, then lock it")
        return replace(edit, is_locked=True, locked_at=at)

    locked = _edited(record, names, changed)
    return _heard(locked, names) if is_locked else locked


def mute(record: Record, names: Iterable[str], *, is_muted: bool = True) -> Record:
    """Return the record with points that have no say, or have it again."""
    return _edited(record, names, lambda edit, _: replace(edit, is_muted=is_muted))


def solo(record: Record, names: Iterable[str]) -> Record:
    """Return the record in which only these points count; none: all count again."""
    return replace(record, solo=tuple(dict.fromkeys(names)))


def remove(record: Record, names: Iterable[str]) -> Record:
    """Return the record without points: they have no say and are not shown."""
    removed = tuple(names)
    return _edited(forget_elsewhere(record, removed), removed, lambda _edit, _name: KeypointEdit(is_removed=True))


def restore(record: Record) -> Record:
    """Return the record with all removed points back."""
    return _edited(record, record.edits, lambda edit, _: replace(edit, is_removed=False))


def reset(record: Record, names: Iterable[str]) -> Record:
    """Return the record without the user's edits of points: what the picture says counts again."""
    dropped = set(names)
    return replace(
        forget_elsewhere(record, dropped),
        edits={name: edit for name, edit in record.edits.items() if name not in dropped},
        solo=tuple(name for name in record.solo if name not in dropped),
        without_depth=tuple(name for name in record.without_depth if name not in dropped),
    )


def forget_depth(record: Record, names: Iterable[str]) -> Record:
    """Return the record in which the network's depth of these points has no say."""
    return replace(record, without_depth=tuple(dict.fromkeys((*record.without_depth, *names))))


@dataclass(frozen=True)
class Preset:
    """A set of weights and locks under one name."""

    label: str
    description: str
    apply: Callable[[Record], Record]


def _lock_feet(record: Record) -> Record:
    return lock(record, ("L_Ankle", "R_Ankle", "L_Foot", "R_Foot"))


def _solo_ends(record: Record) -> Record:
    ends = ("nose", "left_wrist", "right_wrist", "left_ankle", "right_ankle", "left_hip", "right_hip")
    led = tuple(name for leader in ends for name in FOLLOWERS.get(leader, ()))
    twins = tuple(TWINS[name] for name in ends if name in TWINS)
    return solo(record, (*ends, *led, *twins, "Head", "Pelvis", *edited_points(record)))


def _loosen_picture(record: Record) -> Record:
    return record if record.camera is None else replace(record, detected_px=LOOSE_PIXELS * pixel_sigma(record.camera))


def _reset_all(record: Record) -> Record:
    bare = forget_elsewhere(record, placed_elsewhere(record))
    return replace(bare, edits={}, solo=(), detected_px=None, without_depth=())


PRESETS: dict[str, Preset] = {
    "PICTURE": Preset("As Detected", "Forget all edits, weights and locks: only the picture counts", _reset_all),
    "FEET": Preset("Feet Locked", "Lock ankles and feet where they are now", _lock_feet),
    "ENDS": Preset("Hands, Feet, Head, Hips", "Only these points and yours count; elbows and knees follow", _solo_ends),
    "MINE": Preset(
        "Mine First", "Detected points you have not touched may be off by 1.2 % of the picture", _loosen_picture
    ),
}


def _edited(record: Record, names: Iterable[str], change: Callable[[KeypointEdit, str], KeypointEdit]) -> Record:
    edits = dict(record.edits)
    for name in names:
        if name not in POINT_NAMES:
            raise EvidenceError(f"the body has no point {name}")
        edits[name] = change(edits.get(name, _NONE), name)
    return replace(record, edits={name: edit for name, edit in edits.items() if edit != _NONE})


def _older(record: Record, names: Iterable[str]) -> list[str]:
    """Return the points whose earlier places contradict new ones: the points themselves, and twins without a lock."""
    twins = [TWINS[name] for name in names if name in TWINS and not record.edits.get(TWINS[name], _NONE).is_locked]
    return [name for name in (*names, *twins) if name in edited_points(record)]


def _heard(record: Record, names: Iterable[str]) -> Record:
    """Return the record in which what the user has just said counts, also while others are solo."""
    return replace(record, solo=tuple(dict.fromkeys((*record.solo, *names)))) if record.solo else record


def _detected_pixels(record: Record) -> dict[str, Vector2]:
    return {
        name: point
        for block in record.evidence
        if isinstance(block, Keypoints2D)
        for name, point in zip(block.names, block.points, strict=True)
    }


def _has_say(record: Record, name: str) -> bool:
    edit = record.edits.get(name, _NONE)
    return not (edit.is_muted or edit.is_removed) and (not record.solo or name in record.solo)


def _under_edits(record: Record, block: Evidence, detected: Mapping[str, Vector2]) -> Evidence | None:
    """Return the block without what has no say, with the user's tolerances; None when nothing is left of it.

    What the user placed takes the place of what was said of the same point: the two contradict each other, or the
    user had not moved it.
    """
    if isinstance(block, Twist):
        return _twists_left(record, block)
    if not isinstance(block, Keypoints2D | Keypoints3D | RelativeKeypoints3D):
        return block
    rows: list[tuple[str, object, object]] = []
    moved = _moved_regions(record)
    for name, point, sigma in zip(block.names, block.points, block.sigma, strict=True):
        edit = record.edits.get(name, _NONE)
        if edit.position is not None or not _has_say(record, name):
            continue
        match block:
            case Keypoints2D() if edit.pixel is None:
                tolerance = edit.tolerance_px or max(cast("float", sigma), record.detected_px or 0.0)
                rows.append((name, _target_pixel(record, name, detected), tolerance))
            case Keypoints3D() if record.camera is None or not (_is_placed(record, name) or _is_unseen(record, name)):
                least = max(_loosened(name, moved), _metres_of_detected(record, point))
                rows.append((name, point, edit.tolerance_m or max(cast("float", sigma), least)))
            case RelativeKeypoints3D():
                is_moved = _target_pixel(record, name, detected) != detected.get(name)
                rows.append((name, point, _free(sigma, is_moved, name in record.without_depth)))
            case _:
                pass
    if not rows:
        return None
    names, points, sigmas = (tuple(column) for column in zip(*rows, strict=True))
    return replace(block, names=names, points=points, sigma=sigmas)


def _is_placed(record: Record, name: str) -> bool:
    """Return whether the user has said where a point belongs: by this name, by its twin's, or by whom it follows."""
    leader = _LEADERS.get(name, name)
    for each in (name, TWINS.get(name, name), leader, TWINS.get(leader, leader)):
        edit = record.edits.get(each, _NONE)
        is_placed = edit.pixel or edit.position or each in placed_elsewhere(record)
        if each in record.without_depth or (_has_say(record, each) and is_placed):
            return True
    return False


def _is_unseen(record: Record, name: str) -> bool:
    """Return whether a joint's landmark was muted or removed: the joint is known from the same pixels."""
    edit = record.edits.get(_SEEN_BY.get(name, name), _NONE)
    return edit.is_muted or edit.is_removed


def _moved_regions(record: Record) -> set[str]:
    """Return the regions of a body on pictures in which the user has placed or turned something."""
    if record.camera is None:
        return set()
    placed = [name for name, edit in record.edits.items() if edit.pixel or edit.position or edit.orientation]
    return {
        region
        for name in (*placed, *placed_elsewhere(record), *record.without_depth)
        if name in record.without_depth or _has_say(record, name)
        for region in regions_of(name)
    }


def _loosened(name: str, moved: set[str]) -> float:
    """Return the least standard deviation of a point when something in these regions was placed, metres."""
    regions = regions_of(name)
    if regions & moved:
        return LOOSENED_SIGMA
    joins = "trunk" in regions if "trunk" not in moved else is_middle(name)
    return YIELDING_SIGMA if moved and joins else 0.0


def _metres_of_detected(record: Record, point: object) -> float:
    """Return what the least standard deviation of detected points is at the distance of one in space, in metres."""
    camera = record.camera
    if record.detected_px is None or camera is None or camera.rotation is None or camera.translation is None:
        return 0.0
    x, y, z = cast("Vector3", point)
    depth = camera.rotation[6] * x + camera.rotation[7] * y + camera.rotation[8] * z + camera.translation[2]
    return record.detected_px * max(depth, 0.0) / camera.focal_x


def _twists_left(record: Record, block: Twist) -> Twist | None:
    """Return the twists of the limbs that the user has not posed otherwise: they belong to the pose that was seen."""
    changed = {limb_of(name) for name in (*record.without_depth, *placed_elsewhere(record))}
    for name, edit in record.edits.items():
        if edit.position or edit.orientation or (edit.pixel and record.camera is not None):
            changed.add(limb_of(name))
    kept = [row for row, name in enumerate(block.names) if limb_of(name) not in changed]
    if not kept:
        return None
    names, angles, sigma = (tuple(column[row] for row in kept) for column in (block.names, block.angles, block.sigma))
    return replace(block, names=names, angles=angles, sigma=sigma)


def _free(sigma: object, is_moved: bool, is_without_depth: bool) -> Vector3:
    """Return the standard deviations along the picture and in depth, where the user has said otherwise."""
    x, y, depth = cast("Vector3", sigma)
    return (FREE_SIGMA if is_moved else x, FREE_SIGMA if is_moved else y, FREE_SIGMA if is_without_depth else depth)


def _placed(record: Record) -> list[Evidence]:
    """Return the evidence of the user's own places and orientations."""
    edits = {name: edit for name, edit in sorted(record.edits.items()) if _has_say(record, name)}
    pixels = _placed_pixels(record)
    soft: list[tuple[str, Vector3, float]] = []
    exact: list[tuple[str, Vector3]] = []
    turned: list[tuple[str, Quaternion, float]] = []
    for name, edit in edits.items():
        exact_at = _exact_place(edit)
        if exact_at is not None:
            exact.append((name, exact_at))
        elif edit.position is not None:
            soft.append((name, edit.position, edit.tolerance_m or POSITION_SIGMA))
        if edit.orientation is not None:
            turned.append((name, edit.orientation, LOCKED_ORIENTATION_SIGMA if edit.is_locked else ORIENTATION_SIGMA))
    blocks: list[Evidence] = []
    if pixels:
        names, points, sigmas = zip(*pixels, strict=True)
        blocks.append(Keypoints2D(names, points, sigmas, is_robust=False))
    if soft:
        names, positions, sigmas = zip(*soft, strict=True)
        blocks.append(Keypoints3D(names, positions, sigmas))
    if exact:
        blocks.append(Pins(*zip(*exact, strict=True)))
    if turned:
        names, quats, sigmas = zip(*turned, strict=True)
        blocks.append(Orientations(names, quats, sigmas))
    return blocks


def _exact_place(edit: KeypointEdit) -> Vector3 | None:
    """Return where a locked point is held."""
    return (edit.position or edit.locked_at) if edit.is_locked else None


def _placed_pixels(record: Record) -> list[tuple[str, Vector2, float]]:
    """Return the points that the user has placed on the picture that is shown, each with its standard deviation."""
    rows: list[tuple[str, Vector2, float]] = []
    for name, edit in sorted(record.edits.items()):
        if edit.pixel is None or record.camera is None or not _has_say(record, name) or _exact_place(edit) is not None:
            continue
        share = LOCKED_PIXEL_SHARE / PIXEL_SHARE if edit.is_locked else 1.0
        sigma = pixel_sigma(record.camera) * share if edit.is_locked or not edit.tolerance_px else edit.tolerance_px
        rows.append((name, edit.pixel, sigma))
    return rows


def _on_other_pictures(record: Record) -> list[Evidence]:
    """Return what the user has placed on the pictures that are not shown, with what went along there."""
    blocks: list[Evidence] = []
    for number, picture in enumerate(record.pictures):
        if not any(edit.pixel for edit in picture.edits.values()):
            continue
        there = as_shown(record, number)
        rows = _placed_pixels(there)
        detected = _detected_pixels(there)
        for block in there.evidence:
            seen = _under_edits(there, block, detected) if isinstance(block, Keypoints2D) else None
            if isinstance(seen, Keypoints2D):
                points = zip(seen.names, seen.points, seen.sigma, strict=True)
                rows += [(name, at, sigma) for name, at, sigma in points if at != detected[name]]
        if rows:
            names, points, sigmas = zip(*rows, strict=True)
            blocks.append(ViewKeypoints2D(names, points, sigmas, picture.camera))
    return blocks
