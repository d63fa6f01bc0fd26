# SPDX-License-Identifier: GPL-3.0-or-later
"""What the user chooses in the panel: stored with the scene for all bodies, with the armature for one body."""

import bpy
from bpy.props import BoolProperty, EnumProperty, FloatVectorProperty, StringProperty

from .measuring import get_measure, measure_property, set_measure
from .text import CONTEXT

PART_ITEMS = (
    ("ALL", "Whole Body", "Everything may move"),
    ("BONES", "Selected Bones", "Only the bones that are selected in pose mode"),
    ("LEFT_ARM", "Left Arm", "Collar bone, upper arm, forearm and hand on the left"),
    ("RIGHT_ARM", "Right Arm", "Collar bone, upper arm, forearm and hand on the right"),
    ("LEFT_LEG", "Left Leg", "Thigh, shin, foot and toes on the left"),
    ("RIGHT_LEG", "Right Leg", "Thigh, shin, foot and toes on the right"),
    ("UPPER_BODY", "Upper Body", "Spine, neck, head and both arms; hips and legs stay"),
    ("LOWER_BODY", "Lower Body", "Both legs; hips and upper body stay"),
    ("HEAD", "Head", "Neck and head"),
    ("TORSO", "Torso", "The three joints of the spine; arms and head go along"),
)
"""Parts of the body as Blender's enumerations want them."""


class IKOL_PG_settings(bpy.types.PropertyGroup):
    """Choices of a scene."""

    persons: EnumProperty(
        name="Persons",
        description="For whom of the picture a body is made",
        items=[
            ("ALL", "All", "Every person that is found, up to four; they share one camera"),
            ("BEST", "Largest", "Only the person that is largest on the picture"),
            ("CHOOSE", "Choose", "Mark all persons on the photograph; a click on one makes its body"),
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
    camera: EnumProperty(
        name="Camera",
        description="Which camera has taken the picture",
        items=[
            ("NEW", "New Camera", "A new camera, placed by what the picture shows"),
            (
                "SCENE",
                "Scene Camera",
                (
                    "The scene's camera; of several pictures, for each the one that shows it or has its name. Lens and "
                    "place are kept, and bodies appear where it sees them"
                ),
            ),
        ],
        default="NEW",
    )
    distortion: FloatVectorProperty(
        name="Lens Distortion",
        description="k1, k2, p1, p2 of the lens, as OpenCV's calibration gives them; all zero for a straight picture",
        size=4,
        default=(0.0, 0.0, 0.0, 0.0),
        soft_min=-1.0,
        soft_max=1.0,
        min=-10.0,
        max=10.0,
        precision=4,
        step=1,
    )
    show_people: BoolProperty(
        name="Persons", description="Show boxes around the persons that were found on the photograph", default=True
    )
    part: EnumProperty(
        name="Move",
        description="Which part of the body a solve or a drag may move; nothing else moves",
        items=PART_ITEMS,
        translation_context=CONTEXT,
        default="ALL",
    )
    show_points: BoolProperty(
        name="Keypoints", description="Show the keypoints over the photograph in the camera view", default=True
    )
    show_residuals: BoolProperty(
        name="Residuals",
        description="Show a dashed line from each keypoint to where the body has it",
        default=True,
    )
    show_uncertainty: BoolProperty(
        name="Uncertainty",
        description="Show for each joint how far it may be off: one standard deviation, in depth and along the picture",
        default=False,
    )
    show_heat: BoolProperty(
        name="Heat Map", description="Colour the mesh by how far the body misses its keypoints", default=False
    )


def _get_measure(body: "IKOL_PG_body", name: str) -> float:
    return get_measure(body.id_data, name)


def _set_measure(body: "IKOL_PG_body", name: str, value: float) -> None:
    set_measure(body.id_data, name, value)


class IKOL_PG_body(bpy.types.PropertyGroup):
    """What is chosen on one armature: the keypoints that the panel and the tool work on, its shape."""

    keep_shape: BoolProperty(
        name="Lock Shape",
        description=(
            "Pictures and Re-solve leave the shape of this body as it is, as for all pictures of one shot; without it, "
            "each fits the shape again"
        ),
        default=True,
    )
    height: measure_property("height", _get_measure, _set_measure)
    arm_span: measure_property("arm_span", _get_measure, _set_measure)
    leg_length: measure_property("leg_length", _get_measure, _set_measure)
    inseam: measure_property("inseam", _get_measure, _set_measure)
    typed_measures: StringProperty(
        name="Typed Measurements",
        description="Those that were typed in, with commas between them: they stay when another one is",
        options={"HIDDEN"},
    )

    active_point: StringProperty(name="Active Keypoint", description="The keypoint that the panel shows")
    selected_points: StringProperty(
        name="Selected Keypoints", description="Names of the selected keypoints, with commas between them"
    )
