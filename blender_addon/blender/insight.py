# SPDX-License-Identifier: GPL-3.0-or-later
"""What the solver knows of the newest pose of a body: asked for by a command, or again and again while it is shown."""

import contextlib
from dataclasses import dataclass

import bpy
from bpy.app.handlers import persistent

from ..core import jobs
from ..core.errors import AddonError, SceneError
from ..core.insight import best_next_point, joint_of_point, pulls_on, spread_of
from ..core.jobs import Inspection, Job, JobResult, Steps
from ..core.keypoints import shown_points
from ..core.record import Record
from ..core.rig import ALL_JOINT_NAMES
from ..core.solver_state import Phase
from ..core.wording import POINT_LABELS
from . import runtime
from .armature import read_betas
from .bodies import find_body, get_body, read_record
from .camera import current_photo_camera
from .keypoint_properties import chosen_points
from .part_operators import part_joints
from .posing import free_joints, read_pose
from .selection import select_points
from .solve_operator import SolveOperator
from .text import draw_sentence, iface, sidebar_width

REFRESH_SECONDS = 0.25
"""Between two looks whether the pose has changed; what is shown during a drag is that of its start."""

EXPLAINED = 8
"""Lines of *Explain*."""


@dataclass
class _State:
    """What is known; names only, nothing of Blender's."""

    body: str = ""
    record: Record | None = None
    """The record that `inspection` is about."""
    inspection: Inspection | None = None
    asked: tuple[str, Record] | None = None
    """The body and record that were asked about last: also one that could not be inspected is not asked again."""
    job: Job | None = None
    """The question that the timer has asked."""


_STATE = _State()


def inspection_of(armature: bpy.types.Object) -> tuple[Record, Inspection] | None:
    """Return what is known of a body and the record that it is about, which may be older than the body's."""
    if _STATE.body != armature.name or _STATE.record is None or _STATE.inspection is None:
        return None
    return _STATE.record, _STATE.inspection


def ask(context: bpy.types.Context, armature: bpy.types.Object) -> Steps:
    """Return the steps that inspect the pose of a body.

    Raises:
        AddonError: The body cannot be read, or no bone may move.
    """
    armature = get_body(armature.name)
    record = read_record(armature)
    pose = read_pose(armature, read_betas(armature, record.solution.pose.betas))
    joints = free_joints(armature, part_joints(context, armature))
    return jobs.inspect(record, current_photo_camera(armature, record), pose, joints)


def meant_joint(context: bpy.types.Context, armature: bpy.types.Object) -> str:
    """Return the joint that the user means: the active handle's, bone's or keypoint's; empty for none."""
    if context.mode == "POSE" and context.active_pose_bone is not None:
        name = context.active_pose_bone.name
        return name if name in ALL_JOINT_NAMES else ""
    points = chosen_points(context, armature)
    return joint_of_point(points[0]) if points else ""


