# SPDX-License-Identifier: Apache-2.0
"""What one click runs: a picture to persons with evidence, and evidence to a pose of the body.

Functions without memory, but for preparations that repeated solves share: what `detect` returns can be stored, changed
and given to `solve` at any later time.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, cast, get_args

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ikol.body.default_body import load_default_body
from ikol.body.model import BodyModel
from ikol.errors import InputError
from ikol.pipeline.alternatives import Alternative, alternative_poses
from ikol.pipeline.evidence import (
    DetectedPerson,
    Detection,
    Extrinsics,
    Intrinsics,
    NamedEvidence,
    Pose,
    PoseSolution,
    Progress,
)
from ikol.pipeline.flips import Limb
from ikol.pipeline.inspection import Inspection, inspect_problem
from ikol.pipeline.multiview import View, ViewsSolution, solve_views
from ikol.pipeline.own_network import look_with
from ikol.pipeline.placement import point_positions
from ikol.pipeline.posing import solve_pose
from ikol.pipeline.prepared import PreparedProblems
from ikol.pipeline.problem import make_problem
from ikol.pipeline.reading import detected_person, intrinsics_of
from ikol.pipeline.same_person import solve_same_person
from ikol.pipeline.sides import with_sides_of
from ikol.pipeline.swaps import Swap
from ikol.pipeline.views_inspection import ViewsInspection, inspect_views
from ikol.regressor import BLAZEPOSE_LANDMARKS, LandmarkRegressor, decode_image
from ikol.regressor.head import LandmarkHead, load_head
from ikol.regressor.head.forearm import with_forearms
from ikol.regressor.manifest import OwnNetwork
from ikol.regressor.person import PersonLandmarks

Model = Literal["heavy", "full"]
DETECT_SHARE = 0.05  # of the progress of `detect` is decoding the picture


class PosePipeline:
    """Networks and body, loaded once.

    Args:
        device: where the networks run. The solve of one person stays on the CPU: it is a few hundred small operations.
        model: the landmark network that is loaded at once; another is loaded when it is asked for.
        body: what is posed, in float64 on the CPU, with the 33 landmarks; None for the default body.
        head: what reads the landmarks further; "shipped" for the one of the package, None for none.
        own_networks: networks that the user brings, which `detect` takes by their names.

    Raises:
        InputError: two of these networks have one name.
    """

    def __init__(
        self,
        device: str = "cpu",
        model: Model = "heavy",
        body: BodyModel | None = None,
        head: LandmarkHead | Literal["shipped"] | None = "shipped",
        own_networks: Sequence[OwnNetwork] = (),
    ) -> None:
        self.device = device
        self.body = load_default_body(dtype=torch.float64) if body is None else body
        self.head = load_head() if head == "shipped" else head
        self._prepared = PreparedProblems()
        self._regressors: dict[str, LandmarkRegressor] = {}
        self._own = {network.name: network for network in own_networks}
        if len(self._own) < len(own_networks):
            names = ", ".join(network.name for network in own_networks)
            raise InputError(
                f"each network needs a name of its own, got {names}; change the manifests' or files' names"
            )
        self._regressor(model)

    @property
    def loaded_models(self) -> tuple[str, ...]:
        """The landmark networks in memory."""
        return tuple(self._regressors)

    @property
    def own_models(self) -> tuple[str, ...]:
        """The names of the user's networks."""
        return tuple(self._own)

    def detect(
        self,
        image: bytes,
        *,
        model: str = "heavy",
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
            model: landmark network, "heavy" (more exact) or "full" (faster); or the name of a network of the user's.
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
        model: str = "heavy",
        max_persons: int = 8,
        boxes: Sequence[tuple[float, float, float, float]] = (),
        rotation_deg: float = 0.0,
        thorough: bool = False,
        progress: Progress | None = None,
    ) -> Detection:
        """Find the persons on a decoded, upright picture; see `detect`."""
        own = self._own.get(model)
        if own is not None and (boxes or own.finds_persons):
            return Detection(
                intrinsics,
                look_with(
                    own, rgb, intrinsics, self.body, (), boxes=boxes, max_persons=max_persons, rotation_deg=rotation_deg
                ),
            )
        regressor = self._regressor("heavy" if own is not None else model)

        def report(fraction: float, text: str) -> None:
            if progress is not None:
                progress(DETECT_SHARE + (1 - DETECT_SHARE) * fraction, text)

        found = regressor.detect(
            rgb,
            max_persons=max_persons,
            boxes=boxes or None,
            rotation_deg=rotation_deg,
            thorough=thorough,
            progress=report,
        )
        if own is not None:
            return Detection(
                intrinsics,
                look_with(own, rgb, intrinsics, self.body, found, max_persons=max_persons, rotation_deg=rotation_deg),
            )
        persons = self.read(found, intrinsics, model=model)
        return Detection(intrinsics, tuple(person for person in persons if person.evidence))

    def _regressor(self, model: str) -> LandmarkRegressor:
        if model not in self._regressors:
            if model not in get_args(Model):
                names = ", ".join((*get_args(Model), *self._own))
                raise InputError(f"unknown network {model!r}; there are {names}")
            self._regressors[model] = LandmarkRegressor(cast("Model", model), self.device)
        return self._regressors[model]

    def read(
        self, found: Sequence[PersonLandmarks], intrinsics: Intrinsics, *, model: str = "heavy"
    ) -> tuple[DetectedPerson, ...]:
        """Return persons of one picture with their evidence, from their landmarks.

        Args:
            found: what the landmark network saw.
            intrinsics: the picture's lens.
            model: which network it was. The head knows the errors of "heavy" only, and does not read the other's.
        """
        if self.head is None or model != "heavy":
            return tuple(detected_person(person) for person in found)
        head, focal, center = self.head, intrinsics.focal, intrinsics.center
        persons: list[DetectedPerson] = []
        for person, prediction in zip(found, head.predict(found, focal, center), strict=True):
            sided = with_sides_of(prediction, person, intrinsics)
            if head.forearm is not None:
                factor = head.calibration.forearm
                prediction = with_forearms(head.forearm, factor, sided, prediction, focal, center)  # noqa: PLW2901
            persons.append(replace(detected_person(sided, prediction), landmarks=person))
        return tuple(persons)

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

    def solve_views(self, views: Sequence[View], *, progress: Progress | None = None) -> ViewsSolution:
        """Find the pose that fits 2 to 8 pictures of it best; see `multiview.solve_views`."""
        return solve_views(self.body, views, progress)

    def inspect_views(self, views: Sequence[View], solution: ViewsSolution) -> ViewsInspection:
        """Return how sure a pose of several pictures is; see `views_inspection.inspect_views`."""
        return inspect_views(self.body, views, solution)

    def solve_same_person(
        self, pictures: Sequence[View], *, progress: Progress | None = None
    ) -> tuple[PoseSolution, ...]:
        """Find the poses of one person on several pictures, with one shape; see `same_person.solve_same_person`."""
        return solve_same_person(self.body, pictures, progress)

    def landmark_positions(self, pose: Pose) -> Float[Tensor, "33 3"]:
        """Return the body's 33 landmarks in the world for a pose, metres, in the picture network's order."""
        return point_positions(self.body, pose, BLAZEPOSE_LANDMARKS)
