# SPDX-License-Identifier: Apache-2.0
"""The layer as a part of somebody's training: the import, compiled networks, autocast, DDP, memory, the example."""

import gc
import os
import runpy
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import torch
from torch import nn

from ikol.body import load_default_body
from ikol.body.ends import end_points
from ikol.solver import Skeleton
from ikol.solver.directions import DirectionConfig, IKOLLayer

ROOT = Path(__file__).parents[4]


def make_layer(**settings) -> IKOLLayer:
    body = load_default_body()
    return IKOLLayer(Skeleton.from_body(body).with_ends(end_points(body)), DirectionConfig(**settings))


class Network(nn.Module):
    """Some features to keypoints near the rest pose, twists and shape, then rotations."""

    def __init__(self, **settings) -> None:
        super().__init__()
        self.layer = make_layer(**settings)
        self.linear = nn.Linear(8, 29 * 3 + 24 + 10)
        nn.init.normal_(self.linear.weight, std=0.02, generator=torch.Generator().manual_seed(0))
        nn.init.zeros_(self.linear.bias)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        keypoints, twist, betas = self.linear(features).float().split((29 * 3, 24, 10), dim=-1)
        rest = self.layer.own_offsets.cumsum(-2)
        return self.layer(rest + keypoints.unflatten(-1, (29, 3)), twist, betas).local_rotmat


def features(*batch: int) -> torch.Tensor:
    return torch.randn(*batch, 8, generator=torch.Generator().manual_seed(1))


def gradient(network: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    weight = network.linear.weight
    weight.grad = None
    network(inputs).square().mean((-1, -2))[..., 1].mean().backward()
    target = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
    (network(inputs) - target).square().mean().backward()
    assert weight.grad is not None
    return weight.grad.clone()


def test_the_layer_is_at_the_top_and_torch_is_not_loaded_for_that():
    code = "import sys, ikol; assert 'torch' not in sys.modules; print(ikol.IKOLLayer.__module__)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "ikol.solver.directions.layer", done.stderr


def test_a_name_that_is_not_there_is_an_attribute_error():
    import ikol

    with pytest.raises(AttributeError, match="no attribute 'IKOLayer'"):
        _ = ikol.IKOLayer


def test_the_example_learns():
    found = runpy.run_path(str(ROOT / "docs/examples/train_through_layer.py"))
    # 64 degrees at the start; poses are 24 degrees from rest, so that much less says that depth is learned
    assert float(found["degrees"]) < 18.0


COMPILED = """
import sys, warnings
sys.path[:0] = [{root!r}, {here!r}]
import torch
from test_layer_in_training import Network, features, gradient
torch.set_num_threads(1)
plain, inputs = gradient(Network(), features(6)), features(6)
for backend in ("eager", "aot_eager"):
    torch._dynamo.reset()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        torch.testing.assert_close(gradient(torch.compile(Network(), backend=backend), inputs), plain)
    assert not said, said[0]  # dynamo warns where it comes upon the library's pointers
"""


def test_a_compiled_network_around_the_layer_has_the_same_gradient():
    # in a process of its own: dynamo cannot trace the run-time check of annotations that the tests put into ikol
    code = COMPILED.format(root=str(ROOT), here=str(Path(__file__).parent))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=110)
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_network_under_autocast_trains_through_the_layer_in_float32():
    network = Network()
    expected = gradient(network, features(16))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert network(features(16)).dtype == torch.float32
        found = gradient(network, features(16))
    # bfloat16 keeps 8 bits of the keypoints' offsets and of the gradient's sums
    assert float((found - expected).norm() / expected.norm()) < 0.05


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_under_autocast_is_solved_in_float32(dtype):
    layer = make_layer()
    linear = nn.Linear(8, 29 * 3 + 24 + 10)
    with torch.autocast("cpu", dtype=dtype):
        said = linear(features(4))
        assert said.dtype == dtype
        parts = said.split((29 * 3, 24, 10), dim=-1)
        found = layer(parts[0].unflatten(-1, (29, 3)), *parts[1:], weights=said.new_ones(4, 29)).local_rotmat
    wanted = layer(parts[0].float().unflatten(-1, (29, 3)), *(part.float() for part in parts[1:])).local_rotmat
    assert torch.equal(found, wanted)
    (found - torch.eye(3)[[1, 2, 0]]).square().sum().backward()
    assert linear.weight.grad.isfinite().all()
    assert linear.weight.grad.any()


@pytest.mark.parametrize("batch", [(), (1,), (5,), (2, 3), (2, 1, 3)])
def test_a_batch_of_any_shape_trains(batch):
    assert gradient(Network(), features(*batch)).isfinite().all()


