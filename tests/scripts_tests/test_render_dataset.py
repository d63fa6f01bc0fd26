# SPDX-License-Identifier: Apache-2.0
import subprocess
import sys
from pathlib import Path

import pytest
from motion import motion_archive

from ikol.training.observations import read_observations

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "render_dataset"


def _render(out: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), "--out", str(out), "--motion", str(motion_archive().parent), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_a_stopped_run_goes_on_and_makes_the_same(tmp_path: Path) -> None:
    options = ("--frames", "5", "--shard", "2", "--split", "val", "--seed", "3", "--observe", "full", "--hands")
    assert _render(tmp_path, *options).returncode == 0
    files = sorted((tmp_path / "val").iterdir())
    assert len(files) == 6
    assert read_observations(tmp_path / "val").hand_presence.shape[:2] == (5, 1)
    before = {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in files}
    files[0].unlink()  # observations of the first shard
    files[-1].unlink()  # pictures of the last
    (tmp_path / "val" / "shard_00002.part").write_bytes(b"half")
    assert _render(tmp_path, *options, "--workers", "2").returncode == 0
    assert {file: file.read_bytes() for file in files} == {file: data for file, (data, _) in before.items()}
    assert all(file.stat().st_mtime_ns == before[file][1] for file in files[1:-1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--full", "320", "--observe", "heavy"), "needs pictures around the person"),
        (("--full", "320", "--crop-size", "512"), "the size of whole pictures is --full"),
        (("--hands",), "--hands needs --observe"),
    ],
)
def test_contradictory_options_are_said(tmp_path: Path, options: tuple[str, ...], message: str) -> None:
    done = _render(tmp_path, "--frames", "1", *options)
    assert done.returncode == 2
    assert message in done.stderr
