# SPDX-License-Identifier: Apache-2.0
"""Files of strangers: whatever they hold, a reader says that it cannot use them, soon and with little memory.

Every reader of the library gets every file, also those of other formats. There is no reader of videos.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MAX_SECONDS = 2.0  # of the processor, for one file
MAX_MIB = 200.0
ACCEPTED = {("smpl codec", "evil torch file")}
"""A zip without a single entry that the format knows is, by that format's rules, the motion that it has by default."""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_no_file_runs_code_hangs_or_fills_the_memory(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "tests" / "support" / "hostile_files.py"), str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=590)
    assert result.returncode == 0, result.stderr[-2000:]
    read = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(read) > 300
    unexpected = [line for line in read if not line[2].startswith("IkolError") and tuple(line[:2]) not in ACCEPTED]
    assert not unexpected
    seconds, mib = max(line[3] for line in read), max(line[4] for line in read)
    print(f"{len(read)} files, at most {seconds:.2f} s, at most {mib:.0f} MiB")
    assert seconds < MAX_SECONDS
    assert mib < MAX_MIB
    assert not (tmp_path / "marker").exists()
