# SPDX-License-Identifier: GPL-3.0-or-later
"""A body's motion as AMASS's numbers: rotations, translation and shape, without a mesh."""

from collections.abc import Sequence
from pathlib import Path

import bpy
import numpy as np
from mathutils import Matrix

from .._vendor.body_gender import gender_of_file
from ..core.errors import SceneError
from ..core.motion_file import SMPL_PELVIS, amass_arrays
from ..core.pose_conversion import SCALE_TOLERANCE, to_blender
from . import runtime
from .armature import read_betas
from .export_copy import bake
from .own_body import body_name, check_body, current_body
from .posing import body_tree


def write_motion(context: bpy.types.Context, armature: bpy.types.Object, path: str, frames: Sequence[int]) -> None:
    """Write where the joints turn in the scene; Z is up, and whatever moves them is in it.

    The shape is that of an own body's file. SMPL's betas mean nothing on the default body: there the mean is written.

    Raises:
        AddonError: The body is scaled, or is not the one in use.
        OSError: The file cannot be written.
    """
    tree, body = body_tree(armature), current_body()
    baked = bake(context, armature, tree, frames)
    check_body(armature, body)
    if abs(baked.scale - 1) > SCALE_TOLERANCE:
        raise SceneError(
            f"{armature.name} has scale {baked.scale:.3f}, of which a file of rotations knows nothing; set it to 1"
        )
    betas = body.complete(read_betas(armature, ()))
    rest, pelvis = body.rest_joints(betas)[0], baked.posed[:, 0, :3, 3]
    if not body_name():  # it stands as high over its feet as on its own body
        pelvis = pelvis + to_blender(np.array(SMPL_PELVIS) - rest)
        rest, betas = np.array(SMPL_PELVIS), (0.0,) * body.num_betas
    quats = np.array([[Matrix(turn).to_quaternion() for turn in frame] for frame in baked.posed[..., :3, :3].tolist()])
    fps = context.scene.render.fps / context.scene.render.fps_base
    gender = gender_of_file(runtime.body_file())
    with Path(path).open("wb") as file:
        np.savez(file, gender=np.array(gender), **amass_arrays(tree, quats, pelvis, rest, betas, fps))
