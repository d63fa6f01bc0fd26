# SPDX-License-Identifier: Apache-2.0
"""A training as a job, on a computer that lacks what only training needs."""

import sys
from pathlib import Path

import pytest

from ikol.cli import main

CONFIG = """
[[train]]
kind = "rendered"
path = "nowhere"
[schedule]
steps = 1
[output]
folder = "out"
"""


def test_without_fabric_the_command_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.toml").write_text(CONFIG)
    monkeypatch.setitem(sys.modules, "lightning_fabric", None)
    monkeypatch.delitem(sys.modules, "ikol.training.network.loop", raising=False)
    assert main(["train", str(tmp_path / "a.toml")]) == 1
    assert "training needs lightning-fabric: pip install" in capsys.readouterr().err
