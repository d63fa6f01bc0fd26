# SPDX-License-Identifier: Apache-2.0
"""The learned head: one person's landmarks to the body's joints, twists and shape, each with its uncertainty."""

from ikol.regressor.head.inputs import HeadInput as HeadInput
from ikol.regressor.head.network import HeadNetwork as HeadNetwork
from ikol.regressor.head.network import HeadOutput as HeadOutput
from ikol.regressor.head.prediction import HeadPrediction as HeadPrediction
from ikol.regressor.head.prediction import LandmarkHead as LandmarkHead
from ikol.regressor.head.weights import load_head as load_head
