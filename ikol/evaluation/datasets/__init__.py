# SPDX-License-Identifier: Apache-2.0
"""The field's data sets, in the layouts in which it ships them. None comes with this package."""

from ikol.evaluation.datasets.agora import load_agora as load_agora
from ikol.evaluation.datasets.emdb import load_emdb as load_emdb
from ikol.evaluation.datasets.hybrik_json import load_human36m as load_human36m
from ikol.evaluation.datasets.hybrik_json import load_mpi_inf_3dhp as load_mpi_inf_3dhp
from ikol.evaluation.datasets.rendered import load_rendered as load_rendered
from ikol.evaluation.datasets.threedpw import load_3dpw as load_3dpw
