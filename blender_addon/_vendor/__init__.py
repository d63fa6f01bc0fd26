# generated from solver_server/protocol by scripts/vendor_protocol.py; do not edit
# SPDX-License-Identifier: Apache-2.0
"""Copies of code that the add-on shares with the solver."""
