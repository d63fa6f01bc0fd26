# SPDX-License-Identifier: Apache-2.0
"""A solver process for the add-on's tests: speaks the protocol, computes nothing, and misbehaves when asked to.

It finds the default body in a fixed pose on every picture that Pillow can open. What it receives is written to the file
named by IKOL_FAKE_LOG, one JSON object a line. IKOL_FAKE_PERSONS: how many persons. IKOL_FAKE_MODE: one of MODES.
"""

import io
import json
import os
import sys
import threading
import time
from pathlib import Path

import msgspec
import numpy as np
import zmq
from numpy_body import PosedBody, pose_body, random_quats
from PIL import Image, UnidentifiedImageError

from solver_server import protocol as wire

MODES = (
    "",
    "exit_at_start",  # ends before it has said anything
    "missing_module",  # ends as Python does when a module is missing
    "refuse",  # says that it cannot run
    "chatter",  # prints something else than a handshake
    "mute",  # starts, but never answers
    "old_version",  # answers hello with unsupported_version
    "crash_on_detect",  # ends while it computes
    "slow",  # takes IKOL_FAKE_SECONDS for each request, tells its progress, can be cancelled
    "forget_hello",  # wants a second hello, as after a reconnect
    "fail_second",  # cannot solve the second person
    "nan",  # answers with numbers that are not finite
    "problem",  # its worker cannot start
    "doubtful",  # is not sure of any person
    "wander",  # answers otherwise each time, as a search does that ends elsewhere
)

TRANSL = (0.0, 1.05, 0.0)
BETAS = (0.5, -0.5, 0.25, 0, 0, 0, 0, 0, 0, 1.0)
POSE_SEED = 7


def fixed_camera(width: int, height: int) -> wire.CameraSpec:
    """Give a camera four metres in front of the person, turned and off its centre, so that no axis can be mistaken."""
    position = np.array([1.0, 1.6, 4.0])
    forward = np.array([0.0, 0.9, 0.0]) - position
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [0.0, 1.0, 0.0])
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    focal = 1.1 * max(width, height)
    return wire.CameraSpec(
        width,
        height,
        focal,
        focal,
        0.5 * width + 12.0,
        0.5 * height - 20.0,
        tuple(rotation.ravel().tolist()),
        tuple((-rotation @ position).tolist()),
        "default",
    )


def turned_camera(camera: wire.CameraSpec, angle: float) -> wire.CameraSpec:
    """Give the camera after a walk around the person by an angle (radians about the vertical)."""
    c, s = np.cos(angle), np.sin(angle)
    turn = np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])
    rotation = np.array(camera.rotation).reshape(3, 3) @ turn.T
    return msgspec.structs.replace(camera, rotation=tuple(rotation.ravel().tolist()))


def project(camera: wire.CameraSpec, points: np.ndarray) -> np.ndarray:
    """Give the pixels of world points, by the text book."""
    seen = points @ np.array(camera.rotation).reshape(3, 3).T + np.array(camera.translation)
    focal, center = (camera.focal_x, camera.focal_y), (camera.center_x, camera.center_y)
    return seen[:, :2] / seen[:, 2:] * focal + center


NO_TORCH = "torch could not be loaded"


