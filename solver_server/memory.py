# SPDX-License-Identifier: Apache-2.0
"""How much memory a process may take, and how it looks when it got none. Imports: stdlib."""

import logging
import mmap
from pathlib import Path

_log = logging.getLogger(__name__)

_ALLOCATION_FAILURES = ("not enough memory", "can't allocate memory", "std::bad_alloc", "Cannot allocate memory")
"""What torch's RuntimeErrors say: on the CPU it has no type of its own for this."""


def limit_memory(headroom: int) -> bool:
    """Let this process map only so many bytes more than it has mapped already.

    Where the system has no such limit (Windows) or ignores it (macOS) nothing happens, nor where the user has set one.
    What is beyond fails as any allocation does, and the request or the connection with it.

    Returns:
        Whether there is a limit now, which child processes inherit.
    """
    try:
        import resource  # noqa: PLC0415 - not on Windows

        mapped = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * mmap.PAGESIZE
    except (ImportError, OSError):
        return False
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    if soft != resource.RLIM_INFINITY:
        return False
    resource.setrlimit(resource.RLIMIT_AS, (mapped + headroom, hard))
    _log.info("memory is limited to %d MiB more than the %d MiB mapped now", headroom >> 20, mapped >> 20)
    return True


def lift_memory_limit() -> None:
    """Undo what `limit_memory` of the parent process has done to this one."""
    import resource  # noqa: PLC0415 - not on Windows, where there is no limit to lift

    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.getrlimit(resource.RLIMIT_AS)[1]))


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an exception says that memory could not be had."""
    is_cuda = type(error).__name__ == "OutOfMemoryError"  # torch's, by name: this module is also for those without it
    return isinstance(error, MemoryError) or is_cuda or any(text in str(error) for text in _ALLOCATION_FAILURES)
