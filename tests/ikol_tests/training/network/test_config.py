# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest
import torch
from published_layouts import PUBLISHED

from ikol.errors import InputError
from ikol.regressor.networks import PoseNetwork
from ikol.training.network.config import Augmentation, Losses, Schedule, config_json, read_config

ROOT = Path(__file__).parents[4]

MINIMAL = """
[[train]]
kind = "rendered"
path = "out/rendered/train"

[schedule]
steps = 100

[output]
folder = "out/run"
"""


def _read(folder: Path, text: str, name: str = "config.toml"):
    path = folder / name
    path.write_text(text)
    return read_config(path)


def test_what_is_left_out_has_its_default(tmp_path: Path):
    config = _read(tmp_path, MINIMAL)
    assert config.network.backbone == "resnet34"
    assert config.losses.twist == 0.01
    assert config.losses.uvd == 64.0
    assert config.layer.backward == "implicit"


def test_the_json_kept_with_a_training_reads_as_the_same(tmp_path: Path):
    config = _read(tmp_path, MINIMAL)
    assert _read(tmp_path, config_json(config), "config.json") == config


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (MINIMAL + "\n[loses]\nuvd = 1.0\n", "unknown field `loses`"),
        (MINIMAL.replace("steps = 100", "steps = 0"), "`int` >= 1"),
        (MINIMAL.replace("steps = 100", 'steps = "many"'), "Expected `int`"),
        (MINIMAL.replace("steps = 100", "steps = 100\nbatch_size = 9\naccumulate = 2"), "must be a multiple of"),
        (MINIMAL + '\n[network]\nbackbone = "vgg"\n', "unknown backbone 'vgg'"),
        (MINIMAL + '\n[network]\nbackbon = "resnet18"\n', "unknown field `backbon`"),
        (MINIMAL + '\n[layer]\nsolver = "regression"\n', "needs network.rotations = true"),
        ("[train", "is no TOML"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str, message: str):
    with pytest.raises(InputError, match=message):
        _read(tmp_path, text)


def test_the_rate_rises_and_falls_in_steps():
    schedule = Schedule(steps=100, learning_rate=1.0, warm_up=4, milestones=(50, 80), decay=0.1)
    assert [schedule.rate(step) for step in (0, 3, 49, 50, 80)] == pytest.approx([0.25, 1.0, 1.0, 0.1, 0.01])


@pytest.mark.parametrize("path", [*ROOT.glob("docs/examples/*.toml"), *ROOT.glob("scripts/experiments/*.toml")])
def test_the_examples_are_configurations(path: Path):
    assert read_config(path).schedule.steps > 0


def test_the_released_training_is_that_of_the_published_network():
    config = read_config(ROOT / "docs/examples/train_released.toml")
    with torch.device("meta"):
        state = PoseNetwork(config.network).state_dict()
    published = PUBLISHED["ikol_resnet34"]()
    assert {name: tuple(tensor.shape) for name, tensor in state.items()} == {
        name: shape for name, shape in published.items() if not name.startswith("smpl.")
    }
    assert (config.losses, config.augmentation) == (Losses(), Augmentation())
    assert sum(source.share for source in config.train) == pytest.approx(1.0)


def test_json_that_nests_too_deeply_is_said(tmp_path: Path):
    with pytest.raises(InputError, match="config.json is no JSON"):
        _read(tmp_path, "[" * 100_000, "config.json")
