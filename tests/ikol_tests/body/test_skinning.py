# SPDX-License-Identifier: Apache-2.0
import contextlib
import importlib.util
import sys
from dataclasses import replace
from typing import Any

import pytest
import torch
from rigs import random_rotmats
from strategies import BATCH_SHAPES, DTYPES
from torch import Tensor
from toy_body import toy_body

from ikol.body.default_body import load_default_body
from ikol.body.kinematics import forward_kinematics
from ikol.body.model import BodyModel
from ikol.body.skinning import linear_blend_skinning

needs_smplx = pytest.mark.skipif(
    importlib.util.find_spec("smplx") is None,
    reason="the optional package smplx is not installed: pip install ikol[smpl]",
)


def skin_by_definition(body: BodyModel, betas: Tensor, local: Tensor, transl: Tensor) -> Tensor:
    """One vertex and one joint after the other."""
    rest = body.rest_joints(betas)
    pose = forward_kinematics(body.tree, rest, local, transl)
    shaped = body.rest_vertices(betas)
    if body.posedirs is not None:
        feature = torch.cat([(local[j] - torch.eye(3, dtype=local.dtype)).reshape(9) for j in range(1, len(local))])
        shaped = shaped + body.posedirs @ feature
    posed = torch.zeros_like(shaped)
    for v in range(len(shaped)):
        for j in range(len(rest)):
            posed[v] += body.lbs_weights[v, j] * (pose.global_rotmat[j] @ (shaped[v] - rest[j]) + pose.joints[j])
    return posed


