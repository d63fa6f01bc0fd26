# SPDX-License-Identifier: Apache-2.0
"""Derivatives of the layer: against finite differences, between backends, at the places where they are hard."""

import math

import pytest
import torch
from keypoint_trees import Case, make_case, paper_offsets, paper_tree, place, random_tree
from torch import Tensor

from ikol.geometry.rotations import rotvec_to_rotmat
from ikol.solver.directions import DirectionConfig, DirectionResult, IKOLLayer
from ikol.solver.result import SolveStatus

BACKENDS = ("native", "torch")
INPUTS = ("keypoints", "offsets", "twist", "weights")


def _inputs(case: Case, seed: int = 0) -> list[Tensor]:
    """Keypoints, offsets that differ by item and are wrong by 5 %, twists, weights."""
    generator = torch.Generator().manual_seed(seed)
    items, nodes = case.keypoints.shape[:2]
    scale = 1 + 0.05 * torch.randn(items, nodes, 1, generator=generator, dtype=torch.float64)
    weights = 0.2 + torch.rand(items, nodes, generator=generator, dtype=torch.float64)
    return [case.keypoints, case.offsets * scale, case.twist, weights]


def _loss(result: DirectionResult) -> Tensor:
    """A fixed random linear function of each item's rotations and root."""
    generator = torch.Generator().manual_seed(5)
    on_rotmat = torch.randn(result.local_rotmat.shape, generator=generator, dtype=torch.float64)
    on_root = torch.randn(result.root.shape, generator=generator, dtype=torch.float64)
    return (on_rotmat * result.local_rotmat).sum((-1, -2, -3)) + (on_root * result.root).sum(-1)


def _gradients(layer: IKOLLayer, inputs: list[Tensor]) -> tuple[Tensor, ...]:
    leaves = [each.clone().requires_grad_() for each in inputs]
    return torch.autograd.grad(_loss(layer(*leaves)).sum(), leaves)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("hold_root", [True, False])
@pytest.mark.parametrize("noise", [0.0, 0.01, 0.03])
@pytest.mark.parametrize("which", range(4), ids=INPUTS)
def test_implicit_derivative_equals_finite_differences(backend: str, hold_root: bool, noise: float, which: int) -> None:
    case = make_case(6, seed=1, max_angle=math.pi / 2, noise=noise)
    inputs = _inputs(case)
    layer = IKOLLayer(case.tree, DirectionConfig(hold_root=hold_root, backend=backend))  # pyright: ignore
    found = _gradients(layer, inputs)[which]
    generator = torch.Generator().manual_seed(which)
    direction = torch.randn(inputs[which].shape, generator=generator, dtype=torch.float64)
    exact = IKOLLayer(case.tree, DirectionConfig(hold_root=hold_root))
    # weights are of the size of one, places and bones of a tenth and less
    step = 3e-4 if INPUTS[which] == "weights" else 3e-5

    def at(factor: float) -> Tensor:
        moved = list(inputs)
        moved[which] = inputs[which] + factor * step * direction
        return _loss(exact(*moved))

    # fourth order: the error of the difference is below 1e-7 of the gradient's length for steps of this size
    difference = (8 * (at(1) - at(-1)) - (at(2) - at(-2))) / (12 * step)
    error = ((found * direction).flatten(1).sum(1) - difference).abs() / found.flatten(1).norm(dim=1)
    assert float(error.max()) < 1e-6, error


@pytest.mark.parametrize("hold_root", [True, False])
@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_backends_have_the_same_derivative(hold_root: bool, noise: float) -> None:
    case = make_case(30, seed=2, max_angle=2.5, noise=noise)
    inputs = _inputs(case)
    found = [
        _gradients(IKOLLayer(case.tree, DirectionConfig(hold_root=hold_root, backend=backend)), inputs)  # pyright: ignore
        for backend in BACKENDS
    ]
    for name, first, second in zip(INPUTS, *found, strict=True):
        error = (first - second).flatten(1).norm(dim=1) / second.flatten(1).norm(dim=1)
        # both differentiate an optimum that is known to about 1e-10 rad; near half a turn that is multiplied by 1e3
        assert float(error.max()) < 1e-5, name


@pytest.mark.parametrize("backend", ["native", pytest.param("torch", marks=pytest.mark.slow)])
def test_gradcheck_on_a_small_tree(backend: str) -> None:
    case = make_case(2, seed=3, max_angle=1.0, noise=0.01, shape=random_tree(7, 1))
    layer = IKOLLayer(case.tree, DirectionConfig(backend=backend))  # pyright: ignore

    def function(*inputs: Tensor) -> tuple[Tensor, Tensor]:
        result = layer(*inputs)
        return result.local_rotmat, result.root

    leaves = [each.clone().requires_grad_() for each in _inputs(case)]
    assert torch.autograd.gradcheck(function, leaves, eps=5e-5, atol=5e-5, rtol=1e-5)


