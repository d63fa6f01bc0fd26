# SPDX-License-Identifier: Apache-2.0
"""Poses of one limb that look the same on the picture: each bone's far end lies before or behind its near one.

A bone of known length whose far end is on a known ray has two places for it, one nearer and one farther: Necker's cube.
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ikol.body.kinematics import BodyPose
from ikol.body.model import BodyModel
from ikol.camera import Camera
from ikol.geometry.rotations import rotation_between, rotmat_to_rotvec, rotvec_to_rotmat
from ikol.geometry.swing_twist import twist_angle
from ikol.pipeline.blocks import body_limits
from ikol.solver import Skeleton, SolveState
from ikol.solver.residuals import MIN_DEPTH

Limb = Literal["left_arm", "right_arm", "left_leg", "right_leg", "head", "torso"]
STRAIGHT = math.sin(math.radians(8.0))  # a hinge less bent does not tell its axis


@dataclass(frozen=True)
class LimbParts:
    """What belongs to a limb."""

    joints: tuple[str, ...]
    """Which may turn."""
    bones: tuple[tuple[str, str], ...]
    """From and to which points; that make poses of it differ."""
    landmarks: tuple[str, ...]
    """That it carries."""

    @property
    def roots(self) -> tuple[str, ...]:
        """Where its bones begin, which stay."""
        return (self.bones[0][0],)


def _arm(side: str, name: str) -> LimbParts:
    shoulder, elbow, wrist = (f"{side}_{joint}" for joint in ("Shoulder", "Elbow", "Wrist"))
    landmarks = tuple(f"{name}_{part}" for part in ("elbow", "wrist", "pinky", "index", "thumb"))
    joints = (f"{side}_Collar", shoulder, elbow, wrist, f"{side}_Hand")
    return LimbParts(joints, ((shoulder, elbow), (elbow, wrist)), landmarks)


def _leg(side: str, name: str) -> LimbParts:
    hip, knee, ankle = (f"{side}_{joint}" for joint in ("Hip", "Knee", "Ankle"))
    landmarks = tuple(f"{name}_{part}" for part in ("knee", "ankle", "heel", "foot_index"))
    return LimbParts((hip, knee, ankle, f"{side}_Foot"), ((hip, knee), (knee, ankle)), landmarks)


_ARMS = {"left_arm": _arm("L", "left"), "right_arm": _arm("R", "right")}
_EYES_AND_EARS = (f"{side}_{part}" for side in ("left", "right") for part in ("eye_inner", "eye", "eye_outer", "ear"))
_FACE = ("nose", "mouth_left", "mouth_right", *_EYES_AND_EARS)
LIMBS: dict[Limb, LimbParts] = {
    "left_arm": _ARMS["left_arm"],
    "right_arm": _ARMS["right_arm"],
    "left_leg": _leg("L", "left"),
    "right_leg": _leg("R", "right"),
    "head": LimbParts(("Neck", "Head"), (("Neck", "Head"), ("Head", "nose")), _FACE),
    "torso": LimbParts(
        ("Spine1", "Spine2", "Spine3", "Neck", "Head", "L_Collar", "R_Collar", "L_Shoulder", "R_Shoulder"),
        (("Spine1", "Neck"), ("R_Shoulder", "L_Shoulder")),
        ("left_shoulder", "right_shoulder", *_ARMS["left_arm"].landmarks, *_ARMS["right_arm"].landmarks, *_FACE),
    ),
}


@dataclass(frozen=True, eq=False)
class _Posed:
    """A posed body before a camera."""

    body: BodyModel
    camera: Camera
    state: SolveState
    pose: BodyPose

    def index(self, name: str) -> int:
        """Return the index of a joint."""
        return self.body.tree.names.index(name)

    def seen(self, name: str) -> Float[Tensor, "3"]:
        """Return a point in camera axes."""
        at = self.body.points.select((name,))
        points = at.posed_points(at.rest_points(self.state.betas), self.body.rest_joints(self.state.betas), self.pose)
        return self.camera.to_camera(points)[0]

    def world(self, direction: Float[Tensor, "3"]) -> Float[Tensor, "3"]:
        """Return a direction of camera axes in the world."""
        return self.camera.R_camera_world.T @ direction

    def turned(self, turns: dict[str, Float[Tensor, "3 3"]], joints: tuple[str, ...]) -> SolveState:
        """Return the state with other global rotations of some joints.

        Args:
            turns: global rotations; other joints keep theirs.
            joints: whose local rotations may change; the joints below them are carried along.
        """
        rotmat = self.pose.global_rotmat.clone()
        for name, turn in turns.items():
            rotmat[self.index(name)] = turn
        local = self.state.local_rotmat.clone()
        for name in joints:
            joint = self.index(name)
            local[joint] = rotmat[self.body.tree.parents[joint]].T @ rotmat[joint]
        return SolveState(self.state.transl, local, self.state.betas)


def flipped(body: BodyModel, camera: Camera, state: SolveState, limb: Limb) -> list[SolveState]:
    """Return states whose limb has the same picture, the bones each before or behind; the given one is among them.

    Joints at the limb's end keep their rotation in the world.
    """
    posed = _Posed(body, camera, state, Skeleton.from_body(body).pose(state))
    parts = LIMBS[limb]
    match limb:
        case "head":
            turns = _head_turns(posed)
        case "torso":
            turns = _torso_turns(posed)
        case _:
            (ball, hinge), (_, end) = parts.bones
            turns = _hinged_turns(posed, (ball, hinge, end))
    return [posed.turned(turn, parts.joints) for turn in turns]


def _on_ray(
    seen: Float[Tensor, "3"], center: Float[Tensor, "3"], length: Float[Tensor, ""]
) -> list[Float[Tensor, "3"]]:
    """Return the points on the ray through `seen` that are `length` from a center, or the nearest one of the ray."""
    ray = seen / seen.norm()
    middle = ray @ center
    root = (length.square() - (center @ center - middle.square())).clamp(min=0.0).sqrt()
    return [along * ray for along in (middle - root, middle + root) if float(along) > MIN_DEPTH]


def _hinged_turns(posed: _Posed, chain: tuple[str, ...]) -> Iterator[dict[str, Tensor]]:
    """Turn a limb of two bones: a ball joint, a hinge, an end."""
    at_ball, at_hinge, at_end = (posed.seen(name) for name in chain)
    upper, lower = (at_hinge - at_ball).norm(), (at_end - at_hinge).norm()
    for new_hinge in _on_ray(at_hinge, at_ball, upper):
        for new_end in _on_ray(at_end, new_hinge, lower):
            yield _bent(posed, chain, posed.world(new_hinge - at_ball), posed.world(new_end - new_hinge))


def _bent(
    posed: _Posed, chain: tuple[str, ...], upper: Float[Tensor, "3"], lower: Float[Tensor, "3"]
) -> dict[str, Tensor]:
    """Return the rotations that put two bones into given directions, and the hinge's axis across both."""
    ball, hinge, end = (posed.index(name) for name in chain)
    limits = body_limits(posed.body)
    row = limits.joint_index.tolist().index(hinge)
    along, bend = limits.axes[row, 0], limits.axes[row, 1]
    rest = posed.body.rest_joints(posed.state.betas)
    rest_upper, rest_lower = rest[hinge] - rest[ball], rest[end] - rest[hinge]
    across = torch.linalg.cross(upper / upper.norm(), lower / lower.norm(), dim=-1)
    if float(across.norm()) < STRAIGHT:
        before = posed.pose.global_rotmat[ball]
        across = rotation_between(before @ rest_upper, upper) @ before @ bend
    twist = twist_angle(posed.state.local_rotmat[hinge], along) * along
    return {
        chain[0]: _frame(upper, across) @ _frame(rest_upper, bend).T,
        chain[1]: _frame(lower, across) @ _frame(rest_lower, bend).T @ rotvec_to_rotmat(twist),
    }


