# SPDX-License-Identifier: Apache-2.0
"""Accuracy of one solve from several views of a recording, whose calibration is given to it.

One picture at a time is `ikol.evaluation.evaluate` on the same `ikol.evaluation.recording`.
"""

import time
from dataclasses import replace

from ikol.errors import InputError
from ikol.evaluation.calibration import covariance_between
from ikol.evaluation.evaluate import Evaluation, Progress, found_person
from ikol.evaluation.landmark_cache import LandmarkCache
from ikol.evaluation.picture_errors import PictureErrors, picture_errors
from ikol.evaluation.recording import Recording
from ikol.evaluation.report import make_report
from ikol.evaluation.samples import EvaluationSample
from ikol.pipeline import Model, PosePipeline
from ikol.pipeline.multiview import View, ViewsSolution, solve_views, views_problem
from ikol.solver import SolveState
from ikol.solver.uncertainty import find_optimum


def evaluate_views(
    recording: Recording,
    pipeline: PosePipeline,
    *,
    model: Model = "heavy",
    cache: LandmarkCache | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Solve all views of each frame at once, and compare the pose with the truth as the first camera sees it.

    Args:
        recording: with two cameras or more.
        pipeline: with what.
        model: landmark network.
        cache: landmarks of earlier runs.
        progress: told how far it is, 0 to 1, and what comes next.

    Raises:
        InputError: the recording has one camera, no annotated frame, or nobody was found.
    """
    # camera by camera, so that each clip is decoded once
    views: list[list[View]] = [[] for _ in recording.frames]
    work = len(recording) + len(recording.frames)
    for number, sample in enumerate(recording):
        if progress is not None:
            progress(number / work, sample.name)
        camera, index = divmod(number, len(recording.frames))
        person = found_person(sample, pipeline, model, cache)
        if person is not None:
            views[index].append(View(person.evidence, sample.intrinsics, recording.extrinsics(camera)))
    if cache is not None:
        cache.save()
    pictures: list[tuple[EvaluationSample, PictureErrors]] = []
    missed: list[str] = []
    for index, seen in enumerate(views):
        sample = recording.sample(0, index)
        sample = replace(sample, truth=replace(sample.truth, up=None))  # the calibration says where up is
        if progress is not None:
            progress((len(recording) + index) / work, sample.name)
        if len(seen) < len(recording.cameras):
            missed.append(sample.name)
            continue
        start = time.perf_counter()
        solution = solve_views(pipeline.body, seen)
        pictures.append((sample, _errors(sample, recording, pipeline, seen, solution, time.perf_counter() - start)))
    if not pictures:
        raise InputError("there is no frame on which the person was found by all cameras")
    if progress is not None:
        progress(1.0, "")
    names = pipeline.body.tree.names
    return Evaluation(make_report(recording, names, [errors for _, errors in pictures], missed), tuple(pictures))


def _errors(
    sample: EvaluationSample,
    recording: Recording,
    pipeline: PosePipeline,
    views: list[View],
    solution: ViewsSolution,
    seconds: float,
) -> PictureErrors:
    body, pose, camera = pipeline.body, solution.pose, solution.cameras[0]
    problem = views_problem(body, views, start=pose, is_weighted=False)
    result = problem.solve(SolveState(pose.transl, pose.local_rotmat, pose.betas))
    watched = body.points.select(tuple(dict.fromkeys((*recording.scored, *recording.origin))))
    optimum = find_optimum(problem.skeleton, problem.blocks, result, problem.config, watched)
    covariance = covariance_between(optimum, watched.names, recording.scored, recording.origin, camera.R_camera_world)
    return picture_errors(sample, recording, body, pose, camera, covariance, raw=None, seconds=seconds)