class FakeSolver:
    """Answers requests on one ROUTER socket until its stdin ends."""

    def __init__(self, client_key: str) -> None:
        self.mode = os.environ.get("IKOL_FAKE_MODE", "")
        self.seconds = float(os.environ.get("IKOL_FAKE_SECONDS", "0.2"))
        self.log = os.environ.get("IKOL_FAKE_LOG")
        self.num_persons = int(os.environ.get("IKOL_FAKE_PERSONS", "1"))
        self.hellos = self.solves = 0
        context = zmq.Context()
        self.socket = context.socket(zmq.ROUTER)
        public, secret = zmq.curve_keypair()
        self.socket.curve_secretkey, self.socket.curve_publickey, self.socket.curve_server = secret, public, True
        port = self.socket.bind_to_random_port("tcp://127.0.0.1")
        assert len(client_key) == 40
        say({"port": port, "server_key": public.decode(), "pid": os.getpid(), "protocol": [1, 0], "session": "fake"})

    def run(self) -> None:
        """Answer for ever."""
        while True:
            identity, *parts = self.socket.recv_multipart()
            if self.mode == "mute":
                continue
            request, frames = wire.decode_request(parts)
            self.note(request, frames)
            for reply, writer in self.answer(identity, request, frames):
                self.socket.send_multipart([identity, *wire.encode(reply, writer)])

    def note(self, request, frames) -> None:
        """Write a request down, arrays as lists."""
        if not self.log:
            return
        arrays = {}
        collect(msgspec.to_builtins(request), frames, arrays, "")
        entry = {"kind": type(request).__name__, "request": msgspec.to_builtins(request), "arrays": arrays}
        with Path(self.log).open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

    def answer(self, identity, request, frames):
        """Give the replies to a request."""
        match request:
            case wire.Hello():
                self.hellos += 1
                if self.mode == "old_version":
                    yield (
                        wire.Error(request.id, "unsupported_version", "protocol 1.0 cannot talk to protocol 2.0"),
                        None,
                    )
                else:
                    yield wire.HelloReply(request.id, wire.PROTOCOL_VERSION, "fake", "fake", "auto"), None
            case wire.Ping():
                problem = NO_TORCH if self.mode == "problem" else ""
                yield wire.Pong(request.id, not problem, False, 0, device="cpu", problem=problem), None
            case wire.Detect() | wire.Problem() | wire.SolveViews():
                if self.mode == "problem":
                    yield wire.Error(request.id, "start_failed", NO_TORCH), None
                    return
                if self.mode == "forget_hello" and self.hellos < 2:
                    yield wire.Error(request.id, "hello_required", "the first message must be hello"), None
                    return
                if self.mode == "slow" and not (yield from self.work(identity, request.id)):
                    return
                match request:
                    case wire.Detect():
                        yield from self.detect(request, frames)
                    case wire.SolveViews():
                        yield self.solve_views(request, frames)
                    case wire.Inspect():
                        yield self.inspect(request)
                    case wire.Alternatives():
                        yield self.alternatives(request, frames)
                    case _:
                        yield from self.solve(request, frames)
            case wire.Cancel():
                yield wire.CancelReply(request.id, False), None
            case wire.Stats():
                yield (
                    wire.StatsReply(request.id, 3725.0, {}, "cpu", os.getpid(), worker_restarts=0, memory_bytes=2**26),
                    None,
                )

    def work(self, identity, request_id):
        """Take some time; return whether it was not cancelled."""
        begin = time.monotonic()
        while (elapsed := time.monotonic() - begin) < self.seconds:
            progress = wire.Progress(request_id, elapsed / self.seconds, "Thinking")
            self.socket.send_multipart([identity, *wire.encode(progress)])
            if self.socket.poll(20):
                identity, *parts = self.socket.recv_multipart()
                request, frames = wire.decode_request(parts)
                self.note(request, frames)
                if isinstance(request, wire.Cancel) and request.target == request_id:
                    yield wire.Error(request_id, "cancelled", "given up"), None
                    yield wire.CancelReply(request.id, True), None
                    return False
                if isinstance(request, wire.Ping):
                    yield wire.Pong(request.id, True, True, 0, device="cpu"), None
        return True

    def detect(self, request, frames):
        """Find the fixed persons."""
        if self.mode == "crash_on_detect":
            os._exit(3)
        try:
            with Image.open(io.BytesIO(frames.blob(request.image))) as image:
                width, height = image.size
                if image.getexif().get(0x0112, 1) >= 5:
                    width, height = height, width
        except (UnidentifiedImageError, OSError):
            yield wire.Error(request.id, "bad_image", "the picture cannot be read: it is cut off or damaged"), None
            return
        placed = fixed_camera(width, height)
        camera = msgspec.structs.replace(placed, rotation=None, translation=None)
        body = pose_body(TRANSL, random_quats(POSE_SEED), BETAS)
        writer = wire.FrameWriter()
        persons = tuple(self.person(rank, body, placed, writer) for rank in range(self.num_persons))
        yield wire.DetectReply(request.id, camera, persons[: request.max_persons], 0.1), writer

    def person(self, rank, body: PosedBody, camera, writer):
        """Give what the picture says of a person."""
        names = tuple(body.landmarks)
        points = np.stack([body.landmarks[name] for name in names])
        hips = 0.5 * (body.landmarks["left_hip"] + body.landmarks["right_hip"])
        relative = (points - hips) @ np.array(camera.rotation).reshape(3, 3).T
        evidence = (
            wire.Keypoints2D(names, add(writer, project(camera, points)), add(writer, np.full(len(names), 4.0))),
            wire.RelativeKeypoints3D(names, add(writer, relative), add(writer, np.full((len(names), 3), 0.1))),
        )
        confidence = {name: 0.9 if "left" in name else 0.3 for name in names}
        doubts = ("small", "swapped") if self.mode == "doubtful" else ()
        box = (1.0 + 10.0 * rank, 2.0, 9.0 + 10.0 * rank, 40.0)
        return wire.Person(0.9 - 0.1 * rank, box, evidence, confidence, doubts)

    def solve(self, request, frames):
        """Give the fixed pose; from a given start, that start with the head nodding a little."""
        self.solves += 1
        if self.mode == "fail_second" and self.solves == 2:
            yield wire.Error(request.id, "bad_input", "the keypoints contradict each other"), None
            return
        transl, quats, betas = np.array(TRANSL), random_quats(POSE_SEED), np.array(BETAS, float)
        if request.initial is not None:
            transl, quats, betas = (np.array(frames.array(ref)) for ref in msgspec.structs.astuple(request.initial))
            angle = 0.1 * (self.solves if self.mode == "wander" else 1)
            nod = np.array([np.cos(angle), np.sin(angle), 0, 0])
            quats[15] = multiply(quats[15], nod)
        camera = request.camera
        if camera is not None and camera.rotation is None:
            camera = fixed_camera(camera.width, camera.height)
        elif camera is not None and request.initial is None:
            transl = transl + np.array([1.2 * (self.solves - 1), 0.0, 0.0])
        body = pose_body(transl, quats, betas)
        other = wire.Anchor | wire.Twist | wire.Orientations
        blocks = [block for block in request.evidence if not isinstance(block, other)]
        names = dict.fromkeys(name for block in blocks for name in block.names)
        joints = dict(zip(JOINTS, body.joints, strict=True))
        points = np.array([body.landmarks.get(name, joints.get(name)) for name in names]).reshape(-1, 3)
        if self.mode == "nan":
            points = points * np.nan
        pixels = project(camera, points) if camera is not None else np.zeros((0, 2))
        writer = wire.FrameWriter()
        yield (
            wire.SolveReply(
                request.id,
                wire.PoseSpec(add(writer, transl), add(writer, quats), add(writer, betas)),
                camera,
                add(writer, body.joints),
                tuple(names),
                add(writer, points),
                add(writer, pixels),
                "converged",
                9,
                1.5,
                2.5 if camera is not None else -1.0,
                0.01,
            ),
            writer,
        )

    def solve_views(self, request, frames):
        """Give the fixed pose for each picture, sure to 2 cm, seen by its camera.

        One without a place goes around the person.
        """
        betas = np.array(BETAS, float) if request.betas is None else np.array(frames.array(request.betas))
        body = pose_body(TRANSL, random_quats(POSE_SEED), betas)
        writer = wire.FrameWriter()
        joints = dict(zip(JOINTS, body.joints, strict=True))
        places = {**joints, **body.landmarks}
        solutions = []
        for number, view in enumerate(request.views):
            camera = view.camera
            if camera.rotation is None:
                camera = turned_camera(fixed_camera(camera.width, camera.height), 0.5 * number)
            names = tuple(view.evidence[0].names)
            points = np.stack([places[name] for name in names])
            pose = wire.PoseSpec(add(writer, TRANSL), add(writer, random_quats(POSE_SEED)), add(writer, betas))
            seen = add(writer, body.joints), names, add(writer, points), add(writer, project(camera, points))
            solutions.append(wire.SolveReply(request.id, pose, camera, *seen, "converged", 9, 1.5, 2.5, 0.01))
        points = tuple(places) if request.same == "pose" else ()
        spots = np.array([places[name] for name in points]).reshape(-1, 3)
        sure = add(writer, spots), add(writer, np.full(len(points), 0.02))
        doubts = ("disagreeing",) if self.mode == "doubtful" else ()
        return wire.SolveViewsReply(request.id, tuple(solutions), points, *sure, 0.02, doubts), writer

    def inspect(self, request):
        """Be the surer of a joint the earlier it comes; each keypoint pulls the head up by its own millimetres."""
        writer = wire.FrameWriter()
        names = [
            (block.__struct_config__.tag, name) for block in request.evidence for name in getattr(block, "names", ())
        ]
        rows = tuple(wire.EvidenceRow(kind, name, 1.0 + k, "px", 0.5) for k, (kind, name) in enumerate(names))
        pulls = np.zeros((len(rows), len(JOINTS), 3))
        pulls[:, JOINTS.index("Head"), 1] = 1e-3 * np.arange(1, len(rows) + 1)
        axes = np.diag([1.0, 1.0, 9.0])  # depth is three times as unsure
        covariance = 1e-4 * np.arange(1, len(JOINTS) + 1)[:, None, None] * axes
        gains = add(writer, [0.25, 0.125])
        places = add(writer, covariance), add(writer, pulls)
        return wire.InspectReply(request.id, places[0], rows, places[1], ("left_wrist", "nose"), gains, 0.01), writer

    def alternatives(self, request, frames):
        """Give three poses: where it starts, and with the limb bent at its middle forwards and backwards."""
        writer = wire.FrameWriter()
        transl, quats, betas = np.array(TRANSL), random_quats(POSE_SEED), np.array(BETAS, float)
        if request.initial is not None:
            transl, quats, betas = (np.array(frames.array(ref)) for ref in msgspec.structs.astuple(request.initial))
        poses, joints = [], []
        for angle in (0.0, 0.5, -0.5):
            bent = quats.copy()
            middle = JOINTS.index(MIDDLES[request.limb])
            bent[middle] = multiply(bent[middle], np.array([np.cos(angle / 2), np.sin(angle / 2), 0, 0]))
            poses.append(wire.PoseSpec(add(writer, transl), add(writer, bent), add(writer, betas)))
            joints.append(pose_body(transl, bent, betas).joints)
        found = tuple(poses), (1.0, 1.5, 2.0), (3.0, 3.5, 4.0)
        return wire.AlternativesReply(request.id, *found, add(writer, np.stack(joints)), 0.01), writer


