# SPDX-License-Identifier: Apache-2.0
"""The tool over the photograph, without a window: what its commands do, and where it says that pixels are."""

import math
from types import SimpleNamespace

import bpy
import numpy as np
import pytest
from mathutils import Matrix

WIDTH, HEIGHT = 900, 700


@pytest.fixture
def record_of(part):
    return part("blender.bodies").read_record


@pytest.fixture
def view(body):
    """A context as an operator has it in a 3D view of 900 x 700 pixels that looks through the body's camera."""
    camera = bpy.context.scene.camera
    window = camera.calc_matrix_camera(bpy.context.evaluated_depsgraph_get(), x=WIDTH, y=HEIGHT)
    return SimpleNamespace(
        scene=bpy.context.scene,
        view_layer=bpy.context.view_layer,
        preferences=bpy.context.preferences,
        mode="OBJECT",
        screen=None,
        window=None,
        area=SimpleNamespace(tag_redraw=lambda: None),
        space_data=SimpleNamespace(type="VIEW_3D", use_local_camera=False, camera=None),
        region=SimpleNamespace(type="WINDOW", width=WIDTH, height=HEIGHT, x=0, y=0),
        region_data=SimpleNamespace(
            view_perspective="CAMERA", perspective_matrix=window @ camera.matrix_world.normalized().inverted()
        ),
        workspace=SimpleNamespace(status_text_set=lambda _text: None),
    )


def test_pixels_of_the_picture_are_where_the_3d_view_shows_the_body(view, body, part, record_of):
    """The solved pixels through the frame's corners, and the solved points through the view's own matrix."""
    seen = part("blender.photo_scene").photo_scene(view)
    solution = record_of(body).solution
    place = part("blender.bodies").body_to_world(body)
    worst = 0.0
    for name, position in solution.points.items():
        x, y, z = part("core.pose_conversion").body_to_scene(position, place)
        clip = np.array(view.region_data.perspective_matrix) @ (x, y, z, 1.0)
        expected = (clip[:2] / clip[3] + 1) * 0.5 * (WIDTH, HEIGHT)
        worst = max(worst, math.dist(seen.view.to_region(solution.pixels[name]), expected))
    assert worst < 0.05, worst  # Blender's matrices are float32: some 1e-5 of 900 pixels


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda view: setattr(view.region_data, "view_perspective", "PERSP"), "does not look through the camera"),
        (lambda view: setattr(view, "space_data", None), "move the mouse over a 3D view"),
        (lambda view: setattr(view.region_data, "perspective_matrix", Matrix.Diagonal((0, 0, 0, 1))), "is not seen"),
        (lambda _view: bpy.data.objects.remove(bpy.context.scene.camera), "its camera was deleted"),
        (lambda _view: bpy.data.objects.remove(bpy.data.objects["IKOL Body"]), "select a body"),
    ],
)
def test_where_nothing_is_seen_it_says_why(view, part, change, sentence):
    change(view)
    with pytest.raises(part("core.errors").AddonError, match=sentence):
        part("blender.photo_scene").photo_scene(view)


def test_a_scene_camera_of_another_body_is_not_this_photograph(view, part):
    other = bpy.data.objects.new("Other", bpy.data.cameras.new("Other"))
    bpy.context.scene.collection.objects.link(other)
    bpy.context.scene.camera = other
    with pytest.raises(part("core.errors").AddonError, match="does not look through"):
        part("blender.photo_scene").photo_scene(view)
    view.space_data.use_local_camera, view.space_data.camera = True, body_camera(part)
    assert part("blender.photo_scene").photo_scene(view).points()


def body_camera(part):
    return part("blender.bodies").body_camera(bpy.context.view_layer.objects.active)


def test_a_renamed_and_hidden_body_keeps_its_points(view, body, part):
    body.name = "Anna"
    body.hide_set(True)
    assert len(part("blender.photo_scene").photo_scene(view).points()) > 10


