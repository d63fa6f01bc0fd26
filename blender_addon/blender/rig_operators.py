# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands of *Pose My Rig*: find the bones, keep them as a preset, pose the rig on this frame or on all."""

import bpy
import numpy as np
from bpy.props import BoolProperty, EnumProperty, StringProperty

from ..core.errors import AddonError, SceneError
from ..core.jobs import JobResult, Steps
from ..core.photo import PHOTO_SUFFIXES
from ..core.rig_bones import FloatArray
from ..core.rig_fingers import posed_hands
from ..core.rig_job import Task, pose_rig, posed
from ..core.rig_mapping import RigMap, check_map, map_of_preset
from ..core.rig_photo import on_photograph, on_photographs
from ..core.rig_placement import Placement
from ..core.rig_skeleton import Posed, Skeleton, calibrated
from . import runtime
from .bodies import find_bodies, get_body, is_body
from .correctives import adopt_correctives
from .pose_operators import FilePicker, PosesPicture, select_only, start_on_file
from .rig_photo import read_shots, show_camera, show_source
from .rig_scene import (
    choose_map,
    chosen_fingers,
    chosen_map,
    find_map,
    read_fingers,
    read_limits,
    read_locks,
    read_presets,
    read_source,
    rest_bones,
    rig_fingers,
    rig_skeleton,
    save_preset,
    source_skeleton,
    to_scene,
)
from .rig_writing import Written, check_rig, is_unknown_control_rig, key_rig, use_controls, why_not_kept, write_pose
from .solve_operator import SolveOperator
from .text import capitalised, iface

FAR = 0.01  # metres of a joint from where it was solved: a foot that should stand does not
MOST_FRAMES = 2000
"""Of one command; each takes some 20 ms and is held in memory until all are done."""


def find_rig(context: bpy.types.Context) -> bpy.types.Object | None:
    """Return the armature that is to be posed: the active one, or that of the active mesh, and no IKOL body."""
    candidate = context.view_layer.objects.active
    while candidate is not None and candidate.type != "ARMATURE":
        candidate = candidate.find_armature() or candidate.parent
    return None if candidate is None or is_body(candidate) else candidate


def find_source(context: bpy.types.Context, rig: bpy.types.Object) -> bpy.types.Object | None:
    """Return what the rig is posed like: the one that is chosen, else the only IKOL body of the scene."""
    chosen = rig.ikol_rig.source
    if chosen is not None and chosen.name in context.scene.objects:
        return chosen
    bodies = find_bodies(context.scene)
    return bodies[0] if len(bodies) == 1 else None


class _RigCommand:
    """Mixin: only with a rig."""

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only with an armature that is no IKOL body."""
        if find_rig(context) is None:
            cls.poll_message_set(iface("Select the rig to pose: an armature that IKOL did not make"))
            return False
        return True


def _show(command: bpy.types.Operator, rig: bpy.types.Object, found: RigMap) -> None:
    """Show what was found in the panel, and say what was not."""
    choose_map(rig, found)
    if found.missing:
        missing = ", ".join(found.missing[:4])
        command.report({"WARNING"}, iface("Not found: {joints}; choose these bones yourself", joints=missing))
    else:
        number = len(found.bones) + len(found.fingers)
        command.report({"INFO"}, iface("Found {number} bones", number=number))


class IKOL_OT_find_rig_bones(_RigCommand, bpy.types.Operator):
    """The command *Find Bones*."""

    bl_idname = "ikol.find_rig_bones"
    bl_label = "Find Bones"
    bl_description = "Find which bone of the rig is which joint, by your presets, the bones' names, or the rest pose"
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Look, and show what was found."""
        rig = find_rig(context)
        found = find_map(rig)
        _show(self, rig, found)
        return {"FINISHED"}


