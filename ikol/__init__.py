# SPDX-License-Identifier: Apache-2.0
"""IKOL: an inverse-kinematics optimisation layer, its body, and the pipeline from a picture to a pose."""
