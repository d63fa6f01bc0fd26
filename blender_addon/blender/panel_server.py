# SPDX-License-Identifier: GPL-3.0-or-later
"""The sub-panel *Server*: the solver process, how it is, and the buttons around it."""

import bpy

from .._vendor.solver_protocol import PROTOCOL_VERSION
from ..core.wording import duration_text, refused_text
from . import runtime
from .panel_parts import SubPanel, draw_rows
from .text import iface

MEBIBYTE = 2**20

_LATENCIES = {"detect": "Detect", "solve": "Solve"}
_RUNNING = ("running", "busy", "unresponsive")


class IKOL_PT_server(SubPanel, bpy.types.Panel):
    """The solver process."""

    bl_label = "Server"
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, _context: bpy.types.Context) -> None:
        """Draw the panel; its numbers are asked for while it is drawn, and only then."""
        layout, living = self.layout, runtime.get()
        phase = living.solver.state.phase.value
        if phase in _RUNNING:
            living.want_statistics()
            draw_rows(layout, _facts())
        row = layout.row(align=True)
        if phase in (*_RUNNING, "starting"):
            row.operator("ikol.stop_solver", icon="PAUSE")
            row.operator("ikol.restart_solver", icon="FILE_REFRESH")
        else:
            row.operator("ikol.start_solver", icon="PLAY")
        column = layout.column(align=True)
        column.operator("ikol.open_log", icon="TEXT")
        column.operator("ikol.copy_report", icon="COPYDOWN")
        column.operator("ikol.open_preferences", icon="PREFERENCES")


def _facts() -> list[tuple[str, str]]:
    solver = runtime.get().solver
    rows = [("Device", solver.state.device or iface("not known yet"))]
    statistics = solver.statistics
    if statistics is not None:
        memory = statistics.memory_bytes + statistics.worker_memory_bytes
        rows += [
            ("Running for", duration_text(statistics.uptime_seconds)),
            ("Memory", f"{memory / MEBIBYTE:.0f} MiB"),
            ("Restarts", str(statistics.worker_restarts)),
            ("Waiting", str(statistics.queued)),
        ]
        for kind, label in _LATENCIES.items():
            latency = statistics.latencies.get(kind)
            if latency is not None:
                median, most = 1e3 * latency.p50, 1e3 * latency.p99
                rows.append((label, iface("{median:.0f} ms, 99 % in {most:.0f}", median=median, most=most)))
        rows += [("Cancelled", str(statistics.counts.get("error.cancelled", 0)))]
        rows += [("Refused", text) for text in [refused_text(statistics.counts)] if text]
        version = ".".join(str(number) for number in PROTOCOL_VERSION)
        rows.append(("Version", f"{statistics.versions.get('ikol', '?')}, protocol {version}"))
    if runtime.shared_files()[0]:
        rows.append(("Solver", iface("shared")))
    if solver.pid is not None:
        rows.append(("Process", str(solver.pid)))
    return rows
