# SPDX-License-Identifier: GPL-3.0-or-later
"""Posing a rig like a person: what the source's pose says about the rig's own bones, and the steps of the solve.

Not the source's rotations are copied: they are evidence with a tolerance, and what touches the floor, the other hand or
the body is evidence with hardly any. The solver then turns the rig's own bones, with their lengths and limits.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from .errors import SolverError
from .jobs import Answer, JobResult, Step, Steps, wrong_answer
from .numbered import numbered
from .rig_bones import FloatArray
from .rig_call import TreeCall, TreeSolution, TurnLimits
from .rig_contacts import CONTACT_SIGMA, Contacts, FootContact, find_contacts, hand_target
from .rig_locks import Locks
from .rig_picture import RigPicture
from .rig_placement import Placement
from .rig_skeleton import PARENTS, TRUNK, Posed, Skeleton
from .rig_turns import matrix_of, quat_of, rotvec_of, turn_of

HELD_SIGMA: Final = 1e-4
"""Metres, and radians, of a root that is locked."""

HIPS_SIGMA: Final = 0.05
"""Metres: where the hips are follows from the feet; this decides for who is in the air."""

SWING_SIGMA: Final = 0.04
"""Metres of an ankle that stands nowhere."""

SWING_DOUBT: Final = 0.6
"""By how much more for each metre that it is lifted: a kick goes where the leg points, a step where it will end."""

_TURN_SIGMA: Final[Mapping[str, float]] = {
    "Pelvis": 0.10, "Spine1": 0.10, "Spine2": 0.10, "Spine3": 0.10, "Neck": 0.08, "Head": 0.05, "Collar": 0.10,
    "Shoulder": 0.15, "Elbow": 0.15, "Wrist": 0.12, "Hip": 0.15, "Knee": 0.15, "Ankle": 0.08, "Foot": 0.08,
}  # fmt: skip
"""Radians by which a joint may miss the source's direction: what gives way are the limbs."""

ROUNDS: Final = 10
"""Solves at most of a frame in which a hand touches the body, where the body is follows from where the hand is, or of a
photograph, where the camera follows the rig; and of a rig with locks, to go around them."""

SETTLED: Final = 0.002
"""Metres: when what hands touch, and the camera, move by less from round to round; two to five rounds are usual."""


@dataclass(frozen=True, eq=False)
class Task:
    """A rig that is to be posed like a source."""

    rig: Skeleton
    """Calibrated to the source."""
    frames: tuple[Posed, ...]
    """The source in the scene's space."""
    placement: Placement
    limits: TurnLimits | None = None
    floor: float = 0.0
    """Height in the scene."""
    fps: float = 24.0
    stride: float = 1.0
    """By how much ways along the floor are longer for the rig than for the source."""
    locks: Locks | None = None
    """What the rig's channels keep; None where they are all free."""
    pictures: tuple[RigPicture | None, ...] = ()
    """What the photograph says of the rig in each frame (rig_photo.py); empty without one."""
    lead: int = 0
    """The frame in which it says most: where the camera is found."""
    contacts: tuple[Contacts, ...] = ()
    """What the source touches in each frame, where that is known already."""

    def touched(self) -> Sequence[Contacts]:
        """Return what the source touches in each frame."""
        return self.contacts or find_contacts(self.frames, self.floor, self.fps)

    @property
    def picture(self) -> RigPicture | None:
        """What the photograph says where it says most."""
        return self.pictures[self.lead] if self.pictures else None


def pose_rig(task: Task) -> Steps:
    """Solve frame after frame, each from the last one's pose; first the one in which the camera is found."""
    found: dict[int, TreeSolution] = {}
    count, lead, touched = len(task.frames), task.picture, task.touched()
    order = sorted(range(count), key=lambda number: lead is not None and number != task.lead)
    for done, number in enumerate(order):
        text = "Posing the rig"
        if count > 1:
            text = numbered("Posing the rig, frame {number} of {count}", number=done + 1, count=count)
        source, picture = task.frames[number], task.pictures[number] if task.pictures else None
        is_lead = number == task.lead
        if picture is not None and lead is not None and not is_lead:
            picture = picture.moved(lead.shift)
        problem = FrameProblem(task, source, touched[number], picture)
        call = problem.call(found.get(number - 1) or copy_rotations(task, source))
        is_camera_free = is_lead and picture is not None and not picture.is_held
        rounds = ROUNDS if touched[number].hands or is_camera_free or task.locks is not None else 1
        for turn in range(rounds):
            share = (done + turn / rounds) / count
            answer = _usable((yield Step(call, text, share, (done + (turn + 1) / rounds) / count)))
            found[number] = answer
            rig = posed(task.rig, answer)
            if problem.picture is not None and is_lead:
                lead = problem.picture.followed(in_scene(task.placement, rig))
                problem = replace(problem, picture=lead)
            before, problem = problem, problem.kept(answer, rig)
            asked, call = call, problem.call(answer, rig)
            if before.held_turns.keys() == problem.held_turns.keys() and _is_settled(asked, call):
                break
    poses = tuple(found[number] for number in range(count))
    if lead is None:
        return JobResult((), rig_poses=poses)
    missed = float(np.median([*lead.misses(in_scene(task.placement, posed(task.rig, poses[task.lead]))).values()]))
    return JobResult((), rig_poses=poses, rig_camera=None if lead.is_held else lead.camera, rig_px=missed)


