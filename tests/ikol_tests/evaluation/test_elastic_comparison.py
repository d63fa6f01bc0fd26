# SPDX-License-Identifier: Apache-2.0
"""What elastic bones gain and cost, each in its setting."""

from functools import cache

from ikol.evaluation.elastic_comparison import METHODS, SETTINGS, Row, compare_elastic


@cache
def rows() -> dict[tuple[str, str], Row]:
    return {(row.setting, row.method): row for row in compare_elastic(count=40)}


def test_every_setting_has_every_method_and_all_frames_converge() -> None:
    assert set(rows()) == {(setting, method) for setting in SETTINGS for method in METHODS}
    assert all(row.converged in (None, 1.0) for row in rows().values())


def test_elastic_bones_are_nearer_to_the_truth_where_lengths_are_wrong() -> None:
    rigid, elastic = (rows()["bones 5 %, noise 3 mm", method] for method in ("rigid", "elastic"))
    # 6.5 to 4.2 mm and 4.5 to 2.9 degrees on 60 frames
    assert elastic.joint_error_mm < 0.75 * rigid.joint_error_mm
    assert elastic.rotation_error_deg < 0.75 * rigid.rotation_error_deg


def test_rigid_least_squares_turns_bones_wrong_where_only_lengths_are_wrong() -> None:
    rigid, hybrik = (rows()["bones 5 %", method] for method in ("rigid", "HybrIK adaptive"))
    assert rigid.residual_mm < hybrik.residual_mm
    assert rigid.rotation_error_deg > 1.3 * hybrik.rotation_error_deg


def test_elastic_bones_take_up_noise_where_lengths_are_right() -> None:
    rigid, elastic = (rows()["noise 10 mm", method] for method in ("rigid", "elastic"))
    assert elastic.residual_mm < rigid.residual_mm
    assert rigid.joint_error_mm < elastic.joint_error_mm
