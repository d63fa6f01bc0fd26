# SPDX-License-Identifier: Apache-2.0
import torch

from ikol.body.default_body import load_default_body
from ikol.body.ends import end_points


def test_ends_are_top_of_the_head_finger_tips_and_toes() -> None:
    body = load_default_body(dtype=torch.float64)
    ends = end_points(body)
    places = dict(zip(ends.names, ends.rest, strict=True))
    assert set(places) == {"L_Foot_end", "R_Foot_end", "Head_end", "L_Hand_end", "R_Hand_end"}
    vertices = body.v_template
    # within 2 cm of the body's extremes: the tip is that of one bone's direction, not of an axis
    assert float(vertices[:, 1].max() - places["Head_end"][1]) < 0.02
    assert float(vertices[:, 0].max() - places["L_Hand_end"][0]) < 0.02
    assert float(places["R_Hand_end"][0] - vertices[:, 0].min()) < 0.02
    assert float(vertices[:, 2].max() - places["L_Foot_end"][2]) < 0.02
