# SPDX-License-Identifier: Apache-2.0
"""How fast the solver is: what `ikol bench solver` runs. Imports: torch, the body, the solver.

Targets are made here from random poses, so the numbers need no data set. Peers run elsewhere, each in an environment of
its own; where none was run its columns are empty.
"""

import json
import math
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ikol.body.default_body import load_default_body
from ikol.body.joint_tree import JointTree
from ikol.body.kinematics import forward_kinematics
from ikol.geometry.rotations import rotvec_to_rotmat
from ikol.geometry.swing_twist import twist_angle
from ikol.solver.directions import DirectionConfig, solve_directions

NOISE = 0.01  # metres on each coordinate
MAX_ANGLE = math.pi / 2  # each joint turns about a random axis by up to this: harder than motion of people
ENDS = (("Head", (0.0, 0.18, 0.02)), ("L_Hand", (0.09, 0.0, 0.0)), ("R_Hand", (-0.09, 0.0, 0.0)),
        ("L_Foot", (0.0, -0.01, 0.06)), ("R_Foot", (0.0, -0.01, 0.06)))  # fmt: skip


@dataclass(frozen=True)
class BenchCase:
    """One line of the report."""

    case: str
    batch: int
    backend: str
    frames_per_s: float
    us_per_frame: float
    """The fastest of the repeats: other programs only ever make it slower."""
    residual_mm: float
    """Mean distance of the solved joints from the noisy keypoints."""
    converged: float
    """Part of the frames."""
    peer: str | None = None
    ratio: float | None = None


@dataclass(frozen=True, eq=False)
class PaperProblem:
    """29 noisy keypoints, the bones and the twists: the paper's problem."""

    tree: JointTree
    offsets: Float[Tensor, "nodes 3"]
    keypoints: Float[Tensor, "frames nodes 3"]
    twist: Float[Tensor, "frames joints"]


def make_paper_problem(frames: int, *, seed: int = 0, dtype: torch.dtype = torch.float32) -> PaperProblem:
    """Return random poses of the default body with the ends of head, hands and feet as further keypoints."""
    body = load_default_body(dtype=torch.float64)
    names = body.tree.names
    tree = JointTree(
        (*names, *(f"{joint}_end" for joint, _ in ENDS)),
        (*body.tree.parents, *(body.tree.index(joint) for joint, _ in ENDS)),
    )
    joints = body.rest_joints(torch.zeros(body.num_betas, dtype=torch.float64))
    ends = torch.stack([joints[names.index(joint)] + joints.new_tensor(offset) for joint, offset in ENDS])
    rest = torch.cat((joints, ends))
    generator = torch.Generator().manual_seed(seed)
    axis = torch.randn(frames, len(names), 3, generator=generator, dtype=torch.float64)
    angle = MAX_ANGLE * torch.rand(frames, len(names), 1, generator=generator, dtype=torch.float64)
    rotmat = rotvec_to_rotmat(angle * axis / axis.norm(dim=-1, keepdim=True))
    fixed = torch.eye(3, dtype=torch.float64).expand(frames, len(ENDS), 3, 3)
    posed = forward_kinematics(tree, rest, torch.cat((rotmat, fixed), dim=1), joints.new_zeros(frames, 3)).joints
    keypoints = posed + NOISE * torch.randn(posed.shape, generator=generator, dtype=torch.float64)
    offsets = rest.clone()
    offsets[1:] -= rest[list(tree.parents[1:])]
    only = [tree.children[joint][0] for joint in range(len(names))]
    bones = offsets[only] / offsets[only].norm(dim=-1, keepdim=True)
    twist = twist_angle(rotmat, bones.expand(frames, -1, -1))
    return PaperProblem(tree, offsets.to(dtype), keypoints.to(dtype), twist.to(dtype))


def bench_solver(
    batches: Sequence[int] = (1, 256, 4096),
    backends: Sequence[Literal["native", "torch"]] = ("native", "torch"),
    *,
    seconds: float = 2.0,
) -> list[BenchCase]:
    """Time every batch size on every backend for about `seconds` each."""
    return [_bench_paper(batch, backend, seconds) for backend in backends for batch in batches]


def report_json(cases: Sequence[BenchCase]) -> str:
    """Return the cases and the machine as JSON."""
    machine = {"processor": platform.machine(), "threads": torch.get_num_threads(), "torch": torch.__version__}
    return json.dumps({"machine": machine, "cases": [asdict(case) for case in cases]}, indent=2)


def _bench_paper(batch: int, backend: Literal["native", "torch"], seconds: float) -> BenchCase:
    problem = make_paper_problem(max(batch, 64))
    config = DirectionConfig(hold_root=True, backend=backend)
    keypoints, twist = problem.keypoints[:batch], problem.twist[:batch]
    if batch == 1:
        # one frame after the other, as in a drag: the mean over different frames
        count = 64 if backend == "native" else 4  # a thousand times slower each
        singles = list(zip(problem.keypoints[:count], problem.twist[:count], strict=True))

        def run() -> None:
            for points, angles in singles:
                solve_directions(problem.tree, points, problem.offsets, angles, config=config)

        frames = len(singles)
        keypoints, twist = problem.keypoints, problem.twist
    else:

        def run() -> None:
            solve_directions(problem.tree, keypoints, problem.offsets, twist, config=config)

        frames = batch
    result = solve_directions(problem.tree, keypoints, problem.offsets, twist, config=config)
    per_frame = _fastest(run, seconds) / frames
    fixed = torch.eye(3).expand(len(keypoints), len(ENDS), 3, 3)
    rest = [problem.offsets[0]]
    for node, parent in enumerate(problem.tree.parents[1:], start=1):
        rest.append(rest[parent] + problem.offsets[node])
    rotmat = torch.cat((result.local_rotmat, fixed), dim=1)
    found = forward_kinematics(problem.tree, torch.stack(rest), rotmat, result.root - rest[0]).joints
    distance = torch.linalg.vector_norm(found - keypoints, dim=-1)[:, 1:]
    return BenchCase(
        case="paper",
        batch=batch,
        backend=backend,
        frames_per_s=1.0 / per_frame,
        us_per_frame=1e6 * per_frame,
        residual_mm=1e3 * float(distance.mean()),
        converged=float((result.status == 0).double().mean()),
    )


def _fastest(run: Callable[[], None], seconds: float) -> float:
    run()
    fastest, end = math.inf, time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        run()
        fastest = min(fastest, time.perf_counter() - start)
    return fastest
