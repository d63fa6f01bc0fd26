# SPDX-License-Identifier: Apache-2.0
"""The public function: checks its input, chooses a backend, attaches the derivative.

Imports: torch, the skeleton, ikol.errors, the modules beside it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ikol.body.joint_tree import JointTree
from ikol.errors import InputError
from ikol.solver.checks import broadcasts, check_tensor
from ikol.solver.cuda_compiler import Kernel
from ikol.solver.directions import cuda, native, reference, search
from ikol.solver.directions.config import TOLERANCE, DirectionConfig, DirectionResult
from ikol.solver.directions.native import Arrays, Library, Slopes, Solution
from ikol.solver.directions.tables import joints_of, make_tables

DEFAULT = DirectionConfig()


def solve_directions(
    tree: JointTree,
    keypoints: Float[Tensor, "*batch nodes 3"],
    offsets: Float[Tensor, "..."],
    twist: Float[Tensor, "..."],
    *,
    weights: Float[Tensor, "..."] | None = None,
    config: DirectionConfig = DEFAULT,
) -> DirectionResult:
    """Return the rotations that bring the joints of a skeleton nearest to keypoints, with given twists.

    Minimises 1/2 sum_k w_k |x_k - y_k|^2 over all bone directions and rotations, which does not depend on the twists,
    then builds local rotations that have them. Joints without children have no rotation; to turn hands, feet and the
    head give them a child keypoint. What the keypoints leave open (zero weights) stays near the rest pose.

    Args:
        tree: names and parents of all keypoints, K nodes of which J have children.
        keypoints: metres; not read where the weight is 0.
        offsets: (*batch, K, 3) or (K, 3) for all: from the parent in the rest pose, metres. The root's is not used.
        twist: (*batch, J) or (J,): radians about the bone, in R = swing twist. Not used where a joint has several
            children.
        weights: (*batch, K) or (K,); None: 1. With `hold_root` the root's is not used, and its keypoint is always read.
        config: settings.

    Returns:
        Rotations, the root's place, and how it ended. Never raises for not converging: see `status`.

    Raises:
        InputError: shapes, dtypes or devices do not fit, numbers are not finite, a weight is negative.

    Gradient: to keypoints, offsets, twist and weights, see `DirectionConfig.backward`. Bounded near swings of half a
    turn, where the derivative is infinite; zero along what the keypoints leave open and to weights of 0.
    Source: docs/solver.md.
    """
    check_tensor("keypoints", keypoints)
    if torch.is_autocast_enabled(keypoints.device.type):
        with torch.autocast(keypoints.device.type, enabled=False):
            return solve_directions(tree, keypoints, offsets, twist, weights=weights, config=config)
    return _solve(_Problem(tree, config), keypoints, offsets, twist, weights, offsets)


@dataclass(frozen=True, eq=False)
class Shape:
    """Rest bones that are linear in betas."""

    template: Float[Tensor, "nodes 3"]
    directions: Float[Tensor, "bones betas"]
    """Three rows for each node."""

    def offsets(self, betas: Float[Tensor, "*batch betas"]) -> Float[Tensor, "*batch nodes 3"]:
        """Return the bones."""
        flat = torch.nn.functional.linear(betas, self.directions, self.template.view(-1))
        return flat.view(*betas.shape[:-1], *self.template.shape)


def solve_shaped(
    tree: JointTree,
    keypoints: Float[Tensor, "*batch nodes 3"],
    shape: Shape,
    betas: Float[Tensor, "..."],
    twist: Float[Tensor, "..."],
    *,
    weights: Float[Tensor, "..."] | None = None,
    config: DirectionConfig = DEFAULT,
) -> DirectionResult:
    """Do what `solve_directions` does with the offsets of a shape; its derivative to the betas needs no graph.

    For few frames: there the graph of the offsets takes longer than the solve. Not for use under autocast.
    """
    offsets = shape.offsets(betas.detach())
    return _solve(_Problem(tree, config, shape), keypoints, offsets, twist, weights, betas)


@dataclass(eq=False)
class _Problem:
    """What a solve is given besides tensors, and what it tells besides its differentiable outputs."""

    tree: JointTree
    config: DirectionConfig
    shape: Shape | None = None
    num_joints: int = 0
    library: Library | Kernel | None = None
    ends: tuple[Tensor, Tensor, Tensor] | None = None
    """Cost, status, iterations."""


def _solve(
    problem: _Problem, keypoints: Tensor, offsets: Tensor, twist: Tensor, weights: Tensor | None, source: Tensor
) -> DirectionResult:
    """Solve; `source`: the offsets, or the betas that they are made from."""
    tree, config = problem.tree, problem.config
    problem.num_joints = len(joints_of(tree))
    _check_shapes(tree, problem.num_joints, keypoints, offsets, twist, weights)
    arrays = Arrays(keypoints, offsets, weights, twist)
    wants_gradient = torch.is_grad_enabled() and (
        keypoints.requires_grad
        or source.requires_grad
        or twist.requires_grad
        or (weights is not None and weights.requires_grad)
    )
    if wants_gradient and config.backward == "unrolled":
        if problem.shape is not None:
            arrays = arrays._replace(offsets=problem.shape.offsets(source))
        return _unrolled(tree, arrays, config)
    problem.library = _library(tree, keypoints, config)
    fitted = _fit(arrays, contiguous=problem.library is not None)
    if not wants_gradient:
        return _forward(problem, fitted)
    rotmat, root = _Implicit.apply(keypoints, source, weights, twist, problem, fitted)
    assert problem.ends is not None
    return DirectionResult(rotmat, root, *problem.ends)


class _Implicit(torch.autograd.Function):
    """The optimum as a function, differentiated by the implicit function theorem."""

    @staticmethod
    def forward(ctx, keypoints, source, weights, twist, problem, arrays):  # pyright: ignore
        result = _forward(problem, arrays)
        solved = (arrays.keypoints, arrays.offsets, arrays.weights, arrays.twist)
        ctx.save_for_backward(*solved, result.local_rotmat, result.root)
        ctx.problem = problem
        ctx.set_materialize_grads(False)
        problem.ends = (result.cost, result.status, result.iterations)
        return result.local_rotmat, result.root

    @staticmethod
    def backward(ctx, *gradients):  # pyright: ignore
        device = ctx.problem.ends[0].device.type
        if torch.is_grad_enabled() or torch.is_autocast_enabled(device):
            with torch.autocast(device, enabled=False):
                return _differentiate_once(ctx, *gradients)
        return _differentiate(ctx, *gradients)


def _differentiate(ctx, grad_rotmat, grad_root):  # pyright: ignore
    keypoints, offsets, weights, twist, rotmat, root = ctx.saved_tensors
    problem = ctx.problem
    gradients = (
        torch.zeros_like(rotmat) if grad_rotmat is None else grad_rotmat.contiguous(),
        None if grad_root is None else grad_root.contiguous(),
    )
    arrays, solution = Arrays(keypoints, offsets, weights, twist), Solution(rotmat, root, problem.ends[1])
    on_points, on_source, on_weights, on_twist = _derivative(problem, arrays, solution, gradients, ctx.needs_input_grad)
    if on_weights is not None and weights is not None:  # what is missing has no target to be drawn to
        on_weights = torch.where(weights != 0, on_weights, 0.0)
    if on_source is not None and problem.shape is not None:
        on_source = on_source.flatten(-2) @ problem.shape.directions
    return on_points, on_source, on_weights, on_twist, None, None  # autograd sums over what was the same for a batch


_differentiate_once = torch.autograd.function.once_differentiable(_differentiate)  # a second derivative raises


def _derivative(
    problem: _Problem,
    arrays: Arrays,
    solution: Solution,
    gradients: tuple[Tensor, Tensor | None],
    wanted: Sequence[bool],
) -> Slopes:
    """The derivative to those of keypoints, offsets, weights and twist that are wanted."""
    library, tree, config = problem.library, problem.tree, problem.config
    if isinstance(library, Kernel):
        library = cuda.find_kernel(tree.parents, arrays.keypoints.dtype, arrays.keypoints.device, backward=True)
    one_step = config.backward == "one_step"
    if library is None or (one_step and isinstance(library, Kernel)):
        tables = _tables(tree, arrays.keypoints)
        on_root = torch.zeros_like(solution.root) if gradients[1] is None else gradients[1]
        found = reference.differentiate(
            tables, arrays, solution, (gradients[0], on_root), config.hold_root, newton=not one_step
        )
        on_keypoints, on_offsets, on_weights, on_twist = (
            each if is_wanted else None for each, is_wanted in zip(found, wanted, strict=False)
        )
        return on_keypoints, on_offsets, on_weights, on_twist
    rest = (tree.parents, arrays, solution, gradients, config.hold_root, wanted)
    if isinstance(library, Kernel):
        return cuda.differentiate_cuda(library, *rest)
    return native.differentiate_native(library, *rest, one_step=one_step)


def _forward(problem: _Problem, arrays: Arrays) -> DirectionResult:
    library, tree, config = problem.library, problem.tree, problem.config
    if isinstance(library, Kernel):
        return cuda.solve_cuda(library, tree.parents, problem.num_joints, arrays, config)
    if library is not None:
        return native.solve_native(library, tree.parents, problem.num_joints, arrays, config)
    with torch.no_grad():
        _check_values(arrays, config)
        return search.solve(_tables(tree, arrays.keypoints), arrays, config)


def _unrolled(tree: JointTree, arrays: Arrays, config: DirectionConfig) -> DirectionResult:
    arrays = _fit(arrays, contiguous=False)
    with torch.no_grad():
        _check_values(arrays, config)
    return reference.unroll(_tables(tree, arrays.keypoints), arrays, config)


def _tables(tree: JointTree, like: Tensor) -> reference.Tables:
    return make_tables(tree, like.device, like.dtype)


def _library(tree: JointTree, keypoints: Tensor, config: DirectionConfig) -> Library | Kernel | None:
    if config.backend == "torch":
        return None
    library = None
    if keypoints.device.type == "cpu" and keypoints.dtype in TOLERANCE:
        library = native.find_library()
    elif keypoints.device.type == "cuda" and keypoints.dtype in TOLERANCE:
        library = cuda.find_kernel(tree.parents, keypoints.dtype, keypoints.device)
    if library is None and config.backend == "native":
        raise InputError(
            f"the compiled solver takes float32 and float64, on the CPU with its library at {native.library_path()} "
            f"or on a GPU of NVIDIA's with the compiler NVRTC, got {keypoints.dtype} on {keypoints.device}; "
            "use backend='auto'"
        )
    return library


def _fit(arrays: Arrays, *, contiguous: bool) -> Arrays:
    """Give every input the keypoints' batch dimensions, or none; contiguous where the kernel reads them."""
    batch = arrays.keypoints.shape[:-2]

    def fit(tensor: Tensor, own: int) -> Tensor:
        lead = tensor.shape[:-own]
        if lead and lead != batch:
            tensor = (
                tensor.reshape(tensor.shape[-own:])
                if math.prod(lead) == 1
                else tensor.expand(*batch, *tensor.shape[-own:])
            )
        return tensor.contiguous() if contiguous else tensor

    return Arrays(
        keypoints=arrays.keypoints.contiguous() if contiguous else arrays.keypoints,
        offsets=fit(arrays.offsets, 2),
        weights=None if arrays.weights is None else fit(arrays.weights, 1),
        twist=fit(arrays.twist, 1),
    )


