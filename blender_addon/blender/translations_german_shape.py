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
    "Lock Shape": "Gestalt sperren",
    "Fit Shape": "Gestalt anpassen",
    "Height": "Körpergröße",
    "Arm Span": "Armspannweite",
    "Leg Length": "Beinlänge",
    "Inseam": "Schrittlänge",
    "From the crown to the sole": "Vom Scheitel bis zur Sohle",
    "From finger tip to finger tip, arms to the sides": "Zwischen den Fingerspitzen, die Arme zur Seite gestreckt",
    "From the joints of the hips to the sole": "Von den Hüftgelenken bis zur Sohle",
    "From the crotch to the sole": "Vom Schritt bis zur Sohle",
    "The bones follow the shape; Re-solve fits the pose to the picture again": (
        "Die Knochen folgen der Gestalt; „Neu lösen“ passt die Pose wieder an das Bild an"
    ),
    "Pictures and Re-solve leave the shape of this body as it is, as for all pictures of one shot; without it, each "
    "fits the shape again": (
        "Bilder und „Neu lösen“ lassen die Gestalt dieses Körpers, wie sie ist, etwa für alle Bilder einer "
        "Einstellung; sonst passt jedes die Gestalt neu an"
    ),
    "Solve again and fit the shape to the picture once, also a locked one; the poses on all other frames get it too": (
        "Neu lösen und dabei die Gestalt einmal an das Bild anpassen, auch eine gesperrte; die Posen auf allen anderen "
        "Bildern bekommen sie auch"
    ),
}
