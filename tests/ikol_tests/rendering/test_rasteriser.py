# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from ikol.rendering.rasteriser import rasterise

# A unit square facing the camera two metres ahead, as two triangles, counter-clockwise seen from the camera.
SQUARE = np.array([[-0.5, -0.5, 2.0], [0.5, -0.5, 2.0], [0.5, 0.5, 2.0], [-0.5, 0.5, 2.0]])
FACES = np.array([[0, 2, 1], [0, 3, 2]])
FOCAL = (40.0, 40.0)


def test_square_covers_the_pixels_whose_centres_it_covers() -> None:
    found = rasterise(SQUARE, FACES, FOCAL, (16.0, 16.0), 32, 32)
    rows, columns = np.divmod(found.pixel, 32)
    # 40 px / m at 2 m: 20 pixels, from 6 to 26; the shared diagonal is drawn once
    assert len(found.pixel) == 400
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (6, 25, 6, 25)


def test_faces_seen_from_behind_are_left_out() -> None:
    assert len(rasterise(SQUARE, FACES[:, ::-1], FOCAL, (16.0, 16.0), 32, 32).pixel) == 0


def test_the_nearer_square_hides_the_other() -> None:
    both = np.concatenate((SQUARE, SQUARE * 2.0))  # twice as large, twice as far: the same pixels
    found = rasterise(both, np.concatenate((FACES + 4, FACES)), FOCAL, (16.0, 16.0), 32, 32)
    assert len(found.pixel) == 400
    assert (found.face >= 2).all()


def test_weights_give_the_point_under_the_pixels_centre() -> None:
    slanted = SQUARE + np.array([0.0, 0.0, 1.0]) * np.array([0.0, 0.8, 0.8, 0.0])[:, None]
    found = rasterise(slanted, FACES, FOCAL, (16.0, 16.0), 32, 32)
    place = found.interpolated(FACES, slanted)
    rows, columns = np.divmod(found.pixel, 32)
    projected = place[:, :2] / place[:, 2:] * 40.0 + 16.0
    # float32 pixels up to 32: 2e-6 each, times the few operations of an edge function
    assert np.abs(projected - np.stack((columns, rows), -1) - 0.5).max() < 1e-3
    assert np.abs(found.depth - place[:, 2]).max() < 1e-5
    assert np.abs(found.weights.sum(-1) - 1.0).max() < 1e-5


def test_what_lies_outside_the_picture_is_cut() -> None:
    found = rasterise(SQUARE + np.array([0.5, 0.0, 0.0]), FACES, FOCAL, (16.0, 16.0), 32, 32)
    assert len(found.pixel) == 16 * 20


@pytest.mark.parametrize("depth", [-2.0, 0.04])
def test_what_is_behind_or_at_the_camera_is_left_out(depth: float) -> None:
    square = SQUARE.copy()
    square[2, 2] = depth
    assert set(rasterise(square, FACES, FOCAL, (16.0, 16.0), 32, 32).face) == set()
