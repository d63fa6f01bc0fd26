# SPDX-License-Identifier: Apache-2.0
"""Bodies of 16 and of 300 betas, from the photograph to the file and back, with the real solver."""

from pathlib import Path

import bpy
import numpy as np
import pytest
from own_body import more_betas, own_arrays, write_own_body

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
PHOTO = ROOT / "samples" / "front_step.jpg"
BONE_ERROR = 1e-5  # metres; heads of bones are float32


@pytest.fixture(scope="module", params=[16, 300])
def posed(request, extension, part, tmp_path_factory):
    """A body with so many betas, posed by the sample photograph; its name, its file and the count."""
    preferences = bpy.context.preferences.addons[extension.__name__].preferences
    preferences.solver_python = str(ROOT / ".venv" / "bin" / "python")
    folder = tmp_path_factory.mktemp("body")
    path = write_own_body(folder / "many.npz", shapedirs=more_betas(own_arrays(), request.param))
    preferences.body_file = str(path)
    bpy.ops.wm.read_homefile(use_empty=True)
    assert bpy.ops.ikol.pose_from_image(filepath=str(PHOTO)) == {"FINISHED"}
    saved = folder / "scene.blend"
    bpy.ops.wm.save_as_mainfile(filepath=str(saved))
    yield saved, request.param
    part("blender.runtime").get().solver.close()
    preferences.solver_python = preferences.body_file = ""


@pytest.fixture
def body(posed):
    """The body as it was after the photograph, read from its .blend."""
    bpy.ops.wm.open_mainfile(filepath=str(posed[0]))
    return bpy.context.view_layer.objects.active, posed[1]


def off_bones(part, armature):
    """How far the bones are from the joints of the shape that the sliders show, metres."""
    file_body = part("blender.own_body").current_body()
    wanted = part("core.pose_conversion").to_blender(
        file_body.rest_joints(part("blender.armature").read_betas(armature, ()))
    )
    heads = np.array([armature.data.bones[name].head_local for name in file_body.tree.names])
    return float(np.abs(heads - wanted).max())


def test_a_photograph_gives_all_betas_and_they_are_sliders(body, part):
    armature, count = body
    record = part("blender.bodies").read_record(armature)
    shown = part("blender.armature").read_betas(armature, ())
    assert len(shown) == len(record.solution.pose.betas) == count
    assert np.abs(np.subtract(shown, record.solution.pose.betas)).max() < 1e-6  # sliders are float32
    assert any(shown[10:])
    assert off_bones(part, armature) < BONE_ERROR
    assert 0 <= record.solution.reprojection_px < 15.0


def test_every_slider_is_on_a_page_and_moves_the_body(body, part):
    armature, count = body
    shape = bpy.context.window_manager.ikol_shape
    shape.page = 2
    shape.betas[3] = 1.5
    shape.page = 30  # the last one there is
    last = (count - 1) % 10
    shape.betas[last] = -2.0
    blocks = part("blender.armature").find_mesh(armature).data.shape_keys.key_blocks
    assert blocks["Shape013"].value == 1.5
    assert blocks[f"Shape{count - 1:03d}"].value == -2.0
    assert part("blender.bodies").read_record(armature).solution.pose.betas[count - 1] == -2.0
    assert off_bones(part, armature) < BONE_ERROR


def test_a_locked_shape_of_many_betas_is_kept_by_a_solve_and_by_another_picture(body, part):
    armature, count = body
    read = part("blender.armature").read_betas
    bpy.context.window_manager.ikol_shape.page = 2
    bpy.context.window_manager.ikol_shape.betas[1] = 0.75
    before = read(armature, ())
    assert bpy.ops.ikol.resolve() == {"FINISHED"}
    assert read(armature, ()) == before
    bpy.context.scene.ikol.target = "ACTIVE"
    assert bpy.ops.ikol.pose_from_image(filepath=str(PHOTO)) == {"FINISHED"}
    assert read(armature, ()) == before
    assert bpy.ops.ikol.resolve(fit_shape=True) == {"FINISHED"}
    assert len(read(armature, ())) == count
    assert read(armature, ()) != before