MIDDLES = {"left_arm": "L_Elbow", "right_arm": "R_Elbow", "left_leg": "L_Knee", "right_leg": "R_Knee", "head": "Neck",
           "torso": "Spine2"}  # fmt: skip

JOINTS = (
    "Pelvis", "L_Hip", "R_Hip", "Spine1", "L_Knee", "R_Knee", "Spine2", "L_Ankle", "R_Ankle", "Spine3", "L_Foot",
    "R_Foot", "Neck", "L_Collar", "R_Collar", "Head", "L_Shoulder", "R_Shoulder", "L_Elbow", "R_Elbow", "L_Wrist",
    "R_Wrist", "L_Hand", "R_Hand",
)  # fmt: skip


def multiply(a, b):
    """Give the product of two quaternions, wxyz."""
    w1, x1, y1, z1 = a
    w2, x2, y2, z2 = b
    return np.array([
        w1 * w2 - x1 * x2 - y1 * y2 - z1 * z2,
        w1 * x2 + x1 * w2 + y1 * z2 - z1 * y2,
        w1 * y2 - x1 * z2 + y1 * w2 + z1 * x2,
        w1 * z2 + x1 * y2 - y1 * x2 + z1 * w2,
    ])  # fmt: skip


def add(writer: wire.FrameWriter, array) -> wire.ArrayRef:
    """Put an array into the message."""
    return writer.add_array(np.ascontiguousarray(array, dtype=np.float32).data)


