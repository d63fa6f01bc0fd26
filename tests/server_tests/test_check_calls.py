# SPDX-License-Identifier: Apache-2.0
"""The check for forbidden calls finds them, and finds none in this project."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CHECK = [sys.executable, str(ROOT / "scripts" / "check_calls.py")]

FORBIDDEN = {
    "import pickle": "unpickler",
    "import os, pickle as harmless": "unpickler",
    "def f():\n    from pickle import loads": "unpickler",
    "import torch.utils, joblib.parallel": "unpickler",
    "message = socket.recv_pyobj()": "unpickler",
    "eval(text)": "runs text",
    "import builtins\nbuiltins.exec(text)": "runs text",
    "module = __import__(name)": "runs text",
    "np.load(path, allow_pickle=True)": "allow_pickle",
    "np.load(path, allow_pickle=flag)": "allow_pickle",
    "np.load(path, None, True)": "allow_pickle",
    'options = {"allow_pickle": True}': "allow_pickle",
    "import importlib\nimportlib.import_module('pickle')": "unpickler",
    "frame = pandas.read_pickle(path)": "unpickler",
    "document = yaml.unsafe_load(text)": "unpickler",
    "from builtins import eval as judge": "runs text",
    "torch.load(path)": "weights_only",
    "from torch import load": "weights_only",
    "torch.load(path, **dict(weights_only=flag))": "weights_only",
    "torch.load(path, weights_only=False)": "weights_only",
    "subprocess.run(line, shell=True)": "shell",
    "os.system(line)": "shell",
    "from os import popen": "shell",
    "await_ = asyncio.create_subprocess_shell(line)": "shell",
    "subprocess.Popen(line, shell=is_windows)": "shell",
    'options = {"shell": True}': "shell",
    'listener.bind(("", 80))': "all interfaces",
    'listener.bind(("::", 80))': "all interfaces",
    'socket.bind(("0.0.0.0", 80))': "all interfaces",
    'socket.bind(f"tcp://*:{port}")': "all interfaces",
}
HARMLESS = '''
"""Nothing here uses pickle, eval( or 0.0.0.0."""
# exec(text) and shell=True in a comment
import re
PATTERN = re.compile("eval")
np.load(path, allow_pickle=False)
torch.load(path, weights_only=True)
listener.bind(("127.0.0.1", 0))
import_module("zlib")
from torch import nn
subprocess.run(["ls"], shell=False)
network.eval()
socket.bind("tcp://127.0.0.1:*")
'''


def check(folder: Path, source: str) -> "subprocess.CompletedProcess[str]":
    file = folder / "code.py"
    file.write_text(source, encoding="utf-8")
    return subprocess.run([*CHECK, str(file)], capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("source", FORBIDDEN)
def test_forbidden_call_is_found_with_its_place(tmp_path: Path, source: str) -> None:
    result = check(tmp_path, source)
    assert result.returncode == 1
    line = 1 + source.count("\n")
    assert f"code.py:{line}: {FORBIDDEN[source]}" in result.stdout


def test_what_only_looks_like_it_is_not_found(tmp_path: Path) -> None:
    result = check(tmp_path, HARMLESS)
    assert (result.returncode, result.stdout) == (0, "no forbidden calls\n")


def test_project_has_none() -> None:
    result = subprocess.run(CHECK, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 0, result.stdout
