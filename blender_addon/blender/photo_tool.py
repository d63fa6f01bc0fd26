# SPDX-License-Identifier: GPL-3.0-or-later
"""The tool *Photo Keypoints* of object and pose mode, and the command that leads to it in one click."""

import bpy

from ..core.errors import AddonError
from . import photo_hover, photo_overlay, runtime
from .bodies import body_camera, find_body, picture_camera, read_record
from .live import push_undo
from .photo_scene import STATE, TOOL, redraw
from .view_operators import PhotoCameraOperator, look_at_photo, show_picture

_ARROWS = (("LEFT_ARROW", (-1, 0)), ("RIGHT_ARROW", (1, 0)), ("UP_ARROW", (0, -1)), ("DOWN_ARROW", (0, 1)))


def _key(operator: str, kind: str, value: str = "PRESS", flags: str = "", **properties: object) -> tuple:
    """Return one line of the keymap; flags are modifier keys, or "repeat"."""
    chord = {"type": kind, "value": value, **dict.fromkeys(flags.split(), True)}
    return (operator, chord, {"properties": list(properties.items())} if properties else None)


def _nudge_keys() -> tuple:
    return tuple(
        _key("ikol.nudge_points", kind, flags=flags, step=(x * pixels, y * pixels))
        for kind, (x, y) in _ARROWS
        for flags, pixels in (("repeat", 1.0), ("repeat shift", 10.0))
    )


KEYMAP = (
    _key("ikol.add_point", "LEFTMOUSE", "DOUBLE_CLICK"),
    _key("ikol.drag_point", "LEFTMOUSE"),
    _key("ikol.select_point", "LEFTMOUSE", flags="shift"),
    _key("ikol.select_points_box", "LEFTMOUSE", "CLICK_DRAG"),
    _key("ikol.select_points_box", "LEFTMOUSE", "CLICK_DRAG", "shift", extend=True),
    _key("ikol.select_points_box", "LEFTMOUSE", "CLICK_DRAG", "ctrl", subtract=True),
    _key("ikol.select_all_points", "LEFTMOUSE", "CLICK", action="DESELECT"),
    _key("ikol.remove_photo_points", "RIGHTMOUSE", under_mouse=True),
    _key("ikol.remove_photo_points", "X"),
    _key("ikol.remove_photo_points", "DEL"),
    *_nudge_keys(),
    _key("ikol.select_all_points", "A", action="SELECT"),
    _key("ikol.select_all_points", "A", flags="alt", action="DESELECT"),
    _key("ikol.mute_points", "H"),
    _key("ikol.lock_points", "L", flags="ctrl"),
    _key("ikol.hover_points", "MOUSEMOVE", "ANY"),
)


class _PhotoTool:
    """What the tool is in both modes."""

    bl_space_type = "VIEW_3D"
    bl_idname = TOOL
    bl_label = "Photo Keypoints"
    bl_description = (
        "Drag keypoints over the photograph: the body follows.\n"
        "\u2022 Double click: add one for the nearest joint.\n"
        "\u2022 Right click or X: remove.\n"
        "\u2022 Arrow keys: nudge by a pixel"
    )
    bl_icon = "ops.curve.vertex_random"  # a chain of points, like a limb
    bl_cursor = "CROSSHAIR"
    bl_widget = None
    bl_keymap = KEYMAP

    @staticmethod
    def draw_settings(context: bpy.types.Context, layout: bpy.types.UILayout, _tool: object) -> None:
        """Draw the tool's settings in the header and the sidebar."""
        if not _is_seen(context):
            layout.operator("ikol.edit_photo", text="Look Through Photo Camera", icon="VIEW_CAMERA")
            return
        layout.prop(context.scene.ikol, "part")
        layout.prop(context.scene.ikol, "show_residuals")
        backgrounds = body_camera(find_body(context)).data.background_images
        if backgrounds:  # in front and half clear, the photograph is seen through the body
            layout.prop(backgrounds[0], "display_depth", text="Picture")
            layout.prop(backgrounds[0], "alpha", slider=True)


class ObjectPhotoTool(_PhotoTool, bpy.types.WorkSpaceTool):
    """The tool in object mode."""

    bl_context_mode = "OBJECT"


class PosePhotoTool(_PhotoTool, bpy.types.WorkSpaceTool):
    """The tool in pose mode."""

    bl_context_mode = "POSE"


TOOLS = (ObjectPhotoTool, PosePhotoTool)


class IKOL_OT_edit_photo(PhotoCameraOperator, bpy.types.Operator):
    """The command *Edit on Photograph*."""

    bl_idname = "ikol.edit_photo"
    bl_label = "Edit on Photograph"
    bl_description = "Look through the camera of the photograph and take the tool that drags keypoints over it"

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Look through the camera and take the tool."""
        if context.mode not in {"OBJECT", "POSE"}:
            bpy.ops.object.mode_set(mode="OBJECT")
        context.scene.ikol.show_points = True
        if not _is_seen(context):
            try:
                self._look(context, find_body(context))
            except AddonError as error:
                self.report({"ERROR"}, runtime.sentence(error))
                return {"CANCELLED"}
        areas = [] if context.screen is None else [area for area in context.screen.areas if area.type == "VIEW_3D"]
        if areas and not bpy.app.background:
            area = context.area if context.area in areas else max(areas, key=lambda area: area.width * area.height)
            region = next(region for region in area.regions if region.type == "WINDOW")
            with context.temp_override(area=area, region=region):
                area.spaces.active.overlay.show_overlays = True
                bpy.ops.wm.tool_set_by_id(name=TOOL)
        redraw(context)
        return {"FINISHED"}

    def _look(self, context: bpy.types.Context, armature: bpy.types.Object) -> None:
        """Look through the camera, where the user looks through another one of the pose's through that."""
        record, seen_by = read_record(armature), context.scene.camera
        seen = [number for number in range(len(record.pictures)) if picture_camera(armature, number) == seen_by]
        if seen_by is None or not seen or seen_by == body_camera(armature):
            look_at_photo(context, armature, record)
        else:
            show_picture(context, armature, seen[0])
            push_undo(self.bl_label)


def _is_seen(context: bpy.types.Context) -> bool:
    """Return whether a view of the context shows the photograph; a panel's own region does not."""
    space = context.space_data
    region_3d = space.region_3d if space is not None and space.type == "VIEW_3D" else None
    armature = find_body(context)
    if region_3d is None or region_3d.view_perspective != "CAMERA" or armature is None:
        return False
    seen_by = space.camera if space.use_local_camera else context.scene.camera
    return seen_by is not None and seen_by == body_camera(armature)


def register() -> None:
    """Put the tool into the toolbar and draw the points from now on."""
    for tool in TOOLS:
        bpy.utils.register_tool(tool, after={"builtin.cursor"}, separator=tool.bl_context_mode == "OBJECT")
    photo_overlay.register()


def unregister() -> None:
    """Take both back; what was never registered is no error."""
    photo_overlay.unregister()
    photo_hover.unregister()
    STATE.dragged = STATE.box = STATE.points = None
    for tool in reversed(TOOLS):
        if hasattr(tool, "_bl_tool"):  # Blender's own mark of a registered one
            bpy.utils.unregister_tool(tool)
