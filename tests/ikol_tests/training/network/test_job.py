# SPDX-License-Identifier: Apache-2.0
"""A training as a job, on a computer that lacks what only training needs."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
from training_files import make_h36m, small_config

from ikol.cli import main
from ikol.training.network.config import Schedule
from ikol.training.network.job import submit
from ikol.training.network.loop import CHECKPOINTS

CONFIG = """
[[train]]
kind = "rendered"
path = "nowhere"
[schedule]
steps = 1
[output]
folder = "out"
"""


def test_without_fabric_the_command_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.toml").write_text(CONFIG)
    monkeypatch.setitem(sys.modules, "lightning_fabric", None)
    monkeypatch.delitem(sys.modules, "ikol.training.network.loop", raising=False)
    assert main(["train", str(tmp_path / "a.toml")]) == 1
    assert "training needs lightning-fabric: pip install" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_job_that_is_interrupted_submits_itself_again_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # submitit's executor for one machine: the signal is the one that Slurm sends before the time limit
    local = pytest.importorskip("submitit.local.local")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    started, start = [], local.LocalExecutor._submit_command
    monkeypatch.setattr(
        local.LocalExecutor, "_submit_command", lambda self, text: started.append(start(self, text)) or started[0]
    )
    make_h36m(tmp_path)
    output = {"folder": str(tmp_path / "out"), "checkpoint_every": 2, "log_every": 1}
    schedule = msgspec.to_builtins(Schedule(steps=40, batch_size=2, learning_rate=1e-3))
    number = submit(small_config(tmp_path, output=output, schedule=schedule), hours=0.1, cluster="local")
    (job,) = started
    while not (tmp_path / "out" / CHECKPOINTS / f"step_{4:09d}").is_dir():
        assert not job.done(), job.stderr()
        time.sleep(0.05)
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", number], capture_output=True, text=True, check=True)
    os.kill(int(listed.stdout), signal.SIGUSR2)
    assert job.result() == str(tmp_path / "out" / CHECKPOINTS / f"step_{40:09d}")
    steps = [json.loads(line)["step"] for line in (tmp_path / "out" / "journal.jsonl").read_text().splitlines()]
    assert sorted(set(steps)) == list(range(1, 41))
    assert steps.count(1) == 1, "it began anew"
    assert "Requeued job" in job.stdout() + job.stderr()
