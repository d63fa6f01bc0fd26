# SPDX-License-Identifier: Apache-2.0
"""The training loop: steps, checkpoints, validation, on one process or many.

Lightning Fabric brings devices, processes and precision; what a step sees, draws and leaves behind is decided here, so
that a training that was killed goes on as if it had not been: on the CPU bit for bit. Imports: torch, lightning-fabric.
"""

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import torch
from lightning_fabric import Fabric
from lightning_fabric.accelerators.cuda import CUDAAccelerator
from lightning_fabric.plugins.precision.amp import MixedPrecision
from lightning_fabric.strategies.ddp import DDPStrategy
from lightning_fabric.wrappers import _FabricModule  # pyright: ignore[reportPrivateUsage] - what setup() returns
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from ikol.body.default_body import load_default_body
from ikol.body.model import BodyModel
from ikol.body.smpl_file import load_smpl_body
from ikol.errors import InputError
from ikol.regressor.networks import load_tensors, read_tensors
from ikol.training.network.batches import Batch, CroppedSamples, StepKeys, make_loader, step_seed
from ikol.training.network.checkpoint import Checkpoint, load_newest, save_checkpoint
from ikol.training.network.config import TrainConfig, config_json
from ikol.training.network.journal import Journal
from ikol.training.network.losses import pose_losses, total_loss
from ikol.training.network.model import PoseModel
from ikol.training.network.processes import join_processes
from ikol.training.network.sources import open_source
from ikol.training.network.validation import validate

_logger = logging.getLogger(__name__)
CHECKPOINTS, CONFIG = "checkpoints", "config.json"


@dataclass
class _State:
    """What changes from step to step."""

    model: _FabricModule
    pose_model: PoseModel
    ema: AveragedModel | None
    optimizer: torch.optim.Optimizer
    step: int = 0


class _Autocast(MixedPrecision):
    """Mixed precision that leaves what goes into the model as it is: pixels of the picture would be 4 apart."""

    def convert_input(self, data: Any) -> Any:
        """Return the batch; autocast makes halves of what the network multiplies."""
        return data


def make_fabric(config: TrainConfig) -> Fabric:
    """Return the processes and devices that a configuration asks for."""
    machine = config.machine
    is_alone = machine.devices == machine.nodes == 1 and not _is_launched()
    timeout = timedelta(seconds=machine.timeout_seconds)
    precision = config.schedule.precision
    on_gpu = machine.accelerator != "cpu" and CUDAAccelerator.is_available()
    # a CPU has no float16 to train in
    mixed = _Autocast(precision, "cuda") if on_gpu and precision != "32-true" else _Autocast("bf16-mixed", "cpu")
    return Fabric(
        accelerator=machine.accelerator,
        devices=machine.devices,
        num_nodes=machine.nodes,
        plugins=None if precision == "32-true" else mixed,
        strategy="auto" if is_alone else DDPStrategy(timeout=timeout, find_unused_parameters=True),
    )


def _is_launched() -> bool:
    return torch.distributed.is_torchelastic_launched()


def train(config: TrainConfig, fabric: Fabric | None = None) -> Path:
    """Train, or go on where the output folder's newest checkpoint ends; return the folder of the last checkpoint.

    Raises:
        InputError: the folder holds a training with another configuration, or data cannot be read.
        IkolError: other processes of the training did not come.
    """
    fabric = fabric or make_fabric(config)
    if _is_launched() and not torch.distributed.is_initialized():
        join_processes(fabric.device, timedelta(seconds=config.machine.timeout_seconds))
    fabric.launch()
    folder = Path(config.output.folder)
    state = _begin(config, fabric, folder)
    first = state.step
    with Journal(folder, fabric.is_global_zero) as journal:
        progress = tqdm(total=config.schedule.steps, initial=first, unit="step", disable=not fabric.is_global_zero)
        for batch in _batches(config, fabric, first):
            terms = _step(config, fabric, state, batch)
            progress.update()
            if state.step % config.output.log_every == 0:
                means = {name: _mean(fabric, value) for name, value in terms.items()}
                progress.set_postfix({"loss": f"{means['total']:.4f}"})
                journal.numbers("train", {**means, "rate": config.schedule.rate(state.step - 1)}, state.step)
            is_last = state.step == config.schedule.steps
            if config.validation and (is_last or state.step % config.output.validate_every == 0):
                _validate(config, fabric, state, journal)
            if is_last or state.step % config.output.checkpoint_every == 0:
                _save(config, fabric, state, folder)
        progress.close()
    return folder / CHECKPOINTS / f"step_{state.step:09d}"


