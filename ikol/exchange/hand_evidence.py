# SPDX-License-Identifier: Apache-2.0
"""Fingers of SMPL-H and SMPL-X from the 21 points of a hand: a solve of its own, after the body's.

The body's solve keeps fingers near their rest, as a photograph of a whole person is best served, and takes its points
to be some centimetres off. A hand's points are known better than that, relative to each other: here each hand is a
skeleton of its own (wrist, 15 finger joints, five tips), hung where the body's solve has the wrist, in all frames at
once. Not here: what formats call the points (point_names). Imports: torch, ikol.body, ikol.camera, ikol.solver,
ikol.exchange.{motion, point_names}.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ikol.body.joint_tree import JointTree
from ikol.body.kinematics import forward_kinematics
from ikol.body.model import BodyModel
from ikol.body.points import AttachedPoints
from ikol.body.smpl_file import KNUCKLES
from ikol.body.smpl_trees import SMPLH_TREE
from ikol.camera import Camera
from ikol.exchange.motion import Keypoints, Motion
from ikol.exchange.point_names import FINGERS
from ikol.geometry.rotations import rotvec_to_rotmat
from ikol.solver import (
    Anchor,
    Evidence,
    GemanMcClure,
    JointLimits,
    Limits,
    Points2D,
    Points3D,
    Skeleton,
    SolveConfig,
    SolveState,
    solve,
)

SIGMA_SHARE: Final = 0.35
"""Of what a point of the body may be off: COCO-WholeBody's annotators differ by 0.017 to 0.047 of the person's size on
hands, on shoulders to ankles by 0.062 to 0.107."""
MIN_POINTS: Final = 6  # of a hand: fewer leave its turn and its fingers to the priors
TIP_SHARE: Final = 0.85
"""Of the bone before it: where a tip is when no vertex follows the last joint (index finger: 22 mm, then 16 mm of bone
and 4 mm of flesh; Buryanov and Kotiuk 2010)."""
PLACE_SIGMA: Final = 0.05  # metres: how far the body's solve may have misplaced a wrist
TURN_SIGMA: Final = math.radians(20.0)  # and misturned it, as far as it strays from the forearm by itself
BEND_SIGMA: Final = math.radians(45.0)  # fingers are straight or in a fist, and anything between
STARTS: Final = (0.0, math.radians(25.0), math.radians(55.0))
"""How far fingers are bent where the iterations begin: on a picture a fist seen from the open hand is a far way off."""
MAX_ITERATIONS: Final = 60

OUTLIER_SIGMAS: Final = 4.0  # of a point on a picture; fingers hide each other, and networks mix them up

# flexion from and to, sideways from and to, twist to either side; widened from the AAOS's normal ranges (knuckle 90,
# middle joint 100, last joint 80), as ikol.solver.anatomy's are
_RANGES: Final = {1: (-35, 105, -25, 25, 10), 2: (-8, 120, -6, 6, 5), 3: (-15, 95, -6, 6, 5)}
_THUMB: Final = {1: (-60, 60, -60, 60, 40), 2: (-50, 80, -50, 50, 20), 3: (-50, 95, -50, 50, 20)}
"""Of the thumb, which rests turned by some 45 degrees, differently from model to model: hence no hinges."""


@dataclass(frozen=True, eq=False)
class _Hand:
    """A hand as a skeleton of its own, in one shape."""

    joints: tuple[int, ...]
    """Of the body: the wrist, then the fingers'."""
    skeleton: Skeleton
    points: AttachedPoints
    limits: JointLimits


def _hand_joints(side: str) -> tuple[str, ...]:
    """Return the wrist and the fingers' joints, in an order in which parents come first."""
    letter = side[0].upper()
    return (f"{letter}_Wrist", *(f"{letter}_{finger}{part}" for finger in FINGERS for part in (1, 2, 3)))


def _sides(body: BodyModel) -> tuple[str, ...]:
    """Return the sides (left, right) on which a body has SMPL-H's fingers; a hierarchy of a .bvh may have others."""
    have, wanted = _parent_names(body.tree), _parent_names(SMPLH_TREE)
    return tuple(
        side for side in ("left", "right") if all(have.get(name) == wanted[name] for name in _hand_joints(side)[1:])
    )


