# SPDX-License-Identifier: Apache-2.0
"""Derivatives of the layer: against finite differences, between backends, at the places where they are hard."""

import math
from dataclasses import replace

import pytest
import torch
from keypoint_trees import Case, make_case, paper_offsets, paper_tree, place, random_tree
from torch import Tensor

from ikol.body.default_body import load_default_body
from ikol.body.ends import end_points
from ikol.body.joint_tree import JointTree
from ikol.body.kinematics import forward_kinematics
from ikol.errors import InputError
from ikol.geometry.rotations import rotvec_to_rotmat
from ikol.solver.baselines import twist_of
from ikol.solver.directions import DirectionConfig, DirectionResult, IKOLLayer
from ikol.solver.result import SolveStatus
from ikol.solver.skeleton import Skeleton

BACKENDS = ("native", "torch")
INPUTS = ("keypoints", "offsets", "twist", "weights")


def _layer(tree: JointTree, **settings: object) -> IKOLLayer:
    """A layer whose own bones are not used: the tests give theirs."""
    skeleton = Skeleton.from_rest_joints(tree, torch.zeros(tree.num_joints, 3, dtype=torch.float64))
    return IKOLLayer(skeleton, DirectionConfig(**settings))  # pyright: ignore[reportArgumentType]


def _solve(layer: IKOLLayer, keypoints: Tensor, offsets: Tensor, twist: Tensor, *weights: Tensor) -> DirectionResult:
    return layer(keypoints, twist, None, *(weights or (None,)), offsets)


def _inputs(case: Case, seed: int = 0) -> list[Tensor]:
    """Keypoints, offsets that differ by item and are wrong by 5 %, twists, weights."""
    generator = torch.Generator().manual_seed(seed)
    items, nodes = case.keypoints.shape[:2]
    scale = 1 + 0.05 * torch.randn(items, nodes, 1, generator=generator, dtype=torch.float64)
    weights = 0.2 + torch.rand(items, nodes, generator=generator, dtype=torch.float64)
    return [case.keypoints, case.offsets * scale, case.twist, weights]


def _loss_weights(result: DirectionResult) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    on_rotmat = torch.randn(result.local_rotmat.shape, generator=generator, dtype=torch.float64)
    return on_rotmat, torch.randn(result.root.shape, generator=generator, dtype=torch.float64)


def _loss(result: DirectionResult) -> Tensor:
    """A fixed random linear function of each item's rotations and root."""
    on_rotmat, on_root = _loss_weights(result)
    return (on_rotmat * result.local_rotmat).sum((-1, -2, -3)) + (on_root * result.root).sum(-1)


def _gradients(layer: IKOLLayer, inputs: list[Tensor]) -> tuple[Tensor, ...]:
    leaves = [each.clone().requires_grad_() for each in inputs]
    return torch.autograd.grad(_loss(_solve(layer, *leaves)).sum(), leaves)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("hold_root", [True, False])
@pytest.mark.parametrize("noise", [0.0, 0.01, 0.03])
@pytest.mark.parametrize("which", range(4), ids=INPUTS)
def test_implicit_derivative_equals_finite_differences(backend: str, hold_root: bool, noise: float, which: int) -> None:
    case = make_case(6, seed=1, max_angle=math.pi / 2, noise=noise)
    inputs = _inputs(case)
    layer = _layer(case.tree, hold_root=hold_root, backend=backend)
    found = _gradients(layer, inputs)[which]
    generator = torch.Generator().manual_seed(which)
    direction = torch.randn(inputs[which].shape, generator=generator, dtype=torch.float64)
    exact = _layer(case.tree, hold_root=hold_root)
    # weights are of the size of one, places and bones of a tenth and less
    step = 3e-4 if INPUTS[which] == "weights" else 3e-5

    def at(factor: float) -> Tensor:
        moved = list(inputs)
        moved[which] = inputs[which] + factor * step * direction
        return _loss(_solve(exact, *moved))

    # fourth order: the error of the difference is below 1e-7 of the gradient's length for steps of this size
    difference = (8 * (at(1) - at(-1)) - (at(2) - at(-2))) / (12 * step)
    error = ((found * direction).flatten(1).sum(1) - difference).abs() / found.flatten(1).norm(dim=1)
    assert float(error.max()) < 1e-6, error


