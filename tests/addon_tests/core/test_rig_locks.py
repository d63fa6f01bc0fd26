# SPDX-License-Identifier: Apache-2.0
"""What a rig's channels do not let it do: where its root goes, which joints are beyond what can be written."""

import numpy as np
import pytest

from blender_addon.core.rig_call import TurnLimits
from blender_addon.core.rig_locks import Locks
from blender_addon.core.rig_turns import turn_of

PLACE = np.array([0.1, 1.0, -0.2])
SLANTED = 0.01 * turn_of(np.array([0.3, -0.8, 0.5]))  # an armature in centimetres, a bone of any roll


def written(turn: np.ndarray) -> np.ndarray:
    """Turns about the first axis only, by at most 0.5."""
    return turn_of(np.array([np.clip(np.arctan2(turn[2, 1], turn[1, 1]), -0.5, 0.5), 0.0, 0.0]))


@pytest.mark.parametrize(
    "is_locked", [(True, False, False), (False, True, False), (True, False, True), (True,) * 3, (False,) * 3], ids=str
)
def test_a_root_goes_as_near_as_its_free_channels_take_it(is_locked: tuple[bool, bool, bool]) -> None:
    locks = Locks(PLACE, SLANTED, is_locked, {})
    wanted = np.array([0.4, 0.8, 0.3])
    found = locks.nearest(wanted)
    moved = np.linalg.solve(SLANTED, found - PLACE)
    assert moved[list(is_locked)] == pytest.approx(0.0, abs=1e-12)
    free = SLANTED[:, ~np.array(is_locked)]
    assert free.T @ (wanted - found) == pytest.approx(0.0, abs=1e-12)  # nothing is left along what is free


def test_only_joints_that_are_beyond_what_can_be_written_are_told() -> None:
    locks = Locks(PLACE, np.eye(3), (False,) * 3, {2: written, 5: written, 7: written})
    turns = {
        2: turn_of(np.array([0.3, 0.0, 0.0])),
        5: turn_of(np.array([0.8, 0, 0])),
        7: turn_of(np.array([0, 0.1, 0])),
    }
    found = locks.beyond(turns)
    assert set(found) == {5, 7}
    np.testing.assert_allclose(found[5], turn_of(np.array([0.5, 0.0, 0.0])), atol=1e-12)
    np.testing.assert_allclose(found[7], np.eye(3), atol=1e-12)


def test_limits_of_joints_that_are_held_are_left_out() -> None:
    limits = TurnLimits(
        (1, 4), np.stack([np.eye(3), -np.eye(3)]), np.arange(8.0).reshape(2, 4), np.array([[-1, 1], [-2, 2]])
    )
    rest = limits.without({1: np.eye(3)})
    assert rest is not None
    assert rest.joints == (4,)
    assert (rest.axes[0, 0, 0], rest.swing[0, 0], rest.twist[0, 1]) == (-1.0, 4.0, 2.0)
    assert limits.without((1, 4)) is None
    assert limits.without(()) is not None
