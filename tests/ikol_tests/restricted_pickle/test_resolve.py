# SPDX-License-Identifier: Apache-2.0
"""Arrays out of a pickle's stand-ins; what is no array says so."""

import time
from collections.abc import Mapping

import numpy as np
import pytest

from ikol.errors import FileFormatError
from ikol.restricted_pickle import ChumpyObject, Opaque, SparseMatrix, resolve_array


def sparse(**changed: object) -> SparseMatrix:
    state: dict[str, object] = {
        "_shape": (2, 3),
        "indptr": np.array([0, 1, 1, 2]),
        "indices": np.array([0, 1]),
        "data": np.array([5.0, 6.0]),
    }
    return SparseMatrix("csc_matrix", state | changed)


def test_forms_of_sparse_matrices_agree() -> None:
    dense = np.array([[5.0, 0, 0], [0, 0, 6.0]])
    rows: Mapping[str, object] = {"_shape": (2, 3), "data": np.array([5.0, 6.0])}
    by_row = {**rows, "indptr": np.array([0, 1, 2]), "indices": np.array([0, 2])}
    by_place = {**rows, "row": np.array([0, 1]), "col": np.array([0, 2])}
    for matrix in (sparse(), SparseMatrix("csr_matrix", by_row), SparseMatrix("coo_matrix", by_place)):
        np.testing.assert_array_equal(resolve_array(matrix, "J", "a", 1000), dense)


def test_lists_of_numbers_become_arrays() -> None:
    np.testing.assert_array_equal(resolve_array([[1, 2.5], (3, 4)], "x", "a", 1000), [[1, 2.5], [3, 4]])


def shared_nest() -> object:
    nest: object = [1.0] * 1000
    for _ in range(20):
        nest = [nest] * 1000
    return nest


def chain(length: int) -> object:
    value: object = np.ones(1)
    for _ in range(length):
        value = ChumpyObject("Ch", {"x": value})
    return value


def deep_list(depth: int) -> object:
    value: list[object] = []
    for _ in range(depth):
        value = [value]
    return value


WRONG: dict[str, tuple[object, str]] = {
    "huge sparse": (sparse(_shape=(10**9, 10**9)), "it is a matrix of 1000000000 x 1000000000 numbers"),
    "negative sparse": (sparse(_shape=(-2, 3)), "it is a matrix of -2 x 3 numbers"),
    "index outside": (sparse(indices=np.array([0, 7])), "out of bounds"),
    "negative index": (sparse(indices=np.array([0, -1])), "negative indices"),
    "float index": (sparse(indices=np.array([0.5, 1.0])), "its indices are 2 of type float64"),
    "pointers": (sparse(indptr=np.array([0, 1, 1, 9])), "its pointers do not fit its content"),
    "few pointers": (sparse(indptr=np.array([0, 2])), "its pointers do not fit its content"),
    "no data": (SparseMatrix("csc_matrix", {"_shape": (2, 2)}), "is not an array"),
    "a computation": (ChumpyObject("add", {"a": np.ones(2), "b": np.ones(2)}), "it is a add, a computation"),
    "selection outside": (ChumpyObject("Select", {"a": np.ones(2), "idxs": np.array([5])}), "out of bounds"),
    "deep chumpy": (chain(20), "a chumpy expression of more than 8 levels"),
    "laughing list": (shared_nest(), "it is a list of more than"),
    "deep list": (deep_list(5000), "it is a list of lists, more than 32 deep"),
    "ragged": ([[1.0], [1.0, 2.0]], "is not an array"),
    "objects": ([1.0, Opaque("os", "system")], "it is a list with a Opaque in it"),
    "too large": (np.ones(1 << 20), "it takes 8388608 bytes, at most 1000000 are accepted"),
    "nothing": (None, "it is a NoneType"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_array_says_why(name: str) -> None:
    value, sentence = WRONG[name]
    with pytest.raises(FileFormatError, match=sentence) as caught:
        resolve_array(value, "J_regressor", "body.pkl", 1_000_000)
    assert str(caught.value).startswith("body.pkl: J_regressor is not an array: ")


def test_shared_parts_are_counted_once_each() -> None:
    value: list[object] = [0] * 1000
    for _ in range(3):
        value = [value] * 1000
    start = time.process_time()
    with pytest.raises(FileFormatError, match="it is a list of more than 33554432 items"):
        resolve_array(value, "J_regressor", "body.pkl", 1 << 28)
    seconds = time.process_time() - start
    assert seconds < 2.0, seconds  # four lists take milliseconds; each of the 33 million items took 18 s together
