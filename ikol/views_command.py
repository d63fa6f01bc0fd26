# SPDX-License-Identifier: Apache-2.0
"""`ikol pose A.jpg B.jpg ...`: several pictures of one pose, or of one person.

Reads arguments and files, prints; the work is done elsewhere. torch is loaded only when there is work.
"""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ikol.errors import InputError

if TYPE_CHECKING:
    from ikol.camera import Camera
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


def pose_several(options: argparse.Namespace, pipeline: "PosePipeline") -> None:
    """Pose the largest person of each picture, and print and write what was found.

    Raises:
        InputError: it was not said how the pictures belong together, or nobody is on one of them.
    """
    if not (options.same_pose or options.same_person):
        raise InputError("several pictures need --same-pose or --same-person; or pose them one by one")
    if options.box:
        raise InputError("--box is for one picture; of several the plainest person of each is taken, crop them")
    views = [_view(path, pipeline, options) for path in options.photo]
    if options.same_pose:
        found = pipeline.solve_views(views)
        poses, cameras, joints = [found.pose], list(found.cameras), [found.joints]
        for path, error in zip(options.photo, found.reprojection_px_median, strict=True):
            print(f"{path}: reprojection {error:.1f} px (median)")
        doubtful = f"; doubtful: {', '.join(found.doubts)}" if found.doubts else ""
        print(f"one pose, {found.status} after {found.iterations} iterations{doubtful}")
    else:
        solutions = pipeline.solve_same_person(views)
        poses = [solution.pose for solution in solutions]
        cameras = [solution.camera for solution in solutions if solution.camera is not None]
        joints = [solution.joints for solution in solutions]
        for path, solution in zip(options.photo, solutions, strict=True):
            print(f"{path}: reprojection {solution.reprojection_px_median:.1f} px (median), {solution.status}")
    if options.out is not None:
        _write(options.out, pipeline, poses, cameras, [each.numpy() for each in joints])
        print(f"wrote {options.out}")


def _view(path: Path, pipeline: "PosePipeline", options: argparse.Namespace) -> "View":
    from ikol.distortion import UNDISTORTED  # noqa: PLC0415
    from ikol.pipeline.multiview import View  # noqa: PLC0415

    detection = pipeline.detect(
        path.read_bytes(),
        model=options.model,
        focal_px=options.focal_px,
        max_persons=1,
        rotation_deg=options.rotation_deg,
        thorough=options.thorough,
    )
    if not detection.persons:
        raise InputError(f"no person was found on {path}; leave it out, or crop it around the person")
    lens = replace(detection.intrinsics, distortion=tuple(options.distortion or UNDISTORTED))
    return View(detection.persons[0].evidence, lens)


def _write(
    path: Path, pipeline: "PosePipeline", poses: "list[Pose]", cameras: "list[Camera]", joints: list[np.ndarray]
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
    )
