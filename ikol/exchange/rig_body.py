# SPDX-License-Identifier: Apache-2.0
"""A BVH hierarchy as a body that the pipeline poses: its joints by SMPL's names, its own bone lengths, the landmarks.

Priors and limits are those of a T-pose (arms to the sides, palms down, facing +Z), and a hierarchy may rest otherwise:
as an A, lying, facing anywhere. So the body is the hierarchy with its limbs turned to a T-pose, and its motion is
turned back. Joints that stand for none of SMPL's stay as they are towards the joint above.
Imports: torch, ikol.body, ikol.errors, ikol.exchange.{bone_names, bvh, motion}.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor

from ikol.body.default_body import load_default_body
from ikol.body.joint_tree import JointTree
from ikol.body.kinematics import forward_kinematics
from ikol.body.model import BodyModel
from ikol.body.smpl_file import attach_landmarks, check_stance
from ikol.body.smpl_trees import MODELS
from ikol.errors import FileFormatError
from ikol.exchange.bone_names import NEEDED_LIMBS, TreeBones, common_ancestor, core_name, name_limbs, trunk_joints
from ikol.exchange.bvh import Rig
from ikol.exchange.motion import Motion

UPRIGHT: Final = math.cos(math.radians(20.0))  # who rests within 20 degrees of an axis is meant to stand along it
_NEEDED: Final = (*(f"{side}_{part}" for part in NEEDED_LIMBS for side in "LR"), "Head")
_OWN: Final = frozenset(name for tree in MODELS.values() for name in tree.names)
"""SMPL's, SMPL-H's and SMPL-X's joints: hands and face keep their names."""


@dataclass(frozen=True)
class _Bone:
    parent: str | None
    is_deform: bool


@dataclass(frozen=True, eq=False)
class RigBody:
    """A hierarchy as a body in a T-pose, and the way back."""

    body: BodyModel
    rig: Rig
    joints: tuple[int, ...]
    """Which joint of the hierarchy each of the body's is."""
    calibration: Float[Tensor, "joints 3 3"]
    """Of the body's joints: takes the hierarchy's rest pose to the body's. G_rig = G_body @ calibration."""

    def on_rig(self, motion: Motion) -> Rig:
        """Return the hierarchy with a motion of the body."""
        pose = forward_kinematics(
            self.body.tree, self.body.joints_template, motion.on(self.body.tree).local_rotmat, motion.transl
        )
        turned = pose.global_rotmat @ self.calibration
        number = {joint: place for place, joint in enumerate(self.joints)}
        rest = torch.eye(3, dtype=turned.dtype).expand(motion.num_frames, 3, 3)
        found: list[Tensor] = []
        local: list[Tensor] = []
        for joint, parent in enumerate(self.rig.tree.parents):
            above = found[parent] if parent >= 0 else rest
            found.append(turned[:, number[joint]] if joint in number else above)
            local.append(above.mT @ found[-1])
        own = replace(
            motion,
            joint_names=self.rig.tree.names,
            local_rotmat=torch.stack(local, 1),
            transl=pose.joints[:, 0] - self.rig.rest_joints[self.joints[0]],
        )
        return Rig(self.rig.tree, self.rig.rest_joints, own)


def body_of_rig(rig: Rig, source: str) -> RigBody:
    """Return a body of the hierarchy's joints and bone lengths, with the landmarks that its joints can carry.

    Raises:
        FileFormatError: limbs are not found by their names, or left and right rest in one place.
    """
    names = smpl_names(rig.tree, source)
    joints = tuple(joint for joint, name in enumerate(names) if name)
    tree = JointTree(tuple(names[joint] for joint in joints), _parents(rig.tree, joints))
    upright = _upright(rig.rest_joints[list(joints)].double(), tree, source)
    rest = rig.rest_joints.double() @ upright.mT
    turns = _turns_to_t_pose(rig.tree, names, rest)
    place = [rest[joints[0]]]
    for number, parent in enumerate(tree.parents[1:], start=1):
        place.append(place[parent] + turns[tree.names[parent]] @ (rest[joints[number]] - rest[joints[parent]]))
    calibration = torch.stack([turns[name] @ upright for name in tree.names])
    return RigBody(_body(tree, torch.stack(place), source), rig, joints, calibration)


