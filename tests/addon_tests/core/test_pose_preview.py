# SPDX-License-Identifier: Apache-2.0
import numpy as np
from numpy_body import BODY_PATH

from blender_addon.core.body import load_body
from blender_addon.core.pose_conversion import to_blender
from blender_addon.core.pose_preview import SIZE, draw_preview


def test_a_body_with_its_arms_out_is_seen_from_the_front_upright():
    body = load_body(BODY_PATH)
    picture = draw_preview(to_blender(body.v_template), body.faces)
    seen = picture[:, :, 3] > 0
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    assert SIZE * 0.8 < max(np.ptp(rows), np.ptp(columns)) < SIZE
    widths = seen.sum(axis=1)
    assert widths[rows[-1] - 8] < widths[int(rows[0] + 0.8 * np.ptp(rows))]  # the head above, arms wide below it
    holes = seen[int(rows.mean()), columns[0] : columns[-1]]
    assert np.count_nonzero(np.diff(holes.astype(int))) <= 6  # legs or waist: no pattern of missing pixels
    assert picture[:, :, :3][seen].min() > 0.2


def test_what_is_nearer_hides_what_is_behind():
    x, z = np.meshgrid(np.linspace(-1, 1, 120), np.linspace(-1, 1, 120))
    front = np.stack([x, np.zeros_like(x), z], axis=-1).reshape(-1, 3)
    corner = (np.arange(119)[:, None] * 120 + np.arange(119)).ravel()
    fan = np.concatenate(
        [np.stack([corner, corner + 1, corner + 121], 1), np.stack([corner, corner + 121, corner + 120], 1)]
    )
    behind = 0.5 * front + [0, 1, 0]
    picture = draw_preview(
        np.concatenate([front, behind]),
        np.concatenate([fan, fan[:, ::-1] + len(front)]),  # the one behind faces away: dark
    )
    seen = picture[:, :, 3] > 0
    assert seen.mean() > 0.7
    assert picture[:, :, 0][seen].min() > 0.4