@pytest.mark.parametrize("hold_root", [True, False])
@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_backends_have_the_same_derivative(hold_root: bool, noise: float) -> None:
    case = make_case(30, seed=2, max_angle=2.5, noise=noise)
    inputs = _inputs(case)
    found = [_gradients(_layer(case.tree, hold_root=hold_root, backend=backend), inputs) for backend in BACKENDS]
    for name, first, second in zip(INPUTS, *found, strict=True):
        error = (first - second).flatten(1).norm(dim=1) / second.flatten(1).norm(dim=1)
        # both differentiate an optimum that is known to about 1e-10 rad; near half a turn that is multiplied by 1e3
        assert float(error.max()) < 1e-5, name


@pytest.mark.parametrize("backend", ["native", pytest.param("torch", marks=pytest.mark.slow)])
def test_gradcheck_on_a_small_tree(backend: str) -> None:
    case = make_case(2, seed=3, max_angle=1.0, noise=0.01, shape=random_tree(7, 1))
    layer = _layer(case.tree, backend=backend)

    def function(*inputs: Tensor) -> tuple[Tensor, Tensor]:
        result = _solve(layer, *inputs)
        return result.local_rotmat, result.root

    leaves = [each.clone().requires_grad_() for each in _inputs(case)]
    assert torch.autograd.gradcheck(function, leaves, eps=5e-5, atol=5e-5, rtol=1e-5)


def _special_poses() -> dict[str, Tensor]:
    rest = torch.eye(3, dtype=torch.float64).repeat(24, 1, 1)
    poses = {"rest": rest}
    offsets, tree = paper_offsets(), paper_tree()
    for angle in (math.pi, math.pi - 1e-9, math.pi - 1e-6, math.pi - 1e-4, math.pi - 1.7e-3, math.pi - 1e-2):
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
@pytest.mark.parametrize("missing", [(), (4,), (0, 9), (1, 2), tuple(range(29))])
def test_derivative_is_finite_where_it_is_hard(
    backend: str, pose: str, dtype: torch.dtype, missing: tuple[int, ...]
) -> None:
    tree, offsets = paper_tree(), paper_offsets()
    keypoints = place(tree, offsets, _special_poses()[pose], torch.zeros(3, dtype=torch.float64))
    weights = torch.ones(29, dtype=torch.float64)
    weights[list(missing)] = 0.0
    inputs = (keypoints, offsets, torch.zeros(24, dtype=torch.float64), weights)
    leaves = [each.to(dtype).requires_grad_() for each in inputs]
    result = _solve(_layer(tree, backend=backend), *leaves)
    found = torch.autograd.grad(_loss(result), leaves)
    # the derivative of a swing is cut off at 1/|1 + cos| of 1e6: about 1e3 a joint, over bones of 4 cm, ten in a chain
    largest = max(float(each.abs().max()) for each in found)
    assert largest < 1e7


@pytest.mark.parametrize("backend", BACKENDS)
def test_items_that_did_not_converge_get_no_gradient(backend: str) -> None:
    case = make_case(4, seed=4, max_angle=1.5, noise=0.03)
    layer = _layer(case.tree, max_iterations=1, backend=backend)
    inputs = _inputs(case)
    assert _solve(layer, *inputs).status.tolist() == [SolveStatus.MAX_ITERATIONS] * 4
    assert all(float(each.abs().max()) == 0 for each in _gradients(layer, inputs))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("backward", ["implicit", "one_step"])
def test_an_item_that_did_not_converge_leaves_the_rest_of_a_batch_alone(backend: str, backward: str) -> None:
    case = make_case(4, seed=4, max_angle=1.5)
    inputs = _inputs(case)
    inputs[0] = case.keypoints.clone()
    inputs[0][2:] += 0.05 * torch.randn(2, 29, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    inputs[1] = case.offsets.expand(4, -1, -1)
    layer = _layer(case.tree, max_iterations=3, backend=backend, backward=backward)
    leaves = [each.clone().requires_grad_() for each in inputs]
    result = _solve(layer, *leaves)
    # the first two can be reached: the start is their optimum
    assert result.status.tolist() == [SolveStatus.CONVERGED] * 2 + [SolveStatus.MAX_ITERATIONS] * 2
    together = torch.autograd.grad(_loss(result).sum(), leaves)
    for name, gradient in zip(INPUTS, together, strict=True):
        assert bool((gradient[2:] == 0).all()), name
    on_rotmat, on_root = _loss_weights(result)
    for index in range(2):
        alone = [each[index : index + 1].clone().requires_grad_() for each in inputs]
        whole = _solve(layer, *alone)
        loss = (on_rotmat[index] * whole.local_rotmat[0]).sum() + (on_root[index] * whole.root[0]).sum()
        found = torch.autograd.grad(loss, alone)
        for name, one, all_ in zip(INPUTS, found, together, strict=True):
            # rounding of sums in another order
            torch.testing.assert_close(one[0], all_[index], rtol=1e-6, atol=1e-7, msg=name)


@pytest.mark.parametrize("hold_root", [False, True])
def test_one_step_is_the_same_in_both_backends(hold_root: bool) -> None:
    case = make_case(20, seed=8, max_angle=1.5, noise=0.02)
    inputs = _inputs(case)
    compiled, reference = (
        _gradients(_layer(case.tree, hold_root=hold_root, backend=backend, backward="one_step"), inputs)
        for backend in BACKENDS
    )
    for name, found, wanted in zip(INPUTS, compiled, reference, strict=True):
        assert bool((wanted != 0).any()), name
        # both stop where the gradient is small, which the derivative follows
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6 * float(wanted.abs().max()), msg=name)


