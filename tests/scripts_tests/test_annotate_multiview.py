# SPDX-License-Identifier: Apache-2.0
"""What `scripts/annotate_multiview.py` says before it begins."""

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "annotate_multiview.py"


def test_a_folder_that_does_not_exist_is_named_before_the_work(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), str(tmp_path), str(tmp_path / "none" / "out.npz")]
    found = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert found.returncode == 2, found.stderr
    assert "does not exist; make it first" in found.stderr
