# SPDX-License-Identifier: Apache-2.0
"""The commands `ikol convert` and `ikol solve`: arguments and what is printed; the work is ikol.exchange's."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from tqdm import tqdm

from ikol.errors import InputError

if TYPE_CHECKING:
    from ikol.body.model import BodyModel
    from ikol.exchange.convert import Settings
    from ikol.exchange.rig_body import RigBody

FORMATS = (
    "body", "pose", "amass", "smpl", "hybrik", "bvh", "trc", "c3d", "points", "openpose", "coco", "wholebody",
    "blazepose",
)  # fmt: skip
AXES = ("y", "z", "camera")


@runtime_checkable
class _Commands(Protocol):
    def add_parser(self, name: str, *, help: str) -> argparse.ArgumentParser: ...


def add_exchange(commands: _Commands) -> None:
    """Add both commands."""
    convert = commands.add_parser("convert", help="one file of a body, a motion or keypoints to another format")
    convert.description = (
        "SMPL's official .pkl to .npz; motions: AMASS .npz, .smpl, HybrIK's res.pk, .bvh; markers: .trc, .c3d; "
        "keypoints between the .json of OpenPose, COCO, COCO-WholeBody and BlazePose."
    )
    convert.add_argument("source", type=Path, metavar="IN", help="a file, or a folder of OpenPose's files")
    convert.add_argument("target", type=Path, metavar="OUT", help="an existing file is replaced")
    convert.add_argument("--from", dest="source_format", choices=FORMATS, help="default: by the suffix")
    convert.add_argument("--to", dest="target_format", choices=FORMATS, help="default: by the suffix; .json is coco")
    convert.add_argument("--up", choices=AXES, help="which way is up in IN (default: seen from the motion)")
    convert.add_argument("--out-up", choices=AXES, help="and in OUT (default: z for AMASS, y for the others)")
    convert.add_argument("--body", type=Path, help="whose bones a .bvh gets: a body file (default: the default body)")
    _add_reading(convert)
    convert.set_defaults(run=_convert)

    solve = commands.add_parser("solve", help="keypoints of a file to a motion of a body")
    solve.add_argument("--keypoints", type=Path, required=True, help=".json (2D), .trc or .c3d (3D)")
    solve.add_argument("--skeleton", type=Path, help="SMPL, SMPL-H or SMPL-X file, or .bvh (default: the default body)")
    solve.add_argument("--out", type=Path, help="the motion: .npz (AMASS), .smpl, .pk (HybrIK) or .bvh")
    solve.add_argument(
        "--from", dest="source_format", choices=FORMATS, help="of the keypoints (default: by the suffix)"
    )
    solve.add_argument("--up", choices=AXES, help="which way is up in the keypoints (default: from head and feet)")
    solve.add_argument("--focal-px", type=float, help="focal length in pixels (default: a 35 mm lens)")
    solve.add_argument("--sigma", type=float, help="how far a point may be off, metres or pixels")
    solve.add_argument("--mean-shape", action="store_true", help="leave the shape as it is")
    _add_reading(solve)
    solve.set_defaults(run=_solve)


def _add_reading(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--person", type=int, default=0, help="which of several in a file, from 0 (default: 0)")
    parser.add_argument("--size", type=_size, metavar="WxH", help="of the picture in pixels")
    parser.add_argument("--fps", type=float, help="frames a second, where a file does not say")
    parser.add_argument("--scale", type=_scale, help="metres of a unit of a .bvh (default: seen from its size)")


def _scale(text: str) -> float:
    value = float(text)
    if not 0 < value < 1e6:  # a mirrored skeleton does not fit its rotations
        raise argparse.ArgumentTypeError(f"must be a positive number, got {text!r}")
    return value


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal() and 0 < int(width) <= 100_000 and 0 < int(height) <= 100_000):
        raise argparse.ArgumentTypeError(f"must be like 1920x1080, got {text!r}")
    return int(width), int(height)


def _settings(options: argparse.Namespace, body: "BodyModel | None") -> "Settings":
    from ikol.exchange.convert import Settings  # noqa: PLC0415 - torch is loaded only when there is work

    if options.person < 0 or (options.fps is not None and not 0 < options.fps <= 100_000):
        raise InputError("--person counts from 0, and --fps must be positive")
    return Settings(
        source_axes=options.up,
        target_axes=getattr(options, "out_up", None),
        body=body,
        person=options.person,
        size=options.size,
        fps=options.fps,
        scale=options.scale,
    )


def _convert(options: argparse.Namespace) -> None:
    from ikol.body import convert_smpl_file, load_smpl_body  # noqa: PLC0415 - as above
    from ikol.exchange.bvh import Rig  # noqa: PLC0415
    from ikol.exchange.convert import format_by_suffix, format_of, read_file, write_file  # noqa: PLC0415
    from ikol.exchange.motion import Keypoints  # noqa: PLC0415

    _check_folder(options.target)
    source_format = format_of(options.source, options.source_format)
    if source_format == "body":
        held = convert_smpl_file(options.source, options.target)
        print(f"wrote {options.target}: {held.model}, {held.num_betas} betas")
        return
    target_format = format_by_suffix(options.target, options.target_format)
    body = load_smpl_body(options.body, num_betas=None) if options.body is not None else None
    if body is None and target_format == "bvh":
        body = _default_body()
    settings = _settings(options, body)
    found = read_file(options.source, source_format, settings)
    write_file(options.target, found, target_format, settings)
    if isinstance(found, Keypoints):
        print(f"wrote {options.target}: {len(found.points)} frames of {len(found.names)} points")
    else:
        motion = found.motion if isinstance(found, Rig) else found
        print(f"wrote {options.target}: {motion.num_frames} frames of {len(motion.joint_names)} joints")


def _default_body() -> "BodyModel":
    import torch  # noqa: PLC0415 - as above

    from ikol.body import load_default_body  # noqa: PLC0415

    return load_default_body(dtype=torch.float64)


def _check_folder(target: Path) -> None:
    if not target.resolve().parent.is_dir():
        raise InputError(f"the folder of {target} does not exist; make it first")


def _skeleton(path: Path | None, scale: float | None) -> "tuple[BodyModel, RigBody | None]":
    """Return the body, and the hierarchy that it was made of."""
    from ikol.body import load_smpl_body  # noqa: PLC0415 - as above
    from ikol.exchange.bvh import read_bvh  # noqa: PLC0415
    from ikol.exchange.rig_body import body_of_rig  # noqa: PLC0415

    if path is None:
        return _default_body(), None
    if path.suffix.lower() != ".bvh":
        return load_smpl_body(path, num_betas=None), None
    own = body_of_rig(read_bvh(path, scale), path.name)
    return own.body, own


def _solve(options: argparse.Namespace) -> None:
    from ikol.exchange.body_gender import gender_of_file  # noqa: PLC0415 - as above
    from ikol.exchange.bvh import Rig  # noqa: PLC0415
    from ikol.exchange.convert import (  # noqa: PLC0415
        MOTION_FORMATS,
        format_by_suffix,
        format_of,
        read_file,
        write_file,
    )
    from ikol.exchange.motion import Keypoints  # noqa: PLC0415
    from ikol.exchange.solve_keypoints import solve_keypoints  # noqa: PLC0415
    from ikol.pipeline.reading import intrinsics_of  # noqa: PLC0415

    target_format = None
    if options.out is not None:
        _check_folder(options.out)
        target_format = format_by_suffix(options.out)
        if target_format not in MOTION_FORMATS:  # said before the work, not after it
            raise InputError(f"a motion is written as {', '.join(MOTION_FORMATS)}, not as {target_format}")
    if not all(value is None or 0 < value < 1e6 for value in (options.sigma, options.focal_px)):
        raise InputError("--sigma and --focal-px must be positive")
    body, rig = _skeleton(options.skeleton, options.scale)
    settings = _settings(options, body)
    keypoints = read_file(options.keypoints, format_of(options.keypoints, options.source_format), settings)
    if not isinstance(keypoints, Keypoints):
        raise InputError(f"{options.keypoints.name} is a motion, not keypoints; use `ikol convert`")
    width, height = keypoints.size or options.size or (0, 0)
    is_placed = keypoints.is_spatial or not width
    intrinsics = None if is_placed else intrinsics_of(width, height, options.focal_px, None)
    with tqdm(total=len(keypoints.points), unit="frame") as bar:

        def show(done: int, _: int) -> None:
            bar.update(done - bar.n)

        solved = solve_keypoints(
            body,
            keypoints,
            intrinsics=intrinsics,
            sigma=options.sigma,
            solve_shape=not options.mean_shape and rig is None,
            progress=show,
        )
    missing = sum(residual is None for residual in solved.residuals)
    off = f"{1000 * solved.median_residual:.1f} mm" if solved.unit == "m" else f"{solved.median_residual:.1f} px"
    print(f"{len(solved.residuals)} frames, {len(solved.used)} points, {off} off (median)")
    if solved.unused:
        print(f"not used: {', '.join(solved.unused[:20])}; the body has no such points")
    if missing:
        print(f"{missing} frames have too few points; the pose stays there as it was")
    if target_format is None or options.out is None:
        return
    motion = replace(solved.motion, gender=gender_of_file(str(options.skeleton or "")))
    if rig is None:
        content = Rig(body.tree, body.rest_joints(motion.betas[0]), motion) if target_format == "bvh" else motion
    else:
        content = rig.on_rig(motion) if target_format == "bvh" else motion
    write_file(options.out, content, target_format, settings)
    print(f"wrote {options.out}")
