# SPDX-License-Identifier: Apache-2.0
"""`python -m solver_server`: options, the hand-over of keys on stdin and stdout, the log. See docs/protocol.md.

Nothing here or below it in the control process imports torch: the line on stdout comes within half a second.
"""

import argparse
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import zmq
import zmq.utils.z85

from solver_server.protocol import PROTOCOL_VERSION, MessageError, ProtocolError, check_version
from solver_server.transport import Server, ServerOptions, watch_stdin

MAX_LINE = 65536  # bytes of the first line; anything longer is not ours
MAX_LOG_BYTES = 5 * 2**20  # an older log beyond this is kept once, as .1

_log = logging.getLogger(__name__)


class Invitation(msgspec.Struct, frozen=True):
    """The line that the parent writes to our stdin."""

    client_key: Annotated[str, msgspec.Meta(min_length=40, max_length=40)]
    protocol: tuple[int, int]


class Announcement(msgspec.Struct, frozen=True):
    """The line that we write to stdout when clients may connect."""

    port: int
    server_key: str
    pid: int
    protocol: tuple[int, int]
    session: str


class Failure(msgspec.Struct, frozen=True):
    """The line that we write to stdout when we cannot serve."""

    error: dict[str, str]


def main(argv: Sequence[str] | None = None, worker_command: Sequence[str] | None = None) -> int:
    """Serve until stdin ends.

    Args:
        argv: Command line without the program's name.
        worker_command: Starts the worker; by default `python -m solver_server.worker`.

    Returns:
        The exit status: 2 when we cannot serve.
    """
    options = _parse(argv)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in Blender's terminal reaches the whole process group
    _start_log(options.log)
    stdin, stdout = 0, os.dup(1)
    os.dup2(2, 1)  # nobody reads stdout after the first line: a print in a library would block for ever
    try:
        client_key = read_invitation(stdin)
        command = worker_command or _worker_command()
        command = [*command, "--device", options.device, "--threads", str(options.threads)]
        server = Server(ServerOptions(client_key, command, options.device, options.idle_timeout))
    except ProtocolError as error:
        return _fail(stdout, error.code, str(error))
    except zmq.ZMQError as error:
        return _fail(stdout, "start_failed", f"no local port can be opened ({error}); is a firewall in the way?")
    watch_stdin(stdin, server.mailbox.post)
    endpoint = server.endpoint
    version = PROTOCOL_VERSION
    _print(stdout, Announcement(endpoint.port, endpoint.server_key, os.getpid(), version, endpoint.session))
    _log.info("serving on port %d, session %s", endpoint.port, endpoint.session)
    server.serve()
    return 0


def read_invitation(descriptor: int) -> bytes:
    """Read the parent's line.

    Returns:
        The client's public key, 32 bytes.

    Raises:
        ProtocolError: The line is not what it should be, or the parent speaks another major version.
    """
    line = b""
    while b"\n" not in line and len(line) < MAX_LINE:
        chunk = os.read(descriptor, 4096)
        if not chunk:
            break
        line += chunk
    try:
        invitation = msgspec.json.decode(line.partition(b"\n")[0], type=Invitation)
        client_key = zmq.utils.z85.decode(invitation.client_key)
    except (ValueError, RecursionError, KeyError, zmq.ZMQError) as error:
        wanted = '{"client_key": "<40 characters of z85>", "protocol": [1, 0]}'
        raise MessageError(f"the first line on stdin must be {wanted}, got something else ({error})") from error
    check_version(invitation.protocol)
    return client_key


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m solver_server", description="The solver process of IKOL.")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where torch computes")
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="CPU threads (0: half of the cores)")
    parser.add_argument("--idle-timeout", type=float, default=0.0, metavar="SECONDS", help="end when unused (0: never)")
    parser.add_argument("--log", type=Path, metavar="FILE", help="where the log goes (default: stderr)")
    return parser.parse_args(argv)


def _start_log(path: Path | None) -> None:
    """Send our log, the worker's, and what native code prints to one place: descriptor 2."""
    if path is not None:
        if path.exists() and path.stat().st_size > MAX_LOG_BYTES:
            os.replace(path, path.with_name(path.name + ".1"))
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(descriptor, 2)
        os.close(descriptor)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s server %(levelname)s %(message)s")


def _worker_command() -> list[str]:
    isolation = [flag for flag, is_set in (("-I", sys.flags.isolated), ("-P", sys.flags.safe_path)) if is_set]
    return [sys.executable, *isolation, "-m", "solver_server.worker"]


def _fail(descriptor: int, code: str, message: str) -> int:
    _log.error("%s: %s", code, message)
    _print(descriptor, Failure({"code": code, "message": message}))
    return 2


def _print(descriptor: int, line: msgspec.Struct) -> None:
    os.write(descriptor, msgspec.json.encode(line) + b"\n")
    os.close(descriptor)


if __name__ == "__main__":
    status = main()
    logging.shutdown()
    os._exit(status)  # the thread that reads stdin may be stuck in the read, which must not keep us
