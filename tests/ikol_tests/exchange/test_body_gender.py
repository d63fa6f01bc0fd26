# SPDX-License-Identifier: Apache-2.0
"""Female, male and neutral bodies in the official layouts: each is its own, and motions say whose betas they have."""

from pathlib import Path

import numpy as np
import pytest
import torch
from model_files import model_arrays, official_objects
from pickles import python2_pickle

from ikol.body import load_smpl_body
from ikol.body.kinematics import forward_kinematics
from ikol.body.smpl_trees import MODELS
from ikol.cli import main
from ikol.exchange import Keypoints, read_amass, read_smpl_codec, write_trc
from ikol.exchange.body_gender import gender_of_file

OFFICIAL = {  # as the downloads name them
    "SMPL": ("basicModel_f_lbs_10_207_0_v1.0.0.pkl", "basicmodel_m_lbs_10_207_0_v1.1.0.pkl",
             "basicmodel_neutral_lbs_10_207_0_v1.1.0.pkl"),
    "SMPL-H": ("female/model.pkl", "male/model.pkl", "neutral/model.pkl"),
    "SMPL-X": ("SMPLX_FEMALE.pkl", "SMPLX_MALE.pkl", "SMPLX_NEUTRAL.pkl"),
}  # fmt: skip
GENDERS = ("female", "male", "neutral")
BUILD = {"female": (0.94, 1.06), "male": (1.04, 0.96), "neutral": (1.0, 1.0)}  # height, and how wide the hips are


def gendered_arrays(model: str, gender: str) -> dict[str, np.ndarray]:
    """Return a model of another build, whose first beta moves the body otherwise."""
    arrays = model_arrays(model)
    height, width = BUILD[gender]
    scale = np.array([width * height, height, height])
    sign = -1.0 if gender == "male" else 1.0
    return arrays | {
        "v_template": arrays["v_template"] * scale,
        "shapedirs": sign * arrays["shapedirs"] * scale[:, None],
        "J": arrays["J"] * scale,
    }


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("gender", GENDERS)
def test_an_official_body_of_each_gender_is_converted_posed_and_named(tmp_path: Path, model: str, gender: str) -> None:
    arrays = gendered_arrays(model, gender)
    source = tmp_path / OFFICIAL[model][GENDERS.index(gender)]
    source.parent.mkdir(exist_ok=True)
    source.write_bytes(python2_pickle(official_objects(arrays)))
    plain = source.with_suffix(".npz")
    assert main(["convert", str(source), str(plain)]) == 0
    body = load_smpl_body(plain)
    betas = torch.zeros(body.num_betas, dtype=torch.float64)
    betas[0] = 1.5
    shaped = arrays["v_template"] + 1.5 * arrays["shapedirs"][..., 0]
    rest = torch.from_numpy(arrays["J_regressor"] @ shaped)
    assert float((body.rest_joints(betas) - rest).abs().max()) < 1e-9
    # somebody of this body: the keypoints are met only on it, and the motion says so
    local = torch.eye(3, dtype=torch.float64).repeat(body.tree.num_joints, 1, 1)
    places = forward_kinematics(body.tree, rest, local, torch.tensor([0.3, 1.0, 0.2], dtype=torch.float64)).joints
    names = tuple(name for name in body.tree.names if name in MODELS["SMPL"].names)
    points = places[[body.tree.index(name) for name in names]][None]
    write_trc(tmp_path / "a.trc", Keypoints(names, points, torch.ones(1, len(names), dtype=torch.float64), 30.0))
    for form, read in (("a.npz", read_amass), ("a.smpl", read_smpl_codec)):
        out = tmp_path / form
        arguments = ["--keypoints", tmp_path / "a.trc", "--skeleton", plain, "--out", out, "--sigma", 0.001]
        assert main(["solve", *map(str, arguments)]) == 0
        motion = read(out)
        assert motion.gender == gender
    beta = float(motion.betas[0, 0])
    assert beta == pytest.approx(1.5, abs=0.4), beta  # against the prior of the shape; -1.5 with another gender's betas


@pytest.mark.parametrize(
    ("name", "gender"),
    [
        ("SMPL_FEMALE.npz", "female"), ("SMPL_MALE.pkl", "male"), ("SMPL_NEUTRAL.pkl", "neutral"),
        ("/bodies/female/SMPLX_MALE.npz", "male"), ("/bodies/male/SMPLX_NEUTRAL.npz", "neutral"),
        ("/bodies/male/model.npz", "male"), ("/m/model.npz", "neutral"), ("my_model.npz", "neutral"), ("", "neutral"),
    ],
)  # fmt: skip
def test_the_name_tells_the_gender_and_else_the_folder(name: str, gender: str) -> None:
    assert gender_of_file(name) == gender
