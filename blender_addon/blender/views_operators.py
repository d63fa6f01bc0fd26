# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands on several photographs at once: of one pose from several sides, or of one person in several poses."""

from dataclasses import dataclass
from pathlib import Path

import bpy
from bpy.props import CollectionProperty, EnumProperty, StringProperty

from ..core import views_jobs
from ..core.body import BodyData
from ..core.errors import AddonError, SceneError
from ..core.jobs import JobResult, Steps
from ..core.photo import PHOTO_SUFFIXES, Orientation, read_photo
from ..core.record import PhotoCamera
from ..core.wording import count_text
from . import runtime
from .bodies import body_camera, body_to_world, get_body, give_cameras
from .camera import build_camera, get_camera, look_through, place_camera, show_photo_once, take_shape
from .default_scene import hide_default_cube
from .handles import show_handles
from .lens import body_place, lens_of, match_cameras
from .own_body import current_body
from .pose_operators import object_mode, place_body, say_doubts, select_only, start, target_betas, target_body
from .solve_operator import SolveOperator
from .text import iface

SPACING = 1.5
"""Metres between the bodies of one person in several poses: stretched arms take a little more."""

DIALOG_WIDTH = 320


class SeveralPictures:
    """Mixin: the chosen files, and what they have in common."""

    directory: StringProperty(subtype="DIR_PATH", options={"SKIP_SAVE", "HIDDEN"})
    files: CollectionProperty(type=bpy.types.OperatorFileListElement, options={"SKIP_SAVE", "HIDDEN"})
    same: EnumProperty(
        name="Pictures Show",
        description="What the pictures have in common",
        items=[
            (
                "pose",
                "One Pose",
                "One person at one moment, from several sides: one body, and a camera for each picture",
            ),
            (
                "person",
                "One Person",
                "One person in several poses: a body for each picture, side by side, all of the same shape",
            ),
        ],
        default="pose",
        options={"SKIP_SAVE"},
    )

    def paths(self) -> list[Path]:
        """Return the chosen files.

        Raises:
            AddonError: They are too few or too many, or one is among them twice.
        """
        folder = Path(bpy.path.abspath(self.directory))
        paths = [folder / each.name for each in self.files if each.name]
        views_jobs.check_number(len(paths))
        twice = next((path for path in paths if paths.count(path) > 1), None)
        if twice is not None:
            raise SceneError(f"{twice.name} was chosen more than once; choose different pictures")
        return paths


@dataclass(frozen=True)
class _Picture:
    """A picture file, how it must be turned, and which camera of the scene has taken it; None for a new one."""

    path: Path
    orientation: Orientation
    camera_name: str | None