def _parent_names(tree: JointTree) -> dict[str, str]:
    return {name: tree.names[parent] for name, parent in zip(tree.names, tree.parents, strict=True) if parent >= 0}


def hand_points(side: str) -> dict[str, str]:
    """Return what points of a hand are called, and the joint or the tip that each is.

    Args:
        side: left or right.
    """
    joints = _hand_joints(side)
    knuckles = {name: joint for name, joint in KNUCKLES.items() if name.startswith(side)}
    tips = [f"{joint}_end" for joint in joints if joint.endswith("3")]
    return {name: name for name in (*joints, *tips)} | knuckles | {f"{side}_hand_root": joints[0]}


def finger_points(body: BodyModel, names: Sequence[str]) -> tuple[str, ...]:
    """Return those of some points that are for `bend_fingers` alone: fingers beyond the knuckles of the landmarks.

    In the body's solve twenty points of a hand would outweigh the arm.
    """
    found: list[str] = []
    for side in _sides(body):
        places = hand_points(side)
        known = [name for name in names if name in places]
        if len(known) >= MIN_POINTS:
            found += [name for name in known if not name.startswith(side) and not name.endswith("_Wrist")]
    return tuple(found)


def bend_fingers(
    body: BodyModel,
    motion: Motion,
    keypoints: Keypoints,
    sigma: Float[Tensor, "frames points"],
    camera: Camera | None,
) -> tuple[Motion, tuple[str, ...]]:
    """Return a motion whose wrists and fingers meet the points of the hands, and which of them have a say.

    Frames with fewer than `MIN_POINTS` of a hand keep what the body's solve has found.

    Args:
        body: in float64.
        motion: of the body, in one shape.
        keypoints: as many frames.
        sigma: how far each may be off, metres or pixels, were it one of the body; infinite where it is missing.
        camera: of points on a picture.
    """
    used: list[str] = []
    for side in _sides(body):
        names = tuple(name for name in keypoints.names if name in hand_points(side))
        off = SIGMA_SHARE * sigma[:, [keypoints.names.index(name) for name in names]]
        frames = torch.nonzero(off.isfinite().sum(-1) >= MIN_POINTS)[:, 0]
        if len(frames):
            hand = _hand(body, side, motion.betas[0], names)
            motion = _bent(body, motion, hand, frames, keypoints.of(names).points[frames], off[frames], camera)
            used += names
    return motion, tuple(used)


def _hand(body: BodyModel, side: str, betas: Float[Tensor, "betas"], names: tuple[str, ...]) -> _Hand:
    joint_names, places = _hand_joints(side), hand_points(side)
    joints = tuple(body.tree.index(name) for name in joint_names)
    parents = tuple(-1 if number == 0 else joints.index(body.tree.parents[at]) for number, at in enumerate(joints))
    rest = body.rest_joints(betas)
    tips = {f"{joint}_end": _tip(body, betas, joint) for joint in joint_names if joint.endswith("3")}
    carriers = [joint_names.index(places[name].removesuffix("_end")) for name in names]
    at = tips | {name: rest[joint] for name, joint in zip(joint_names, joints, strict=True)}
    points = torch.stack([at[places[name]] for name in names])
    return _Hand(
        joints=joints,
        skeleton=Skeleton.from_rest_joints(JointTree(joint_names, parents), rest[list(joints)]),
        points=AttachedPoints(names, torch.tensor(carriers), points, rest.new_zeros(len(names), 3, 0)),
        limits=_limits(joint_names, rest[list(joints)], tips),
    )


def _tip(body: BodyModel, betas: Float[Tensor, "betas"], joint: str) -> Float[Tensor, "3"]:
    """Return where a finger ends: its last joint's furthest vertex, or where no vertex follows that, a place beyond."""
    number = body.tree.index(joint)
    rest = body.rest_joints(betas)
    bone = rest[number] - rest[body.tree.parents[number]]
    is_own = body.lbs_weights.argmax(-1) == number
    if not bool(is_own.any()):
        return rest[number] + TIP_SHARE * bone
    vertices = body.rest_vertices(betas)[is_own]
    return vertices[int(((vertices - rest[number]) @ bone).argmax())]


