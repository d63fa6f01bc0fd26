# SPDX-License-Identifier: Apache-2.0
"""A text with numbers is plain English wherever nobody translates it."""

import re
from pathlib import Path

import pytest

from blender_addon.core.numbered import SOLVER_SAYS, Numbered, from_solver, numbered

IKOL = Path(__file__).resolve().parents[3] / "ikol"
SAYS = re.compile(r"(?:report|progress)\([^\n]*?, f?\"([a-z ]+(?:\{[^\n]*\})?)\"\)")
"""A call by which the solver tells its progress."""


def test_a_numbered_text_is_a_text_that_knows_its_template():
    text = numbered("Solving person {number} of {count}", number=2, count=3)
    assert text == "Solving person 2 of 3"
    assert f"IKOL: {text}" == "IKOL: Solving person 2 of 3"
    assert (text.template, text.values) == ("Solving person {number} of {count}", {"number": 2, "count": 3})


@pytest.mark.parametrize("name", ["pipeline/pose_pipeline.py", "pipeline/posing.py", "regressor/regressor.py"])
def test_all_that_the_solver_says_is_known(name):
    said = SAYS.findall((IKOL / name).read_text(encoding="utf-8"))
    assert said
    for text in said:
        assert re.sub(r"\{.*\}", "{number}", text).capitalize() in SOLVER_SAYS


def test_what_the_solver_says_gets_its_template():
    said = from_solver("landmarks of person 12")
    assert said == "Landmarks of person 12"
    assert isinstance(said, Numbered)
    assert said.values == {"number": 12}
    assert from_solver("solving") == "Solving"
    for text in ("", "Thinking", "landmarks of person 1 of 2", "landmarks of person {number}", "{0} 7"):
        assert from_solver(text) == text
