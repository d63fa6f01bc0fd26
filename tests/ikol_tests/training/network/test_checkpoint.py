# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest
import torch

from ikol.errors import FileFormatError
from ikol.training.network.checkpoint import Checkpoint, load_checkpoint, load_newest, save_checkpoint


def _checkpoint(step: int) -> Checkpoint:
    tensors = {"network": {"weight": torch.full((2, 3), float(step))}, "optimizer": {"0.step": torch.tensor(step)}}
    return Checkpoint(step, tensors, {"config": {"seed": 7}})


def test_what_is_saved_is_loaded(tmp_path: Path):
    found = load_checkpoint(save_checkpoint(tmp_path, _checkpoint(5), keep=1))
    assert found.step == 5
    assert found.values == {"config": {"seed": 7}}
    assert torch.equal(found.tensors["network"]["weight"], torch.full((2, 3), 5.0))


def test_the_newest_are_kept(tmp_path: Path):
    for step in (1, 2, 10, 11):
        save_checkpoint(tmp_path, _checkpoint(step), keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step_000000010", "step_000000011"]


def test_a_half_written_checkpoint_is_not_seen(tmp_path: Path):
    save_checkpoint(tmp_path, _checkpoint(1), keep=3)
    unfinished = tmp_path / "step_000000002.unfinished"
    unfinished.mkdir()
    (unfinished / "network.safetensors").write_bytes(b"half")
    found = load_newest(tmp_path)
    assert found is not None
    assert found.step == 1


def test_a_damaged_checkpoint_is_refused_and_the_one_before_is_taken(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    save_checkpoint(tmp_path, _checkpoint(1), keep=3)
    path = save_checkpoint(tmp_path, _checkpoint(2), keep=3)
    file = path / "network.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(FileFormatError, match="is not the file that was written"):
        load_checkpoint(path)
    found = load_newest(tmp_path)
    assert found is not None
    assert found.step == 1
    assert "an older one is tried" in caplog.text


def test_an_empty_folder_has_no_newest(tmp_path: Path):
    assert load_newest(tmp_path / "nothing") is None
