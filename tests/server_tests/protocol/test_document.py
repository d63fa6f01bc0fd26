# SPDX-License-Identifier: Apache-2.0
"""docs/protocol.md says what the code does: version, messages, fields, limits, error codes."""

import re
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from solver_server import protocol

TEXT = (Path(__file__).resolve().parents[3] / "docs" / "protocol.md").read_text(encoding="utf-8")
MESSAGES = {
    message.__struct_config__.tag: message for message in (*get_args(protocol.Request), *get_args(protocol.Reply))
}
EVIDENCE = {block.__struct_config__.tag: block for block in get_args(protocol.Evidence)}
PARTS = {
    part.__name__: part
    for part in (
        protocol.CameraSpec,
        protocol.ViewSpec,
        protocol.PoseSpec,
        protocol.TreeSpec,
        protocol.LimitsSpec,
        protocol.Person,
        protocol.EvidenceRow,
        protocol.Latency,
    )
}


def sections() -> dict[str, str]:
    """Give the text below every `### \\`name\\` (kind)` heading, by name and kind."""
    pieces = re.split(r"^##+ ", TEXT, flags=re.MULTILINE)
    return {piece.splitlines()[0]: piece for piece in pieces}


def rows(text: str) -> list[list[str]]:
    """Give the cells of the rows whose first cell is code."""
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def documented_fields(heading: str) -> list[tuple[str, str]]:
    return [(cells[0].strip("`"), cells[2].strip("`")) for cells in rows(sections()[heading])]


def coded_fields(struct: Any) -> list[tuple[str, str]]:
    def default(field: msgspec.structs.FieldInfo) -> str:
        if field.default_factory is not msgspec.NODEFAULT:
            return repr(field.default_factory())
        if field.default is msgspec.NODEFAULT:
            return ""
        return f'"{field.default}"' if isinstance(field.default, str) else repr(field.default)

    return [(field.name, default(field)) for field in msgspec.structs.fields(struct)]


def heading_of(name: str) -> str:
    if name in PARTS:
        return f"`{name}`"
    if name in EVIDENCE:
        return f"`{name}` (evidence)"
    return f"`{name}` ({'request' if issubclass(MESSAGES[name], protocol.Request) else 'reply'})"


def test_version_is_the_one_of_the_code() -> None:
    match = re.search(r"^Protocol version: \*\*(\d+)\.(\d+)\*\*$", TEXT, flags=re.MULTILINE)
    assert match is not None
    assert (int(match[1]), int(match[2])) == protocol.PROTOCOL_VERSION


def test_every_message_and_part_has_its_section_and_no_other_has() -> None:
    documented = {heading for heading in sections() if heading.startswith("`")}
    assert documented == {heading_of(name) for name in (*MESSAGES, *EVIDENCE, *PARTS)}


@pytest.mark.parametrize("name", [*MESSAGES, *EVIDENCE, *PARTS])
def test_fields_and_their_defaults_are_those_of_the_code(name: str) -> None:
    assert documented_fields(heading_of(name)) == coded_fields({**MESSAGES, **EVIDENCE, **PARTS}[name])


def test_error_codes_and_meanings_are_those_of_the_code() -> None:
    documented = {cells[0].strip("`"): cells[1] for cells in rows(sections()["Error codes"])}
    assert documented == protocol.ERROR_CODES


@pytest.mark.parametrize(
    ("limit", "value"),
    [
        ("extra frames of a message", protocol.MAX_FRAMES),
        ("bytes of a header", protocol.MAX_HEADER_BYTES),
        ("bytes of a frame", protocol.MAX_FRAME_BYTES),
        ("bytes of a message", protocol.MAX_MESSAGE_BYTES),
    ],
)
def test_limits_are_those_of_the_code(limit: str, value: int) -> None:
    assert f"| {limit} | {value} |" in TEXT
