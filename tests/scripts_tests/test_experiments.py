# SPDX-License-Identifier: Apache-2.0
"""An experiment from observed people to its table, with a handful of them."""

import json
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import torch

from ikol.geometry.rotations import rotvec_to_rotmat
from ikol.regressor.hands import HAND_SHAPES
from ikol.training.observations import Observations, observations_path, write_observations

EXPERIMENTS = Path(__file__).parents[2] / "scripts" / "experiments"


def _write_people(folder: Path, count: int, seed: int) -> None:
    """Write people before a camera, whose landmarks are their joints with noise and some more."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(count, *shape, generator=generator)

    joints = normal(24, 3) * 0.3 + torch.tensor([0.0, 0.0, 4.0])
    values = {
        "points": 100 + 20 * normal(2, 33, 2),
        "world": 0.3 * normal(2, 33, 3),
        "focal": torch.full((count,), 300.0),
        "center": torch.full((count, 2), 100.0),
        "R_camera_world": torch.diag(torch.tensor([1.0, -1.0, -1.0])).expand(count, 3, 3),
        "local_rotmat": rotvec_to_rotmat(0.3 * normal(24, 3)),
        "betas": 0.5 * normal(10),
        "joints_camera": joints,
    }
    shapes = {
        "points": (2, 33, 2), "world": (2, 33, 3), "visibility": (2, 33), "presence": (2,), "side": (2,),
        "augmentation": (2,), "crop_center": (2,), "size": (2,), "t_camera_world": (3,), "transl": (3,),
        "landmarks_camera": (33, 3), "landmarks_px": (33, 2), "twist": (24,), "inner": (2, 0),
    } | {f"hand_{name}": (0, *shape) for name, shape in HAND_SHAPES.items()}  # fmt: skip
    rest = {each.name: torch.zeros(count, *shapes.get(each.name, ())) for each in fields(Observations)}
    rest |= {name: rest[name].long() for name in ("augmentation", "motion_id", "subject_id")}
    folder.mkdir()
    write_observations(observations_path(folder, 0), Observations(**(rest | values)))


def _table(name: str, folder: Path) -> list[str]:
    """Run an experiment of a few steps and return its table."""
    if not (folder / "tiny.toml").exists():
        for part, seed in (("train", 0), ("test", 1)):
            _write_people(folder / part, 12, seed)
        settings = {part: str(folder / part) for part in ("train", "test")} | {"folder": str(folder / "out")}
        text = "".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items())
        text += "test_samples = 8\nseeds = 2\n[warm_up]\nsteps = 3\n[schedule]\nsteps = 2\nbatch_size = 4\n"
        (folder / "tiny.toml").write_text(text)
    command = [sys.executable, str(EXPERIMENTS / f"{name}.py"), "--config", str(folder / "tiny.toml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=EXPERIMENTS.parents[1])
    assert done.returncode == 0, done.stderr[-3000:]
    return [line for line in done.stdout.splitlines() if line.startswith("|")]


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("name", "rows"), [("twist", 3), ("iterations", 20), ("noise", 8)])
def test_an_experiment_may_be_the_first_and_has_a_spread_in_each_row(tmp_path: Path, name: str, rows: int):
    table = _table(name, tmp_path)
    assert len(table) == 2 + rows
    assert all(" ± " in line for line in table[2:])


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_an_experiment_trains_its_variants_measures_them_and_goes_on_where_it_was(tmp_path: Path):
    tables = [_table("end_to_end", tmp_path) for _ in range(2)]
    assert len(tables[0]) == 5, "two lines of head, end to end, frozen, the difference"
    assert all(" ± " in line for line in tables[0][2:])
    assert tables[0] == tables[1]
    rows = json.loads((tmp_path / "out" / "end_to_end.json").read_text())["values"]
    assert {"mpjpe", "pa", "rotations", "pve", "picture"} == set(rows["end to end less frozen"][0])


DRAWN = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import figures
from study import Size, Study
figures.PICTURES = Path(sys.argv[2])
drawn = []
figures.plt.Axes.plot = lambda axes, *curve, **how: drawn.append(curve)
figures.plt.Axes.legend = lambda *names, **how: None
figures.curves(Study("figures", Size(folder=sys.argv[2])))
for steps, losses in drawn:
    print(steps[0], steps[-1], f"{losses[0]:.6f} {losses[-1]:.6f}")
"""


@pytest.mark.parametrize("kind", ["landmarks", "pictures"])
def test_loss_curves_are_those_of_either_kind_of_training(tmp_path: Path, kind: str):
    pytest.importorskip("matplotlib")
    for name in ("warm_up", "ikol_0", "ikol_1"):
        (tmp_path / name).mkdir()
        if kind == "landmarks":
            losses = [1.0] * 40 + [3.0] * 40
            (tmp_path / name / "training.json").write_text(json.dumps({"losses": losses}))
            continue
        lines = [{"step": step, "group": "train", "total": 1.0 if step <= 40 else 3.0} for step in range(5, 85, 5)]
        lines += [{"step": 80, "group": "validation", "mpjpe_mm": 9.0}, lines[-1]]
        (tmp_path / name / "journal.jsonl").write_text("\n".join(map(json.dumps, lines)))
    command = [sys.executable, "-c", DRAWN, str(EXPERIMENTS), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    # 40 steps of 1, then 40 of 3
    assert done.stdout.splitlines() == ["40 80 1.000000 3.000000"] * 2
