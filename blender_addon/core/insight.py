# SPDX-License-Identifier: GPL-3.0-or-later
"""What the solver knows of its answer, as it is shown: spreads, ellipsoids, pulls, heat. No Blender in here.

Metres, in the SMPL world of the body unless a name says otherwise.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .body_parts import PARTS
from .jobs import EvidenceRow, Inspection
from .record import PhotoCamera, Record, Vector3
from .rig import ALL_JOINT_NAMES, LANDMARK_NAMES
from .wording import POINT_LABELS, Translate, listed_points, point_residual

FloatArray = NDArray[np.float64]
Color = tuple[float, float, float, float]

SURE_METRES = 0.005
UNSURE_METRES = 0.20
"""The ends of the colours: as good as a placed point, and twice as bad as a landmark's depth. Between them by decades.
"""

_RAMP: FloatArray = np.array([[0.15, 0.45, 0.95], [0.20, 0.80, 0.55], [0.98, 0.80, 0.20], [0.90, 0.20, 0.15]])
"""Blue, green, yellow, red: told apart by lightness at the ends, for eyes that do not tell red from green."""

UNKNOWN: Color = (0.5, 0.5, 0.5, 1.0)
"""For joints that no evidence speaks of."""

CIRCLE_POINTS = 24
MIN_PULL = 5e-4
"""Metres. What pulls less than half a millimetre explains nothing."""

_LANDMARK_JOINTS = {
    "hip": "Hip", "knee": "Knee", "ankle": "Ankle", "heel": "Ankle", "foot_index": "Foot", "shoulder": "Shoulder",
    "elbow": "Elbow", "wrist": "Wrist", "pinky": "Hand", "index": "Hand", "thumb": "Hand",
}  # fmt: skip

_PIVOTS = {"Collar", "Shoulder", "Hip", "Neck", "Spine1"}
"""Where limbs begin: these stay where they are when the limb turns."""

_ELSEWHERE = "view_keypoints_2d"

KIND_LABELS = {
    "keypoints_2d": "on the photograph",
    _ELSEWHERE: "on another photograph",
    "keypoints_3d": "in space",
    "relative_keypoints_3d": "depth seen by the network",
    "anchor": "pose to stay near",
    "twist": "twist",
    "pins": "locked",
    "orientations": "turned by you",
    "stay": "stays where it was",
    "stance": "relaxed stance",
    "limits": "limit of the joint",
    "shape": "shape",
}


def joint_of_point(name: str) -> str:
    """Return the joint that a point of the body moves with: its own, or that of a landmark."""
    if name in ALL_JOINT_NAMES:
        return name
    side, _, part = name.partition("_")
    joint = _LANDMARK_JOINTS.get(part)
    return f"{side[0].upper()}_{joint}" if joint and side in ("left", "right") else "Head"


@dataclass(frozen=True)
class Spread:
    """Standard deviations of a joint, along the picture and in depth; without a camera both are one mean."""

    in_picture: float
    depth: float


def spread_of(covariance: FloatArray, joint: Vector3, camera: PhotoCamera | None) -> Spread:
    """Split the covariance (3, 3) of a joint's place by the ray on which the camera sees it."""
    total = max(float(np.trace(covariance)), 0.0)
    if camera is None or camera.rotation is None or camera.translation is None:
        return Spread(math.sqrt(total / 3), math.sqrt(total / 3))
    rotation = np.array(camera.rotation).reshape(3, 3)
    ray = np.array(joint) + rotation.T @ np.array(camera.translation)
    ray /= max(float(np.linalg.norm(ray)), 1e-9)
    depth = max(float(ray @ covariance @ ray), 0.0)
    return Spread(math.sqrt(max(total - depth, 0.0) / 2), math.sqrt(depth))


def spread_color(metres: float) -> Color:
    """Return the colour of a standard deviation or a residual: blue for 5 mm and less, red for 20 cm and more."""
    share = math.log(max(metres, 1e-9) / SURE_METRES) / math.log(UNSURE_METRES / SURE_METRES)
    place = min(max(share, 0.0), 1.0) * (len(_RAMP) - 1)
    low = min(int(place), len(_RAMP) - 2)
    red, green, blue = _RAMP[low] + (place - low) * (_RAMP[low + 1] - _RAMP[low])
    return (float(red), float(green), float(blue), 1.0)


def ellipsoid_lines(covariance: FloatArray, center: FloatArray) -> FloatArray:
    """Return the ends (n, 2, 3) of the lines of an ellipsoid of one standard deviation: three ellipses on its axes."""
    values, axes = np.linalg.eigh(covariance)
    half_axes = axes * np.sqrt(np.maximum(values, 0.0))
    turn = np.linspace(0.0, 2 * np.pi, CIRCLE_POINTS + 1)
    circle = np.stack((np.cos(turn), np.sin(turn)))
    curves = [center + (half_axes[:, pair] @ circle).T for pair in ([0, 1], [0, 2], [1, 2])]
    return np.concatenate([np.stack((curve[:-1], curve[1:]), axis=1) for curve in curves])


