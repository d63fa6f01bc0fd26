# SPDX-License-Identifier: Apache-2.0
"""*Pose from Several Images*: one pose with a camera for each picture, one person with a body for each, refusals."""

import os
import signal

import bpy
import numpy as np
import pytest
from bpy_extras.object_utils import world_to_camera_view


def bodies():
    return [thing for thing in bpy.data.objects if thing.type == "ARMATURE"]


def cameras():
    return [thing for thing in bpy.data.objects if thing.type == "CAMERA"]


def pose(paths, **options):
    files = [{"name": path.name} for path in paths]
    return bpy.ops.ikol.pose_from_images(directory=str(paths[0].parent), files=files, **options)


def refusal(paths, **options):
    """Give the sentence that the user is told; nothing was made."""
    before = set(bpy.data.objects)
    with pytest.raises(RuntimeError) as error:
        pose(paths, **options)
    assert set(bpy.data.objects) == before
    sentence = str(error.value).removeprefix("Error: ").strip()
    assert "Traceback" not in sentence
    return sentence


@pytest.fixture
def photos(tmp_path, make_png):
    """Four pictures of one size, as of a rig of cameras."""
    return [make_png(tmp_path / f"side_{number}.png", 300, 400) for number in range(4)]


@pytest.fixture
def posed(solver, photos):
    """The armature after three pictures of one pose."""
    assert pose(photos[:3]) == {"FINISHED"}
    return bpy.context.view_layer.objects.active


def seen_by(camera, place):
    """Return where a camera of the scene sees a point, in pixels of the picture from its top left."""
    bpy.context.view_layer.update()
    x, y, _ = world_to_camera_view(bpy.context.scene, camera, place)
    return np.array([x * 300, (1 - y) * 400])


def test_one_pose_is_one_body_with_a_camera_for_each_picture(posed, photos):
    assert bodies() == [posed]
    assert len(cameras()) == 3
    behind = [camera.data.background_images[0].image.filepath for camera in cameras()]
    assert [os.path.basename(path) for path in behind] == [path.name for path in photos[:3]]
    assert bpy.context.scene.camera is posed["ikol_camera"] is bpy.data.objects["IKOL Camera"]
    assert len(bpy.data.collections[f"{posed.name} Handles"].objects) == 13


def test_pictures_of_different_moments_are_warned_of(solver, photos, part):
    solver.behave("doubtful")
    pose(photos[:3])
    (warning,) = part("blender.runtime").get().result.warnings
    assert warning.endswith("fits the others worst")
    record = part("blender.bodies").read_record(bodies()[0])
    assert record.doubts == ("disagreeing", "small", "swapped")


def test_each_camera_sees_the_body_where_its_picture_does(posed, part, solver):
    record = part("blender.bodies").read_record(posed)
    (first, second, third) = cameras()
    # the second and third of the fake are the first one, walked around the person by half a radian each
    views = [np.array(camera.matrix_world.inverted()) for camera in (first, second, third)]
    for number, view in enumerate(views[1:], 1):
        angle = 0.5 * number
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        walked = np.eye(4)
        walked[:2, :2] = turn  # about Blender's z
        assert np.abs(view @ walked - views[0]).max() < 1e-4
    for name, pixel in record.solution.pixels.items():
        if name in posed.pose.bones:
            place = posed.matrix_world @ posed.pose.bones[name].head
            assert np.abs(seen_by(first, place) - pixel).max() < 0.05  # pixels; float32 in Blender's matrices


def test_the_record_keeps_what_all_pictures_say(posed, part):
    record = part("blender.bodies").read_record(posed)
    kinds = [type(block).__name__ for block in record.evidence]
    assert kinds == ["Keypoints2D", "Keypoints3D"]
    space = record.evidence[1]
    assert {"L_Wrist", "left_wrist", "Pelvis"} < set(space.names)
    # half of the fake's 2 cm
    assert space.sigma == pytest.approx((0.01,) * len(space.names))
    assert record.source == "side_0.png + 2"


def test_solving_again_sends_what_all_pictures_say(posed, solver):
    assert bpy.ops.ikol.resolve() == {"FINISHED"}
    evidence = solver.requests("Solve")[-1]["request"]["evidence"]
    assert [block["type"] for block in evidence] == ["keypoints_2d", "keypoints_3d"]


