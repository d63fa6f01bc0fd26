# SPDX-License-Identifier: Apache-2.0
"""*Pose from Several Images*: one pose with a camera for each picture, one person with a body for each, refusals."""

import os
import signal

import bpy
import numpy as np
import pytest
from bpy_extras.object_utils import world_to_camera_view
from mathutils import Vector


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


def stand(name, place=(0.0, -5.0, 1.5), **lens):
    """Give a camera of the user's that looks at the person from a place."""
    data = bpy.data.cameras.new(name)
    for key, value in lens.items():
        setattr(data, key, value)
    camera = bpy.data.objects.new(name, data)
    camera.location = place
    camera.rotation_euler = (Vector((0.0, 0.0, 1.0)) - camera.location).to_track_quat("-Z", "Y").to_euler()
    bpy.context.collection.objects.link(camera)
    return camera


def show(camera, path):
    """Put a picture behind a camera as the user does."""
    camera.data.background_images.new().image = bpy.data.images.load(str(path))


@pytest.fixture
def rig(solver):
    """Three cameras of the user's, each with a lens of another kind, which are chosen in the panel."""
    bpy.context.scene.ikol.camera = "SCENE"
    made = [
        stand("side_0", lens=45.0),
        stand("SIDE_1.PNG", (4.0, -3.0, 2.0), sensor_fit="HORIZONTAL", sensor_width=30.0, shift_x=0.05),
        stand("Side_2", (-4.0, -3.0, 0.5), sensor_fit="VERTICAL", sensor_height=20.0, shift_y=-0.1),
    ]
    bpy.context.view_layer.update()
    return made


def state_of(camera):
    """Return where a camera stands and with which lens, as plain numbers."""
    bpy.context.view_layer.update()
    data = camera.data
    lens = (data.lens, data.sensor_width, data.sensor_height, data.sensor_fit, data.shift_x, data.shift_y)
    return [list(row) for row in camera.matrix_world], lens


def behind(camera):
    """Return the names of the pictures behind a camera."""
    return [os.path.basename(each.image.filepath) for each in camera.data.background_images]


def sent_cameras(solver, part):
    """Return the cameras that were sent with the newest pictures, as the add-on has them."""
    views = solver.requests("SolveViews")[-1]["request"]["views"]
    kind = part("core.record").PhotoCamera
    told = [view["camera"].items() for view in views]
    return [kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in each}) for each in told]


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


def test_cameras_of_the_scene_that_have_the_pictures_names_stay_as_they_are(rig, photos):
    before = [state_of(camera) for camera in rig]
    assert pose(photos[:3]) == {"FINISHED"}
    assert [state_of(camera) for camera in rig] == before
    assert set(cameras()) == set(rig)
    assert [behind(camera) for camera in rig] == [["side_0.png"], ["side_1.png"], ["side_2.png"]]


def test_the_first_of_the_scene_s_cameras_is_the_body_s_and_the_scene_s(rig, photos):
    pose(photos[:3])
    (body,) = bodies()
    assert body["ikol_camera"] == bpy.context.scene.camera == rig[0]
    assert [body[f"ikol_camera_{number}"] for number in range(3)] == rig


def test_the_render_takes_the_shape_of_the_first_picture_and_keeps_a_size_of_this_shape(
    rig, solver, tmp_path, make_png
):
    sizes = {"side_0.png": (300, 400), "side_1.png": (400, 200)}
    pictures = [make_png(tmp_path / name, *size) for name, size in sizes.items()]
    render, seen = bpy.context.scene.render, []
    for size in ((1920, 1080), (600, 800)):
        render.resolution_x, render.resolution_y = size
        pose(pictures)
        seen.append((render.resolution_x, render.resolution_y))
    assert seen == [(300, 400), (600, 800)]


POINTS = np.array([(0.0, 1.0, 0.0), (0.4, 1.5, 0.2), (-0.3, 0.2, -0.1)])
"""Of the SMPL world, about where a person is."""


@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("is_moved", [False, True])
def test_the_sent_camera_sees_what_the_scene_s_camera_does(rig, photos, solver, part, number, is_moved):
    if is_moved:  # the pose is for a body that stands elsewhere, turned, larger
        pose(photos[:3])
        (body,) = bodies()
        body.location, body.rotation_euler, body.scale = (0.5, 1.0, 0.25), (0.0, 0.0, 0.75), (1.5, 1.5, 1.5)
        bpy.context.scene.ikol.target = "ACTIVE"
    pose(photos[:3])
    (body,) = bodies()
    place = part("blender.bodies").body_to_world(body)
    conversion = part("core.pose_conversion")
    sent = conversion.project(sent_cameras(solver, part)[number], POINTS)
    seen = [seen_by(rig[number], Vector(point)) for point in conversion.body_to_scene(POINTS, place)]
    assert np.abs(sent - seen).max() < 0.05  # pixels; float32 in Blender's matrices


