# SPDX-License-Identifier: Apache-2.0
"""A training as a job: called here, or submitted to Slurm.

Imports: the loop when there is work, submitit where it is installed.
"""

from dataclasses import dataclass
from pathlib import Path

from ikol.errors import InputError
from ikol.training.network.config import TrainConfig


@dataclass(frozen=True)
class TrainingJob:
    """A training as submitit calls it; after the time limit the same training goes on in a new job."""

    config: TrainConfig

    def __call__(self) -> str:
        """Train.

        Raises:
            InputError: Fabric is not installed, or the training cannot run.
        """
        try:
            from ikol.training.network.loop import train  # noqa: PLC0415 - loads torch and Fabric
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] != "lightning_fabric":
                raise
            raise InputError(
                "training needs lightning-fabric: pip install -c constraints.txt lightning-fabric tensorboard"
            ) from error
        return str(train(self.config))

    def checkpoint(self) -> object:
        """Return what is submitted again: the training finds its own checkpoint."""
        from submitit.helpers import DelayedSubmission  # noqa: PLC0415 - an optional package

        return DelayedSubmission(self)


def submit(config: TrainConfig, hours: float, partition: str = "", cluster: str | None = None) -> str:
    """Submit a training and return the job's number.

    Args:
        config: the training; its machine says how many nodes and devices.
        hours: time limit.
        partition: of the cluster; empty for the usual one.
        cluster: `slurm`, or `local` for a process on this machine; None for what is there.

    Raises:
        InputError: submitit is not installed.
    """
    try:
        from submitit import AutoExecutor  # noqa: PLC0415 - an optional package
    except ImportError as error:
        raise InputError("submitting to Slurm needs submitit: pip install -c constraints.txt submitit") from error
    machine = config.machine
    executor = AutoExecutor(folder=Path(config.output.folder) / "slurm", cluster=cluster)
    parameters: dict[str, object] = {
        "name": "ikol-train",
        "timeout_min": int(60 * hours),
        "nodes": machine.nodes,
        "tasks_per_node": machine.devices,
        "cpus_per_task": machine.workers + 1,
    }
    if machine.accelerator != "cpu":
        parameters["gpus_per_node"] = machine.devices
    if partition:
        parameters["slurm_partition"] = partition
    executor.update_parameters(**parameters)
    return str(executor.submit(TrainingJob(config)).job_id)
