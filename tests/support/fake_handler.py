# SPDX-License-Identifier: Apache-2.0
"""What computes in the server's tests: no torch, and a request says how it wants to be treated.

The command is the picture of `detect` or the body of the others: "work SECONDS", "hang SECONDS", "spin SECONDS",
"crash", "fault", "print", "bad_image", "big MIB" (solve only), anything else is answered at once.
"""

import ctypes
import os
import time
from collections.abc import Callable

import protocol_cases

from ikol.errors import Cancelled
from solver_server import protocol


class FakeHandler:
    """Obeys the command in a request."""

    device = "fake"
    models = ("bright",)

    def handle(
        self, request: protocol.Work, frames: protocol.Frames, progress: Callable[[float, str], None]
    ) -> tuple[protocol.Result | protocol.Error, protocol.FrameWriter]:
        text = (
            frames.blob(request.image).decode("utf-8", "replace")
            if isinstance(request, protocol.Detect)
            else request.body
        )
        writer = protocol.FrameWriter()
        try:
            self._obey(text, progress)
        except Cancelled as error:
            return protocol.Error(id=request.id, code="cancelled", message=str(error)), writer
        if text == "bad_image":
            return protocol.Error(id=request.id, code="bad_image", message="this is no picture"), writer
        if isinstance(request, protocol.Detect):
            return protocol.DetectReply(request.id, protocol_cases.camera(is_placed=False), (), 0.5), writer
        if isinstance(request, protocol.Inspect):
            covariance, pulls = (writer.add_array(protocol_cases.floats(*shape)) for shape in ((2, 3, 3), (1, 2, 3)))
            rows, gains = (protocol.EvidenceRow("stay", "nose", 0.5, "m", 1.5),), protocol_cases.floats(1)
            gain = writer.add_array(gains)
            return protocol.InspectReply(request.id, covariance, rows, pulls, ("nose",), gain, 0.0), writer
        if isinstance(request, protocol.Alternatives):
            poses, joints = (protocol_cases.pose(writer),), writer.add_array(protocol_cases.floats(1, 2, 3))
            return protocol.AlternativesReply(request.id, poses, (1.5,), (-1.0,), joints, 0.0), writer
        reply = protocol.SolveReply(
            id=request.id,
            pose=protocol_cases.pose(writer),
            camera=None,
            joints=writer.add_array(_joints(text)),
            point_names=(),
            point_positions=writer.add_array(protocol_cases.floats(1, 3)),
            point_pixels=writer.add_array(protocol_cases.floats(1, 2)),
            status="converged",
            iterations=1,
            cost=0.0,
            reprojection_px_median=-1.0,
            seconds=0.0,
        )
        return reply, writer

    def _obey(self, text: str, progress: Callable[[float, str], None]) -> None:
        command, _, argument = text.partition(" ")
        match command:
            case "work":
                end = time.monotonic() + float(argument)
                while (remaining := end - time.monotonic()) > 0:
                    progress(1 - remaining / float(argument), "working")
                    time.sleep(0.005)
            case "hang":
                time.sleep(float(argument))
            case "spin":  # as native code that holds the interpreter's lock
                ctypes.PyDLL(None).sleep(int(argument))
            case "crash":
                os._exit(7)
            case "fault":
                raise RuntimeError("a secret of the source code")
            case "print":
                os.write(1, b"a library prints to descriptor 1")
                print("and to sys.stdout", flush=True)
            case _:
                progress(0.0, "start")


def _joints(text: str) -> memoryview:
    """Give an array that is as large as "big MIB" wants it, else a small one."""
    command, _, size = text.partition(" ")
    if command != "big":
        return protocol_cases.floats(2, 3)
    return memoryview(bytes(int(size) * 2**20)).cast("B", shape=[int(size) * 16, 65536])


def make_handler(device: str, threads: int) -> FakeHandler:
    """Make the fake; the environment says how the start goes."""
    match os.environ.get("FAKE_START", "").split():
        case ["slow", seconds]:
            time.sleep(float(seconds))
        case ["fail"]:
            raise ImportError("No module named 'torch'")
        case ["crash"]:
            os._exit(9)
        case _:
            pass
    return FakeHandler()
