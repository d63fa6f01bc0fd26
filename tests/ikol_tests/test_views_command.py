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
