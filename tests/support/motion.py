# SPDX-License-Identifier: Apache-2.0
"""Captured motion for tests: fetched when it is asked for, skipped where the package index cannot be reached."""

import re
from functools import cache
from pathlib import Path

import pytest
from torch import Tensor

from ikol.errors import InputError
from ikol.evaluation.motion_clips import fetch_motion_archive, read_motion_clips

ROOT = Path(__file__).resolve().parents[2]


@cache
def motion_archive() -> Path:
    """The wheel with the clips, of the pinned version."""
    pinned = re.search(r"^pybullet==\S+", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned is not None
    try:
        return fetch_motion_archive(ROOT / ".cache" / "motion", pinned.group())
    except InputError as error:
        pytest.skip(f"captured motion is read from a package: {error}")


@cache
def motion_poses() -> Tensor:
    """Local rotations of 1 620 frames, float64."""
    return read_motion_clips(motion_archive())