def _special_poses() -> dict[str, Tensor]:
    rest = torch.eye(3, dtype=torch.float64).repeat(24, 1, 1)
    poses = {"rest": rest}
    offsets, tree = paper_offsets(), paper_tree()
    for angle in (math.pi, math.pi - 1e-9, math.pi - 1e-4, math.pi - 1e-2):
        pose = rest.clone()
        for joint in (1, 16, 18):
            bone = offsets[tree.children[joint][0]]
            across = torch.linalg.cross(bone, torch.tensor([0.1, 0.4, 0.9], dtype=torch.float64))
            pose[joint] = rotvec_to_rotmat(angle * across / across.norm())
        poses[f"swing of {angle}"] = pose
    return poses


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("pose", _special_poses())
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("missing", [(), (4,), (0, 9), tuple(range(29))])
def test_derivative_is_finite_where_it_is_hard(
    backend: str, pose: str, dtype: torch.dtype, missing: tuple[int, ...]
) -> None:
    tree, offsets = paper_tree(), paper_offsets()
    keypoints = place(tree, offsets, _special_poses()[pose], torch.zeros(3, dtype=torch.float64))
    weights = torch.ones(29, dtype=torch.float64)
    weights[list(missing)] = 0.0
    inputs = (keypoints, offsets, torch.zeros(24, dtype=torch.float64), weights)
    leaves = [each.to(dtype).requires_grad_() for each in inputs]
    result = IKOLLayer(tree, DirectionConfig(backend=backend))(*leaves)  # pyright: ignore
    found = torch.autograd.grad(_loss(result), leaves)
    # the derivative of a swing is cut off at 1/|1 + cos| of 1e6: about 1e3 a joint, over bones of 4 cm, ten in a chain
    largest = max(float(each.abs().max()) for each in found)
    assert largest < 1e7


@pytest.mark.parametrize("backend", BACKENDS)
def test_items_that_did_not_converge_get_no_gradient(backend: str) -> None:
    case = make_case(4, seed=4, max_angle=1.5, noise=0.03)
    layer = IKOLLayer(case.tree, DirectionConfig(max_iterations=1, backend=backend))  # pyright: ignore
    inputs = _inputs(case)
    assert layer(*inputs).status.tolist() == [SolveStatus.MAX_ITERATIONS] * 4
    assert all(float(each.abs().max()) == 0 for each in _gradients(layer, inputs))


def test_unrolled_derivative_is_that_of_the_steps_themselves() -> None:
    case = make_case(3, seed=5, max_angle=1.0, noise=0.01, shape=random_tree(7, 2))
    layer = IKOLLayer(case.tree, DirectionConfig(backward="unrolled", unrolled_steps=12))
    inputs = _inputs(case)
    found = _gradients(layer, inputs)[0]
    exact = _gradients(IKOLLayer(case.tree), inputs)[0]
    # Gauss-Newton converges by a constant factor a step where a residual is left: after twelve nearly the optimum's
    error = (found - exact).flatten(1).norm(dim=1) / exact.flatten(1).norm(dim=1)
    assert float(error.median()) < 1e-2


def test_unrolled_equals_implicit_where_keypoints_are_reached() -> None:
    case = make_case(5, seed=6, max_angle=1.5)
    inputs = [case.keypoints, case.offsets, case.twist]
    unrolled = _gradients(IKOLLayer(case.tree, DirectionConfig(backward="unrolled", unrolled_steps=2)), inputs)
    implicit = _gradients(IKOLLayer(case.tree), inputs)
    for first, second in zip(unrolled, implicit, strict=True):
        # without a residual Gauss-Newton is Newton: two steps square the error twice
        torch.testing.assert_close(first, second, rtol=1e-6, atol=1e-6 * float(second.abs().max()))


def test_shared_inputs_get_the_sum_of_the_gradients() -> None:
    case = make_case(5, seed=7, max_angle=1.0, noise=0.01)
    layer = IKOLLayer(case.tree)
    shared = case.offsets.clone().requires_grad_()
    each = case.offsets.expand(5, -1, -1).clone().requires_grad_()
    (summed,) = torch.autograd.grad(_loss(layer(case.keypoints, shared, case.twist)).sum(), shared)
    (separate,) = torch.autograd.grad(_loss(layer(case.keypoints, each, case.twist)).sum(), each)
    torch.testing.assert_close(summed, separate.sum(0))


def test_layer_says_what_it_is_for() -> None:
    assert "nodes=29" in repr(IKOLLayer(paper_tree()))
