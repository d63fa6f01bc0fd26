# SPDX-License-Identifier: GPL-3.0-or-later
"""Blender's own start scene: its cube is two metres large and stands around the first body that a new user makes."""

import bpy
from mathutils import Matrix

CUBE_NAME = "Cube"
CUBE_VERTICES = 8
CUBE_SIZE = 2.0
"""Metres along each side."""


def hide_default_cube(context: bpy.types.Context) -> bool:
    """Hide the cube of the start scene when nobody has worked on it; return whether it was."""
    cube = context.view_layer.objects.get(CUBE_NAME)
    if cube is None or not _is_untouched(cube) or cube.hide_get():
        return False
    cube.hide_set(True)
    cube.hide_render = True
    return True


def _is_untouched(cube: bpy.types.Object) -> bool:
    return (
        cube.type == "MESH"
        and len(cube.data.vertices) == CUBE_VERTICES
        and all(abs(side - CUBE_SIZE) < 1e-6 for side in cube.dimensions)
        and cube.matrix_world == Matrix.Identity(4)
        and cube.animation_data is None
        and not cube.modifiers
        and not cube.constraints
        and not cube.children
        and cube.parent is None
    )
