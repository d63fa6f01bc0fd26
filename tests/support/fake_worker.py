# SPDX-License-Identifier: Apache-2.0
"""The worker process of the server's tests: the real one with a handler that computes nothing."""

import sys

import fake_handler

from solver_server import worker

if __name__ == "__main__":
    sys.exit(worker.main(make_handler=fake_handler.make_handler))
