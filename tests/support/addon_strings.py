# SPDX-License-Identifier: Apache-2.0
"""What of the add-on's source a user reads: texts that the drawing code hands to Blender, found in the syntax tree."""

import ast
from pathlib import Path

TEXT_CALLS = {"iface", "numbered", "draw_sentence", "poll_message_set", "label"}
"""Calls whose texts are shown; in all others only the keyword `text` is."""

CLASS_TEXTS = {"bl_label", "bl_description"}

COUNT_CALLS = {"count_text"}
"""Calls with a text for one and a text for many."""


def drawn_texts(path: Path) -> set[str]:
    """Give the constant texts that a module of the add-on draws."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            found |= {text for word in node.keywords if word.arg == "text" for text in _constants(word.value)}
            if name in TEXT_CALLS | COUNT_CALLS:
                found |= {text for argument in node.args for text in _constants(argument)}
        elif isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") in CLASS_TEXTS:
            found |= _constants(node.value)
        elif path.stem.startswith("panel_"):
            found |= _row_texts(node)
    return {text for text in found if not text.isupper() and (text[:1].isupper() or "{" in text or " " in text)}


def all_constants(folder: Path, without: str) -> set[str]:
    """Give every constant text in the source below a folder, except in modules whose names begin with `without`."""
    return {
        node.value
        for path in folder.rglob("*.py")
        if not path.stem.startswith(without)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


def _row_texts(node: ast.AST) -> set[str]:
    """Give the names in rows of a name and a value, and the words of a table."""
    if isinstance(node, ast.Tuple) and len(node.elts) == 2:
        return _constants(node.elts[0])
    return {text for value in node.values for text in _constants(value)} if isinstance(node, ast.Dict) else set()


def _constants(node: ast.AST) -> set[str]:
    if isinstance(node, ast.IfExp):
        return _constants(node.body) | _constants(node.orelse)
    if isinstance(node, ast.BoolOp):
        return {text for value in node.values for text in _constants(value)}
    return {node.value} if isinstance(node, ast.Constant) and isinstance(node.value, str) else set()
