# SPDX-License-Identifier: Apache-2.0
"""BVH: a hierarchy of joints with offsets, and Euler angles over frames, as text.

A joint's rotation is relative to its parent and to the rest pose, whose axes are the world's: as in SMPL. Y is up.
Imports: numpy, torch, ikol.body, ikol.exchange.{files, motion}.
"""

import io
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ikol.body.joint_tree import JointTree
from ikol.errors import FileFormatError, InputError
from ikol.exchange.files import read_text, write_bytes
from ikol.exchange.motion import MAX_FRAMES, MAX_VALUES, Motion
from ikol.geometry.rotations import rotvec_to_rotmat

MAX_FILE_BYTES: Final = 256 << 20
MAX_HEAD_CHARACTERS: Final = 4 << 20  # of the hierarchy: a thousand joints have a tenth of it
MAX_JOINTS: Final = 1000
MAX_DEPTH: Final = 200
END_LENGTH: Final = 0.05  # metres; a joint without children needs an end to be drawn
_HEIGHTS: Final = ((0.4, 4.0, 1.0), (40.0, 400.0, 0.01), (400.0, 4000.0, 0.001))  # of a person in m, cm, mm; to metres
_AXES: Final = {"X": 0, "Y": 1, "Z": 2}
_POSITIONS: Final = {f"{axis}position": index for axis, index in _AXES.items()}
_ROTATIONS: Final = {f"{axis}rotation": index for axis, index in _AXES.items()}


@dataclass(frozen=True, eq=False)
class Rig:
    """A hierarchy with its rest pose, and what moves it."""

    tree: JointTree
    rest_joints: Float[Tensor, "joints 3"]
    """Metres."""
    motion: Motion


@dataclass
class _Hierarchy:
    names: list[str] = field(default_factory=list[str])
    parents: list[int] = field(default_factory=list[int])
    offsets: list[tuple[float, ...]] = field(default_factory=list[tuple[float, ...]])
    channels: list[list[str]] = field(default_factory=list[list[str]])


def read_bvh(path: Path, scale: float | None = None) -> Rig:
    """Return the hierarchy and the motion of a file.

    Args:
        path: the file.
        scale: metres of one unit; None to see from the skeleton's size whether it is m, cm or mm.

    Raises:
        FileFormatError: it cannot be read, is too large or too deep, or moves its joints apart.
    """
    text = read_text(path, MAX_FILE_BYTES)
    head, is_found, tail = text.partition("MOTION")
    if not is_found:
        raise FileFormatError(f"{path.name} has no MOTION; it is not a BVH file, or it is truncated")
    if len(head) > MAX_HEAD_CHARACTERS:
        raise FileFormatError(f"{path.name} has a hierarchy of {len(head)} characters, which is too long")
    hierarchy = _hierarchy(iter(head.split()), path.name)
    tree = JointTree(tuple(hierarchy.names), tuple(hierarchy.parents))
    values, frame_time = _motion(tail, sum(map(len, hierarchy.channels)), path.name)
    if len(values) * 3 * tree.num_joints > MAX_VALUES:  # joints without channels cost the file nothing, but memory here
        raise FileFormatError(f"{path.name} has {len(values)} frames of {tree.num_joints} joints, which is too much")
    rest = torch.tensor(hierarchy.offsets, dtype=torch.float64)
    for joint, parent in enumerate(hierarchy.parents):
        if parent >= 0:
            rest[joint] += rest[parent]
    size = float((rest.amax(0) - rest.amin(0)).max())
    if scale is None:
        scale = next((metres for least, most, metres in _HEIGHTS if least <= size < most), None)
    if scale is None:
        raise FileFormatError(f"{path.name}: the skeleton is {size:.3g} units large; say how many metres a unit is")
    rotmat, positions = _posed(hierarchy, values, path.name, size)
    motion = Motion(
        joint_names=tree.names,
        local_rotmat=rotmat,
        transl=scale * (positions - rest[0]),
        betas=torch.zeros(1, 0, dtype=torch.float64),
        fps=1 / frame_time,
    )
    return Rig(tree, scale * rest, motion)


