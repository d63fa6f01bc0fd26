# SPDX-License-Identifier: Apache-2.0
"""The public function: checks its input, chooses a backend, attaches the derivative.

Imports: torch, the skeleton, ikol.errors, the modules beside it.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from ikol.body.joint_tree import JointTree
from ikol.errors import InputError
from ikol.solver.cuda_compiler import Kernel
from ikol.solver.directions import cuda, native, reference, search
from ikol.solver.directions.config import TOLERANCE, DirectionConfig, DirectionResult
from ikol.solver.directions.native import Arrays, Library
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
    if torch.is_autocast_enabled(keypoints.device.type):
        with torch.autocast(keypoints.device.type, enabled=False):
            return solve_directions(tree, keypoints, offsets, twist, weights=weights, config=config)
    joints = joints_of(tree)
    _check_shapes(tree, len(joints), keypoints, offsets, twist, weights)
    wants_gradient = torch.is_grad_enabled() and any(
        tensor is not None and tensor.requires_grad for tensor in (keypoints, offsets, twist, weights)
    )
    library = _library(tree, keypoints, config)
    if not wants_gradient:
        arrays = _arrays(Arrays(keypoints, offsets, weights, twist), contiguous=library is not None)
        return _forward(tree, len(joints), library, arrays, config)
    if config.backward == "unrolled":
        return _unrolled(tree, Arrays(keypoints, offsets, weights, twist), config)
    return DirectionResult(*_Implicit.apply(keypoints, offsets, weights, twist, tree, library, config))


class _Implicit(torch.autograd.Function):
    """The optimum as a function, differentiated by the implicit function theorem."""

    @staticmethod
    def forward(ctx, keypoints, offsets, weights, twist, tree, library, config):  # pyright: ignore
        arrays = _arrays(Arrays(keypoints, offsets, weights, twist), contiguous=library is not None)
        result = _forward(tree, len(joints_of(tree)), library, arrays, config)
        solved = (arrays.keypoints, arrays.offsets, arrays.weights, arrays.twist)
        ctx.save_for_backward(*solved, result.local_rotmat, result.root, result.status)
        shapes = tuple(None if each is None else each.shape for each in (keypoints, offsets, weights, twist))
        ctx.rest = tree, library, config, shapes
        ctx.mark_non_differentiable(result.cost, result.status, result.iterations)
        ctx.set_materialize_grads(False)
        return result.local_rotmat, result.root, result.cost, result.status, result.iterations

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_rotmat, grad_root, *_unused):  # pyright: ignore
        keypoints, offsets, weights, twist, rotmat, root, status = ctx.saved_tensors
        tree, library, config, shapes = ctx.rest
        gradients = (
            torch.zeros_like(rotmat) if grad_rotmat is None else grad_rotmat.contiguous(),
            torch.zeros_like(root) if grad_root is None else grad_root.contiguous(),
        )
        arrays = Arrays(keypoints, offsets, weights, twist)
        result = DirectionResult(rotmat, root, root[..., 0], status, status)
        if isinstance(library, Kernel):
            library = cuda.find_kernel(tree.parents, keypoints.dtype, keypoints.device, backward=True)
        if library is None or config.backward == "one_step":
            tables, newton = _tables(tree, keypoints), config.backward != "one_step"
            found = reference.differentiate(tables, arrays, result, gradients, config.hold_root, newton=newton)
        elif isinstance(library, Kernel):
            found = cuda.differentiate_cuda(library, tree.parents, arrays, result, gradients, config.hold_root)
        else:
            found = native.differentiate_native(library, tree.parents, arrays, result, gradients, config.hold_root)
        if weights is not None:  # what is missing has no target to be drawn to
            found = (*found[:2], torch.where(weights != 0, found[2], 0.0), found[3])
        sums = (
            value if value.shape == shape else value.sum_to_size(shape) if is_needed else None
            for value, shape, is_needed in zip(found, shapes, ctx.needs_input_grad, strict=False)
        )
        return (*sums, None, None, None)


def _forward(
    tree: JointTree, num_joints: int, library: Library | Kernel | None, arrays: Arrays, config: DirectionConfig
) -> DirectionResult:
    if library is not None:
        if isinstance(library, Kernel):
            return cuda.solve_cuda(library, tree.parents, num_joints, arrays, config)
        return native.solve_native(library, tree.parents, num_joints, arrays, config)
    with torch.no_grad():
        _check_values(arrays, config)
        return search.solve(_tables(tree, arrays.keypoints), arrays, config)


def _unrolled(tree: JointTree, arrays: Arrays, config: DirectionConfig) -> DirectionResult:
    arrays = _arrays(arrays, contiguous=False)
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


def _arrays(arrays: Arrays, *, contiguous: bool) -> Arrays:
    """Give every input the keypoints' batch dimensions, or none; contiguous where the kernel reads them."""
    batch = arrays.keypoints.shape[:-2]

    def fit(tensor: Tensor, own: int) -> Tensor:
        lead = tensor.shape[: tensor.ndim - own]
        if lead and math.prod(lead) == 1 and lead != batch:
            tensor = tensor.reshape(tensor.shape[tensor.ndim - own :])
        elif lead and lead != batch:
            tensor = tensor.expand(*batch, *tensor.shape[tensor.ndim - own :])
        return tensor.contiguous() if contiguous else tensor

    keypoints = arrays.keypoints.contiguous() if contiguous else arrays.keypoints
    weights = None if arrays.weights is None else fit(arrays.weights, 1)
    return Arrays(keypoints=keypoints, offsets=fit(arrays.offsets, 2), weights=weights, twist=fit(arrays.twist, 1))


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
        lead = tensor.shape[: max(tensor.ndim - len(own), 0)]
        if tensor.shape[-len(own) :] != own or (lead != batch and lead and not _broadcasts(lead, batch)):
            raise InputError(
                f"{name} must have shape (*batch, {', '.join(map(str, own))}) for this skeleton of {nodes} nodes, "
                f"{num_joints} of them with children, with a batch that fits the keypoints', got {tuple(tensor.shape)}"
            )
        if tensor.dtype != keypoints.dtype or tensor.device != keypoints.device:
            raise InputError(
                f"{name} is {tensor.dtype} on {tensor.device}, the keypoints are {keypoints.dtype} on "
                f"{keypoints.device}; convert one of them with .to()"
            )


def _broadcasts(lead: tuple[int, ...], batch: tuple[int, ...]) -> bool:
    return len(lead) <= len(batch) and all(
        size in (1, wanted) for size, wanted in zip(reversed(lead), reversed(batch), strict=False)
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
