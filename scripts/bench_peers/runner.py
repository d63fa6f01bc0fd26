# SPDX-License-Identifier: Apache-2.0
"""Measure the solver and its peers on the same frames, one after the other, in one run.

    scripts/bench_peers/run --all --json FILE       everything: every case of `ikol bench solver`, every peer
    scripts/bench_peers/run pymomentum mink         the paper's problem, and these peers only
    scripts/bench_peers/run --all --setup           only make the environments

29 keypoints with 10 mm of noise, the root held (`ikol.evaluation.bench`). Each peer runs in an environment of its own
below .cache/peers, made here by pip from requirements/<peer>.txt on first use (some GB for those that bring PyTorch);
peers without such a file are published methods from `ikol.solver.baselines`. Every peer takes the first of its settings
that reaches the optimum in 99.8 % of the frames; how it is called, started and timed stands in peer_<peer>.py and
harness.py. The JSON is that of `ikol bench solver` with two more lines a peer, one frame and its best batch: `ratio` is
our speed over its own.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from ikol.evaluation.bench import CASES, bench_solver, make_paper_problem, report_json, report_line
from ikol.solver.directions import DirectionConfig, solve_directions

HERE = Path(__file__).resolve().parent
ENVIRONMENTS = HERE.parents[1] / ".cache" / "peers"
FRAMES = 4096
LIMIT = 300  # seconds a peer
PEERS = tuple(sorted(path.stem.removeprefix("peer_") for path in HERE.glob("peer_*.py")))
CONVERGES = 0.99  # part of its frames: a peer below it is no competitor


def main() -> int:
    """Run; 1 when a peer could not be measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peers", nargs="*", help=f"of {', '.join(PEERS)}")
    parser.add_argument("--all", action="store_true", help="every peer and every case of our own")
    parser.add_argument("--seconds", type=float, default=3.0, help="for each figure (default: 3)")
    parser.add_argument("--setup", action="store_true", help="make the environments and stop")
    parser.add_argument("--json", type=Path, help="write the report to this file")
    options = parser.parse_args()
    peers = list(PEERS) if options.all else options.peers
    unknown = set(peers) - set(PEERS)
    if unknown:
        parser.error(f"there is no peer {', '.join(sorted(unknown))}; there are {', '.join(PEERS)}")
    pythons = {peer: environment(peer) for peer in peers}
    if options.setup:
        return 0
    print(report_line(None))
    report = _ours(list(CASES) if options.all else ["paper"], options.seconds)
    failed: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        problem = Path(folder) / "problem.npz"
        write_problem(problem)
        for peer in peers:
            measured = _measure(peer, pythons[peer], problem, options.seconds)
            if measured is None:
                failed.append(peer)
                continue
            lines = _lines(peer, measured, report["cases"])
            report["cases"] += lines
            for line in lines:
                print(_text(line), flush=True)
    report["best_peer"] = _best_peer(report["cases"])
    print(json.dumps(report["best_peer"], indent=1))
    if options.json is not None:
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    if failed:
        print(f"not measured: {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


def _ours(cases: list[str], seconds: float) -> dict:
    lines = []
    for case in cases:
        for line in bench_solver([case], seconds=seconds):
            print(report_line(line), flush=True)
            lines.append(line)
    report = json.loads(report_json(lines))
    report["machine"]["load"] = os.getloadavg()[0]
    return report


def write_problem(path: Path) -> None:
    """Write the frames, the root at the origin, and how good the optimum is."""
    problem = make_paper_problem(FRAMES, dtype=torch.float64)
    config = DirectionConfig(hold_root=True)
    result = solve_directions(problem.tree, problem.keypoints, problem.offsets, problem.twist, config=config)
    offsets = problem.offsets.clone()
    offsets[0] = 0
    np.savez(
        path,
        parents=np.array(problem.tree.parents),
        offsets=offsets.numpy(),
        keypoints=(problem.keypoints - problem.keypoints[:, :1]).numpy(),
        twist=problem.twist.numpy(),
        optimum=(2 * result.cost / (problem.tree.num_joints - 1)).sqrt().numpy(),
    )


def environment(peer: str) -> Path:
    """Return the Python of a peer, made on first use and after its requirements have changed."""
    requirements = HERE / "requirements" / f"{peer}.txt"
    if not requirements.exists():
        return Path(sys.executable)
    folder = ENVIRONMENTS / peer
    python, stamp, text = folder / "bin" / "python", folder / ".ready", requirements.read_text()
    if stamp.exists() and stamp.read_text() == text:
        return python
    print(f"making the environment of {peer} ...", file=sys.stderr)
    started = time.perf_counter()
    version = text.split()[2].rstrip(":")
    subprocess.run([_find_python(version), "-m", "venv", "--clear", folder], check=True)
    first, _, rest = text.partition("# then")
    for part, flags in ((first, ()), (rest, ("--no-deps", "--no-build-isolation"))):
        names = [line for line in part.splitlines() if "==" in line]
        if names:
            subprocess.run([python, "-m", "pip", "install", "--quiet", *flags, *names], check=True)
    stamp.write_text(text)
    print(f"{peer}: {time.perf_counter() - started:.0f} s", file=sys.stderr)
    return python


def _find_python(version: str) -> Path:
    """Return an interpreter of a version: on the path, of pyenv, of uv."""
    found = [Path(folder) / f"python{version}" for folder in os.environ["PATH"].split(os.pathsep)]
    found += Path.home().glob(f".pyenv/versions/{version}.*/bin/python")
    found += Path.home().glob(f".local/share/uv/python/cpython-{version}.*/bin/python")
    for python in found:
        # pyenv's shims are there whether or not they work
        if python.is_file() and subprocess.run([python, "-V"], capture_output=True, check=False).returncode == 0:
            return python
    raise SystemExit(f"no Python {version} was found; install one, for example by `pip install uv; uv python install`")


def _measure(peer: str, python: Path, problem: Path, seconds: float) -> dict | None:
    out = problem.with_name(f"{peer}.json")
    command = [python, HERE / f"peer_{peer}.py", problem, out, "--seconds", str(seconds)]
    try:
        subprocess.run(command, check=True, timeout=LIMIT, capture_output=True, text=True)
    except subprocess.TimeoutExpired:
        print(f"{peer}: took more than {LIMIT} s", file=sys.stderr)
        return None
    except subprocess.CalledProcessError as error:
        print(f"{peer}: {error.stderr[-2000:]}", file=sys.stderr)
        return None
    return json.loads(out.read_text())


def _lines(peer: str, measured: dict, ours: list[dict]) -> list[dict]:
    """Return a peer's two lines."""
    mine = [line for line in ours if line["case"] == "paper" and line["backend"] == "native"]
    single = next((line["frames_per_s"] for line in mine if line["batch"] == 1), None)
    most = max((line["frames_per_s"] for line in mine), default=None)
    name = measured["name"] or f"{peer}@published"
    lines = []
    for figure, batch, rate, own in (
        ("one_frame", 1, 1e6 / measured["us_one_frame"], single),
        ("throughput", measured["batch"], measured["frames_per_s"], most),
    ):
        lines.append(
            {
                "case": "paper",
                "batch": batch,
                "backend": "cpu",
                "frames_per_s": rate,
                "us_per_frame": 1e6 / rate,
                "residual_mm": measured["residual_mm"],
                "converged": measured["converged"],
                "peer": name,
                "ratio": None if own is None else own / rate,
                "figure": figure,
                "note": f"{measured['setting']}; {measured['note']}".strip("; "),
                "rms_mm": measured["rms_mm"],
                "optimum_rms_mm": measured["optimum_rms_mm"],
                "frames": measured["frames"],
            }
        )
    return lines


def _best_peer(lines: list[dict]) -> dict:
    """Return how many times faster we are than the fastest peer that converges: one frame, and batches."""
    best = {}
    for figure in ("one_frame", "throughput"):
        peers = [line for line in lines if line.get("figure") == figure and line["converged"] >= CONVERGES]
        if peers:
            fastest = max(peers, key=lambda line: line["frames_per_s"])
            best[figure] = {"peer": fastest["peer"], "ratio": fastest["ratio"]}
    return best


def _text(line: dict) -> str:
    rate = f"{line['frames_per_s']:12,.1f}{line['us_per_frame']:11.1f}"
    quality = f"{line['residual_mm']:12.3f}{line['converged']:10.2%}"
    ratio = "" if line["ratio"] is None else f"{line['ratio']:,.0f} x "
    return (
        f"{line['case']:15}{line['batch']:6} {line['backend']:8}{rate}{quality}  {ratio}{line['peer']} {line['note']}"
    )


if __name__ == "__main__":
    sys.exit(main())
