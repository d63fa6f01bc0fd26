# SPDX-License-Identifier: GPL-3.0-or-later
"""Which joints and landmarks belong together: limbs, and the regions of a body that move with each other."""

_LEG = {"hip", "knee", "ankle", "foot", "heel", "foot_index"}
_ARM = {"collar", "shoulder", "elbow", "wrist", "hand", "pinky", "index", "thumb"}


def limb_of(name: str) -> str:
    """Return a name that a point shares with all joints and landmarks of the same arm or leg, or of the rest."""
    side, _, part = name.lower().partition("_")
    if side[:1] not in ("l", "r") or not part:
        return "trunk"
    for limb, parts in (("leg", _LEG), ("arm", _ARM)):
        if part in parts:
            return f"{side[0]} {limb}"
    return "trunk"


def regions_of(name: str) -> set[str]:
    """Return the limb of a point; shoulders and hips belong to the trunk as well, and move with either."""
    part = name.lower().rpartition("_")[2]
    return {limb_of(name)} | ({"trunk"} if part in ("collar", "shoulder", "hip") else set())


def is_middle(name: str) -> bool:
    """Return whether a point is an elbow or a knee, which moves with the trunk while its limb's end stays."""
    return name.lower().rpartition("_")[2] in ("elbow", "knee")
