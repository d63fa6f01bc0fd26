# SPDX-License-Identifier: GPL-3.0-or-later
"""Under which name Blender knows this add-on: it depends on the repository that it was installed from."""

BASE_PACKAGE = (__package__ or "").rpartition(".")[0]
"""Such as `bl_ext.user_default.ikol`."""
