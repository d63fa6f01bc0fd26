# SPDX-License-Identifier: Apache-2.0
"""Rigs and motions for the tests of posing a rig: sources as the add-on reads them, solves as the server does them.

No sockets: calls go through both codecs into the server's own function.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from humanoid_rigs import PlainBone, humanoid

from blender_addon._vendor import solver_protocol as vendored
from blender_addon.client.wire import encode_call, read_answer
from blender_addon.core.jobs import JobResult
from blender_addon.core.pose_conversion import to_blender
from blender_addon.core.rig import JOINT_NAMES, JOINT_PARENTS
from blender_addon.core.rig_bones import RestBone
from blender_addon.core.rig_call import TreeCall, TreeSolution
from blender_addon.core.rig_contacts import hand_target
from blender_addon.core.rig_job import Task, pose_rig, posed, posed_by, seen_in_scene
from blender_addon.core.rig_mapping import RIG_JOINTS, map_rig
from blender_addon.core.rig_placement import Placement
from blender_addon.core.rig_skeleton import Posed, Skeleton, build_skeleton, calibrated
from blender_addon.core.rig_turns import turn_of
from ikol.body.default_body import load_default_body
from ikol.exchange.motion import Keypoints
from ikol.exchange.solve_keypoints import solve_keypoints
from ikol.regressor.landmarks import BLAZEPOSE_LANDMARKS
from solver_server import protocol
from solver_server.tree_solving import solve_tree

TRUTH = Path(__file__).resolve().parents[2] / "samples" / "multiview_truth_100.npz"
SOLES = ("L_heel", "L_ball", "R_heel", "R_ball")
TOUCHING = {
    "hands meet": {
        "L_Shoulder": (0, -1.15, 0), "L_Elbow": (0, -1.5, 0), "R_Shoulder": (0, 1.15, 0), "R_Elbow": (0, 1.5, 0),
    },
    "hand on the hip": {"L_Shoulder": (0, 0, -0.85), "L_Elbow": (0, 0, -1.75)},
    "hands on the knees": {
        "Spine1": (0.45, 0, 0), "Spine2": (0.4, 0, 0), "L_Hip": (-0.9, 0, 0.1), "R_Hip": (-0.9, 0, -0.1),
        "L_Knee": (1.3, 0, 0), "R_Knee": (1.3, 0, 0), "L_Ankle": (-0.4, 0, 0), "R_Ankle": (-0.4, 0, 0),
        "L_Shoulder": (0.23, -1.62, -0.48), "R_Shoulder": (0.23, 1.62, 0.48),
    },
}  # fmt: skip


def rest_bones(plain: dict[str, PlainBone]) -> dict[str, RestBone]:
    """Give bones with axes: the second along the bone, turned about it by the roll."""
    found: dict[str, RestBone] = {}
    for name, bone in plain.items():
        along = bone.tail - bone.head
        along = along / np.linalg.norm(along)
        side = np.cross(along, np.eye(3)[int(np.abs(along).argmin())])
        side = side / np.linalg.norm(side)
        first = np.cos(bone.roll) * side + np.sin(bone.roll) * np.cross(side, along)
        axes = np.stack((first, along, np.cross(first, along)), axis=1)
        found[name] = RestBone(name, bone.parent, bone.head, bone.tail, axes)
    return found


def body_skeleton(betas: Sequence[float] = ()) -> Skeleton:
    """Give the default body as the add-on reads it: bones that stand straight up."""
    body = load_default_body(dtype=torch.float64)
    shape = torch.zeros(body.num_betas, dtype=torch.float64)
    shape[: len(betas)] = torch.tensor(betas, dtype=torch.float64)
    joints = to_blender((body.joints_template + body.joints_shapedirs @ shape).numpy())
    lowest = float((body.v_template + torch.einsum("vik,k->vi", body.shapedirs, shape))[:, 1].min())
    plain = {
        name: PlainBone(None if parent < 0 else JOINT_NAMES[parent], joint, joint + np.array([0.0, 0.0, 0.1]), 0.0)
        for name, parent, joint in zip(JOINT_NAMES, JOINT_PARENTS, joints, strict=True)
    }
    return build_skeleton(rest_bones(plain), {joint: joint for joint in RIG_JOINTS}, 1.0, lowest)


def rig_skeleton(
    style: str, source: Skeleton, legs: float = 1.0, arms_down_deg: float = 0.0, feet: float = 0.0
) -> Skeleton:
    """Give a rig of a style of names, mapped by itself and calibrated."""
    bones = rest_bones(humanoid(style, legs, arms_down_deg, feet=feet))
    return calibrated(build_skeleton(bones, map_rig(bones).bones), source)


def with_legs(style: str, down: float, source: Skeleton, ratio: float, feet: float = 0.0) -> Skeleton:
    """Give a rig whose legs are that much longer than the source's, and whose feet are by so many metres."""
    return rig_skeleton(style, source, ratio * source.leg_length / rig_skeleton(style, source).leg_length, down, feet)


def touching(name: str) -> np.ndarray:
    """Give the rotations (24, 3, 3) of a pose of `TOUCHING`."""
    local = np.tile(np.eye(3), (24, 1, 1))
    for joint, rotvec in TOUCHING[name].items():
        local[JOINT_NAMES.index(joint)] = turn_of(np.array(rotvec, float))
    return local


