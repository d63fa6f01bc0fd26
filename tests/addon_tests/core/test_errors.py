# SPDX-License-Identifier: Apache-2.0
import pytest

from blender_addon._vendor.solver_protocol import ERROR_CODES
from blender_addon.core.errors import REFUSALS, UPDATE_CODE, Fix, refusal


def test_every_code_of_the_wire_has_its_advice_and_fix():
    assert set(REFUSALS) == set(ERROR_CODES)
    assert UPDATE_CODE in ERROR_CODES


@pytest.mark.parametrize(
    ("code", "sentence", "fix"),
    [
        ("bad_image", "no picture", Fix.NONE),
        ("too_large", "no picture; use a smaller picture", Fix.NONE),
        ("worker_crashed", "no picture", Fix.OPEN_LOG),
        ("unsupported_version", "no picture", Fix.OPEN_PREFERENCES),
        ("code_of_tomorrow", "no picture", Fix.OPEN_LOG),
    ],
)
def test_refusal_is_the_solvers_sentence_with_what_to_do(code, sentence, fix):
    error = refusal(code, "no picture")
    assert (str(error), error.fix, error.code) == (sentence, fix, code)
