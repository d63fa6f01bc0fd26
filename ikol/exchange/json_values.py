# SPDX-License-Identifier: Apache-2.0
"""JSON of strangers: each value is asked for by what it must be, and says where it is when it is not. Stdlib only."""

import json
from dataclasses import dataclass
from typing import Final, cast

from ikol.errors import FileFormatError

MAX_NUMBER: Final = 1e9  # pixels or metres; larger ones are damage


def parse_json(text: str, source: str) -> "Field":
    """Return the value of a JSON text.

    Raises:
        FileFormatError: it is not JSON, or nests too deeply.
    """
    try:
        return Field(json.loads(text), source, "the file")
    except (ValueError, RecursionError) as error:
        reason = "it nests too deeply" if isinstance(error, RecursionError) else str(error)[:120]
        raise FileFormatError(f"{source} is not JSON, it may be truncated: {reason}") from error


@dataclass(frozen=True)
class Field:
    """A value, and where it is."""

    value: object
    source: str
    place: str

    def has(self, key: str) -> bool:
        """Whether it is an object with this key."""
        return isinstance(self.value, dict) and key in self.value

    def key(self, key: str) -> "Field":
        """Return the value of a key."""
        if not isinstance(self.value, dict) or key not in self.value:
            raise FileFormatError(f"{self.source}: {self.place} has no {key}")
        return Field(cast(dict[str, object], self.value)[key], self.source, key)

    def items(self) -> list["Field"]:
        """Return the values of a list."""
        if not isinstance(self.value, list):
            raise FileFormatError(f"{self.source}: {self.place} is a {type(self.value).__name__}, expected a list")
        return [Field(value, self.source, f"an entry of {self.place}") for value in cast(list[object], self.value)]

    def first(self) -> "Field":
        """Return the first value of a list; nothing of anything else."""
        values = cast(list[object], self.value) if isinstance(self.value, list) else []
        return Field(values[0] if values else None, self.source, f"an entry of {self.place}")

    def number(self) -> float:
        """Return a finite number."""
        value = self.value
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= MAX_NUMBER:
            got = f"{value:.6g}" if isinstance(value, float) else f"a {type(value).__name__}"
            raise FileFormatError(f"{self.source}: {self.place} is {got}, expected a number")
        return float(value)

    def numbers(self) -> list[float]:
        """Return a list of finite numbers."""
        return [field.number() for field in self.items()]

    def label(self) -> float | str:
        """Return a number or a text."""
        return self.value[:200] if isinstance(self.value, str) else self.number()
