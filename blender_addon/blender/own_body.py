# SPDX-License-Identifier: GPL-3.0-or-later
"""Which body is in use: the default one, or the user's own file that the preferences name.

Here: reading it once, and comparing a body in the scene with it. Not here: the file's layout (core/body.py).
"""

from functools import lru_cache
from pathlib import Path

import bpy
import numpy as np
from numpy.typing import NDArray

from ..core.body import BodyData, load_body, load_posedirs
from ..core.measurements import Measurer, measurer_of
from ..core.pose_conversion import to_smpl
from ..core.rig import BODY_FILE_PROPERTY, BONES_SHAPE_PROPERTY, tree_of_bones
from . import runtime

DEFAULT_BODY_PATH = Path(__file__).parents[1] / "data" / "default_body.npz"


def current_body() -> BodyData:
    """Return the body that the preferences name.

    Raises:
        FileError: The file is missing or is not a body.
    """
    return _load(*_file())


def current_measurer() -> Measurer:
    """Return what measures the body that the preferences name.

    Raises:
        FileError: The file is missing or is not a body.
    """
    return _measurer(*_file())


def current_posedirs() -> NDArray[np.float32] | None:
    """Return the pose correctives of the body that the preferences name; None for one without. It takes a while.

    Raises:
        FileError: They cannot be read.
    """
    return load_posedirs(_file()[0], current_body())


def _file() -> tuple[Path, int, str]:
    """Return the body's file, when it was changed, and what helps where it is no body."""
    name = runtime.body_file()
    path = Path(name) if name else DEFAULT_BODY_PATH
    changed = path.stat().st_mtime_ns if path.is_file() else 0
    return path, changed, "name another file in the preferences" if name else "install the add-on again"


@lru_cache(maxsize=1)  # a drag's start looks at it: reading takes a tenth of a second
def _load(path: Path, _changed: int, remedy: str) -> BodyData:
    return load_body(path, remedy)


@lru_cache(maxsize=1)
def _measurer(path: Path, changed: int, remedy: str) -> Measurer:
    return measurer_of(_load(path, changed, remedy))


def body_name() -> str:
    """Return the name of the user's own body file, empty for the default body."""
    return Path(runtime.body_file()).name


def check_fits(armature: bpy.types.Object) -> None:
    """Check that a body in the scene is the one that the solver poses. Without own bodies there is nothing to check.

    Raises:
        FileError: The own body's file is missing or is not a body.
        SceneError: The armature was made with another body.
    """
    if runtime.body_file() or armature.get(BODY_FILE_PROPERTY):
        check_body(armature, current_body())


def check_body(armature: bpy.types.Object, body: BodyData) -> None:
    """Check that a body in the scene is this one, in whichever shape.

    Raises:
        SceneError: The armature was made with another body.
    """
    bones = armature.data.bones
    tree = tree_of_bones(bones.keys())
    if any(name not in bones for name in tree.names):
        return  # renamed or deleted bones: whoever poses them says so
    joints = to_smpl(np.array([bones[name].head_local for name in tree.names], dtype=np.float64))
    made_with = armature.get(BODY_FILE_PROPERTY) or "the default body"
    betas = armature.data.get(BONES_SHAPE_PROPERTY, ())
    body.check_joints(tree, joints, f"{armature.name} ({made_with})", body_name() or "the default body", tuple(betas))
