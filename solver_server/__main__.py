# SPDX-License-Identifier: Apache-2.0
"""`python -m solver_server`: options, the hand-over of keys on stdin and stdout or by files. See docs/protocol.md.

Nothing here or below it in the control process imports torch: the line on stdout comes within half a second.
"""

import argparse
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Annotated

import msgspec
import zmq
import zmq.utils.z85

from solver_server import zap
from solver_server.listen_file import KeyFile, ListenFile, make_key
from solver_server.logs import start_log
from solver_server.memory import limit_memory
from solver_server.protocol import PROTOCOL_VERSION, MessageError, ProtocolError, check_version
from solver_server.transport import EndWanted, Server, ServerOptions, watch_stdin

MAX_MEMORY = 2 * 2**30  # of the control process: twice what its queues hold; beyond it libzmq cuts the sender off
MAX_LINE = 65536  # bytes of the first line; anything longer is not ours

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
    """Serve until stdin ends, or with `--listen-file` until a signal comes.

    Args:
        argv: Command line without the program's name.
        worker_command: Starts the worker; by default `python -m solver_server.worker`.

    Returns:
        The exit status: 2 when we cannot serve.
    """
    options = _parse(argv)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in Blender's terminal reaches the whole process group
    start_log("server", options.log)
    stdin, stdout = 0, os.dup(1)
    os.dup2(2, 1)  # nobody reads stdout after the first line: a print in a library would block for ever
    command = [*(worker_command or _worker_command()), "--device", options.device, "--threads", str(options.threads)]
    command += ["--memory", str(options.memory)]
    if options.body is not None:
        command += ["--body", str(options.body.absolute())]
    for manifest in options.model_manifest:
        command += ["--model-manifest", str(manifest.absolute())]
    if options.trust_models:
        command.append("--trust-models")
    if limit_memory(MAX_MEMORY):
        command.append("--lift-memory-limit")
    try:
        if options.make_key is not None:
            _write_line(stdout, make_key(options.make_key).encode())
            return 0
        if options.listen_file is not None:
            return _serve_shared(options, command, stdout)
        owner_of = zap.only(read_invitation(stdin))
        server = Server(ServerOptions(owner_of, command, options.device, options.idle_timeout))
    except ProtocolError as error:
        return _fail(stdout, error.code, str(error))
    except zmq.ZMQError as error:
        return _fail(stdout, "start_failed", f"no local port can be opened ({error}); is a firewall in the way?")
    watch_stdin(stdin, server.mailbox.post)
    _write_line(stdout, msgspec.json.encode(_announcement(server)))
    server.serve()
    return 0


def _serve_shared(options: argparse.Namespace, command: Sequence[str], stdout: int) -> int:
    """Serve the clients of a list of keys until SIGINT or SIGTERM."""
    listen_file = ListenFile(options.listen_file)
    keys = KeyFile(options.clients)
    server = Server(ServerOptions(keys.owner_of, command, options.device, options.idle_timeout, is_shared=True))

    def end(number: int, frame: FrameType | None) -> None:
        server.mailbox.post(EndWanted())

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    # the system may hand a signal to any thread; Python runs `end` in the main one, which sleeps in the poll until then
    signal.set_wakeup_fd(server.mailbox.bell(), warn_on_full_buffer=False)
    announcement = _announcement(server)
    listen_file.write(msgspec.to_builtins(announcement))
    try:
        _write_line(stdout, msgspec.json.encode(announcement))
        server.serve()
    finally:
        signal.set_wakeup_fd(-1)
        listen_file.remove()
    return 0


def _announcement(server: Server) -> Announcement:
    endpoint = server.endpoint
    _log.info("serving on port %d, session %s", endpoint.port, endpoint.session)
    return Announcement(endpoint.port, endpoint.server_key, os.getpid(), PROTOCOL_VERSION, endpoint.session)


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
    description = "The solver process of IKOL: serves whoever started it, or with --listen-file several clients."
    parser = argparse.ArgumentParser(prog="python -m solver_server", description=description)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where torch computes")
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="CPU threads (0: half of the cores)")
    parser.add_argument("--idle-timeout", type=float, default=0.0, metavar="SECONDS", help="end when unused (0: never)")
    parser.add_argument("--log", type=Path, metavar="FILE", help="where the log goes (default: stderr)")
    parser.add_argument("--memory", type=int, default=4096, metavar="MIB", help="memory for the work (0: no limit)")
    parser.add_argument("--body", type=Path, metavar="FILE", help="an own body: SMPL, SMPL-H or SMPL-X, .npz or .pkl")
    parser.add_argument(
        "--model-manifest",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="a network of yours: its manifest or weights (docs/models/bring_your_own.md); may be given again",
    )
    parser.add_argument(
        "--trust-models",
        action="store_true",
        help="load networks that are programs (TorchScript), which can do all that you can",
    )
    shared = parser.add_argument_group("a server for several clients")
    shared.add_argument("--listen-file", type=Path, metavar="FILE", help="where clients find port and key (mode 0600)")
    shared.add_argument("--clients", type=Path, metavar="FILE", help="public keys that are let in, each with a name")
    shared.add_argument("--make-key", type=Path, metavar="FILE", help="write a client's key, print its public half")
    options = parser.parse_args(argv)
    if (options.listen_file is None) != (options.clients is None):
        parser.error("--listen-file and --clients belong together")
    return options


def _worker_command() -> list[str]:
    isolation = [flag for flag, is_set in (("-I", sys.flags.isolated), ("-P", sys.flags.safe_path)) if is_set]
    return [sys.executable, *isolation, "-m", "solver_server.worker"]


def _fail(descriptor: int, code: str, message: str) -> int:
    _log.error("%s: %s", code, message)
    _write_line(descriptor, msgspec.json.encode(Failure({"code": code, "message": message})))
    return 2


def _write_line(descriptor: int, line: bytes) -> None:
    os.write(descriptor, line + b"\n")
    os.close(descriptor)


def run() -> None:
    """Be the program; does not return."""
    status = main()
    logging.shutdown()
    os._exit(status)  # the thread that reads stdin may be stuck in the read, which must not keep us


if __name__ == "__main__":
    run()
