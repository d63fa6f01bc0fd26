# SPDX-License-Identifier: Apache-2.0
"""Training of the head between the landmarks and the solver, through the IKOL layer."""
