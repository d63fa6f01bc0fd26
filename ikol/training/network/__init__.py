# SPDX-License-Identifier: Apache-2.0
"""End-to-end training of the picture network through the layer, as the paper trains it."""
