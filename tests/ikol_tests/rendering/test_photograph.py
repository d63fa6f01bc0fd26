# SPDX-License-Identifier: Apache-2.0
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from ikol.rendering.background import draw_background, draw_occluder
from ikol.rendering.photograph import develop


@pytest.mark.parametrize("seed", range(4))
def test_background_fills_the_picture_and_follows_its_seed(seed: int) -> None:
    picture = draw_background(np.random.default_rng(seed), 60, 40)
    assert picture.shape == (40, 60, 3)
    assert picture.min() >= 0.0
    assert picture.max() <= 1.0
    assert (picture == draw_background(np.random.default_rng(seed), 60, 40)).all()
    assert (picture != draw_background(np.random.default_rng(seed + 100), 60, 40)).any()


def test_few_pictures_have_something_in_front() -> None:
    rng = np.random.default_rng(0)
    found = [draw_occluder(rng, 40, 40) for _ in range(200)]
    masks = [occluder[1] for occluder in found if occluder is not None]
    assert 10 <= len(masks) <= 45  # 24 are expected, standard deviation 5
    assert max(mask.mean() for mask in masks) < 0.15  # at most 0.3 times 0.3 of the picture


@pytest.mark.parametrize("seed", range(6))
def test_photograph_is_a_jpeg_that_still_shows_what_was_there(seed: int) -> None:
    picture = np.zeros((48, 64, 3))
    picture[:, 32:] = 0.8
    file = develop(np.random.default_rng(seed), picture)
    image = np.asarray(Image.open(BytesIO(file)), dtype=float)
    assert image.shape == picture.shape
    assert image[:, 40:].mean() - image[:, :24].mean() > 60.0  # 0.8 * 255, less exposure and contrast
    assert develop(np.random.default_rng(seed), picture) == file
