# SPDX-License-Identifier: Apache-2.0
"""What the tests draw from: vectors and rotations with their singular angles, dtypes, batch shapes."""

import math

import torch
from hypothesis import settings
from hypothesis import strategies as st
from torch import Tensor

# torch compiles on first use and the machines that run the tests are shared: time says nothing about an example
settings.register_profile("no_deadline", deadline=None)
settings.load_profile("no_deadline")

BATCH_SHAPES = ((), (1,), (3,), (2, 3))
DTYPES = (torch.float32, torch.float64)

# angles at which formulas break: none, tiny, where series meet closed forms, a quarter, near and at half a turn
SINGULAR_ANGLES = (0.0, 1e-30, 1e-12, 1e-8, 1e-4, 1e-2, 0.0632, 0.0633, math.pi / 2, math.pi - 1e-7, math.pi)

_component = st.floats(min_value=-1.0, max_value=1.0, allow_nan=False, width=32)


@st.composite
def unit_vectors(draw: st.DrawFn) -> Tensor:
    """A unit vector (3) in float64; the coordinate axes come up often."""
    axes = st.sampled_from([(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (0.0, 0.0, -1.0), (-1.0, 0.0, 0.0)])
    free = st.tuples(_component, _component, _component).filter(lambda v: math.hypot(*v) > 1e-3)
    vector = torch.tensor(draw(st.one_of(axes, free)), dtype=torch.float64)
    return vector / vector.norm()


def angles(limit: float = math.pi) -> st.SearchStrategy[float]:
    """An angle in [0, limit] radians, the singular ones often."""
    singular = [angle for angle in SINGULAR_ANGLES if angle <= limit]
    return st.one_of(st.sampled_from(singular), st.floats(min_value=0.0, max_value=limit, allow_nan=False))


@st.composite
def rotvecs(draw: st.DrawFn, limit: float = math.pi) -> Tensor:
    """A rotation vector (3) in float64 with an angle in [0, limit]."""
    return draw(unit_vectors()) * draw(angles(limit))


def vectors(scale: float = 10.0) -> st.SearchStrategy[Tensor]:
    """A vector (3) in float64 with components up to `scale`."""
    return st.tuples(_component, _component, _component).map(lambda v: scale * torch.tensor(v, dtype=torch.float64))
