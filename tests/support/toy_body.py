# SPDX-License-Identifier: Apache-2.0
"""A body of four joints and thirty random vertices with pose blend shapes: no term of the skinning vanishes."""

import torch
from torch import Tensor

from ikol.body.joint_tree import JointTree
from ikol.body.model import BodyModel
from ikol.body.points import AttachedPoints

TOY_SKELETON = JointTree(names=("hips", "chest", "left", "right"), parents=(-1, 0, 1, 1))


def _rows_that_sum_to_one(rows: int, columns: int, generator: torch.Generator) -> Tensor:
    return torch.softmax(2 * torch.randn(rows, columns, dtype=torch.float64, generator=generator), dim=-1)


def toy_arrays(num_vertices: int = 30, num_betas: int = 3) -> dict[str, Tensor | None]:
    """The arguments of `BodyModel.from_arrays` but name, skeleton and landmarks, in float64, lengths of decimetres."""
    generator = torch.Generator().manual_seed(11)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    joints = TOY_SKELETON.num_joints
    return {
        "v_template": 0.3 * normal(num_vertices, 3),
        "faces": torch.randint(num_vertices, (20, 3), generator=generator),
        "shapedirs": 0.02 * normal(num_vertices, 3, num_betas),
        "J_regressor": _rows_that_sum_to_one(joints, num_vertices, generator),
        "lbs_weights": _rows_that_sum_to_one(num_vertices, joints, generator),
        "posedirs": 0.01 * normal(num_vertices, 3, 9 * (joints - 1)),
    }


def toy_body(landmarks: AttachedPoints | None = None) -> BodyModel:
    """The toy body in float64."""
    return BodyModel.from_arrays("toy", TOY_SKELETON, landmarks=landmarks, **toy_arrays())  # pyright: ignore[reportArgumentType]
