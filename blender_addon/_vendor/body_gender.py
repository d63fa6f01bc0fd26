# generated from ikol/exchange by scripts/vendor_protocol.py; do not edit
# SPDX-License-Identifier: Apache-2.0
"""Whose body a model file is: betas of one gender's mean something else on another's, and motions name it.

The files themselves do not say it. The add-on has a copy of this file (scripts/vendor_protocol.py). Imports: Python's.
"""

import re
from pathlib import PurePath
from typing import Literal

Gender = Literal["female", "male", "neutral"]


def gender_of_file(path: str) -> Gender:
    """Return the gender of a body by its file's name, else by its folder's, as in the official downloads.

    `SMPL_FEMALE.pkl`, `basicmodel_m_lbs_10_207_0_v1.1.0.pkl`, `SMPLX_MALE.npz`, `smplh/female/model.npz`.
    """
    words = re.findall("[a-z]+", PurePath(path).stem.lower())
    folder = PurePath(path).parent.name.lower()
    if any("female" in word for word in words) or "f" in words:
        return "female"
    if any("male" in word for word in words) or "m" in words:
        return "male"
    if any("neutral" in word for word in words):
        return "neutral"
    return "female" if folder == "female" else "male" if folder == "male" else "neutral"