def _is_settled(asked: TreeCall, call: TreeCall) -> bool:
    """Return whether a call asks what was asked before."""
    if asked.keypoints.shape != call.keypoints.shape:
        return False
    ways = [asked.keypoints - call.keypoints]
    if asked.seen is not None and call.seen is not None:
        before, after = (np.array(one.camera.translation or 0.0) for one in (asked.seen, call.seen))
        ways.append(before - after)
    return max(float(np.abs(way).max()) for way in ways) < SETTLED


def _usable(answer: Answer) -> TreeSolution:
    if not isinstance(answer, TreeSolution):
        raise wrong_answer()
    if answer.status == "failed":
        raise SolverError("the rig cannot be posed so; look at its bones in the panel, and at its scale")
    return answer


@dataclass(frozen=True, eq=False)
class FrameProblem:
    """One frame: what the source says about the rig."""

    task: Task
    source: Posed
    contacts: Contacts
    picture: RigPicture | None = None
    held_root: FloatArray | None = None
    """(3) where the root is held, the rig's space; None where it may move."""
    held_turns: Mapping[int, FloatArray] = field(default_factory=dict[int, FloatArray])
    """Joints that are held by their numbers: rotations from rest, relative to the joint above."""

    def kept(self, answer: TreeSolution, rig: Posed) -> "FrameProblem":
        """Return the problem with what was found held where the rig's channels put it.

        A root that is held in part goes where it may by what its feet still miss.
        """
        locks = self.task.locks
        if locks is None:
            return self
        beyond = locks.beyond({number: matrix_of(answer.local_quat[number]) for number in locks.turns})
        root = self.held_root
        if any(locks.is_locked):
            missed = [place - rig.place(name) for name, (place, _) in self.feet().items()]
            root = locks.nearest(rig.places[0] + (np.mean(missed, axis=0) if missed and root is not None else 0.0))
        return replace(self, held_root=root, held_turns={**beyond, **self.held_turns})

    def call(self, start: TreeSolution, rig: Posed | None = None) -> TreeCall:
        """Return what is asked of the solver.

        Args:
            start: Where the search begins.
            rig: The rig's pose in the last round, which says where hands meet its body; None in the first.
        """
        skeleton, picture, placement = self.task.rig, self.picture, self.task.placement
        places = self.hips() | self._ankles() | self._swinging() | self.feet()
        if rig is not None:
            places |= self._hands(rig)
        if picture is not None:
            placed = picture.places.items()
            places |= {placement.other_side(name): (placement.to_rig(at), sigma) for name, (at, sigma) in placed}
        if self.held_root is not None:  # the feet give way, and not what is locked
            places = {name: place for name, place in places.items() if not name.endswith("_Hip")}
            places[skeleton.joints[0].name] = self.held_root, HELD_SIGMA
        turned = [joint.name for joint in skeleton.joints]
        turns, local = wanted_turns(self.task, self.source), start.local_quat.copy()
        sigma = [self._turn_sigma(number) for number in range(len(turned))]
        for number, turn in self.held_turns.items():
            local[number] = quat_of(turn)
        if 0 in self.held_turns:  # by evidence, for what is not free keeps its place too
            turns[0], sigma[0] = self.held_turns[0], HELD_SIGMA
        free = [name for number, name in enumerate(turned) if number == 0 or number not in self.held_turns]
        points = {name: point for name, point in skeleton.points.items() if not name.endswith("_across")}
        return TreeCall(
            names=tuple(turned),
            parents=tuple(joint.parent for joint in skeleton.joints),
            rest=skeleton.rest,
            point_names=tuple(points),
            point_joints=tuple(carrier for carrier, _ in points.values()),
            point_rest=np.array([place for _, place in points.values()]),
            keypoint_names=tuple(places),
            keypoints=np.array([place for place, _ in places.values()]),
            keypoint_sigma=np.array([sigma for _, sigma in places.values()]),
            turned=tuple(turned),
            turns=np.array([quat_of(turn) for turn in turns]),
            turn_sigma=np.array(sigma),
            transl=start.transl,
            local_quat=local,
            free=tuple(free) if len(free) < len(turned) else (),
            limits=None if self.task.limits is None else self.task.limits.without(self.held_turns),
            seen=None if picture is None else picture.seen(placement.matrix, placement.other_side),
        )

    def _turn_sigma(self, number: int) -> float:
        joint = self.task.rig.joints[number]
        known = TRUNK[round(joint.trunk)] if joint.trunk >= 0 else joint.name[2:]
        sigma = _TURN_SIGMA.get(known, 0.15)
        standing = {contact.point for contact in self.contacts.feet}
        side = self.task.placement.other_side(joint.name)[:2]
        if known == "Ankle" and {f"{side}heel", f"{side}ball"} <= standing:
            return 3.0 * sigma  # the sole lies on the floor; only its roll is left open
        return sigma

    def _ground(self, place: FloatArray) -> FloatArray:
        """Return where a place of the source is for the rig, along the floor."""
        return place * (self.task.stride, 1.0, self.task.stride)

    @property
    def _ratio(self) -> float:
        return self.task.rig.leg_length / self.source.skeleton.leg_length

    def hips(self) -> dict[str, tuple[FloatArray, float]]:
        """Return where the hips are: over the same place, as high as longer or shorter legs carry them."""
        task, floor = self.task, self.task.floor
        middle = self._ground(0.5 * (self.source.place("L_Hip") + self.source.place("R_Hip")))
        middle[1] = floor + self._ratio * (middle[1] - floor)
        rig = task.rig
        turn = wanted_turns(task, self.source)[rig.index("Pelvis")]
        rest = 0.5 * (rig.place("L_Hip") + rig.place("R_Hip"))
        at = task.placement.to_rig(middle)
        return {name: (at + turn @ (rig.place(name) - rest), HIPS_SIGMA) for name in ("L_Hip", "R_Hip")}

    def _ankles(self) -> dict[str, tuple[FloatArray, float]]:
        found: dict[str, tuple[FloatArray, float]] = {}
        for side in "LR":
            name = self.task.placement.other_side(f"{side}_Ankle")
            place, floor = self.source.place(name), self.task.floor
            mine, theirs = (float(one.place(name)[1]) - one.floor for one in (self.task.rig, self.source.skeleton))
            lift = float(place[1]) - floor - theirs
            target = self._ground(place)
            target[1] = floor + mine + self._ratio * lift
            found[f"{side}_Ankle"] = self.task.placement.to_rig(target), SWING_SIGMA + SWING_DOUBT * max(0.0, lift)
        return found

    def feet(self) -> dict[str, tuple[FloatArray, float]]:
        """Return where heels and balls stand."""
        return self._soles({contact.point: contact for contact in self.contacts.feet})

    def _swinging(self) -> dict[str, tuple[FloatArray, float]]:
        """Return where heels and balls are that stand soon, or stood."""
        known = {contact.point: contact for contact in (*self.contacts.feet, *self.contacts.swinging)}
        names = {self.task.placement.other_side(contact.point) for contact in self.contacts.swinging}
        return {name: place for name, place in self._soles(known).items() if name in names}

    def _soles(self, known: Mapping[str, FootContact]) -> dict[str, tuple[FloatArray, float]]:
        """Return where points of the soles are. One that does not stand gives way to the other of its foot."""
        found: dict[str, tuple[FloatArray, float]] = {}
        placement = self.task.placement
        for side in "LR":
            both = [(part, known.get(placement.other_side(f"{side}_{part}"))) for part in ("ball", "heel")]
            there = sorted(((part, one) for part, one in both if one is not None), key=lambda row: row[1].sigma)
            for number, (part, contact) in enumerate(there):
                place = self._at(side, contact)
                if number and contact.sigma > CONTACT_SIGMA:
                    base = there[0][1]
                    place = self._at(side, base) + self._foot(side, contact.place - base.place)
                found[f"{side}_{part}"] = placement.to_rig(place), contact.sigma
        return found

    def _at(self, side: str, contact: FootContact) -> FloatArray:
        """Return where a point of a sole of the rig stands, scene."""
        return np.sum([self._ground(contact.anchor), *(self._foot(side, way) for way in contact.ways)], axis=0)

    def _foot(self, side: str, way: FloatArray) -> FloatArray:
        """Return the way of one foot's length in a direction, scene: as long there as the scale along it makes it."""
        rig = self.task.rig
        length = float(np.linalg.norm(rig.place(f"{side}_ball") - rig.place(f"{side}_heel")))
        return length / max(float(np.linalg.norm(self.task.placement.matrix[:3, :3] @ way)), 1e-9) * way

    def _hands(self, rig: Posed) -> dict[str, tuple[FloatArray, float]]:
        """Return where palms touch, on the body of the last round."""
        found: dict[str, tuple[FloatArray, float]] = {}
        place = self.task.placement
        seen = seen_in_scene(rig, place)
        for contact in self.contacts.hands:
            name = place.other_side(contact.point)
            assert contact.offset is not None
            if contact.other == "":
                found[name] = place.to_rig(self._ground(contact.offset)), CONTACT_SIGMA
            elif contact.end == "":
                other = place.other_side(contact.other)
                middle = 0.5 * (seen.place(contact.point) + seen.place(contact.other))
                found[name] = place.to_rig(middle + 0.5 * contact.offset), CONTACT_SIGMA
                found[other] = place.to_rig(middle - 0.5 * contact.offset), CONTACT_SIGMA
            else:
                found[name] = place.to_rig(hand_target(contact, self.source, seen)), CONTACT_SIGMA
        return found


