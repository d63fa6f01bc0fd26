# SPDX-License-Identifier: GPL-3.0-or-later
"""What the user chooses in the panel, stored with the scene."""

import bpy
from bpy.props import EnumProperty


class IKOL_PG_settings(bpy.types.PropertyGroup):
    """Choices for the next picture or keypoint file."""

    persons: EnumProperty(
        name="Persons",
        description="For whom of the picture a body is made",
        items=[
            ("ALL", "All", "Every person that is found, up to four; they share one camera"),
            ("BEST", "Largest", "Only the person that is largest on the picture"),
        ],
        default="ALL",
    )
    target: EnumProperty(
        name="Pose",
        description="Which armature gets the pose",
        items=[
            ("NEW", "New Body", "A new armature for each person"),
            ("ACTIVE", "Active Body", "The IKOL armature that is active: a key on the current frame, its shape stays"),
        ],
        default="NEW",
    )
