# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person touches: feet on the floor, a hand on the other hand, on the body or on the floor.

Contacts are found on the source's skeleton, frame by frame, and say what must stay as it is on another skeleton.
In the scene's space: metres, Y up.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from .rig_bones import FloatArray
from .rig_skeleton import Posed, rotation_between

PLANTED: Final = 0.035
"""Metres of a heel or ball above the floor: a solved foot is off by 2 cm, a step lifts it by 5 and more."""

SLOW: Final = 0.4
"""Metres a second of a foot that stands; in a walk the swinging one is ten times as fast."""

HANDS: Final = 0.14
"""Metres from palm to palm: hands that clap or hold each other have two palms' thickness between their middles."""

HAND_ON_FLOOR: Final = 0.08
"""Metres of the wrist's palm point above the floor; a hand lies 3 cm thick, the fingers may hold it up."""

NEAR_BODY: Final = 0.05
"""Metres between the palm's middle and the skin."""

_BODY: Final = (  # from, to, metres from there to the skin, roughly: a torso is no cylinder
    ("Spine1", "Neck", 0.13),
    ("Neck", "Head", 0.10),
    *((f"{side}_{upper}", f"{side}_{lower}", radius) for side in "LR" for upper, lower, radius in (
        ("Hip", "Knee", 0.08), ("Knee", "Ankle", 0.055), ("Shoulder", "Elbow", 0.05), ("Elbow", "Wrist", 0.04),
    )),
)  # fmt: skip
_TORSO: Final = frozenset(("Spine1", "Neck"))


CONTACT_SIGMA: Final = 0.001
"""Metres: what touches does so to a millimetre, unless the rig cannot reach."""

LOOSE_SIGMA: Final = 0.3
"""Metres of a foot at the end of the way to where it stands: the direction of the leg counts more there."""

RAMP: Final = 0.3
"""Seconds before a foot stands and after, in which it comes from the source's path: else it jumps by centimetres."""


@dataclass(frozen=True, eq=False)
class FootContact:
    """A heel or a ball that stands on the floor."""

    point: str
    place: FloatArray
    """(3) scene, of the source's; the same in all frames in which it stands there."""
    anchor: FloatArray
    """(3) scene: where the point of the same foot stands that a foot of another length keeps, mostly the ball."""
    ways: tuple[FloatArray, ...] = ()
    """Unit vectors (3), scene: one foot's length along each of them lies between the anchor and this point."""
    sigma: float = CONTACT_SIGMA
    """Metres; more for a foot that lands soon or has just left."""


@dataclass(frozen=True, eq=False)
class HandContact:
    """A palm that touches something."""

    point: str
    other: str
    """The other palm, empty for the floor, or the joint where the bone begins that it touches."""
    end: str = ""
    """Where that bone ends."""
    share: float = 0.0
    """How far along it."""
    offset: FloatArray | None = None
    """(3) from there to the palm, scene; for the floor the place of the palm itself."""


@dataclass(frozen=True, eq=False)
class Contacts:
    """Of one frame."""

    feet: tuple[FootContact, ...]
    hands: tuple[HandContact, ...]
    swinging: tuple[FootContact, ...] = ()
    """Heels and balls that are about to stand or have just left, where the source has them."""


def find_contacts(frames: Sequence[Posed], floor: float = 0.0, fps: float = 24.0) -> list[Contacts]:
    """Return the contacts of each frame of a motion, or of a single pose.

    Args:
        frames: The source, one skeleton in all.
        floor: Its height, scene.
        fps: Frames a second.
    """
    feet: list[list[FootContact]] = [[] for _ in frames]
    swinging: list[dict[str, FootContact]] = [{} for _ in frames]
    ramp = round(RAMP * fps)
    for name, places, run in _stances(frames, floor, fps):
        contact = run.contact
        for frame in range(run.first, run.last):
            feet[frame].append(contact)
        for steps in range(1, ramp + 1):
            share = steps / (ramp + 1)
            sigma = CONTACT_SIGMA * (LOOSE_SIGMA / CONTACT_SIGMA) ** share
            for edge, frame in ((run.first, run.first - steps), (run.last - 1, run.last - 1 + steps)):
                if not 0 <= frame < len(frames):
                    continue
                known = swinging[frame].get(name)
                if known is None or sigma < known.sigma:
                    off = places[frame] - places[edge] - share * (contact.place - places[edge])
                    swinging[frame][name] = replace(
                        contact, place=contact.place + off, anchor=contact.anchor + off, sigma=sigma
                    )
    found: list[Contacts] = []
    for frame, standing, moving in zip(frames, feet, swinging, strict=True):
        names = {foot.point for foot in standing}
        others = tuple(foot for name, foot in moving.items() if name not in names)
        found.append(Contacts(tuple(standing), _hands(frame, floor), others))
    return found


