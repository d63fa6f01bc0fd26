# SPDX-License-Identifier: Apache-2.0
"""The panels' drawing, with a stand-in for Blender's layout that refuses what Blender would complain of."""

import time
from types import SimpleNamespace

import bpy
import pytest

ICONS = set(bpy.types.UILayout.bl_rna.functions["label"].parameters["icon"].enum_items.keys())


class RecordingLayout:
    """Takes every layout call, refuses unknown icons, commands and properties, and remembers what is drawn."""

    def __init__(self, seen=None):
        self.seen = seen or SimpleNamespace(texts=[], operators=[], progress=[], props=[], menus=[], switches=[])

    def label(self, text="", icon="NONE", **_options):
        assert icon in ICONS
        self.seen.texts.append(text)

    def operator(self, name, text="", icon="NONE", **_options):
        module, _, command = name.partition(".")
        getattr(getattr(bpy.ops, module), command).get_rna_type()  # KeyError for a command that is not there
        assert icon in ICONS
        self.seen.operators.append((name, text))
        switch = SimpleNamespace()
        self.seen.switches.append(switch)
        return switch

    def menu(self, name, icon="NONE", **_options):
        assert hasattr(bpy.types, name)
        assert icon in ICONS
        self.seen.menus.append(name)

    def progress(self, factor, text, **_options):
        self.seen.progress.append((factor, text))

    def prop(self, data, name, icon="NONE", **_options):
        assert name in data.bl_rna.properties
        assert icon in ICONS
        self.seen.props.append(name)

    def template_list(self, kind, _identifier, data, name, active_data, active_name, **_options):
        assert hasattr(bpy.types, kind)
        assert name in data.bl_rna.properties
        assert active_name in active_data.bl_rna.properties

    def separator(self, **_options):
        pass

    def _child(self, *_arguments, **_options):
        return RecordingLayout(self.seen)

    row = column = box = split = grid_flow = menu_pie = _child

    def panel(self, _identifier, **_options):
        """A part that can be folded away, and is open."""
        return self._child(), self._child()


def draw(kind):
    layout = RecordingLayout()
    instance = SimpleNamespace(layout=layout)
    for name, method in vars(kind).items():
        if name.startswith("_draw"):
            setattr(instance, name, method.__get__(instance))
    kind.draw(instance, bpy.context)
    return layout.seen


@pytest.fixture
def panel(extension):
    """Gives a panel or menu class by its name."""
    return lambda name: getattr(bpy.types, name)


def test_the_panel_has_one_big_button_that_follows_the_state(solver, preferences, panel):
    main = panel("IKOL_PT_main")
    assert draw(main).operators[0] == ("ikol.start_solver", "Start Solver")
    bpy.ops.ikol.start_solver()
    assert draw(main).operators[0] == ("ikol.pick_image", "Pose from Image")
    bpy.ops.ikol.stop_solver()
    preferences.solver_python = ""
    assert ("ikol.install_solver", "Install Solver") in draw(main).operators


def test_an_error_is_one_sentence_in_one_box_with_its_fix_and_a_report(solver, photo, panel):
    solver.behave("missing_module")
    with pytest.raises(RuntimeError):
        bpy.ops.ikol.pose_from_image(filepath=str(photo))
    seen = draw(panel("IKOL_PT_main"))
    assert " ".join(seen.texts).count("lacks the module solver_server") == 1
    assert ("ikol.open_preferences", "Open Preferences") in seen.operators
    assert ("ikol.copy_report", "") in seen.operators


def test_a_command_that_failed_is_told_until_it_is_dismissed(solver, tmp_path, panel):
    with pytest.raises(RuntimeError):
        bpy.ops.ikol.pose_from_image(filepath=str(tmp_path / "none.jpg"))
    seen = draw(panel("IKOL_PT_main"))
    assert "none.jpg" in " ".join(seen.texts)
    assert ("ikol.dismiss", "") in seen.operators
    bpy.ops.ikol.dismiss()
    assert "none.jpg" not in " ".join(draw(panel("IKOL_PT_main")).texts)


def test_the_report_has_state_and_log_and_no_home_folder(solver, photo, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))  # where the fake solver lies
    solver.behave("missing_module")
    with pytest.raises(RuntimeError):
        bpy.ops.ikol.pose_from_image(filepath=str(photo))
    assert bpy.ops.ikol.copy_report() == {"FINISHED"}
    text = bpy.context.window_manager.clipboard
    if not text:
        pytest.skip("this Blender has no clipboard without a window")
    assert "Solver: Solver error" in text
    assert bpy.app.version_string in text
    assert str(tmp_path) not in text


def ready(part):
    living = part("blender.runtime").get()
    deadline = time.monotonic() + 10
    while not living.solver.state.is_ready and time.monotonic() < deadline:
        living.pump()
        time.sleep(0.005)
    return living


def test_the_panels_show_device_and_numbers_of_the_body(body, part, panel):
    ready(part)
    assert "Solver ready (cpu)" in draw(panel("IKOL_PT_main")).texts
    assert "40 mm, assumed" in draw(panel("IKOL_PT_picture")).texts  # 1.1 of the longer side is 39.6 mm
    seen = draw(panel("IKOL_PT_solve"))
    assert ("ikol.resolve", "") in seen.operators
    assert any(text.endswith(" cm") and " px, " in text for text in seen.texts)
    assert body.name in draw(panel("IKOL_PT_body")).texts


