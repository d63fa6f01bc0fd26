# SPDX-License-Identifier: Apache-2.0
"""Keypoints on a picture as JSON, of OpenPose, COCO, COCO-WholeBody (also MMPose's) and MediaPipe's BlazePose.

OpenPose writes a file for each frame: a folder of them is one sequence. Of several persons in a frame one is taken.
Imports: torch, ikol.errors, ikol.exchange.{files, json_values, motion, point_names}.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal

import torch

from ikol.errors import FileFormatError, InputError
from ikol.exchange.files import read_text, write_bytes
from ikol.exchange.json_values import Field, parse_json
from ikol.exchange.motion import MAX_FRAMES, Keypoints
from ikol.exchange.point_names import (
    BLAZEPOSE,
    COCO,
    FACE,
    OPENPOSE_18,
    OPENPOSE_25,
    WHOLEBODY,
    hand_names,
)

MAX_FILE_BYTES: Final = 64 << 20  # a text is some twenty times as large in memory
KeypointFormat = Literal["openpose", "coco", "wholebody", "blazepose"]
_Row = dict[str, tuple[float, float, float]]  # place and confidence by name
_OPENPOSE_PARTS: Final = {
    "hand_left_keypoints_2d": hand_names("left"),
    "hand_right_keypoints_2d": hand_names("right"),
    "face_keypoints_2d": (*FACE, "right_pupil", "left_pupil"),
}
_WHOLEBODY_PARTS: Final = {
    "keypoints": COCO,
    "foot_kpts": WHOLEBODY[17:23],
    "face_kpts": FACE,
    "lefthand_kpts": hand_names("left"),
    "righthand_kpts": hand_names("right"),
}
_MIDDLES: Final = {"neck": ("left_shoulder", "right_shoulder"), "mid_hip": ("left_hip", "right_hip")}
"""OpenPose's own points: between two that all formats have."""
_BODIES: Final = {len(names): names for names in (COCO, OPENPOSE_18, OPENPOSE_25, WHOLEBODY, BLAZEPOSE)}


def read_keypoint_json(
    path: Path, person: int = 0, size: tuple[int, int] | None = None, fps: float = 30.0
) -> Keypoints:
    """Return the keypoints of one person.

    Args:
        path: a file, or a folder with OpenPose's files of a sequence.
        person: which of several in each frame, from 0; where a frame has fewer, all its points are missing.
        size: width and height of the picture, for MediaPipe's fractions of it.
        fps: frames a second, which these files do not say.

    Raises:
        FileFormatError: it cannot be read, is none of these formats, or holds no such person.
    """
    if path.is_dir():
        files = sorted(path.glob("*_keypoints.json"), key=_frame_number)
        if not 0 < len(files) <= MAX_FRAMES:
            raise FileFormatError(
                f"the folder {path.name} has {len(files)} files *_keypoints.json; OpenPose writes these"
            )
        rows = [_person(_openpose(_read(file)), person) for file in files]
    else:
        top = _read(path)
        if top.has("people"):
            rows = [_person(_openpose(top), person)]
        elif any(top.has(key) for key in ("frames", "landmarks", "poseLandmarks", "pose_landmarks")) or top.first().has(
            "visibility"
        ):
            rows, size = _blazepose(top, person, size)
        elif top.has("instance_info"):
            rows = [_person(_mmpose(frame), person) for frame in top.key("instance_info").items()]
        else:
            rows = _coco(top, person)
    return _keypoints(rows, path.name, fps, size)


def _read(path: Path) -> Field:
    return parse_json(read_text(path, MAX_FILE_BYTES), path.name)


def _frame_number(path: Path) -> tuple[int, str]:
    numbers = re.findall(r"\d{1,12}", path.name)
    return (int(numbers[-1]) if numbers else 0), path.name


def _person(persons: Sequence[_Row], person: int) -> _Row:
    return persons[person] if person < len(persons) else {}


