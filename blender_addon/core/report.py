# SPDX-License-Identifier: GPL-3.0-or-later
"""The text that *Copy Report* puts on the clipboard: all that someone who helps would ask for, and nothing private."""

from collections.abc import Mapping
from pathlib import Path

LOG_LINES = 60
"""Last lines of the log that go along: a traceback through torch has 40."""

LOG_BYTES = 64 * 1024
"""Read from the end of the log at most; it may have grown for days."""


def build_report(facts: Mapping[str, str], log: str, home: Path) -> str:
    """Return facts and the end of a log as text; the user's home folder is written as ~.

    Args:
        facts: What is known, by name, in the order to be told; empty values are left out.
        log: The log or its end.
        home: The user's home folder: its path tells a name.
    """
    lines = ["IKOL report", *(f"{name}: {value}" for name, value in facts.items() if value)]
    said = [line for line in log.splitlines() if not line.startswith("Progress ")]  # pip's, four a second
    tail = said[-LOG_LINES:]
    if tail:
        lines += ["", f"Last {len(tail)} lines of the solver's log:", *tail]
    text = "\n".join(lines) + "\n"
    for spelling in (str(home), home.as_posix(), str(home).replace("\\", "\\\\")):
        text = text.replace(spelling, "~") if len(home.parts) > 1 else text
    return text


def read_log_end(path: Path) -> str:
    """Return the end of a log file, empty when there is none."""
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - LOG_BYTES))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""
