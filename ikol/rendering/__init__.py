# SPDX-License-Identifier: Apache-2.0
"""Pictures of the default body with exact truth: rasteriser, clothes, light, background, lens, data set."""
