# SPDX-License-Identifier: Apache-2.0
"""The bytes of every message are what they were when the protocol was published."""

import json
from typing import Any, get_args

import protocol_cases
import pytest

from solver_server import protocol

CASES = protocol_cases.cases()
FILES = sorted(protocol_cases.GOLDEN.glob("*.json"))


def read(name: str) -> tuple[Any, list[bytes]]:
    content = json.loads((protocol_cases.GOLDEN / f"{name}.json").read_text(encoding="utf-8"))
    return content, [bytes.fromhex(frame) for frame in content["frames"]]


@pytest.mark.parametrize("name", CASES)
def test_golden_bytes_decode_to_the_object(name: str) -> None:
    message = CASES[name].message
    reader = protocol.decode_request if protocol_cases.is_request(message) else protocol.decode_reply
    assert reader(read(name)[1])[0] == message


@pytest.mark.parametrize("name", CASES)
def test_object_encodes_to_the_golden_bytes(name: str) -> None:
    case = CASES[name]
    assert protocol.encode(case.message, case.frames) == read(name)[1]


@pytest.mark.parametrize("name", CASES)
def test_golden_text_shows_the_golden_bytes(name: str) -> None:
    # through JSON, because a tuple of the object is a list in the file
    assert json.loads(json.dumps(protocol_cases.golden_content(CASES[name]))) == read(name)[0]


def test_every_message_has_a_golden_file_and_every_file_a_message() -> None:
    messages = {*get_args(protocol.Request), *get_args(protocol.Reply)}
    assert {type(case.message) for case in CASES.values()} == messages
    assert [path.stem for path in FILES] == sorted(CASES)
