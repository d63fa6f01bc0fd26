# SPDX-License-Identifier: Apache-2.0
"""What a head says: shapes, the camera's axes, the mirror."""

import math
from dataclasses import replace

import pytest
import torch
from head_people import one_person, random_network, some_people

from ikol.body.default_body import load_default_body
from ikol.regressor.head import LandmarkHead
from ikol.regressor.head.inputs import NUM_COMPONENTS
from ikol.regressor.head.network import InnerComponents
from ikol.regressor.head.prediction import (
    MIRRORED_JOINTS,
    MIRRORED_NODES,
    Calibration,
    circular_sigma,
    run_both_ways,
)
from ikol.regressor.landmarks import BLAZEPOSE_LANDMARKS, NUM_INNER


def test_a_prediction_has_the_body_and_is_finite() -> None:
    head = LandmarkHead(random_network(), Calibration(), "a body")
    first, second = head.predict([one_person(), one_person(1)], (900.0, 900.0), (500.0, 500.0))
    assert first.joints is not None
    assert first.landmarks_sigma is not None
    assert first.betas_body == "a body"
    assert first.joints.shape == (24, 3)
    assert first.landmarks_sigma.shape == (33, 3)
    for value in vars(first).values():
        assert isinstance(value, str) or torch.as_tensor(value).isfinite().all()
    assert second.joints is not None
    assert not torch.equal(first.joints, second.joints)


def test_nobody_is_told_nothing() -> None:
    head = LandmarkHead(random_network(), Calibration(), "")
    assert head.predict([], (900.0, 900.0), (0.0, 0.0)) == []


def test_a_mirrored_person_gets_the_mirrored_answer() -> None:
    people, network = some_people(6), random_network()
    with torch.no_grad():
        one, other = run_both_ways(network, people), run_both_ways(network, people.mirrored())
    nodes, joints = list(MIRRORED_NODES), list(MIRRORED_JOINTS)
    flip = torch.tensor([-1.0, 1.0, 1.0])
    # float32, sums of two terms of order 1
    assert (other.joints - one.joints[:, nodes] * flip).abs().max() < 1e-5
    assert (other.twist - one.twist[:, joints] * torch.tensor([1.0, -1.0])).abs().max() < 1e-5
    assert (other.concentration - one.concentration[:, joints]).abs().max() < 1e-3  # of up to 400
    assert (other.betas - one.betas).abs().max() < 1e-5


def test_inner_values_count_and_their_absence_is_allowed() -> None:
    network = random_network()
    generator = torch.Generator().manual_seed(0)
    # more crops than components, each of which then has unit spread
    network.components.fit(torch.randn(NUM_COMPONENTS + 88, NUM_INNER, generator=generator))
    head, plain = LandmarkHead(network, Calibration(), ""), one_person()
    told = [
        replace(plain, inner=torch.randn(2, NUM_INNER, generator=generator)),
        replace(plain, inner=torch.randn(2, NUM_INNER, generator=generator)),
    ]
    first, second, third = head.predict([plain, *told], (900.0, 900.0), (500.0, 500.0))
    (alone,) = head.predict([plain], (900.0, 900.0), (500.0, 500.0))
    assert first.joints is not None
    assert second.joints is not None
    assert third.joints is not None
    assert alone.joints is not None
    # float32; one matrix product more rows than the other
    assert (first.joints - alone.joints).abs().max() < 1e-5
    assert (second.joints - third.joints).abs().max() > 1e-3
    assert (first.joints - second.joints).abs().max() > 1e-3


def test_components_have_half_the_spread_that_they_were_fitted_with() -> None:
    components = InnerComponents()
    generator = torch.Generator().manual_seed(0)
    mixed = torch.randn(700, 700, generator=generator) @ torch.randn(700, NUM_INNER, generator=generator)
    components.fit(mixed)
    found = components(mixed)
    assert found.shape == (700, NUM_COMPONENTS)
    # the mean of 512 spreads; single ones are off by some percent, as the directions are found by random projections
    assert float(found.std(0).mean()) == pytest.approx(0.5, rel=0.05)
    assert float(found.mean(0).abs().max()) < 0.05


def test_calibration_multiplies_the_standard_deviations() -> None:
    network, person = random_network(), [one_person()]
    plain, wide = (
        LandmarkHead(network, calibration, "").predict(person, (900.0, 900.0), (500.0, 500.0))[0]
        for calibration in (Calibration(), Calibration(2.0, 2.0, 3.0, 4.0, 5.0))
    )
    for name, factor in (("joints_sigma", 2.0), ("twist_sigma", 3.0), ("betas_sigma", 4.0), ("depth_sigma", 5.0)):
        ratio = torch.as_tensor(getattr(wide, name)) / torch.as_tensor(getattr(plain, name))
        assert (ratio - factor).abs().max() < 1e-4, name
    assert plain.joints is not None
    assert wide.joints is not None
    assert torch.equal(plain.joints, wide.joints)


@pytest.mark.parametrize(("concentration", "sigma"), [(400.0, 0.05), (100.0, 0.1), (4.0, 0.54)])
def test_the_spread_of_an_angle(concentration: float, sigma: float) -> None:
    # 1/sqrt(kappa) where it is narrow; 0.54 from I1(4)/I0(4) = 0.8635
    assert float(circular_sigma(torch.tensor(concentration))) == pytest.approx(sigma, rel=0.01)


def test_nothing_known_of_an_angle_is_a_large_finite_spread() -> None:
    assert math.pi / 2 < float(circular_sigma(torch.tensor(0.0))) < 10.0


def test_the_mirror_knows_the_bodys_left_and_right() -> None:
    names = load_default_body().tree.names
    other = {"L_": "R_", "R_": "L_"}
    assert [names[index] for index in MIRRORED_JOINTS] == [other.get(name[:2], name[:2]) + name[2:] for name in names]
    landmarks = [BLAZEPOSE_LANDMARKS[index - 29] for index in MIRRORED_NODES[29:]]
    assert landmarks[:3] == ["nose", "right_eye_inner", "right_eye"]
