# SPDX-License-Identifier: Apache-2.0
"""The log: one JSON object a line, from both processes, in one file that does not grow for ever. Imports: stdlib.

Everything goes to descriptor 2, so that what native code prints is there too (as plain lines between the others).
"""

import json
import logging
import os
import shutil
import sys
import time
from pathlib import Path

MAX_LOG_BYTES = 5 * 2**20  # beyond it the log is put aside as .1, whose place is taken by the next
RECORDS_BETWEEN_LOOKS = 100

FIELDS = ("client", "request", "kind", "job", "code", "seconds", "queue_seconds", "reference")
"""What a record may carry in `extra`. `job` is the same number in the lines of both processes."""


class JsonLines(logging.Formatter):
    """Formats a record as one line of JSON."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        """Give the line."""
        entry: dict[str, object] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "process": self._process,
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        entry |= {name: record.__dict__[name] for name in FIELDS if name in record.__dict__}
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry)


class _Handler(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to stderr, and puts the file behind it aside when it has grown long."""

    def __init__(self, path: Path | None) -> None:
        super().__init__(sys.stderr)
        self._path = path
        self._num_records = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record; a full disk loses it and harms nobody."""
        super().emit(record)
        self._num_records += 1
        if self._path is not None and self._num_records % RECORDS_BETWEEN_LOOKS == 0:
            try:
                put_aside_if_long(self._path)
            except OSError:
                self.handleError(record)


def start_log(process: str, path: Path | None = None) -> None:
    """Begin to log.

    Args:
        process: Its name in the lines.
        path: Where descriptor 2 shall lead; None leaves it where it is.
    """
    problem = None
    if path is not None:
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            os.dup2(descriptor, 2)
            os.close(descriptor)
            put_aside_if_long(path)
        except OSError as error:  # without a log is better than not at all
            path, problem = None, error
    logging.raiseExceptions = False  # with a full disk there is nobody to tell
    handler = _Handler(path)
    handler.setFormatter(JsonLines(process))
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)
    if problem is not None:
        logging.getLogger(__name__).warning("the log file cannot be written: %s", problem)


def put_aside_if_long(path: Path) -> None:
    """Copy a long log to .1 and empty it. Not renamed: the worker's descriptor leads to the same file."""
    if os.fstat(2).st_size > MAX_LOG_BYTES:
        shutil.copyfile(path, path.with_name(path.name + ".1"))
        os.ftruncate(2, 0)
