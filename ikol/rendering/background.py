# SPDX-License-Identifier: Apache-2.0
"""What is behind and before a person: gradients, floor and wall, shapes, noise, all by rule. Imports: numpy, Pillow."""

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFilter

_OCCLUDED_SHARE = 0.12  # of the pictures have something in front of the person

_Picture = Float[np.ndarray, "height width 3"]


def draw_background(rng: np.random.Generator, width: int, height: int) -> _Picture:
    """Return a picture without a person, 0 to 1."""
    top, bottom, wall, floor = (_color(rng) for _ in range(4))
    ramp = np.linspace(0.0, 1.0, height)[:, None, None]
    picture = np.broadcast_to((1 - ramp) * top + ramp * bottom, (height, width, 3)).copy()
    if rng.random() < 0.6:
        horizon = height * rng.uniform(0.35, 0.95) + rng.normal(0, 0.03) * (np.arange(width) - width / 2)
        is_floor = np.arange(height)[:, None] > horizon
        picture = 0.3 * picture + 0.7 * np.where(is_floor[..., None], floor, wall)
    canvas = Image.fromarray(_bytes(picture))
    draw = ImageDraw.Draw(canvas, "RGBA")
    for _ in range(int(rng.integers(0, 24))):
        _draw_shape(rng, draw, width, height)
    canvas = canvas.filter(ImageFilter.GaussianBlur(float(rng.choice((0.0, 1.0, 4.0))) * max(width, height) / 400))
    grain = rng.uniform(0.0, 0.22) * _clouds(rng, width, height)
    return np.clip(np.asarray(canvas, dtype=np.float32) / 255.0 * (1.0 + grain[..., None]), 0.0, 1.0)


def draw_occluder(
    rng: np.random.Generator, width: int, height: int
) -> tuple[_Picture, Float[np.ndarray, "..."]] | None:
    """Return something that stands before the person and where it is (height, width), 0 to 1; None mostly."""
    if rng.random() > _OCCLUDED_SHARE:
        return None
    mask = Image.new("L", (width, height))
    draw = ImageDraw.Draw(mask)
    size = rng.uniform(0.08, 0.3, 2) * (width, height)
    x, y = rng.uniform(0.0, 1.0, 2) * (width, height)
    box = (x - size[0] / 2, y - size[1] / 2, x + size[0] / 2, y + size[1] / 2)
    if rng.random() < 0.5:
        draw.ellipse(box, fill=255)
    else:
        draw.rectangle(box, fill=255)
    return draw_background(rng, width, height), np.asarray(mask, dtype=np.float32) / 255.0


def _color(rng: np.random.Generator) -> Float[np.ndarray, "3"]:
    grey = rng.uniform(0.08, 0.95)
    return np.clip(grey + rng.uniform(0.02, 0.25) * rng.normal(size=3), 0.0, 1.0)


def _bytes(picture: _Picture) -> np.ndarray:
    return (np.clip(picture, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)


def _draw_shape(rng: np.random.Generator, draw: ImageDraw.ImageDraw, width: int, height: int) -> None:
    fill = (*(int(value * 255) for value in _color(rng)), int(rng.uniform(90, 255)))
    x, y = rng.uniform(-0.1, 1.1, 2) * (width, height)
    w, h = np.exp(rng.uniform(np.log(0.02), np.log(0.6), 2)) * (width, height)
    box = (x - w / 2, y - h / 2, x + w / 2, y + h / 2)
    match int(rng.integers(4)):
        case 0:
            draw.ellipse(box, fill=fill)
        case 1:
            corners = rng.uniform(-0.6, 0.6, (int(rng.integers(3, 6)), 2)) * (w, h) + (x, y)
            draw.polygon([(float(px), float(py)) for px, py in corners], fill=fill)
        case 2:
            end = rng.uniform(-0.2, 1.2, 2) * (width, height)
            draw.line((x, y, float(end[0]), float(end[1])), fill=fill, width=int(rng.integers(1, 2 + width // 60)))
        case _:
            draw.rectangle(box, fill=fill)


def _clouds(rng: np.random.Generator, width: int, height: int) -> Float[np.ndarray, "height width"]:
    """Return noise of several scales, about -1 to 1; rougher pictures are leaves, smoother ones plaster."""
    roughness = rng.uniform(0.4, 1.1)
    total = np.zeros((height, width), dtype=np.float32)
    cells = 4
    weight = 1.0
    while cells <= max(width, height):
        values = rng.normal(size=(cells, cells)).astype(np.float32)
        total += weight * np.asarray(Image.fromarray(values).resize((width, height), Image.Resampling.BICUBIC))
        cells, weight = cells * 2, weight * roughness
    return total / max(float(total.std()), 1e-6)