def _hierarchy(tokens: Iterator[str], source: str) -> _Hierarchy:
    """Return the joints in the file's order, parents first; ends are left out."""
    found = _Hierarchy()
    path: list[int] = []  # of open joints; -1 for an end
    kind = None
    try:
        if next(tokens) != "HIERARCHY":
            raise FileFormatError(f"{source} does not begin with HIERARCHY; it is not a BVH file")
        for token in tokens:
            match token:
                case "ROOT" | "JOINT":
                    if (token == "ROOT") == bool(found.names) or (token == "JOINT" and not path):
                        raise FileFormatError(f"{source} has a {token} where none may be; one hierarchy is read")
                    kind = _name(next(tokens), found, source)
                case "End":
                    next(tokens)
                    kind = ""
                case "{":
                    _open(kind, path, found, source)
                    kind = None
                case "}":
                    path.pop()
                case "OFFSET":
                    offset = tuple(_number(next(tokens), source) for _ in range(3))
                    if path[-1] >= 0:
                        found.offsets[path[-1]] = offset
                case "CHANNELS":
                    count = int(next(tokens))
                    if not 0 <= count <= 6:
                        raise FileFormatError(f"{source}: a joint has {count} channels, expected 6 at most")
                    found.channels[path[-1]] = [_channel(next(tokens), source) for _ in range(count)]
                case _:
                    raise FileFormatError(f"{source}: {token[:40]!r} is not expected in a hierarchy")
    except (StopIteration, IndexError, ValueError) as error:
        if isinstance(error, FileFormatError):
            raise
        raise FileFormatError(f"{source}: the hierarchy is damaged or truncated") from error
    if path or not found.names:
        raise FileFormatError(f"{source}: the hierarchy is truncated")
    return found


def _name(text: str, found: _Hierarchy, source: str) -> str:
    """Return a joint's name; one that is there twice is numbered."""
    if len(found.names) >= MAX_JOINTS:
        raise FileFormatError(f"{source} has more than {MAX_JOINTS} joints")
    name = text.rpartition(":")[2][:100] or "joint"
    return name if name not in found.names else f"{name}.{len(found.names)}"


def _open(kind: str | None, path: list[int], found: _Hierarchy, source: str) -> None:
    if kind is None:
        raise FileFormatError(f"{source}: a bracket opens without a joint")
    if len(path) >= MAX_DEPTH:
        raise FileFormatError(f"{source} nests joints more than {MAX_DEPTH} deep")
    if not kind:
        path.append(-1)
        return
    found.parents.append(path[-1] if path else -1)
    found.names.append(kind)
    found.offsets.append((0.0, 0.0, 0.0))
    found.channels.append([])
    path.append(len(found.names) - 1)


def _channel(text: str, source: str) -> str:
    if text not in _POSITIONS and text not in _ROTATIONS:
        raise FileFormatError(f"{source}: {text[:40]!r} is no channel")
    return text


def _number(text: str, source: str) -> float:
    value = float(text)
    if not math.isfinite(value) or abs(value) > 1e9:
        raise FileFormatError(f"{source} holds the number {text[:40]}")
    return value


def _motion(text: str, width: int, source: str) -> tuple[np.ndarray, float]:
    """Return the numbers (F, width), and the time of a frame in seconds."""
    lines = io.StringIO(text)
    found: dict[str, str] = {}
    for line in lines:
        key, _, value = line.partition(":")
        if value:
            found[key.strip()] = value.strip()
        if len(found) == 2:
            break
    try:
        frames, frame_time = int(found["Frames"]), _number(found["Frame Time"], source)
    except (KeyError, ValueError) as error:
        raise FileFormatError(f"{source} does not say how many frames it has, and their time") from error
    if not 0 < frames <= MAX_FRAMES or frames * width > MAX_VALUES or not frame_time > 0:
        raise FileFormatError(f"{source} announces {frames} frames of {width} numbers, {frame_time} seconds each")
    rows: list[np.ndarray] = []
    for line in lines:
        if line.strip():
            rows.append(_row(line, width, source))
            if len(rows) > frames:
                break
    if len(rows) != frames:
        raise FileFormatError(f"{source} announces {frames} frames and holds {len(rows)}; it may be truncated")
    values = np.stack(rows)
    if not np.isfinite(values).all():
        raise FileFormatError(f"{source} holds infinite or undefined numbers")
    return values, frame_time


def _row(line: str, width: int, source: str) -> np.ndarray:
    cells = line.split(maxsplit=width)  # a line may be as long as the file
    if len(cells) != width:
        got = f"{len(cells)} numbers" if len(cells) < width else f"more than {width} numbers"
        raise FileFormatError(f"{source}: a frame has {got}, its joints have {width} channels")
    try:
        return np.array([float(cell) for cell in cells])
    except ValueError as error:
        raise FileFormatError(f"{source}: a frame is not made of numbers: {str(error)[:80]}") from error


