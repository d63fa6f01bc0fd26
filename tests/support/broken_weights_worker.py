# SPDX-License-Identifier: Apache-2.0
"""The real worker, which finds its networks in the folder named by WEIGHTS."""

import os
import sys
from pathlib import Path

from solver_server import worker

if __name__ == "__main__":
    from ikol.regressor import weights

    weights._DATA = Path(os.environ["WEIGHTS"])  # pyright: ignore[reportPrivateUsage]
    sys.exit(worker.main())
