# SPDX-License-Identifier: Apache-2.0
"""What a camera does to a picture: exposure, tint, blur, noise, and the JPEG file. Imports: numpy, Pillow."""

from io import BytesIO

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageFilter


def develop(rng: np.random.Generator, picture: Float[np.ndarray, "height width 3"]) -> bytes:
    """Return the JPEG file of a picture (0 to 1) as a random camera would have made it."""
    contrast, exposure = rng.uniform(0.75, 1.25), rng.uniform(0.7, 1.3)
    tint = 1.0 + rng.uniform(-0.08, 0.08, 3)
    picture = np.clip(((picture - 0.5) * contrast + 0.5) * exposure * tint, 0.0, 1.0) ** rng.uniform(0.75, 1.3)
    if rng.random() < 0.04:
        picture = np.broadcast_to(picture.mean(-1, keepdims=True), picture.shape)
    image = Image.fromarray((picture * 255.0 + 0.5).astype(np.uint8))
    width, height = image.size
    kind = rng.random()
    if kind < 0.25:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.6)))
    elif kind < 0.4:  # a small picture made larger
        factor = rng.uniform(0.35, 0.9)
        small = image.resize((max(1, int(width * factor)), max(1, int(height * factor))), Image.Resampling.BILINEAR)
        image = small.resize((width, height), Image.Resampling.BICUBIC)
    pixels = np.asarray(image, dtype=np.float32)
    strength = rng.exponential(3.0)
    noise = strength * rng.standard_normal(pixels.shape, dtype=np.float32)
    image = Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8))
    file = BytesIO()
    image.save(file, "JPEG", quality=int(rng.integers(45, 96)))
    return file.getvalue()
