# SPDX-License-Identifier: Apache-2.0
"""The server process of the tests: the real one with the worker of the tests."""

import os
import sys
from pathlib import Path

from solver_server.__main__ import main

if __name__ == "__main__":
    os._exit(main(worker_command=[sys.executable, str(Path(__file__).with_name("fake_worker.py"))]))
