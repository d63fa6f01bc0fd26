# SPDX-License-Identifier: Apache-2.0
"""The add-on's copy of the protocol is the protocol."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def test_copy_is_not_stale() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "vendor_protocol.py"), "--check"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + "run scripts/vendor_protocol.py"


def test_copy_works_alone_without_numpy_torch_or_zmq() -> None:
    code = (
        "import sys; import solver_protocol as p;"
        "parts = p.encode(p.Ping(id=1)); assert p.decode_request(parts)[0] == p.Ping(id=1);"
        "print(sorted({'numpy', 'torch', 'zmq', 'ikol', 'solver_server'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code]
    result = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=ROOT / "blender_addon" / "_vendor"
    )
    assert result.stdout.strip() == "[]", result.stderr
