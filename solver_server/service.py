# SPDX-License-Identifier: Apache-2.0
"""Request in, reply out: what the worker does with a request that computes. No sockets, no processes.

Faults of the request become errors with a stable code and the sentence that ikol wrote for the user; everything else is
left to the worker, which logs it. Imports: protocol, ikol, torch.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import torch

from ikol.body.smpl_file import load_smpl_body
from ikol.errors import Cancelled, IkolError, ImageError, InputError
from ikol.pipeline import PosePipeline
from ikol.pipeline import evidence as named
from ikol.regressor.manifest import OwnNetwork, load_own_network
from ikol.threads import shared_threads
from solver_server.conversion import (
    Reader,
    Writer,
    camera_of_lens,
    check_detect,
    check_joints,
    extrinsics,
    intrinsics,
    placed_camera,
    read_views,
)
from solver_server.memory import is_out_of_memory
from solver_server.pipeline_interface import Pipeline, Progress, Question
from solver_server.protocol import (
    MAX_POSES,
    MAX_TEXT,
    Alternatives,
    AlternativesReply,
    Detect,
    DetectReply,
    Error,
    EvidenceRow,
    Frames,
    FrameWriter,
    Inspect,
    InspectReply,
    Person,
    Problem,
    Result,
    Solve,
    SolveReply,
    SolveStatus,
    SolveViews,
    SolveViewsReply,
    Work,
)
from solver_server.self_test import DefaultBodySolver, check_solver, rest_answer
from solver_server.tree_solving import solve_tree

BODY = "default"
_log = logging.getLogger(__name__)
FIRST_BETAS = 10  # all that clients before protocol 1.5 know of
OWN_MODEL = "own"  # the first of the user's networks, whatever its name


class Service:
    """Computes replies; keeps nothing between requests.

    Args:
        pipeline: Networks and body.
        device: Where the networks run, for the user.
        num_joints: Of the pipeline's body.
        num_betas: Of the pipeline's body.
        models: The names of the user's own networks.
        models_problem: Why there are fewer than the user named; empty where there are not.
        body: The name of the pipeline's body.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        device: str,
        num_joints: int,
        num_betas: int,
        models: tuple[str, ...] = (),
        models_problem: str = "",
        body: str = "",
    ) -> None:
        self.device = device
        self.models = models
        self._models_problem = models_problem
        self._pipeline = pipeline
        self._num_joints = num_joints
        self._num_betas = num_betas
        self._body = body

    def handle(self, request: Work, frames: Frames, progress: Progress) -> tuple[Result | Error, FrameWriter]:
        """Give the reply to a request, with its frames.

        Raises:
            Exception: Whatever is a fault of the code and not of the request.
        """
        start = time.perf_counter()
        try:
            match request:
                case Detect():
                    return self._detect(request, frames, progress, start)
                case Solve() if request.tree is not None:
                    return solve_tree(request, request.tree, frames, progress)
                case Solve():
                    return self._solve(request, self._question(request, frames, progress), start)
                case SolveViews():
                    return self._solve_views(request, frames, progress, start)
                case Inspect():
                    return self._inspect(request, self._question(request, frames, progress), start)
                case Alternatives():
                    return self._alternatives(request, self._question(request, frames, progress), start)
        except Cancelled:
            return _error(request, "cancelled", "the request was given up")
        except ImageError as error:
            return _error(request, "bad_image", str(error))
        except InputError as error:
            return _error(request, "bad_input", str(error))
        except (MemoryError, OSError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            text = f"there is not enough memory on {self.device}; close other programs or use a smaller picture"
            return _error(request, "out_of_memory", text)

    def _detect(
        self, request: Detect, frames: Frames, progress: Progress, start: float
    ) -> tuple[DetectReply, FrameWriter]:
        check_detect(request)
        if request.model == OWN_MODEL and not self.models:
            raise InputError(
                self._models_problem
                or "the solver was started without a network of yours; name its manifest in the preferences, or with "
                "--model-manifest"
            )
        detection = self._pipeline.detect(
            frames.blob(request.image),
            model=self.models[0] if request.model == OWN_MODEL else request.model,
            max_persons=request.max_persons,
            boxes=request.boxes,
            rotation_deg=request.rotation_deg,
            thorough=request.thorough,
            focal_px=request.focal_px,
            progress=progress,
        )
        writer = Writer()
        persons = tuple(
            Person(
                score=person.score,
                box=person.box,
                evidence=tuple(
                    writer.evidence(block)
                    for block in person.evidence
                    if request.shape or not isinstance(block, named.Shape)
                ),
                confidence=person.confidence,
                doubts=person.doubts,
            )
            for person in detection.persons
        )
        camera = camera_of_lens(detection.intrinsics)
        return DetectReply(request.id, camera, persons, seconds=time.perf_counter() - start), writer.frames

    def _question(self, request: Problem, frames: Frames, progress: Progress) -> Question:
        _check_body(request.body)
        reader = Reader(frames, self._num_joints, self._num_betas, None if request.all_betas else FIRST_BETAS)
        camera = request.camera
        evidence = [reader.evidence(block) for block in request.evidence]
        is_held = self._num_betas > FIRST_BETAS and not request.all_betas
        if is_held and not any(isinstance(block, named.Shape) and block.body == self._body for block in evidence):
            nothing = torch.zeros(0, dtype=torch.float64)
            evidence.append(reader.shape(self._body, nothing, nothing))
        return Question(
            evidence=evidence,
            intrinsics=intrinsics(camera) if camera is not None else None,
            extrinsics=extrinsics(camera) if camera is not None else None,
            initial=reader.pose(request.initial, "the initial pose") if request.initial is not None else None,
            start=reader.pose(request.start, "the pose to start from") if request.start is not None else None,
            joints=check_joints(request.joints),
            solve_shape=request.solve_shape,
            progress=progress,
        )

    def _solve(self, request: Solve, question: Question, start: float) -> tuple[SolveReply, FrameWriter]:
        solution = self._pipeline.solve(**question)
        writer = Writer()
        solution = replace(solution, pose=_told(request, solution.pose))
        seconds = time.perf_counter() - start
        return _solve_reply(request.id, solution, question["intrinsics"], writer, seconds), writer.frames

    def _solve_views(
        self, request: SolveViews, frames: Frames, progress: Progress, start: float
    ) -> tuple[SolveViewsReply, FrameWriter]:
        _check_body(request.body)
        views = read_views(request, Reader(frames, self._num_joints, self._num_betas), self._body)
        names, places, sigma, doubts = (), torch.zeros(0, 3), torch.zeros(0), ()
        if request.same == "pose":
            found = self._pipeline.solve_views(views, progress=progress)
            told = self._pipeline.inspect_views(views, found)
            doubts = found.doubts
            solutions, names, places, sigma = told.pictures, told.point_names, told.point_positions, told.point_sigma
        else:
            solutions = self._pipeline.solve_same_person(views, progress=progress)
        writer = Writer()
        seconds = time.perf_counter() - start
        reply = SolveViewsReply(
            id=request.id,
            solutions=tuple(
                _solve_reply(request.id, solution, view.intrinsics, writer, seconds)
                for solution, view in zip(solutions, views, strict=True)
            ),
            point_names=names,
            point_positions=writer.array(places),
            point_sigma=writer.array(sigma),
            seconds=seconds,
            doubts=doubts,
        )
        return reply, writer.frames

    def _inspect(self, request: Inspect, question: Question, start: float) -> tuple[InspectReply, FrameWriter]:
        inspection = self._pipeline.inspect(**question)
        writer = Writer()
        reply = InspectReply(
            id=request.id,
            joint_covariance=writer.array(inspection.joint_covariance),
            rows=tuple(EvidenceRow(row.kind, row.name, row.residual, row.unit, row.cost) for row in inspection.rows),
            pulls=writer.array(inspection.pulls),
            next_points=inspection.next_points,
            next_gains=writer.array(inspection.next_gains),
            seconds=time.perf_counter() - start,
        )
        return reply, writer.frames

    def _alternatives(
        self, request: Alternatives, question: Question, start: float
    ) -> tuple[AlternativesReply, FrameWriter]:
        found = self._pipeline.alternatives(**question, limb=request.limb, count=MAX_POSES)
        writer = Writer()
        reply = AlternativesReply(
            id=request.id,
            poses=tuple(writer.pose(_told(request, one.pose)) for one in found),
            costs=tuple(one.cost for one in found),
            reprojection_px=tuple(one.reprojection_px for one in found),
            joints=writer.array(
                torch.stack([one.joints for one in found]) if found else torch.zeros(0, self._num_joints, 3)
            ),
            seconds=time.perf_counter() - start,
        )
        return reply, writer.frames


def make_service(
    device: str, threads: int, body: Path | None = None, models: Sequence[Path] = (), *, trust_models: bool = False
) -> Service:
    """Load networks and body, whose hashes are checked, and solve once what is known.

    On a user's own body the known answers are two: the default body's, and that the own rest pose is found.

    Args:
        device: auto (CUDA where torch sees a device, else the CPU), cpu or cuda.
        threads: How many threads torch may use on the CPU; 0 for half of the cores.
        body: A user's own body in the layout of SMPL's files; None for the default body.
        models: A user's own networks: manifests or weights. One that cannot be used is said where it is asked for.
        trust_models: Load those of them that are programs.

    Raises:
        IkolError: The device or a file cannot be used, or the solver gives a wrong answer.
    """
    torch.set_num_threads(threads or shared_threads())
    has_cuda = torch.cuda.is_available()
    if device == "cuda" and not has_cuda:
        raise InputError("torch sees no CUDA device; choose the CPU, or install a torch that is built for CUDA")
    is_cuda = has_cuda and device != "cpu"
    own_body = None if body is None else load_smpl_body(body, num_betas=None)
    place = "cuda" if is_cuda else "cpu"
    networks: list[OwnNetwork] = []
    problems: list[str] = []
    for path in models:
        try:
            networks.append(load_own_network(path, trust=trust_models, device=place))
        except (IkolError, OSError) as error:  # the others are there all the same; who asks for this one is told why
            problems.append(f"your network {path.name} cannot be used: {error}")
            _log.warning("%s", problems[-1])
    pipeline = PosePipeline(place, body=own_body, own_networks=networks)
    if own_body is None:
        check_solver(pipeline)
    else:
        check_solver(DefaultBodySolver())
        check_solver(pipeline, rest_answer(own_body), f"{own_body.name} cannot be posed; name another body file")
    name = f"cuda ({torch.cuda.get_device_name()})" if is_cuda else "cpu"
    posed, problem = pipeline.body, "; ".join(problems)
    return Service(
        pipeline, name, posed.tree.num_joints, posed.num_betas, pipeline.own_models, problem, body=posed.name
    )


def _check_body(name: str) -> None:
    if name != BODY:
        raise InputError(f"the solver has no body {name!r}, only {BODY!r}")


def _solve_reply(
    request_id: int, solution: named.PoseSolution, lens: named.Intrinsics | None, writer: Writer, seconds: float
) -> SolveReply:
    return SolveReply(
        id=request_id,
        pose=writer.pose(solution.pose),
        camera=None
        if solution.camera is None or lens is None
        else placed_camera(solution.camera, lens.focal_source, lens.distortion),
        joints=writer.array(solution.joints),
        point_names=solution.point_names,
        point_positions=writer.array(solution.point_positions),
        point_pixels=writer.array(solution.point_pixels),
        status=cast("SolveStatus", solution.status),  # encoding checks it
        iterations=solution.iterations,
        cost=solution.cost,
        reprojection_px_median=solution.reprojection_px_median,
        seconds=seconds,
        unreached=solution.unreached,
    )


def _told(request: Problem, pose: named.Pose) -> named.Pose:
    """Return a pose with as many betas as the client reads."""
    return pose if request.all_betas else replace(pose, betas=pose.betas[:FIRST_BETAS])


def _error(request: Work, code: str, text: str) -> tuple[Error, FrameWriter]:
    return Error(id=request.id, code=code, message=text[:MAX_TEXT]), FrameWriter()