def test_one_step_leaves_out_the_second_order_part() -> None:
    clean, noisy = make_case(20, seed=8, max_angle=1.5), make_case(20, seed=8, max_angle=1.5, noise=0.01)
    errors: list[Tensor] = []
    for case in (clean, noisy):
        inputs = [case.keypoints, case.offsets, case.twist]
        exact, approximate = (
            _gradients(_layer(case.tree, backward=backward), inputs)[0] for backward in ("implicit", "one_step")
        )
        errors.append((approximate - exact).flatten(1).norm(dim=1) / exact.flatten(1).norm(dim=1))
    # without a residual there is none; with 10 mm it is a tenth and more of the derivative
    assert float(errors[0].max()) < 1e-6
    assert 0.05 < float(errors[1].median()) < 0.5


def test_unrolled_derivative_is_that_of_the_steps_themselves() -> None:
    case = make_case(3, seed=5, max_angle=1.0, noise=0.01, shape=random_tree(7, 2))
    layer = _layer(case.tree, backward="unrolled", unrolled_steps=12)
    inputs = _inputs(case)
    found = _gradients(layer, inputs)[0]
    exact = _gradients(_layer(case.tree), inputs)[0]
    # Gauss-Newton converges by a constant factor a step where a residual is left: after twelve nearly the optimum's
    error = (found - exact).flatten(1).norm(dim=1) / exact.flatten(1).norm(dim=1)
    assert float(error.median()) < 1e-2


def test_unrolled_equals_implicit_where_keypoints_are_reached() -> None:
    case = make_case(5, seed=6, max_angle=1.5)
    inputs = [case.keypoints, case.offsets, case.twist]
    unrolled = _gradients(_layer(case.tree, backward="unrolled", unrolled_steps=2), inputs)
    implicit = _gradients(_layer(case.tree), inputs)
    for first, second in zip(unrolled, implicit, strict=True):
        # without a residual Gauss-Newton is Newton: two steps square the error twice
        torch.testing.assert_close(first, second, rtol=1e-6, atol=1e-6 * float(second.abs().max()))


def test_shared_inputs_get_the_sum_of_the_gradients() -> None:
    case = make_case(5, seed=7, max_angle=1.0, noise=0.01)
    layer = _layer(case.tree)
    shared = case.offsets.clone().requires_grad_()
    each = case.offsets.expand(5, -1, -1).clone().requires_grad_()
    (summed,) = torch.autograd.grad(_loss(_solve(layer, case.keypoints, shared, case.twist)).sum(), shared)
    (separate,) = torch.autograd.grad(_loss(_solve(layer, case.keypoints, each, case.twist)).sum(), each)
    torch.testing.assert_close(summed, separate.sum(0))


@pytest.fixture(scope="module")
def body_layer() -> IKOLLayer:
    body = load_default_body(dtype=torch.float64)
    return IKOLLayer(Skeleton.from_body(body).with_ends(end_points(body)), DirectionConfig(hold_root=True))


