#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compare the layer's derivatives: unrolled (GN-Diff), implicit, one step: time, memory, error, what they train.

Time, memory and error are those of the layer alone, with the test set's keypoints and noise; the error is against
differences of the converged solution along random directions, in float64.
"""

import time
from collections.abc import Callable
from statistics import median

import torch
from measures import POSE_COLUMNS, Numbers, table
from study import body, read_study, test_batch
from torch import Tensor
from variants import train_and_measure

from ikol.solver.directions import DirectionConfig, IKOLLayer
from ikol.training.network.config import Layer
from ikol.training.network.posing import PosingLayer, skeleton_29

CONFIGS = {
    "implicit": DirectionConfig(hold_root=True),
    "one step": DirectionConfig(hold_root=True, backward="one_step"),
    **{
        f"unrolled, {steps} step{'s' if steps > 1 else ''}": DirectionConfig(
            hold_root=True, backward="unrolled", unrolled_steps=steps
        )
        for steps in (1, 2, 5, 10, 20)
    },
}
NOISES = (10.0, 30.0)  # mm an axis
REPEATS, DIRECTIONS, STEP = 7, 16, 1e-5  # a step of 10 micrometres is known to 1e-10 and curved by less than 1e-8


def timed(run: Callable[[], Tensor]) -> tuple[float, float]:
    """Return the shortest processor time of a pass and of its backward, ms."""
    forward: list[float] = []
    backward: list[float] = []
    for _ in range(REPEATS):
        begun = time.process_time()
        loss = run()
        between = time.process_time()
        loss.backward()
        forward.append(between - begun)
        backward.append(time.process_time() - between)
    return 1000 * min(forward), 1000 * min(backward)


def kept_bytes(run: Callable[[], Tensor]) -> int:
    """Return what the graph of a pass holds on to."""
    storages: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = run()
    del loss
    return sum(storages.values())


def layer_row(config: DirectionConfig, keypoints: Tensor, twist: Tensor, betas: Tensor) -> Numbers:
    """Return time and memory in float32."""
    layer = IKOLLayer(skeleton_29(body()), config)
    leaf = keypoints.clone().requires_grad_()
    wanted = torch.randn(len(keypoints), twist.shape[1], 3, 3, generator=torch.Generator().manual_seed(0))

    def run() -> Tensor:
        return (layer(leaf, twist, betas).local_rotmat * wanted).sum()

    forward, backward = timed(run)
    return {"forward": forward, "backward": backward, "memory": kept_bytes(run) / len(keypoints) / 1000}


def gradient_errors(keypoints: Tensor, twist: Tensor, betas: Tensor) -> dict[str, float]:
    """Return each derivative's error relative to differences of the solution, in per cent, medians over samples."""
    keypoints, twist, betas = keypoints.double(), twist.double(), betas.double()
    skeleton = skeleton_29(body().to(dtype=torch.float64))
    generator = torch.Generator().manual_seed(0)
    wanted = torch.randn(len(keypoints), twist.shape[1], 3, 3, generator=generator, dtype=torch.float64)
    moves = torch.randn(DIRECTIONS, *keypoints.shape, generator=generator, dtype=torch.float64)
    moves[:, :, 0] = 0.0
    exact = IKOLLayer(skeleton, CONFIGS["implicit"])

    def value(points: Tensor) -> Tensor:
        return (exact(points, twist, betas).local_rotmat * wanted).sum((-1, -2, -3))

    differences = (value(keypoints + STEP * moves) - value(keypoints - STEP * moves)) / (2 * STEP)
    errors: dict[str, float] = {}
    for name, config in CONFIGS.items():
        leaf = keypoints.clone().requires_grad_()
        found = IKOLLayer(skeleton, config)(leaf, twist, betas).local_rotmat
        (gradient,) = torch.autograd.grad((found * wanted).sum(), leaf)
        along = (gradient * moves).sum((-1, -2))
        errors[name] = 100 * median(((along - differences).norm(dim=0) / differences.norm(dim=0)).tolist())
    return errors


def main() -> None:
    study = read_study("derivatives", __doc__)
    batch = test_batch(study.size)
    posing = PosingLayer(body(), Layer())
    turning = [joint for joint, children in enumerate(posing.tree.children) if children]
    twist = posing.twist_of(batch.local_rotmat, batch.betas)[:, turning]
    true = batch.joints - batch.joints[:, :1]
    noise = torch.randn(true.shape, generator=torch.Generator().manual_seed(0))
    noise[:, 0] = 0.0
    rows = {
        name: [layer_row(config, true + NOISES[0] / 1000 * noise, twist, batch.betas)]
        for name, config in CONFIGS.items()
    }
    for size in NOISES:
        for name, error in gradient_errors(true + size / 1000 * noise, twist, batch.betas).items():
            rows[name][0][f"error_{size:g}"] = error
    columns = {"forward": "forward, ms", "backward": "backward, ms", "memory": "kept, kB a sample"}
    columns |= {f"error_{size:g}": f"error at {size:g} mm, %" for size in NOISES}
    first = table(rows, columns, f"{len(true)} samples")
    print(first, flush=True)
    trained = train_and_measure(study, ("ikol", "one_step", "unrolled"))
    second = table(trained, POSE_COLUMNS, "trained with")
    study.finish(f"{first}\n\n{second}", {"layer": rows, "trained": trained})


if __name__ == "__main__":
    main()
