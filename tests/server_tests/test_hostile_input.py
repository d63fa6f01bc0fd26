# SPDX-License-Identifier: Apache-2.0
"""What strangers make: pictures that are none, evidence that makes no sense, names that look like paths.

Against the server as it is shipped. Nothing of it runs code, opens a file, takes the memory or gives a NaN. Longer than
usual: lists of what was thought of, and one test for each list.
"""

import io
import os
import pickle
import random
import struct
import subprocess
import sys
import time
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import PIL.Image
import psutil
import pytest
from server_client import ROOT, SUPPORT, Client, ServerProcess

from blender_addon.core.rig import JOINT_NAMES
from solver_server import protocol
from solver_server.protocol import FrameWriter

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="what is measured is measured on Linux")
OPTIONS = ["--device", "cpu", "--threads", "1"]
MIB = 2**20


class Audited:
    """A server whose opened files are written down."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "audit.log"
        command = [sys.executable, str(SUPPORT / "audited.py"), "server"]
        self.server = ServerProcess(command, OPTIONS, log=folder / "stderr.log", AUDIT_LOG=str(self.log))
        self.client = self.server.client()
        assert self.client.wait_until_ready().problem == ""
        self.worker = psutil.Process(self.client.stats().worker_pid)

    def events(self) -> list[str]:
        return self.log.read_text(encoding="utf-8").splitlines()


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Audited]:
    audited = Audited(tmp_path_factory.mktemp("audited"))
    yield audited
    audited.server.stop()


@pytest.fixture(scope="module")
def client(audited: Audited) -> Client:
    detect(audited.client, picture("JPEG"))  # all that is loaded on first use is loaded now
    return audited.client


def picture(kind: str, mode: str = "RGB", size: tuple[int, int] = (320, 240), **options: Any) -> bytes:
    stream = io.BytesIO()
    gradient = PIL.Image.linear_gradient("L").resize(size)
    (gradient.convert("I") if mode == "I;16" else gradient).convert(mode).save(stream, kind, **options)
    return stream.getvalue()


def detect(client: Client, image: bytes) -> Any:
    writer = FrameWriter()
    return client.ask(protocol.Detect(id=client.next_id(), image=writer.add_blob(image)), writer)


def forget_highest_memory(process: psutil.Process) -> int:
    """Give the present memory; what is the highest is counted from now on."""
    Path(f"/proc/{process.pid}/clear_refs").write_text("5", encoding="ascii")
    return process.memory_info().rss


def highest_memory(process: psutil.Process) -> int:
    status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


# ---- pictures --------------------------------------------------------------------------------------------------------


class Evil:
    """Makes a file when it is unpickled."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return (os.mkdir, (str(MARKER),))


MARKER = ROOT / ".pytest_cache" / f"hostile-{os.getpid()}"


