# SPDX-License-Identifier: GPL-3.0-or-later
"""A text with numbers or names in it that can still be said in another language: it remembers what it was made of."""

import re
from typing import Self

SOLVER_SAYS = (
    "Reading the picture",
    "Finding persons",
    "Landmarks of person {number}",
    "Landmarks found",
    "Solving",
    "Solving picture {number}",
    "Solving all pictures",
    "Picture {number} with the shape of all",
    "Inspecting",
    "Looking for alternatives",
)
"""What the solver tells of its progress; it does so in small letters and knows nothing of languages."""


class Numbered(str):
    """The text as it is in English. `template` has names in braces, `values` what stands there."""

    __slots__ = ("template", "values")

    template: str
    values: dict[str, int | str]

    def __new__(cls, template: str, values: dict[str, int | str]) -> Self:
        """Put the values in."""
        text = super().__new__(cls, template.format(**values))
        text.template, text.values = template, values
        return text


def numbered(template: str, **values: int | str) -> Numbered:
    """Return a text with values where it has {names}."""
    return Numbered(template, values)


def from_solver(text: str) -> str:
    """Return what the solver says as one of SOLVER_SAYS, if it is one; else as it is."""
    template = re.sub(r"\d+", "{number}", text[:1].upper() + text[1:])
    numbers = re.findall(r"\d+", text)
    if template not in SOLVER_SAYS or len(numbers) != template.count("{number}"):
        return text
    return numbered(template, number=int(numbers[0])) if numbers else template
