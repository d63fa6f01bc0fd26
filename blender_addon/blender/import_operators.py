# SPDX-License-Identifier: GPL-3.0-or-later
"""The command *Import Motion*: a motion, markers or keypoints of another program as a body with keys."""

import time
from pathlib import Path

import bpy
import numpy as np
from bpy.props import EnumProperty, FloatProperty, IntProperty, IntVectorProperty, StringProperty

from ..client.file_reader import FileReader, ReadCall
from ..core.errors import AddonError, SolverError
from ..core.motion_file import MOTION_SUFFIXES, POINT_SUFFIXES, FileMotion, motion_record, read_motion, spread_frames
from ..core.rig import CAMERA_PROPERTY
from . import runtime
from .armature import build_body, check_writable, set_shape
from .bodies import body_camera, get_body, write_record
from .default_scene import hide_default_cube
from .live import let_go
from .motion_keys import key_motion
from .own_body import current_body
from .pose_operators import object_mode, select_only, start_on_file, target_betas, target_body
from .posing import apply_pose
from .text import iface

TIMER_SECONDS = 0.1
WAIT_SECONDS = 600.0
"""In background mode; a sequence of some thousand frames of keypoints takes a minute."""


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


class IKOL_OT_import_motion(_Choices, bpy.types.Operator):
    """The command *Import Motion*."""

    bl_idname = "ikol.import_motion"
    bl_label = "Import Motion"
    bl_description = (
        "Give a body the motion of a file: AMASS .npz, .smpl, HybrIK .pk, .bvh; or solve it to markers (.trc, .c3d) or "
        "keypoints (.json of OpenPose, COCO or BlazePose; of OpenPose also a folder). The solver's Python reads it"
    )
    bl_options = {"REGISTER", "UNDO"}

    filepath: StringProperty(subtype="FILE_PATH", options={"SKIP_SAVE", "HIDDEN"})

    _reader: FileReader | None = None
    _timer: "bpy.types.Timer | None" = None

    def invoke(self, context: bpy.types.Context, _event: "bpy.types.Event") -> set[str]:
        """Ask for a file unless one is given; else start and let Blender go on."""
        if not self.filepath:
            bpy.ops.ikol.pick_motion("INVOKE_DEFAULT")
            return {"CANCELLED"}
        if bpy.app.background or context.window is None:
            return self.execute(context)
        if not self._begin(context):
            return {"CANCELLED"}
        self._timer = context.window_manager.event_timer_add(TIMER_SECONDS, window=context.window)
        context.window_manager.modal_handler_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Run to the end before returning: for scripts and background mode."""
        if not self._begin(context):
            return {"CANCELLED"}
        deadline = time.monotonic() + WAIT_SECONDS
        try:
            while (found := self._reader.poll()) is None:
                if time.monotonic() > deadline:
                    raise SolverError(f"the file was not read within {WAIT_SECONDS:.0f} seconds")
                time.sleep(0.01)
            return self._apply(context, found)
        except AddonError as error:
            return self._fail(error)
        finally:
            self._leave(context)

    def modal(self, context: bpy.types.Context, event: "bpy.types.Event") -> set[str]:
        """Look after the reader; everything but Esc goes on to Blender."""
        if event.type == "ESC" and event.value == "PRESS":
            self._leave(context)
            self.report({"INFO"}, iface("Cancelled"))
            return {"CANCELLED"}
        if event.type != "TIMER":
            return {"PASS_THROUGH"}
        try:
            found = self._reader.poll()
            if found is None:
                text = iface("IKOL: reading {name}.  Esc to cancel", name=Path(self.filepath).name)
                context.workspace.status_text_set(text)
                return {"PASS_THROUGH"}
            answer = self._apply(context, found)
        except AddonError as error:
            answer = self._fail(error)
        self._leave(context)
        return answer

    def cancel(self, context: bpy.types.Context) -> None:
        """Blender itself ends the command."""
        self._leave(context)

    def _begin(self, context: bpy.types.Context) -> bool:
        state = runtime.get()
        state.notice = None
        try:
            config = state.config()
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
            self._reader = FileReader(config.python or runtime.local_python(), self._call)
        except AddonError as error:
            self._fail(error)
            return False
        return True

    def _apply(self, context: bpy.types.Context, path: Path) -> set[str]:
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

    def _fail(self, error: AddonError) -> set[str]:
        runtime.get().notice = error
        runtime.redraw()
        self.report({"ERROR"}, runtime.sentence(error))
        return {"CANCELLED"}

    def _leave(self, context: bpy.types.Context) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        if self._timer is not None:
            context.window_manager.event_timer_remove(self._timer)
            self._timer = None
            context.workspace.status_text_set(None)


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
        if body_camera(armature) is not None:
            del armature[CAMERA_PROPERTY]  # it belongs to the picture that this record replaces
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
