# SPDX-License-Identifier: GPL-3.0-or-later
"""Between a skeleton that is to be posed (core/rig_call.py) and what travels of it."""

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._vendor import solver_protocol as wire
from ..core.rig_call import TreeCall, TreeSolution

FloatArray = NDArray[np.float64]


def tree_message(call: TreeCall, request_id: int, frames: wire.FrameWriter) -> wire.Solve:
    """Return the request that poses a skeleton."""

    def add(values: ArrayLike, *shape: int) -> wire.ArrayRef:
        return frames.add_array(np.ascontiguousarray(values, dtype="<f8").reshape(shape).data)

    limits = None
    if call.limits is not None:
        count = len(call.limits.joints)
        ranges = add(call.limits.swing, count, 4), add(call.limits.twist, count, 2)
        limits = wire.LimitsSpec(call.limits.joints, add(call.limits.axes, count, 3, 3), *ranges)
    joints, points = len(call.names), len(call.point_names)
    tree = wire.TreeSpec(
        names=call.names,
        parents=call.parents,
        rest_joints=add(call.rest, joints, 3),
        point_names=call.point_names,
        point_joints=call.point_joints,
        point_rest=add(call.point_rest, points, 3) if points else None,
        limits=limits,
    )
    places, turns = len(call.keypoint_names), len(call.turned)
    seen = () if call.seen is None else call.seen.keypoints
    evidence = (
        wire.Keypoints3D(call.keypoint_names, add(call.keypoints, places, 3), add(call.keypoint_sigma, places)),
        wire.Orientations(call.turned, add(call.turns, turns, 4), add(call.turn_sigma, turns)),
        *(
            wire.Keypoints2D(
                one.names, add(one.points, len(one.names), 2), add(one.sigma, len(one.names)), one.is_robust
            )
            for one in seen
        ),
    )
    camera = None if call.seen is None else wire.CameraSpec(**msgspec.structs.asdict(call.seen.camera))
    no_shape = wire.ArrayRef("<f8", (0,), frames.add_blob(b"").frame)
    start = wire.PoseSpec(add(call.transl, 3), add(call.local_quat, joints, 4), no_shape)
    return wire.Solve(request_id, evidence, camera, start=start, joints=call.free, tree=tree)


def is_of_tree(message: wire.SolveReply) -> bool:
    """Return whether a reply is about a skeleton: those of bodies have a shape."""
    return message.pose.betas.shape == (0,)


def read_tree_solution(message: wire.SolveReply, frames: wire.Frames) -> TreeSolution:
    """Return the pose that was found.

    Raises:
        ValueError: The reply is not usable.
    """
    joints = message.joints.shape[0] if message.joints.shape else 0

    def read(ref: wire.ArrayRef, *shape: int) -> FloatArray:
        array = np.array(frames.array(ref), dtype=np.float64)
        if array.shape != shape or not np.isfinite(array).all():
            raise ValueError(f"an array has shape {array.shape}, expected finite numbers of shape {shape}")
        return array

    quats = read(message.pose.local_quat, joints, 4)
    lengths = np.linalg.norm(quats, axis=1, keepdims=True)
    if not joints or lengths.min() < 1e-3:
        raise ValueError("a rotation has length zero")
    return TreeSolution(
        transl=read(message.pose.transl, 3),
        local_quat=quats / lengths,
        places=read(message.joints, joints, 3),
        status=message.status,
        iterations=message.iterations,
        seconds=message.seconds,
    )
