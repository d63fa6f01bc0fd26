# SPDX-License-Identifier: Apache-2.0
"""Record what the pipeline detects on photographs of a whole person: `make_detections.py PICTURE... detections.npz`."""

import sys
from pathlib import Path

import numpy as np

from ikol.pipeline import Keypoints2D, PosePipeline, RelativeKeypoints3D


def main(pictures: list[Path], target: Path) -> None:
    """Write lens, pixels with sigma, and hip-relative points with sigma of the first person of each picture."""
    pipeline = PosePipeline()
    arrays: dict[str, np.ndarray] = {}
    for picture in pictures:
        detection = pipeline.detect(picture.read_bytes())
        lens = detection.intrinsics
        pixels, world = detection.persons[0].evidence
        assert isinstance(pixels, Keypoints2D)
        assert isinstance(world, RelativeKeypoints3D)
        arrays[f"{picture.stem}_lens"] = np.array([lens.width, lens.height, *lens.focal, *lens.center])
        arrays[f"{picture.stem}_pixels"] = np.c_[pixels.points, pixels.sigma].astype(np.float32)
        arrays[f"{picture.stem}_world"] = np.c_[world.points, world.sigma].astype(np.float32)
    np.savez_compressed(target, **arrays)  # pyright: ignore[reportArgumentType] - it may be named as an option


if __name__ == "__main__":
    main([Path(argument) for argument in sys.argv[1:-1]], Path(sys.argv[-1]))
