# SPDX-License-Identifier: Apache-2.0
"""Newton's batched inverse kinematics: Levenberg-Marquardt with analytic Jacobians on NVIDIA Warp, here on the CPU.

Ball joints, one position objective for each keypoint. From the T-pose with the root turned.
"""

from collections.abc import Callable
from functools import partial

import newton
import newton.ik
import numpy as np
import warp
from harness import Problem, Setting, measure
from scipy.spatial.transform import Rotation


def make_settings(problem: Problem) -> list[Setting]:
    warp.config.quiet = True
    warp.set_device("cpu")
    model = _model(problem)
    return [
        Setting(f"LM, analytic Jacobian, {steps} steps", partial(_prepare, problem, model, steps=steps))
        for steps in (8, 12, 16, 24, 36, 60)
    ]


def _model(problem: Problem) -> newton.Model:
    builder = newton.ModelBuilder()
    joints = []
    for node in range(problem.num_joints):
        builder.add_link(mass=1.0)
        place = warp.transform(warp.vec3(*problem.offsets[node]), warp.quat_identity())
        joints.append(builder.add_joint_ball(int(problem.parents[node]), node, parent_xform=place))
    builder.add_articulation(joints)
    return builder.finalize(device="cpu")


def _prepare(
    problem: Problem, model: newton.Model, keypoints: np.ndarray, *, steps: int
) -> tuple[Callable[[], object], Callable[[object], np.ndarray]]:
    count = problem.num_joints
    objectives = []
    for node in range(1, len(problem.parents)):
        is_end = node >= count
        objectives.append(
            newton.ik.IKObjectivePosition(
                link_index=int(problem.parents[node]) if is_end else node,
                link_offset=warp.vec3(*problem.offsets[node]) if is_end else warp.vec3(),
                target_positions=warp.array(keypoints[:, node].astype(np.float32), dtype=warp.vec3),
            )
        )
    solver = newton.ik.IKSolver(
        model=model,
        n_problems=len(keypoints),
        objectives=objectives,
        lambda_initial=0.01,
        jacobian_mode=newton.ik.IKJacobianType.ANALYTIC,
    )
    quaternions = np.zeros((len(keypoints), count, 4), dtype=np.float32)
    quaternions[..., 3] = 1
    quaternions[:, 0] = Rotation.from_matrix(problem.root_rotmat(keypoints)).as_quat()
    start = warp.array(quaternions.reshape(len(keypoints), -1), dtype=warp.float32)
    found = warp.zeros_like(start)

    def run() -> warp.array:
        solver.step(start, found, iterations=steps)
        warp.synchronize()
        return found

    def rotations(result: warp.array) -> np.ndarray:
        return Rotation.from_quat(result.numpy().reshape(-1, 4)).as_matrix().reshape(-1, count, 3, 3)

    return run, rotations


if __name__ == "__main__":
    measure("newton", make_settings, frames=256, batches=(256,), note="Warp's CPU code runs on one core")
