# SPDX-License-Identifier: GPL-3.0-or-later
"""IKOL for Blender: a photograph becomes a posed, keyed armature; moved keypoints are solved again.

Layers: blender -> client -> core -> _vendor. Only `blender` sees bpy, so that the rest can be imported and tested
anywhere; for that reason nothing is imported here before Blender asks for it.
"""


def register() -> None:
    """Register everything with Blender; undone completely when a part fails."""
    from .blender import registration

    registration.register()


def unregister() -> None:
    """Take everything back in reverse order, and end the solver process."""
    from .blender import registration

    registration.unregister()
