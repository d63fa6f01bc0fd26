# SPDX-License-Identifier: Apache-2.0
"""The server process of the tests: the real one with the worker of the tests.

FAKE_LEAK makes it leak so many bytes for each request: a test of leaks has to be able to fail.
"""

import os
import sys
from pathlib import Path

from solver_server import dispatcher
from solver_server.__main__ import main


def leak(size: int) -> None:
    """Make the dispatcher keep so many bytes of each request for ever."""
    kept: list[bytes] = []
    take = dispatcher.Dispatcher.on_request

    def on_request(self: dispatcher.Dispatcher, client: bytes, frames: list[bytes], owner: str = "") -> None:
        kept.append(os.urandom(size))
        take(self, client, frames, owner)

    dispatcher.Dispatcher.on_request = on_request


if __name__ == "__main__":
    if size := int(os.environ.get("FAKE_LEAK", "0")):
        leak(size)
    os._exit(main(worker_command=[sys.executable, str(Path(__file__).with_name("fake_worker.py"))]))
