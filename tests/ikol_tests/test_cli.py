# SPDX-License-Identifier: Apache-2.0
"""The command line on the real networks: what it prints, writes, and says when it cannot."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ikol.cli import main

SAMPLES = Path(__file__).parents[2] / "samples"


def test_pose_writes_rotations_of_one_person(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "pose.npz"
    assert main(["pose", str(SAMPLES / "front_step.jpg"), "--out", str(out), "--model", "full"]) == 0
    assert "1 person(s)" in capsys.readouterr().out
    with np.load(out, allow_pickle=False) as data:
        assert data["local_quat"].shape == (1, 24, 4)
        np.testing.assert_allclose(np.linalg.norm(data["local_quat"], axis=-1), 1.0, atol=1e-6)
        assert abs(float(data["joints"][0, 0, 0])) < 1e-6  # the pelvis stands over the origin


def test_text_file_gives_a_sentence_and_status_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_text("this is not a picture")
    assert main(["pose", str(photo)]) == 1
    assert capsys.readouterr().err.startswith("error: ")


def test_missing_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pose", str(tmp_path / "nothing.jpg")]) == 1
    assert "nothing.jpg" in capsys.readouterr().err


def test_photograph_without_a_person_says_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from PIL import Image

    Image.linear_gradient("L").resize((640, 480)).convert("RGB").save(tmp_path / "grey.png")
    assert main(["pose", str(tmp_path / "grey.png")]) == 1
    assert "no person was found" in capsys.readouterr().err


@pytest.mark.parametrize("option", [["--every", "0"], ["--threads", "-1"]])
def test_numbers_below_one_are_refused(option: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["evaluate", "multiview", ".", *option])
    assert "must be at least 1" in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_missing_graphics_card_gives_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pose", str(SAMPLES / "front_step.jpg"), "--device", "cuda"]) == 1
    assert "no CUDA device" in capsys.readouterr().err
