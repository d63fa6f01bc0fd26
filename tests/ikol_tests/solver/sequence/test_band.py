# SPDX-License-Identifier: Apache-2.0
"""Block-banded Cholesky against one dense solve, and what it costs."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from ikol.solver.sequence.band import Band, solve_band, solve_band_torch
from ikol.solver.sequence.band_native import Stretches

SIZE, SIDES = 4, 2


def make(frames: int, reach: int, seed: int = 0) -> tuple[Band, Tensor, Tensor]:
    """A definite band and the same as a dense matrix and its right-hand sides."""
    generator = torch.Generator().manual_seed(seed)
    reach = min(reach, frames)
    total = frames * SIZE
    root = torch.zeros(total, total, dtype=torch.float64)
    for frame in range(frames):
        stop = min((frame + reach) * SIZE, total)
        own = slice(frame * SIZE, (frame + 1) * SIZE)
        root[own, own.start : stop] = torch.randn(SIZE, stop - own.start, dtype=torch.float64, generator=generator)
    dense = root.T @ root + torch.eye(total, dtype=torch.float64)
    right = torch.randn(total, SIDES, dtype=torch.float64, generator=generator)
    panels = torch.full((frames, SIZE, reach * SIZE + SIDES), torch.nan, dtype=torch.float64)
    for frame in range(frames):
        own = slice(frame * SIZE, (frame + 1) * SIZE)
        blocks = dense[own, own.start : own.start + reach * SIZE]
        panels[frame, :, : blocks.shape[1]] = blocks
        panels[frame, :, reach * SIZE :] = right[own]
    return Band(panels, reach), dense, right


@pytest.mark.parametrize("solve", [solve_band, solve_band_torch])
@pytest.mark.parametrize("reach", [1, 2, 3])
@pytest.mark.parametrize("frames", [1, 2, 3, 10])
def test_band_solves_like_a_dense_matrix(frames: int, reach: int, solve: Callable[[Band], Tensor | None]) -> None:
    band, dense, right = make(frames, reach)
    found = solve(band)
    assert found is not None
    # the matrix's condition is below 1e4: twelve digits stay
    torch.testing.assert_close(found.flatten(0, 1), torch.linalg.solve(dense, right), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("solve", [solve_band, solve_band_torch])
def test_indefinite_matrices_are_reported(solve: Callable[[Band], Tensor | None]) -> None:
    band, _, _ = make(5, 3)
    band.panels[3, 1, 1] = -1e3
    assert solve(band) is None


@pytest.mark.parametrize("solve", [solve_band, solve_band_torch])
def test_stretches_do_not_touch_each_other(solve: Callable[..., Tensor | None]) -> None:
    band, dense, _ = make(9, 3)
    some = Stretches(
        index=torch.tensor((1, 2, 3, 5, 6)),
        left=torch.tensor((2, 1, 0, 1, 0)),
        changed=torch.tensor((-1, 0, -1, -1, -1)),
        change=2.0 * torch.eye(SIZE, dtype=torch.float64)[None],
    )
    right = torch.arange(5 * SIZE, dtype=torch.float64).reshape(5, SIZE)
    found = solve(band, torch.ones(5, SIZE, dtype=torch.float64), right, some)
    assert found is not None
    for frames, place in ((slice(1, 4), slice(0, 3)), (slice(5, 7), slice(3, 5))):
        own = slice(frames.start * SIZE, frames.stop * SIZE)
        matrix = dense[own, own] + torch.eye(own.stop - own.start, dtype=torch.float64)
        if frames.start == 1:
            matrix[SIZE : 2 * SIZE, SIZE : 2 * SIZE] += some.change[0]
        expected = torch.linalg.solve(matrix, right[place].flatten())
        torch.testing.assert_close(found[place, :, -1].flatten(), expected, rtol=1e-10, atol=1e-10)


def test_cost_is_linear_in_the_frames() -> None:
    counts: list[int] = []
    for frames in (20, 40, 80):
        band, _, _ = make(frames, 3)
        with FlopCounterMode(display=False) as counter:
            solve_band_torch(band)
        counts.append(counter.get_total_flops())
    assert counts[0] > 0
    # equal growth a frame; the first and last frames touch fewer others, the same for all lengths
    assert counts[2] - counts[1] == 2 * (counts[1] - counts[0])
