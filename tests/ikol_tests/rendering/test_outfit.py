# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np
import pytest

from ikol.body import load_default_body
from ikol.rendering.outfit import Outfit, draw_outfit

BODY = load_default_body()
REST = BODY.v_template.numpy()
JOINT = BODY.lbs_weights.numpy().argmax(-1)
NAMES = BODY.tree.names


def _dressed(seed: int) -> Outfit:
    return replace(draw_outfit(np.random.default_rng(seed)), sleeve_x=0.68, leg_y=-1.11, barefoot=False, beard=False)


def _of(*names: str) -> np.ndarray:
    return np.isin(JOINT, [NAMES.index(name) for name in names])


@pytest.mark.parametrize("seed", range(4))
def test_clothes_cover_trunk_and_limbs_but_not_hands_and_face(seed: int) -> None:
    away = _dressed(seed).stand_off(REST)
    assert (away[_of("L_Hand", "R_Hand")] == 0.0).all()
    assert (away[_of("Spine1", "L_Elbow", "R_Elbow", "L_Knee", "R_Knee", "L_Foot")] > 0.0).all()
    face = _of("Head") & (REST[:, 2] > 0.13)
    assert (away[face] == 0.0).mean() > 0.8  # a fringe may hang over the forehead
    assert away.max() < 0.06, away.max()


@pytest.mark.parametrize("seed", range(4))
def test_colours_are_colours_and_both_sides_are_dressed_alike(seed: int) -> None:
    outfit = _dressed(seed)
    color = outfit.painted(REST)
    assert np.isfinite(color).all()
    assert color.min() >= 0.0
    assert color.max() <= 1.6  # hair's strands and light skin may be over one before light and exposure
    mirrored = outfit.stand_off(REST * (-1.0, 1.0, 1.0))
    assert ((mirrored > 0) == (outfit.stand_off(REST) > 0)).all()


def test_bald_head_is_skin() -> None:
    bald = replace(_dressed(0), hair_length=0)
    assert (bald.stand_off(REST)[_of("Head")] == 0.0).all()
