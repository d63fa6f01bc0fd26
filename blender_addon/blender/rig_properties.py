# SPDX-License-Identifier: GPL-3.0-or-later
"""What is chosen about a rig, kept on its armature: the bones, the source, where it stands, whether keys are set."""

import bpy
from bpy.props import BoolProperty, CollectionProperty, EnumProperty, PointerProperty, StringProperty

_KEPT = {"LIBRARY_OVERRIDABLE"}
"""Of a rig that is linked from another file and overridden, as characters mostly are, the choices are kept here."""


def _is_source(settings: bpy.types.PropertyGroup, candidate: bpy.types.Object) -> bool:
    return candidate.type == "ARMATURE" and candidate != settings.id_data


class IKOL_PG_rig_joint(bpy.types.PropertyGroup):
    """One joint and its bone; `name` is the joint."""

    bone: StringProperty(name="Bone", description="The bone of the rig that moves from this joint on", override=_KEPT)
    is_guessed: BoolProperty(
        name="Guessed", description="The bone's name does not tell its joint; look at it", override=_KEPT
    )


class IKOL_PG_rig(bpy.types.PropertyGroup):
    """Choices about one rig."""

    joints: CollectionProperty(
        type=IKOL_PG_rig_joint,
        name="Joints",
        description="The bones of the joints",
        override=_KEPT | {"USE_INSERTION"},
    )
    way: StringProperty(name="Found By", description="How the bones were found", override=_KEPT)
    source: PointerProperty(
        type=bpy.types.Object,
        poll=_is_source,
        name="Like",
        description="The IKOL body, or another posed armature, whose pose the rig takes",
        override=_KEPT,
    )
    place: EnumProperty(
        name="Place",
        description="Where the rig stands",
        items=[
            (
                "PHOTO",
                "On the Photograph",
                "The rig keeps its size and stands on the floor; its own camera sees it where the photograph shows the "
                "person, whose keypoints act on the rig itself. Without a photograph as Where It Stands",
            ),
            ("SCENE", "Where It Stands", "Feet and hands are where the body has them in the scene"),
            ("OWN", "Where the Rig Is", "The pose is taken about the rig's own origin; it stays where you put it"),
        ],
        default="PHOTO",
        override=_KEPT,
    )
    camera: PointerProperty(
        type=bpy.types.Object,
        name="Camera",
        description="That sees the rig as the photograph shows the person",
        override=_KEPT,
    )
    stride: EnumProperty(
        name="Steps",
        description="How far apart the feet are, and how far they go, on longer or shorter legs",
        items=[
            ("SAME", "As They Are", "Feet stand where those of the body stand"),
            ("LEGS", "By the Legs", "Ways along the floor grow with the length of the legs, as for a giant or a child"),
        ],
        default="SAME",
        override=_KEPT,
    )
    set_keys: BoolProperty(name="Set Keys", description="Key the bones that are posed", default=True, override=_KEPT)


CLASSES = (IKOL_PG_rig_joint, IKOL_PG_rig)


def register() -> None:
    """Give every object the choices; the classes are registered already."""
    bpy.types.Object.ikol_rig = PointerProperty(type=IKOL_PG_rig, override=_KEPT)


def unregister() -> None:
    """Take them back."""
    if hasattr(bpy.types.Object, "ikol_rig"):
        del bpy.types.Object.ikol_rig