class IKOL_OT_pose_from_images(SeveralPictures, SolveOperator, bpy.types.Operator):
    """The command *Pose from Several Images*."""

    bl_idname = "ikol.pose_from_images"
    bl_label = "Pose from Several Images"
    bl_description = (
        "Find the person on two to eight photographs and solve all of them together: one pose that was seen from "
        "several sides, or one person in several poses"
    )

    def invoke(self, context: bpy.types.Context, event: "bpy.types.Event") -> set[str]:
        """Ask for files unless some are given."""
        if not self.files:
            bpy.ops.ikol.pick_images("INVOKE_DEFAULT")
            return {"CANCELLED"}
        return super().invoke(context, event)

    def draw(self, _context: bpy.types.Context) -> None:
        """Draw nothing: another choice would solve again at once, and Blender would stand still meanwhile."""

    def prepare(self, context: bpy.types.Context) -> Steps:
        """Read the picture files."""
        settings, paths = context.scene.ikol, self.paths()
        if self.same == "person" and settings.camera == "SCENE":
            raise SceneError(
                "the scene's cameras are for pictures of one pose; choose New Camera in the panel, or One Pose"
            )
        if self.same == "person" and settings.target != "NEW":
            raise SceneError("each pose of one person becomes a body of its own; choose New Body in the panel")
        photos = [read_photo(path) for path in paths]
        armature = target_body(context)
        names = match_cameras(context, paths) if settings.camera == "SCENE" else [None] * len(paths)
        self._pictures = [
            _Picture(path, photo.orientation, name) for path, photo, name in zip(paths, photos, names, strict=True)
        ]
        place = body_place(armature)
        self._frame = context.scene.frame_current
        self._armature_name = None if armature is None else armature.name
        return views_jobs.pose_from_images(
            photos,
            self.same,
            runtime.get_preferences().model,
            target_betas(armature),
            [lens_of(context, each.camera_name, place, each.path, each.orientation) for each in self._pictures],
        )

    def apply(self, context: bpy.types.Context, result: JobResult) -> str:
        """Make bodies, cameras and handles."""
        body = current_body()
        target = None if self._armature_name is None else get_body(self._armature_name)
        for picture in self._pictures:
            if picture.camera_name is not None:
                get_camera(picture.camera_name)  # before any body is made: the user may have removed it meanwhile
        object_mode(context)
        if self.same == "pose":
            armature = self._place_pose(context, body, result, target)
        else:
            armature = self._place_person(context, body, result)
        select_only(context, armature)
        hide_default_cube(context)
        look_through(context)
        say_doubts(self, result.records)
        pictures = count_text(len(self._pictures), "{number} picture", "{number} pictures", iface)
        missed = max(record.solution.reprojection_px for record in result.records)
        return iface("Posed from {pictures}, keypoints met within {pixels:.1f} px", pictures=pictures, pixels=missed)

    def _place_pose(
        self, context: bpy.types.Context, body: BodyData, result: JobResult, target: bpy.types.Object | None
    ) -> bpy.types.Object:
        """Make one body with a camera for each picture; the first one's is the body's and the scene's."""
        (record,) = result.records
        armature = place_body(context, body, record, target, self._frame)
        cameras = [
            self._build_camera(context, armature, photo, picture)
            for photo, picture in zip(result.cameras, self._pictures, strict=True)
        ]
        give_cameras(armature, cameras)
        self._look_through_first(context, armature, result.cameras[0])
        show_handles(context, armature, record)
        return armature

    def _place_person(self, context: bpy.types.Context, body: BodyData, result: JobResult) -> bpy.types.Object:
        """Make a body and a camera for each picture, side by side, and return the first."""
        armatures: list[bpy.types.Object] = []
        for number, (record, picture) in enumerate(zip(result.records, self._pictures, strict=True)):
            armature = place_body(context, body, record, None, self._frame)
            armature.location.x += number * SPACING
            context.view_layer.update()
            give_cameras(armature, (self._build_camera(context, armature, record.camera, picture),))
            show_handles(context, armature, record)
            armatures.append(armature)
        self._look_through_first(context, armatures[0], result.records[0].camera)
        return armatures[0]

    def _look_through_first(self, context: bpy.types.Context, armature: bpy.types.Object, photo: PhotoCamera) -> None:
        """Let the scene render through a body's camera, in the shape of its picture: new others have left theirs."""
        context.scene.camera = body_camera(armature)
        if self._pictures[0].camera_name is None:
            place_camera(context, context.scene.camera, photo, body_to_world(armature))
        else:
            take_shape(context.scene, photo)

    def _build_camera(
        self, context: bpy.types.Context, armature: bpy.types.Object, photo: PhotoCamera, picture: _Picture
    ) -> bpy.types.Object:
        """Return the camera of a picture, with the picture behind: one of the scene as it stands, else a new one."""
        if picture.camera_name is None:
            return build_camera(context, photo, picture.path, picture.orientation, body_to_world(armature))
        camera = get_camera(picture.camera_name)
        show_photo_once(camera, picture.path, picture.orientation)
        return camera


class IKOL_OT_pick_images(SeveralPictures, bpy.types.Operator):
    """The command *Pose from Several Images*: asks for files, or of dropped ones what they show."""

    bl_idname = "ikol.pick_images"
    bl_label = "Pose from Several Images"
    bl_description = "Choose two to eight photographs of one pose from several sides, or of one person in several poses"

    filter_glob: StringProperty(default=";".join(f"*{suffix}" for suffix in PHOTO_SUFFIXES), options={"HIDDEN"})

    def invoke(self, context: bpy.types.Context, _event: "bpy.types.Event") -> set[str]:
        """Open the file browser, or ask what the dropped files show."""
        if not self.files:
            context.window_manager.fileselect_add(self)
            return {"RUNNING_MODAL"}
        try:
            self.paths()
        except AddonError as error:
            runtime.get().notice = error
            runtime.redraw()
            self.report({"ERROR"}, runtime.sentence(error))
            return {"CANCELLED"}
        return context.window_manager.invoke_props_dialog(self, width=DIALOG_WIDTH)

    def draw(self, _context: bpy.types.Context) -> None:
        """Draw the choice, in the file browser and for dropped files."""
        self.layout.prop(self, "same", expand=True)

    def execute(self, _context: bpy.types.Context) -> set[str]:
        """Start the command that poses."""
        files = [{"name": each.name} for each in self.files]
        command = bpy.ops.ikol.pose_from_images
        return start(self, command, "INVOKE_DEFAULT", directory=self.directory, files=files, same=self.same)