def test_the_pictures_are_asked_about_without_places_of_their_cameras(posed, solver):
    assert len(solver.requests("Detect")) == 3
    (asked,) = solver.requests("SolveViews")
    assert (asked["request"]["same"], asked["request"].get("betas")) == ("pose", None)
    assert [view["camera"].get("rotation") for view in asked["request"]["views"]] == [None] * 3


def test_the_lens_of_the_panel_is_that_of_every_picture(solver, photos):
    bpy.context.scene.ikol.distortion = (-0.25, 0.0, 0.0, 0.0)
    pose(photos[:2])
    (asked,) = solver.requests("SolveViews")
    assert [view["camera"]["distortion"][0] for view in asked["request"]["views"]] == [-0.25, -0.25]


def test_the_active_body_takes_the_pose_and_keeps_its_shape(body, photos, solver):
    (mesh,) = (child for child in body.children if child.type == "MESH")
    mesh.data.shape_keys.key_blocks["Shape000"].value = 2.0
    bpy.context.scene.frame_set(7)
    bpy.context.scene.ikol.target = "ACTIVE"
    assert pose(photos[:2]) == {"FINISHED"}
    assert bodies() == [body]
    assert solver.requests("SolveViews")[-1]["arrays"]["betas"][0] == pytest.approx(2.0)
    assert mesh.data.shape_keys.key_blocks["Shape000"].value == pytest.approx(2.0)


def test_one_person_is_a_body_for_each_picture_side_by_side_with_one_shape(solver, photos, part):
    assert pose(photos[:3], same="person") == {"FINISHED"}
    made = bodies()
    assert [round(each.location.x, 3) for each in made] == [0.0, 1.5, 3.0]
    assert len(cameras()) == 3
    assert len({each["ikol_camera"].name for each in made}) == 3
    assert bpy.context.scene.camera is made[0]["ikol_camera"]
    assert bpy.context.view_layer.objects.active is made[0]
    records = [part("blender.bodies").read_record(each) for each in made]
    assert [record.source for record in records] == [path.name for path in photos[:3]]
    assert len({record.solution.pose.betas for record in records}) == 1
    shapes = [
        tuple(key.value for key in child.data.shape_keys.key_blocks if key.name.startswith("Shape"))
        for each in made
        for child in each.children
        if child.type == "MESH"
    ]
    assert len(set(shapes)) == 1


def test_each_body_of_one_person_stands_where_its_own_camera_sees_it(solver, photos, part):
    pose(photos[:3], same="person")
    for each in bodies():
        record = part("blender.bodies").read_record(each)
        place = each.matrix_world @ each.pose.bones["Head"].head
        expected = part("core.pose_conversion").project(record.camera, np.array([record.solution.points["Head"]]))[0]
        assert np.abs(seen_by(each["ikol_camera"], place) - expected).max() < 0.05


@pytest.mark.parametrize("same", ["pose", "person"])
def test_the_render_takes_the_size_of_the_picture_that_is_looked_through(solver, tmp_path, make_png, same):
    sizes = {"upright.png": (300, 400), "wide.png": (400, 200)}
    pose([make_png(tmp_path / name, *size) for name, size in sizes.items()], same=same)
    render = bpy.context.scene.render
    assert bpy.context.scene.camera.data.background_images[0].image.name == "upright.png"
    assert (render.resolution_x, render.resolution_y) == (300, 400)


def test_looking_through_another_body_s_camera_renders_in_the_shape_of_its_picture(solver, tmp_path, make_png):
    sizes = {"upright.png": (300, 400), "wide.png": (400, 200)}
    pose([make_png(tmp_path / name, *size) for name, size in sizes.items()], same="person")
    first, second = bodies()
    render = bpy.context.scene.render
    seen = []
    for body in (second, first):
        bpy.context.view_layer.objects.active = body
        assert bpy.ops.ikol.look_through() == {"FINISHED"}
        seen.append((render.resolution_x, render.resolution_y))
    assert seen == [(400, 200), (300, 400)]
    render.resolution_x, render.resolution_y = 600, 800
    bpy.ops.ikol.look_through()
    assert (render.resolution_x, render.resolution_y) == (600, 800)  # the same shape: the user's size


