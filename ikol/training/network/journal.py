# SPDX-License-Identifier: Apache-2.0
"""What a training says while it runs: numbers as JSON lines and for TensorBoard, pictures as files and for TensorBoard.

Imports: torch, Pillow; tensorboard where it is installed.
"""

import json
import time
from pathlib import Path
from types import TracebackType

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from ikol.errors import InputError


class Journal:
    """Writes to a folder; on all processes but the first it does nothing."""

    def __init__(self, folder: Path, is_first: bool) -> None:
        """Open the files.

        Raises:
            InputError: TensorBoard is not installed.
        """
        self._folder, self._is_first, self._writer = folder, is_first, None
        if not is_first:
            return
        try:
            from torch.utils.tensorboard.writer import SummaryWriter  # noqa: PLC0415 - only training needs it
        except ImportError as error:
            raise InputError("training needs tensorboard: pip install -c constraints.txt tensorboard") from error
        folder.mkdir(parents=True, exist_ok=True)
        self._writer = SummaryWriter(str(folder / "tensorboard"))

    def __enter__(self) -> "Journal":
        """Return the journal."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the files."""
        if self._writer is not None:
            self._writer.close()

    def numbers(self, group: str, values: dict[str, float], step: int) -> None:
        """Write numbers of a step."""
        if self._writer is None:
            return
        for name, value in values.items():
            self._writer.add_scalar(f"{group}/{name}", value, step)
        line = {"time": round(time.time(), 1), "step": step, "group": group, **values}
        with (self._folder / "journal.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def picture(self, name: str, picture: UInt8[np.ndarray, "height width 3"] | None, step: int) -> None:
        """Write a picture of a step."""
        if self._writer is None or picture is None:
            return
        self._writer.add_image(name, picture, step, dataformats="HWC")
        pictures = self._folder / "pictures"
        pictures.mkdir(exist_ok=True)
        Image.fromarray(picture).save(pictures / f"{name}_{step:09d}.jpg", quality=90)
