# SPDX-License-Identifier: Apache-2.0
"""Persons of a photograph: found, clicked, boxed; the scene's own camera and a bent lens; doubtful poses."""

import bpy
import numpy as np
import pytest


def bodies():
    return [thing for thing in bpy.data.objects if thing.type == "ARMATURE"]


@pytest.fixture
def found(solver, photo):
    """The camera of a photograph on which three persons were found, none of them posed."""
    solver.behave(persons=3)
    assert bpy.ops.ikol.find_people(filepath=str(photo)) == {"FINISHED"}
    return bpy.context.scene.camera


def people(part):
    return part("blender.people_scene").read_people(bpy.context.scene.camera)


def test_all_are_marked_and_none_is_posed(found, solver, part):
    assert bodies() == []
    assert len(people(part).persons) == 3
    assert not people(part).is_placed
    assert found.data.background_images[0].image is not None
    request = solver.requests("Detect")[0]["request"]
    assert (request["thorough"], request["max_persons"]) == (True, 16)


def test_the_choice_in_the_panel_leads_there_too(solver, photo, part):
    solver.behave(persons=2)
    bpy.context.scene.ikol.persons = "CHOOSE"
    assert bpy.ops.ikol.pose_from_image(filepath=str(photo)) == {"FINISHED"}
    assert bodies() == []
    assert len(people(part).persons) == 2


def test_the_clicked_person_becomes_a_body_and_places_the_camera(found, solver, part):
    before = found.matrix_world.copy()
    assert bpy.ops.ikol.pose_person(person=2) == {"FINISHED"}
    (body,) = bodies()
    assert body["ikol_camera"] == found
    assert found.matrix_world != before
    assert [person.body for person in people(part).persons] == ["", body.name, ""]
    assert people(part).is_placed
    assert solver.requests("Solve")[0]["request"]["camera"].get("rotation") is None
    assert part("blender.bodies").read_record(body).box == people(part).persons[1].box


def test_the_next_person_is_seen_by_the_camera_that_stands(found, solver, part):
    bpy.ops.ikol.pose_person(person=1)
    bpy.context.view_layer.update()
    place = found.matrix_world.copy()
    bpy.ops.ikol.pose_person(person=3)
    assert len(bodies()) == 2
    assert found.matrix_world == place
    first, second = bodies()
    record = part("blender.bodies").read_record(first)
    sent = next(
        each["request"]["camera"] for each in solver.requests("Solve") if each["request"]["camera"].get("rotation")
    )
    np.testing.assert_allclose(sent["rotation"], record.camera.rotation, atol=1e-5)  # Blender's float32
    np.testing.assert_allclose(sent["translation"], record.camera.translation, atol=1e-4)
    assert second["ikol_camera"] == found


def test_a_person_that_is_not_there_is_said(found):
    with pytest.raises(RuntimeError, match="There is no person 9"):
        bpy.ops.ikol.pose_person(person=9)
    assert bodies() == []


def test_a_box_is_looked_into_and_its_person_joins_the_others(found, solver, part):
    assert bpy.ops.ikol.box_person(box=(50.0, 60.0, 120.0, 200.0)) == {"FINISHED"}
    request = solver.requests("Detect")[-1]["request"]
    assert request["boxes"] == [[50.0, 60.0, 120.0, 200.0]]
    assert not request["thorough"]
    assert len(people(part).persons) == 4
    assert people(part).persons[3].body == bodies()[0].name


def test_an_empty_box_says_what_to_do(found, solver, part):
    part("blender.runtime").get().solver.close()
    solver.behave(persons=0)
    with pytest.raises(RuntimeError, match="No person is seen in this box"):
        bpy.ops.ikol.box_person(box=(50.0, 60.0, 120.0, 200.0))
    assert bodies() == []


def test_without_a_search_there_is_nobody_to_pose(solver, scene):
    assert not bpy.ops.ikol.pose_person.poll()
    assert not bpy.ops.ikol.box_person.poll()
    assert not bpy.ops.ikol.choose_people.poll()


def test_a_photograph_without_persons_can_be_boxed(solver, photo, part):
    solver.behave(persons=0)
    assert bpy.ops.ikol.find_people(filepath=str(photo)) == {"FINISHED"}
    assert people(part).persons == ()
    assert bpy.ops.ikol.box_person.poll()


@pytest.fixture
def own_camera(scene):
    """A user's camera: portrait sensor, 50 mm, shifted, two metres up and six away."""
    data = bpy.data.cameras.new("Mine")
    data.lens, data.sensor_fit, data.sensor_width, data.shift_x = 50.0, "AUTO", 36.0, 0.05
    camera = bpy.data.objects.new("Mine", data)
    bpy.context.collection.objects.link(camera)
    camera.location, camera.rotation_euler = (0.0, -6.0, 2.0), (1.4, 0.0, 0.0)
    scene.camera = camera
    bpy.context.view_layer.update()
    return camera