class IKOL_OT_save_rig_preset(_RigCommand, bpy.types.Operator):
    """The command *Save Preset*."""

    bl_idname = "ikol.save_rig_preset"
    bl_label = "Save Preset"
    bl_description = "Keep these bones in your folder, for all rigs that have bones of these names"

    name: StringProperty(name="Name", description="Of the preset")

    def invoke(self, context: bpy.types.Context, _event: "bpy.types.Event") -> set[str]:
        """Ask for a name."""
        self.name = self.name or find_rig(context).name
        return context.window_manager.invoke_props_dialog(self)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Write the file."""
        try:
            rig = find_rig(context)
            path = save_preset(self.name, {**chosen_map(rig), **chosen_fingers(rig)})
        except AddonError as error:
            self.report({"ERROR"}, runtime.sentence(error))
            return {"CANCELLED"}
        self.report({"INFO"}, iface("Saved {file}", file=path.name))
        return {"FINISHED"}


_preset_items: list[tuple[str, str, str]] = []  # Blender keeps no reference to the strings of an enumeration


def _list_presets(_self: object, _context: object) -> list[tuple[str, str, str]]:
    _preset_items[:] = [(name, name, "") for name in read_presets()]
    return _preset_items


class IKOL_OT_load_rig_preset(_RigCommand, bpy.types.Operator):
    """The command *Load Preset*."""

    bl_idname = "ikol.load_rig_preset"
    bl_label = "Load Preset"
    bl_description = "Take the bones of a preset that you saved"
    bl_options = {"REGISTER", "UNDO"}
    bl_property = "preset"

    preset: EnumProperty(name="Preset", description="One that you saved", items=_list_presets)

    def invoke(self, context: bpy.types.Context, _event: "bpy.types.Event") -> set[str]:
        """Let one be chosen."""
        if not read_presets():
            self.report({"WARNING"}, iface("There is no preset yet; save one with Save Preset"))
            return {"CANCELLED"}
        context.window_manager.invoke_search_popup(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Show its bones."""
        rig = find_rig(context)
        _show(self, rig, map_of_preset(rest_bones(rig), read_presets().get(self.preset, {}), self.preset))
        return {"FINISHED"}


