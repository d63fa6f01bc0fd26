# SPDX-License-Identifier: Apache-2.0
"""mink: differential inverse kinematics on MuJoCo, a quadratic program (DAQP) for each step of one frame.

Its task compares poses in SE(3), which mixes rotation into position even at a rotation weight of zero; so the target
takes the rotation that the frame has, before each step. From the T-pose with the root turned.
"""

from collections.abc import Callable
from functools import partial

import mink
import mujoco
import numpy as np
from harness import Problem, Setting, measure
from scipy.spatial.transform import Rotation


def make_settings(problem: Problem) -> list[Setting]:
    model = mujoco.MjModel.from_xml_string(_mjcf(problem))
    return [
        Setting(
            f"DAQP, damping {damping:g}, {steps} steps", partial(_prepare, problem, model, steps=steps, damping=damping)
        )
        for steps in (10, 20, 40)
        for damping in (1e-4, 1e-3)
    ]


def _mjcf(problem: Problem) -> str:
    def place(node: int) -> str:
        return " ".join(f"{value:.9g}" for value in problem.offsets[node])

    def body(joint: int) -> str:
        below = np.flatnonzero(problem.parents == joint)
        ends = [node for node in below if node >= problem.num_joints]
        inside = "".join(f'<site name="{node}" pos="{place(node)}"/>' for node in ends)
        inside += "".join(body(node) for node in below if node < problem.num_joints)
        return (
            f'<body pos="{place(joint)}"><joint type="ball"/><site name="{joint}"/>'
            f'<inertial pos="0 0 0" mass="1" diaginertia="1 1 1"/>{inside}</body>'
        )

    return f"<mujoco><worldbody>{body(0)}</worldbody></mujoco>"


def _prepare(
    problem: Problem, model: mujoco.MjModel, keypoints: np.ndarray, *, steps: int, damping: float
) -> tuple[Callable[[], object], Callable[[object], np.ndarray]]:
    count = problem.num_joints
    order = _joint_order(problem)
    nodes = range(1, len(problem.parents))
    tasks = [mink.FrameTask(str(node), "site", position_cost=1.0, orientation_cost=0.0) for node in nodes]
    roots = Rotation.from_matrix(problem.root_rotmat(keypoints)).as_quat(scalar_first=True)

    def run() -> np.ndarray:
        return np.stack([solve(*each) for each in zip(keypoints, roots, strict=True)])

    def solve(points: np.ndarray, root: np.ndarray) -> np.ndarray:
        quaternions = np.tile((1.0, 0.0, 0.0, 0.0), (count, 1))
        quaternions[0] = root
        configuration = mink.Configuration(model, quaternions.ravel())
        for _ in range(steps):
            for node, task in zip(nodes, tasks, strict=True):
                now = configuration.get_transform_frame_to_world(str(node), "site").rotation()
                task.set_target(mink.SE3.from_rotation_and_translation(now, points[node]))
            velocity = mink.solve_ik(configuration, tasks, 1.0, "daqp", damping=damping, limits=[])
            configuration.integrate_inplace(velocity, 1.0)
        return configuration.q.reshape(count, 4).copy()

    def rotations(result: np.ndarray) -> np.ndarray:
        local = np.empty((len(result), count, 3, 3))
        for at, joint in enumerate(order):
            local[:, joint] = Rotation.from_quat(result[:, at], scalar_first=True).as_matrix()
        return local

    return run, rotations


def _joint_order(problem: Problem) -> list[int]:
    """MuJoCo numbers bodies depth first."""

    def below(joint: int) -> list[int]:
        children = [node for node in np.flatnonzero(problem.parents == joint) if node < problem.num_joints]
        return [joint, *(each for child in children for each in below(int(child)))]

    return below(0)


if __name__ == "__main__":
    measure("mink", make_settings, frames=32, batches=(8,), processes=2, note="one frame at a time; batches: x 2 cores")
