# SPDX-License-Identifier: Apache-2.0
"""Copy the protocol, and what ikol knows of names, into the add-on, which may import neither: `... [--check]`."""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "solver_server" / "protocol"
TARGET = ROOT / "blender_addon" / "_vendor" / "solver_protocol"
HEADER = b"# generated from solver_server/protocol by scripts/vendor_protocol.py; do not edit\n"
NAMES = tuple(ROOT / "ikol" / "exchange" / name for name in ("bone_names.py", "body_gender.py"))
NAMES_HEADER = b"# generated from ikol/exchange by scripts/vendor_protocol.py; do not edit\n"
PACKAGE_INIT = b'# SPDX-License-Identifier: Apache-2.0\n"""Copies of code that the add-on shares with the solver."""\n'


def expected_files() -> dict[Path, bytes]:
    """Give what has to be in the add-on: the path and the bytes of every file."""
    files = {TARGET.parent / "__init__.py": HEADER + PACKAGE_INIT}
    files |= {TARGET.parent / source.name: NAMES_HEADER + source.read_bytes() for source in NAMES}
    for source in sorted(SOURCE.glob("*.py")):
        files[TARGET / source.name] = HEADER + source.read_bytes()
    return files


def stale_files() -> list[Path]:
    """Give the files of the copy that are missing, differ, or have no source any more."""
    expected = expected_files()
    changed = [path for path, content in expected.items() if not path.exists() or path.read_bytes() != content]
    return changed + [path for path in sorted(TARGET.glob("*.py")) if path not in expected]


def write_copy() -> None:
    """Make the copy equal to its source."""
    TARGET.mkdir(parents=True, exist_ok=True)
    expected = expected_files()
    for path in stale_files():
        if path in expected:
            path.write_bytes(expected[path])
        else:
            path.unlink()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when the copy is stale")
    is_check = parser.parse_args().check
    stale = stale_files()
    for path in stale:
        print(f"{'stale' if is_check else 'written'}: {path.relative_to(ROOT)}")
    if not is_check:
        write_copy()
    return 1 if is_check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
