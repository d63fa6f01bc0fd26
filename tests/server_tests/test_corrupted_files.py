# SPDX-License-Identifier: Apache-2.0
"""Networks that are not the shipped ones are refused before anything of them is used, and the sentence says so."""

import io
import os
import pickle
import random
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import safetensors.torch
import torch
from server_client import SUPPORT, ServerProcess

from ikol.errors import FileFormatError
from ikol.regressor import weights
from solver_server import protocol

NAME = "blazepose_detector"
SHIPPED = Path(str(weights._DATA))  # pyright: ignore[reportPrivateUsage]
SERVER = [sys.executable, str(SUPPORT / "broken_weights_server.py")]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    for name in ("manifest.json", f"{NAME}.safetensors"):
        shutil.copy(SHIPPED / name, folder)
    return folder


@pytest.fixture
def file(copy: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A network that a test may harm, in place of the shipped one; reading tensors from it is a fault."""
    path = copy / f"{NAME}.safetensors"
    monkeypatch.setattr(weights, "_DATA", copy)

    def never(data: bytes) -> Any:
        raise AssertionError("what was not checked is read")

    monkeypatch.setattr(safetensors.torch, "load", never)
    yield path
    shutil.copy(SHIPPED / path.name, path)


def test_shipped_file_is_accepted(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "_DATA", copy)
    assert weights.load_network(NAME).tensors


@pytest.mark.parametrize("share", [0.0, 1e-6, 0.01, 0.5, 0.999999])
def test_truncated_file_is_refused(file: Path, share: float) -> None:
    os.truncate(file, int(file.stat().st_size * share))
    with pytest.raises(FileFormatError, match="has SHA-256 .*, expected .*; install the package again"):
        weights.load_network(NAME)


def test_every_flipped_bit_is_refused(file: Path) -> None:
    """Of 300, safetensors itself notices none (measured on another file): other weights, and no error."""
    rng = random.Random(0)
    refused = 0
    with file.open("r+b") as stream:
        for _ in range(300):
            at, bit = rng.randrange(file.stat().st_size), 1 << rng.randrange(8)
            stream.seek(at)
            original = stream.read(1)[0]
            _write(stream, at, original ^ bit)
            try:
                weights.load_network(NAME)
            except FileFormatError:
                refused += 1
            _write(stream, at, original)
    assert refused == 300


def _write(stream: Any, at: int, byte: int) -> None:
    stream.seek(at)
    stream.write(bytes([byte]))
    stream.flush()


class Evil:
    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return (os.mkdir, ("hostile-checkpoint",))


def pickled(path: Path) -> None:
    path.write_bytes(pickle.dumps(Evil()))


def torch_file(path: Path) -> None:
    stream = io.BytesIO()
    torch.save({"weight": torch.zeros(3)}, stream)
    path.write_bytes(stream.getvalue())


def other_shape(path: Path) -> None:
    path.write_bytes(safetensors.torch.save({"weight": torch.zeros(3)}, {"graph": "{}"}))


def missing(path: Path) -> None:
    path.unlink()


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("harm", [pickled, torch_file, other_shape, missing, folder])
def test_other_file_is_refused_and_runs_nothing(file: Path, harm: Callable[[Path], None]) -> None:
    harm(file)
    try:
        with pytest.raises(FileFormatError, match="install the package again"):
            weights.load_network(NAME)
    finally:
        if file.is_dir():
            file.rmdir()
    assert not Path("hostile-checkpoint").exists()


def picture() -> bytes:
    stream = io.BytesIO()
    PIL.Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(stream, "JPEG")
    return stream.getvalue()


@pytest.mark.parametrize("name", ["blazepose_heavy", "mediapipe_hand"])
def test_server_with_a_damaged_network_says_so_and_does_not_try_again(tmp_path: Path, name: str) -> None:
    for path in SHIPPED.iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / f"{name}.safetensors").unlink()
    (tmp_path / f"{name}.safetensors").write_bytes(b"damaged")
    with ServerProcess(SERVER, ["--device", "cpu", "--threads", "1"], WEIGHTS=str(tmp_path)) as server:
        client = server.client()
        problem = client.wait_until_ready().problem
        assert f"{name}.safetensors has SHA-256" in problem
        assert "install the package again" in problem
        assert client.receive_for(client.detect("x")).code == "start_failed"
        assert client.stats().worker_restarts == 0


def test_damaged_second_network_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    for path in SHIPPED.iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "blazepose_full.safetensors").unlink()
    (tmp_path / "blazepose_full.safetensors").write_bytes(b"damaged")
    with ServerProcess(SERVER, ["--device", "cpu", "--threads", "1"], WEIGHTS=str(tmp_path)) as server:
        client = server.client()
        assert client.wait_until_ready().problem == ""
        codes: list[str] = []
        models: tuple[Any, ...] = ("full", "heavy")
        for model in models:
            writer = protocol.FrameWriter()
            image = writer.add_blob(picture())
            reply = client.ask(protocol.Detect(client.next_id(), image, model=model), writer)
            codes.append(getattr(reply, "code", "ok"))
        assert codes == ["bad_input", "ok"]