def test_skinning_equals_its_definition() -> None:
    body = toy_body()
    betas = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    local = random_rotmats((4,), 1.0, seed=2)
    transl = torch.tensor([0.3, -0.1, 2.0], dtype=torch.float64)
    difference = linear_blend_skinning(body, betas, local, transl) - skin_by_definition(body, betas, local, transl)
    assert difference.abs().max() < 1e-14, difference.abs().max()  # a dozen roundings of numbers of a few metres


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", BATCH_SHAPES)
def test_any_batch_shape_equals_single_calls(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    body = toy_body().to(dtype=dtype)
    generator = torch.Generator().manual_seed(4)
    betas = torch.randn(*shape, 3, dtype=dtype, generator=generator)
    transl = torch.randn(*shape, 3, dtype=dtype, generator=generator)
    local = random_rotmats((*shape, 4), 1.0, seed=5, dtype=dtype)
    got = linear_blend_skinning(body, betas, local, transl)
    assert got.shape == (*shape, body.num_vertices, 3)
    assert got.dtype == dtype
    singles = [
        linear_blend_skinning(body, b, r, t)
        for b, r, t in zip(betas.reshape(-1, 3), local.reshape(-1, 4, 3, 3), transl.reshape(-1, 3), strict=True)
    ]
    difference = (got.reshape(-1, body.num_vertices, 3) - torch.stack(singles)).abs().max()
    assert difference < 100 * torch.finfo(dtype).eps, difference  # the same sums in another order, of a few metres


def test_one_shape_for_many_poses_broadcasts() -> None:
    body = toy_body()
    betas, transl = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    local = random_rotmats((5, 4), 1.0, seed=6)
    got = linear_blend_skinning(body, betas, local, transl)
    expected = linear_blend_skinning(body, betas.expand(5, 3), local, transl.expand(5, 3))
    assert (got - expected).abs().max() < 1e-14  # the same sums


def test_body_turns_and_moves_as_a_whole_with_its_root() -> None:
    body = load_default_body(torch.float64)
    betas, local = torch.ones(10, dtype=torch.float64), random_rotmats((24,), 0.4, seed=7)
    transl = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    turn = random_rotmats((), 1.0, seed=8)
    before = linear_blend_skinning(body, betas, local, torch.zeros(3, dtype=torch.float64))
    turned = torch.cat([(turn @ local[0])[None], local[1:]])
    after = linear_blend_skinning(body, betas, turned, transl)
    root = body.rest_joints(betas)[0]
    difference = (after - ((before - root) @ turn.mT + root + transl)).abs().max()
    # the file's float32 weights sum to one within 1e-7, which scales the distance of the root from the origin, 0.2 m
    assert difference < 1e-7, difference


@pytest.mark.parametrize("dtype", DTYPES)
def test_gradients_at_the_rest_pose_are_finite(dtype: torch.dtype) -> None:
    body = toy_body().to(dtype=dtype)
    betas = torch.zeros(3, dtype=dtype, requires_grad=True)
    local = torch.eye(3, dtype=dtype).expand(4, 3, 3).clone().requires_grad_()
    transl = torch.zeros(3, dtype=dtype, requires_grad=True)
    linear_blend_skinning(body, betas, local, transl).square().sum().backward()
    assert all(x.grad is not None and bool(torch.isfinite(x.grad).all()) for x in (betas, local, transl))


def smplx_forward(body: BodyModel, betas: Tensor, local: Tensor, transl: Tensor) -> tuple[Tensor, Tensor]:
    """Vertices and 24 joints by the smplx package."""
    import smplx
    from smplx.utils import Struct

    dtype, batch = betas.dtype, len(betas)
    posedirs = body.posedirs if body.posedirs is not None else torch.zeros(body.num_vertices, 3, 207)
    arrays: dict[str, Any] = {
        "v_template": body.v_template,
        "f": body.faces,
        "shapedirs": body.shapedirs,
        "posedirs": posedirs,
        "J_regressor": body.J_regressor,
        "weights": body.lbs_weights,
        "kintree_table": torch.tensor([body.tree.parents, range(24)]),
    }
    sides = [f"{s}{n}" for s in "lr" for n in ("eye", "ear", "thumb", "index", "middle", "ring", "pinky")]
    feet = [f"{s}{n}" for s in "LR" for n in ("BigToe", "SmallToe", "Heel")]
    # the extra joints are cut off below; smplx's own numbers would be those of another mesh
    ids = dict.fromkeys(["nose", *sides, *feet], 0)
    struct = Struct(**{key: array.numpy() for key, array in arrays.items()})
    with contextlib.redirect_stdout(sys.stderr):  # smplx prints a warning about 10 coefficients to stdout
        model = smplx.SMPL("", data_struct=struct, vertex_ids=ids, batch_size=batch, dtype=dtype)
    # its axis-angle formula adds 1e-8 to the vector before taking the length: matrices keep that out of the comparison
    output = model(betas=betas, global_orient=local[:, :1], body_pose=local[:, 1:], transl=transl, pose2rot=False)
    return output.vertices.detach(), output.joints[:, :24].detach()


@pytest.mark.needs_smpl
@needs_smplx
@pytest.mark.parametrize("with_posedirs", [False, True], ids=["no_posedirs", "posedirs"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-13)], ids=["f32", "f64"])
def test_skinning_equals_smplx(with_posedirs: bool, dtype: torch.dtype, tolerance: float) -> None:
    # float32: a thousandth of a millimetre is a dozen roundings at a reach of a metre, and most of it is smplx's own
    # (7e-7 from a float64 run, ours is 4e-7); float64: the same number of roundings
    body = load_default_body(dtype)
    generator = torch.Generator().manual_seed(20)
    if with_posedirs:
        posedirs = 0.003 * torch.randn(body.num_vertices, 3, 207, generator=generator)
        body = replace(body, posedirs=posedirs.to(dtype))  # float32 numbers in either case: smplx rounds them to that
    betas = 1.5 * torch.randn(3, 10, dtype=dtype, generator=generator)
    transl = 0.3 * torch.randn(3, 3, dtype=dtype, generator=generator)
    local = random_rotmats((3, 24), 0.6, seed=21, dtype=dtype)
    vertices = linear_blend_skinning(body, betas, local, transl)
    joints = forward_kinematics(body.tree, body.rest_joints(betas), local, transl).joints
    smplx_vertices, smplx_joints = smplx_forward(body, betas, local, transl)
    assert (vertices - smplx_vertices).abs().max() < tolerance, (vertices - smplx_vertices).abs().max()
    assert (joints - smplx_joints).abs().max() < tolerance, (joints - smplx_joints).abs().max()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_cuda_device_gives_the_same_vertices_and_points() -> None:
    betas, transl = torch.ones(2, 10, dtype=torch.float64), torch.ones(2, 3, dtype=torch.float64)
    local = random_rotmats((2, 24), 0.5, seed=30)
    results: dict[str, tuple[Tensor, Tensor]] = {}
    for device in ("cpu", "cuda"):
        body = load_default_body(torch.float64, device)
        b, r, t = betas.to(device), local.to(device), transl.to(device)
        rest = body.rest_joints(b)
        pose = forward_kinematics(body.tree, rest, r, t)
        points = body.points.posed_points(body.points.rest_points(b), rest, pose)
        results[device] = (linear_blend_skinning(body, b, r, t).cpu(), points.cpu())
    for on_cpu, on_cuda in zip(results["cpu"], results["cuda"], strict=True):
        assert (on_cpu - on_cuda).abs().max() < 1e-13  # a dozen roundings of metres
