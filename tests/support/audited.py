# SPDX-License-Identifier: Apache-2.0
"""The real server and the real worker, which write down every file, process and connection that they open.

`audited.py server|worker [OPTION ...]`; the lines go to the file named by AUDIT_LOG.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path

WATCHED = (
    "open",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.spawn",
    "subprocess.Popen",
    "socket.connect",
    "compile",
)


def watch(name: str) -> None:
    """Begin to write down."""
    descriptor = os.open(os.environ["AUDIT_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def note(event: str, arguments: tuple[object, ...]) -> None:
        if event in WATCHED:
            what = "" if event == "compile" else repr(arguments[:2])
            os.write(descriptor, f"{name} {event} {what}\n".encode("utf-8", "replace"))

    sys.addaudithook(note)


def main() -> int:
    role, *options = sys.argv[1:]
    watch(role)
    run: Callable[..., int]
    if role == "worker":
        from solver_server.worker import main as run

        return run(options)
    from solver_server.__main__ import main as run

    return run(options, worker_command=[sys.executable, str(Path(__file__)), "worker"])


if __name__ == "__main__":
    os._exit(main())
