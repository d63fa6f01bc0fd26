# SPDX-License-Identifier: Apache-2.0
"""The oracle of every analytic Jacobian: forward-mode automatic differentiation."""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor


def autodiff_jacobian(function: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    """The derivative of `function` at `at`, shape (*output, *input)."""
    with warnings.catch_warnings():
        # torch 2.13 scripts its own decompositions when forward mode is used first, and warns of doing so
        warnings.filterwarnings("ignore", message="`torch.jit.script` is deprecated", category=DeprecationWarning)
        return torch.func.jacfwd(function)(at)