def _begin(config: TrainConfig, fabric: Fabric, folder: Path) -> _State:
    torch.manual_seed(config.seed)  # the initial weights
    pose_model = PoseModel(config.network, config.layer, _body(config))
    optimizer = _optimizer(pose_model, config)
    found = load_newest(folder / CHECKPOINTS)
    if found is not None:
        _check_same(config, found, folder)
        pose_model.network.load_state_dict(dict(found.tensors["network"]))
    elif config.weights:
        _take_weights(pose_model.network, Path(config.weights), says=fabric.is_global_zero)
    ema = None
    if config.schedule.ema:
        ema = AveragedModel(
            pose_model.network, multi_avg_fn=get_ema_multi_avg_fn(config.schedule.ema), use_buffers=True
        )
    model, optimizer = fabric.setup(pose_model, optimizer)
    state = _State(model, pose_model, ema.to(fabric.device) if ema else None, optimizer)
    if found is not None:
        state.optimizer.load_state_dict(_optimizer_state(found))
        if state.ema is not None:
            state.ema.load_state_dict(dict(found.tensors["ema"]))
        state.step = found.step
        _logger.info("going on after step %d", found.step)
    if fabric.is_global_zero:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CONFIG).write_text(config_json(config) + "\n", encoding="utf-8")
    fabric.barrier()
    return state


def _take_weights(network: nn.Module, path: Path, *, says: bool) -> None:
    """Begin with a file's tensors, by name, and say what did not fit.

    Raises:
        InputError: nothing fits.
    """
    tensors = read_tensors(path)
    if "conv1.weight" in tensors:  # of a backbone alone, such as torchvision's or HRNet's of ImageNet
        tensors = {f"preact.{name}": tensor for name, tensor in tensors.items()}
    report = load_tensors(network, tensors)
    if not tensors.keys() & network.state_dict().keys() - {each.partition(":")[0] for each in report.misshapen}:
        raise InputError(f"weights = {path} has nothing for a network of this configuration: {report}")
    if says and str(report):
        _logger.warning("weights of %s: %s", path, report)


def _optimizer(model: PoseModel, config: TrainConfig) -> torch.optim.Adam:
    """Return Adam over all parameters, or over the rest and the backbone where they learn at different rates."""
    tensors = list(model.network.preact.parameters())
    for each in tensors[: round(config.schedule.kept * len(tensors)) if config.schedule.backbone > 0 else None]:
        each.requires_grad_(False)
    backbone = set(model.network.preact.parameters()) if config.schedule.backbone < 1 else set[nn.Parameter]()
    rest = [each for each in model.parameters() if each not in backbone]
    groups = [{"params": each} for each in (rest, [p for p in model.parameters() if p in backbone]) if each]
    fused = config.schedule.precision != "16-mixed"  # Fabric clips no gradients that a fused step unscales
    return torch.optim.Adam(groups, lr=config.schedule.learning_rate, fused=fused)


def _body(config: TrainConfig) -> BodyModel:
    if config.body:
        return load_smpl_body(Path(config.body), dtype=torch.float32)
    return load_default_body(dtype=torch.float32)


def _check_same(config: TrainConfig, found: Checkpoint, folder: Path) -> None:
    """Refuse to go on with a training that was begun otherwise; it may be made longer, or written elsewhere."""

    def essence(settings: TrainConfig) -> Any:
        settings = msgspec.structs.replace(settings, schedule=msgspec.structs.replace(settings.schedule, steps=1))
        parts = msgspec.to_builtins(settings)
        return {name: part for name, part in parts.items() if name not in ("output", "machine")}

    kept = msgspec.convert(found.values["config"], TrainConfig)
    ours, theirs = essence(config), essence(kept)
    changed = sorted(name for name in ours if ours[name] != theirs[name])
    if changed:
        raise InputError(
            f"{folder} holds a training with another {', '.join(changed)}; give the configuration that it was begun "
            "with, or another output folder"
        )


