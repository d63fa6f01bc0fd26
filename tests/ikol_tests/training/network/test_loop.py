# SPDX-License-Identifier: Apache-2.0
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
import torch
from training_files import make_h36m, make_poses, project, small_config

from ikol.errors import InputError
from ikol.regressor.networks import PoseNetwork
from ikol.training.network.checkpoint import load_checkpoint, load_newest
from ikol.training.network.config import Layer, Losses, Schedule, Source, TrainConfig
from ikol.training.network.loop import CHECKPOINTS, make_fabric, train

REPOSITORY = Path(__file__).parents[4]


NOTHING = {"scale": 0.0, "rotated": 0.0, "shift": 0.0, "colour": 0.0, "occluded": 0.0, "mirrored": 0.0}


def _journal(config: TrainConfig) -> list[dict[str, float]]:
    lines = (Path(config.output.folder) / "journal.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def _with_steps(config: TrainConfig, steps: int, **changes: object) -> TrainConfig:
    schedule = msgspec.structs.replace(config.schedule, steps=steps)
    return msgspec.structs.replace(config, schedule=schedule, **changes)


def _final(config: TrainConfig) -> dict[str, dict[str, torch.Tensor]]:
    found = load_newest(Path(config.output.folder) / CHECKPOINTS)
    assert found is not None
    return {name: dict(tensors) for name, tensors in found.tensors.items()}


def _same_bits(first: dict[str, dict[str, torch.Tensor]], second: dict[str, dict[str, torch.Tensor]]) -> bool:
    return first.keys() == second.keys() and all(
        first[name].keys() == second[name].keys()
        and all(torch.equal(first[name][key], second[name][key]) for key in first[name])
        for name in first
    )


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_training_goes_on_bit_for_bit_where_it_was_stopped(tmp_path: Path):
    make_h36m(tmp_path)
    whole = small_config(tmp_path)
    train(whole)
    output = msgspec.structs.replace(whole.output, folder=str(tmp_path / "parts"))
    parts = msgspec.structs.replace(whole, output=output)
    train(_with_steps(parts, 2))
    train(parts)
    assert _same_bits(_final(whole), _final(parts))


def test_a_backbone_may_learn_more_slowly_than_the_rest(tmp_path: Path):
    make_h36m(tmp_path)
    config = small_config(tmp_path)
    slow = msgspec.structs.replace(config.schedule, steps=1, backbone=1e-3, ema=0.0)
    train(msgspec.structs.replace(config, schedule=slow))
    torch.manual_seed(config.seed)
    begun, ended = PoseNetwork(config.network).state_dict(), _final(config)["network"]
    moved = {name: float((ended[name] - begun[name]).abs().max()) for name in ("preact.conv1.weight", "fc1.weight")}
    # Adam's first step is the rate, whatever the gradient
    assert moved["preact.conv1.weight"] == pytest.approx(1e-3 * moved["fc1.weight"], rel=1e-2), moved


def test_a_backbone_s_first_blocks_may_stay_as_they_are(tmp_path: Path):
    make_h36m(tmp_path)
    config = small_config(tmp_path)
    some = msgspec.structs.replace(config.schedule, steps=1, kept=0.5, ema=0.0)
    train(msgspec.structs.replace(config, schedule=some))
    torch.manual_seed(config.seed)
    begun, ended = PoseNetwork(config.network), _final(config)["network"]
    names = [name for name, _ in begun.preact.named_parameters()]
    state = begun.state_dict()
    is_moved = [not torch.equal(state[f"preact.{name}"], ended[f"preact.{name}"]) for name in names]
    half = round(0.5 * len(names))
    assert is_moved == [False] * half + [True] * (len(names) - half)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_the_loss_falls(tmp_path: Path, precision: str):
    make_h36m(tmp_path, count=2)
    schedule = msgspec.to_builtins(Schedule(steps=32, batch_size=2, learning_rate=1e-3, precision=precision))
    output = {"folder": str(tmp_path / "out"), "log_every": 1, "checkpoint_every": 100}
    losses = {"uvd": 0.0, "betas": 0.0, "twist": 1.0, "rotations": 0.1, "scale": 0.0}
    config = small_config(tmp_path, augmentation=NOTHING, schedule=schedule, output=output, losses=losses)
    train(config)
    found = [line["total"] for line in _journal(config)]
    # the same two pictures again and again; it falls by half, and dropout moves a step's loss by half as well
    assert sum(found[-8:]) < 0.75 * sum(found[:8]), found
    # what is kept is whole: half precision is for the passes
    assert {value.dtype for value in _final(config)["network"].values()} <= {torch.float32, torch.int64}


class _Echo(torch.nn.Linear):
    def forward(self, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return values, super().forward(values)


def test_mixed_precision_halves_what_the_network_multiplies_and_not_the_truth(tmp_path: Path):
    schedule = msgspec.to_builtins(Schedule(steps=1, precision="bf16-mixed"))
    fabric = make_fabric(small_config(tmp_path, schedule=schedule))
    echo = _Echo(1, 1, bias=False)
    torch.nn.init.ones_(echo.weight)
    # a place on a picture, pixels
    found, product = fabric.setup_module(echo)(torch.tensor([1537.25]))
    assert found.tolist() == [1537.25]
    assert product.tolist() == [1536.0]


def test_rotations_are_learned_without_a_layer(tmp_path: Path):
    make_h36m(tmp_path, count=2)
    config = small_config(tmp_path, augmentation=NOTHING)
    changes = {
        "network": msgspec.structs.replace(config.network, rotations=True),
        "layer": Layer(solver="regression"),
        "schedule": Schedule(steps=16, batch_size=2, learning_rate=1e-3),
        "losses": Losses(uvd=0.0, betas=0.0, twist=0.0, rotations=1.0, scale=0.0),
    }
    train(msgspec.structs.replace(config, **changes))
    found = [line["rotations"] for line in _journal(config)]
    # the same two pictures again and again; a random start is off by 120 degrees
    assert sum(found[-4:]) < 0.5 * sum(found[:4]), found


def test_validation_says_what_it_measured_and_draws_it(tmp_path: Path):
    make_h36m(tmp_path)
    config = small_config(tmp_path)
    train(msgspec.structs.replace(config, validation=config.train))
    folder = Path(config.output.folder)
    last = _journal(config)[-1]
    assert last["group"] == "validation"
    assert {"mpjpe_mm", "pa_mpjpe_mm", "rotation_deg", "twist_deg", "pixels_percent"} <= last.keys()
    assert list((folder / "pictures").glob("validation_*.jpg"))


def _make_coco(folder: Path) -> Source:
    """Annotate the pictures of `make_h36m` as COCO would: places alone, of shoulders and hips."""
    content = json.loads(make_h36m(folder, count=2).read_text())
    pixels = project(make_poses(2)[0])
    for index, person in enumerate(content["annotations"]):
        places = {5: 16, 6: 17, 11: 1, 12: 2}
        keypoints = [[*pixels[index, places[k]].tolist(), 2] if k in places else [0, 0, 0] for k in range(17)]
        flat = [number for keypoint in keypoints for number in keypoint]
        content["annotations"][index] = {"image_id": index, "bbox": person["bbox"], "keypoints": flat}
    (folder / "coco.json").write_text(json.dumps(content))
    return Source("coco", str(folder / "coco.json"), str(folder / "images"))


@pytest.mark.parametrize("with_space", [True, False])
def test_the_24_joint_network_trains_on_pictures_with_and_without_space(tmp_path: Path, with_space: bool):
    coco = _make_coco(tmp_path)
    config = small_config(tmp_path)
    network = msgspec.structs.replace(config.network, num_joints=24, leaves=True, sigma=True, camera=3)
    sources = (*config.train, coco) if with_space else (coco,)
    schedule = Schedule(steps=1, batch_size=8)
    train(msgspec.structs.replace(config, network=network, train=sources, validation=config.train, schedule=schedule))
    first, last = _journal(config)
    assert all(math.isfinite(value) for value in first.values() if not isinstance(value, str))
    assert {"mpjpe_mm", "pixels_percent"} <= last.keys()
    torch.manual_seed(config.seed)
    begun, ended = PoseNetwork(network).state_dict(), _final(config)["network"]
    moved = {
        name for name in ("final_layer", "decleaf", "decphi") if (ended[f"{name}.bias"] != begun[f"{name}.bias"]).any()
    }
    assert moved == ({"final_layer", "decleaf", "decphi"} if with_space else {"final_layer"})


def test_accumulated_parts_make_the_same_step_as_a_whole_batch(tmp_path: Path):
    # one picture four times: batch normalisation, which sees parts, finds the same mean in each
    make_h36m(tmp_path, count=1)
    results = []
    for name, accumulate in (("whole", 1), ("parts", 2)):
        schedule = msgspec.to_builtins(Schedule(steps=1, batch_size=4, accumulate=accumulate, learning_rate=1e-3))
        output = {"folder": str(tmp_path / name), "log_every": 1}
        config = small_config(tmp_path, augmentation=NOTHING, schedule=schedule, output=output)
        train(config)
        results.append(_journal(config)[0]["uvd"])
    # dropout does not reach the heat maps
    assert results[0] == pytest.approx(results[1], rel=1e-5)


def test_another_configuration_does_not_go_on_with_a_training(tmp_path: Path):
    make_h36m(tmp_path)
    config = small_config(tmp_path)
    train(_with_steps(config, 2))
    with pytest.raises(InputError, match="holds a training with another seed"):
        train(msgspec.structs.replace(config, seed=1))


def test_a_training_begins_with_weights_by_name_and_says_what_does_not_fit(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    make_h36m(tmp_path)
    config = small_config(tmp_path)
    torch.manual_seed(9)
    given = PoseNetwork(config.network).state_dict()
    given["decphi.bias"], given["surprise"] = torch.zeros(3), torch.zeros(1)
    del given["fc2.bias"]
    torch.save({"model": {f"module.{name}": value for name, value in given.items()}}, tmp_path / "published.pth")
    # the backbone stays, so that what was taken is still there after a step
    schedule = msgspec.structs.replace(config.schedule, steps=1, backbone=0.0, ema=0.0)
    train(msgspec.structs.replace(config, schedule=schedule, weights=str(tmp_path / "published.pth")))
    assert torch.equal(_final(config)["network"]["preact.layer4.1.conv2.weight"], given["preact.layer4.1.conv2.weight"])
    assert "1 tensors missing (fc2.bias)" in caplog.text
    assert "1 unknown tensors (surprise)" in caplog.text
    assert "decphi.bias: (3,) instead of (46,)" in caplog.text


def test_a_training_begins_with_a_backbone_alone(tmp_path: Path):
    make_h36m(tmp_path)
    config = small_config(tmp_path)
    torch.manual_seed(9)
    backbone = PoseNetwork(config.network).preact.state_dict()
    torch.save({**backbone, "fc.weight": torch.zeros(1000, 512)}, tmp_path / "imagenet.pth")
    schedule = msgspec.structs.replace(config.schedule, steps=1, backbone=0.0, ema=0.0)
    train(msgspec.structs.replace(config, schedule=schedule, weights=str(tmp_path / "imagenet.pth")))
    assert torch.equal(_final(config)["network"]["preact.conv1.weight"], backbone["conv1.weight"])


def test_weights_of_which_nothing_fits_are_refused(tmp_path: Path):
    make_h36m(tmp_path)
    torch.save({"state": torch.zeros(3), "fc1.bias": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(InputError, match=r"nothing for a network of this configuration: .*unknown tensors \(state\)"):
        train(small_config(tmp_path, weights=str(tmp_path / "other.pth")))


def test_the_running_mean_is_that_of_the_weights_of_each_step(tmp_path: Path):
    make_h36m(tmp_path)
    config = small_config(tmp_path)
    output = msgspec.structs.replace(config.output, checkpoint_every=1, keep=10)
    schedule = msgspec.structs.replace(config.schedule, steps=3, ema=0.75)
    last = train(msgspec.structs.replace(config, output=output, schedule=schedule))
    steps = [load_checkpoint(last.parent / f"step_{step:09d}").tensors["network"]["fc1.weight"] for step in (1, 2, 3)]
    mean = steps[0]
    for weight in steps[1:]:
        mean = 0.75 * mean + 0.25 * weight
    found = _final(config)["ema"]["module.fc1.weight"]
    torch.testing.assert_close(found, mean, rtol=0, atol=1e-7)
    assert not torch.equal(found, steps[-1])


def test_gradients_are_clipped_to_the_norm_of_all(tmp_path: Path):
    make_h36m(tmp_path)
    norms = []
    for clip in (0.0, 0.01):
        config = small_config(tmp_path, output={"folder": str(tmp_path / str(clip))})
        train(msgspec.structs.replace(config, schedule=Schedule(steps=1, batch_size=2, clip=clip)))
        # Adam's first moment after one step is a tenth of the gradient
        moments = [value for name, value in _final(config)["optimizer"].items() if name.endswith(".exp_avg")]
        norms.append(10 * float(torch.stack([moment.norm() for moment in moments]).norm()))
    assert norms[0] > 0.1
    assert norms[1] == pytest.approx(0.01, rel=1e-3)


def test_tensorboard_has_the_journal_s_numbers_and_the_picture(tmp_path: Path):
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    make_h36m(tmp_path)
    config = small_config(tmp_path)
    train(msgspec.structs.replace(config, validation=config.train))
    found = reader.EventAccumulator(str(Path(config.output.folder) / "tensorboard")).Reload()
    losses = [event.value for event in found.Scalars("train/total")]
    expected = [line["total"] for line in _journal(config) if line["group"] == "train"]
    assert losses == pytest.approx(expected, rel=1e-6)
    (picture,) = found.Images("validation")
    assert picture.encoded_image_string.startswith(b"\x89PNG")


def _launch(config_file: Path, restarts: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", f"--max-restarts={restarts}"]
    command += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0", "-m", "ikol.cli", "train", str(config_file)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
    with config_file.with_suffix(".log").open("wb") as log:
        return subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)


def _workers(launcher: int) -> list[int]:
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(launcher)], capture_output=True, text=True, check=False)
    return [int(pid) for pid in listed.stdout.split()]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_killed_worker_resumes_and_ends_with_the_same_bits(tmp_path: Path):
    make_h36m(tmp_path)
    finals = []
    for name, is_killed in (("calm", False), ("killed", True)):
        output = {"folder": str(tmp_path / name), "checkpoint_every": 2, "keep": 2}
        schedule = msgspec.to_builtins(Schedule(steps=16, batch_size=2, learning_rate=1e-3))
        config = small_config(tmp_path, output=output, schedule=schedule)
        config = msgspec.structs.replace(config, machine=msgspec.structs.replace(config.machine, devices=2))
        config_file = tmp_path / f"{name}.json"
        config_file.write_bytes(msgspec.json.encode(config))
        running = _launch(config_file, restarts=1)
        if is_killed:
            checkpoints = tmp_path / name / CHECKPOINTS
            while not list(checkpoints.glob("step_*[0-9]")) and running.poll() is None:
                time.sleep(0.05)
            os.kill(_workers(running.pid)[-1], signal.SIGKILL)
        assert running.wait(500) == 0, config_file.with_suffix(".log").read_text()[-4000:]
        finals.append(_final(config))
    assert _same_bits(*finals)
