# SPDX-License-Identifier: Apache-2.0
"""The solver process: a socket that listens on the loopback device, and a worker process that owns torch."""
