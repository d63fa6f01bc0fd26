# SPDX-License-Identifier: GPL-3.0-or-later
"""The command *Import Motion*: a motion, markers or keypoints of another program as a body with keys."""

from pathlib import Path

import bpy
import numpy as np
from bpy.props import EnumProperty, FloatProperty, IntProperty, IntVectorProperty, StringProperty

from ..client.file_reader import FileReader, ReadCall
from ..core.motion_file import MOTION_SUFFIXES, POINT_SUFFIXES, FileMotion, motion_record, read_motion, spread_frames
from . import runtime
from .armature import build_body, check_writable, set_shape
from .bodies import get_body, give_cameras, write_record
from .default_scene import hide_default_cube
from .file_operator import FileOperator
from .live import let_go
from .motion_keys import key_motion
from .own_body import current_body
from .pose_operators import object_mode, select_only, start_on_file, target_betas, target_body
from .posing import apply_pose
from .text import iface


class _Choices:
    """Mixin: what files do not say themselves."""

    up: EnumProperty(
        name="Up",
        description="Which way is up in the file",
        items=[
            ("AUTO", "Automatic", "As the motion looks"),
            ("Y", "Y", "As in SMPL's own world"),
            ("Z", "Z", "As in AMASS and Blender"),
            ("CAMERA", "Camera", "The axes of a camera, Y down"),
        ],
    )
    person: IntProperty(name="Person", description="Which of several persons in the file, from 0", min=0, max=1000)
    size: IntVectorProperty(
        name="Picture Size",
        description="Width and height of the picture in pixels, for keypoints on a picture; 0 where the file says it",
        size=2,
        min=0,
        max=65536,
    )
    fps: FloatProperty(
        name="Rate", description="Frames a second of the file; 0 where the file says it", min=0.0, max=1000.0
    )


class IKOL_OT_import_motion(_Choices, FileOperator, bpy.types.Operator):
    """The command *Import Motion*."""

    bl_idname = "ikol.import_motion"
    bl_label = "Import Motion"
    bl_description = (
        "Give a body the motion of a file: AMASS .npz, .smpl, HybrIK .pk, .bvh; or solve it to markers (.trc, .c3d) or "
        "keypoints (.json of OpenPose, COCO or BlazePose; of OpenPose also a folder). The solver's Python reads it"
    )
    bl_options = {"REGISTER", "UNDO"}

    filepath: StringProperty(subtype="FILE_PATH", options={"SKIP_SAVE", "HIDDEN"})

    def invoke(self, context: bpy.types.Context, _event: "bpy.types.Event") -> set[str]:
        """Ask for a file unless one is given; else start and let Blender go on."""
        if not self.filepath:
            bpy.ops.ikol.pick_motion("INVOKE_DEFAULT")
            return {"CANCELLED"}
        return self.run(context, is_modal=True)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Run to the end before returning: for scripts and background mode."""
        return self.run(context, is_modal=False)

    def begin(self, context: bpy.types.Context) -> FileReader:
        """Start the reader."""
        config = runtime.get().config()
        target = target_body(context)
        if target is not None:
            check_writable(target)
        self._target = None if target is None else target.name
        self._call = ReadCall(
            path=Path(bpy.path.abspath(self.filepath)),
            body=runtime.body_file(),
            up="" if self.up == "AUTO" else self.up.lower(),
            person=self.person,
            size=(self.size[0], self.size[1]) if all(self.size) else None,
            fps=self.fps or None,
        )
        return FileReader(config.python or runtime.local_python(), self._call)

    def waiting(self) -> str:
        """Return what is shown meanwhile."""
        return iface("IKOL: reading {name}.  Esc to cancel", name=Path(self.filepath).name)

    def finish(self, context: bpy.types.Context, path: Path) -> set[str]:
        """Give the body the motion."""
        motion = read_motion(path)
        name = self._call.path.name
        armature = None if self._target is None else get_body(self._target)
        object_mode(context)
        has_shape = self._call.is_solved or bool(self._call.body)
        count = place_motion(context, armature, motion, name, has_shape)
        self.report({"INFO"}, iface("Read {number} frames of {name}", number=count, name=name))
        have, told = current_body().num_betas, len(np.trim_zeros(motion.betas, "b"))
        if has_shape and told > have:
            left = iface("The file has {told} betas, the body {have}; the others are left out", told=told, have=have)
            self.report({"WARNING"}, left)
        runtime.redraw()
        return {"FINISHED"}


def place_motion(
    context: bpy.types.Context, armature: bpy.types.Object | None, motion: FileMotion, name: str, has_shape: bool
) -> int:
    """Key a motion on a body, a new one for None, from the current frame on; return how many frames got keys.

    Args:
        context: For the scene.
        armature: The body.
        motion: What the file holds.
        name: Of the file.
        has_shape: Whether the file's betas are those of the body in use; SMPL's mean nothing on the default body.
    """
    scene, body = context.scene, current_body()
    betas = body.complete(target_betas(armature) or (motion.betas[: body.num_betas] if has_shape else ()))
    moved = motion.on(body.tree)
    record = motion_record(name, body, moved.pose(0, betas))
    if armature is None:
        armature = build_body(context, body, betas)
        armature.name = Path(name).stem
    else:
        let_go(armature)
        set_shape(context, armature, body, betas)
        give_cameras(armature, ())  # they belong to the picture that this record replaces
    scene_fps = scene.render.fps / scene.render.fps_base
    chosen, frames = spread_frames(len(moved.quats), moved.fps, scene_fps, scene.frame_current)
    apply_pose(armature, moved.pose(0, betas))
    key_motion(armature, body.tree, Path(name).stem, frames, moved.quats[chosen], moved.transl[chosen])
    write_record(armature, record)
    scene.frame_end = max(scene.frame_end, int(frames[-1]))
    select_only(context, armature)
    hide_default_cube(context)
    scene.frame_set(scene.frame_current)
    return len(chosen)


class IKOL_OT_pick_motion(_Choices, bpy.types.Operator):
    """The command *Import Motion*."""

    bl_idname = "ikol.pick_motion"
    bl_label = "Import Motion"
    bl_description = "Choose a file with a motion, markers or keypoints and give it to a body"

    filepath: StringProperty(subtype="FILE_PATH", options={"SKIP_SAVE"})
    filter_glob: StringProperty(
        default=";".join(f"*{suffix}" for suffix in (*MOTION_SUFFIXES, *POINT_SUFFIXES)), options={"HIDDEN"}
    )

    def invoke(self, context: bpy.types.Context, _event: "bpy.types.Event") -> set[str]:
        """Open the file browser."""
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, _context: bpy.types.Context) -> set[str]:
        """Start the command that reads."""

        def command(how: str, filepath: str) -> set[str]:
            choices = {"up": self.up, "person": self.person, "size": self.size, "fps": self.fps}
            return bpy.ops.ikol.import_motion(how, filepath=filepath, **choices)

        return start_on_file(self, command, "INVOKE_DEFAULT")


class IKOL_FH_motion(bpy.types.FileHandler):
    """Motions and markers that are dropped into the 3D view."""

    bl_idname = "IKOL_FH_motion"
    bl_label = "IKOL: Import Motion"
    bl_import_operator = "ikol.import_motion"
    bl_file_extensions = ".npz;.smpl;.pk;.trc;.c3d"

    @classmethod
    def poll_drop(cls, context: bpy.types.Context) -> bool:
        """Only into the 3D view."""
        return context.area is not None and context.area.type == "VIEW_3D"
