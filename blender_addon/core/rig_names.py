# SPDX-License-Identifier: GPL-3.0-or-later
"""Bone names of the field, as `ikol solve` knows them too: a copy of ikol/exchange/bone_names.py."""

from .._vendor.bone_names import (
    AUTO_RIG_CONTROL,
    FOLLOWERS,
    NEEDED_LIMBS,
    CoreName,
    best_bone,
    core_name,
    name_limbs,
    trunk_joints,
)

__all__ = (
    "AUTO_RIG_CONTROL",
    "FOLLOWERS",
    "NEEDED_LIMBS",
    "CoreName",
    "best_bone",
    "core_name",
    "name_limbs",
    "trunk_joints",
)
