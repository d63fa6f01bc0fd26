# SPDX-License-Identifier: Apache-2.0
"""Run the pipeline on a data set and compare it with the truth.

Imports: torch, the pipeline, errors of pictures, the report.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from ikol.errors import InputError
from ikol.evaluation.calibration import relative_covariance
from ikol.evaluation.landmark_cache import LandmarkCache
from ikol.evaluation.picture_errors import PictureErrors, picture_errors, point_errors
from ikol.evaluation.report import Report, make_report
from ikol.evaluation.samples import EvaluationSample, EvaluationSet
from ikol.pipeline import DetectedPerson, Model, PosePipeline, PoseSolution
from ikol.regressor.landmarks import BLAZEPOSE_LANDMARKS

Progress = Callable[[float, str], None]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A report, and what it is made of, for pictures of the worst cases."""

    report: Report
    pictures: tuple[tuple[EvaluationSample, PictureErrors], ...]
    """Those in which the person was found, in the set's order."""


def evaluate(
    dataset: EvaluationSet,
    pipeline: PosePipeline,
    *,
    model: Model = "heavy",
    cache: LandmarkCache | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Solve every picture by itself, shape unknown, and compare it with the truth.

    The pipeline is given the lens of the picture and nothing else that the data set knows.

    Args:
        dataset: what to solve.
        pipeline: with what.
        model: landmark network.
        cache: landmarks of earlier runs, which then are not looked for again.
        progress: told how far it is, 0 to 1, and what comes next.

    Raises:
        InputError: the set is empty, or nobody was found on any of its pictures.
    """
    if not len(dataset):
        raise InputError(f"{dataset.name} holds no pictures to evaluate")
    pictures: list[tuple[EvaluationSample, PictureErrors]] = []
    missed: list[str] = []
    for index, sample in enumerate(dataset):
        if progress is not None:
            progress(index / len(dataset), sample.name)
        start = time.perf_counter()
        person = found_person(sample, pipeline, model, cache)
        if person is None:
            missed.append(sample.name)
            continue
        solution = pipeline.solve(person.evidence, intrinsics=sample.intrinsics)
        seconds = time.perf_counter() - start
        pictures.append((sample, _errors(sample, dataset, pipeline, person, solution, seconds)))
    if progress is not None:
        progress(1.0, "")
    if cache is not None:
        cache.save()
    if not pictures:
        raise InputError(f"no person was found on any of the {len(missed)} pictures of {dataset.name}")
    report = make_report(dataset, pipeline.body.tree.names, [errors for _, errors in pictures], missed)
    return Evaluation(report, tuple(pictures))


def found_person(
    sample: EvaluationSample, pipeline: PosePipeline, model: Model, cache: LandmarkCache | None
) -> DetectedPerson | None:
    """Return the person of a sample; None when nobody is found.

    Raises:
        InputError: the sample has neither landmarks nor a picture.
    """
    person = sample.person if cache is None else cache.find(f"{model}: {sample.name}")
    if person is not None:
        return pipeline.read((person,), sample.intrinsics, model=model)[0]
    if sample.picture is None:
        raise InputError(f"{sample.name} has neither a picture nor landmarks")
    boxes = () if sample.box is None else (sample.box,)
    detection = pipeline.detect_rgb(
        sample.picture(), intrinsics=sample.intrinsics, model=model, max_persons=1, boxes=boxes
    )
    if not detection.persons:
        return None
    if cache is not None:
        cache.keep(f"{model}: {sample.name}", detection.persons[0].landmarks)
    return detection.persons[0]


def _errors(
    sample: EvaluationSample,
    dataset: EvaluationSet,
    pipeline: PosePipeline,
    person: DetectedPerson,
    solution: PoseSolution,
    seconds: float,
) -> PictureErrors:
    """Compare the solution of one picture, and the network's own landmarks, with the truth."""
    covariance = relative_covariance(
        pipeline.body, person.evidence, sample.intrinsics, solution, dataset.scored, dataset.origin
    )
    raw = None
    if {*dataset.scored, *dataset.origin} <= {*BLAZEPOSE_LANDMARKS}:
        world = person.landmarks.world_points.double()
        scored, origin = (
            world[[BLAZEPOSE_LANDMARKS.index(name) for name in names]] for names in (dataset.scored, dataset.origin)
        )
        raw = point_errors(scored - origin.mean(0), sample, dataset)
    assert solution.camera is not None
    return picture_errors(
        sample, dataset, pipeline.body, solution.pose, solution.camera, covariance, raw=raw, seconds=seconds
    )
