# SPDX-License-Identifier: Apache-2.0
"""What one click runs: a picture to persons with evidence, and evidence to a pose of the body.

Functions without memory, but for preparations that repeated solves share: what `detect` returns can be stored, changed
and given to `solve` at any later time.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ikol.body.default_body import load_default_body
from ikol.body.model import BodyModel
from ikol.pipeline.alternatives import Alternative, alternative_poses
from ikol.pipeline.evidence import Detection, Intrinsics, NamedEvidence, Pose, PoseSolution, Progress
from ikol.pipeline.flips import Limb
from ikol.pipeline.inspection import Inspection, inspect_problem
from ikol.pipeline.placement import point_positions
from ikol.pipeline.posing import solve_pose
from ikol.pipeline.prepared import PreparedProblems
from ikol.pipeline.problem import Extrinsics, make_problem
from ikol.pipeline.reading import detected_person, intrinsics_of
from ikol.pipeline.swaps import Swap
from ikol.regressor import BLAZEPOSE_LANDMARKS, LandmarkRegressor, decode_image

Model = Literal["heavy", "full"]
DETECT_SHARE = 0.05  # of the progress of `detect` is decoding the picture


class PosePipeline:
    """Networks and body, loaded once.

    Args:
        device: where the networks run. The solve of one person stays on the CPU: it is a few hundred small operations.
        model: the landmark network that is loaded at once; another is loaded when it is asked for.
        body: what is posed, in float64 on the CPU, with the 33 landmarks; None for the default body.
    """

    def __init__(self, device: str = "cpu", model: Model = "heavy", body: BodyModel | None = None) -> None:
        self.device = device
        self.body = load_default_body(dtype=torch.float64) if body is None else body
        self._prepared = PreparedProblems()
        self._regressors: dict[Model, LandmarkRegressor] = {model: LandmarkRegressor(model, device)}

    @property
    def loaded_models(self) -> tuple[Model, ...]:
        """The landmark networks in memory."""
        return tuple(self._regressors)

    def detect(
        self,
        image: bytes,
        *,
        model: Model = "heavy",
        max_persons: int = 8,
        boxes: Sequence[tuple[float, float, float, float]] = (),
        rotation_deg: float = 0.0,
        thorough: bool = False,
        focal_px: float | None = None,
        progress: Progress | None = None,
    ) -> Detection:
        """Find the persons on an encoded picture (JPEG, PNG or WebP).

        Args:
            image: the file's bytes.
            model: landmark network, "heavy" (more exact) or "full" (faster).
            max_persons: how many to return at most.
            boxes: x0, y0, x1, y1 in pixels of the upright picture; they replace the detector.
            rotation_deg: by how much the persons are turned clockwise from upright.
            thorough: look for far persons also where others are found.
            focal_px: focal length in pixels; otherwise EXIF's or a default.
            progress: told how far it is; may raise `Cancelled`.

        Raises:
            ImageError: the bytes are not a picture that can be read.
        """
        if progress is not None:
            progress(0.0, "reading the picture")
        decoded = decode_image(image)
        intrinsics = intrinsics_of(decoded.width, decoded.height, focal_px, decoded.focal_px)
        return self.detect_rgb(
            decoded.rgb,
            intrinsics=intrinsics,
            model=model,
            max_persons=max_persons,
            boxes=boxes,
            rotation_deg=rotation_deg,
            thorough=thorough,
            progress=progress,
        )

    def detect_rgb(
        self,
        rgb: UInt8[np.ndarray, "height width 3"],
        *,
        intrinsics: Intrinsics,
        model: Model = "heavy",
        max_persons: int = 8,
        boxes: Sequence[tuple[float, float, float, float]] = (),
        rotation_deg: float = 0.0,
        thorough: bool = False,
        progress: Progress | None = None,
    ) -> Detection:
        """Find the persons on a decoded, upright picture; see `detect`."""
        if model not in self._regressors:
            self._regressors[model] = LandmarkRegressor(model, self.device)

        def report(fraction: float, text: str) -> None:
            if progress is not None:
                progress(DETECT_SHARE + (1 - DETECT_SHARE) * fraction, text)

        found = self._regressors[model].detect(
            rgb,
            max_persons=max_persons,
            boxes=boxes or None,
            rotation_deg=rotation_deg,
            thorough=thorough,
            progress=report,
        )
        persons = tuple(detected_person(person) for person in found)
        return Detection(intrinsics, tuple(person for person in persons if person.evidence))

    def solve(
        self,
        evidence: Sequence[NamedEvidence],
        *,
        intrinsics: Intrinsics | None = None,
        extrinsics: Extrinsics | None = None,
        initial: Pose | None = None,
        start: Pose | None = None,
        joints: Sequence[str] = (),
        solve_shape: bool = True,
        progress: Progress | None = None,
    ) -> PoseSolution:
        """Find the pose of the body that fits the evidence best; see `posing.solve_pose`."""
        return solve_pose(
            self.body,
            evidence,
            intrinsics=intrinsics,
            extrinsics=extrinsics,
            initial=initial,
            start=start,
            joints=joints,
            solve_shape=solve_shape,
            progress=progress,
            prepared=self._prepared,
        )

    def inspect(
        self,
        evidence: Sequence[NamedEvidence],
        *,
        intrinsics: Intrinsics | None = None,
        extrinsics: Extrinsics | None = None,
        initial: Pose | None = None,
        start: Pose | None = None,
        joints: Sequence[str] = (),
        solve_shape: bool = True,
        progress: Progress | None = None,
    ) -> Inspection:
        """Solve, and say how sure each joint is and what pulls at it; the arguments are those of `posing.solve_pose`.

        Raises:
            InputError: as of `solve`, or a camera comes without its place.
        """
        if progress is not None:
            progress(0.0, "inspecting")
        problem = make_problem(
            self.body,
            evidence,
            intrinsics=intrinsics,
            extrinsics=extrinsics,
            initial=initial,
            start=start,
            joints=joints,
            solve_shape=solve_shape,
        )
        return inspect_problem(problem, self._prepared)

    def alternatives(
        self,
        evidence: Sequence[NamedEvidence],
        *,
        limb: Limb | Swap,
        count: int = 4,
        intrinsics: Intrinsics | None = None,
        extrinsics: Extrinsics | None = None,
        initial: Pose | None = None,
        start: Pose | None = None,
        joints: Sequence[str] = (),
        solve_shape: bool = True,
        progress: Progress | None = None,
    ) -> tuple[Alternative, ...]:
        """Solve, and find poses of one limb that fit the picture about as well, the best first.

        Args:
            evidence: as of `posing.solve_pose`, like all arguments but the next two.
            limb: which limb may change, or which sides may have been taken for each other.
            count: how many poses to return at most.
            intrinsics: needed.
            extrinsics: needed.
            initial: as of a solve.
            start: as of a solve.
            joints: as of the first solve; of the limb all may change.
            solve_shape: as of the first solve; the alternatives have its shape.
            progress: told how far it is; may raise `Cancelled`.

        Raises:
            InputError: as of `solve`, or there is no picture with a camera whose place is known.
        """
        if progress is not None:
            progress(0.0, "looking for alternatives")
        problem = make_problem(
            self.body,
            evidence,
            intrinsics=intrinsics,
            extrinsics=extrinsics,
            initial=initial,
            start=start,
            joints=joints,
            solve_shape=solve_shape,
        )
        return alternative_poses(problem, limb, count, self._prepared)

    def landmark_positions(self, pose: Pose) -> Float[Tensor, "33 3"]:
        """Return the body's 33 landmarks in the world for a pose, metres, in the picture network's order."""
        return point_positions(self.body, pose, BLAZEPOSE_LANDMARKS)
