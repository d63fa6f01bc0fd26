# SPDX-License-Identifier: Apache-2.0
"""Editing keypoints over the photograph: the solver is asked at once, the record is stored, the body posed."""

import bpy
import pytest


@pytest.fixture
def record_of(part):
    return part("blender.bodies").read_record


@pytest.fixture
def select(part, body):
    selection = part("blender.selection")
    return lambda *names: selection.select_points(body, names, names[0] if names else "")


def placed(solver):
    """The points that the last request says the user has placed on the picture."""
    entry = solver.requests("Solve")[-1]
    blocks = enumerate(entry["request"]["evidence"])
    return {
        name: entry["arrays"][f"evidence.{index}.points"][row]
        for index, block in blocks
        if block["type"] == "keypoints_2d" and not block["is_robust"]
        for row, name in enumerate(block["names"])
    }


def test_a_dragged_point_is_sent_as_the_users_own_and_stored(body, solver, record_of):
    before = dict(zip(record_of(body).evidence[0].names, record_of(body).evidence[0].points, strict=True))
    x, y = before["left_wrist"]
    assert bpy.ops.ikol.drag_point(point="left_wrist", offset=(60, -20)) == {"FINISHED"}
    assert placed(solver) == {"left_wrist": pytest.approx([x + 60, y - 20], abs=1e-3)}
    assert record_of(body).edits["left_wrist"].pixel == pytest.approx((x + 60, y - 20), abs=1e-3)


def test_selected_points_are_nudged_together(body, solver, select, record_of):
    evidence = record_of(body).evidence[0]
    before = dict(zip(evidence.names, evidence.points, strict=True))
    select("left_wrist", "nose")
    for _ in range(3):
        bpy.ops.ikol.nudge_points(step=(1, 0))
    edits = record_of(body).edits
    for name in ("left_wrist", "nose"):
        x, y = before[name]
        assert edits[name].pixel == pytest.approx((x + 3, y), abs=1e-3)


def test_a_removed_point_has_no_say_and_is_not_selected_any_more(body, solver, select, record_of, part):
    select("left_wrist", "nose")
    assert bpy.ops.ikol.remove_photo_points() == {"FINISHED"}
    assert record_of(body).edits["left_wrist"].is_removed
    named = {name for block in solver.requests("Solve")[-1]["request"]["evidence"] for name in block.get("names", ())}
    assert not named & {"left_wrist", "nose"}
    assert part("blender.selection").selected_points(body) == ()
    with pytest.raises(RuntimeError, match="No keypoint is selected"):
        bpy.ops.ikol.remove_photo_points()


def test_an_added_point_is_selected_and_sent(body, solver, part):
    assert bpy.ops.ikol.add_point(point="L_Hand", pixel=(100, 120)) == {"FINISHED"}
    assert placed(solver) == {"L_Hand": pytest.approx([100, 120])}
    assert part("blender.selection").active_point(body) == "L_Hand"


def test_a_point_that_the_body_lacks_is_refused(body):
    with pytest.raises(RuntimeError, match="has no point 'tail'"):
        bpy.ops.ikol.add_point(point="tail", pixel=(1, 1))


def test_only_the_chosen_part_may_move(body, solver):
    bpy.context.scene.ikol.part = "LEFT_ARM"
    bpy.ops.ikol.drag_point(point="left_wrist", offset=(5, 5))
    joints = solver.requests("Solve")[-1]["request"]["joints"]
    assert set(joints) == {"L_Collar", "L_Shoulder", "L_Elbow", "L_Wrist", "L_Hand"}


def test_without_a_body_it_says_what_to_select(solver):
    for command in (bpy.ops.ikol.drag_point, bpy.ops.ikol.nudge_points, bpy.ops.ikol.remove_photo_points):
        with pytest.raises(RuntimeError, match="Select a body"):
            command()


def test_selection_survives_names_that_no_body_has(body, part):
    selection = part("blender.selection")
    body.ikol.selected_points, body.ikol.active_point = "nose,,tail,nose", "tail"
    assert selection.selected_points(body) == ("nose",)
    assert selection.active_point(body) == ""