def _batches(config: TrainConfig, fabric: Fabric, first: int) -> Iterator[Batch]:
    sources = [open_source(source, is_smpl=bool(config.body)) for source in config.train]
    keys = StepKeys(
        [len(source) for source in sources],
        [source.share for source in config.train],
        config.schedule.batch_size,
        range(first, config.schedule.steps),
        config.seed,
        rank=fabric.global_rank,
        world_size=fabric.world_size,
    )
    samples = CroppedSamples(sources, config.network, config.augmentation)
    for batch in make_loader(samples, keys, config.machine.workers):
        yield batch.to(fabric.device)


def _step(config: TrainConfig, fabric: Fabric, state: _State, batch: Batch) -> dict[str, Tensor]:
    """Take one step and return the terms of its loss and their sum, without gradients."""
    schedule = config.schedule
    torch.manual_seed(step_seed(config.seed, state.step, fabric.global_rank))
    for group, share in zip(state.optimizer.param_groups, (1.0, schedule.backbone), strict=False):
        group["lr"] = share * schedule.rate(state.step)
    state.model.train()
    state.optimizer.zero_grad()
    totals: dict[str, Tensor] = {}
    for part, piece in enumerate(batch.parts(schedule.accumulate)):
        is_last = part == schedule.accumulate - 1
        # processes exchange gradients once a step, after its last part
        quiet = contextlib.nullcontext() if is_last else fabric.no_backward_sync(state.model)
        with quiet:
            terms = losses_of(config, state.model, state.pose_model, piece)
            loss = total_loss(terms, config.losses) / schedule.accumulate
            fabric.backward(loss)
        for name, value in {**terms, "total": loss * schedule.accumulate}.items():
            totals[name] = totals.get(name, torch.zeros_like(value)) + value.detach() / schedule.accumulate
    if schedule.clip:
        fabric.clip_gradients(state.model, state.optimizer, max_norm=schedule.clip, error_if_nonfinite=False)
    state.optimizer.step()
    if state.ema is not None:
        state.ema.update_parameters(state.pose_model.network)
    state.step += 1
    return totals


def _mean(fabric: Fabric, value: Tensor) -> float:
    mean = fabric.all_reduce(value)
    assert isinstance(mean, Tensor)
    return float(mean)


def losses_of(config: TrainConfig, model: nn.Module, pose_model: PoseModel, batch: Batch) -> dict[str, Tensor]:
    """Return the terms of the loss of a batch."""
    prediction = model(batch)
    known = pose_model.posing.twist_of(batch.local_rotmat, batch.betas)
    twist = torch.where(batch.has_rotations[:, None], known, batch.twist)
    network = config.network
    return pose_losses(prediction, batch, twist, network.input_size, network.depth_extent)


def _validate(config: TrainConfig, fabric: Fabric, state: _State, journal: Journal) -> None:
    """Measure the running mean of the weights, or the weights, on the first process; the others wait."""
    if fabric.is_global_zero:
        model = state.pose_model
        kept = {name: tensor.clone() for name, tensor in model.network.state_dict().items()}
        if state.ema is not None:
            model.network.load_state_dict(state.ema.module.state_dict())
        sources = [open_source(source, is_smpl=bool(config.body)) for source in config.validation]
        report = validate(model, sources, config, fabric.device)
        model.network.load_state_dict(kept)
        journal.numbers("validation", report.numbers, state.step)
        journal.picture("validation", report.picture, state.step)
    fabric.barrier()


def _save(config: TrainConfig, fabric: Fabric, state: _State, folder: Path) -> None:
    if fabric.is_global_zero:
        kept = state.optimizer.state_dict()
        tensors = {"network": state.pose_model.network.state_dict(), "optimizer": _flat(kept["state"])}
        if state.ema is not None:
            tensors["ema"] = state.ema.state_dict()
        values = {"config": msgspec.to_builtins(config), "param_groups": kept["param_groups"]}
        save_checkpoint(folder / CHECKPOINTS, Checkpoint(state.step, tensors, values), config.output.keep)
    fabric.barrier()


def _flat(state: dict[int, dict[str, Tensor]]) -> dict[str, Tensor]:
    return {f"{index}.{name}": tensor for index, parts in state.items() for name, tensor in parts.items()}


def _optimizer_state(found: Checkpoint) -> dict[str, Any]:
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in found.tensors["optimizer"].items():
        index, _, name = key.partition(".")
        state.setdefault(int(index), {})[name] = tensor
    return {"state": state, "param_groups": found.values["param_groups"]}
