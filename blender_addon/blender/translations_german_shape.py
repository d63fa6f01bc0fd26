# SPDX-License-Identifier: GPL-3.0-or-later
"""German: fingers and face, shape and measurements, other programs' files."""

_SIDES = {"Left": ("Linker", "Linkes"), "Right": ("Rechter", "Rechtes")}
"""By gender: masculine, neuter."""

_FINGERS = {
    "Index": "Zeigefinger", "Middle": "Mittelfinger", "Pinky": "kleiner Finger", "Ring": "Ringfinger",
    "Thumb": "Daumen",
}  # fmt: skip

_FINGER_JOINTS = {
    f"{side} {finger} {part} (joint)": f"{german} {name} {part} (Gelenk)"
    for side, (german, _) in _SIDES.items()
    for finger, name in _FINGERS.items()
    for part in (1, 2, 3)
}

SHAPE = {
    **_FINGER_JOINTS,
    **{f"{side} Eye (joint)": f"{german} Auge (Gelenk)" for side, (_, german) in _SIDES.items()},
    "Jaw (joint)": "Kiefer (Gelenk)",
}
