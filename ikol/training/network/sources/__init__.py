# SPDX-License-Identifier: Apache-2.0
"""Data sets as samples to train on: the rendered one, and those that others have."""

from ikol.training.network.sources.open import open_source as open_source
