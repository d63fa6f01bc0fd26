# SPDX-License-Identifier: Apache-2.0
"""A hundred thousand targets that a body of some shape can reach: captured motion and any pose at all."""

import math
from dataclasses import dataclass

import pytest
import torch
from motion import motion_poses
from torch import Tensor

from ikol.body.default_body import load_default_body
from ikol.body.ends import end_points
from ikol.body.kinematics import forward_kinematics
from ikol.geometry.rotations import rotvec_to_rotmat
from ikol.solver.baselines import twist_of
from ikol.solver.directions import DirectionConfig, IKOLLayer
from ikol.solver.result import SolveStatus
from ikol.solver.skeleton import Skeleton

JITTER = math.radians(5.0)  # so that collars, wrists, hands and feet, which the capture does not know, turn as well


@dataclass(frozen=True, eq=False)
class Targets:
    """Float64, and the skeleton that reaches them."""

    skeleton: Skeleton
    betas: Tensor
    twist: Tensor
    keypoints: Tensor


def _turns(count: int, angles: Tensor, generator: torch.Generator) -> Tensor:
    axis = torch.randn(count, 24, 3, generator=generator, dtype=torch.float64)
    return rotvec_to_rotmat(axis / axis.norm(dim=-1, keepdim=True) * angles[..., None])


def _make_targets(kind: str, count: int, seed: int) -> Targets:
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    if kind == "motion":
        poses = motion_poses()
        local = poses[torch.randint(len(poses), (count,), generator=generator)]
        jitter = JITTER * torch.randn(count, 24, generator=generator, dtype=torch.float64)
        local = local @ _turns(count, jitter, generator)
        heading = local.new_zeros(count, 3)
        heading[:, 1] = 2 * math.pi * uniform(count)
        local[:, 0] = rotvec_to_rotmat(heading) @ local[:, 0]
    else:
        angles = math.pi * uniform(count, 24)
        angles[:, 5:8] = torch.where(uniform(count, 3) < 0.02, math.pi, angles[:, 5:8])  # some exactly half a turn
        local = _turns(count, angles, generator)
    # wider than people are: the shapes of half of them would be one in a hundred thousand
    spread = 1 + uniform(count, 1)
    betas = spread * torch.randn(count, 10, generator=generator, dtype=torch.float64)
    body = load_default_body(dtype=torch.float64)
    skeleton = Skeleton.from_body(body).with_ends(end_points(body))
    ends = torch.eye(3, dtype=torch.float64).expand(count, 5, 3, 3)
    local, rest = torch.cat((local, ends), dim=1), skeleton.rest_joints(betas)
    place = torch.randn(count, 3, generator=generator, dtype=torch.float64)
    keypoints = forward_kinematics(skeleton.tree, rest, local, place).joints
    return Targets(skeleton, betas, twist_of(skeleton.tree, rest, local)[:, :24], keypoints)


def _part(targets: Targets, part: slice) -> Targets:
    return Targets(targets.skeleton, targets.betas[part], targets.twist[part], targets.keypoints[part])


def _largest_miss(targets: Targets, backend: str, dtype: torch.dtype, *, hold_root: bool) -> float:
    """Metres, over all keypoints of all frames. The places are computed from the rotations in float64."""
    layer = IKOLLayer(targets.skeleton, DirectionConfig(hold_root=hold_root, backend=backend)).to(dtype)  # pyright: ignore
    result = layer(targets.keypoints.to(dtype), targets.twist.to(dtype), targets.betas.to(dtype))
    assert int((result.status != SolveStatus.CONVERGED).sum()) == 0
    ends = torch.eye(3, dtype=torch.float64).expand(len(targets.betas), 5, 3, 3)
    local = torch.cat((result.local_rotmat.double(), ends), dim=1)
    rest = targets.skeleton.rest_joints(targets.betas)
    found = forward_kinematics(targets.skeleton.tree, rest, local, result.root.double() - rest[:, 0]).joints
    return float((found - targets.keypoints).norm(dim=-1).max())


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["native", "torch"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", ["motion", "any"])
def test_a_hundred_thousand_reachable_targets_are_reached(kind: str, dtype: torch.dtype, backend: str) -> None:
    targets = _make_targets(kind, 50_000, seed=1)
    parts = [_part(targets, slice(first, first + 5_000)) for first in range(0, 50_000, 5_000)]
    misses = [_largest_miss(part, backend, dtype, hold_root=bool(index % 2)) for index, part in enumerate(parts)]
    # 0.1 mm is what is promised; measured 0.007 mm in float32, 1e-11 m in float64
    assert max(misses) < 1e-4


@pytest.mark.parametrize("backend", ["native", "torch"])
def test_reachable_targets_of_any_shape_are_reached(backend: str) -> None:
    targets = _make_targets("any", 300, seed=3)
    assert _largest_miss(targets, backend, torch.float32, hold_root=True) < 1e-4
