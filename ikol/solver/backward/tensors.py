# SPDX-License-Identifier: Apache-2.0
"""All tensors of a problem at once: its type, what of it wants a gradient, items without a derivative taken out.

Imports: torch, the problem and the state.
"""

from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar, cast

import torch
from jaxtyping import Bool
from torch import Tensor

from ikol.solver.linear import WIDE
from ikol.solver.problem import Problem
from ikol.solver.state import SolveState

_Value = TypeVar("_Value")


def map_tensors(value: _Value, change: Callable[[Tensor], Tensor]) -> _Value:
    """Return a copy of nested dataclasses and tuples with every tensor changed; parts without tensors stay the same."""
    if isinstance(value, Tensor):
        return cast(_Value, change(value))
    if isinstance(value, tuple):
        parts = cast("tuple[object, ...]", value)
        changed = tuple(map_tensors(part, change) for part in parts)
        return cast(_Value, changed) if _differ(parts, changed) else value
    if is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in fields(value)]
        parts = tuple(getattr(value, name) for name in names)
        changed = tuple(map_tensors(part, change) for part in parts)
        if _differ(parts, changed):
            return replace(value, **dict(zip(names, changed, strict=True)))
    return value


def _differ(old: tuple[object, ...], new: tuple[object, ...]) -> bool:
    return any(before is not after for before, after in zip(old, new, strict=True))


def wants_gradient(problem: Problem, initial: SolveState) -> bool:
    """Say whether a gradient can flow to any input of a solve."""
    skeleton = problem.skeleton
    parts = (skeleton.joints_template, skeleton.joints_shapedirs, problem.point_rest, problem.point_shapedirs)
    return torch.is_grad_enabled() and any(map(_requires_grad, (*parts, *problem.terms, initial)))


def _requires_grad(value: object) -> bool:
    if isinstance(value, Tensor):
        return value.requires_grad
    # the fields of a dataclass: a term, what it holds
    return is_dataclass(value) and any(map(_requires_grad, vars(value).values()))


def widened(value: _Value) -> _Value:
    """Return the same in `WIDE`, differentiably."""
    return map_tensors(value, lambda tensor: tensor.to(WIDE) if tensor.is_floating_point() else tensor)


def detached(value: _Value) -> _Value:
    """Return the same without history."""
    return map_tensors(value, Tensor.detach)


def gated(problem: Problem, keep: Bool[Tensor, "n"]) -> Problem:
    """Return the problem with no evidence about some items, so that nothing of theirs, NaN included, flows back."""
    terms = tuple(replace(term, **_gated_parts(term, keep)) for term in problem.terms)
    return replace(problem, terms=terms)


def _gated_parts(term: object, keep: Bool[Tensor, "n"]) -> dict[str, Any]:
    """The targets and weights of a term, zero for the items that are not kept."""
    parts: dict[str, Any] = {}
    for name in ("target", "mean", "weight"):
        part = getattr(term, name, None)
        if isinstance(part, Tensor):
            parts[name] = torch.where(keep.reshape(-1, *(1,) * (part.ndim - 1)), part, 0.0)
    return parts
