# SPDX-License-Identifier: Apache-2.0
"""The real server with `broken_weights_worker.py`."""

import os
import sys
from pathlib import Path

from solver_server.__main__ import main

if __name__ == "__main__":
    os._exit(main(worker_command=[sys.executable, str(Path(__file__).with_name("broken_weights_worker.py"))]))
