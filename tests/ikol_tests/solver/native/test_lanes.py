# SPDX-License-Identifier: Apache-2.0
"""The algebra of lanes.h, its layer of Clang's vectors and its scalar layer, against numpy in higher precision."""

import ctypes
from collections.abc import Callable

import native_build
import numpy as np
import pytest
from numpy.typing import NDArray

Array = NDArray[np.floating]
Probe = Callable[[str, Array], Array]
FUNCTIONS = {"atan2": (2, 1), "acos": (1, 1), "sincos": (1, 2), "exp": (3, 9), "log": (9, 3)}  # numbers in, out
LAYERS = {"clang 1": ("clang", 1), "clang 8": ("clang", 8), "scalar": ("any", 1)}
MARKS = {"clang 1": pytest.mark.slow, "clang 8": pytest.mark.slow}  # zig builds its runtime library first


@pytest.fixture(scope="module", params=[pytest.param(name, marks=MARKS.get(name, ())) for name in LAYERS])
def probe(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Probe:
    kind, lanes = LAYERS[request.param]
    compiler = native_build.find_clang() if kind == "clang" else native_build.find_any_compiler()
    if compiler is None:
        pytest.skip(reason="no Clang (the ziglang package has one)" if kind == "clang" else "no C++ compiler")
    flags = (f"-DIKOL_LANES={lanes}", *(("-DIKOL_SCALAR",) if kind == "any" else ()), "-Wno-bitwise-instead-of-logical")
    out = tmp_path_factory.mktemp("lanes") / "probe.so"
    native_build.build(compiler, native_build.SUPPORT / "lanes_probe.cpp", out, *flags)
    function = ctypes.CDLL(str(out)).lanes_probe

    def call(name: str, values: Array) -> Array:
        reads, writes = FUNCTIONS[name]
        values = np.ascontiguousarray(values).reshape(-1, reads)
        assert len(values) % 8 == 0
        found = np.full((len(values), writes), np.nan, values.dtype)
        pointers = (ctypes.c_void_p(each.ctypes.data) for each in (values, found))
        is_double = int(values.dtype == np.float64)
        function(list(FUNCTIONS).index(name), is_double, ctypes.c_int64(len(values)), *pointers)
        return found

    return call


def ulps(found: Array, wanted: Array) -> float:
    """The largest error in units of the last place of the wanted numbers."""
    return float(np.max(np.abs(found.astype(np.longdouble) - wanted) / np.spacing(np.abs(wanted).astype(found.dtype))))


def all_directions(dtype: type) -> Array:
    """Points (y, x) all round, of all sizes, with the axes and the diagonals."""
    generator = np.random.default_rng(0)
    points = generator.standard_normal((40000, 2)) * 10.0 ** generator.uniform(-6, 6, (40000, 2))
    exact = np.array([(0, 1), (1, 0), (0, -1), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1)])
    return np.concatenate((points, exact)).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_atan2_is_within_three_units_in_the_last_place(probe: Probe, dtype: type) -> None:
    points = all_directions(dtype)
    wanted = np.arctan2(*points.T.astype(np.longdouble))
    assert ulps(probe("atan2", points)[:, 0], wanted) < 3


def test_atan2_of_nothing_is_zero(probe: Probe) -> None:
    assert not probe("atan2", np.zeros((8, 2))).any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_acos_is_within_four_units_in_the_last_place(probe: Probe, dtype: type) -> None:
    ends = 1 - 10.0 ** np.linspace(-7 if dtype == np.float32 else -15, 0, 4000)
    values = np.concatenate((ends, -ends, np.linspace(-1, 1, 8000))).astype(dtype)
    values = values[np.abs(values) < 1]
    values = values[: len(values) // 8 * 8]
    assert ulps(probe("acos", values)[:, 0], np.arccos(values.astype(np.longdouble))) < 4


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sine_and_cosine_are_within_two_units_of_one(probe: Probe, dtype: type) -> None:
    angles = np.linspace(-100, 100, 80000).astype(dtype)
    exact = angles.astype(np.longdouble)
    # absolute: near their zeros far from 0 the reduction of the angle, not the series, is what counts
    error = np.abs(probe("sincos", angles) - np.stack((np.sin(exact), np.cos(exact)), axis=1)).max()
    assert error < 2 * np.finfo(dtype).eps, error


def rotvecs(dtype: type) -> Array:
    """Of all lengths from 1e-9 to just below pi, about all axes."""
    generator = np.random.default_rng(1)
    axis = generator.standard_normal((8000, 3))
    angle = np.concatenate((np.pi - 10.0 ** np.linspace(-2, -0.1, 4000), 10.0 ** np.linspace(-9, 0.4, 4000)))
    return (axis / np.linalg.norm(axis, axis=1, keepdims=True) * angle[:, None]).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_logarithm_undoes_the_exponential(probe: Probe, dtype: type) -> None:
    vectors = rotvecs(dtype)
    error = np.abs(probe("log", probe("exp", vectors)) - vectors).max()
    # a matrix holds its angle to one rounding, here of entries up to 1 that are sums of three
    assert error < 8 * np.finfo(dtype).eps, error


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_exponential_is_rodrigues_formula(probe: Probe, dtype: type) -> None:
    vectors = rotvecs(dtype)
    exact = vectors.astype(np.longdouble)
    angle = np.linalg.norm(exact, axis=1)[:, None, None]
    cross = np.zeros((len(exact), 3, 3), np.longdouble)
    for i, j, k, sign in ((2, 1, 0, 1), (1, 2, 0, -1), (0, 2, 1, 1), (2, 0, 1, -1), (1, 0, 2, 1), (0, 1, 2, -1)):
        cross[:, i, j] = sign * exact[:, k]
    wanted = np.eye(3) + np.sin(angle) / angle * cross + (1 - np.cos(angle)) / angle**2 * cross @ cross
    error = np.abs(probe("exp", vectors).reshape(-1, 3, 3) - wanted).max()
    assert error < 4 * np.finfo(dtype).eps, error


def test_logarithm_of_half_a_turn_is_one_of_the_two(probe: Probe) -> None:
    axis = np.array(
        [(1, 0, 0), (0, 1, 0), (0, 0, 1), (0.6, 0.8, 0), (0, 0.6, -0.8), (-0.8, 0, 0.6), (1, 0, 0), (0, -1, 0)]
    )
    turns = 2 * axis[:, :, None] * axis[:, None, :] - np.eye(3)
    found = probe("log", turns)
    same = np.minimum(np.abs(found - np.pi * axis).max(axis=1), np.abs(found + np.pi * axis).max(axis=1))
    assert same.max() < 1e-15 * np.pi * 2, same


def test_logarithm_of_no_turn_is_zero(probe: Probe) -> None:
    assert not probe("log", np.tile(np.eye(3), (8, 1, 1))).any()