def test_a_panel_is_as_high_during_a_drag_as_before(body, part, panel):
    before = draw(panel("IKOL_PT_solve")).texts
    drag = part("blender.live").LiveDrag(bpy.context, body)
    drag.update(part("core.photo_view").nudged(drag.record, ("nose",), (3.0, 0.0)))
    deadline = time.monotonic() + 20
    while not drag.is_settled and time.monotonic() < deadline:
        drag.pump(bpy.context)
        time.sleep(0.002)
    part("blender.bodies").write_record(body, drag.record)
    during = draw(panel("IKOL_PT_solve")).texts
    assert during != before
    assert len(during) == len(before)
    drag.cancel(bpy.context)


def test_the_shape_is_a_lock_measurements_and_ten_sliders(body, panel):
    shape = panel("IKOL_PT_shape")
    assert shape.poll(bpy.context)
    assert draw(shape).props == ["keep_shape", "height", "arm_span", "leg_length", "inseam", *["betas"] * 10]
    bpy.data.objects.remove(body.children[0])
    assert shape.poll(bpy.context) is any("Mesh" in child.name for child in body.children)


def test_the_keypoints_panel_has_list_sliders_and_switches(body, part, panel):
    seen = draw(panel("IKOL_PT_keypoints"))
    assert "Select a keypoint to weigh or lock it" in " ".join(seen.texts)
    part("blender.selection").select_points(body, ["left_wrist"], "left_wrist")
    seen = draw(panel("IKOL_PT_keypoints"))
    assert "Left Wrist: Detected" in seen.texts
    assert "tolerance_px" in seen.props
    assert "tolerance_cm" not in seen.props
    assert ("ikol.lock_points", "Lock") in seen.operators
    bpy.ops.ikol.lock_points()
    seen = draw(panel("IKOL_PT_keypoints"))
    assert "Left Wrist: Locked" in seen.texts
    assert ("ikol.lock_points", "Unlock") in seen.operators


def test_a_line_of_the_list_has_name_residual_and_two_switches(body, part, panel):
    layout = RecordingLayout()
    item = SimpleNamespace(point="left_wrist")
    panel("IKOL_UL_points").draw_item(None, bpy.context, layout, None, item, 0, None, "")
    assert layout.seen.texts[0] == "Left Wrist"
    assert layout.seen.texts[1].endswith(" px")
    assert [(switch.point, switch.action) for switch in layout.seen.switches] == [
        ("left_wrist", "MUTE"),
        ("left_wrist", "LOCK"),
    ]


def test_the_legend_names_every_state(extension, panel):
    assert draw(panel("IKOL_PT_legend")).texts == ["Detected", "Doubtful", "Edited", "Locked", "Muted"]


@pytest.mark.parametrize("name", ["IKOL_PT_body", "IKOL_PT_solve", "IKOL_PT_keypoints"])
def test_a_panel_says_what_to_do_without_a_body(scene, panel, name):
    assert " ".join(draw(panel(name)).texts) == "Drop a photograph into the 3D view, or select a body"


def test_the_server_panel_asks_for_statistics_and_shows_them(solver, part, panel):
    bpy.ops.ikol.start_solver()
    living = ready(part)
    draw(panel("IKOL_PT_server"))
    deadline = time.monotonic() + 5
    while living.solver.statistics is None and time.monotonic() < deadline:
        living.pump()
        time.sleep(0.005)
    seen = draw(panel("IKOL_PT_server"))
    assert {"Device", "Running for", "Memory", "Restarts", "Version"} <= set(seen.texts)
    assert any(text.endswith(" MiB") for text in seen.texts)
    assert ("ikol.restart_solver", "") in seen.operators
    assert ("ikol.stop_solver", "") in seen.operators


def test_a_restart_gives_another_process(solver, part):
    bpy.ops.ikol.start_solver()
    before = part("blender.runtime").get().solver.pid
    assert bpy.ops.ikol.restart_solver() == {"FINISHED"}
    assert part("blender.runtime").get().solver.pid not in (before, None)


def test_grey_buttons_say_why(scene):
    with pytest.raises(RuntimeError, match="The solver does not run"):
        bpy.ops.ikol.stop_solver()
    with pytest.raises(RuntimeError, match="No command runs"):
        bpy.ops.ikol.cancel()
    with pytest.raises(RuntimeError, match="Select a body that was made by Pose from Image"):
        bpy.ops.ikol.look_through()


@pytest.mark.parametrize("name", ["IKOL_MT_pie", "IKOL_MT_body", "IKOL_MT_add", "IKOL_MT_parts", "IKOL_MT_presets"])
def test_every_menu_has_only_commands_that_exist(body, panel, name):
    seen = draw(panel(name))
    assert len(seen.operators) + len(seen.menus) >= 2


def test_blenders_menus_have_our_entries_once_and_lose_them(extension, part):
    menus = part("blender.menus")

    def entries():
        return [
            f for menu, _ in menus.ENTRIES for f in getattr(bpy.types, menu).draw._draw_funcs if "ikol" in f.__module__
        ]

    assert len(entries()) == len(menus.ENTRIES)
    bpy.ops.preferences.addon_disable(module=extension.__name__)
    assert not entries()
    bpy.ops.preferences.addon_enable(module=extension.__name__)