def test_the_scene_camera_stays_and_its_lens_and_place_are_sent(solver, photo, own_camera):
    place = own_camera.matrix_world.copy()
    bpy.context.scene.ikol.camera = "SCENE"
    assert bpy.ops.ikol.pose_from_image(filepath=str(photo)) == {"FINISHED"}
    (body,) = bodies()
    assert body["ikol_camera"] == own_camera
    assert bpy.context.scene.camera == own_camera
    assert (own_camera.matrix_world, own_camera.data.lens) == (place, 50.0)
    render = bpy.context.scene.render
    assert render.resolution_x * 400 == render.resolution_y * 300
    sent = solver.requests("Solve")[0]["request"]["camera"]
    focal = 50.0 / 36.0 * 400  # AUTO: the sensor's width along the longer side, which is the height of 400
    assert (sent["focal_x"], sent["focal_y"]) == pytest.approx((focal, focal))
    assert sent["center_x"] == pytest.approx(150 - 0.05 * 400)
    assert solver.requests("Detect")[0]["request"]["focal_px"] == pytest.approx(focal)
    rotation, shift = np.array(sent["rotation"]).reshape(3, 3), np.array(sent["translation"])
    # in SMPL's axes (x, z, -y) of Blender's the camera is at (0, 2, 6)
    np.testing.assert_allclose(-rotation.T @ shift, (0.0, 2.0, 6.0), atol=1e-5)


def test_persons_can_be_chosen_before_the_scene_camera(solver, photo, own_camera, part):
    place = own_camera.matrix_world.copy()
    bpy.context.scene.ikol.camera = "SCENE"
    assert bpy.ops.ikol.find_people(filepath=str(photo)) == {"FINISHED"}
    assert people(part).is_placed
    assert bpy.ops.ikol.pose_person(person=1) == {"FINISHED"}
    assert own_camera.matrix_world == place
    assert all(each["request"]["camera"]["rotation"] for each in solver.requests("Solve"))


def test_without_a_perspective_camera_the_user_is_told(solver, photo, own_camera):
    bpy.context.scene.ikol.camera = "SCENE"
    own_camera.data.type = "ORTHO"
    with pytest.raises(RuntimeError, match="not a perspective one"):
        bpy.ops.ikol.pose_from_image(filepath=str(photo))
    bpy.context.scene.camera = None
    with pytest.raises(RuntimeError, match="no camera"):
        bpy.ops.ikol.pose_from_image(filepath=str(photo))


def test_nobody_is_posed_before_a_camera_that_is_no_pinhole_any_more(found, solver):
    bpy.ops.ikol.pose_person(person=1)
    found.data.type = "ORTHO"
    with pytest.raises(RuntimeError, match="not a perspective one"):
        bpy.ops.ikol.pose_person(person=2)
    assert len(bodies()) == 1


def test_a_scene_camera_that_is_removed_meanwhile_is_said(photo, own_camera, part):
    bpy.context.scene.ikol.camera = "SCENE"
    orientation = part("core.photo").read_photo(photo).orientation
    lens, _ = part("blender.lens").choose_lens(bpy.context, np.eye(4), photo, orientation)
    bpy.data.objects.remove(own_camera)
    told = part("core.record").PhotoCamera(300, 400, 500.0, 500.0, 150.0, 200.0)
    with pytest.raises(part("core.errors").SceneError, match="the camera Mine is gone"):
        lens(told)


def test_no_body_is_made_when_the_scene_camera_is_gone_at_the_end(solver, photo, own_camera, part, monkeypatch):
    bpy.context.scene.ikol.camera = "SCENE"
    operators = part("blender.pose_operators")
    leave = operators.object_mode

    def remove(context):
        leave(context)
        context.scene.camera = None

    monkeypatch.setattr(operators, "object_mode", remove)
    with pytest.raises(RuntimeError, match="no camera"):
        bpy.ops.ikol.pose_from_image(filepath=str(photo))
    assert bodies() == []


def test_a_bent_lens_is_sent_and_kept_with_the_body(solver, photo, part):
    bpy.context.scene.ikol.distortion = (-0.25, 0.0625, 0.0, 0.0)
    bpy.ops.ikol.pose_from_image(filepath=str(photo))
    sent = solver.requests("Solve")[0]["request"]["camera"]
    assert sent["distortion"] == [-0.25, 0.0625, 0.0, 0.0]


def test_a_doubtful_pose_is_stored_and_worded(solver, photo, part):
    solver.behave("doubtful")
    bpy.ops.ikol.pose_from_image(filepath=str(photo))
    record = part("blender.bodies").read_record(bodies()[0])
    assert record.doubts == ("small", "swapped")
    text = part("core.people").doubt_text(record.doubts, str)
    assert text == "The pose is doubtful: the person is very small, left and right may be swapped"


def test_swapped_sides_are_renamed_in_what_was_detected(solver, photo, part):
    solver.behave("doubtful")
    bpy.ops.ikol.pose_from_image(filepath=str(photo))
    record = part("blender.bodies").read_record(bodies()[0])
    swapped = part("core.swaps").swap_sides(record, "sides")
    pixels = dict(zip(record.evidence[0].names, record.evidence[0].points, strict=True))
    other = dict(zip(swapped.evidence[0].names, swapped.evidence[0].points, strict=True))
    assert other["left_wrist"] == pixels["right_wrist"]
    assert other["nose"] == pixels["nose"]
    assert swapped.doubts == ("small",)
    depths = [point[2] for point in record.evidence[1].points]
    assert [point[2] for point in swapped.evidence[1].points] == [-depth for depth in depths]
