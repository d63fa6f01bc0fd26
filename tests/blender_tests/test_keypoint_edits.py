# SPDX-License-Identifier: Apache-2.0
"""Locks, mutes, solos, tolerances, presets and parts of the body: from the panel to what the solver is asked."""

from types import SimpleNamespace

import bpy
import pytest


@pytest.fixture
def selected(body, part):
    """The body with its left wrist selected."""
    part("blender.selection").select_points(body, ["left_wrist"], "left_wrist")
    return body


def solves(solver):
    return solver.requests("Solve")


def blocks(entry, tag):
    """Names and arrays of the evidence of a kind, over all blocks of it."""
    found = {}
    for index, block in enumerate(entry["request"]["evidence"]):
        if block["type"] == tag:
            sigmas = entry["arrays"].get(f"evidence.{index}.sigma", [None] * len(block["names"]))
            found.update(dict(zip(block["names"], sigmas, strict=True)))
    return found


def record_of(body, part):
    return part("blender.bodies").read_record(body)


def undo():
    with bpy.context.temp_override(window=bpy.context.window_manager.windows[0]):
        return bpy.ops.ed.undo()


def test_lock_makes_a_pin_and_again_lets_go(solver, selected, part):
    assert bpy.ops.ikol.lock_points() == {"FINISHED"}
    assert "left_wrist" in blocks(solves(solver)[-1], "pins")
    assert record_of(selected, part).edits["left_wrist"].is_locked
    bpy.ops.ikol.lock_points()
    assert not blocks(solves(solver)[-1], "pins")


def test_mute_and_solo_take_the_say_away_and_give_it_back(solver, selected):
    bpy.ops.ikol.mute_points()
    assert "left_wrist" not in blocks(solves(solver)[-1], "keypoints_2d")
    bpy.ops.ikol.mute_points()
    assert "left_wrist" in blocks(solves(solver)[-1], "keypoints_2d")
    bpy.ops.ikol.solo_points()
    assert list(blocks(solves(solver)[-1], "keypoints_2d")) == ["left_wrist"]
    bpy.ops.ikol.solo_points()
    assert len(blocks(solves(solver)[-1], "keypoints_2d")) == 33


def test_remove_restore_and_reset(solver, selected, part):
    with pytest.raises(RuntimeError, match="No keypoint has been removed"):
        bpy.ops.ikol.restore_points()
    bpy.ops.ikol.remove_points()
    assert "left_wrist" not in blocks(solves(solver)[-1], "keypoints_2d")
    bpy.ops.ikol.restore_points()
    assert "left_wrist" in blocks(solves(solver)[-1], "keypoints_2d")
    bpy.ops.ikol.lock_points()
    bpy.ops.ikol.reset_points()
    assert not record_of(selected, part).edits


def test_the_tolerance_in_pixels_is_sent_for_all_selected_points(solver, selected, part):
    part("blender.selection").select_points(selected, ["left_wrist", "nose"], "left_wrist")
    sliders = bpy.context.window_manager.ikol
    sliders.tolerance_px = 12.5
    sigma = blocks(solves(solver)[-1], "keypoints_2d")
    assert (sigma["left_wrist"], sigma["nose"]) == pytest.approx((12.5, 12.5))
    assert sigma["left_knee"] != pytest.approx(12.5)
    assert sliders.tolerance_px == pytest.approx(12.5)
    assert sliders.tolerance_cm == 0.0


def test_the_tolerance_in_centimetres_is_that_of_a_placed_handle(solver, body, part):
    handle = part("blender.handles").find_handles(bpy.context.scene, body)["L_Wrist"]
    handle.location.z += 0.1
    bpy.ops.ikol.resolve()
    bpy.context.view_layer.objects.active = handle
    sliders = bpy.context.window_manager.ikol
    assert sliders.tolerance_cm == pytest.approx(0.5)
    sliders.tolerance_cm = 3.0
    assert blocks(solves(solver)[-1], "keypoints_3d")["L_Wrist"] == pytest.approx(0.03)


def test_an_edit_is_exactly_one_undo_step(solver, selected, part):
    bpy.ops.ed.undo_push(message="before")
    name = selected.name
    bpy.context.window_manager.ikol.tolerance_px = 9.0
    bpy.ops.ikol.mute_points()
    undo()
    edits = record_of(bpy.data.objects[name], part).edits
    assert edits["left_wrist"].tolerance_px == pytest.approx(9.0)
    assert not edits["left_wrist"].is_muted
    undo()
    assert not record_of(bpy.data.objects[name], part).edits


