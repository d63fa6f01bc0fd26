# SPDX-License-Identifier: GPL-3.0-or-later
"""A text with numbers in it that can still be said in another language: it remembers what it was made of."""

from typing import Self


class Numbered(str):
    """The text as it is in English. `template` has names in braces, `values` what stands there."""

    __slots__ = ("template", "values")

    template: str
    values: dict[str, int]

    def __new__(cls, template: str, values: dict[str, int]) -> Self:
        """Put the values in."""
        text = super().__new__(cls, template.format(**values))
        text.template, text.values = template, values
        return text


def numbered(template: str, **values: int) -> Numbered:
    """Return a text with values where it has {names}."""
    return Numbered(template, values)