def collect(value, frames, arrays, path) -> None:
    """Gather the arrays of a request under their place in it."""
    if isinstance(value, dict) and set(value) == {"dtype", "shape", "frame"}:
        reference = wire.ArrayRef(value["dtype"], tuple(value["shape"]), value["frame"])
        arrays[path] = np.asarray(frames.array(reference)).tolist()
    elif isinstance(value, dict):
        for key, inner in value.items():
            collect(inner, frames, arrays, f"{path}.{key}" if path else key)
    elif isinstance(value, (list, tuple)):
        for index, inner in enumerate(value):
            collect(inner, frames, arrays, f"{path}.{index}")


def say(message) -> None:
    """Write one line for the add-on."""
    print(json.dumps(message), flush=True)


def end_with_stdin() -> None:
    """Exit when the add-on is gone."""
    sys.stdin.buffer.read()
    os._exit(0)


def main() -> int:
    mode = os.environ.get("IKOL_FAKE_MODE", "")
    assert mode in MODES
    print("fake solver", sys.argv[1:], file=sys.stderr, flush=True)
    if mode == "exit_at_start":
        return 5
    if mode == "missing_module":
        print("/x/python: No module named solver_server", file=sys.stderr)
        return 1
    hello = json.loads(sys.stdin.buffer.readline())
    if mode == "refuse":
        say({"error": {"code": "start_failed", "message": "the socket could not be made"}})
        return 2
    if mode == "chatter":
        say("hello, I am another program")
    threading.Thread(target=end_with_stdin, daemon=True).start()
    FakeSolver(hello["client_key"]).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