def _frame(along: Float[Tensor, "3"], across: Float[Tensor, "3"]) -> Float[Tensor, "3 3"]:
    """Return the axes made of a direction, what is left of another at right angles to it, and their product."""
    first = along / along.norm()
    second = across - (across @ first) * first
    second = second / second.norm()
    return torch.stack((first, second, torch.linalg.cross(first, second, dim=-1)), dim=-1)


def _head_turns(posed: _Posed) -> Iterator[dict[str, Tensor]]:
    """Lean the neck, and nod the head, towards the camera or away from it."""
    neck, head, nose = (posed.seen(name) for name in ("Neck", "Head", "nose"))
    at = posed.pose.global_rotmat
    for new_head in _on_ray(head, neck, (head - neck).norm()):
        lean = rotation_between(posed.world(head - neck), posed.world(new_head - neck))
        for new_nose in _on_ray(nose, new_head, (nose - head).norm()):
            nod = rotation_between(posed.world(nose - head), posed.world(new_nose - new_head))
            yield {"Neck": lean @ at[posed.index("Neck")], "Head": nod @ at[posed.index("Head")]}


def _torso_turns(posed: _Posed) -> Iterator[dict[str, Tensor]]:
    """Lean the trunk towards the camera or away from it, and turn the one shoulder forwards or the other."""
    spine, neck = posed.seen("Spine1"), posed.seen("Neck")
    line = posed.seen("L_Shoulder") - posed.seen("R_Shoulder")
    ray = neck / neck.norm()
    tops = _on_ray(neck, spine, (neck - spine).norm())
    for top, shoulders in itertools.product(tops, (line, line - 2.0 * (line @ ray) * ray)):
        lean = rotation_between(posed.world(neck - spine), posed.world(top - spine))
        turn = rotation_between(lean @ posed.world(line), posed.world(shoulders)) @ lean
        share = rotmat_to_rotvec(turn) / 3.0
        turns = {
            f"Spine{number}": rotvec_to_rotmat(number * share) @ posed.pose.global_rotmat[posed.index(f"Spine{number}")]
            for number in (1, 2, 3)
        }
        collars = {name: turn @ posed.pose.global_rotmat[posed.index(name)] for name in ("L_Collar", "R_Collar")}
        yield turns | collars
