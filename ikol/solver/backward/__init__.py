# SPDX-License-Identifier: Apache-2.0
"""Gradients of a solve: of the optimum, of one step, or through all steps."""

from ikol.solver.backward.attach import attach as attach
from ikol.solver.backward.native import attach_native as attach_native
from ikol.solver.backward.native import can_attach as can_attach
from ikol.solver.backward.tensors import wants_gradient as wants_gradient
from ikol.solver.backward.unroll import unroll as unroll
