# SPDX-License-Identifier: Apache-2.0
"""A server for several clients: the file that says where it listens, and the file that says who may come.

Both are the user's own, named on the command line; clients never name a file. Not here: sockets of the server.
"""

import contextlib
import hmac
import json
import os
import secrets
import socket
from collections.abc import Mapping
from pathlib import Path

import zmq
import zmq.utils.z85

from solver_server.protocol import ProtocolError

MAX_KEYS_BYTES = 2**20
CONNECT_TIMEOUT = 1.0  # seconds, on the loopback


class ListenError(ProtocolError):
    """A file of a shared server cannot be used."""

    code = "start_failed"


class ListenFile:
    """The file in which clients find the server; readable by its owner only.

    Raises:
        ListenError: Another server that still runs has written it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._content = ""
        port = _port_in(path)
        if port is not None and _is_open(port):
            raise ListenError(f"{path} belongs to a server that runs on port {port}; end it, or name another file")

    def write(self, announcement: Mapping[str, object]) -> None:
        """Write the file in one step: a client sees the old one or the new one, never half of it.

        Raises:
            ListenError: It cannot be written.
        """
        self._content = json.dumps(announcement) + "\n"
        try:
            _write_private(self._path, self._content.encode())
        except OSError as error:
            raise ListenError(f"{self._path} cannot be written ({error.strerror or error})") from error

    def remove(self) -> None:
        """Delete the file, unless it is another server's by now."""
        with contextlib.suppress(OSError):
            if self._path.read_text(encoding="utf-8") == self._content:
                self._path.unlink()


class KeyFile:
    """The public keys that are let in: one a line, 40 characters of z85, then a name. Read anew when it has changed.

    Keys with one name have one share of the worker's time.

    Raises:
        ListenError: The file cannot be read, others can write to it, or a line is not as it should be.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp = (0, 0)
        self._owners: dict[bytes, str] = {}
        self._refresh()

    def owner_of(self, key: bytes) -> str | None:
        """Give the name that belongs to a key (32 bytes), None when it is not let in."""
        self._refresh()
        owner = None
        for known, name in self._owners.items():  # all of them, so that the time tells nothing
            if hmac.compare_digest(known, key):
                owner = name
        return owner

    def _refresh(self) -> None:
        try:
            status = self._path.stat()
            stamp = (status.st_mtime_ns, status.st_size)
            if stamp == self._stamp:
                return
            if os.name == "posix" and status.st_mode & 0o022:
                raise ListenError(f"{self._path} can be written by others; run: chmod go-w {self._path}")
            if status.st_size > MAX_KEYS_BYTES:
                raise ListenError(f"{self._path} has more than {MAX_KEYS_BYTES} bytes; it is no list of keys")
            self._owners = _parse_keys(self._path.read_text(encoding="utf-8"), self._path)
            self._stamp = stamp
        except (OSError, UnicodeDecodeError) as error:
            raise ListenError(f"the list of keys {self._path} cannot be read ({error})") from error


def make_key(path: Path) -> str:
    """Write a new secret key for a client, readable by its owner only.

    Returns:
        Its public key, for the list of the server.

    Raises:
        ListenError: The file is there already, or cannot be written.
    """
    if path.exists():
        raise ListenError(f"{path} is there already; a key in use is not replaced")
    public_key, secret_key = zmq.curve_keypair()
    content = {"public_key": public_key.decode(), "secret_key": secret_key.decode()}
    try:
        _write_private(path, json.dumps(content).encode() + b"\n")
    except OSError as error:
        raise ListenError(f"{path} cannot be written ({error.strerror or error})") from error
    return public_key.decode()


def _parse_keys(text: str, path: Path) -> dict[bytes, str]:
    owners: dict[bytes, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split(maxsplit=1)
        if not words:
            continue
        try:
            key = zmq.utils.z85.decode(words[0])
        except (ValueError, KeyError):
            key = b""
        if len(key) != 32:
            raise ListenError(f"line {number} of {path} must begin with a public key, 40 characters of z85")
        owners[key] = words[1].strip() if len(words) > 1 else words[0]
    return owners


def _write_private(path: Path, content: bytes) -> None:
    # created with these rights and never with others, in the same folder, so that replacing is one step
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def _port_in(path: Path) -> int | None:
    try:
        return int(json.loads(path.read_text(encoding="utf-8"))["port"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _is_open(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), CONNECT_TIMEOUT):
            return True
    except (OSError, OverflowError):
        return False