def _limits(
    names: tuple[str, ...], rest: Float[Tensor, "joints 3"], tips: Mapping[str, Float[Tensor, "3"]]
) -> JointLimits:
    """Return the fingers' ranges about axes of their own bones: the palm looks down at rest, fingers curl downwards."""
    down = rest.new_tensor((0.0, -1.0, 0.0))
    axes: list[Tensor] = []
    ranges: list[tuple[int, int, int, int, int]] = []
    for number, name in enumerate(names[1:], 1):
        end = tips[f"{name}_end"] if name.endswith("3") else rest[number + 1]
        bone = _unit(end - rest[number])
        bend = _unit(torch.linalg.cross(bone, down))
        axes.append(torch.stack((bone, bend, torch.linalg.cross(bone, bend))))
        ranges.append((_THUMB if "Thumb" in name else _RANGES)[int(name[-1])])
    degrees = rest.new_tensor(ranges) * (math.pi / 180.0)
    return JointLimits(
        joint_index=torch.arange(1, len(names)),
        axes=torch.stack(axes),
        swing_range=degrees[:, :4],
        twist_range=torch.stack((-degrees[:, 4], degrees[:, 4]), -1),
        is_hinge=torch.tensor(["Thumb" not in name for name in names[1:]]),
    )


def _unit(vector: Float[Tensor, "3"]) -> Float[Tensor, "3"]:
    return vector / vector.norm()


def _bent(
    body: BodyModel,
    motion: Motion,
    hand: _Hand,
    frames: Int[Tensor, "seen"],
    places: Float[Tensor, "seen points axes"],
    sigma: Float[Tensor, "seen points"],
    camera: Camera | None,
) -> Motion:
    """Return the motion with one hand's joints solved in some frames."""
    joints = list(hand.joints)
    rest = body.rest_joints(motion.betas[0])
    posed = forward_kinematics(body.tree, rest, motion.local_rotmat[frames], motion.transl[frames])
    wrist, turn = posed.joints[:, joints[0]], posed.global_rotmat[:, joints[0]]
    spread = torch.full((len(joints),), BEND_SIGMA, dtype=rest.dtype)
    spread[0] = TURN_SIGMA
    root = AttachedPoints(("wrist",), torch.tensor([0]), rest[joints[:1]], rest.new_zeros(1, 3, 0))
    evidence: list[Evidence] = [
        Points3D(hand.points, places[:, None], sigma[:, None], name="points")
        if camera is None
        else Points2D(hand.points, places[:, None], sigma[:, None], camera, GemanMcClure(OUTLIER_SIGMAS), "points"),
        Points3D(root, wrist[:, None, None], rest.new_full((1,), PLACE_SIGMA), name="wrist"),
        Anchor(_curled(hand, turn, 0.0)[:, None], spread),
        Limits(hand.limits),
    ]
    begun = torch.stack([_curled(hand, turn, angle) for angle in STARTS], 1)  # (seen, starts, joints, 3, 3)
    start = SolveState(
        (wrist - rest[joints[0]])[:, None].expand(-1, len(STARTS), -1), begun, rest.new_zeros(*begun.shape[:2], 0)
    )
    result = solve(hand.skeleton, evidence, start, SolveConfig(max_iterations=MAX_ITERATIONS))
    best = result.cost.argmin(-1)
    found = result.state.local_rotmat[torch.arange(len(frames)), best]
    elbow = posed.global_rotmat[:, body.tree.parents[joints[0]]]
    found[:, 0] = elbow.mT @ found[:, 0]  # to the forearm
    whole = motion.local_rotmat.clone()
    whole[frames[:, None], torch.tensor(joints)] = found
    return replace(motion, local_rotmat=whole)


def _curled(hand: _Hand, turn: Float[Tensor, "seen 3 3"], angle: float) -> Float[Tensor, "seen joints 3 3"]:
    """Return a hand turned like the body's wrist, whose fingers (not the thumb) are all bent by an angle, radians."""
    limits = hand.limits
    bends = rotvec_to_rotmat(angle * limits.is_hinge[:, None] * limits.axes[:, 1])
    return torch.cat((turn[:, None], bends.expand(len(turn), -1, -1, -1)), 1)