@dataclass(frozen=True, eq=False)
class _Seen(Posed):
    """A rig's pose with its places in the scene, asked by the names of the source's joints."""

    placement: Placement
    rig: Posed

    def place(self, name: str) -> FloatArray:
        """Return where a joint or point is, scene."""
        own = self.placement.other_side(name)
        skeleton = self.rig.skeleton
        while own not in skeleton.points and skeleton.index(own) < 0:  # a rig with fewer bones in its trunk
            own = PARENTS.get(own, "Pelvis")
        return self.placement.to_scene(self.rig.place(own))


def in_scene(placement: Placement, rig: Posed) -> Callable[[str], FloatArray]:
    """Return where the rig's joints and points are in the scene, by the names of the source's."""
    return lambda name: placement.to_scene(rig.place(placement.other_side(name)))


def seen_in_scene(rig: Posed, placement: Placement) -> Posed:
    """Return a rig's pose whose places are those in the scene, by the names of the source's joints."""
    return _Seen(rig.skeleton, rig.turns, rig.places, placement, rig)


def wanted_turns(task: Task, source: Posed) -> FloatArray:
    """Return the rotations (J, 3, 3) of the rig's joints, from its rest pose, that the source's pose says."""
    trunk = [source.turn(name) for name in TRUNK]
    found: list[FloatArray] = []
    for joint in task.rig.joints:
        if joint.trunk >= 0:
            low = min(int(joint.trunk), len(TRUNK) - 2)
            turn = _between(trunk[low], trunk[low + 1], joint.trunk - low)
        else:
            name = task.placement.other_side(joint.name)
            turn = source.turn(name if source.skeleton.index(name) >= 0 else PARENTS[name])
        found.append(task.placement.turned(turn) @ joint.calibration)
    return np.array(found)


