# SPDX-License-Identifier: Apache-2.0
"""The joint tree: names, parents and the index tables that follow from them.

Here: topology only. Not here: lengths and rotations. Imports: torch, ikol.errors.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from ikol.errors import InputError


@dataclass(frozen=True)
class JointTree:
    """A tree of named joints, parents before children, joint 0 the only root.

    The tables are made once and live on the CPU.
    """

    names: tuple[str, ...]
    """One distinct name a joint."""
    parents: tuple[int, ...]
    """Index of each joint's parent, smaller than its own; -1 for the root."""

    def __post_init__(self) -> None:
        if len(self.names) != len(self.parents) or not self.names:
            raise InputError(
                f"a skeleton needs one parent for each name and at least one joint, got {len(self.names)} names and "
                f"{len(self.parents)} parents"
            )
        repeated = sorted({name for name in self.names if self.names.count(name) > 1})
        if repeated:
            raise InputError(f"joint names must differ, got {', '.join(repeated)} more than once")
        if self.parents[0] != -1:
            raise InputError(f"the first joint must be the root with parent -1, got parent {self.parents[0]}")
        for joint, parent in enumerate(self.parents[1:], start=1):
            if not 0 <= parent < joint:
                raise InputError(
                    f"joint {joint} ({self.names[joint]}) must have a parent between 0 and {joint - 1}, got {parent}; "
                    "list parents before their children, under one root"
                )

    @property
    def num_joints(self) -> int:
        """How many joints there are."""
        return len(self.names)

    @cached_property
    def children(self) -> tuple[tuple[int, ...], ...]:
        """The indices of each joint's children."""
        lists: list[list[int]] = [[] for _ in self.parents]
        for joint, parent in enumerate(self.parents[1:], start=1):
            lists[parent].append(joint)
        return tuple(tuple(children) for children in lists)

    @cached_property
    def depths(self) -> tuple[int, ...]:
        """How many bones lie between the root and each joint."""
        depths = [0]
        for parent in self.parents[1:]:
            depths.append(depths[parent] + 1)
        return tuple(depths)

    @cached_property
    def levels(self) -> tuple[tuple[int, ...], ...]:
        """The joints of each depth, the root first."""
        return tuple(
            tuple(joint for joint, depth in enumerate(self.depths) if depth == level)
            for level in range(max(self.depths) + 1)
        )

    @cached_property
    def ancestor_mask(self) -> Bool[Tensor, "joints joints"]:
        """Whether joint j (second index) is k (first index) or lies between k and the root."""
        mask = torch.eye(self.num_joints, dtype=torch.bool)
        for joint, parent in enumerate(self.parents[1:], start=1):
            mask[joint] |= mask[parent]
        return mask

    @cached_property
    def ancestor_jumps(self) -> Int[Tensor, "rounds joints"]:
        """The 1st, 2nd, 4th, 8th ... ancestor of each joint; `num_joints` where there is none."""
        outside = self.num_joints
        jump = torch.tensor([outside if parent < 0 else parent for parent in self.parents] + [outside])
        rounds: list[Tensor] = []
        for _ in range(max(self.depths).bit_length()):
            rounds.append(jump[:-1])
            jump = jump[jump]
        return torch.stack(rounds) if rounds else torch.zeros((0, self.num_joints), dtype=torch.long)

    def index(self, name: str) -> int:
        """Return the index of the joint called `name`.

        Raises:
            InputError: no joint has this name.
        """
        if name not in self.names:
            raise InputError(f"the skeleton has no joint {name!r}; its joints are {', '.join(self.names)}")
        return self.names.index(name)