def test_the_body_is_where_the_scene_s_cameras_see_it(rig, photos, part):
    pose(photos[:3])
    (body,) = bodies()
    record = part("blender.bodies").read_record(body)
    bones = [name for name in record.solution.points if name in body.pose.bones]
    assert len(bones) > 10
    places = np.array([record.solution.points[name] for name in bones])
    for camera, picture in zip(rig, record.pictures, strict=True):
        expected = part("core.pose_conversion").project(picture.camera, places)
        seen = [seen_by(camera, body.matrix_world @ body.pose.bones[name].head) for name in bones]
        assert np.abs(seen - expected).max() < 0.05  # pixels; float32 in Blender's matrices


def test_the_focal_lengths_and_the_panel_s_distortion_are_sent(rig, photos, solver, part):
    bpy.context.scene.ikol.distortion = (-0.25, 0.0, 0.0, 0.0)
    pose(photos[:3])
    sent = sent_cameras(solver, part)
    # AUTO along the height, 36 mm to 400 px; along the width, 30 mm to 300 px; along the height, 20 mm to 400 px
    assert [camera.focal_x for camera in sent] == pytest.approx([45.0 / 36.0 * 400, 500.0, 1000.0])
    asked = [entry["request"]["focal_px"] for entry in solver.requests("Detect")]
    assert asked == pytest.approx([camera.focal_x for camera in sent])
    assert [camera.distortion[0] for camera in sent] == [-0.25] * 3


def test_a_camera_that_shows_the_picture_has_taken_it_whatever_it_is_called(rig, photos, tmp_path):
    # saved, so that Blender can name the picture from the file's folder
    folder = tmp_path / "shot"
    folder.mkdir()
    bpy.ops.wm.save_as_mainfile(filepath=str(folder / "shot.blend"))
    other = stand("Any Name", (3.0, 3.0, 1.0))
    show(other, photos[1])
    other.data.background_images[0].image.filepath = "//../side_1.png"
    assert pose(photos[:2]) == {"FINISHED"}
    assert bodies()[0]["ikol_camera_1"] == other
    assert [len(camera.data.background_images) for camera in (*rig, other)] == [1, 0, 0, 1]


def test_a_picture_is_found_through_a_link(rig, photos, tmp_path):
    link = tmp_path / "linked"
    link.symlink_to(tmp_path, target_is_directory=True)
    other = stand("Any Name", (3.0, 3.0, 1.0))
    show(other, link / "side_1.png")
    pose(photos[:2])
    assert bodies()[0]["ikol_camera_1"] == other
    assert behind(other) == ["side_1.png"]


def test_each_picture_is_behind_its_camera_once_and_others_stay(rig, photos):
    show(rig[0], photos[3])
    for _ in range(2):
        pose(photos[:3])
    assert [behind(camera) for camera in rig] == [["side_3.png", "side_0.png"], ["side_1.png"], ["side_2.png"]]


def test_new_cameras_of_a_first_run_are_those_of_the_second(solver, photos):
    pose(photos[:3])
    made = cameras()
    before = [state_of(camera) for camera in made]
    bpy.context.scene.ikol.camera = "SCENE"
    pose(photos[:3])
    assert cameras() == made
    assert [state_of(camera) for camera in made] == before


def test_a_picture_without_a_camera_is_named(rig, photos):
    bpy.data.objects.remove(rig[1])
    assert refusal(photos[:2]) == (
        "No camera of the scene has taken side_1.png: name one side_1, or give it the picture as its background; or "
        "choose New Camera"
    )


def test_a_camera_of_another_scene_has_taken_nothing(rig, photos):
    bpy.data.scenes.new("Other").collection.objects.link(rig[1])
    bpy.context.collection.objects.unlink(rig[1])
    assert refusal(photos[:2]).startswith("No camera of the scene has taken side_1.png")


