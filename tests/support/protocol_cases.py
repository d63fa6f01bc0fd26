# SPDX-License-Identifier: Apache-2.0
"""One object for every message of the wire, and its golden file: for the tests and scripts/make_protocol_golden.py."""

import random
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from solver_server import protocol
from solver_server.protocol import FrameWriter

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "protocol"
JPEG_START = b"\xff\xd8\xff\xe0 not really a picture"


class Case(NamedTuple):
    """A message with the frames that it refers to."""

    message: Any
    frames: FrameWriter


def floats(*shape: int, start: float = 0.0, kind: str = "f") -> memoryview:
    """Give an array with the values start, start + 0.5, start + 1, ..., all exact in float32."""
    size = 1
    for dimension in shape:
        size *= dimension
    values = array(kind, [start + 0.5 * i for i in range(size)])
    return memoryview(values).cast("B").cast(kind, shape=list(shape))


def camera(is_placed: bool = True) -> protocol.CameraSpec:
    """Give a camera three metres in front of the body."""
    return protocol.CameraSpec(
        width=1080,
        height=1920,
        focal_x=1500.0,
        focal_y=1500.0,
        center_x=540.0,
        center_y=960.0,
        rotation=(1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, -1.0) if is_placed else None,
        translation=(0.0, 1.0, 3.0) if is_placed else None,
        focal_source="exif",
        distortion=(-0.25, 0.0625, 0.001953125, -0.0009765625),
    )


def pose(frames: FrameWriter) -> protocol.PoseSpec:
    """Give a pose of two joints."""
    return protocol.PoseSpec(
        transl=frames.add_array(floats(3, kind="d")),
        local_quat=frames.add_array(floats(2, 4, start=1.0, kind="d")),
        betas=frames.add_array(floats(10)),
    )


def evidence(frames: FrameWriter) -> tuple[protocol.Evidence, ...]:
    """Give one block of every kind."""
    names = ("nose", "L_Hip")
    add = frames.add_array
    return (
        protocol.Keypoints2D(names, add(floats(2, 2, start=100.0)), add(floats(2, start=2.0))),
        protocol.Keypoints3D(names, add(floats(2, 3)), add(floats(2, start=0.5))),
        protocol.RelativeKeypoints3D(names, add(floats(2, 3, start=-1.0)), add(floats(2, 3, start=0.5))),
        protocol.Anchor(add(floats(2, 4, start=1.0)), add(floats(2, start=0.5))),
        protocol.Twist(("L_Elbow",), add(floats(1, start=0.25)), add(floats(1, start=0.5))),
        protocol.Shape("default body", add(floats(2)), add(floats(2, start=0.5))),
        protocol.Pins(names, add(floats(2, 3, start=1.0))),
        protocol.Orientations(("Head",), add(floats(1, 4, start=1.0)), add(floats(1, start=0.5))),
        protocol.ViewKeypoints2D(names, add(floats(2, 2, start=200.0)), add(floats(2, start=1.0)), camera()),
    )


def tree(frames: FrameWriter) -> protocol.TreeSpec:
    """Give a rig of two joints with a point on the second, whose turns are limited."""
    add = frames.add_array
    return protocol.TreeSpec(
        names=("hips", "spine"),
        parents=(-1, 0),
        rest_joints=add(floats(2, 3)),
        point_names=("top",),
        point_joints=(1,),
        point_rest=add(floats(1, 3, start=2.0)),
        limits=protocol.LimitsSpec((1,), add(floats(1, 3, 3)), add(floats(1, 4)), add(floats(1, 2))),
    )


def _plain(message: Any) -> Callable[[FrameWriter], Any]:
    return lambda frames: message


def _person(frames: FrameWriter) -> protocol.Person:
    return protocol.Person(
        score=0.75,
        box=(10.5, 20.0, 300.0, 900.25),
        evidence=evidence(frames),
        confidence={"nose": 1.0, "L_Hip": 0.25},
        doubts=("small", "cut_off"),
    )