class _InsightOperator(SolveOperator):
    """Mixin: a command that asks what the solver knows and changes nothing of the pose."""

    bl_options = {"REGISTER"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only with a body that has evidence."""
        if find_body(context) is None:
            cls.poll_message_set(iface("Select a body that was made by Pose from Image or Solve Keypoints"))
            return False
        return True

    def prepare(self, context: bpy.types.Context) -> Steps:
        """Read the pose."""
        armature = find_body(context)
        self._armature_name = armature.name
        return ask(context, armature)


class IKOL_OT_explain(_InsightOperator, bpy.types.Operator):
    """The command *Explain*."""

    bl_idname = "ikol.explain"
    bl_label = "Explain"
    bl_description = (
        "List in the panel what holds the selected joint where it is, the strongest first: which evidence, how far the "
        "pose is from it, and how far it moves the joint"
    )

    def apply(self, context: bpy.types.Context, result: JobResult) -> str:
        """Keep the answer; the panel shows it for whatever joint is selected."""
        _keep(self._armature_name, result)
        joint = meant_joint(context, get_body(self._armature_name))
        if not joint:
            return iface("Select a handle, a bone or a keypoint to see what holds it")
        return iface("The panel lists what holds {joint}", joint=iface(POINT_LABELS[joint]))


class IKOL_OT_next_keypoint(_InsightOperator, bpy.types.Operator):
    """The command *Which Keypoint Next?*."""

    bl_idname = "ikol.next_keypoint"
    bl_label = "Which Keypoint Next?"
    bl_description = "Select the keypoint whose exact place on the photograph would make the pose surer than any other"

    def apply(self, context: bpy.types.Context, result: JobResult) -> str:
        """Select it."""
        _keep(self._armature_name, result)
        armature = get_body(self._armature_name)
        found = best_next_point(result.inspection, shown_points(result.records[0]))
        if found is None:
            raise SceneError("no keypoint would make this pose surer; every joint is held by its evidence")
        name, metres = found
        select_points(armature, (name,), name)
        return iface(
            "{point}: placing it exactly takes {gain:.1f} cm out of the pose's uncertainty",
            point=iface(POINT_LABELS[name]),
            gain=100 * metres,
        )


def draw_insight(layout: bpy.types.UILayout, context: bpy.types.Context, armature: bpy.types.Object) -> None:
    """Draw what is known of the selected joint: how sure it is, and what holds it where it is."""
    known = inspection_of(armature)
    joint = meant_joint(context, armature)
    if known is None or not joint:
        return
    record, inspection = known
    box = layout.box()
    box.label(text=iface(POINT_LABELS[joint]), icon="BONE_DATA", translate=False)
    if record is not read_record(armature):
        draw_sentence(box, iface("The pose has changed since; press Explain again"), sidebar_width(context))
        return
    position = record.solution.points.get(joint)
    if position is not None:
        spread = spread_of(inspection.joint_covariance[record.tree.index(joint)], position, record.camera)
        text = iface("Sure to {picture:.1f} cm along the picture, {depth:.1f} cm in depth")
        text = text.format(picture=100 * spread.in_picture, depth=100 * spread.depth)
        draw_sentence(box, text, sidebar_width(context))
    pulls = pulls_on(inspection, record, joint, EXPLAINED, iface)
    if not pulls:
        box.label(text="Nothing pulls at it")
    for pull in pulls:
        column = box.column(align=True)
        draw_sentence(column, pull.text, sidebar_width(context))
        row = column.row()
        row.active = False
        moved = iface("holds it by {distance:.1f} cm", distance=100 * pull.metres)
        row.label(text=f"      {moved}  ·  {pull.residual}", translate=False)


def _keep(body: str, result: JobResult) -> None:
    _STATE.body, _STATE.record, _STATE.inspection = body, result.records[0], result.inspection
    _STATE.asked = (body, result.records[0])
    runtime.redraw()


def _tick() -> float:
    """Ask again when what is shown is of an older pose; never while something else is under way."""
    with contextlib.suppress(AddonError):  # it cannot be inspected; the commands say why when they are pressed
        _refresh(bpy.context)
    return REFRESH_SECONDS


def _refresh(context: bpy.types.Context) -> None:
    job = _STATE.job
    if job is not None and job.has_ended:
        _STATE.job = None
        if job.result is not None and _STATE.asked is not None:
            _keep(_STATE.asked[0], job.result)
    if context.scene is None or not context.scene.ikol.show_uncertainty:
        return
    living = runtime.get()
    is_free = living.solver.state.phase is Phase.RUNNING and living.solver.job is None and living.live_owner is None
    armature = find_body(context)
    if not is_free or armature is None:
        return
    asked = (armature.name, read_record(armature))
    if asked == _STATE.asked:
        return
    _STATE.asked = asked
    _STATE.job = Job(ask(context, armature))
    living.solver.submit(_STATE.job, living.config())


@persistent
def forget(*_: object) -> None:
    """Forget everything: another file is open, in which a body may have the same name."""
    _STATE.__init__()


def register() -> None:
    """Look after what is shown from now on; in background mode timers never fire."""
    bpy.app.handlers.load_post.append(forget)
    bpy.app.timers.register(_tick, first_interval=REFRESH_SECONDS, persistent=True)


def unregister() -> None:
    """Forget everything."""
    if bpy.app.timers.is_registered(_tick):
        bpy.app.timers.unregister(_tick)
    if forget in bpy.app.handlers.load_post:
        bpy.app.handlers.load_post.remove(forget)
    forget()
