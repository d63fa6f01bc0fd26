# SPDX-License-Identifier: Apache-2.0
"""Files of strangers for every reader of the library; run as a program, it reads them all and prints what happened.

hostile_files.py FOLDER        one JSON line for each reader and file: name, error, seconds of the processor, MiB
"""

import io
import json
import os
import pickle
import resource
import struct
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

MIB = 2**20
HUGE = 10**9


class Evil:
    """Makes a file named `marker` where somebody unpickles it."""

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, ("touch marker",)


def npy(shape: tuple[int, ...], dtype: str, content: bytes = b"") -> bytes:
    """Give an array file whose header says what it likes."""
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + content


def npz(**members: bytes) -> bytes:
    """Give an archive, packed."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return file.getvalue()


def every_key(content: bytes) -> bytes:
    """Give an archive in which all that the readers ask for is the same array."""
    names = ("poses", "trans", "betas", "gender", "mocap_framerate", "bodyPose", "frameCount", "frameRate")
    names += ("bodyTranslation", "shapeParameters", "codecVersion", "smplVersion")
    return npz(**dict.fromkeys((*names, "v_template", "J_regressor", "weights", "shapedirs", "kintree_table"), content))


def laughs() -> bytes:
    """Give a pickle of few bytes whose lists, written out, have 2**40 items."""
    lines = b"\x80\x02]q\x00K\x01a"
    for level in range(40):
        lines += b"]q" + bytes([level + 1]) + b"h" + bytes([level]) + b"ah" + bytes([level]) + b"a"
    return lines + b"."


def torch_zip(content: bytes) -> bytes:
    """Give an archive as torch.save makes it, with another pickle."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/version", "3\n")
    return file.getvalue()


def bvh(joints: str, frames: object, line: str = "0 0 0 0 0 0") -> bytes:
    """Give a motion with a hierarchy and a number of frames that may be a lie."""
    return f"HIERARCHY\nROOT a\n{{\n{joints}}}\nMOTION\nFrames: {frames}\nFrame Time: 0.03\n{line}\n".encode()


def c3d(markers: int, frames: int) -> bytes:
    """Give a header that announces much, and nothing after it."""
    header = struct.pack("<BBHHHHHfHHf", 2, 0x50, markers, 0, 1, frames, 10, -1.0, 3, 0, 100.0)
    return header.ljust(512, b"\0") + bytes([1, 80, 1, 84]).ljust(512, b"\0")


def files() -> dict[str, bytes]:
    """Give the files by name."""
    channels = "OFFSET 0 0 0\nCHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation\n"
    deep = "".join(f"JOINT j{number} {{ OFFSET 0 0 0\n" for number in range(30_000)) + "}" * 30_000
    evil = pickle.dumps({"poses": Evil(), "state_dict": Evil(), "v_template": Evil()})
    tensor = json.dumps({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}).encode()
    head = "PathFileType\t4\t(X/Y/Z)\tx.trc\nDataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits\tOrigDataRate\n"
    return {
        "nothing": b"",
        "noise": np.random.default_rng(0).bytes(100_000),
        "zeros": bytes(4 * MIB),
        "large array": every_key(npy((HUGE, 3), "<f8")),
        "overflowing array": every_key(npy((2**40, 2**40), "<f8")),
        "negative array": every_key(npy((-1, 3), "<f8")),
        "large header": every_key(b"\x93NUMPY\x02\x00\xff\xff\xff\x7f{"),
        "packed gigabyte": every_key(npy((2**27,), "<f8", bytes(64 * MIB))),
        "object array": every_key(npy((1,), "|O", evil)),
        "text array": every_key(npy((1,), f"<U{2**28}")),
        "evil pickle": evil,
        "laughs": laughs(),
        "long bytes": b"\x80\x04\x8e" + struct.pack("<Q", 2**60) + b"x.",
        "far memo": b"\x80\x02K\x01r\xff\xff\xff\x7f.",
        "deep pickle": b"(" * 200_000 + b"t" * 200_000 + b".",
        "long number": b"\x80\x02\x8b" + struct.pack("<i", 2**20) + b"\x7f" * 2**20 + b".",
        "evil torch file": torch_zip(evil),
        "large tensor": struct.pack("<Q", len(tensor)) + tensor,
        "long tensor header": struct.pack("<Q", 2**60) + b"{}",
        "many frames": bvh(channels, 999_999_999),
        "no number of frames": bvh(channels, "1e400"),
        "not a number": bvh(channels, 1, "nan inf 0 0 0 0"),
        "deep joints": bvh(channels + deep, 1),
        "endless line": bvh(channels, 1, "0 " * 2_000_000),
        "large c3d": c3d(65_535, 65_535),
        "large trc": f"{head}100\t100\t{HUGE}\t{HUGE}\tm\t100\nFrame#\tTime\tA\n\t\tX1\n1\t0\t0\n".encode(),
        "deep json": b"[" * 200_000,
        "deep json object": b'{"people":' * 100_000,
        "long json number": b'{"people": [{"pose_keypoints_2d": [' + b"9" * 1_000_000 + b"]}]}",
        "infinite json": b'{"people": [{"pose_keypoints_2d": [1e999, NaN, Infinity' + b", 0" * 72 + b"]}]}",
        "large manifest": b"x = [" + b"[" * 100_000,
    }


def readers() -> Iterator[tuple[str, str, Callable[[Path], object]]]:
    """Give every reader with the end that its files have."""
    from ikol import exchange
    from ikol.body.smpl_file import load_smpl_body
    from ikol.regressor.manifest.manifest import read_manifest
    from ikol.regressor.networks.checkpoint import read_tensors

    yield "amass", ".npz", exchange.read_amass
    yield "points", ".npz", exchange.read_points
    yield "smpl codec", ".smpl", exchange.read_smpl_codec
    yield "hybrik", ".pk", exchange.read_hybrik
    yield "bvh", ".bvh", exchange.read_bvh
    yield "c3d", ".c3d", exchange.read_c3d
    yield "trc", ".trc", exchange.read_trc
    yield "keypoint json", ".json", exchange.read_keypoint_json
    yield "body npz", ".npz", load_smpl_body
    yield "body pkl", ".pkl", load_smpl_body
    yield "weights safetensors", ".safetensors", read_tensors
    yield "weights torch", ".pth", read_tensors
    yield "manifest", ".toml", read_manifest


def main() -> None:
    from ikol.errors import IkolError

    folder = Path(sys.argv[1])
    os.chdir(folder)
    for reader, suffix, read in readers():
        for name, content in files().items():
            path = folder / f"{name}{suffix}"
            path.write_bytes(content)
            start, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            try:
                read(path)
                error = ""
            except IkolError as raised:
                error = f"IkolError {len(str(raised))}"
            except Exception as raised:
                error = repr(raised)[:200]
            grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
            path.unlink()
            print(json.dumps([reader, name, error, time.process_time() - start, grown]), flush=True)


if __name__ == "__main__":
    main()
