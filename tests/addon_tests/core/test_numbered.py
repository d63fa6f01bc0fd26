# SPDX-License-Identifier: Apache-2.0
"""A text with numbers is plain English wherever nobody translates it."""

from blender_addon.core.numbered import numbered


def test_a_numbered_text_is_a_text_that_knows_its_template():
    text = numbered("Solving person {number} of {count}", number=2, count=3)
    assert text == "Solving person 2 of 3"
    assert f"IKOL: {text}" == "IKOL: Solving person 2 of 3"
    assert (text.template, text.values) == ("Solving person {number} of {count}", {"number": 2, "count": 3})
