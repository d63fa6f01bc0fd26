# SPDX-License-Identifier: Apache-2.0
"""How torch shares the processor with a program that is at work, such as Blender. Imports nothing: it comes first."""

import os


def wait_without_spinning() -> None:
    """Let OpenMP's threads sleep while they wait. Call it before torch is imported, also for child processes.

    By default they spin: with one of two cores taken by somebody else, two threads took 3 to 11 s for a picture that
    one thread reads in 0.8 s; sleeping ones take 0.3 s. A policy that the user has set stays.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def shared_threads() -> int:
    """Return how many threads torch should use beside another program: half of the cores."""
    return max(1, (os.cpu_count() or 2) // 2)