def _body(tree: JointTree, joints: Tensor, source: str) -> BodyModel:
    """Return a body without a mesh, whose vertices are its joints."""
    count = tree.num_joints
    eye = torch.eye(count, dtype=torch.float64)
    build = partial(
        BodyModel.from_arrays,
        name=source,
        tree=tree,
        v_template=joints,
        faces=torch.zeros(0, 3, dtype=torch.long),
        shapedirs=torch.zeros(count, 3, 1, dtype=torch.float64),
        J_regressor=eye,
        lbs_weights=eye,
    )
    bare = build()
    check_stance(bare)
    return build(landmarks=attach_landmarks(bare))


def smpl_names(tree: JointTree, source: str) -> tuple[str, ...]:
    """Return SMPL's name of each joint, by the ways of naming that *Pose My Rig* knows; "" for those that are none.

    Raises:
        FileFormatError: limbs are missing in all of them.
    """
    above = [tree.names[parent] if parent >= 0 else None for parent in tree.parents]
    bones: TreeBones = {
        name: _Bone(parent, not name.startswith(("ORG-", "MCH-")))
        for name, parent in zip(tree.names, above, strict=True)
    }
    named = dict(name_limbs(bones).joints)
    known = {**trunk_joints(bones, named), **named}
    _check_needed(known, tree, source)
    if "Spine1" not in known and "Spine3" in known:  # the only bone of a spine: Spine1 may bend farther
        known["Spine1"] = known.pop("Spine3")
    top = common_ancestor(bones, known.values())
    assert top is not None  # a hierarchy has one root
    known = {**{joint: bone for joint, bone in known.items() if bone != top}, "Pelvis": top}
    _check_needed(known, tree, source)  # a limb may hang on another one
    found = {bone: joint for joint, bone in known.items()}
    below: list[bool] = []
    for name, parent in zip(tree.names, tree.parents, strict=True):
        below.append(name == top or (parent >= 0 and below[parent]))
    spare = _OWN - {*found.values()}
    return tuple(
        found.get(name, name if name in spare and is_below else "")
        for name, is_below in zip(tree.names, below, strict=True)
    )


def _check_needed(known: Mapping[str, str], tree: JointTree, source: str) -> None:
    missing = [joint for joint in _NEEDED if joint not in known]
    if missing:
        raise FileFormatError(
            f"{source}: no joint is known as {', '.join(missing[:6])}; got {', '.join(tree.names[:30])}; name the "
            "joints as SMPL, Mixamo, Unreal, VRM, Rigify, Daz, MakeHuman, CMU or Biovision do"
        )


def _parents(tree: JointTree, joints: tuple[int, ...]) -> tuple[int, ...]:
    """Return the next joint above each that is one of these too."""
    number = {joint: place for place, joint in enumerate(joints)}
    found: list[int] = []
    for joint in joints:
        above = tree.parents[joint]
        while above >= 0 and above not in number:
            above = tree.parents[above]
        found.append(number.get(above, -1))
    return tuple(found)


def _upright(joints: Tensor, tree: JointTree, source: str) -> Float[Tensor, "3 3"]:
    """Return the rotation to +Y up, +Z forward: its rows are left, up and forward at rest."""
    left, right = ({part: joints[tree.index(f"{side}_{part}")] for part in ("Hip", "Shoulder")} for side in ("L", "R"))
    up = left["Shoulder"] + right["Shoulder"] - left["Hip"] - right["Hip"]  # and not from the feet: it may sit
    across = left["Shoulder"] - right["Shoulder"] + left["Hip"] - right["Hip"]
    if float(torch.linalg.cross(across, up).norm()) <= 1e-6 * float(up.norm()) ** 2:
        raise FileFormatError(f"{source}: left and right joints rest in one place; export it with another rest pose")
    up, across = _snapped(up), _snapped(across)
    across = across - (across @ up) * up
    across = across / across.norm()
    return torch.stack((across, up, torch.linalg.cross(across, up)))


def _snapped(direction: Tensor) -> Tensor:
    """Return the axis that a direction is near, else the direction, as a unit vector."""
    unit = direction / direction.norm()
    nearest = int(unit.abs().argmax())
    if float(unit[nearest].abs()) < UPRIGHT:
        return unit
    return torch.eye(3, dtype=unit.dtype)[nearest] * unit[nearest].sign()


