# SPDX-License-Identifier: Apache-2.0
"""Known poses of SMPL-X with bent fingers and an open mouth, and the points that a whole-body network sees of them."""

import math

import torch
from photo_evidence import LENS, LEVEL, known_pose
from torch import Tensor

from ikol.body.kinematics import forward_kinematics
from ikol.body.model import BodyModel
from ikol.exchange import Keypoints
from ikol.exchange.point_names import COCO, INNER_LIPS, WHOLEBODY, hand_names
from ikol.geometry.rotations import rotvec_to_rotmat
from ikol.pipeline import Pose
from ikol.pipeline.placement import point_positions

TIP_SHARE = 0.85
"""Of the bone before: where the tips of these people's fingers are."""
BENDS_DEG = {"Index": (50, 60, 30), "Middle": (25, 40, 20), "Ring": (70, 80, 40), "Pinky": (0, 10, 5)}
"""A hand between a point and a fist."""
SIDEWAYS_DEG = {"Index": 8, "Pinky": -10}
THUMB_DEG = (15, 20, 25)
JAW_DEG = 18.0


def whole_body_pose(body: BodyModel, seed: int = 0, share: float = 1.0) -> Pose:
    """Return a standing body whose hands are bent by a share of the angles above, and whose mouth is open."""
    pose = known_pose(body, seed)
    local = pose.local_rotmat.clone()
    for joint, name in enumerate(body.tree.names):
        side, _, part = name.rpartition("_")
        sign = {"L": 1.0, "R": -1.0}.get(side, 0.0)
        finger, number = part[:-1], part[-1]
        rotvec = None
        if finger in BENDS_DEG:  # palms look down at rest: fingers of the left hand curl about -Z
            sideways = SIDEWAYS_DEG.get(finger, 0) if number == "1" else 0
            rotvec = (0.0, -sign * sideways, -sign * BENDS_DEG[finger][int(number) - 1])
        elif finger == "Thumb":
            rotvec = (0.0, sign * THUMB_DEG[int(number) - 1], 0.0)
        elif name in ("Jaw", "L_Eye", "R_Eye"):
            rotvec = (JAW_DEG if name == "Jaw" else 0.0, 0.0, 0.0)
        if rotvec is not None:
            local[joint] = rotvec_to_rotmat(share * math.pi / 180 * torch.tensor(rotvec, dtype=torch.float64))
    return Pose(pose.transl, local, pose.betas)


def tip_positions(body: BodyModel, pose: Pose, tip_share: float = TIP_SHARE) -> dict[str, Tensor]:
    """Return where fingers end."""
    at = dict(zip(body.tree.names, point_positions(body, pose, body.tree.names), strict=True))
    rest = dict(zip(body.tree.names, body.rest_joints(pose.betas), strict=True))
    posed = forward_kinematics(body.tree, body.rest_joints(pose.betas), pose.local_rotmat, pose.transl)
    turn = dict(zip(body.tree.names, posed.global_rotmat, strict=True))
    ends = [name for name in body.tree.names if name[-1] == "3" and "Spine" not in name]
    return {f"{name}_end": at[name] + tip_share * turn[name] @ (rest[name] - rest[f"{name[:-1]}2"]) for name in ends}


def lip_positions(body: BodyModel, pose: Pose) -> dict[str, Tensor]:
    """Return the inner edges of the lips, which touch when the jaw rests."""
    rest = body.rest_joints(pose.betas)
    posed = forward_kinematics(body.tree, rest, pose.local_rotmat, pose.transl)
    mouth = point_rest(body, pose, "mouth_left", "mouth_right").mean(0)
    found: dict[str, Tensor] = {}
    for sideways, (upper, lower) in zip((-0.01, 0.0, 0.01), INNER_LIPS, strict=True):
        at = mouth + torch.tensor([sideways, 0.0, 0.0], dtype=torch.float64)
        for name, carrier in ((upper, "Head"), (lower, "Jaw")):
            joint = body.tree.index(carrier)
            found[name] = posed.joints[joint] + posed.global_rotmat[joint] @ (at - rest[joint])
    return found


def point_rest(body: BodyModel, pose: Pose, *names: str) -> Tensor:
    """Return where points rest."""
    return body.points.select(names).rest_points(pose.betas)


def hand_positions(body: BodyModel, pose: Pose, tip_share: float = TIP_SHARE) -> dict[str, Tensor]:
    """Return the 21 points of both hands, called as the formats' readers call them."""
    tips, found = tip_positions(body, pose, tip_share), dict[str, Tensor]()
    for side in ("left", "right"):
        for name in hand_names(side):
            known = f"{side[0].upper()}_Wrist" if name.endswith("_root") else name
            found[name] = tips[name] if name in tips else point_positions(body, pose, (known,))[0]
    return found


def whole_body_keypoints(body: BodyModel, poses: list[Pose], tip_share: float = TIP_SHARE) -> Keypoints:
    """Return exact points of COCO-WholeBody before a level camera; toes and most of the face are not seen."""
    feet = ("left_foot_index", "left_heel", "right_foot_index", "right_heel")
    rows: list[Tensor] = []
    for pose in poses:
        at = dict(zip((*COCO, *feet), point_positions(body, pose, (*COCO, *feet)), strict=True))
        at |= hand_positions(body, pose, tip_share)
        if "Jaw" in body.tree.names:
            at |= lip_positions(body, pose)
        rows.append(torch.stack([at.get(name, torch.full((3,), torch.nan)) for name in WHOLEBODY]) @ LEVEL)
    places = torch.stack(rows)
    focal, center = (torch.tensor(value, dtype=torch.float64) for value in (LENS.focal, LENS.center))
    pixels = places[..., :2] / places[..., 2:] * focal + center
    is_seen = pixels.isfinite().all(-1)
    return Keypoints(WHOLEBODY, pixels.nan_to_num(0.0), is_seen.double(), 30.0, (LENS.width, LENS.height))
