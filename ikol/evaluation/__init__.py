# SPDX-License-Identifier: Apache-2.0
"""Metrics of the field and the data sets that they are measured on."""

from ikol.evaluation.metrics import bone_angles_deg as bone_angles_deg
from ikol.evaluation.metrics import geodesic_deg as geodesic_deg
from ikol.evaluation.metrics import mpjpe as mpjpe
from ikol.evaluation.metrics import pa_mpjpe as pa_mpjpe
from ikol.evaluation.metrics import similarity_aligned as similarity_aligned
from ikol.evaluation.metrics import twist_errors_deg as twist_errors_deg
