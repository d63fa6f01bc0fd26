# SPDX-License-Identifier: GPL-3.0-or-later
"""What comes after an undo step that was made in the middle of a drag: kept, so that undo and redo bring it back.

Blender makes a step when its own tool ends, and the add-on makes one while a slider moves; the drag's last answer may
come later than that. The step has a mark, and under the mark's token the end of the drag is kept here.
"""

from typing import NamedTuple

import bpy
import msgspec

from ..core.record import Pose, Record
from ..core.rig import DRAG_PROPERTY
from .posing import BoneValues

MAX_LATER = 64
"""More than Blender keeps undo steps by default; a record has some 20 kB."""


class Mark(msgspec.Struct, frozen=True):
    """What an armature has in an undo step that was made in the middle of a drag.

    `token` says which drag, `initial` is the pose at its start.
    """

    token: str
    initial: Pose


class Later(NamedTuple):
    """Edits and shape after the step; `bones` once every wish was answered, of which `answers` were applied."""

    record: Record
    betas: tuple[float, ...]
    bones: dict[str, BoneValues] | None
    answers: int


_LATER: dict[str, Later] = {}


def keep(token: str, later: Later) -> None:
    """Keep what is newest of a drag, and forget the oldest drag where there are many."""
    _LATER.pop(token, None)
    _LATER[token] = later
    if len(_LATER) > MAX_LATER:
        del _LATER[next(iter(_LATER))]


def kept(mark: Mark | None) -> Later | None:
    """Return what was kept of the drag of a mark."""
    return None if mark is None else _LATER.get(mark.token)


def read_mark(armature: bpy.types.Object) -> Mark | None:
    """Return the mark of the drag in whose middle an undo step was made; None without one."""
    try:
        return msgspec.json.decode(str(armature.get(DRAG_PROPERTY, "")), type=Mark)
    except msgspec.MsgspecError:  # there is none, or a file holds something else
        return None


def write_mark(armature: bpy.types.Object, mark: Mark) -> None:
    """Mark an armature."""
    armature[DRAG_PROPERTY] = msgspec.json.encode(mark).decode("ascii")
