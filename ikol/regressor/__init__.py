# SPDX-License-Identifier: Apache-2.0
"""Picture -> landmarks of the persons in it, with confidence; the networks run on torch alone."""

from ikol.regressor.image import DecodedImage as DecodedImage
from ikol.regressor.image import decode_image as decode_image
from ikol.regressor.landmarks import BLAZEPOSE_LANDMARKS as BLAZEPOSE_LANDMARKS
from ikol.regressor.landmarks import LEFT_RIGHT as LEFT_RIGHT
from ikol.regressor.person import PersonLandmarks as PersonLandmarks
from ikol.regressor.regressor import LandmarkRegressor as LandmarkRegressor
