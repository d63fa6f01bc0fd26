# SPDX-License-Identifier: Apache-2.0
"""Files that hold anything, and bodies from which something was deleted: no loop, no traceback in a timer."""

import signal

import bpy
import pytest

HAND = "IKOL Left Hand"


@pytest.fixture
def watch(part):
    """The watch of the handles, which has seen nothing yet."""
    found = part("blender.live_handles").watch()
    found.forget()
    yield found
    found.forget()


def notice(part):
    return str(part("blender.runtime").get().notice)


@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="without it a loop would never end")
def test_handles_that_name_each_other_end_the_search(scene, part):
    one, other = (bpy.data.objects.new(name, None) for name in ("one", "other"))
    for thing, named in ((one, other), (other, one)):
        scene.collection.objects.link(thing)
        thing["ikol_point"], thing["ikol_body"] = "L_Wrist", named
    bpy.context.view_layer.objects.active = one

    def stop(*_):
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(5)
    try:
        assert part("blender.bodies").find_body(bpy.context) is None
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def test_a_landmark_of_an_older_file_is_no_handle_and_goes_away(body, watch, part):
    thing = bpy.data.objects.new("IKOL left_wrist", None)
    bpy.context.scene.collection.objects.link(thing)
    thing["ikol_point"], thing["ikol_placed"], thing.parent = "left_wrist", (0.0, 0.0, 0.0), body
    thing.location.x += 0.1
    bpy.context.view_layer.update()
    watch.touch(body.name)
    watch.step(bpy.context)
    assert part("blender.bodies").read_record(body).edits == {}
    assert bpy.ops.ikol.show_handles() == {"FINISHED"}
    assert "IKOL left_wrist" not in bpy.data.objects


def test_a_renamed_root_bone_is_said(body, watch, part):
    body.data.bones["root"].name = "Root"
    watch.note_pose(body.name)
    assert watch.step(bpy.context) is None
    assert "lacks the bone root" in notice(part)
    with pytest.raises(part("core.errors").SceneError, match="lacks the bone root"):
        part("blender.bodies").body_to_world(body)


def test_an_unreadable_body_does_not_stop_the_others(solver, photo, watch, part):
    solver.behave(persons=2)
    assert bpy.ops.ikol.pose_from_image(filepath=str(photo)) == {"FINISHED"}
    bodies = part("blender.bodies")
    good, bad = bodies.find_bodies(bpy.context.scene)
    watch.step(bpy.context)
    bad["ikol_evidence"] = "no record"
    for body in (good, bad):
        part("blender.handles").find_handles(bpy.context.scene, body)["L_Wrist"].location.z += 0.1
        watch.touch(body.name)
    bpy.context.view_layer.update()
    watch.step(bpy.context)
    assert "cannot be read" in notice(part)
    assert "ikol_drag" in good
    part("blender.runtime").get().solver.settle(20.0)
    watch.touch(bad.name)
    watch.step(bpy.context)
    assert "L_Wrist" in bodies.read_record(good).edits
    assert "ikol_drag" not in good
    assert "ikol_drag" not in bad


@pytest.mark.parametrize("value", [1.0, "abcdefg", [1.0] * 6, [float("nan")] * 7])
def test_a_handle_that_says_nonsense_of_its_place_does_not_know_it(body, watch, part, value):
    thing = bpy.data.objects[HAND]
    thing["ikol_placed"] = value
    assert part("blender.handles").placed_handles({"L_Wrist": thing}) == {}
    watch.touch(body.name)
    watch.step(bpy.context)


def test_show_handles_says_that_a_pose_is_damaged(body, part):
    body["ikol_evidence"] = body["ikol_evidence"].replace('"local_quat":[[', '"local_quat":[[1.0,0.0,0.0,0.0],[', 1)
    with pytest.raises(RuntimeError, match="cannot be read"):
        bpy.ops.ikol.show_handles()
    for mark in ('{"transl":[0,0,0],"local_quat":[],"betas":[]}', '{"token":1,"initial":null}', "[]", 3.5, b"\xff"):
        body["ikol_drag"] = mark
        assert part("blender.live_memory").read_mark(body) is None


def test_a_deleted_camera_and_body_are_gone(body, part):
    bodies = part("blender.bodies")
    bpy.ops.object.select_all(action="DESELECT")
    camera = bodies.body_camera(body)
    camera.select_set(True)
    bpy.ops.object.delete()
    assert body["ikol_camera"] is not None  # what keeps it in the file
    assert bodies.body_camera(body) is None
    for thing in (body, *(child for child in body.children if child.type == "MESH")):
        thing.select_set(True)
    name = body.name
    bpy.ops.object.delete()
    assert name in bpy.data.objects
    bpy.context.view_layer.objects.active = bpy.data.objects[HAND]
    assert bodies.find_body(bpy.context) is None
    with pytest.raises(part("core.errors").SceneError, match="is gone"):
        bodies.get_body(name)
