# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from numpy_body import BODY_PATH
from own_body import own_arrays, write_own_body

from blender_addon.core.body import load_body
from blender_addon.core.errors import SceneError
from blender_addon.core.measurements import MEASURES, measurer_of
from ikol.body.default_body import load_default_body
from ikol.body.measurements import MEASURES as IKOL_MEASURES
from ikol.body.measurements import Measurer as IkolMeasurer

BETAS = (1.0, -1.0, 0.5, 0, 0, 0, 0, 2.0, 0, 0)
NONE = (0.0,) * 10


@pytest.fixture(scope="module")
def measurer():
    return measurer_of(load_body(BODY_PATH))


@pytest.mark.parametrize("betas", [NONE, BETAS])
def test_the_measurements_are_those_of_the_library(measurer, betas):
    assert MEASURES == IKOL_MEASURES
    expected = IkolMeasurer(load_default_body(dtype=torch.float64)).measure(torch.tensor(betas, dtype=torch.float64))
    got = list(measurer.measure(betas).values())
    assert np.abs(np.array(got) - expected.numpy()).max() < 1e-9  # the same sums, float64


def test_a_shape_is_found_by_its_measurements_and_stays_near_the_other(measurer):
    betas = measurer.betas_for({"height": 1.80, "inseam": 0.83}, BETAS)
    found = measurer.measure(betas)
    assert abs(found["height"] - 1.80) < 1e-6  # a linear system of two rows, solved in float64
    assert abs(found["inseam"] - 0.83) < 1e-6
    back = measurer.betas_for({"height": measurer.measure(BETAS)["height"]}, BETAS)
    assert np.abs(np.subtract(back, BETAS)).max() < 1e-9  # it has that height already


def test_an_impossible_body_is_refused_with_what_is_usual(measurer):
    with pytest.raises(
        SceneError, match=r"no body of a plausible shape has height 3\.00 m; the mean has height 1\.\d+ m"
    ):
        measurer.betas_for({"height": 3.0}, NONE)


def test_a_mesh_without_a_crotch_has_no_inseam(tmp_path):
    apart = own_arrays()["v_template"].copy()
    apart[np.abs(apart[:, 0]) < 0.05, 0] += 0.2
    measurer = measurer_of(load_body(write_own_body(tmp_path / "own.npz", v_template=apart)))
    assert set(measurer.measure((0.0,) * 12)) == {"height", "arm_span", "leg_length"}
