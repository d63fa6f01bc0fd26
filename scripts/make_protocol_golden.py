# SPDX-License-Identifier: Apache-2.0
"""Write tests/golden/protocol: every message as JSON and as bytes. Run it only when the wire is meant to change."""

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

import protocol_cases  # noqa: E402  (found through the path above)


def main() -> None:
    protocol_cases.GOLDEN.mkdir(parents=True, exist_ok=True)
    for name, case in protocol_cases.cases().items():
        path = protocol_cases.GOLDEN / f"{name}.json"
        path.write_text(json.dumps(protocol_cases.golden_content(case), indent=1) + "\n", encoding="utf-8")
        print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