def png(width: int, height: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """Give a PNG that says so much of itself, and has these chunks."""
    header = (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    parts = [header, *chunks, (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in parts
    )
    return b"\x89PNG\r\n\x1a\n" + body


def archive() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        file.writestr(
            "poses.npy", b"\x93NUMPY\x01\x00v\x00" + b"{'descr': '|O', 'fortran_order': False, 'shape': (1,)}"
        )
    return stream.getvalue()


JPEG = picture("JPEG")
ZEROS = zlib.compress(bytes(13000 * 1000), 9)
HOSTILE = {
    "nothing": b"",
    "text": b"this is a text file named .jpg",
    "JPEG cut after its magic": JPEG[:3],
    "JPEG cut in its header": JPEG[:300],
    "JPEG cut in the middle": JPEG[: len(JPEG) // 2],
    "JPEG cut before its end": JPEG[:-200],
    "JPEG that says 65500 x 65500": JPEG.replace(struct.pack(">HH", 240, 320), struct.pack(">HH", 65500, 65500)),
    "PNG with the magic of a JPEG": b"\xff\xd8\xff" + picture("PNG")[3:],
    "PNG cut": picture("PNG")[:-500],
    "PNG of 13000 x 13000": png(13000, 13000, (b"IDAT", ZEROS)),
    "PNG of 2^31 x 2^31": png(2**31 - 1, 2**31 - 1, (b"IDAT", ZEROS)),
    "PNG with text that inflates to 200 MB": png(
        8, 8, (b"zTXt", b"Comment\0\0" + zlib.compress(bytes(200 * 10**6), 9)), (b"IDAT", zlib.compress(bytes(72)))
    ),
    "PNG with a colour profile that inflates to 200 MB": png(
        8, 8, (b"iCCP", b"x\0\0" + zlib.compress(bytes(200 * 10**6), 9)), (b"IDAT", zlib.compress(bytes(10)))
    ),
    "WebP cut": picture("WEBP")[:60],
    "GIF": picture("GIF"),
    "TIFF": picture("TIFF"),
    "EPS with a program": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%touch x) (w) file\nshowpage\n",
    "SVG with a script": b'<svg xmlns="http://www.w3.org/2000/svg"><script>fetch("http://127.0.0.1")</script></svg>',
    "npz with an object": archive(),
    "pickle": pickle.dumps(Evil()),
    "pickle of protocol 0": pickle.dumps(Evil(), protocol=0),
    "BVH of a thousand million frames": b"HIERARCHY\nROOT a\n{\n}\nMOTION\nFrames: 999999999\nFrame Time: 0.03\n",
    "C3D": b"\x02\x50" + bytes(510),
    "ELF program": Path(sys.executable).resolve().read_bytes()[:4096],
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_picture_gives_a_sentence_runs_nothing_and_costs_little(
    audited: Audited, client: Client, name: str
) -> None:
    memory, events = forget_highest_memory(audited.worker), len(audited.events())
    start = time.monotonic()
    reply = detect(client, HOSTILE[name])
    seconds = time.monotonic() - start
    grown = (highest_memory(audited.worker) - memory) / MIB
    print(f"{seconds:.3f} s, +{grown:.0f} MiB")
    small = "inflates" in name  # Pillow leaves such a chunk out, and the picture of 8 x 8 pixels is one
    assert (type(reply) is protocol.Error and reply.code == "bad_image") or small, reply
    assert grown < 100
    assert seconds < 10  # under 0.1 on an idle machine
    assert not MARKER.exists()
    assert audited.events()[events:] == []  # no file, no process, no connection
    assert client.stats().worker_pid == audited.worker.pid


@pytest.mark.parametrize(
    "image",
    [
        pytest.param(picture("JPEG", "CMYK"), id="CMYK"),
        pytest.param(picture("JPEG", "L"), id="grey"),
        pytest.param(picture("PNG", "I;16"), id="16 bit"),
        pytest.param(picture("PNG", "RGBA"), id="transparency"),
        pytest.param(picture("PNG", "P"), id="palette"),
        pytest.param(picture("PNG", "1"), id="1 bit"),
        pytest.param(picture("WEBP"), id="WebP"),
    ],
)
def test_unusual_picture_is_one(client: Client, image: bytes) -> None:
    reply = detect(client, image)
    assert (reply.persons, reply.camera.width, reply.camera.height) == ((), 320, 240)


def test_turned_picture_is_turned_back(client: Client) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    reply = detect(client, picture("JPEG", exif=exif))
    assert (reply.camera.width, reply.camera.height) == (240, 320)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_damaged_pictures_are_read_or_refused_and_never_an_internal_error(
    audited: Audited, client: Client, kind: str
) -> None:
    rng = random.Random(kind)
    original = picture(kind, size=(64, 48))
    codes: set[str] = set()
    for _ in range(60):
        image = bytearray(original)
        for _ in range(rng.randrange(1, 20)):
            image[rng.randrange(len(image))] = rng.randrange(256)
        del image[rng.randrange(len(image), 2 * len(image)) :]
        codes.add(getattr(detect(client, bytes(image)), "code", "ok"))
    assert codes <= {"ok", "bad_image"}
    assert client.stats().worker_pid == audited.worker.pid


# ---- evidence --------------------------------------------------------------------------------------------------------

NAMES = ("L_Hip", "R_Hip", "L_Shoulder", "R_Shoulder", "L_Wrist", "R_Wrist", "nose")
BODY = np.array(
    [[0.1, 1, 0], [-0.1, 1, 0], [0.18, 1.5, 0], [-0.18, 1.5, 0], [0.3, 1.2, 0.3], [-0.6, 1.6, 0.1], [0, 1.7, 0.1]]
)
CAMERA = protocol.CameraSpec(640, 480, 500.0, 500.0, 320.0, 240.0)
PLACED = msgspec.structs.replace(CAMERA, rotation=(1, 0, 0, 0, -1, 0, 0, 0, -1), translation=(0, 1, 3))


def evidence_3d(points: Any, sigma: Any = 0.02, names: tuple[str, ...] = NAMES) -> tuple[protocol.Solve, FrameWriter]:
    writer = FrameWriter()
    sigmas = np.broadcast_to(np.asarray(sigma, float), (len(names),)).copy()
    block = protocol.Keypoints3D(names, writer.add_array(np.asarray(points, float)), writer.add_array(sigmas))
    return protocol.Solve(id=0, evidence=(block,)), writer


def evidence_2d(pixels: Any, sigma: float = 2.0, relative: Any = None) -> tuple[protocol.Solve, FrameWriter]:
    writer = FrameWriter()
    sigmas = writer.add_array(np.full(len(NAMES), sigma))
    blocks: list[Any] = [protocol.Keypoints2D(NAMES, writer.add_array(np.asarray(pixels, float)), sigmas)]
    if relative is not None:
        widths = writer.add_array(np.full((len(NAMES), 3), 0.1))
        blocks.append(protocol.RelativeKeypoints3D(NAMES, writer.add_array(np.asarray(relative, float)), widths))
    return protocol.Solve(id=0, evidence=tuple(blocks), camera=CAMERA), writer


def elsewhere(pixels: Any, camera: protocol.CameraSpec, sigma: float = 2.0) -> tuple[protocol.Solve, FrameWriter]:
    """Give a solve of points on another picture, and of nothing else."""
    writer = FrameWriter()
    sigmas = writer.add_array(np.full(len(NAMES), sigma))
    block = protocol.ViewKeypoints2D(NAMES, writer.add_array(np.asarray(pixels, float)), sigmas, camera)
    return protocol.Solve(id=0, evidence=(block,)), writer


def pinned(points: Any, *names: str, pose: dict[str, Any] | None = None, **fields: Any) -> tuple[Any, FrameWriter]:
    """Give a solve with pins, and with a pose of these arrays to start from."""
    writer = FrameWriter()
    block = protocol.Pins(names, writer.add_array(np.asarray(points, float)))
    if pose is not None:
        arrays = {"transl": np.zeros(3), "local_quat": np.tile([1.0, 0, 0, 0], (24, 1)), "betas": np.zeros(10)} | pose
        spec = protocol.PoseSpec(**{name: writer.add_array(array) for name, array in arrays.items()})
        fields |= {"start": spec, "initial": spec}
    return protocol.Solve(id=0, evidence=(block,), **fields), writer


def turned(quats: Any, *names: str, sigma: float = 0.05) -> tuple[protocol.Solve, FrameWriter]:
    writer = FrameWriter()
    quat = writer.add_array(np.asarray(quats, float))
    block = protocol.Orientations(names, quat, writer.add_array(np.full(len(names), sigma)))
    return protocol.Solve(id=0, evidence=(block,)), writer


HALF_TURN = [0.0, 0.0, 1.0, 0.0]  # about y: exactly where the logarithm of a rotation has no one direction
ALL_JOINTS = tuple(JOINT_NAMES)
LINE = np.linspace(0, 1, 7)[:, None]
EVIDENCE = {
    "one point": evidence_3d([[0, 1.7, 0.1]], names=("nose",)),
    "two points": evidence_3d(BODY[:2], names=NAMES[:2]),
    "all in one place": evidence_3d(np.zeros((7, 3))),
    "all on a line": evidence_3d(LINE * [0, 1, 0]),
    "no confidence at all": evidence_3d(BODY, sigma=1e6),
    "absolute confidence": evidence_3d(BODY, sigma=1e-6),
    "both kinds of confidence": evidence_3d(BODY, sigma=[1e-6, 1e6, 1e-6, 1e6, 1e-6, 1e6, 1e-6]),
    "a giant": evidence_3d(BODY * 1000),
    "a mite": evidence_3d(BODY * 1e-6),
    "far away": evidence_3d(BODY + 1e5),
    "torn apart": evidence_3d(BODY * [[1], [-1], [100], [-100], [1e4], [-1e4], [1e6 / 1.7]]),
    "inside out": evidence_3d(BODY * [-1, -1, 1]),
    "all in one pixel": evidence_2d(np.full((7, 2), 240.0)),
    "all in one pixel, hips in one point": evidence_2d(np.full((7, 2), 240.0), relative=np.zeros((7, 3))),
    "pixels on a line": evidence_2d(LINE * [0, 480.0], relative=LINE * [0, 1, 0]),
    "pixels far outside": evidence_2d(LINE * [1e6, -1e6], relative=BODY),
    "another picture with all in one pixel": elsewhere(np.full((7, 2), 240.0), PLACED, sigma=1e-6),
    "another picture with pixels far outside": elsewhere(LINE * [1e6, -1e6], PLACED),
    "another picture from inside of the body": elsewhere(
        np.full((7, 2), 240.0), msgspec.structs.replace(PLACED, translation=(0, 0, 0))
    ),
    "another picture from the end of the world": elsewhere(
        np.full((7, 2), 240.0), msgspec.structs.replace(PLACED, translation=(1e6, -1e6, 1e6))
    ),
    "another picture from nowhere": elsewhere(np.full((7, 2), 240.0), CAMERA),
    "another picture through a lens that bends all": elsewhere(
        LINE * [640.0, 480.0], msgspec.structs.replace(PLACED, distortion=(-9, 9, 9, 9))
    ),
    "pin out of reach": pinned([[1e6, 0, 0]], "L_Wrist"),
    "pins that tear": pinned([[-1e3, 0, 0], [1e3, 0, 0]], "L_Wrist", "R_Wrist"),
    "pins in one place": pinned(np.zeros((7, 3)), *NAMES),
    "pins on all joints": pinned(np.zeros((24, 3)), *ALL_JOINTS),
    "pin of what may not move": pinned([[0.0, 3.0, 0.0]], "L_Wrist", pose={}, joints=("R_Knee",)),
    "pin of an unknown point": pinned([[0.0, 0.0, 0.0]], "tail"),
    "a part that does not exist": pinned([[0.0, 0.0, 0.0]], "L_Wrist", pose={}, joints=("tail",)),
    "a start at the end of the world": pinned([[0, 1, 0]], "L_Wrist", pose={"transl": np.array([1e6, -1e6, 1e6])}),
    "a start of a giant": pinned([[0, 1, 0]], "L_Wrist", pose={"betas": np.full(10, 1e6)}),
    "a start inside out": pinned([[0, 1, 0]], "L_Wrist", pose={"local_quat": np.tile(HALF_TURN, (24, 1))}),
    "half a turn of one joint": turned([HALF_TURN], "Head"),
    "half a turn of every joint": turned([HALF_TURN] * 24, *ALL_JOINTS, sigma=1e-6),
    "joints turned against each other": turned([HALF_TURN, [1.0, 0, 0, 0]] * 12, *ALL_JOINTS, sigma=1e-6),
    "a turn of an unknown joint": turned([HALF_TURN], "left_wrist"),
}


@pytest.mark.parametrize("name", EVIDENCE)
def test_evidence_without_sense_gives_a_finite_pose_or_a_sentence(audited: Audited, client: Client, name: str) -> None:
    template, writer = EVIDENCE[name]
    request = msgspec.structs.replace(template, id=client.next_id())
    start = time.monotonic()
    client.send(request, writer)
    while True:  # the arrays are wanted, so not `ask`
        assert client.socket.poll(60_000)
        reply, frames = protocol.decode_reply(client.socket.recv_multipart())
        if not isinstance(reply, protocol.Progress):
            break
    seconds = time.monotonic() - start
    assert reply.id == request.id
    if isinstance(reply, protocol.Error):
        assert reply.code == "bad_input", reply
    else:
        assert isinstance(reply, protocol.SolveReply)
        references = (reply.pose.transl, reply.pose.local_quat, reply.pose.betas, reply.joints, reply.point_positions)
        for reference in (*references, reply.point_pixels):
            assert np.isfinite(np.asarray(frames.array(reference))).all(), reference
        assert reply.iterations <= 2000  # 200 of one solve, which pins repeat with growing weights
        print(f"{reply.status}, {reply.iterations} iterations, {seconds:.2f} s")
    assert seconds < 30
    assert client.stats().worker_pid == audited.worker.pid


@pytest.mark.parametrize("kind", [protocol.Inspect, protocol.Alternatives])
@pytest.mark.parametrize("name", EVIDENCE)
def test_question_about_evidence_without_sense_gives_finite_numbers_or_a_sentence(
    audited: Audited, client: Client, name: str, kind: Any
) -> None:
    template, writer = EVIDENCE[name]
    fields = {field: getattr(template, field) for field in kind.__struct_fields__ if hasattr(template, field)}
    fields["camera"] = PLACED if template.camera is not None or kind is protocol.Alternatives else None
    limb = {"limb": "left_arm"} if kind is protocol.Alternatives else {}
    start = time.monotonic()
    reply = client.ask(kind(**{**fields, **limb, "id": client.next_id()}), writer)
    seconds = time.monotonic() - start
    # a result that is not finite never leaves the worker: it would be an internal error
    assert getattr(reply, "code", "ok") in ("ok", "bad_input"), reply
    print(f"{getattr(reply, 'message', 'ok')}, {seconds:.2f} s")
    assert seconds < 30
    assert client.stats().worker_pid == audited.worker.pid


ON_PICTURES = tuple(name for name, (template, _) in EVIDENCE.items() if not template.joints and not template.start)


@pytest.mark.parametrize("same", ["pose", "person"])
@pytest.mark.parametrize("name", ON_PICTURES)
def test_pictures_without_sense_give_finite_numbers_or_a_sentence(
    audited: Audited, client: Client, name: str, same: Any
) -> None:
    template, writer = EVIDENCE[name]
    camera = CAMERA if template.camera is not None else PLACED
    view = protocol.ViewSpec(template.evidence, camera)
    start = time.monotonic()
    reply = client.ask(protocol.SolveViews(client.next_id(), (view,) * 3, same), writer)
    seconds = time.monotonic() - start
    assert getattr(reply, "code", "ok") in ("ok", "bad_input"), reply
    print(f"{getattr(reply, 'message', 'ok')}, {seconds:.2f} s")
    assert seconds < 60
    assert client.stats().worker_pid == audited.worker.pid


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_number_that_is_not_finite_is_refused(client: Client, number: float) -> None:
    points = BODY.copy()
    points[3, 1] = number
    template, writer = evidence_3d(points)
    assert client.ask(protocol.Solve(client.next_id(), template.evidence), writer).code == "bad_input"


# ---- paths -----------------------------------------------------------------------------------------------------------

PATHS = (
    "../../etc/passwd",
    "/etc/passwd",
    "/dev/zero",
    "\\\\host\\share",
    "file:///etc/passwd",
    "x\0y",
    "|id",
    "~/.ssh/id",
)


@pytest.mark.parametrize("path", PATHS)
def test_text_that_looks_like_a_path_opens_nothing(audited: Audited, client: Client, path: str) -> None:
    events = len(audited.events())
    client.ask(protocol.Hello(client.next_id(), protocol.PROTOCOL_VERSION, client=path, build=path))
    assert client.ask(protocol.Solve(client.next_id(), (), body=path)).code == "bad_input"
    template, writer = evidence_3d([[0, 1.7, 0.1]], names=(path,))
    assert client.ask(protocol.Solve(client.next_id(), template.evidence), writer).code == "bad_input"
    assert detect(client, path.encode()).code == "bad_image"
    assert audited.events()[events:] == []


def test_what_is_opened_is_written_down(audited: Audited) -> None:
    """The control: the files that the worker has read at its start are there."""
    assert any(event.startswith("worker open") and ".safetensors" in event for event in audited.events())
    assert any(event.startswith("server subprocess.Popen") for event in audited.events())


# ---- memory ----------------------------------------------------------------------------------------------------------


def test_work_that_needs_more_memory_than_it_may_have_is_refused_and_the_next_request_works() -> None:
    large = picture("JPEG", "L", size=(8000, 5000))  # 120 MB as RGB
    with ServerProcess([sys.executable, "-m", "solver_server"], [*OPTIONS, "--memory", "100"]) as server:
        client = server.client()
        assert client.wait_until_ready().problem == ""
        assert detect(client, large).code == "out_of_memory"
        template, writer = evidence_3d(BODY)
        reply = client.ask(protocol.Solve(client.next_id(), template.evidence), writer)
        assert isinstance(reply, protocol.SolveReply), reply
        assert client.stats().worker_restarts == 0


@pytest.mark.parametrize("allocate", ["torch.zeros(10**9)", "bytearray(4 * 10**9)", "numpy.zeros(10**9).fill(1)"])
def test_failing_allocation_is_recognised(allocate: str) -> None:
    code = f"""
import numpy, torch
from solver_server.memory import is_out_of_memory, limit_memory
limit_memory(200 * 2**20)
try:
    {allocate}
except Exception as error:
    print(is_out_of_memory(error), is_out_of_memory(RuntimeError("size mismatch")))
"""
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, timeout=100)
    assert result.stdout.split() == ["True", "False"], result.stderr
