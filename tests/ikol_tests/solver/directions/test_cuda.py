# SPDX-License-Identifier: Apache-2.0
"""The GPU's kernel without a GPU: its source compiled for the CPU against the CPU's kernel, and by NVRTC for real."""

import logging
from pathlib import Path

import gpu_emulation
import native_build
import pytest
import torch
from keypoint_trees import Case, make_case, random_tree
from torch import Tensor

from ikol.body.joint_tree import JointTree
from ikol.errors import InputError
from ikol.solver.cuda_compiler import CudaError, Kernel, compile_source
from ikol.solver.directions import DirectionConfig, cuda, native, reference, search, solve_directions
from ikol.solver.directions import solve as solve_module
from ikol.solver.directions.tables import joints_of, make_tables

DTYPES = (torch.float32, torch.float64)
HOPPER = (9, 0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if native_build.find_any_compiler() is None:
        pytest.skip(reason="no C++ compiler")
    return tmp_path_factory.mktemp("gpu")


@pytest.fixture
def emulated(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let solve_directions take the emulated GPU."""
    built: dict[object, Kernel] = {}

    def find(parents: tuple[int, ...], dtype: torch.dtype, _device: torch.device, *, backward: bool = False) -> Kernel:
        key = (parents, dtype, backward)
        if key not in built:
            source = cuda.kernel_source(parents, dtype, backward=backward)
            place = folder / f"{abs(hash(key))}"
            built[key] = gpu_emulation.emulate(source, "ikol_tree", "ikol_tree_call", cuda.BLOCK, place)
        return built[key]

    monkeypatch.setattr(cuda, "find_kernel", find)
    monkeypatch.setattr(
        solve_module, "_library", lambda tree, keypoints, _config: find(tree.parents, keypoints.dtype, keypoints.device)
    )


def _weights(case: Case, *, some_missing: bool) -> Tensor | None:
    if not some_missing:
        return None
    generator = torch.Generator().manual_seed(4)
    shape = case.keypoints.shape[:-1]
    known = torch.rand(shape, generator=generator) > 0.1
    return (known * (0.2 + torch.rand(shape, generator=generator))).to(case.keypoints.dtype)


@pytest.mark.usefixtures("emulated")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("hold_root", [True, False])
@pytest.mark.parametrize("some_missing", [True, False])
def test_kernel_finds_what_the_cpu_finds(dtype: torch.dtype, hold_root: bool, some_missing: bool) -> None:
    case = make_case(150, seed=3, max_angle=1.5, noise=0.01, dtype=dtype)  # not a multiple of the block
    weights = _weights(case, some_missing=some_missing)
    config = DirectionConfig(hold_root=hold_root)
    found = solve_directions(case.tree, case.keypoints, case.offsets, case.twist, weights=weights, config=config)
    library = native.find_library()
    assert library is not None
    arrays = native.Arrays(case.keypoints, case.offsets, weights, case.twist)
    wanted = native.solve_native(library, case.tree.parents, case.twist.shape[-1], arrays, config)
    assert torch.equal(found.status, wanted.status)
    # rounding decides when a solve ends: a step of the tolerance, squared, is the difference in cost
    error = float(((found.cost - wanted.cost) / wanted.cost.clamp_min(1e-9)).abs().max())
    assert error < (1e-11 if dtype == torch.float64 else 1e-4), error
    median = float((found.local_rotmat - wanted.local_rotmat).abs().amax((-1, -2, -3)).median())
    assert median < (1e-8 if dtype == torch.float64 else 1e-3), median


@pytest.mark.usefixtures("emulated")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("hold_root", [True, False])
def test_derivative_is_that_of_the_cpu(dtype: torch.dtype, hold_root: bool) -> None:
    case = make_case(70, seed=5, max_angle=1.0, noise=0.01, dtype=dtype)
    library = native.find_library()
    assert library is not None
    weights = _weights(case, some_missing=True)
    arrays = native.Arrays(case.keypoints, case.offsets, weights, case.twist)
    parents, config = case.tree.parents, DirectionConfig(hold_root=hold_root)
    result = native.solve_native(library, parents, case.twist.shape[-1], arrays, config)
    generator = torch.Generator().manual_seed(6)
    shapes = (result.local_rotmat.shape, result.root.shape)
    gradients = [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in shapes]
    kernel = cuda.find_kernel(parents, dtype, torch.device("cpu"), backward=True)
    assert kernel is not None
    rest = (parents, arrays, result, (gradients[0], gradients[1]), hold_root)
    found, wanted = cuda.differentiate_cuda(kernel, *rest), native.differentiate_native(library, *rest)
    lengths = torch.stack([each.flatten(1).norm(dim=1) for each in wanted])
    errors = torch.stack([(a - b).flatten(1).norm(dim=1) for a, b in zip(found, wanted, strict=True)]) / lengths
    # rounding, through Hessians with condition numbers of about 1e4 where keypoints are missing
    assert float(errors.median()) < (1e-13 if dtype == torch.float64 else 1e-5), errors.median()
    # not the largest: rounding also decides which nearly unseen directions are left out of the derivative
    assert float(errors.quantile(0.9)) < (1e-11 if dtype == torch.float64 else 1e-3), errors.quantile(0.9)


@pytest.mark.usefixtures("emulated")
def test_layer_trains_through_the_kernel() -> None:
    case = make_case(5, seed=7, max_angle=1.0, noise=0.01)
    on_rotmat = torch.randn(5, 24, 3, 3, generator=torch.Generator().manual_seed(8), dtype=torch.float64)
    keypoints = case.keypoints.clone().requires_grad_()
    (on_rotmat * solve_directions(case.tree, keypoints, case.offsets, case.twist).local_rotmat).sum().backward()
    assert keypoints.grad is not None
    tables = make_tables(case.tree, keypoints.device, keypoints.dtype)
    arrays = native.Arrays(case.keypoints, case.offsets, torch.ones_like(case.keypoints[..., 0]), case.twist)
    result = search.solve(tables, arrays, DirectionConfig())
    wanted = reference.differentiate(tables, arrays, result, (on_rotmat, torch.zeros_like(result.root)), False)[0]
    error = float((keypoints.grad - wanted).norm() / wanted.norm())
    assert error < 1e-7, error  # both are as exact as their optimum


@pytest.mark.usefixtures("emulated")
def test_a_random_tree_with_shared_inputs_is_solved() -> None:
    tree, offsets = random_tree(40, seed=9)
    generator = torch.Generator().manual_seed(1)
    keypoints = 0.3 * torch.randn(2, 35, 40, 3, generator=generator, dtype=torch.float64)
    twist = torch.randn(len(joints_of(tree)), generator=generator, dtype=torch.float64)
    found = solve_directions(tree, keypoints, offsets, twist)
    wanted = native.solve_native(
        native.find_library() or pytest.fail("no library"),
        tree.parents,
        len(joints_of(tree)),
        native.Arrays(keypoints.contiguous(), offsets, None, twist),
        DirectionConfig(),
    )
    # targets far out of reach have many optima; nearly all solves take the same way to the same one
    same = ((found.cost - wanted.cost).abs() < 1e-9 * wanted.cost).double().mean()
    assert float(same) > 0.9, same


@pytest.mark.usefixtures("emulated")
def test_values_that_are_not_finite_are_refused() -> None:
    case = make_case(3, seed=0)
    keypoints = case.keypoints.clone()
    keypoints[1, 4, 0] = torch.nan
    with pytest.raises(InputError, match="must be finite"):
        solve_directions(case.tree, keypoints, case.offsets, case.twist)


@pytest.mark.usefixtures("emulated")
def test_no_frames_need_no_launch() -> None:
    case = make_case(3, seed=0)
    assert solve_directions(case.tree, case.keypoints[:0], case.offsets, case.twist[:0]).root.shape == (0, 3)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("backward", [False, True])
def test_nvrtc_compiles_the_kernel_for_hopper(dtype: torch.dtype, backward: bool) -> None:
    source = cuda.kernel_source(make_case(1, seed=0).tree.parents, dtype, backward=backward)
    try:
        compiled = compile_source(source, HOPPER, ("--ptxas-options=-v",))
    except CudaError as error:
        if "was not found" in str(error):
            pytest.skip(reason="NVRTC is not installed: pip install nvidia-cuda-nvrtc")
        raise
    assert compiled.cubin.startswith(b"\x7fELF")
    assert "error" not in compiled.log


def test_without_the_compiler_torch_takes_over_with_one_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def missing(_device: torch.device) -> None:
        raise CudaError("NVRTC was not found")

    monkeypatch.setattr(torch.cuda, "get_device_properties", missing)
    monkeypatch.setattr(cuda, "_LOGGER", logging.getLogger("ikol.test"))
    cuda._warn_once.cache_clear()
    tree = JointTree(("a", "b"), (-1, 0))
    with caplog.at_level(logging.WARNING):
        found = [cuda.find_kernel(tree.parents, dtype, torch.device("cuda", 0)) for dtype in DTYPES]
    cuda.find_kernel.cache_clear()
    assert found == [None, None]
    assert len(caplog.records) == 1
    assert "PyTorch takes its place" in caplog.text