def _check_shapes(
    tree: JointTree, num_joints: int, keypoints: Tensor, offsets: Tensor, twist: Tensor, weights: Tensor | None
) -> None:
    nodes = tree.num_joints
    wanted = (
        ("keypoints", keypoints, (nodes, 3)),
        ("offsets", offsets, (nodes, 3)),
        ("twist", twist, (num_joints,)),
        ("weights", weights, (nodes,)),
    )
    if keypoints.dtype not in TOLERANCE:
        raise InputError(f"keypoints must be float32 or float64, got {keypoints.dtype}; convert them with .to()")
    batch = keypoints.shape[:-2]
    for name, tensor, own in wanted:
        if tensor is None:
            continue
        check_tensor(name, tensor)
        shape = tensor.shape
        lead = shape[: -len(own)]
        if shape[-len(own) :] != own or (lead and lead != batch and not broadcasts(lead, batch)):
            raise InputError(
                f"{name} must have shape (*batch, {', '.join(map(str, own))}) for this skeleton of {nodes} nodes, "
                f"{num_joints} of them with children, with a batch that fits the keypoints', got {tuple(tensor.shape)}"
            )
        if tensor.dtype != keypoints.dtype or tensor.device != keypoints.device:
            raise InputError(
                f"{name} is {tensor.dtype} on {tensor.device}, the keypoints are {keypoints.dtype} on "
                f"{keypoints.device}; convert one of them with .to()"
            )


def _check_values(arrays: Arrays, config: DirectionConfig) -> None:
    """As the kernel does while it reads."""
    keypoints, weights = arrays.keypoints, arrays.weights
    if weights is not None:
        is_read = weights != 0
        if config.hold_root:
            is_read = is_read.clone()
            is_read[..., 0] = True
        keypoints = torch.where(is_read[..., None], keypoints, 0.0)
    values = (keypoints, arrays.offsets[..., 1:, :], arrays.twist, *(() if weights is None else (weights,)))
    if not all(bool(torch.isfinite(each).all()) for each in values) or (
        weights is not None and bool((weights < 0).any())
    ):
        raise InputError(native.INVALID_VALUES)
