# SPDX-License-Identifier: GPL-3.0-or-later
"""Sentences in a layout: Blender cuts a label off at the edge, so that a sentence has to be broken into lines."""

import textwrap

import bpy

from ..core.numbered import Numbered

CONTEXT = "IKOL"
"""Translation context of the add-on's own words: Blender knows "Solve" and "Move" too, and means something else."""

CHARACTER_WIDTH = 6.3
"""Pixels of an average letter at a resolution scale of 1 in Blender's own font."""

MARGIN = 50
"""Pixels of a sidebar that go to its margins."""

ICON_WIDTH = 24
"""Pixels of an icon before a line, with the margins of the box that such a line stands in."""


def sidebar_width(context: bpy.types.Context) -> int:
    """Return how many letters fit into a line of the sidebar."""
    scale = context.preferences.system.ui_scale or 1.0  # 0 until a window is there
    region = context.region
    width = region.width if region is not None and region.width > 1 else 260
    return max(16, int((width / scale - MARGIN) / CHARACTER_WIDTH))


def capitalised(text: str) -> str:
    """Return a sentence with a capital letter, unless it begins with a name such as `photo.jpg`."""
    first_word = text.partition(" ")[0]
    return text[:1].upper() + text[1:] if first_word.isalpha() else text


def draw_sentence(layout: bpy.types.UILayout, text: str, width: int, icon: str = "NONE") -> None:
    """Draw a text broken into lines of at most `width` letters."""
    column = layout.column(align=True)
    if icon != "NONE":
        width -= round(ICON_WIDTH / CHARACTER_WIDTH)
    for number, line in enumerate(textwrap.wrap(text, width)):
        column.label(text=line, icon=icon if number == 0 else "BLANK1" if icon != "NONE" else "NONE", translate=False)


def progress_text(text: str) -> str:
    """Return what a job says of itself, in the user's language."""
    if isinstance(text, Numbered):
        return iface(text.template, **text.values)
    return iface(capitalised(text))


def iface(message: str, **values: object) -> str:
    """Return a text of the interface in the user's language, with values put in where it has {names}."""
    translated = bpy.app.translations.pgettext_iface(message, CONTEXT)
    if translated == message:  # no entry of ours
        translated = bpy.app.translations.pgettext_iface(message)
    return translated.format(**values) if values else translated
