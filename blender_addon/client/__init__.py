# SPDX-License-Identifier: GPL-3.0-or-later
"""Talking to the solver: its process, the socket, the bytes. zmq and msgspec, no bpy, no thread."""
