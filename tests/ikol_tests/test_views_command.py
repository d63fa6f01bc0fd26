# SPDX-License-Identifier: Apache-2.0
"""Several pictures on the command line."""

from pathlib import Path

import numpy as np
import pytest

from ikol.cli import main

SAMPLES = Path(__file__).parents[2] / "samples"


def test_several_pictures_need_to_be_told_how_they_belong_together(capsys: pytest.CaptureFixture[str]) -> None:
    photo = str(SAMPLES / "front_step.jpg")
    assert main(["pose", photo, photo, "--model", "full"]) == 1
    assert "--same-pose or --same-person" in capsys.readouterr().err


def test_they_cannot_be_both(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["pose", "a.jpg", "b.jpg", "--same-pose", "--same-person"])
    assert "not allowed with" in capsys.readouterr().err


@pytest.mark.parametrize(("option", "poses"), [("--same-pose", 1), ("--same-person", 2)])
def test_poses_and_a_camera_for_each_picture_are_written(option: str, poses: int, tmp_path: Path) -> None:
    photo, out = str(SAMPLES / "front_step.jpg"), tmp_path / "poses.npz"
    assert main(["pose", photo, photo, option, "--model", "full", "--out", str(out)]) == 0
    with np.load(out) as data:
        assert data["local_quat"].shape == (poses, 24, 4)
        assert data["R_camera_world"].shape == (2, 3, 3)
        assert (data["betas"] == data["betas"][:1]).all()


def test_the_lens_of_several_pictures_is_the_one_that_was_said(tmp_path: Path) -> None:
    photo = str(SAMPLES / "front_step.jpg")
    found: list[np.ndarray] = []
    for number, lens in enumerate(([], ["--distortion", "-0.3", "0.1", "0", "0"])):
        out = tmp_path / f"{number}.npz"
        arguments = ["pose", photo, photo, "--same-pose", "--model", "full", "--out", str(out), *lens]
        assert main(arguments) == 0
        with np.load(out) as data:
            found.append(data["joints"])
    apart = float(np.abs(found[0] - found[1]).max())
    assert apart > 1e-3, apart  # a wide angle's distortion moves more than a millimetre


def test_a_box_is_refused_for_several_pictures(capsys: pytest.CaptureFixture[str]) -> None:
    photo = str(SAMPLES / "front_step.jpg")
    assert main(["pose", photo, photo, "--same-pose", "--model", "full", "--box", "0", "0", "9", "9"]) == 1
    assert "--box is for one picture" in capsys.readouterr().err
