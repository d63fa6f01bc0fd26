# SPDX-License-Identifier: Apache-2.0
"""One report for any data set: what was measured, as numbers, as JSON, and as a table for the terminal.

What a data set does not know is None: it is not in the table, and null in the JSON.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from ikol.evaluation.calibration import Coverage, coverage
from ikol.evaluation.picture_errors import PictureErrors, PointErrors
from ikol.evaluation.samples import EvaluationSet

WORST = 10
WRONG_BONE_DEG = 45.0
_LABELS = {
    "mpjpe_mm": ("MPJPE", "mm"),
    "pa_mpjpe_mm": ("PA-MPJPE", "mm"),
    "pve_mm": ("PVE", "mm"),
    "shape_mm": ("shape, rest mesh", "mm"),
    "bone_deg_median": ("bone direction, median", "deg"),
    "bone_over_45deg": ("bones off by more than 45 deg", "%"),
    "geodesic_deg": ("rotation of a joint, mean", "deg"),
    "twist_deg": ("twist about the bone, mean", "deg"),
    "error_2d_percent": ("on the picture, of the person's box", "%"),
    "up_error_deg_median": ("vertical, median", "deg"),
}


@dataclass(frozen=True)
class PoseErrors:
    """Means over the pictures; over all bones of all pictures the two bone numbers; over joints and pictures angles."""

    mpjpe_mm: float
    pa_mpjpe_mm: float
    bone_deg_median: float
    bone_over_45deg: float
    """Share, 0 to 1."""
    pve_mm: float | None = None
    shape_mm: float | None = None
    geodesic_deg: float | None = None
    twist_deg: float | None = None
    error_2d_percent: float | None = None


@dataclass(frozen=True)
class Calibration:
    """How often the truth lies within the solver's standard deviations; a normal distribution has 68 % and 95 %."""

    image_x: Coverage | None
    image_y: Coverage | None
    depth: Coverage | None
    all_axes: Coverage | None


@dataclass(frozen=True)
class JointErrors:
    """Means over the pictures, by name of the point or joint."""

    position_mm: dict[str, float]
    geodesic_deg: dict[str, float]
    twist_deg: dict[str, float]


@dataclass(frozen=True)
class WorstPicture:
    """One of the pictures with the largest MPJPE."""

    name: str
    mpjpe_mm: float
    pa_mpjpe_mm: float


@dataclass(frozen=True)
class Report:
    """What was measured on a data set. `raw`: the network's own landmarks in space; `solved`: the body."""

    dataset: str
    pictures: int
    pictures_without_person: int
    solved: PoseErrors
    raw: PoseErrors | None
    calibration: Calibration
    joints: JointErrors
    up_error_deg_median: float | None
    """Between the vertical that the pipeline places the person by and the true one."""
    seconds_per_picture_median: float
    worst: tuple[WorstPicture, ...]
    missed: tuple[str, ...]
    """Pictures on which nobody was found."""

    def to_json(self) -> str:
        """Return the report as indented JSON."""
        return json.dumps(asdict(self), indent=2)

    def rows(self) -> list[tuple[str, str, str, str]]:
        """Return label, unit, solved and raw value of each metric that was measured."""
        solved, raw = asdict(self.solved), {} if self.raw is None else asdict(self.raw)
        solved["up_error_deg_median"] = self.up_error_deg_median
        found: list[tuple[str, str, str, str]] = []
        for key, (label, unit) in _LABELS.items():
            if solved[key] is not None:
                scale = 100.0 if key == "bone_over_45deg" else 1.0
                values = [f"{scale * each[key]:.1f}" if each.get(key) is not None else "" for each in (solved, raw)]
                found.append((label, unit, values[0], values[1]))
        return found

    def calibration_rows(self) -> list[tuple[str, str, str]]:
        """Return axis, share within one and within two standard deviations, in percent."""
        axes = (
            ("image x", self.calibration.image_x),
            ("image y", self.calibration.image_y),
            ("depth", self.calibration.depth),
            ("all", self.calibration.all_axes),
        )
        return [
            (name, f"{100 * found.within_1_sigma:.0f}", f"{100 * found.within_2_sigma:.0f}")
            for name, found in axes
            if found is not None
        ]

    def to_text(self) -> str:
        """Return the report as a table for a terminal."""
        lines = [f"{self.dataset}: {self.pictures} pictures, {self.pictures_without_person} without a person"]
        lines.append(f"{'':38}{'':5}{'solved':>9}{'raw' if self.raw else '':>9}")
        lines += [f"{label:38}{unit:5}{solved:>9}{raw:>9}" for label, unit, solved, raw in self.rows()]
        lines.append(f"{'truth within 1 and 2 sigma':38}{'%':5}")
        lines += [f"  {axis:36}{'':5}{one:>9}{two:>9}" for axis, one, two in self.calibration_rows()]
        return "\n".join(lines)


