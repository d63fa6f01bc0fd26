# SPDX-License-Identifier: Apache-2.0
"""Left and right exchanged in stored evidence: as the solver's alternatives do it, and never what the user placed."""

import pytest
import torch

from blender_addon.core.record import KeypointEdit, Keypoints2D, Pose, Record, RelativeKeypoints3D, Solution, Twist
from blender_addon.core.rig import POINT_NAMES
from blender_addon.core.swaps import SWAPS, swap_sides, swapped_name
from ikol.pipeline import evidence as named
from ikol.pipeline import swaps as solver

NAMES = ("nose", "left_wrist", "right_wrist", "left_knee", "right_knee", "L_Ankle")
PIXELS = tuple((float(i), 2.0 * i) for i in range(6))
PLACES = tuple((0.1 * i, 0.2 * i, 0.3 * i) for i in range(6))
SIGMAS = ((0.1, 0.1, 0.2),) * 6
POSE = Pose((0.0, 0.0, 0.0), ((1.0, 0.0, 0.0, 0.0),) * 24, (0.0,) * 10)


def record():
    blocks = (
        Keypoints2D(NAMES, PIXELS, (3.0,) * 6),
        RelativeKeypoints3D(NAMES, PLACES, SIGMAS),
        Twist(("L_Wrist", "Head"), (0.1, 0.2), (0.3, 0.4)),
        Keypoints2D(("left_wrist",), ((9.0, 9.0),), (1.0,), is_robust=False),
    )
    solution = Solution(POSE, None, {}, {}, "converged", 1, -1.0, 0.1)
    return Record("a.jpg", blocks, solution, {"left_wrist": 0.3}, edits={"left_wrist": KeypointEdit(is_muted=True)})


@pytest.mark.parametrize("swap", SWAPS)
@pytest.mark.parametrize("name", sorted(POINT_NAMES))
def test_names_change_as_in_the_solver(swap, name):
    assert swapped_name(name, swap) == solver.swapped_name(name, swap)


@pytest.mark.parametrize("swap", SWAPS)
def test_evidence_changes_as_in_the_solver(swap):
    ours = swap_sides(record(), swap)
    theirs = solver.swapped_evidence(
        (
            named.Keypoints2D(NAMES, torch.tensor(PIXELS).double(), torch.full((6,), 3.0).double()),
            named.RelativeKeypoints3D(NAMES, torch.tensor(PLACES).double(), torch.tensor(SIGMAS).double()),
        ),
        swap,
    )
    for block, other in zip(ours.evidence[:2], theirs, strict=True):
        assert block.names == other.names
        torch.testing.assert_close(torch.tensor(block.points).double(), other.points, atol=1e-6, rtol=0)  # float32
        torch.testing.assert_close(torch.tensor(block.sigma).double(), other.sigma, atol=1e-6, rtol=0)


@pytest.mark.parametrize("swap", SWAPS)
def test_what_the_user_said_stays_and_confidence_goes_along(swap):
    swapped = swap_sides(record(), swap)
    assert swapped.evidence[-1] == record().evidence[-1]
    assert swapped.edits == record().edits
    is_arm = swap in ("arms", "sides")
    assert swapped.confidence == {"right_wrist" if is_arm else "left_wrist": 0.3}


def test_twist_of_what_is_swapped_is_dropped():
    kept = {
        swap: [block for block in swap_sides(record(), swap).evidence if isinstance(block, Twist)] for swap in SWAPS
    }
    assert [block.names for block in kept["arms"]] == [("Head",)]
    assert kept["sides"] == []
    assert [block.names for block in kept["legs"]] == [("L_Wrist", "Head")]