def test_a_typed_measurement_uses_all_betas(body, part):
    armature, _ = body
    before = part("blender.armature").read_betas(armature, ())
    armature.ikol.height = armature.ikol.height + 0.02
    changed = np.subtract(part("blender.armature").read_betas(armature, ()), before)
    assert np.abs(changed[10:]).max() > 0
    assert off_bones(part, armature) < BONE_ERROR


def test_a_body_of_ten_betas_made_before_gets_the_others(body, part):
    armature, count = body
    mesh, bodies = part("blender.armature").find_mesh(armature), part("blender.bodies")
    record = bodies.read_record(armature)
    ten = record.solution.pose.betas[:10]
    part("blender.armature").set_shape_keys(mesh, (*ten, *(0.0,) * (count - 10)))
    part("blender.following").catch_up(bpy.context)
    for index in range(10, count):
        mesh.shape_key_remove(mesh.data.shape_keys.key_blocks[f"Shape{index:03d}"])
    del armature.data["ikol_betas"]
    replace = part("core.record").msgspec.structs.replace
    solution = replace(record.solution, pose=replace(record.solution.pose, betas=ten))
    bodies.write_record(armature, replace(record, solution=solution))
    assert bpy.ops.ikol.resolve() == {"FINISHED"}
    shown = part("blender.armature").read_betas(armature, ())
    assert len(shown) == count
    assert not any(shown[10:])
    assert off_bones(part, armature) < BONE_ERROR


def test_a_motion_of_as_many_betas_comes_in_with_all_of_them(body, part, tmp_path):
    _, count = body
    betas = np.linspace(-1.0, 1.0, count)
    poses = np.zeros((2, 72))
    poses[1, 54] = 0.5
    np.savez(tmp_path / "walk.npz", poses=poses, trans=np.zeros((2, 3)), betas=betas, mocap_frame_rate=30.0)
    assert bpy.ops.ikol.import_motion(filepath=str(tmp_path / "walk.npz"), up="Y") == {"FINISHED"}
    armature = bpy.context.view_layer.objects.active
    shown = part("blender.armature").read_betas(armature, ())
    assert np.abs(np.subtract(shown, betas)).max() < 1e-6  # float32
    assert off_bones(part, armature) < BONE_ERROR


def test_another_body_is_refused_however_many_betas_could_move_its_joints_there(body, extension, part, tmp_path):
    armature, count = body
    preferences = bpy.context.preferences.addons[extension.__name__].preferences
    own = preferences.body_file
    arrays = {"v_template": 1.05 * own_arrays()["v_template"], "shapedirs": more_betas(own_arrays(), count)}
    preferences.body_file = str(write_own_body(tmp_path / "taller.npz", **arrays))
    try:
        with pytest.raises(part("core.errors").SceneError, match=r"was made with another body than taller\.npz"):
            part("blender.own_body").check_fits(armature)
    finally:
        preferences.body_file = own


def test_the_picture_keeps_its_say_while_a_slider_moves(body, part):
    armature, _ = body
    read, rig = part("blender.armature").read_betas, part("core.rig")
    before = part("blender.bodies").read_record(armature)
    ends = ("L_Ankle", "R_Ankle", "L_Wrist", "R_Wrist")

    def missed():
        posed = part("blender.posing").read_pose(armature, read(armature, ()))
        places = part("core.motion_file").joint_places(part("blender.own_body").current_body(), posed)
        pixels = part("core.pose_conversion").project(before.camera, places)
        return max(np.linalg.norm(pixels[rig.JOINT_NAMES.index(name)] - before.solution.pixels[name]) for name in ends)

    mesh = part("blender.armature").find_mesh(armature)
    value = read(armature, ())[0] + 2.0
    mesh.data.shape_keys.key_blocks["Shape000"].value = value
    part("blender.following").catch_up(bpy.context)
    copied = missed()
    bpy.context.window_manager.ikol_shape.page = 1
    bpy.context.window_manager.ikol_shape.betas[0] = value
    record = part("blender.bodies").read_record(armature)
    print(f"ends of the limbs on the picture: rotations kept {copied:.1f} px, solved {missed():.1f} px")
    assert missed() < 0.5 * copied
    assert abs(record.solution.pose.betas[0] - value) < 1e-6
    assert record.edits == before.edits