def _posed(found: _Hierarchy, values: np.ndarray, source: str, size: float) -> tuple[Tensor, Tensor]:
    """Return the rotations (F, J, 3, 3) and the root's places (F, 3), in the file's units."""
    rotmat = torch.eye(3, dtype=torch.float64).repeat(len(values), len(found.names), 1, 1)
    root = torch.tensor(found.offsets[0], dtype=torch.float64).repeat(len(values), 1)
    numbers, column = torch.from_numpy(values), 0
    for joint, channels in enumerate(found.channels):
        for channel in channels:
            row = numbers[:, column]
            column += 1
            if channel in _ROTATIONS:
                rotvec = torch.zeros(len(values), 3, dtype=torch.float64)
                rotvec[:, _ROTATIONS[channel]] = torch.deg2rad(row)
                rotmat[:, joint] = rotmat[:, joint] @ rotvec_to_rotmat(rotvec)
            elif joint == 0:
                root[:, _POSITIONS[channel]] = row
            elif float((row - found.offsets[joint][_POSITIONS[channel]]).abs().max()) > 0.01 * size:
                raise FileFormatError(
                    f"{source}: {found.names[joint]} moves away from its parent; export it with rotations only"
                )
    return rotmat, root


def write_bvh(path: Path, rig: Rig) -> None:
    """Write a hierarchy and its motion, in metres, Y up; angles in degrees, to a millionth.

    Raises:
        InputError: a name holds spaces or brackets.
    """
    tree, motion = rig.tree, rig.motion.on(rig.tree)
    bad = [name for name in tree.names if not name or any(sign.isspace() or sign in "{}" for sign in name)]
    if bad:
        raise InputError(f"a joint of a BVH file cannot be called {bad[0]!r}; names have no spaces and no brackets")
    lines: list[str] = ["HIERARCHY"]
    order: list[int] = []
    _write_joint(rig, 0, 0, lines, order)
    lines += ["MOTION", f"Frames: {motion.num_frames}", f"Frame Time: {1 / motion.fps:.9g}"]
    degrees = torch.rad2deg(_euler_zxy(motion.local_rotmat[:, order])).flatten(1)
    rows = torch.cat((motion.transl + rig.rest_joints[0], degrees), 1).tolist()
    lines += [" ".join(f"{value:.6f}" for value in row) for row in rows]
    write_bytes(path, ("\n".join(lines) + "\n").encode())


def _write_joint(rig: Rig, joint: int, depth: int, lines: list[str], order: list[int]) -> None:
    """Add a joint and what hangs on it; `order` is how a file goes through the tree."""
    tree, indent = rig.tree, "\t" * depth
    order.append(joint)
    parent = tree.parents[joint]
    offset = rig.rest_joints[joint] - (rig.rest_joints[parent] if parent >= 0 else 0)
    lines += [
        f"{indent}{'ROOT' if parent < 0 else 'JOINT'} {tree.names[joint]}",
        f"{indent}{{",
        f"{indent}\tOFFSET {_triple(offset)}",
        f"{indent}\tCHANNELS "
        + ("6 Xposition Yposition Zposition" if parent < 0 else "3")
        + " Zrotation Xrotation Yrotation",
    ]
    for child in tree.children[joint]:
        _write_joint(rig, child, depth + 1, lines, order)
    if not tree.children[joint]:
        length = float(offset.norm())
        end = offset * (END_LENGTH / length) if length > 1e-6 else torch.tensor([0.0, END_LENGTH, 0.0])
        lines += [f"{indent}\tEnd Site", f"{indent}\t{{", f"{indent}\t\tOFFSET {_triple(end)}", f"{indent}\t}}"]
    lines.append(f"{indent}}}")


def _triple(vector: Tensor) -> str:
    return " ".join(f"{value:.6f}" for value in vector.tolist())


def _euler_zxy(rotmat: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3"]:
    """Return the angles of Rz(a) Rx(b) Ry(c), radians. Where b is a quarter turn only a and c together count: c = 0."""
    sine = rotmat[..., 2, 1]
    cosine = torch.hypot(rotmat[..., 0, 1], rotmat[..., 1, 1])
    is_locked = cosine < 1e-7
    first = torch.where(
        is_locked,
        torch.atan2(rotmat[..., 1, 0], rotmat[..., 0, 0]),
        torch.atan2(-rotmat[..., 0, 1], rotmat[..., 1, 1]),
    )
    last = torch.where(is_locked, torch.zeros_like(sine), torch.atan2(-rotmat[..., 2, 0], rotmat[..., 2, 2]))
    return torch.stack((first, torch.atan2(sine, cosine), last), -1)