WORKER = """
import os, sys, torch, torch.distributed as dist
sys.path[:0] = [{root!r}, {here!r}]
torch.set_num_threads(1)
from test_layer_in_training import Network, features, gradient
from torch.nn.parallel import DistributedDataParallel
rank = int(sys.argv[1])
dist.init_process_group("gloo", init_method="file://" + sys.argv[2], rank=rank, world_size=2)
network = Network()
ddp = DistributedDataParallel(network)
half = features(8)[4 * rank : 4 * rank + 4]
weight = network.linear.weight
(ddp(half) - torch.eye(3)[[1, 2, 0]]).square().mean().backward()
torch.save(weight.grad, sys.argv[3] + str(rank))
dist.barrier()
dist.destroy_process_group()
# gloo's threads live on: torch 2.13 never frees the group of a DDP module. One of them that still has something to
# release while the interpreter is taken down ends the process with SIGABRT, so it is not taken down.
os._exit(0)
"""


def test_two_processes_have_the_gradient_of_one_with_the_whole_batch(tmp_path):
    code = WORKER.format(root=str(ROOT), here=str(Path(__file__).parent))
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(rank), str(tmp_path / "meet"), str(tmp_path / "gradient")],
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for rank in range(2)
    ]
    errors = [worker.communicate(timeout=100)[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], errors
    network = Network()
    (network(features(8)) - torch.eye(3)[[1, 2, 0]]).square().mean().backward()
    for rank in range(2):
        found = torch.load(tmp_path / f"gradient{rank}", weights_only=True)
        # both solves stop within 5e-5 rad of the optimum, and the sums are in another order
        torch.testing.assert_close(found, network.linear.weight.grad, rtol=1e-3, atol=1e-6)


def kept_bytes(iterations: int) -> int:
    """Return how much memory the graph of one forward pass holds on to."""
    network = Network(max_iterations=iterations)
    inputs = features(64).requires_grad_()
    held: list[int] = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        held.append(tensor.untyped_storage().nbytes())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        network(inputs)
    return sum(held)


def test_what_is_kept_for_the_backward_does_not_grow_with_iterations():
    few, many = kept_bytes(3), kept_bytes(50)
    assert few == many, f"{few} bytes for 3 iterations, {many} for 50"


def test_memory_does_not_grow_with_training_steps():
    network, inputs = Network(), features(256)
    process = psutil.Process()

    def train(steps: int) -> int:
        for _ in range(steps):
            gradient(network, inputs)
        gc.collect()
        return process.memory_info().rss

    train(20)
    before = train(20)
    after = train(60)
    # one kept result of 256 items is 256 * 24 * 9 * 4 bytes = 221 kB, so 60 of them would be 13 MB
    assert after - before < 8e6, f"{(after - before) / 1e6:.1f} MB more after 60 steps"


@pytest.mark.parametrize("changed", ["keypoints", "twist", "rotations"])
def test_what_was_changed_in_place_is_not_differentiated(changed):
    layer = make_layer()
    keypoints = layer.own_offsets.cumsum(-2).clone().requires_grad_()
    twist = torch.zeros(24, requires_grad=True)
    rotmat = layer(keypoints, twist).local_rotmat
    loss = rotmat.sum()
    with torch.no_grad():
        {"keypoints": keypoints, "twist": twist, "rotations": rotmat}[changed].add_(0.1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        torch.autograd.backward(loss)


@pytest.mark.parametrize("case", ["rest pose", "straight limbs", "zero weights", "missing joints", "all in one point"])
@pytest.mark.parametrize("backward", ["implicit", "one_step", "unrolled"])
def test_gradients_are_finite_where_it_is_hard(case, backward):
    layer = make_layer(backward=backward)
    keypoints = layer.own_offsets.cumsum(-2).expand(3, 29, 3).clone()
    weights = torch.ones(3, 29)
    match case:
        case "straight limbs":
            keypoints[:, 16:] *= 1.3  # further than the limbs reach, in the same direction
        case "zero weights":
            weights.zero_()
        case "missing joints":
            weights[:, [4, 5, 18, 19, 9]] = 0.0
            keypoints[:, [4, 5, 18, 19, 9]] = torch.nan
        case "all in one point":
            keypoints.zero_()
    leaves = [keypoints.requires_grad_(), torch.zeros(3, 24, requires_grad=True), torch.zeros(3, 10).requires_grad_()]
    result = layer(*leaves, weights.requires_grad_())
    loss = (result.local_rotmat * torch.arange(9.0).reshape(3, 3)).sum() + result.root.sum()
    for value in torch.autograd.grad(loss, [*leaves, weights]):
        assert value.isfinite().all()