def _openpose(top: Field) -> list[_Row]:
    persons: list[_Row] = []
    for each in top.key("people").items():
        flat = each.key("pose_keypoints_2d").numbers()
        names = _BODIES.get(len(flat) // 3)
        if len(flat) not in (54, 75) or names is None:
            raise FileFormatError(f"{top.source}: pose_keypoints_2d has {len(flat)} numbers, expected 75 or 54")
        row = _triples(names, flat)
        for key, part in _OPENPOSE_PARTS.items():
            if each.has(key) and (flat := each.key(key).numbers()):
                row |= _triples(part, _counted(flat, 3 * len(part), f"{top.source}: {key}"))
        persons.append(row)
    return persons


def _coco(top: Field, person: int) -> list[_Row]:
    """Return a row for each picture, in the order of their numbers; results, or a file of annotations."""
    frames: dict[float | str, list[tuple[float, _Row]]] = {}
    for each in (top.key("annotations") if top.has("annotations") else top).items():
        if not each.has("keypoints"):
            raise FileFormatError(f"{top.source} is no keypoint file of OpenPose, COCO, COCO-WholeBody or MediaPipe")
        flat = each.key("keypoints").numbers()
        names = _BODIES.get(len(flat) // 3)
        if len(flat) % 3 or names not in (COCO, WHOLEBODY):
            raise FileFormatError(
                f"{top.source}: keypoints has {len(flat)} numbers, expected 51 (COCO) or 399 (COCO-WholeBody)"
            )
        row: _Row = _triples(names, flat)
        for key, part in _WHOLEBODY_PARTS.items():
            if key != "keypoints" and each.has(key):
                row |= _triples(part, _counted(each.key(key).numbers(), 3 * len(part), f"{top.source}: {key}"))
        score = each.key("score").number() if each.has("score") else 1.0
        label = each.key("image_id").label() if each.has("image_id") else 0
        frames.setdefault(label, []).append((score, row))
    ordered = sorted(frames, key=lambda label: (isinstance(label, str), label))
    by_score = [sorted(frames[label], key=lambda found: -found[0]) for label in ordered]
    return [_person([row for _, row in found], person) for found in by_score]


def _mmpose(frame: Field) -> list[_Row]:
    persons: list[_Row] = []
    for each in frame.key("instances").items():
        places, scores = each.key("keypoints").items(), each.key("keypoint_scores").numbers()
        names = _BODIES.get(len(places))
        if names is None or len(scores) != len(places):
            raise FileFormatError(
                f"{frame.source}: {len(places)} keypoints with {len(scores)} scores; 17, 18, 25, 33 or 133 are known"
            )
        flat = [value for place, score in zip(places, scores, strict=True) for value in (*place.numbers()[:2], score)]
        persons.append(_triples(names, _counted(flat, 3 * len(names), f"{frame.source}: keypoints")))
    return persons


def _blazepose(top: Field, person: int, size: tuple[int, int] | None) -> tuple[list[_Row], tuple[int, int] | None]:
    """Return rows in pixels; MediaPipe's places are fractions of the picture."""
    if top.has("image"):
        size = (int(top.key("image").key("width").number()), int(top.key("image").key("height").number()))
    keys = [key for key in ("landmarks", "poseLandmarks", "pose_landmarks") if top.has(key)]
    frames = top.key("frames").items() if top.has("frames") else [top.key(keys[0]) if keys else top]
    rows: list[_Row] = []
    for frame in frames:
        points = frame.items()
        if points and not points[0].has("x"):  # a list for each person
            points = points[person].items() if person < len(points) else []
        if points and len(points) != len(BLAZEPOSE):
            raise FileFormatError(f"{top.source}: a person has {len(points)} landmarks, BlazePose has 33")
        row: _Row = {}
        for name, point in zip(BLAZEPOSE, points, strict=False):
            sure = point.key("visibility").number() if point.has("visibility") else 1.0
            row[name] = (point.key("x").number(), point.key("y").number(), sure)
        rows.append(row)
    largest = max((abs(value) for row in rows for place in row.values() for value in place[:2]), default=0.0)
    if largest > 10:  # pixels already: nobody is ten pictures away
        return rows, size
    if size is None:
        raise FileFormatError(f"{top.source} holds fractions of a picture; say its width and height in pixels")
    width, height = size
    return [{name: (x * width, y * height, sure) for name, (x, y, sure) in row.items()} for row in rows], size


def _counted(values: list[float], count: int, what: str) -> list[float]:
    if len(values) != count:
        raise FileFormatError(f"{what} has {len(values)} numbers, expected {count}")
    return values


def _triples(names: Sequence[str], flat: Sequence[float]) -> _Row:
    return {name: (flat[3 * at], flat[3 * at + 1], flat[3 * at + 2]) for at, name in enumerate(names)}


def _keypoints(rows: list[_Row], source: str, fps: float, size: tuple[int, int] | None) -> Keypoints:
    names = tuple(dict.fromkeys(name for row in rows for name in row))
    if not names:
        raise FileFormatError(f"{source} holds no such person")
    table = torch.tensor([[row.get(name, (0.0, 0.0, 0.0)) for name in names] for row in rows], dtype=torch.float64)
    # COCO's annotations say 0 missing, 1 hidden, 2 seen
    sure = table[..., 2].clamp(min=0.0)
    confidence = sure / 2 if bool((sure == sure.round()).all()) and float(sure.max()) == 2 else sure.clamp(max=1.0)
    return Keypoints(names, table[..., :2], confidence, fps, size)


def write_keypoint_json(path: Path, keypoints: Keypoints, form: KeypointFormat, frame: int = 0) -> None:
    """Write keypoints on a picture as one of the formats; OpenPose's holds one frame, the others all.

    A person's `neck` and `mid_hip`, which only OpenPose has, are written there as the middles of shoulders and hips.

    Raises:
        InputError: they are points in space, or none is one of the format's.
    """
    if keypoints.is_spatial:
        raise InputError("a keypoint .json holds points on a picture, these are in space; write them as .trc or .c3d")
    names = {"openpose": OPENPOSE_25, "coco": COCO, "wholebody": WHOLEBODY, "blazepose": BLAZEPOSE}[form]
    if not {*names} & {*keypoints.names}:
        raise InputError(f"none of the points is one of {form}'s: {', '.join(keypoints.names[:10])}")
    chosen = keypoints.of(names)
    rows = torch.cat((chosen.points, chosen.confidence[..., None]), -1)
    match form:
        case "openpose":
            person = _with_middles(keypoints)
            chosen = person.of(names)
            row = torch.cat((chosen.points, chosen.confidence[..., None]), -1)[frame]
            content: object = {"version": 1.3, "people": [_openpose_person(person, row, frame)]}
        case "coco" | "wholebody":
            content = [
                {"image_id": number, "category_id": 1, "keypoints": row.flatten().tolist(), "score": 1.0}
                for number, row in enumerate(rows)
            ]
        case "blazepose":
            if keypoints.size is None:
                raise InputError("BlazePose's file holds fractions of a picture; say its width and height in pixels")
            width, height = keypoints.size
            content = {
                "image": {"width": width, "height": height},
                "frames": [
                    [{"x": x / width, "y": y / height, "z": 0.0, "visibility": sure} for x, y, sure in row]
                    for row in rows.tolist()
                ],
            }
    write_bytes(path, json.dumps(content).encode())


def _with_middles(keypoints: Keypoints) -> Keypoints:
    """Return the points with OpenPose's own between others, as sure as the less sure of both; missing without them."""
    for name, ends in _MIDDLES.items():
        if name not in keypoints.names and {*ends} <= {*keypoints.names}:
            pair = keypoints.of(ends)
            keypoints = replace(
                keypoints,
                names=(*keypoints.names, name),
                points=torch.cat((keypoints.points, pair.points.mean(1, keepdim=True)), 1),
                confidence=torch.cat((keypoints.confidence, pair.confidence.amin(1, keepdim=True)), 1),
            )
    return keypoints


def _openpose_person(keypoints: Keypoints, row: torch.Tensor, frame: int) -> dict[str, object]:
    person: dict[str, object] = {"person_id": [-1], "pose_keypoints_2d": row.flatten().tolist()}
    for key, names in _OPENPOSE_PARTS.items():
        part = keypoints.of(names)
        flat = torch.cat((part.points[frame], part.confidence[frame][:, None]), -1).flatten().tolist()
        person[key] = flat if {*names} & {*keypoints.names} else []
    return person