def body_pose(skeleton: Skeleton, local_rotmat: np.ndarray, transl: np.ndarray) -> Posed:
    """Give SMPL's rotations (24, 3, 3) and translation as a pose of that skeleton."""
    turns = np.empty((len(JOINT_NAMES), 3, 3))
    for joint, parent in enumerate(JOINT_PARENTS):
        turns[joint] = local_rotmat[joint] if parent < 0 else turns[parent] @ local_rotmat[joint]
    chosen = [turns[JOINT_NAMES.index(joint.name)] for joint in skeleton.joints]
    return posed_by(skeleton, chosen, skeleton.rest[0] + transl)


def on_the_ground(skeleton: Skeleton, local_rotmat: np.ndarray) -> list[Posed]:
    """Give a motion without a translation such that its lowest point touches the floor and the lower foot stands."""
    frames: list[Posed] = []
    ground, before = np.zeros(3), None
    for rotations in local_rotmat:
        pose = body_pose(skeleton, rotations, np.zeros(3))
        soles = {name: pose.place(name) for name in SOLES}
        palms = [float(pose.place(f"{side}_palm")[1]) - 0.03 for side in "LR"]  # a hand is 3 cm thick
        low = min(float(pose.places[:, 1].min()) - 0.06, *palms, *(float(place[1]) for place in soles.values()))
        if before is not None:
            standing = min(soles, key=lambda name: float(soles[name][1]))
            ground = ground - (soles[standing] - before[standing]) * (1.0, 0.0, 1.0)
        before = soles
        frames.append(body_pose(skeleton, rotations, np.array([ground[0], -low, ground[2]])))
    return frames


def recorded() -> tuple[list[Posed], float]:
    """Give the sample recording: the body solved to its triangulated landmarks; and the height of its floor."""
    with np.load(TRUTH) as data:
        points, views = data["joints"].astype(float), data["n_views"]
    points = np.stack((points[..., 0], points[..., 2], -points[..., 1]), axis=-1)  # Z up to Y up
    confidence = (views >= 2) & np.isfinite(points).all(-1)
    keypoints = Keypoints(
        BLAZEPOSE_LANDMARKS, torch.from_numpy(np.nan_to_num(points)), torch.from_numpy(confidence).double(), 30.0
    )
    motion = solve_keypoints(load_default_body(dtype=torch.float64), keypoints).motion
    skeleton = body_skeleton(motion.betas[0].tolist())
    frames = [
        body_pose(skeleton, rotations, transl)
        for rotations, transl in zip(motion.local_rotmat.numpy(), motion.transl.numpy(), strict=True)
    ]
    lowest = [min(float(frame.place(name)[1]) for name in SOLES) for frame in frames]
    return frames, float(np.median(lowest))


def ask(call: TreeCall) -> TreeSolution:
    """Solve a call as client and server do."""
    request, frames = protocol.decode_request(encode_call(call, 1))
    assert isinstance(request, protocol.Solve)
    assert request.tree is not None
    reply, writer = solve_tree(request, request.tree, frames, lambda _fraction, _text: None)
    answer = read_answer(*vendored.decode_reply(protocol.encode(reply, writer)))
    assert isinstance(answer, TreeSolution)
    return answer


def solve(task: Task) -> tuple[TreeSolution, ...]:
    """Give the poses of a task."""
    return steps_of(task).rig_poses


def steps_of(task: Task) -> JobResult:
    """Go through the steps of a task."""
    steps = pose_rig(task)
    step = next(steps)
    while True:
        try:
            step = steps.send(ask(step.call))
        except StopIteration as stop:
            return stop.value


@dataclass(frozen=True)
class Missed:
    """How far contacts are from where they should be, metres of the scene."""

    feet: np.ndarray
    hands: np.ndarray


def missed(task: Task, poses: Sequence[TreeSolution]) -> Missed:
    """Measure the contacts of a motion on a rig's poses.

    Feet: how far a heel or ball is from where it was when it began to stand, or above or below the floor; one whose
    place does not follow from the length of the foot also from where the source's stands; the largest of them. Hands:
    palm to palm, from the place on the floor, or from the same place on the rig's own body.
    """
    feet, hands = [], []
    began: dict[str, np.ndarray] = {}
    for source, touched, solution in zip(task.frames, task.touched(), poses, strict=True):
        seen = seen_in_scene(posed(task.rig, solution), task.placement)
        now = {foot.point: seen.place(foot.point) for foot in touched.feet}
        began = {point: began.get(point, place) for point, place in now.items()}  # forgets what stands no more
        for foot in touched.feet:
            place = now[foot.point]
            ways = [place - began[foot.point], (place - foot.place) * (0.0, 1.0, 0.0)]
            if not foot.ways and task.stride == 1.0:
                ways.append(place - foot.place)
            feet.append(max(float(np.linalg.norm(way)) for way in ways))
        for hand in touched.hands:
            palm = seen.place(hand.point)
            if hand.other == "":
                wanted = hand.offset
            elif hand.end == "":
                wanted = seen.place(hand.other) + hand.offset
            else:
                wanted = hand_target(hand, source, seen)
            hands.append(float(np.linalg.norm(palm - wanted)))
    return Missed(np.array(feet), np.array(hands))


def task_of(rig: Skeleton, frames: Sequence[Posed], fps: float = 30.0, floor: float = 0.0) -> Task:
    """Give a task in the scene's own axes."""
    return Task(rig, tuple(frames), Placement(np.eye(4)), floor=floor, fps=fps)