@pytest.mark.parametrize("batch", [(), (3,), (2, 3)])
def test_a_body_of_any_shape_is_posed_as_it_was(body_layer: IKOLLayer, batch: tuple[int, ...]) -> None:
    body = load_default_body(dtype=torch.float64)
    skeleton = Skeleton.from_body(body).with_ends(end_points(body))
    generator = torch.Generator().manual_seed(1)
    betas = torch.randn(*batch, 10, dtype=torch.float64, generator=generator)
    rotvec = 0.5 * torch.randn(*batch, 24, 3, dtype=torch.float64, generator=generator)
    ends = torch.eye(3, dtype=torch.float64).expand(*batch, 5, 3, 3)
    local = torch.cat((rotvec_to_rotmat(rotvec), ends), dim=-3)
    rest = skeleton.rest_joints(betas)
    keypoints = forward_kinematics(skeleton.tree, rest, local, torch.zeros(*batch, 3, dtype=torch.float64)).joints
    offsets = body_layer.offsets(betas)
    # a bone is the difference of two joints of half a metre
    torch.testing.assert_close(offsets[..., 1:, :], rest[..., 1:, :] - rest[..., list(skeleton.tree.parents[1:]), :])
    twist = twist_of(skeleton.tree, rest, local)[..., :24]
    result = body_layer(keypoints, twist, betas)
    # swings well below half a turn: places known to 1e-10 m over bones of 5 cm, through ten joints
    assert float((result.local_rotmat - local[..., :24, :, :]).abs().max()) < 1e-6


def test_derivative_to_the_shape_is_that_of_finite_differences(body_layer: IKOLLayer) -> None:
    generator = torch.Generator().manual_seed(2)
    betas = torch.randn(4, 10, dtype=torch.float64, generator=generator)
    keypoints = body_layer.offsets(betas).cumsum(-2) + 0.1 * torch.randn(4, 29, 3, dtype=torch.float64)
    direction = torch.randn(4, 10, dtype=torch.float64, generator=generator)
    twist = torch.zeros(24, dtype=torch.float64)
    leaf = betas.clone().requires_grad_()
    (found,) = torch.autograd.grad(_loss(body_layer(keypoints, twist, leaf)).sum(), leaf)
    step = 1e-4
    at = [_loss(body_layer(keypoints, twist, betas + factor * step * direction)) for factor in (-2, -1, 1, 2)]
    difference = (at[0] - 8 * at[1] + 8 * at[2] - at[3]) / (12 * step)
    # fourth order; betas of one move joints by centimetres
    error = ((found * direction).sum(-1) - difference).abs() / found.norm(dim=-1)
    assert float(error.max()) < 1e-6, error


@pytest.mark.parametrize("shape", [(10,), (1, 10), (4, 10)])
@pytest.mark.parametrize("settings", [{"backend": "native"}, {"backend": "torch"}, {"backward": "unrolled"}])
def test_derivative_to_the_shape_is_that_through_its_bones(shape: tuple[int, ...], settings: dict[str, str]) -> None:
    body = load_default_body(dtype=torch.float64)
    skeleton = Skeleton.from_body(body).with_ends(end_points(body))
    layer = IKOLLayer(skeleton, DirectionConfig(**settings))  # pyright: ignore[reportArgumentType]
    generator = torch.Generator().manual_seed(3)
    betas = torch.randn(shape, dtype=torch.float64, generator=generator).requires_grad_()
    noise = 0.02 * torch.randn(4, 29, 3, dtype=torch.float64, generator=generator)
    keypoints = skeleton.rest_joints(betas.detach()) + noise
    twist = torch.zeros(24, dtype=torch.float64)
    (found,) = torch.autograd.grad(_loss(layer(keypoints, twist, betas)).sum(), betas)
    through = layer(keypoints, twist, offsets=layer.offsets(betas))
    (wanted,) = torch.autograd.grad(_loss(through).sum(), betas)
    torch.testing.assert_close(found, wanted)  # sums in another order


def test_a_skeleton_that_is_learned_gets_its_gradient() -> None:
    body = load_default_body(dtype=torch.float64)
    skeleton = Skeleton.from_body(body)
    scale = torch.ones((), dtype=torch.float64, requires_grad=True)
    learned = replace(skeleton, joints_template=scale * skeleton.joints_template)
    betas = torch.zeros(10, dtype=torch.float64)
    keypoints = skeleton.rest_joints(betas) + 0.02 * torch.randn(24, 3, dtype=torch.float64)
    result = IKOLLayer(learned)(keypoints, torch.zeros(19, dtype=torch.float64), betas)
    (found,) = torch.autograd.grad(_loss(result), scale)
    assert float(found.abs()) > 0