@dataclass(frozen=True, eq=False)
class _Run:
    """The frames, the last excluded, in which a point stands."""

    first: int
    last: int
    contact: FootContact


def _stances(frames: Sequence[Posed], floor: float, fps: float) -> Iterator[tuple[str, FloatArray, _Run]]:
    """Give all runs of heels and balls, with where the source has them in all frames (F, 3)."""
    for side in "LR":
        places = {name: np.array([frame.place(name) for frame in frames]) for name in (f"{side}_ball", f"{side}_heel")}
        runs: list[_Run] = []
        for name, path in places.items():
            for first, last in _standing(path, floor, fps):
                place = path[first:last].mean(axis=0) * (1.0, 0.0, 1.0) + np.array([0.0, floor, 0.0])
                runs.append(_Run(first, last, FootContact(name, place, place)))
        for run in _anchored(runs):
            yield run.contact.point, places[run.contact.point], run


def _anchored(runs: Sequence[_Run]) -> list[_Run]:
    """Return the runs of one foot with what each is reckoned from, for as long as it stands.

    Where heel and ball stand at the same time, a foot's length must lie between them: that of the rig, which is not the
    source's. So only one point of such a chain keeps the source's place, the ball that stands longest, and the others
    follow from there, one by one. A point that were reckoned anew with each frame would slide when the other one lands.
    """
    found: list[_Run] = []
    waiting = sorted(runs, key=lambda run: (run.contact.point.endswith("heel"), run.first - run.last))
    while waiting:
        chain = [waiting.pop(0)]
        for known in chain:
            beside = [run for run in waiting if run.first < known.last and known.first < run.last]
            for run in beside:
                way = run.contact.place - known.contact.place
                ways = (*known.contact.ways, way / max(float(np.linalg.norm(way)), 1e-9))
                waiting.remove(run)
                chain.append(replace(run, contact=replace(run.contact, anchor=known.contact.anchor, ways=ways)))
        found += chain
    return found


def _standing(places: FloatArray, floor: float, fps: float) -> list[tuple[int, int]]:
    """Return the runs of frames, the last excluded, in which a point stands."""
    low = places[:, 1] - floor < PLANTED
    if len(places) > 1:
        speed = np.linalg.norm(np.gradient(places[:, [0, 2]], axis=0), axis=1) * fps
        low &= speed < SLOW
    edges = np.flatnonzero(np.diff(np.concatenate(([0], low.astype(np.int8), [0]))))
    return [(int(first), int(last)) for first, last in zip(edges[0::2], edges[1::2], strict=True)]


def _hands(frame: Posed, floor: float) -> tuple[HandContact, ...]:
    palms = {side: frame.place(f"{side}_palm") for side in "LR"}
    if float(np.linalg.norm(palms["L"] - palms["R"])) < HANDS:
        return (HandContact("L_palm", "R_palm", offset=palms["L"] - palms["R"]),)
    found: list[HandContact] = []
    for side, palm in palms.items():
        if palm[1] - floor < HAND_ON_FLOOR:
            found.append(HandContact(f"{side}_palm", "", offset=palm))
            continue
        nearest = min(
            (_touch(frame, side, palm, bone) for bone in _BODY if not _is_own(side, bone[0])),
            key=lambda touch: touch[0],
            default=None,
        )
        if nearest is not None and nearest[0] < NEAR_BODY:
            found.append(nearest[1])
    return tuple(found)


def _is_own(side: str, joint: str) -> bool:
    return joint in (f"{side}_Shoulder", f"{side}_Elbow")


def _touch(frame: Posed, side: str, palm: FloatArray, bone: tuple[str, str, float]) -> tuple[float, HandContact]:
    """Return how far a palm is from the skin around a bone, and the contact that it would be."""
    start, end, radius = bone
    if min(frame.skeleton.index(start), frame.skeleton.index(end)) < 0:
        return np.inf, HandContact(f"{side}_palm", start)
    a, b = frame.place(start), frame.place(end)
    along = b - a
    share = float(np.clip((palm - a) @ along / max(float(along @ along), 1e-9), 0.0, 1.5 if end == "Head" else 1.0))
    offset = palm - a - share * along
    return float(np.linalg.norm(offset)) - radius, HandContact(f"{side}_palm", start, end, share, offset)


def hand_target(contact: HandContact, source: Posed, rig: Posed) -> FloatArray:
    """Return where the palm of a rig has to be that touches its own body as the source does, scene.

    Args:
        contact: With a bone of the body.
        source: Where it was found.
        rig: The rig's pose, its places in the scene.
    """
    assert contact.offset is not None
    a, b = rig.place(contact.other), rig.place(contact.end)
    turn = rotation_between(source.place(contact.end) - source.place(contact.other), b - a)
    girth = 1.0
    if contact.other in _TORSO:
        girth = rig.skeleton.width("Shoulder") / source.skeleton.width("Shoulder")
    return a + contact.share * (b - a) + girth * turn @ contact.offset
