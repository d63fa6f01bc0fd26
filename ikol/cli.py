# SPDX-License-Identifier: Apache-2.0
"""The command line: `ikol pose`, `ikol evaluate` and `ikol bench`.

Reads arguments and files, prints; the work is done elsewhere.
"""

import argparse
import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import numpy as np

from ikol.errors import IkolError, InputError
from ikol.evaluate_command import CommandParts, add_evaluate
from ikol.exchange_command import add_exchange
from ikol.threads import shared_threads, wait_without_spinning
from ikol.views_command import add_several_pictures, known_cameras, pose_several

if TYPE_CHECKING:
    from ikol.body.model import BodyModel
    from ikol.pipeline import PosePipeline

SERVER_MODULE = "solver_server"  # named, not imported: the library does not know the server
MAX_PICTURE_BYTES = 64 * 2**20  # as the add-on: no photograph that fits 50 megapixels is larger


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0, 1 for an error that is printed, 130 after Ctrl-C."""
    wait_without_spinning()
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except IkolError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"error: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ikol", description="From a picture or keypoints to joint rotations.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    pose = commands.add_parser("pose", help="pose the default body as the persons of a photograph")
    pose.add_argument("photo", type=Path, nargs="+", help="JPEG, PNG or WebP")
    add_several_pictures(pose)
    pose.add_argument("--out", type=Path, help="write the poses to this .npz")
    pose.add_argument("--focal-px", type=float, help="focal length in pixels (default: EXIF, else a 35 mm lens)")
    _add_person_options(pose)
    _add_network_options(pose)
    pose.set_defaults(run=_pose)

    evaluate = commands.add_parser("evaluate", help="measure accuracy on a data set")
    add_evaluate(evaluate, CommandParts(_add_network_options, _pipeline))
    add_exchange(commands)

    train = commands.add_parser(
        "train",
        help="train a picture network through the layer",
        description="Goes on where the newest checkpoint of the output folder ends. Several processes: "
        "torchrun --nproc-per-node N -m ikol.cli train CONFIG.",
    )
    train.add_argument("config", type=Path, help="TOML (docs/training.md), or the config.json of a training")
    train.add_argument("--slurm", action="store_true", help="submit it as a Slurm job that outlives its time limit")
    train.add_argument("--hours", type=float, default=24.0, help="time limit of the job (default: 24)")
    train.add_argument("--partition", default="", help="of the cluster")
    train.set_defaults(run=_train)

    serve = commands.add_parser(
        "serve", add_help=False, prefix_chars="\0", help="serve several clients (ikol serve --help tells the options)"
    )
    serve.add_argument("arguments", nargs=argparse.REMAINDER)
    serve.set_defaults(run=_serve)

    bench = commands.add_parser("bench", help="measure speed")
    parts = bench.add_subparsers(required=True, metavar="PART")
    solver = parts.add_parser("solver", help="keypoints to rotations, on every backend")
    solver.add_argument("--json", type=Path, help="write the report to this file")
    solver.add_argument("--case", nargs="+", default=["paper"], help="what to solve, or `all` (default: paper)")
    solver.add_argument("--batch", type=_positive, nargs="+", default=[1, 256, 4096], help="frames at once")
    solver.add_argument(
        "--backend", choices=("native", "torch"), nargs="+", default=["native", "torch"], help="default: both"
    )
    solver.add_argument("--seconds", type=float, default=2.0, help="for each figure (default: 2)")
    solver.set_defaults(run=_bench_solver)
    return parser


def _add_person_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--distortion", type=float, nargs=4, metavar=("K1", "K2", "P1", "P2"), help="of the lens, as OpenCV has them"
    )
    parser.add_argument(
        "--box",
        type=float,
        nargs=4,
        action="append",
        default=[],
        metavar=("X0", "Y0", "X1", "Y1"),
        help="look at the person in this box, pixels; may be repeated",
    )
    parser.add_argument("--rotation-deg", type=float, default=0.0, help="by how much persons are turned clockwise")
    parser.add_argument("--thorough", action="store_true", help="look for far persons also where others are found")


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {value}")
    return value


def _add_network_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model",
        default="heavy",
        metavar="MODEL",
        help="landmark network: heavy (default) or full; or a file: weights of a HybrIK, IKOL or own trained network, "
        "or a manifest of another (docs/models/bring_your_own.md)",
    )
    parser.add_argument(
        "--trust-model",
        action="store_true",
        help="load a network that is a program (TorchScript, exported program), which can do all that you can",
    )
    parser.add_argument("--no-head", action="store_true", help="solve the landmarks as they are (docs/models/head.md)")
    parser.add_argument("--device", default="cpu", help="torch device of the networks (default: cpu)")
    parser.add_argument(
        "--threads", type=_positive, default=None, help="CPU threads of torch (default: half of the cores)"
    )


def _pipeline(options: argparse.Namespace, body: "BodyModel | None" = None) -> "PosePipeline":
    import torch  # noqa: PLC0415 - torch is loaded only when there is work

    from ikol.pipeline import Model, PosePipeline  # noqa: PLC0415
    from ikol.regressor.manifest import load_own_network  # noqa: PLC0415

    if options.device.startswith("cuda") and not torch.cuda.is_available():
        raise InputError("torch sees no CUDA device; leave out --device, or install a torch that is built for CUDA")
    torch.set_num_threads(options.threads or shared_threads())
    if options.model in get_args(Model):
        return PosePipeline(options.device, options.model, body, head=None if options.no_head else "shipped")
    network = load_own_network(Path(options.model), trust=options.trust_model, device=options.device)
    options.model = network.name
    head = None if options.no_head else "shipped"
    return PosePipeline(options.device, body=body, head=head, own_networks=[network])


def _serve(options: argparse.Namespace) -> None:
    # a process of its own, as the server's control process holds neither torch nor numpy
    if importlib.util.find_spec(SERVER_MODULE) is None:
        raise InputError(f"there is no {SERVER_MODULE} beside ikol; install the project's wheel, which has both")
    command = [sys.executable, "-m", SERVER_MODULE, *options.arguments]
    if os.name == "posix":
        os.execv(sys.executable, command)  # signals reach the server itself
    sys.exit(subprocess.run(command, check=False).returncode)


def _pose(options: argparse.Namespace) -> None:
    from ikol.distortion import UNDISTORTED  # noqa: PLC0415 - torch is loaded only when there is work
    from ikol.geometry.rotations import rotmat_to_quat  # noqa: PLC0415
    from ikol.pipeline.placement import place_together  # noqa: PLC0415

    for photo in options.photo:
        if photo.stat().st_size > MAX_PICTURE_BYTES:
            raise IkolError(f"{photo} is larger than {MAX_PICTURE_BYTES >> 20} MB; save it smaller")
    if options.out is not None and not options.out.resolve().parent.is_dir():
        raise InputError(f"the folder of {options.out} does not exist; make it first")
    cameras = known_cameras(options)
    pipeline = _pipeline(options)
    if len(options.photo) > 1:
        pose_several(options, pipeline, cameras)
        return
    photo = options.photo[0]
    start = time.perf_counter()
    detection = pipeline.detect(
        photo.read_bytes(),
        model=options.model,
        focal_px=options.focal_px,
        boxes=[tuple(box) for box in options.box],
        rotation_deg=options.rotation_deg,
        thorough=options.thorough,
    )
    lens = replace(detection.intrinsics, distortion=tuple(options.distortion or UNDISTORTED))
    detected = time.perf_counter()
    solutions = []
    for person in detection.persons:
        solution = pipeline.solve(person.evidence, intrinsics=lens)
        solutions.append(solution)
        print(
            f"person {len(solutions)}: score {person.score:.2f}, {len(solution.point_names)} keypoints, "
            f"reprojection {solution.reprojection_px_median:.1f} px (median), {solution.status} "
            f"after {solution.iterations} iterations"
            + (f"; doubtful: {', '.join(person.doubts)}" if person.doubts else "")
        )
    solutions = place_together(pipeline.body, solutions)
    solved = time.perf_counter()
    print(f"{len(solutions)} person(s); detection {detected - start:.2f} s, solve {solved - detected:.2f} s")
    if not solutions:
        raise IkolError(f"no person was found on {photo}; try a picture in which the person is larger, or crop it")
    if options.out is not None:
        camera = solutions[0].camera
        assert camera is not None  # each was solved with the picture's lens
        np.savez_compressed(
            options.out,
            joint_names=np.array(pipeline.body.tree.names),
            local_quat=np.stack([rotmat_to_quat(each.pose.local_rotmat).numpy() for each in solutions]),
            transl=np.stack([each.pose.transl.numpy() for each in solutions]),
            betas=np.stack([each.pose.betas.numpy() for each in solutions]),
            joints=np.stack([each.joints.numpy() for each in solutions]),
            focal=camera.focal.numpy(),
            center=camera.center.numpy(),
            R_camera_world=camera.R_camera_world.numpy(),
            t_camera_world=camera.t_camera_world.numpy(),
        )
        print(f"wrote {options.out}")


def _train(options: argparse.Namespace) -> None:
    from ikol.training.network.config import read_config  # noqa: PLC0415 - torch is loaded only when there is work
    from ikol.training.network.job import TrainingJob, submit  # noqa: PLC0415

    config = read_config(options.config)
    if options.slurm:
        job = submit(config, options.hours, options.partition)
        print(f"job {job}; it writes to {config.output.folder}")
    else:
        print(f"last checkpoint: {TrainingJob(config)()}")


def _bench_solver(options: argparse.Namespace) -> None:
    from ikol.evaluation.bench import CASES, bench_solver, report_json, report_line  # noqa: PLC0415

    names = list(CASES) if options.case == ["all"] else options.case
    print(report_line(None))
    cases = []
    for name in names:
        for case in bench_solver([name], options.batch, options.backend, seconds=options.seconds):
            print(report_line(case), flush=True)
            cases.append(case)
    if options.json is not None:
        options.json.write_text(report_json(cases) + "\n")


if __name__ == "__main__":
    sys.exit(main())