def test_a_second_derivative_is_refused(body_layer: IKOLLayer) -> None:
    keypoints = body_layer.offsets().cumsum(-2).requires_grad_()
    loss = _loss(body_layer(keypoints, torch.zeros(24, dtype=torch.float64))).square()
    (first,) = torch.autograd.grad(loss, keypoints, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiate twice"):
        torch.autograd.backward(first.sum())


@pytest.mark.parametrize("backend", BACKENDS)
def test_autocast_leaves_the_derivative_alone(backend: str) -> None:
    body = load_default_body()
    config = DirectionConfig(backend=backend)  # pyright: ignore[reportArgumentType]
    layer = IKOLLayer(Skeleton.from_body(body).with_ends(end_points(body)), config)
    keypoints = layer.offsets().cumsum(-2)
    found: list[Tensor] = []
    for enabled in (False, True):
        betas = torch.full((10,), 0.5, requires_grad=True)
        with torch.autocast("cpu", enabled=enabled):
            rotmat = layer(keypoints, torch.zeros(24), betas).local_rotmat
            found += torch.autograd.grad(rotmat[:, 0].sum(), betas)
    assert torch.equal(*found)


def test_layer_takes_its_own_shape_without_betas(body_layer: IKOLLayer) -> None:
    body = load_default_body(dtype=torch.float64)
    betas = torch.full((10,), 0.7, dtype=torch.float64)
    layer = IKOLLayer(Skeleton.from_body(body, betas).with_ends(end_points(body)))
    torch.testing.assert_close(layer.offsets(), body_layer.offsets(betas))
    assert layer.to(torch.float32).offsets().dtype == torch.float32


def test_betas_beside_offsets_are_refused(body_layer: IKOLLayer) -> None:
    keypoints, twist = torch.zeros(29, 3, dtype=torch.float64), torch.zeros(24, dtype=torch.float64)
    with pytest.raises(InputError, match="betas and offsets were given"):
        body_layer(keypoints, twist, keypoints.new_zeros(10), offsets=keypoints)


def test_ends_of_another_body_are_refused() -> None:
    body = load_default_body(dtype=torch.float64)
    ends = end_points(body)
    fewer = replace(ends, shapedirs=ends.shapedirs[..., :4])
    with pytest.raises(InputError, match="a skeleton of 10 betas needs ends of as many, got 4"):
        Skeleton.from_body(body).with_ends(fewer)


def test_layer_says_what_it_is_for(body_layer: IKOLLayer) -> None:
    assert "nodes=29, betas=10" in repr(body_layer)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("backward", ["implicit", "one_step", "unrolled"])
@pytest.mark.parametrize("batch", [(0,), (2, 0)])
def test_an_empty_batch_goes_both_ways(backend: str, backward: str, batch: tuple[int, ...]) -> None:
    body = load_default_body()
    config = DirectionConfig(backend=backend, backward=backward)  # pyright: ignore[reportArgumentType]
    layer = IKOLLayer(Skeleton.from_body(body).with_ends(end_points(body)), config)
    keypoints, betas = torch.zeros(*batch, 29, 3, requires_grad=True), torch.zeros(*batch, 10, requires_grad=True)
    result = layer(keypoints, torch.zeros(*batch, 24), betas)
    assert result.local_rotmat.shape == (*batch, 24, 3, 3)
    assert result.status.shape == batch
    found = torch.autograd.grad(result.local_rotmat.sum() + result.root.sum(), (keypoints, betas))
    assert [each.shape for each in found] == [keypoints.shape, betas.shape]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("backward", ["implicit", "one_step", "unrolled"])
def test_the_type_that_torch_takes_without_being_asked_does_not_matter(backend: str, backward: str) -> None:
    case = make_case(6, seed=4, max_angle=1.0, noise=0.03, dtype=torch.float32)
    weights = torch.ones(29)
    weights[[1, 2, 20]] = 0.0  # hips and a wrist: forks are searched
    found: list[Tensor] = []
    before = torch.get_default_dtype()
    try:
        for dtype in (torch.float32, torch.float64):
            torch.set_default_dtype(dtype)
            layer = _layer(case.tree, backend=backend, backward=backward).to(torch.float32)
            keypoints = case.keypoints.clone().requires_grad_()
            result = _solve(layer, keypoints, case.offsets, case.twist, weights)
            (gradient,) = torch.autograd.grad(result.local_rotmat[..., 0, 0].sum(), keypoints)
            found += [result.local_rotmat, gradient]
    finally:
        torch.set_default_dtype(before)
    # constants such as 0.05 are rounded later
    torch.testing.assert_close(found[2], found[0], rtol=0.0, atol=1e-4)
    assert found[3].dtype == torch.float32
