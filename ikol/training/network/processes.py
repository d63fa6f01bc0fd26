# SPDX-License-Identifier: Apache-2.0
"""How processes that torchrun has started meet: also when it starts them again after one of them has died.

torchrun (seen in torch 2.13) keeps one key-value store for all of its restarts, and init_process_group writes the same
keys each time, so a process that was started again can read the address of one that is dead: it fails, or waits for
ever. The number of restarts is no help, on several machines each counts its own. So the processes agree on a name that
only the living can have made, and meet under that. Imports: torch.
"""

import atexit
import hashlib
import time
import uuid
from datetime import timedelta

import torch
from torch import distributed
from torch._C._distributed_c10d import PrefixStore, Store  # torch.distributed names them without exporting them
from torch.distributed.rendezvous import rendezvous

from ikol.errors import IkolError

_PAUSE = 0.05  # seconds between two looks into the store


def join_processes(device: torch.device, timeout: timedelta) -> None:
    """Connect this process with the others of its torchrun, before Fabric does it under names that may be taken."""
    store, rank, world_size = next(rendezvous("env://", timeout=timeout))
    name = agree(PrefixStore("ikol", store), rank, world_size, timeout)
    backend = "nccl" if device.type == "cuda" else "gloo"
    if backend == "nccl":
        atexit.register(distributed.destroy_process_group)  # it warns about groups that were not
    distributed.init_process_group(
        backend,
        store=PrefixStore(name, store),
        rank=rank,
        world_size=world_size,
        timeout=timeout,
    )


def agree(store: Store, rank: int, world_size: int, timeout: timedelta) -> str:
    """Return a name that all living processes have at the same time, and no process had before.

    Each leaves a random word. The first proposes all words that it finds, again and again, since it may have found
    those of the dead; the others agree to what has their own word in it. What all have agreed to is the name.

    Args:
        store: may hold what processes of an earlier start have left.
        rank: of this process.
        world_size: how many there are.
        timeout: after which this process gives up.

    Raises:
        IkolError: not all came in time.
    """
    own = uuid.uuid4().hex
    store.set(f"word/{rank}", own)
    end = time.monotonic() + timeout.total_seconds()
    while time.monotonic() < end:
        if rank == 0:
            proposed = ",".join(_read(store, f"word/{other}") for other in range(world_size))
            store.set("proposed", proposed)
            if all(_read(store, f"agreed/{other}") == proposed for other in range(1, world_size)):
                store.set("final", proposed)
        else:
            proposed = _read(store, "proposed")
            if own in proposed:
                store.set(f"agreed/{rank}", proposed)
        final = _read(store, "final")
        if own in final:
            return hashlib.sha256(final.encode()).hexdigest()
        time.sleep(_PAUSE)
    raise IkolError(
        f"process {rank} of {world_size} waited {timeout.total_seconds():g} s for the others; see in their output why "
        "they did not come, or make machine.timeout_seconds longer"
    )


def _read(store: Store, key: str) -> str:
    """Return what a key holds, empty where there is none."""
    return store.get(key).decode() if store.check([key]) else ""