def _problem(frames: FrameWriter) -> dict[str, Any]:
    """Give what the three requests that solve have in common, nothing left at its default."""
    return {
        "evidence": evidence(frames),
        "camera": camera(),
        "initial": pose(frames),
        "solve_shape": False,
        "timeout_seconds": 2.5,
        "start": pose(frames),
        "joints": ("L_Hip", "L_Knee"),
        "all_betas": True,
    }


def _solve_views(frames: FrameWriter) -> protocol.SolveViews:
    return protocol.SolveViews(
        id=12,
        views=tuple(protocol.ViewSpec(evidence(frames), camera(is_placed)) for is_placed in (True, False)),
        same="person",
        betas=frames.add_array(floats(10)),
        timeout_seconds=2.5,
    )


def _solve_views_reply(frames: FrameWriter) -> protocol.SolveViewsReply:
    return protocol.SolveViewsReply(
        id=12,
        solutions=(_solve_reply(frames), _solve_reply(frames)),
        point_names=("L_Hip", "nose"),
        point_positions=frames.add_array(floats(2, 3, start=1.0, kind="d")),
        point_sigma=frames.add_array(floats(2, start=0.5, kind="d")),
        seconds=0.5,
        doubts=("disagreeing",),
    )


def _solve_reply(frames: FrameWriter) -> protocol.SolveReply:
    return protocol.SolveReply(
        id=8,
        pose=pose(frames),
        camera=None,
        joints=frames.add_array(floats(2, 3, kind="d")),
        point_names=("nose", "left_ear"),
        point_positions=frames.add_array(floats(2, 3, start=1.0, kind="d")),
        point_pixels=protocol.ArrayRef("<f8", (0, 2), frames.add_blob(b"").frame),
        status="converged",
        iterations=12,
        cost=3.5,
        reprojection_px_median=-1.0,
        seconds=0.125,
        unreached={"left_wrist": 0.25},
    )


def _inspect_reply(frames: FrameWriter) -> protocol.InspectReply:
    return protocol.InspectReply(
        id=10,
        joint_covariance=frames.add_array(floats(2, 3, 3, kind="d")),
        rows=(
            protocol.EvidenceRow("keypoints_2d", "nose", 12.5, "px", 0.75),
            protocol.EvidenceRow("stay", "L_Hip", 0.125, "m", 0.0),
        ),
        pulls=frames.add_array(floats(2, 2, 3)),
        next_points=("left_wrist",),
        next_gains=frames.add_array(floats(1, start=0.5)),
        seconds=0.25,
    )


def _alternatives_reply(frames: FrameWriter) -> protocol.AlternativesReply:
    return protocol.AlternativesReply(
        id=11,
        poses=(pose(frames), pose(frames)),
        costs=(1.5, 2.5),
        reprojection_px=(3.0, -1.0),
        joints=frames.add_array(floats(2, 2, 3, kind="d")),
        seconds=0.5,
    )


