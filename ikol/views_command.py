# SPDX-License-Identifier: Apache-2.0
"""`ikol pose A.jpg B.jpg ...`: several pictures of one pose, or of one person.

Reads arguments and files, prints; the work is done elsewhere. torch is loaded only when there is work.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ikol.errors import InputError

if TYPE_CHECKING:
    from ikol.camera import Camera
    from ikol.camera_files import KnownCamera
    from ikol.pipeline import Pose, PosePipeline
    from ikol.pipeline.multiview import View


def add_several_pictures(parser: argparse.ArgumentParser) -> None:
    """Add what says how several pictures belong together."""
    together = parser.add_mutually_exclusive_group()
    together.add_argument(
        "--same-pose", action="store_true", help="the pictures show one pose from several sides: one solve for all"
    )
    together.add_argument(
        "--same-person", action="store_true", help="the pictures show one person in several poses: one shape for all"
    )
    parser.add_argument(
        "--cameras",
        type=Path,
        metavar="FILE.npz",
        help="with --same-pose: the pictures' cameras, in their order, as --out writes them: focal and center (N,2) in "
        "pixels of the upright pictures, R_camera_world (N,3,3) and t_camera_world (N,3) to OpenCV's camera axes, "
        "and maybe distortion (N,4) k1 k2 p1 p2. The world is in metres with Y up, and the pose is written in it",
    )


def known_cameras(options: argparse.Namespace) -> "tuple[KnownCamera, ...] | None":
    """Return the cameras that were given with `--cameras`, one for each picture; None without it.

    Raises:
        InputError: there is nothing they could be the cameras of, another option says the same, or as of the file.
    """
    if options.cameras is None:
        return None
    if not options.same_pose or len(options.photo) < 2:
        raise InputError(
            "--cameras is for several pictures of one pose; add --same-pose and all pictures, or leave it out"
        )
    if options.focal_px is not None or options.distortion is not None:
        raise InputError("--cameras says the lens of each picture; leave out --focal-px and --distortion")
    from ikol.camera_files import read_cameras  # noqa: PLC0415 - torch is loaded only when there is work

    return read_cameras(options.cameras, len(options.photo))


def pose_several(
    options: argparse.Namespace, pipeline: "PosePipeline", cameras: "Sequence[KnownCamera] | None" = None
) -> None:
    """Pose the largest person of each picture, and print and write what was found.

    Args:
        options: of the command.
        pipeline: with what.
        cameras: one for each picture; None where nobody knows them.

    Raises:
        InputError: it was not said how the pictures belong together, or nobody is on one of them.
    """
    if not (options.same_pose or options.same_person):
        raise InputError("several pictures need --same-pose or --same-person; or pose them one by one")
    if options.box:
        raise InputError("--box is for one picture; of several the plainest person of each is taken, crop them")
    places = [None] * len(options.photo) if cameras is None else cameras
    views = [_view(path, pipeline, options, place) for path, place in zip(options.photo, places, strict=True)]
    if options.same_pose:
        found = pipeline.solve_views(views)
        poses, found_cameras, joints = [found.pose], list(found.cameras), [found.joints]
        for path, error in zip(options.photo, found.reprojection_px_median, strict=True):
            print(f"{path}: reprojection {error:.1f} px (median)")
        doubtful = f"; doubtful: {', '.join(found.doubts)}" if found.doubts else ""
        print(f"one pose, {found.status} after {found.iterations} iterations{doubtful}")
    else:
        solutions = pipeline.solve_same_person(views)
        poses = [solution.pose for solution in solutions]
        found_cameras = [solution.camera for solution in solutions if solution.camera is not None]
        joints = [solution.joints for solution in solutions]
        for path, solution in zip(options.photo, solutions, strict=True):
            print(f"{path}: reprojection {solution.reprojection_px_median:.1f} px (median), {solution.status}")
    if options.out is not None:
        _write(options.out, pipeline, poses, views, found_cameras, [each.numpy() for each in joints])
        print(f"wrote {options.out}")


def _view(path: Path, pipeline: "PosePipeline", options: argparse.Namespace, known: "KnownCamera | None") -> "View":
    from ikol.distortion import UNDISTORTED  # noqa: PLC0415
    from ikol.pipeline.multiview import View  # noqa: PLC0415
    from ikol.pipeline.reading import intrinsics_of  # noqa: PLC0415
    from ikol.regressor import decode_image  # noqa: PLC0415

    picture = decode_image(path.read_bytes())
    if known is None:
        guess = intrinsics_of(picture.width, picture.height, options.focal_px, picture.focal_px)
        lens = replace(guess, distortion=tuple(options.distortion or UNDISTORTED))
    else:
        lens = known.intrinsics(picture.width, picture.height)
    # with all of the lens: what reads the landmarks wants its centre too, which is not the picture's
    detection = pipeline.detect_rgb(
        picture.rgb,
        intrinsics=lens,
        model=options.model,
        max_persons=1,
        rotation_deg=options.rotation_deg,
        thorough=options.thorough,
    )
    if not detection.persons:
        raise InputError(f"no person was found on {path}; leave it out, or crop it around the person")
    return View(detection.persons[0].evidence, lens, None if known is None else known.extrinsics)


def _write(
    path: Path,
    pipeline: "PosePipeline",
    poses: "list[Pose]",
    views: "list[View]",
    cameras: "list[Camera]",
    joints: list[np.ndarray],
) -> None:
    """Write poses as `ikol pose` does for one picture, with a camera for each picture."""
    from ikol.geometry.rotations import rotmat_to_quat  # noqa: PLC0415

    np.savez_compressed(
        path,
        joint_names=np.array(pipeline.body.tree.names),
        local_quat=np.stack([rotmat_to_quat(pose.local_rotmat).numpy() for pose in poses]),
        transl=np.stack([pose.transl.numpy() for pose in poses]),
        betas=np.stack([pose.betas.numpy() for pose in poses]),
        joints=np.stack(joints),
        focal=np.stack([camera.focal.numpy() for camera in cameras]),
        center=np.stack([camera.center.numpy() for camera in cameras]),
        R_camera_world=np.stack([camera.R_camera_world.numpy() for camera in cameras]),
        t_camera_world=np.stack([camera.t_camera_world.numpy() for camera in cameras]),
        distortion=np.array([view.intrinsics.distortion for view in views]),
    )