def make_report(
    dataset: EvaluationSet, joint_names: tuple[str, ...], pictures: Sequence[PictureErrors], missed: Sequence[str]
) -> Report:
    """Sum up the errors of pictures, at least one.

    Args:
        dataset: that they are of.
        joint_names: of the body's joints, to which the rotations belong.
        pictures: in which the person was found.
        missed: names of the others.
    """
    scores = torch.stack([each.scores for each in pictures])
    worst = sorted(pictures, key=lambda each: each.solved.mpjpe_mm, reverse=True)[:WORST]
    raw = [each.raw for each in pictures if each.raw is not None]
    return Report(
        dataset=dataset.name,
        pictures=len(pictures) + len(missed),
        pictures_without_person=len(missed),
        solved=_pose_errors([each.solved for each in pictures], pictures),
        raw=_pose_errors(raw, ()) if raw else None,
        calibration=Calibration(
            coverage(scores[..., 0].flatten()),
            coverage(scores[..., 1].flatten()),
            coverage(scores[..., 2].flatten()),
            coverage(scores.flatten()),
        ),
        joints=JointErrors(
            _by_name(dataset.scored, [each.solved.each_mm for each in pictures]),
            _by_name(joint_names, [each.geodesic_deg for each in pictures if each.geodesic_deg is not None]),
            _by_name(joint_names, [each.twist_deg for each in pictures if each.twist_deg is not None]),
        ),
        up_error_deg_median=_summed(pictures, lambda each: each.up_deg, torch.median),
        seconds_per_picture_median=float(torch.tensor([each.seconds for each in pictures]).median()),
        worst=tuple(WorstPicture(each.name, each.solved.mpjpe_mm, each.solved.pa_mpjpe_mm) for each in worst),
        missed=tuple(missed),
    )


def _pose_errors(points: Sequence[PointErrors], pictures: Sequence[PictureErrors]) -> PoseErrors:
    bones = torch.cat([each.bones_deg for each in points])
    bones = bones[bones.isfinite()]
    return PoseErrors(
        mpjpe_mm=sum(each.mpjpe_mm for each in points) / len(points),
        pa_mpjpe_mm=sum(each.pa_mpjpe_mm for each in points) / len(points),
        bone_deg_median=float(bones.median()),
        bone_over_45deg=float((bones > WRONG_BONE_DEG).double().mean()),
        pve_mm=_summed(pictures, lambda each: each.pve_mm),
        shape_mm=_summed(pictures, lambda each: each.shape_mm),
        geodesic_deg=_summed(
            pictures, lambda each: None if each.geodesic_deg is None else float(each.geodesic_deg.mean())
        ),
        twist_deg=_summed(pictures, lambda each: None if each.twist_deg is None else float(each.twist_deg.mean())),
        error_2d_percent=_summed(pictures, lambda each: each.error_2d_percent),
    )


def _summed(
    pictures: Sequence[PictureErrors],
    value: Callable[[PictureErrors], float | None],
    how: Callable[[Tensor], Tensor] = torch.mean,
) -> float | None:
    """Return the mean, or another sum, over the pictures that have a value; None when none has."""
    known = [found for found in map(value, pictures) if found is not None]
    return float(how(torch.tensor(known, dtype=torch.float64))) if known else None


def _by_name(names: tuple[str, ...], rows: Sequence[Tensor]) -> dict[str, float]:
    """Return the mean of each column over the rows that know it, by name."""
    if not rows:
        return {}
    means = torch.stack(tuple(rows)).nanmean(0).tolist()
    return {name: mean for name, mean in zip(names, means, strict=True) if mean == mean}  # noqa: PLR0124 - not NaN