def cases() -> dict[str, Case]:
    """Give one case for every message, by the name of its golden file."""
    makers: dict[str, Callable[[FrameWriter], Any]] = {
        "hello": _plain(protocol.Hello(id=0, protocol=(1, 1), client="ikol-blender", build="0.1.0")),
        "ping": _plain(protocol.Ping(id=1)),
        "detect": lambda frames: protocol.Detect(
            id=2,
            image=frames.add_blob(JPEG_START),
            model="full",
            max_persons=3,
            boxes=((1.0, 2.0, 30.5, 40.0),),
            rotation_deg=-90.0,
            focal_px=1500.0,
            timeout_seconds=60.0,
            thorough=True,
            shape=True,
        ),
        "solve": lambda frames: protocol.Solve(id=8, **_problem(frames)),
        "solve_tree": lambda frames: protocol.Solve(id=9, evidence=evidence(frames)[1:2], tree=tree(frames)),
        "solve_minimal": lambda frames: protocol.Solve(id=9, evidence=()),
        "solve_views": _solve_views,
        "inspect": lambda frames: protocol.Inspect(id=10, **_problem(frames)),
        "alternatives": lambda frames: protocol.Alternatives(id=11, limb="left_arm", **_problem(frames)),
        "cancel": _plain(protocol.Cancel(id=3, target=2)),
        "stats": _plain(protocol.Stats(id=4)),
        "shutdown": _plain(protocol.Shutdown(id=2**63 - 1)),
        "hello_reply": _plain(
            protocol.HelloReply(id=0, protocol=(1, 1), server="ikol 0.1.0", session="6f1e", device="cpu")
        ),
        "pong": _plain(protocol.Pong(id=1, ready=True, busy=False, queued=2, device="cpu", problem="")),
        "progress": _plain(protocol.Progress(id=2, fraction=0.5, text="landmarks of person 1 of 2")),
        "detect_reply": lambda frames: protocol.DetectReply(
            id=2, camera=camera(is_placed=False), persons=(_person(frames),), seconds=0.25
        ),
        "solve_reply": _solve_reply,
        "solve_views_reply": _solve_views_reply,
        "inspect_reply": _inspect_reply,
        "alternatives_reply": _alternatives_reply,
        "cancel_reply": _plain(protocol.CancelReply(id=3, found=True)),
        "stats_reply": _plain(
            protocol.StatsReply(
                id=4,
                uptime_seconds=12.5,
                counts={"ping": 7, "error.busy": 1},
                device="cpu",
                worker_pid=4242,
                worker_restarts=0,
                clients=1,
                queued=2,
                queued_bytes=4096,
                memory_bytes=52428800,
                worker_memory_bytes=734003200,
                latencies={"solve": protocol.Latency(count=3, p50=0.0625, p90=0.125, p99=0.25, max=0.25)},
                versions={"python": "3.11.7"},
            )
        ),
        "shutdown_reply": _plain(protocol.ShutdownReply(id=2**63 - 1)),
        "error": _plain(protocol.Error(id=None, code="bad_frame", message="the header is not one msgpack map")),
    }
    result: dict[str, Case] = {}
    for name, make in makers.items():
        frames = FrameWriter()
        result[name] = Case(make(frames), frames)
    return result


def is_request(message: object) -> bool:
    """Tell requests from replies."""
    return isinstance(message, protocol.Request)


def encoded(name: str) -> list[bytes]:
    """Give the frames of a case."""
    case = cases()[name]
    return protocol.encode(case.message, case.frames)


def damaged(rng: random.Random, parts: list[bytes]) -> list[bytes]:
    """Damage a message: flip, insert, delete bytes; drop, double, swap frames."""
    parts = list(parts)
    for _ in range(rng.randrange(1, 5)):
        index = rng.randrange(len(parts))
        part = bytearray(parts[index])
        at = rng.randrange(len(part) + 1)
        match rng.randrange(6):
            case 0 if part:
                part[at % len(part)] = rng.randrange(256)
            case 1:
                part[at:at] = rng.randbytes(rng.randrange(9))
            case 2:
                del part[at : at + rng.randrange(8)]
            case 3 if len(parts) > 1:
                parts.pop(rng.randrange(1, len(parts)))
                continue
            case 4:
                parts.append(bytes(part))
                continue
            case _:
                other = rng.randrange(len(parts))
                parts[index], parts[other] = parts[other], parts[index]
                continue
        parts[index] = bytes(part)
    return parts


def golden_content(case: Case) -> dict[str, Any]:
    """Give what the golden file holds: the header as JSON for the reader, and every frame as hexadecimal text."""
    parts = protocol.encode(case.message, case.frames)
    return {"message": msgspec.to_builtins(case.message), "frames": [part.hex() for part in parts]}