def test_points_are_computed_once_for_a_record(view, part):
    scene = part("blender.photo_scene")
    scene.photo_scene(view).points()
    points = scene.STATE.points[1]
    scene.photo_scene(view).points()
    assert scene.STATE.points[1] is points


def test_the_tool_is_in_both_toolbars(body):
    from bl_ui.space_toolsystem_toolbar import VIEW3D_PT_tools_active as Toolbar

    for mode in ("OBJECT", "POSE"):
        tools = {tool.idname for tool in Toolbar._tools_flatten(Toolbar._tools[mode]) if tool is not None}
        assert "ikol.photo_points" in tools


def test_every_key_of_the_tool_has_a_command_with_its_properties(body, part):
    for name, _, options in part("blender.photo_tool").KEYMAP:
        module, operator = name.split(".")
        properties = getattr(getattr(bpy.ops, module), operator).get_rna_type().properties
        for key, _ in (options or {}).get("properties", ()):
            assert key in properties, (name, key)


def test_one_click_looks_through_the_camera(body):
    camera = bpy.context.scene.camera
    bpy.context.scene.camera = None
    bpy.context.scene.ikol.show_points = False
    bpy.ops.object.mode_set(mode="EDIT")
    assert bpy.ops.ikol.edit_photo() == {"FINISHED"}
    assert bpy.context.scene.camera == camera
    assert bpy.context.scene.ikol.show_points
    assert bpy.context.mode == "OBJECT"


def test_the_click_says_what_is_missing(body, solver):
    bpy.data.objects.remove(bpy.context.scene.camera)
    with pytest.raises(RuntimeError, match="its camera was deleted"):
        bpy.ops.ikol.edit_photo()


@pytest.fixture
def hover(view, part, monkeypatch):
    """Moves the mouse to a place of the region; the texts of the status bar are in `hover.said`."""
    module, said = part("blender.photo_hover"), []
    view.workspace = SimpleNamespace(status_text_set=said.append)
    monkeypatch.setattr(bpy.app.timers, "register", lambda *_arguments, **_options: None, raising=False)

    def move(at):
        event = SimpleNamespace(mouse_region_x=at[0], mouse_region_y=at[1])
        return module.IKOL_OT_hover_points.invoke(None, view, event)

    move.said = said
    yield move
    module.unregister()


def test_the_point_below_the_mouse_is_marked_and_explained_once(hover, view, part):
    scene = part("blender.photo_scene")
    seen = scene.photo_scene(view)
    point = next(point for point in seen.points() if point.name == "left_wrist")
    place = seen.view.to_region(point.pixel)
    assert hover(place) == {"PASS_THROUGH"}
    assert scene.STATE.hovered == "left_wrist"
    hover((place[0] + 1, place[1]))
    assert len(hover.said) == 1
    assert "Right click or X: remove" in hover.said[0]
    hover((0, 0))
    assert scene.STATE.hovered == ""
    assert hover.said[-1] is None


def test_another_tool_takes_the_hint_away(hover, view, part):
    seen = part("blender.photo_scene").photo_scene(view)
    hover(seen.view.to_region(seen.points()[0].pixel))
    assert part("blender.photo_hover")._watch() is None  # no window here has the tool
    assert part("blender.photo_scene").STATE.hovered == ""


class RecordingLayout:
    """Remembers what is drawn."""

    def __init__(self):
        self.drawn = []

    def prop(self, owner, name, **_options):
        assert name in owner.bl_rna.properties
        self.drawn.append(name)

    def operator(self, name, **_options):
        self.drawn.append(name)


def test_the_tools_settings_lead_to_the_photograph_or_show_how_it_is_seen(view, part):
    tool = part("blender.photo_tool").ObjectPhotoTool
    view.space_data.region_3d = view.region_data
    layout = RecordingLayout()
    tool.draw_settings(view, layout, None)
    assert layout.drawn == ["part", "show_residuals", "display_depth", "alpha"]
    view.region_data.view_perspective = "PERSP"
    layout = RecordingLayout()
    tool.draw_settings(view, layout, None)
    assert layout.drawn == ["ikol.edit_photo"]
