# SPDX-License-Identifier: GPL-3.0-or-later
"""The add-on's translations, through Blender's own system: the language is that of Blender's preferences.

A text without an entry stays English. Errors stay English: they are what people search for and send in reports.
"""

import bpy

from .text import CONTEXT
from .translations_german import LABELS, SENTENCES
from .translations_german_install import INSTALLATION
from .translations_german_people import PEOPLE
from .translations_german_rigs import RIGS
from .translations_german_shape import SHAPE
from .translations_german_tooltips import TOOLTIPS

GERMAN = {**LABELS, **SENTENCES, **TOOLTIPS, **INSTALLATION, **PEOPLE, **SHAPE, **RIGS}

CONTEXTS = ("*", "Operator", CONTEXT)
"""Blender looks the label of a button up as one of an operator, tooltips as any text, and ours where it is told to."""

LOCALES = ("de_DE", "de")
"""German by its names in different versions of Blender."""


def register() -> None:
    """Hand the table to Blender."""
    table = {(context, text): german for text, german in GERMAN.items() for context in CONTEXTS}
    bpy.app.translations.register(__name__, dict.fromkeys(LOCALES, table))


def unregister() -> None:
    """Take the table back; it is no error when it was never there."""
    bpy.app.translations.unregister(__name__)
