# SPDX-License-Identifier: Apache-2.0
"""Female, male and neutral body files in Blender, with the real solver: bones, mesh, and what a motion says."""

from pathlib import Path

import bpy
import numpy as np
import pytest
from own_body import own_arrays

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
BUILD = {"female": 0.94, "male": 1.05, "neutral": 1.0}
FILES = {"female": "basicModel_f_lbs_10_207_0_v1.0.0.npz", "male": "SMPL_MALE.npz", "neutral": "SMPL_NEUTRAL.npz"}


@pytest.fixture(scope="module")
def choose(extension, part, tmp_path_factory):
    """Puts the body of a gender into the preferences."""
    preferences = bpy.context.preferences.addons[extension.__name__].preferences
    preferences.solver_python = str(ROOT / ".venv" / "bin" / "python")
    folder = tmp_path_factory.mktemp("bodies")

    def put(gender):
        arrays, scale = own_arrays(step=32), BUILD[gender]
        arrays |= {key: scale * arrays[key] for key in ("v_template", "shapedirs", "J")}
        np.savez(folder / FILES[gender], **arrays)
        preferences.body_file = str(folder / FILES[gender])
        return arrays

    yield put
    part("blender.runtime").get().solver.close()
    preferences.solver_python = preferences.body_file = ""


@pytest.mark.parametrize("gender", BUILD)
def test_a_photograph_poses_the_body_of_each_gender_and_its_motion_names_it(choose, part, tmp_path, gender):
    bpy.ops.wm.read_homefile(use_empty=True)
    arrays = choose(gender)
    assert bpy.ops.ikol.pose_from_image(filepath=str(ROOT / "samples" / "front_step.jpg")) == {"FINISHED"}
    armature = bpy.context.view_layer.objects.active
    record = part("blender.bodies").read_record(armature)
    assert 0 <= record.solution.reprojection_px < 15.0
    betas = np.array(record.solution.pose.betas)
    shaped = arrays["v_template"] + arrays["shapedirs"][..., : len(betas)] @ betas
    wanted = part("core.pose_conversion").to_blender(arrays["J_regressor"] @ shaped)
    heads = np.array([armature.data.bones[name].head_local for name in part("core.rig").JOINT_NAMES])
    assert np.abs(heads - wanted).max() < 1e-4  # float32
    assert len(part("blender.armature").find_mesh(armature).data.vertices) == len(arrays["v_template"])
    path = tmp_path / "motion.npz"
    part("blender.export_motion").write_motion(bpy.context, armature, str(path), [1])
    with np.load(path) as motion:
        assert str(motion["gender"]) == gender
        assert motion["betas"][: len(betas)] == pytest.approx(betas, abs=1e-5)