def test_two_cameras_of_one_picture_are_named(rig, photos):
    stand("side_1", (3.0, 3.0, 1.0))
    assert refusal(photos[:2]) == (
        "Several cameras of the scene have taken side_1.png: SIDE_1.PNG and side_1; give the picture to only one as "
        "its background, or choose New Camera"
    )
    show(rig[1], photos[1])
    assert pose(photos[:2]) == {"FINISHED"}


def test_two_cameras_that_show_one_picture_are_named(rig, photos):
    for camera in rig[1:]:
        show(camera, photos[1])
    assert "have taken side_1.png: SIDE_1.PNG and Side_2;" in refusal(photos[:2])


def test_a_camera_of_two_pictures_is_named(rig, photos):
    for path in photos[1:3]:
        show(rig[2], path)
    assert refusal(photos[:3]) == (
        "The camera Side_2 cannot have taken both side_1.png and side_2.png; give each picture a camera of its own, or "
        "choose New Camera"
    )


def test_cameras_that_would_show_each_other_s_picture_are_named(rig, photos):
    rig[1].data = rig[0].data
    assert refusal(photos[:2]).startswith("The cameras side_0 and SIDE_1.PNG share what is behind them; make")


@pytest.mark.parametrize("kind", ["ORTHO", "PANO"])
def test_a_camera_that_is_no_pinhole_is_named(rig, photos, kind):
    rig[1].data.type = kind
    assert refusal(photos[:2]).startswith("The camera SIDE_1.PNG is not a perspective one; change its type")


def test_cameras_of_the_scene_are_for_one_pose(rig, photos):
    assert refusal(photos[:2], same="person").startswith("The scene's cameras are for pictures of one pose; choose New")
    assert [behind(camera) for camera in rig] == [[], [], []]


def remove(camera):
    bpy.data.objects.remove(camera)


def unlink(camera):
    """Delete as the user does what something else in the file still points to."""
    bpy.context.collection.objects.unlink(camera)


def widen(camera):
    camera.data.type = "PANO"


LOST = [(remove, "The camera Side_2 is gone"), (unlink, "The camera Side_2 is gone"), (widen, "is not a perspective")]


def rejected(photos, camera, lose, done):
    """Give the sentence that is said when a camera is lost; what was there beside it is as it was."""
    others = [thing for thing in bpy.data.objects if thing is not camera]
    render = bpy.context.scene.render
    size = (render.resolution_x, render.resolution_y)
    with pytest.raises(RuntimeError) as error:
        pose(photos[:3])
    assert done == [lose]
    assert [thing for thing in bpy.data.objects if not thing.name.startswith("Side_2")] == others
    assert [behind(thing) for thing in others] == [[], []]
    assert (render.resolution_x, render.resolution_y) == size
    assert bpy.context.scene.camera is None
    return str(error.value)


@pytest.mark.parametrize(("lose", "said"), LOST)
def test_a_camera_that_is_lost_while_the_solver_works_is_said(rig, photos, part, solver, monkeypatch, lose, said):
    runtime, done = part("blender.runtime"), []
    pump = runtime.Runtime.pump

    def lose_and_pump(living):
        if not done:
            done.append(lose)
            lose(bpy.data.objects["Side_2"])
        pump(living)

    monkeypatch.setattr(runtime.Runtime, "pump", lose_and_pump)
    assert said in rejected(photos, rig[2], lose, done)
    assert solver.requests("SolveViews") == []


@pytest.mark.parametrize(("lose", "said"), LOST)
def test_a_camera_that_is_lost_at_the_end_is_said(rig, photos, part, monkeypatch, lose, said):
    operators, done = part("blender.views_operators"), []
    current_body = operators.current_body

    def lose_first():  # what `apply` does first
        done.append(lose)
        lose(bpy.data.objects["Side_2"])
        return current_body()

    monkeypatch.setattr(operators, "current_body", lose_first)
    assert said in rejected(photos, rig[2], lose, done)


def test_undo_takes_body_and_photographs_away_and_leaves_the_cameras(rig, photos):
    names = [camera.name for camera in rig]
    before = [state_of(camera) for camera in rig]
    bpy.ops.ed.undo_push(message="before")
    pose(photos[:3])
    bpy.ops.ed.undo_push(message="after")
    with bpy.context.temp_override(window=bpy.context.window_manager.windows[0]):
        bpy.ops.ed.undo()
    assert bodies() == []
    again = [bpy.data.objects[name] for name in names]
    assert [state_of(camera) for camera in again] == before
    assert [behind(camera) for camera in again] == [[], [], []]
    assert bpy.context.scene.camera is None
    assert pose(photos[:3]) == {"FINISHED"}
