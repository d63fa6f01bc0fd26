# SPDX-License-Identifier: Apache-2.0
"""Pickles of unknown origin as data: nothing that they name is imported or called."""

from ikol.restricted_pickle.objects import ChumpyObject as ChumpyObject
from ikol.restricted_pickle.objects import ObjectArray as ObjectArray
from ikol.restricted_pickle.objects import Opaque as Opaque
from ikol.restricted_pickle.objects import SparseMatrix as SparseMatrix
from ikol.restricted_pickle.read import load_pickle as load_pickle
from ikol.restricted_pickle.read import read_pickle as read_pickle
from ikol.restricted_pickle.resolve import resolve_array as resolve_array
from ikol.restricted_pickle.rules import PickleLimits as PickleLimits
