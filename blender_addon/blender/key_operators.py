# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands on keys and handles: key the pose, solve every frame of animated handles, bring handles back."""

from collections.abc import Generator

import bpy
from bpy.props import BoolProperty, IntProperty
from msgspec.structs import replace

from ..core.errors import AddonError, Fix, SceneError
from ..core.handles import without_driven
from ..core.jobs import Answer, JobResult, Step, Steps, edit_call, usable
from ..core.numbered import numbered
from ..core.record import Record
from . import runtime
from .armature import check_writable, key_pose, read_betas
from .bodies import find_body, get_body, read_record, write_record
from .camera import current_photo_camera
from .handles import find_driven, find_handles, record_with_handles, show_handles
from .keys import plan_all
from .live import let_go
from .part_operators import part_joints
from .posing import free_joints, read_pose
from .solve_operator import SolveOperator
from .text import iface

MAX_FRAMES = 10_000
"""Frames of one command; at 30 a second that is six minutes of waiting."""


class _BodyOperator:
    """Mixin: a command that needs a body."""

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only with a body that has evidence."""
        if find_body(context) is None:
            cls.poll_message_set(iface("Select a body that was made by Pose from Image or Solve Keypoints"))
            return False
        return True


class IKOL_OT_key_pose(_BodyOperator, bpy.types.Operator):
    """The command *Key Pose*."""

    bl_idname = "ikol.key_pose"
    bl_label = "Key Pose"
    bl_description = "Set keys for the whole pose on the current frame, marked as generated"
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Key the pose as it is."""
        living = runtime.get()
        try:
            armature = get_body(find_body(context).name)
            check_writable(armature)
            plan_all(armature, context.scene.frame_current).insert(armature)
        except AddonError as error:
            living.notice = error
            self.report({"ERROR"}, runtime.sentence(error))
            return {"CANCELLED"}
        if living.notice is not None and living.notice.fix is Fix.KEY_POSE:
            living.notice = None
        runtime.redraw()
        return {"FINISHED"}


class IKOL_OT_show_handles(_BodyOperator, bpy.types.Operator):
    """The command *Show Handles*."""

    bl_idname = "ikol.show_handles"
    bl_label = "Show Handles"
    bl_description = "Make the handles of the body again, such as after it was copied or appended without them"
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Make handles that are missing, put the others where they belong."""
        try:
            armature = get_body(find_body(context).name)
            check_writable(armature)
            show_handles(context, armature, read_record(armature))
        except AddonError as error:
            self.report({"ERROR"}, runtime.sentence(error))
            return {"CANCELLED"}
        return {"FINISHED"}


class IKOL_OT_solve_range(_BodyOperator, SolveOperator, bpy.types.Operator):
    """The command *Solve Frames*. Nothing is keyed before the last frame is solved, so that it can be given up."""

    bl_idname = "ikol.solve_range"
    bl_label = "Solve Frames"
    bl_description = (
        "Solve every frame with the handles where their keys, constraints and parents have them, and key the poses; "
        "each frame starts from the one before"
    )
    is_of_pose = True

    frame_start: IntProperty(name="Start", description="First frame; the scene's when both are 0", default=0)
    frame_end: IntProperty(name="End", description="Last frame; the scene's when both are 0", default=0)
    use_picture: BoolProperty(
        name="Picture Too",
        description="Let the picture have its say on every frame, and not only the handles",
        default=True,
    )

    def prepare(self, context: bpy.types.Context) -> Steps:
        """Look at the body; the frames are read one by one while the solver works."""
        scene = context.scene
        armature = get_body(find_body(context).name)
        check_writable(armature)
        is_given = (self.frame_start, self.frame_end) != (0, 0)
        first, last = (self.frame_start, self.frame_end) if is_given else (scene.frame_start, scene.frame_end)
        if last < first or last - first >= MAX_FRAMES:
            raise SceneError(f"frames {first} to {last} cannot be solved; choose 1 to {MAX_FRAMES} frames")
        self._armature_name, self._frame = armature.name, scene.frame_current
        self._frames = range(first, last + 1)
        joints = free_joints(armature, part_joints(context, armature))
        record = read_record(armature)
        self._edits = record.edits
        return self._solve_frames(record if self.use_picture else replace(record, evidence=()), joints)

    def _solve_frames(self, record: Record, joints: tuple[str, ...]) -> Generator[Step, Answer, JobResult]:
        """Go from frame to frame; however that ends, the user's frame is shown again."""
        records: list[Record] = []
        pose = None
        try:
            for index, frame in enumerate(self._frames):
                bpy.context.scene.frame_set(frame)
                armature = get_body(self._armature_name)
                pose = pose or read_pose(armature, read_betas(armature, record.solution.pose.betas))
                asked = record_with_handles(bpy.context, armature, record)
                call = edit_call(asked, current_photo_camera(armature, record), pose, joints, pose)
                shares = (index / len(self._frames), (index + 1) / len(self._frames))
                solution = usable((yield Step(call, numbered("Solving frame {number}", number=frame), *shares)))
                driven = find_driven(armature, find_handles(bpy.context.scene, armature))
                records.append(without_driven(replace(asked, solution=solution), driven))
                pose = solution.pose
        finally:
            bpy.context.scene.frame_set(self._frame)
        return JobResult(tuple(records))

    def apply(self, context: bpy.types.Context, result: JobResult) -> str:
        """Key all poses."""
        armature = get_body(self._armature_name)
        let_go(armature)
        for frame, record in zip(self._frames, result.records, strict=True):
            key_pose(armature, record.solution.pose, frame)
        shown = min(max(self._frame, self._frames[0]), self._frames[-1]) - self._frames[0]
        solved, newest = result.records[shown], read_record(armature)  # the user may have said more meanwhile
        by_handles = {point: edit for point, edit in solved.edits.items() if edit != self._edits.get(point)}
        record = replace(newest, solution=solved.solution, edits={**newest.edits, **by_handles})
        write_record(armature, record)
        context.scene.frame_set(self._frame)  # what was keyed is seen
        show_handles(context, armature, record)
        return iface("Solved {number} frames", number=len(self._frames))
