# SPDX-License-Identifier: Apache-2.0
"""Persons on a photograph: stored, picked by a click, drawn as a box, and why their poses are doubtful."""

import pytest

from blender_addon.core.errors import EvidenceError
from blender_addon.core.people import (
    DOUBT_HELP,
    DOUBT_REASONS,
    MOMENT_HELP,
    FoundPerson,
    People,
    box_between,
    decode_people,
    doubt_help,
    doubt_text,
    encode_people,
    person_at,
    posed_as,
)
from blender_addon.core.photo_view import PhotoView
from blender_addon.core.record import Keypoints2D, PhotoCamera

SEEN = Keypoints2D(("nose",), ((1.0, 2.0),), (3.0,))
CAMERA = PhotoCamera(1000, 800, 900, 900, 500, 400)
VIEW = PhotoView((100.0, 500.0), (0.5, 0.0), (0.0, -0.5))  # half the size, from (100, 500) down


def found(box):
    return FoundPerson((SEEN,), {"nose": 0.5}, 0.9, box, ("small",))


PEOPLE = People("a.jpg", "/a.jpg", CAMERA, (found((0, 0, 600, 800)), found((200, 100, 400, 500))))


def test_persons_come_back_as_they_were_stored():
    assert decode_people(encode_people(posed_as(PEOPLE, 1, "Body"))).persons[1].body == "Body"
    assert decode_people(encode_people(PEOPLE)) == PEOPLE


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"version": 1}'])
def test_what_is_damaged_says_what_to_do(text):
    with pytest.raises(EvidenceError, match="find them again"):
        decode_people(text)


def test_persons_of_a_newer_addon_are_named_as_such():
    with pytest.raises(EvidenceError, match="newer"):
        decode_people(encode_people(PEOPLE).replace('"version":1', '"version":2'))


@pytest.mark.parametrize(
    ("pixel", "number"), [((300, 300), 1), ((500, 300), 0), ((300, 700), 0), ((900, 100), None), ((-5, 5), None)]
)
def test_a_click_means_the_smallest_box_around_it(pixel, number):
    assert person_at(PEOPLE, VIEW, VIEW.to_region(pixel)) == number


def test_a_box_may_be_drawn_from_any_corner_and_ends_at_the_picture():
    first, second = VIEW.to_region((300.0, 900.0)), VIEW.to_region((100.0, 350.0))
    assert box_between(PEOPLE, VIEW, first, second) == (100.0, 350.0, 300.0, 800.0)


def test_a_slip_of_the_mouse_is_no_box():
    assert box_between(PEOPLE, VIEW, (150.0, 400.0), (158.0, 395.0)) is None  # 16 x 10 px of the picture


def test_a_doubt_says_its_reasons_and_an_unknown_one_is_still_a_doubt():
    assert doubt_text((), str) == ""
    assert doubt_text(("small", "swapped"), str) == (
        "The pose is doubtful: the person is very small, left and right may be swapped"
    )
    assert doubt_text(("of a later solver",), str) == "The pose is doubtful: the solver is not sure"
    of_a_picture = {"small", "upside_down", "cut_off", "hidden", "crowded", "swapped", "unsteady"}
    assert set(DOUBT_REASONS) == of_a_picture | {"disagreeing"}


@pytest.mark.parametrize(
    ("doubts", "helps"),
    [((), ""), (("small",), DOUBT_HELP), (("disagreeing",), MOMENT_HELP),
     (("small", "disagreeing"), f"{MOMENT_HELP}. {DOUBT_HELP}")],
)  # fmt: skip
def test_what_helps_is_said_for_the_doubts_that_there_are(doubts, helps):
    assert doubt_help(doubts, str) == helps
