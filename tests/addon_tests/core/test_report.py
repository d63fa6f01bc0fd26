# SPDX-License-Identifier: Apache-2.0
"""The text for the clipboard."""

from pathlib import Path, PureWindowsPath

import pytest

from blender_addon.core.report import LOG_BYTES, LOG_LINES, build_report, read_log_end


def test_it_has_the_facts_in_order_without_empty_ones():
    text = build_report({"IKOL": "0.1.0", "Device": "", "State": "error"}, "", Path("/home/ann"))
    assert text == "IKOL report\nIKOL: 0.1.0\nState: error\n"


def test_it_has_the_last_lines_of_the_log():
    log = "\n".join(f"line {number}" for number in range(500))
    lines = build_report({}, log, Path("/home/ann")).splitlines()
    assert lines[-1] == "line 499"
    assert lines[2] == f"Last {LOG_LINES} lines of the solver's log:"
    assert lines[3] == f"line {500 - LOG_LINES}"


@pytest.mark.parametrize(
    ("home", "path"),
    [
        (Path("/home/ann"), "/home/ann/pictures/a.jpg"),
        (PureWindowsPath(r"C:\Users\Ann"), r"C:\Users\Ann\pictures\a.jpg"),
        (PureWindowsPath(r"C:\Users\Ann"), "C:/Users/Ann/pictures/a.jpg"),
        (PureWindowsPath(r"C:\Users\Ann"), r"C:\\Users\\Ann\\pictures"),
    ],
)
def test_the_home_folder_is_not_told(home, path):
    text = build_report({"File": path}, f'{{"path": "{path}"}}', home)
    assert "ann" not in text.lower()
    assert "~" in text


def test_the_root_folder_as_home_changes_nothing():
    assert "a/b" in build_report({"File": "/a/b"}, "", Path("/"))


def test_only_the_end_of_a_long_log_is_read(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b"x" * LOG_BYTES + b"\xffend")
    assert read_log_end(path).endswith("end")
    assert len(read_log_end(path)) <= LOG_BYTES
    assert read_log_end(tmp_path / "none") == ""
