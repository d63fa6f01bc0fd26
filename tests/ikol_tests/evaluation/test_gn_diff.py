# SPDX-License-Identifier: Apache-2.0
"""The comparison of GN-Diff with and without its dropped term measures what it says."""

import pytest

from ikol.evaluation.gn_diff import NOISES, compare_gn_diff


@pytest.mark.slow
def test_the_full_term_is_what_differences_of_the_steps_give() -> None:
    rows = compare_gn_diff(count=2, seed=1, steps=3, converged_steps=5)
    assert [(row.parametrisation, row.noise) for row in rows] == [
        (name, noise) for noise in NOISES for name in ("released, 18 angles", "all rotations")
    ]
    for row in rows:
        # differences over 2e-6 m of rotations that are known to 1e-15, times derivatives of up to a hundred
        assert row.error_full < 1e-6, row
        assert row.error_dropped > 0.01, row
        assert row.change == pytest.approx(row.error_dropped, rel=1e-3)