class IKOL_OT_pose_rig(SolveOperator, bpy.types.Operator):
    """The command *Pose My Rig*."""

    bl_idname = "ikol.pose_rig"
    bl_label = "Pose My Rig"
    bl_description = (
        "Pose the selected rig like the body: solved on its own bones, so that feet stand and hands touch whatever its "
        "proportions"
    )

    whole_range: BoolProperty(name="All Frames", description="Every frame of the scene's range", options={"SKIP_SAVE"})

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only with a rig."""
        return _RigCommand.poll.__func__(cls, context)

    def prepare(self, context: bpy.types.Context) -> Steps:
        """Read the rig, its limits, and the source's pose on each frame."""
        rig = find_rig(context)
        if rig is None:
            raise SceneError("select the rig to pose: an armature that IKOL did not make")
        source = find_source(context, rig)
        if source is None:
            raise SceneError("choose under Like which body the rig is posed like; Pose from Image makes one")
        if not chosen_map(rig):
            choose_map(rig, find_map(rig))
        theirs = source_skeleton(source)
        own = calibrated(rig_skeleton(rig), theirs)
        check_rig(rig, own)
        self._rig_name, self._skeleton = rig.name, own
        self._frames = self._chosen_frames(context.scene)
        settings = rig.ikol_rig
        in_scene = settings.place != "OWN"
        self._own_fingers, self._their_fingers = rig_fingers(rig, own), rig_fingers(source, theirs)
        poses = self._read(context, source, theirs, in_scene)
        stride = own.leg_length / theirs.leg_length if settings.stride == "LEGS" else 1.0
        placement = Placement(np.linalg.inv(to_scene(rig, own)) if in_scene else np.eye(4))
        fps = context.scene.render.fps / context.scene.render.fps_base
        limits, locks = read_limits(rig, own), read_locks(rig, own)
        task = Task(own, tuple(poses), placement, limits, 0.0, fps, stride, locks)
        self._source_name, self._placement = source.name, placement
        if settings.place == "PHOTO":
            task = self._before_photograph(context, source, task)
        return pose_rig(task)

    def _before_photograph(self, context: bpy.types.Context, source: bpy.types.Object, task: Task) -> Task:
        shots, why = read_shots(context, source, self._frames, task.placement)
        if shots and self.whole_range:
            return on_photographs(task, shots)
        if shots and shots[0].shows(task.frames[0]):
            return on_photograph(task, shots[0])
        why = "the body was posed otherwise since; use Re-solve" if shots else why
        if why:
            self.report({"WARNING"}, capitalised(iface("the photograph has no say: {reason}", reason=iface(why))))
        return task

    def _chosen_frames(self, scene: bpy.types.Scene) -> list[int]:
        if not self.whole_range:
            return [scene.frame_current]
        frames = list(range(scene.frame_start, scene.frame_end + 1))
        if not 0 < len(frames) <= MOST_FRAMES:
            raise SceneError(f"the scene has {len(frames)} frames, at most {MOST_FRAMES} are posed at once; shorten it")
        return frames

    def _read(
        self, context: bpy.types.Context, source: bpy.types.Object, skeleton: Skeleton, in_scene: bool
    ) -> list[Posed]:
        scene, now = context.scene, context.scene.frame_current
        poses: list[Posed] = []
        fingers: list[dict[str, FloatArray]] = []
        try:
            for frame in self._frames:
                if frame != scene.frame_current:
                    scene.frame_set(frame)
                poses.append(read_source(source, skeleton, in_scene))
                fingers.append(read_fingers(source, self._their_fingers))
        finally:
            if scene.frame_current != now:
                scene.frame_set(now)
        self._finger_turns = posed_hands(fingers)
        return poses

    def apply(self, context: bpy.types.Context, result: JobResult) -> str:
        """Write the poses, and say how well the rig took them."""
        rig = bpy.data.objects.get(self._rig_name)
        if rig is None or rig.type != "ARMATURE":
            raise SceneError(f"the rig {self._rig_name} is gone; nothing was changed")
        if any(joint.bone not in rig.pose.bones for joint in self._skeleton.joints):
            raise SceneError(f"bones of {rig.name} were removed meanwhile; find its bones again")
        check_rig(rig, self._skeleton)
        adopt_correctives(rig)
        rest, done, unkeyed = rest_bones(rig), list[Written](), ()
        now = context.scene.frame_current
        for frame, pose, turns in zip(self._frames, result.rig_poses, self._finger_turns, strict=True):
            if len(self._frames) > 1:
                context.scene.frame_set(frame)  # controls and drivers may be animated
            touched = use_controls(rig, rest, self._skeleton)
            fingers = self._own_fingers.turned(self._their_fingers, turns, posed(self._skeleton, pose), self._placement)
            done.append(write_pose(rig, rest, self._skeleton, pose, fingers))
            if rig.ikol_rig.set_keys:
                unkeyed += key_rig(rig, done[-1].bones, touched, frame)
        lost = why_not_kept(rig, self._skeleton, touched, unkeyed if rig.ikol_rig.set_keys else None)
        if lost:
            self.report({"WARNING"}, capitalised(lost))
        if context.scene.frame_current != now:
            context.scene.frame_set(now)
        worst = max(done, key=lambda written: written.residual)
        self._warn(rig, worst)
        if result.rig_px < 0.0:
            return iface("Posed {rig}, joints within {residual:.1f} mm", rig=rig.name, residual=1e3 * worst.residual)
        source = bpy.data.objects.get(self._source_name)
        if source is not None and result.rig_camera is not None:
            show_camera(context, rig, source, result.rig_camera)
        return iface("Posed {rig}, keypoints met within {pixels:.1f} px", rig=rig.name, pixels=result.rig_px)

    def _warn(self, rig: bpy.types.Object, worst: Written) -> None:
        """Say of which bones the pose is not seen, or not kept by the user's own controls."""
        followers, bones = worst.followers, ", ".join(worst.followers[:4])
        if is_unknown_control_rig(rig, self._skeleton):
            text = iface(
                "the controls of {rig} are not known: its deform bones were posed instead; choose its FK controls "
                "under Bones to pose by these",
                rig=rig.name,
            )
            if followers:
                text = iface(
                    "the controls of {rig} are not known: its deform bones were posed instead, and constraints hold "
                    "{bones}; choose its FK controls under Bones, or mute the constraints",
                    rig=rig.name,
                    bones=bones,
                )
        elif followers:
            text = iface("{bones} follow constraints and not their pose; mute these", bones=bones)
        elif worst.residual > FAR:
            text = iface(
                "{joint} is {far:.0f} mm from where it was solved: limits in world space, of a location or of a scale, "
                "or scaled bones put it there",
                joint=worst.joint,
                far=1e3 * worst.residual,
            )
        else:
            return
        self.report({"WARNING"}, capitalised(text))


