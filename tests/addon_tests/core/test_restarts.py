# SPDX-License-Identifier: Apache-2.0
from hypothesis import given
from hypothesis import strategies as st

from blender_addon.core.restarts import MAX_RESTARTS, WINDOW_SECONDS, Restarts


def test_first_restart_is_at_once_and_the_pauses_grow():
    restarts, pauses, now = Restarts(), [], 100.0
    for _ in range(MAX_RESTARTS):
        time = restarts.plan(now)
        pauses.append(time - now)
        now = time
        restarts.count(now)
    assert pauses == [0.0, 0.25, 0.5, 1.0, 2.0]
    assert restarts.plan(now) is None


def test_restarts_of_long_ago_are_forgotten():
    restarts = Restarts()
    for _ in range(MAX_RESTARTS):
        restarts.count(1.0)
    assert restarts.plan(WINDOW_SECONDS) is None
    assert restarts.plan(1.0 + WINDOW_SECONDS) is not None
    assert restarts.plan(10 * WINDOW_SECONDS) == 10 * WINDOW_SECONDS


@given(st.lists(st.tuples(st.floats(0.0, 120.0), st.floats(0.0, 300.0)), max_size=60))
def test_there_are_never_more_than_five_in_three_minutes(gaps):
    restarts, now, times = Restarts(), 0.0, []
    for gap, delay in gaps:
        now += gap
        time = restarts.plan(now)
        if time is not None:
            now = time + delay
            restarts.count(now)
            times.append(now)
    for first, sixth in zip(times, times[MAX_RESTARTS:], strict=False):
        assert sixth - first >= WINDOW_SECONDS
