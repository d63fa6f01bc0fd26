# SPDX-License-Identifier: Apache-2.0
"""Random changes of a sample: where the crop looks, its colours, and what hides the person.

Everything is drawn from the generator that is given, so that a sample of a step is the same on any machine and after
any resume. Source of the kinds: the released IKOL and HybrIK configurations. Imports: numpy, torch, crops.
"""

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ikol.regressor.crops import Crops
from ikol.regressor.networks.joints import SMPL29
from ikol.training.network.config import Augmentation
from ikol.training.network.samples import TrainingSample

BOX_MARGIN = 1.25  # of the crop's side over the box's: room for what the box misses
_HIDDEN = (0.05, 0.35)  # of the crop's side: the sides of the rectangle that hides


_HIPS = SMPL29.index("L_Hip"), SMPL29.index("R_Hip")
_SHOULDERS = SMPL29.index("L_Shoulder"), SMPL29.index("R_Shoulder")


def person_crop(sample: TrainingSample, framing: str = "box") -> Crops:
    """Return the square around the person that a network sees when nothing is changed; see `NetworkConfig.framing`."""
    if framing == "circle" and bool(sample.has_pixels[[*_HIPS, *_SHOULDERS]].all()):
        known = torch.from_numpy(sample.pixels[sample.has_pixels]).float()
        place = np.cumsum(sample.has_pixels) - 1  # of each joint among those that are known
        pairs = [(int(place[left]), int(place[right])) for left, right in (_HIPS, _SHOULDERS)]
        return Crops.around_body(known, *pairs)
    x0, y0, x1, y1 = sample.box
    return Crops.upright([((x0 + x1) / 2, (y0 + y1) / 2)], [BOX_MARGIN * max(x1 - x0, y1 - y0, 1.0)])


def random_crop(
    sample: TrainingSample, settings: Augmentation, generator: np.random.Generator, framing: str = "box"
) -> Crops:
    """Return the square moved, scaled and turned by chance."""
    crop = person_crop(sample, framing)
    scale = 1 + settings.scale * generator.uniform(-1, 1)
    shift = settings.shift * generator.uniform(-1, 1, 2) * float(crop.side[0])
    rotation = math.radians(settings.rotation_deg) * generator.uniform(-1, 1)
    if generator.uniform() >= settings.rotated:
        rotation = 0.0
    x, y = (crop.center[0].numpy() + shift).tolist()
    return Crops.upright([(x, y)], [scale * float(crop.side[0])], float(crop.rotation[0]) + rotation)


def random_colours(
    picture: Float[Tensor, "3 size size"], settings: Augmentation, generator: np.random.Generator
) -> Float[Tensor, "3 size size"]:
    """Return the crop (0 to 1) with a gain of its own for each colour."""
    gain = 1 + settings.colour * generator.uniform(-1, 1, 3)
    return (picture * torch.from_numpy(gain).float()[:, None, None]).clamp(0, 1)


def random_occlusion(
    picture: Float[Tensor, "3 size size"], settings: Augmentation, generator: np.random.Generator
) -> Float[Tensor, "3 size size"]:
    """Return the crop with, by chance, a rectangle of noise over it."""
    is_hidden, size = generator.uniform() < settings.occluded, picture.shape[-1]
    height, width = (generator.uniform(*_HIDDEN, 2) * size).astype(int)
    top, left = (generator.uniform(size=2) * (size - height, size - width)).astype(int)
    if not is_hidden:
        return picture
    hidden = picture.clone()
    noise = generator.random((3, height, width), dtype=np.float32)
    hidden[:, top : top + height, left : left + width] = torch.from_numpy(noise)
    return hidden
