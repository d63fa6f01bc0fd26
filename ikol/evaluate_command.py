# SPDX-License-Identifier: Apache-2.0
"""`ikol evaluate DATASET ...`: one report for any data set, on the terminal, as JSON and as HTML.

Reads arguments and files, prints; the work is done elsewhere. torch is loaded only when there is work.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from ikol.errors import InputError

if TYPE_CHECKING:
    from ikol.body.model import BodyModel
    from ikol.evaluation.evaluate import Evaluation
    from ikol.evaluation.landmark_cache import LandmarkCache
    from ikol.evaluation.samples import EvaluationSet
    from ikol.pipeline import PosePipeline


@dataclass(frozen=True)
class CommandParts:
    """What the command line shares with its other commands."""

    add_network_options: Callable[[argparse.ArgumentParser], None]
    make_pipeline: Callable[[argparse.Namespace, "BodyModel | None"], "PosePipeline"]
    """From the options, for a body; None for the default one."""


_SETS = {
    "3dpw": ("3DPW: sequenceFiles and imageFiles", "test"),
    "emdb": ("EMDB: P0 ... P9; needs --body", "emdb1"),
    "h36m": ("Human3.6M in HybrIK's annotation: annotations and images", "test"),
    "mpi-inf-3dhp": ("MPI-INF-3DHP in HybrIK's annotation", "test"),
    "agora": ("AGORA: tables with joints as JSON, and images", "validation"),
}


def add_evaluate(parser: argparse.ArgumentParser, parts: CommandParts) -> None:
    """Add the data sets to the parser of `evaluate`."""
    datasets = parser.add_subparsers(required=True, metavar="DATASET")

    def run(options: argparse.Namespace) -> None:
        _run(options, parts)

    def add(name: str, text: str, folder: str) -> argparse.ArgumentParser:
        one = datasets.add_parser(name, help=text)
        one.add_argument("folder", type=Path, help=folder)
        one.add_argument("--json", type=Path, help="write the report to this file")
        one.add_argument("--html", type=Path, help="write the report with pictures to this file")
        one.add_argument("--worst", type=_positive, default=10, help="how many of the worst cases --html shows")
        one.add_argument("--every", type=_positive, default=1, help="take every n-th picture only (default: all)")
        one.add_argument(
            "--landmarks", type=Path, help="keep what the landmark network finds in this .npz, and use it again"
        )
        parts.add_network_options(one)
        one.set_defaults(run=run, dataset=name, views=False)
        return one

    multiview = add("multiview", "a calibrated recording of several synchronised views", "clips and *_pseudo_gt_*.npz")
    multiview.add_argument("--truth", type=Path, help="another annotation, as scripts/annotate_multiview writes it")
    multiview.add_argument("--views", action="store_true", help="solve all views of a frame at once")
    add("rendered", "pictures that scripts/render_dataset has made", "a split's folder, with shards")
    for name, (text, split) in _SETS.items():
        one = add(name, text, "where the data set was unpacked")
        one.add_argument("--split", default=split, help=f"default: {split}")
        one.add_argument("--body", type=Path, help="SMPL model file of the truth, for shape and mesh; posed as well")


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {value}")
    return value


def _run(options: argparse.Namespace, parts: CommandParts) -> None:
    from ikol.evaluation.html_report import to_html  # noqa: PLC0415
    from ikol.evaluation.landmark_cache import LandmarkCache  # noqa: PLC0415

    for path in (options.json, options.html, options.landmarks):
        if path is not None and not path.resolve().parent.is_dir():
            raise InputError(f"the folder of {path} does not exist; make it first")
    dataset, pipeline = _loaded(options, parts)
    if options.landmarks is not None and options.model not in ("heavy", "full"):
        raise InputError(f"--landmarks keeps those of heavy and full, not of {options.model}; leave it out")
    cache = None if options.landmarks is None else LandmarkCache(options.landmarks)
    evaluation = _evaluated(options, dataset, pipeline, cache)
    print(evaluation.report.to_text())
    if options.json is not None:
        options.json.write_text(evaluation.report.to_json() + "\n")
        print(f"wrote {options.json}")
    if options.html is not None:
        options.html.write_text(to_html(evaluation, dataset.scored, options.worst), encoding="utf-8")
        print(f"wrote {options.html}")


def _loaded(options: argparse.Namespace, parts: CommandParts) -> tuple["EvaluationSet", "PosePipeline"]:
    """Return the data set, and what is measured on it; with --body both have that body."""
    import torch  # noqa: PLC0415

    from ikol.body.smpl_file import load_smpl_body  # noqa: PLC0415
    from ikol.evaluation import datasets  # noqa: PLC0415
    from ikol.evaluation.recording import Recording  # noqa: PLC0415

    if options.dataset == "multiview":
        return Recording(options.folder, options.truth, options.every), parts.make_pipeline(options, None)
    if options.dataset == "rendered":
        return datasets.load_rendered(options.folder, every=options.every), parts.make_pipeline(options, None)
    load = {
        "3dpw": datasets.load_3dpw,
        "emdb": datasets.load_emdb,
        "h36m": datasets.load_human36m,
        "mpi-inf-3dhp": datasets.load_mpi_inf_3dhp,
        "agora": datasets.load_agora,
    }[options.dataset]
    body = None if options.body is None else load_smpl_body(options.body, dtype=torch.float64)
    dataset = load(options.folder, split=options.split, every=options.every, body=body)
    return dataset, parts.make_pipeline(options, body)


def _evaluated(
    options: argparse.Namespace, dataset: "EvaluationSet", pipeline: "PosePipeline", cache: "LandmarkCache | None"
) -> "Evaluation":
    from ikol.evaluation.evaluate import evaluate  # noqa: PLC0415
    from ikol.evaluation.multiview import evaluate_views  # noqa: PLC0415
    from ikol.evaluation.recording import Recording  # noqa: PLC0415

    with tqdm(total=100, unit="%", bar_format="{l_bar}{bar}| {elapsed}<{remaining} {postfix}") as bar:

        def show(fraction: float, text: str) -> None:
            bar.update(100 * fraction - bar.n)
            bar.set_postfix_str(text)

        if options.views and isinstance(dataset, Recording):
            return evaluate_views(dataset, pipeline, model=options.model, cache=cache, progress=show)
        return evaluate(dataset, pipeline, model=options.model, cache=cache, progress=show)
