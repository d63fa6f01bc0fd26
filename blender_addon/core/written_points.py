# SPDX-License-Identifier: GPL-3.0-or-later
"""Points as the solver's Python takes them to write them for other programs: names, places, confidence. numpy only.

In the SMPL world (metres, Y up), or on a picture (pixels from the top left).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .body import FloatArray
from .errors import EvidenceError
from .keypoints import TWINS, KeypointState, keypoint_state, shown_points, target_pixel
from .pose_conversion import project, to_smpl
from .record import KeypointEdit, PhotoCamera, Record, Vector2
from .rig import LANDMARK_NAMES

_NONE = KeypointEdit()


def marker_arrays(names: Sequence[str], places: FloatArray, fps: float) -> dict[str, NDArray[Any]]:
    """Return joints as markers.

    Args:
        names: Of the joints.
        places: (F, J, 3) in Blender's world, metres.
        fps: Frames a second.
    """
    return {"names": np.array(names), "points": to_smpl(places), "fps": np.array(fps)}


def picture_arrays(record: Record) -> dict[str, NDArray[Any]]:
    """Return the keypoints of a photograph as the user's edits leave them.

    What is removed, muted, or not solo is missing. A joint that was placed takes its landmark's name, by which other
    programs know it; what the user has placed, on the picture or in space, is sure.

    Raises:
        EvidenceError: The body has no picture, or none of its keypoints is left.
    """
    camera = record.camera
    if camera is None:
        raise EvidenceError("the body was not made from a picture; it has no keypoints on one")
    rows: dict[str, tuple[float, float, float]] = {}
    placed: set[str] = set()
    in_space = [name for name, edit in record.edits.items() if edit.position is not None]
    for name in dict.fromkeys((*shown_points(record), *in_space)):
        if keypoint_state(record, name) is KeypointState.MUTED:
            continue
        pixel, is_placed = _pixel(record, camera, name)
        known = name if name in LANDMARK_NAMES else TWINS.get(name, name)
        if pixel is not None and (is_placed or known not in placed):
            rows[known] = (*pixel, 1.0 if is_placed else record.confidence.get(name, 1.0))
            placed |= {known} if is_placed else set()
    if not rows:
        raise EvidenceError("no keypoint of the picture counts; bring some back first")
    table = np.array(list(rows.values()), dtype=np.float64)
    return {
        "names": np.array(list(rows)),
        "points": table[None, :, :2],
        "confidence": table[None, :, 2],
        "size": np.array([camera.width, camera.height]),
    }


def _pixel(record: Record, camera: PhotoCamera, name: str) -> tuple[Vector2 | None, bool]:
    """Return where a point is on the picture, and whether the user has placed it."""
    edit = record.edits.get(name, _NONE)
    if edit.pixel is None and edit.position is not None:
        x, y = project(camera, [edit.position])[0]
        return (float(x), float(y)), True
    return target_pixel(record, name), edit.pixel is not None
