# SPDX-License-Identifier: Apache-2.0
"""Measurements of a shape, and the shape that has them."""

import pytest
import torch

from ikol.body import load_default_body
from ikol.body.measurements import MEASURES, Measurer
from ikol.errors import InputError


@pytest.fixture(scope="module")
def measurer() -> Measurer:
    return Measurer(load_default_body(torch.float64))


def test_the_mean_bodys_measurements_are_its_meshs(measurer: Measurer) -> None:
    rest = measurer.body.v_template
    height, span, leg, inseam = measurer.measure(torch.zeros(10, dtype=torch.float64)).tolist()
    assert height == pytest.approx(float(rest[:, 1].max() - rest[:, 1].min()), abs=1e-12)
    assert span == pytest.approx(float(rest[:, 0].max() - rest[:, 0].min()), abs=1e-12)
    # adults: the inseam is 0.43 to 0.48 of the height, hip joints lie 5 to 12 cm above the crotch
    assert 0.42 < inseam / height < 0.49, inseam / height
    assert 0.03 < leg - inseam < 0.15, leg - inseam


@pytest.mark.parametrize("seed", range(4))
def test_other_shapes_are_measured_as_their_meshes_are(measurer: Measurer, seed: int) -> None:
    betas = torch.randn(10, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    rest = measurer.body.rest_vertices(betas)
    height, span = measurer.measure(betas).tolist()[:2]
    # another vertex may be the highest by a little
    assert abs(height - float(rest[:, 1].max() - rest[:, 1].min())) < 0.005
    assert abs(span - float(rest[:, 0].max() - rest[:, 0].min())) < 0.01


@pytest.mark.parametrize("wanted", [{"height": 1.85}, {"height": 1.6, "inseam": 0.72}, {"arm_span": 1.75}])
def test_a_shape_has_the_measurements_that_were_asked_for(measurer: Measurer, wanted: dict[str, float]) -> None:
    betas = measurer.betas_for(wanted)
    found = dict(zip(MEASURES, measurer.measure(betas).tolist(), strict=True))
    for name, value in wanted.items():
        assert found[name] == pytest.approx(value, abs=1e-9)  # linear: rounding only
    assert float(betas.norm()) < 4


def test_the_nearest_such_shape_is_taken(measurer: Measurer) -> None:
    near = torch.linspace(-1, 1, 10, dtype=torch.float64)
    height = float(measurer.measure(near)[0])
    assert torch.allclose(measurer.betas_for({"height": height}, near), near, atol=1e-9)
    found = measurer.betas_for({"height": height + 0.05}, near)
    other = measurer.betas_for({"height": height + 0.05})
    assert float((found - near).norm()) < float((other - near).norm())


def test_what_no_body_has_is_said_in_a_sentence(measurer: Measurer) -> None:
    with pytest.raises(InputError, match=r"no body of a plausible shape has height 4.00 m; default body's mean has"):
        measurer.betas_for({"height": 4.0})
    with pytest.raises(InputError, match=r"no body of a plausible shape has height nan"):
        measurer.betas_for({"height": float("nan")})
    with pytest.raises(InputError, match=r"measurements are height, arm_span, leg_length, inseam; got waist"):
        measurer.betas_for({"waist": 1.0})
    with pytest.raises(InputError, match="got none"):
        measurer.betas_for({})
