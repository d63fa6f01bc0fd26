# SPDX-License-Identifier: Apache-2.0
"""The German translation: every text that the add-on shows has one, none is stale, placeholders are kept."""

import ast
import importlib
import string
from pathlib import Path
from types import SimpleNamespace

import bpy
import pytest
from addon_strings import all_constants, drawn_texts

SKIPPED = {"", "IKOL", "CUDA", "filepath"}
"""Names, and the property that only drag and drop sets."""


def class_texts(kind):
    """Label and description of a registered class, of its properties, and of the items of these."""
    yield getattr(kind, "bl_label", "")
    rna = kind.bl_rna
    if issubclass(kind, bpy.types.Operator):
        yield rna.description
        module, _, command = kind.bl_idname.partition(".")
        rna = getattr(getattr(bpy.ops, module), command).get_rna_type()
    for item in rna.properties:
        if (
            any(item.identifier in vars(base).get("__annotations__", ()) for base in kind.__mro__)
            and not item.is_hidden
        ):
            yield item.name
            yield item.description
            for choice in getattr(item, "enum_items", ()):
                yield choice.name
                yield choice.description


def core_texts(part):
    """Labels that core makes: buttons and lines of state, states and names of points, presets."""
    state, keypoints, wording = part("core.solver_state"), part("core.keypoints"), part("core.wording")
    for phase in state.Phase:
        for ready in (False, True):
            for message in ("", "x"):
                shown = state.SolverState(phase, message=message, is_ready=ready)
                yield state.status_line(shown)
                yield state.big_button(shown).label
    for fix in part("core.errors").Fix:
        yield state.fix_button(fix).label
    yield from part("core.numbered").SOLVER_SAYS
    yield from wording.STATE_LABELS.values()
    yield from wording.POINT_LABELS.values()
    yield from wording.FOCAL_SOURCES.values()
    for preset in keypoints.PRESETS.values():
        yield preset.label
        yield preset.description


def job_texts(folder):
    """What the bar of progress says: the steps of jobs."""
    for path in folder.glob("core/*job*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in {"Step", "numbered"}:
                yield from (each.value for each in node.args if isinstance(getattr(each, "value", None), str))


def test_a_numbered_step_is_said_in_german(part, monkeypatch):
    text, numbered = part("blender.text"), part("core.numbered").numbered
    said = numbered("Solving person {number} of {count}", number=2, count=3)
    assert said == "Solving person 2 of 3"
    german = part("blender.translations").GERMAN
    translations = SimpleNamespace(pgettext_iface=lambda message, _context=None: german.get(message, message))
    monkeypatch.setattr(text, "bpy", SimpleNamespace(app=SimpleNamespace(translations=translations)))
    assert text.progress_text(said) == "Löst Person 2 von 3"
    assert text.progress_text("looking for persons") == "Sucht Personen"
    assert text.progress_text(part("core.numbered").from_solver("landmarks of person 2")) == "Merkpunkte von Person 2"


def results(part):
    """What the box in the preferences says when an installation has ended."""
    operators = part("blender.install_operators")
    yield from (operators._DONE, operators._REMOVED, operators._VERIFIED)
    yield part("core.install_repair").repair_result(())
    yield part("blender.installation").CANCELLED


@pytest.fixture(scope="module")
def shown(extension):
    """Every text that must have a translation."""

    def part(name):
        return importlib.import_module(f"{extension.__name__}.{name}")

    texts = {*core_texts(part), *results(part), *job_texts(Path(extension.__file__).parent)}
    for kind in part("blender.registration").CLASSES:
        texts.update(class_texts(kind))
    for path in Path(extension.__file__).parent.glob("blender/*.py"):
        texts |= drawn_texts(path)
    return texts - SKIPPED


@pytest.fixture(scope="module")
def german(extension):
    return importlib.import_module(f"{extension.__name__}.blender.translations").GERMAN


def fields(text):
    return sorted(name for _, name, _, _ in string.Formatter().parse(text) if name is not None)


def test_every_text_has_a_german_entry(shown, german):
    missing = sorted(shown - set(german))
    assert not missing, "\n" + "\n".join(missing)


def test_no_entry_is_stale(extension, shown, german):
    used = shown | all_constants(Path(extension.__file__).parent, without="translations")
    stale = sorted(set(german) - used)
    assert not stale, "\n" + "\n".join(stale)


def test_placeholders_are_kept(german):
    changed = [text for text, other in german.items() if fields(text) != fields(other)]
    assert not changed