def test_several_persons_on_a_picture_are_told_by_its_name(solver, photos, part):
    solver.behave(persons=2)
    pose(photos[:2])
    assert part("blender.runtime").get().result.warnings == (
        "side_0.png shows 2 persons; the largest was taken",
        "side_1.png shows 2 persons; the largest was taken",
    )
    assert len(bodies()) == 1


def test_nobody_on_a_picture_is_told_by_its_name_and_changes_nothing(solver, photos):
    solver.behave(persons=0)
    assert refusal(photos[:2]).startswith("No person was found on side_0.png; leave this picture out")


@pytest.mark.parametrize("count", [1, 9])
def test_too_few_and_too_many_pictures_are_refused(solver, photos, count):
    assert refusal((photos * 3)[:count]) == f"Choose 2 to 8 pictures at once, not {count}"


def test_the_same_picture_twice_is_refused(solver, photos):
    assert refusal([photos[0], photos[1], photos[0]]).startswith("side_0.png was chosen more than once")


def test_what_is_no_picture_is_named(solver, photos, tmp_path):
    text = tmp_path / "notes.jpg"
    text.write_text("this is no picture", encoding="utf-8")
    assert refusal([photos[0], text]).startswith("notes.jpg is not a JPEG, PNG or WebP picture")


def test_a_damaged_picture_is_named(solver, photos, tmp_path):
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes(photos[0].read_bytes()[:40])
    assert refusal([photos[0], damaged]).startswith("damaged.png: the picture cannot be read")


def test_a_picture_that_is_gone_is_named(solver, photos, tmp_path):
    assert refusal([photos[0], tmp_path / "gone.jpg"]).startswith("There is no file gone.jpg")


def test_the_scene_s_camera_cannot_have_taken_several_pictures(solver, photos):
    bpy.context.scene.ikol.camera = "SCENE"
    assert "choose New Camera" in refusal(photos[:2])


def test_poses_of_one_person_are_bodies_of_their_own(body, photos):
    bpy.context.scene.ikol.target = "ACTIVE"
    assert "choose New Body" in refusal(photos[:2], same="person")


def test_a_solver_that_ends_in_the_middle_leaves_the_scene_as_it_was(solver, photos):
    solver.behave("crash_on_detect")
    assert "solver" in refusal(photos[:2]).lower()


def test_a_cancelled_command_leaves_the_scene_as_it_was(solver, photos, cancel_after):
    solver.behave("slow", seconds=0.5)
    cancel_after(fraction=0.1)
    before = set(bpy.data.objects)
    assert pose(photos[:3]) == {"CANCELLED"}
    assert set(bpy.data.objects) == before


def test_a_killed_solver_leaves_the_scene_as_it_was_and_the_next_command_works(solver, photos, part, monkeypatch):
    solver.behave("slow", seconds=0.5)
    runtime, killed = part("blender.runtime"), []
    pump = runtime.Runtime.pump

    def pump_and_kill(living):
        pump(living)
        job = living.solver.job
        if job is not None and job.fraction > 0.2 and not killed:
            killed.append(os.kill(living.solver.pid, signal.SIGKILL))

    monkeypatch.setattr(runtime.Runtime, "pump", pump_and_kill)
    assert pose(photos[:2]) == {"FINISHED"}  # it is started again, and asked again
    assert killed
    assert len(bodies()) == 1


def dropped(paths):
    """Do what Blender does with files that are dropped into the 3D view."""
    files = [{"name": path.name} for path in paths]
    options = {"filepath": str(paths[0]), "directory": str(paths[0].parent), "files": files}
    return bpy.ops.ikol.pose_from_image("INVOKE_DEFAULT", **options)


def test_one_dropped_picture_is_posed_as_ever(solver, photos):
    assert dropped(photos[:1]) == {"FINISHED"}
    assert (len(solver.requests("Detect")), len(solver.requests("SolveViews"))) == (1, 0)


def test_several_dropped_pictures_lead_to_the_command_on_several(solver, photos):
    assert dropped(photos[:3]) == {"FINISHED"}
    assert len(solver.requests("SolveViews")[0]["request"]["views"]) == 3
    assert len(cameras()) == 3


def test_nine_dropped_pictures_are_refused(solver, photos):
    with pytest.raises(RuntimeError, match="Choose 2 to 8 pictures at once, not 12"):
        dropped(photos * 3)