def test_without_a_selected_keypoint_the_buttons_say_so(body):
    with pytest.raises(RuntimeError, match="Select a keypoint: in the panel's list"):
        bpy.ops.ikol.lock_points()


def test_choosing_a_line_of_the_list_selects_point_and_handle(body, part):
    properties = part("blender.keypoint_properties")
    window = bpy.context.window_manager.ikol
    window.index = properties.LISTED.index("R_Knee")
    active = bpy.context.view_layer.objects.active
    assert active["ikol_point"] == "R_Knee"
    assert window.index == properties.LISTED.index("R_Knee")
    window.index = properties.LISTED.index("nose")
    assert bpy.context.view_layer.objects.active == body
    assert properties.chosen_points(bpy.context, body) == ("nose",)
    assert not active.select_get()


@pytest.mark.parametrize("preset", ["PICTURE", "FEET", "ENDS", "MINE"])
def test_every_preset_is_solved(solver, body, preset):
    before = len(solves(solver))
    assert bpy.ops.ikol.apply_preset(preset=preset) == {"FINISHED"}
    assert len(solves(solver)) == before + 1


def test_the_list_has_the_points_of_the_body_and_sorts_by_residual(selected, part):
    keypoints, properties = part("blender.panel_keypoints"), part("blender.keypoint_properties")
    window = bpy.context.window_manager.ikol
    assert [item.point for item in window.points] == list(properties.LISTED)
    stand_in = SimpleNamespace(filter_name="", bitflag_filter_item=1 << 30)
    flags, order = keypoints.IKOL_UL_points.filter_items(stand_in, bpy.context, window, "points")
    assert sum(flag != 0 for flag in flags) == 33 + 13
    assert order == []
    stand_in.filter_name = "left w"
    flags, _ = keypoints.IKOL_UL_points.filter_items(stand_in, bpy.context, window, "points")
    assert [point for point, flag in zip(properties.LISTED, flags, strict=True) if flag] == ["left_wrist"]
    window.sort_by_residual = True
    _, order = keypoints.IKOL_UL_points.filter_items(stand_in, bpy.context, window, "points")
    window.sort_by_residual = False
    assert sorted(order) == list(range(len(properties.LISTED)))
    record = record_of(selected, part)
    residual = part("core.wording").point_residual
    metres = [residual(record, properties.LISTED[order.index(place)]).metres for place in range(33)]
    assert metres == sorted(metres, reverse=True)


def test_the_list_comes_back_with_a_new_file(body, part):
    bpy.ops.wm.read_homefile(use_empty=True)
    assert len(bpy.context.window_manager.ikol.points) == len(part("blender.keypoint_properties").LISTED)


@pytest.mark.parametrize(
    ("chosen", "joints"),
    [
        ("ALL", []),
        ("HEAD", ["Neck", "Head"]),
        ("LEFT_ARM", ["L_Collar", "L_Shoulder", "L_Elbow", "L_Wrist", "L_Hand"]),
    ],
)
def test_a_solve_moves_only_the_chosen_part(solver, body, chosen, joints):
    bpy.context.scene.ikol.part = chosen
    bpy.ops.ikol.resolve()
    assert solves(solver)[-1]["request"]["joints"] == joints
    bpy.ops.ikol.apply_preset(preset="FEET")
    assert solves(solver)[-1]["request"]["joints"] == joints


def test_solve_part_leaves_the_panels_choice_alone(solver, body):
    assert bpy.ops.ikol.solve_part(part="TORSO") == {"FINISHED"}
    assert solves(solver)[-1]["request"]["joints"] == ["Spine1", "Spine2", "Spine3"]
    assert bpy.context.scene.ikol.part == "ALL"


def test_the_selected_bones_are_the_part(solver, body):
    bpy.context.scene.ikol.part = "BONES"
    for bone in body.pose.bones:
        (bone if hasattr(bone, "select") else bone.bone).select = False
    with pytest.raises(RuntimeError, match="No bone is selected"):
        bpy.ops.ikol.resolve()
    knee = body.pose.bones["R_Knee"]
    (knee if hasattr(knee, "select") else knee.bone).select = True
    bpy.ops.ikol.resolve()
    assert solves(solver)[-1]["request"]["joints"] == ["R_Knee"]
