# SPDX-License-Identifier: GPL-3.0-or-later
"""What the solver knows, drawn into the scene: an ellipsoid for each joint, and the mesh coloured by what it misses."""

import contextlib
from dataclasses import dataclass

import bpy
import gpu
import numpy as np
from gpu_extras.batch import batch_for_shader

from ..core.errors import AddonError
from ..core.insight import FloatArray, ellipsoid_lines, joint_heat, spread_color, spread_of, vertex_colors
from ..core.pose_conversion import body_to_scene
from ..core.rig import Tree
from .armature import find_mesh
from .bodies import body_to_world, find_body, get_body
from .insight import inspection_of
from .photo_scene import newest_record
from .posing import body_tree

LINE_WIDTH = 1.5
HEAT_ALPHA = 0.85
LIFT_METRES = 0.002
"""The colours lie this far before the skin: on it, the two would fight for each pixel."""
DARKEST = 0.45
"""Brightness of what faces sideways: without shading a body of one colour is a silhouette."""


@dataclass
class _Skin:
    """What of a mesh stays the same from one redraw to the next."""

    name: str
    triangles: FloatArray
    weights: FloatArray


class _Holder:
    handle: object = None
    skin: _Skin | None = None


def draw() -> None:
    """Draw into the 3D view of the context."""
    context = bpy.context
    settings, space = context.scene.ikol, context.space_data
    if not (settings.show_uncertainty or settings.show_heat) or not space.overlay.show_overlays:
        return
    armature = find_body(context)
    if armature is None or not armature.visible_get(view_layer=context.view_layer):
        return
    with contextlib.suppress(AddonError):  # the panel says why nothing can be drawn
        get_body(armature.name)
        if settings.show_heat:
            _draw_heat(context, armature)
        if settings.show_uncertainty:
            _draw_ellipsoids(armature)


def _draw_ellipsoids(armature: bpy.types.Object) -> None:
    known = inspection_of(armature)
    if known is None:
        return
    record, inspection = known
    place = body_to_world(armature)
    to_world = armature.matrix_world
    ends: list[FloatArray] = []
    colors: list[FloatArray] = []
    for joint, covariance in zip(record.tree.names, inspection.joint_covariance, strict=True):
        position = record.solution.points.get(joint)
        if position is None:
            continue
        lines = ellipsoid_lines(covariance, np.zeros(3))
        # where the joint is now, which in a drag is not where it was when this was asked
        origin = body_to_scene(np.zeros(3), place)
        ends.append(body_to_scene(lines, place) - origin + np.array(to_world @ armature.pose.bones[joint].head))
        spread = spread_of(covariance, position, record.camera)
        colors.append(np.tile(spread_color(max(spread.in_picture, spread.depth)), (2 * len(lines), 1)))
    if not ends:
        return
    shader = gpu.shader.from_builtin("SMOOTH_COLOR")
    points = np.concatenate(ends).reshape(-1, 3)
    batch = batch_for_shader(
        shader, "LINES", {"pos": points.astype("float32"), "color": np.concatenate(colors).astype("float32")}
    )
    gpu.state.blend_set("ALPHA")
    gpu.state.line_width_set(LINE_WIDTH)
    batch.draw(shader)
    gpu.state.line_width_set(1.0)
    gpu.state.blend_set("NONE")


def _draw_heat(context: bpy.types.Context, armature: bpy.types.Object) -> None:
    thing = find_mesh(armature)
    if thing is None or not thing.visible_get(view_layer=context.view_layer):
        return
    heat = joint_heat(newest_record(armature))
    skin = _skin_of(thing, body_tree(armature))
    evaluated = thing.evaluated_get(context.evaluated_depsgraph_get())
    points = _read(evaluated.data.vertices, "co")
    if len(points) != len(skin.weights):  # a modifier has changed the mesh
        return
    normals = _read(evaluated.data.vertex_normals, "vector")
    matrix = np.array(evaluated.matrix_world)
    points = (points + LIFT_METRES * normals) @ matrix[:3, :3].T + matrix[:3, 3]
    towards = np.array(context.region_data.view_matrix)[2, :3]
    facing = np.abs(normals @ matrix[:3, :3].T @ towards)
    colors = vertex_colors(heat, skin.weights)
    colors[:, :3] *= (DARKEST + (1 - DARKEST) * facing)[:, None]
    colors[:, 3] = HEAT_ALPHA
    shader = gpu.shader.from_builtin("SMOOTH_COLOR")
    batch = batch_for_shader(
        shader,
        "TRIS",
        {"pos": points.astype("float32"), "color": colors.astype("float32")},
        indices=skin.triangles,
    )
    gpu.state.blend_set("ALPHA")
    gpu.state.depth_test_set("LESS_EQUAL")
    gpu.state.depth_mask_set(True)
    gpu.state.face_culling_set("BACK")
    batch.draw(shader)
    gpu.state.face_culling_set("NONE")
    gpu.state.depth_mask_set(False)
    gpu.state.depth_test_set("NONE")
    gpu.state.blend_set("NONE")


def _skin_of(thing: bpy.types.Object, tree: Tree) -> _Skin:
    """Return triangles and skinning weights of a mesh; read once, since that takes a tenth of a second."""
    skin, mesh = _Holder.skin, thing.data
    if skin is not None and skin.name == thing.name and len(skin.weights) == len(mesh.vertices):
        return skin
    mesh.calc_loop_triangles()
    triangles = np.empty(3 * len(mesh.loop_triangles), dtype=np.int32)
    mesh.loop_triangles.foreach_get("vertices", triangles)
    columns = {group.index: tree.index(group.name) for group in thing.vertex_groups if group.name in tree.names}
    weights = np.zeros((len(mesh.vertices), len(tree.names)))
    for vertex in mesh.vertices:
        for member in vertex.groups:
            if member.group in columns:
                weights[vertex.index, columns[member.group]] = member.weight
    _Holder.skin = _Skin(thing.name, triangles.reshape(-1, 3), weights)
    return _Holder.skin


def _read(collection: "bpy.types.bpy_prop_collection", name: str) -> FloatArray:
    values = np.empty(3 * len(collection), dtype=np.float32)
    collection.foreach_get(name, values)
    return values.reshape(-1, 3).astype(np.float64)


def register() -> None:
    """Draw from now on; in background mode nothing is ever drawn."""
    if not bpy.app.background:
        _Holder.handle = bpy.types.SpaceView3D.draw_handler_add(draw, (), "WINDOW", "POST_VIEW")


def unregister() -> None:
    """Draw no more."""
    if _Holder.handle is not None:
        bpy.types.SpaceView3D.draw_handler_remove(_Holder.handle, "WINDOW")
    _Holder.handle = _Holder.skin = None