class IKOL_OT_pick_rig_image(_RigCommand, FilePicker, bpy.types.Operator):
    """The command *Pose My Rig from Image*."""

    bl_idname = "ikol.pick_rig_image"
    bl_label = "Pose My Rig from Image"
    bl_description = "Choose a photograph; the selected rig gets the pose of the person on it"

    filepath: StringProperty(subtype="FILE_PATH", options={"SKIP_SAVE"})
    filter_glob: StringProperty(default=";".join(f"*{suffix}" for suffix in PHOTO_SUFFIXES), options={"HIDDEN"})

    def execute(self, _context: bpy.types.Context) -> set[str]:
        """Start the command that poses."""
        return start_on_file(self, bpy.ops.ikol.pose_rig_from_image, "INVOKE_DEFAULT")


class IKOL_OT_pose_rig_from_image(PosesPicture, bpy.types.Operator):
    """Poses a body by a photograph, hides it, and poses the rig like it."""

    bl_idname = "ikol.pose_rig_from_image"
    bl_label = "Pose My Rig from Image"
    bl_description = IKOL_OT_pick_rig_image.bl_description

    is_of_one_person = True

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only with a rig."""
        return _RigCommand.poll.__func__(cls, context)

    def target(self, context: bpy.types.Context) -> bpy.types.Object | None:
        """Return the body of the rig's last photograph."""
        rig = find_rig(context)
        self._rig_name = rig.name
        check_map(rest_bones(rig), chosen_map(rig) or find_map(rig).bones)  # before a body is made for nothing
        source = rig.ikol_rig.source
        is_known = source is not None and is_body(source) and source.name in context.scene.objects
        return get_body(source.name) if is_known else None

    def apply(self, context: bpy.types.Context, result: JobResult) -> str:
        """Make the body, and take note of it."""
        message = super().apply(context, result)
        rig, body = bpy.data.objects.get(self._rig_name), context.view_layer.objects.active
        if rig is None or rig.type != "ARMATURE":
            raise SceneError(f"the rig {self._rig_name} is gone; there is a body in its place")
        rig.ikol_rig.source = body
        show_source(context, body, is_visible=False)
        select_only(context, rig)
        return message

    def _finish(self, context: bpy.types.Context) -> set[str]:
        outcome = super()._finish(context)
        if outcome != {"FINISHED"}:
            return outcome
        is_free = not bpy.app.background and context.window is not None
        bpy.ops.ikol.pose_rig("INVOKE_DEFAULT" if is_free else "EXEC_DEFAULT")
        return outcome


class IKOL_OT_show_rig_source(bpy.types.Operator):
    """The command *Show Body*."""

    bl_idname = "ikol.show_rig_source"
    bl_label = "Show Body"
    bl_description = "Show or hide the body that the rig is posed like: its keypoints are edited on it"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only with a rig that has a body."""
        rig = find_rig(context)
        source = None if rig is None else find_source(context, rig)
        return source is not None and is_body(source)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Show what is hidden, hide what is shown."""
        source = find_source(context, find_rig(context))
        show_source(context, source, is_visible=not source.visible_get())
        return {"FINISHED"}


CLASSES = (
    IKOL_OT_find_rig_bones,
    IKOL_OT_save_rig_preset,
    IKOL_OT_load_rig_preset,
    IKOL_OT_pose_rig,
    IKOL_OT_pick_rig_image,
    IKOL_OT_pose_rig_from_image,
    IKOL_OT_show_rig_source,
)