@dataclass(frozen=True)
class Pull:
    """One piece of evidence that holds a joint where it is."""

    text: str
    """What it is, such as *Left Wrist, on the photograph*."""
    residual: str
    """How far the pose is from it, such as `12.1 px, 3.4 cm`."""
    metres: float
    """How far it moves the joint."""


def pulls_on(inspection: Inspection, record: Record, joint: str, count: int, translate: Translate) -> tuple[Pull, ...]:
    """Return what pulls most at a joint, the strongest first; rows of one kind and point count together."""
    strength: dict[tuple[str, str], FloatArray] = {}
    worst: dict[tuple[str, str], EvidenceRow] = {}
    for row, pull in zip(inspection.rows, inspection.pulls[:, record.tree.index(joint)], strict=True):
        key = (row.kind, row.name)
        strength[key] = strength.get(key, np.zeros(3)) + pull
        if key not in worst or row.residual > worst[key].residual:
            worst[key] = row
    ordered = sorted(strength, key=lambda key: -float(np.linalg.norm(strength[key])))
    found = [(key, float(np.linalg.norm(strength[key]))) for key in ordered[:count]]
    return tuple(
        Pull(_row_text(worst[key], translate), _row_residual(worst[key], record), metres)
        for key, metres in found
        if metres >= MIN_PULL
    )


def _row_text(row: EvidenceRow, translate: Translate) -> str:
    kind = translate(KIND_LABELS[row.kind])
    if row.name not in POINT_LABELS:
        return kind
    point, _, _ = translate(POINT_LABELS[row.name]).partition(" (")  # of a joint's name, what it is shown as
    return f"{point}, {kind}"


def _row_residual(row: EvidenceRow, record: Record) -> str:
    match row.unit:
        case "px":
            metres = None if row.kind == _ELSEWHERE else point_residual(record, row.name).metres
            return f"{row.residual:.1f} px" + ("" if metres is None else f", {100 * metres:.1f} cm")
        case "m":
            return f"{100 * row.residual:.1f} cm"
        case _:
            return f"{math.degrees(row.residual):.0f}°"


def joint_heat(record: Record) -> FloatArray:
    """Return by how many metres the body misses the points of each joint (J,), the worst; NaN where it has none."""
    heat = np.full(len(record.tree.names), np.nan)
    for name in listed_points(record):
        metres = point_residual(record, name).metres
        if metres is not None:
            joint = record.tree.index(joint_of_point(name))
            heat[joint] = np.fmax(heat[joint], metres)
    return heat


def vertex_colors(heat: FloatArray, weights: FloatArray) -> FloatArray:
    """Return the colour (V, 4) of each vertex: those of the joints that move it, by its skinning weights (V, J)."""
    colors = np.array([UNKNOWN if math.isnan(metres) else spread_color(metres) for metres in heat])
    total = np.maximum(weights.sum(axis=1, keepdims=True), 1e-9)
    return (weights @ colors) / total


def best_next_point(inspection: Inspection, seen: Iterable[str]) -> tuple[str, float] | None:
    """Return the point whose placement helps most and the gain as a length (root of the variance that goes), metres.

    Points that are on the photograph come first: they are there to be dragged. None when nothing would help.
    """
    gains: Mapping[str, float] = dict(zip(inspection.next_points, inspection.next_gains, strict=True))
    shown = [name for name in seen if gains.get(name, 0.0) > 0.0]
    name = max(shown or [name for name in gains if gains[name] > 0.0], key=lambda name: gains[name], default=None)
    return None if name is None else (name, math.sqrt(gains[name]))


def limb_of_joint(joint: str) -> str:
    """Return the limb of which alternatives are looked for when this joint is meant."""
    side, _, part = joint.rpartition("_")
    if part in ("Hip", "Knee", "Ankle", "Foot"):
        return "left_leg" if side == "L" else "right_leg"
    if joint in PARTS["head"]:
        return "head"
    return {"L": "left_arm", "R": "right_arm"}.get(side, "torso")


def limb_points(limb: str) -> tuple[str, ...]:
    """Return the joints and landmarks that lie elsewhere when a limb is posed another way."""
    turned = PARTS["upper_body" if limb == "torso" else limb]
    joints = {joint for joint in turned if joint.rpartition("_")[2] not in _PIVOTS}
    return tuple(name for name in (*ALL_JOINT_NAMES, *LANDMARK_NAMES) if joint_of_point(name) in joints)