def _between(first: FloatArray, second: FloatArray, share: float) -> FloatArray:
    """Return the rotation a share of the way from one to another."""
    return first @ turn_of(share * rotvec_of(first.T @ second))


def copy_rotations(task: Task, source: Posed) -> TreeSolution:
    """Return the pose that has the source's rotations and hips: what is commonly done, and where the solve begins."""
    rig, turns = task.rig, wanted_turns(task, source)
    above = [np.eye(3) if joint.parent < 0 else turns[joint.parent].T for joint in rig.joints]
    local = [before @ turn for before, turn in zip(above, turns, strict=True)]
    copied = TreeSolution(np.zeros(3), np.array([quat_of(turn) for turn in local]), rig.rest, "", 0, 0.0)
    there = posed(rig, copied)
    hips = FrameProblem(task, source, Contacts((), ())).hips()
    transl = np.mean([place - there.place(name) for name, (place, _) in hips.items()], axis=0)
    return replace(copied, transl=transl, places=there.places + transl)


def posed(rig: Skeleton, solution: TreeSolution) -> Posed:
    """Return where a pose puts the joints, the rig's space."""
    turns, places = np.empty((len(rig.joints), 3, 3)), np.empty((len(rig.joints), 3))
    for number, joint in enumerate(rig.joints):
        local = matrix_of(solution.local_quat[number])
        if joint.parent < 0:
            turns[number], places[number] = local, rig.rest[number] + solution.transl
        else:
            turns[number] = turns[joint.parent] @ local
            places[number] = places[joint.parent] + turns[joint.parent] @ (rig.rest[number] - rig.rest[joint.parent])
    return Posed(rig, turns, places)


def posed_by(skeleton: Skeleton, turns: Sequence[FloatArray], root: FloatArray) -> Posed:
    """Return a pose by its rotations from rest (J, 3, 3) and the place of its root."""
    places = np.empty((len(skeleton.joints), 3))
    for number, joint in enumerate(skeleton.joints):
        above = joint.parent
        way = np.zeros(3) if above < 0 else turns[above] @ (skeleton.rest[number] - skeleton.rest[above])
        places[number] = (root if above < 0 else places[above]) + way
    return Posed(skeleton, np.array(turns), places)
