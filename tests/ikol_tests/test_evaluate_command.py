# SPDX-License-Identifier: Apache-2.0
"""`ikol evaluate` from arguments to files, on a recording whose landmarks are known."""

import json
from pathlib import Path

import pytest
import torch
from recordings import BODY, LENS, write_recording

from ikol.cli import main
from ikol.evaluation.landmark_cache import LandmarkCache
from ikol.pipeline.placement import point_positions
from ikol.regressor.landmarks import BLAZEPOSE_LANDMARKS
from ikol.regressor.person import CropSamples, combine


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return a recording, and its landmarks."""
    folder = tmp_path_factory.mktemp("evaluated")
    written = write_recording(folder, (0.0, 90.0))
    cache = LandmarkCache(folder / "landmarks.npz")
    points = point_positions(BODY, written.pose, BLAZEPOSE_LANDMARKS)
    hips = [BLAZEPOSE_LANDMARKS.index(name) for name in ("left_hip", "right_hip")]
    for number, camera in enumerate(written.cameras):
        seen = camera.to_camera(points)
        samples = CropSamples(
            camera.project(points)[None].float(),
            (seen - seen[hips].mean(0))[None].float(),
            torch.ones(1, 33),
            torch.ones(1),
            400.0,
        )
        cache.keep(f"full: cam{number + 1:02d} frame 0", combine(samples, LENS.width, LENS.height))
    cache.save()
    return folder, cache.path


@pytest.mark.parametrize(("more", "pictures"), [([], 2), (["--views"], 1)])
def test_report_is_printed_and_written(
    recording: tuple[Path, Path],
    more: list[str],
    pictures: int,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, landmarks = recording
    files = ["--json", str(tmp_path / "report.json"), "--html", str(tmp_path / "report.html")]
    options = ["--landmarks", str(landmarks), "--model", "full", *files, *more]
    assert main(["evaluate", "multiview", str(folder), *options]) == 0
    assert f"multiview: {pictures} pictures, 0 without a person" in capsys.readouterr().out
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["pictures"] == pictures
    # perfect landmarks of a body of mean shape
    assert report["solved"]["mpjpe_mm"] < 30.0
    assert report["solved"]["pve_mm"] is None
    assert "<svg" in (tmp_path / "report.html").read_text()


def test_missing_folder_of_a_report_is_said_before_the_work(
    recording: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = str(tmp_path / "none" / "report.html")
    assert main(["evaluate", "multiview", str(recording[0]), "--html", where]) == 1
    assert "does not exist; make it first" in capsys.readouterr().err


def test_wrong_folder_is_said_before_a_network_is_loaded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "3dpw", str(tmp_path)]) == 1
    assert "give the folder in which 3DPW was unpacked" in capsys.readouterr().err