def _turns_to_t_pose(tree: JointTree, names: tuple[str, ...], rest: Tensor) -> dict[str, Tensor]:
    """Return the global turn of each joint to the default body's rest pose.

    Limbs bone by bone, by the smallest turn after that of the bone above. Trunk and head rest upright in both, soles on
    the floor, so that only toes are turned out alike.
    """
    default = load_default_body(torch.float64)
    wanted = dict(zip(default.tree.names, default.joints_template, strict=True))
    mine = {name: rest[joint] for joint, name in enumerate(names) if name}
    turns: dict[str, Tensor] = {}
    eye = torch.eye(3, dtype=torch.float64)
    for side in "LR":
        for chain in (("Hip", "Knee", "Ankle"), ("Shoulder", "Elbow", "Wrist")):
            turn = eye
            for upper, lower in pairwise(f"{side}_{part}" for part in chain):
                turn = _aligned(turn, mine[lower] - mine[upper], wanted[lower] - wanted[upper])
                turns[upper] = turn
        ankle, foot, wrist, hand = (f"{side}_{part}" for part in ("Ankle", "Foot", "Wrist", "Hand"))
        flat = torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64)
        turns[ankle] = eye
        if foot in mine:
            turns[ankle] = _aligned(eye, flat * (mine[foot] - mine[ankle]), flat * (wanted[foot] - wanted[ankle]))
        turns[wrist] = turns[f"{side}_Elbow"]
        along, across = _hand(tree, names.index(wrist), rest)
        if along is not None:
            turns[wrist] = _aligned(turns[wrist], along, wanted[hand] - wanted[wrist])
        if across is not None:
            turns[wrist] = _palm_down(turns[wrist] @ across, wanted[hand] - wanted[wrist]) @ turns[wrist]
    for joint, name in enumerate(names):
        parent = tree.parents[joint]
        while parent >= 0 and not names[parent]:
            parent = tree.parents[parent]
        if name and name not in turns:  # hands and toes go with the joint above, trunk and collars are at rest
            turns[name] = turns[names[parent]] if parent >= 0 else eye
    return turns


def _hand(tree: JointTree, wrist: int, rest: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """Return the way from a wrist to its knuckles, and that from the little finger's to the index finger's."""
    cores = {child: core_name(tree.names[child]).core for child in tree.children[wrist]}
    knuckles = [rest[child] for child, core in cores.items() if "thumb" not in core]
    along = torch.stack(knuckles).mean(0) - rest[wrist] if knuckles else None
    ends = [next((rest[child] for child, core in cores.items() if word in core), None) for word in ("index", "pinky")]
    across = None if ends[0] is None or ends[1] is None else ends[0] - ends[1]
    return None if along is None or float(along.norm()) < 1e-6 else along, across


def _palm_down(across: Tensor, along: Tensor) -> Tensor:
    """Return the turn about the hand that lays its index finger in front."""
    direction = along / along.norm()
    ways = (across, torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64))
    mine, wanted = (way - (way @ direction) * direction for way in ways)
    return _aligned(torch.eye(3, dtype=torch.float64), mine, wanted)


def _aligned(turn: Tensor, mine: Tensor, wanted: Tensor) -> Float[Tensor, "3 3"]:
    """Return the rotation after `turn` that takes one direction to another by the smallest further turn."""
    first, second = turn @ mine, wanted
    if min(float(first.norm()), float(second.norm())) < 1e-9:
        return turn
    first, second = first / first.norm(), second / second.norm()
    cross, cosine = torch.linalg.cross(first, second), float(first @ second)
    eye = torch.eye(3, dtype=torch.float64)
    if cosine < -1.0 + 1e-9:  # opposite: any half turn
        axis = torch.linalg.cross(first, eye[int(first.abs().argmin())])
        axis = axis / axis.norm()
        return (2.0 * torch.outer(axis, axis) - eye) @ turn
    x, y, z = cross.tolist()
    skew = torch.tensor([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]], dtype=torch.float64)
    return (eye + skew + skew @ skew / (1.0 + cosine)) @ turn
