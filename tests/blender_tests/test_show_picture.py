# SPDX-License-Identifier: Apache-2.0
"""Several pictures of one pose: any of them is looked through and edited, whatever became of the others' cameras."""

from types import SimpleNamespace

import bpy
import pytest


@pytest.fixture
def posed(solver, tmp_path, make_png):
    """The armature after three pictures of one pose, the last of another shape."""
    sizes = {"a.png": (300, 400), "b.png": (300, 400), "c.png": (400, 200)}
    files = [{"name": make_png(tmp_path / name, *size).name} for name, size in sizes.items()]
    assert bpy.ops.ikol.pose_from_images(directory=str(tmp_path), files=files) == {"FINISHED"}
    return bpy.context.view_layer.objects.active


@pytest.fixture
def record_of(part):
    return part("blender.bodies").read_record


def cameras():
    return [thing for thing in bpy.data.objects if thing.type == "CAMERA"]


def show(number):
    assert bpy.ops.ikol.show_picture(number=number) == {"FINISHED"}


def place(name, pixel):
    assert bpy.ops.ikol.add_point(point=name, pixel=pixel) == {"FINISHED"}


def test_the_picture_is_looked_through_and_rendered_in_its_shape(posed, record_of):
    bones = {bone.name: bone.matrix.copy() for bone in posed.pose.bones}
    show(2)
    assert bpy.context.scene.camera is posed["ikol_camera"] is cameras()[2]
    render = bpy.context.scene.render
    assert (render.resolution_x, render.resolution_y) == (400, 200)
    record = record_of(posed)
    assert [picture.name for picture in record.pictures] == ["a.png", "b.png", "c.png"]
    assert (record.shown, record.camera.width) == (2, 400)
    assert record.evidence[0] == record.pictures[2].keypoints
    assert {bone.name: bone.matrix for bone in posed.pose.bones} == bones


def test_the_solved_points_are_where_the_new_picture_shows_the_body(posed, record_of, part):
    show(1)
    record = record_of(posed)
    assert record.solution.pixels.keys() == record.solution.points.keys()
    (seen,) = part("core.pose_conversion").project(record.camera, [record.solution.points["Head"]])
    assert record.solution.pixels["Head"] == pytest.approx(tuple(seen))


def test_a_keypoint_placed_on_one_picture_is_sent_with_its_camera_while_another_is_edited(posed, solver, record_of):
    place("left_wrist", (20.0, 30.0))
    show(1)
    place("right_wrist", (40.0, 50.0))
    (*_, asked) = solver.requests("Solve")
    blocks = {block["type"]: block for block in asked["request"]["evidence"]}
    elsewhere = blocks["view_keypoints_2d"]
    assert elsewhere["names"][0] == "left_wrist"
    record = record_of(posed)
    assert elsewhere["camera"]["translation"] == pytest.approx(record.pictures[0].camera.translation, abs=1e-6)
    assert asked["request"]["camera"]["translation"] == pytest.approx(record.pictures[1].camera.translation, abs=1e-6)
    assert record.edits.keys() == {"right_wrist"}
    show(0)
    assert record_of(posed).edits.keys() == {"left_wrist"}


def test_a_moved_camera_of_another_picture_is_the_one_that_is_meant(posed, record_of):
    show(1)
    cameras()[0].location.z += 0.5
    bpy.context.view_layer.update()
    before = record_of(posed).pictures[0].camera
    show(0)
    # Blender's z is SMPL's y, which an almost level camera sees upside down
    moved = record_of(posed).camera.translation
    assert moved[1] - before.translation[1] == pytest.approx(0.5, abs=0.1)


def test_without_the_first_camera_the_others_still_do(posed, record_of):
    bpy.data.objects.remove(cameras()[0])
    assert not bpy.ops.ikol.edit_photo.poll()
    show(1)
    assert bpy.ops.ikol.edit_photo.poll()
    place("left_wrist", (20.0, 30.0))
    with pytest.raises(RuntimeError, match=r"The camera of a\.png was deleted"):
        bpy.ops.ikol.show_picture(number=0)
    assert record_of(posed).shown == 1


def test_a_picture_that_there_is_not_is_refused(posed, body_of_one):
    with pytest.raises(RuntimeError, match=r"has no picture 4"):
        bpy.ops.ikol.show_picture(number=3)
    bpy.context.view_layer.objects.active = body_of_one
    with pytest.raises(RuntimeError, match=r"has no picture 1; it was made from single\.png"):
        bpy.ops.ikol.show_picture(number=0)


@pytest.fixture
def body_of_one(posed, tmp_path, make_png):
    """A second body, of a single picture."""
    bpy.ops.ikol.pose_from_image(filepath=str(make_png(tmp_path / "single.png", 300, 400)))
    single = bpy.context.view_layer.objects.active
    bpy.context.view_layer.objects.active = posed
    return single


def test_edit_on_photograph_takes_the_picture_that_is_looked_through(posed, record_of):
    bpy.context.scene.camera = cameras()[1]
    assert bpy.ops.ikol.edit_photo() == {"FINISHED"}
    assert record_of(posed).shown == 1
    assert posed["ikol_camera"] is cameras()[1]


def test_undo_leads_back_to_the_picture_before(posed, record_of):
    bpy.ops.ed.undo_push(message="posed")
    show(1)
    bpy.ops.ed.undo_push(message="shown")
    bpy.ops.ed.undo()
    body = bpy.data.objects["IKOL Body"]
    assert record_of(body).shown == 0
    assert body["ikol_camera"] == bpy.data.objects["IKOL Camera"]


def test_a_new_photograph_for_the_body_replaces_all_pictures(posed, record_of, tmp_path, make_png):
    bpy.context.scene.ikol.target = "ACTIVE"
    bpy.ops.ikol.pose_from_image(filepath=str(make_png(tmp_path / "single.png", 300, 400)))
    assert record_of(posed).pictures == ()
    assert [name for name in posed.keys() if name.startswith("ikol_camera")] == ["ikol_camera"]  # noqa: SIM118


def test_the_panel_lists_the_pictures_and_greys_out_those_without_a_camera(posed, part):
    bpy.data.objects.remove(cameras()[1])
    drawn = []

    class Row:
        enabled = True

        def operator(self, name, **options):
            drawn.append((options["text"], options["depress"], self))
            return SimpleNamespace(number=0)

    column = SimpleNamespace(row=lambda **_: Row())
    layout = SimpleNamespace(column=lambda **_: column)
    part("blender.panel_picture")._draw_pictures(layout, posed, part("blender.bodies").read_record(posed))
    assert [(text, is_shown, row.enabled) for text, is_shown, row in drawn] == [
        ("a.png", True, True),
        ("b.png", False, False),
        ("c.png", False, True),
    ]
