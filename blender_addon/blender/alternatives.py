# SPDX-License-Identifier: GPL-3.0-or-later
"""The command *Alternatives*: other poses of a limb that fit the picture about as well, as ghosts to choose from."""

import contextlib
from dataclasses import dataclass

import blf
import bpy
import gpu
import numpy as np
from bpy.props import EnumProperty
from bpy_extras.view3d_utils import location_3d_to_region_2d
from gpu_extras.batch import batch_for_shader

from ..core import jobs
from ..core.body_parts import joints_of_part
from ..core.errors import AddonError
from ..core.insight import FloatArray, limb_of_joint, limb_points
from ..core.jobs import Alternative, JobResult, Steps
from ..core.keypoints import forget_depth
from ..core.pose_conversion import body_to_scene
from ..core.rig import TREES
from ..core.swaps import SWAPS, swap_sides
from . import runtime
from .armature import read_betas
from .bodies import body_to_world, find_body, get_body, read_record
from .camera import current_photo_camera
from .insight import meant_joint
from .live import LIVE_SECONDS, LiveDrag
from .photo_scene import ui_scale
from .posing import apply_pose, body_tree, read_pose, remember_bones, restore_bones
from .solve_operator import SolveOperator
from .text import iface

SETTLE_SECONDS = 1.0
"""How long the taken pose waits for its last answer, so that it is in the undo step; one takes some 20 ms."""

GHOST = (0.95, 0.95, 0.95, 0.55)
CHOSEN = (1.0, 0.75, 0.15, 1.0)
FONT = 0
FONT_SIZE = 13.0
LABEL_OFFSET = 28.0
LINE_HEIGHT = 18.0
"""Pixels at a resolution scale of 1: the costs stand below the limb's end, where no keypoint's own label is."""

_NEXT = {"RIGHT_ARROW", "DOWN_ARROW", "WHEELDOWNMOUSE", "TAB"}
_PREVIOUS = {"LEFT_ARROW", "UP_ARROW", "WHEELUPMOUSE"}
_TAKE = {"RET", "NUMPAD_ENTER", "LEFTMOUSE", "SPACE"}
_LEAVE = {"ESC", "RIGHTMOUSE"}


@dataclass(frozen=True)
class _Choice:
    """What is shown while the user chooses."""

    body: str
    limb: str
    found: tuple[Alternative, ...]
    chosen: int = 0


class _Holder:
    choice: _Choice | None = None
    handles: tuple[object, ...] = ()


class IKOL_OT_alternatives(SolveOperator, bpy.types.Operator):
    """The command *Alternatives*."""

    bl_idname = "ikol.alternatives"
    bl_label = "Alternatives"
    bl_description = (
        "Show up to four poses of a limb that fit the picture about as well; arrow keys go through them, Enter takes "
        "one, Esc leaves all as it was"
    )
    bl_options = {"REGISTER"}  # no UNDO: taking a pose makes its step when the solver has answered

    limb: EnumProperty(
        name="Limb",
        description="Which limb may be posed another way",
        items=[
            ("SELECTED", "Of the Selection", "The limb of the selected handle, bone or keypoint"),
            ("left_arm", "Left Arm", "Upper arm and forearm on the left"),
            ("right_arm", "Right Arm", "Upper arm and forearm on the right"),
            ("left_leg", "Left Leg", "Thigh and shin on the left"),
            ("right_leg", "Right Leg", "Thigh and shin on the right"),
            ("head", "Head", "Neck and head"),
            ("torso", "Torso", "The lean of the upper body"),
            ("arms", "Arms Swapped", "The left arm is the right one"),
            ("legs", "Legs Swapped", "The left leg is the right one"),
            ("sides", "Sides Swapped", "The body faces the other way: all that is left is right"),
        ],
        default="SELECTED",
        options={"SKIP_SAVE"},
    )

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only with a body that was made from a photograph."""
        armature = find_body(context)
        if armature is None:
            cls.poll_message_set(iface("Select a body that was made by Pose from Image"))
            return False
        return True

    def prepare(self, context: bpy.types.Context) -> Steps:
        """Read the pose."""
        armature = get_body(find_body(context).name)
        self._armature_name = armature.name
        self._limb = limb_of_joint(meant_joint(context, armature)) if self.limb == "SELECTED" else self.limb
        record = read_record(armature)
        pose = read_pose(armature, read_betas(armature, record.solution.pose.betas))
        return jobs.alternatives(record, current_photo_camera(armature, record), pose, self._limb)

    def apply(self, context: bpy.types.Context, result: JobResult) -> str:
        """Begin to choose; without a window there is nobody to choose."""
        found = result.alternatives.solutions
        limb = iface("Left and right" if self._limb in SWAPS else self._limb.replace("_", " ").title())
        if len(found) < 2:
            return iface("{limb}: no other pose fits the picture about as well", limb=limb)
        text = iface("{limb}: {number} poses fit the picture about as well", limb=limb, number=len(found))
        if not bpy.app.background and context.window is not None:
            _Holder.choice = _Choice(self._armature_name, self._limb, found)
            bpy.ops.ikol.choose_alternative("INVOKE_DEFAULT")
        return text


class IKOL_OT_choose_alternative(bpy.types.Operator):
    """Choosing among the poses that *Alternatives* has found."""

    bl_idname = "ikol.choose_alternative"
    bl_label = "Choose Alternative"
    bl_description = "Go through the poses that Alternatives has found, and take one"
    bl_options = {"REGISTER", "INTERNAL"}

    @classmethod
    def poll(cls, _context: bpy.types.Context) -> bool:
        """Only when there is something to choose from."""
        return _Holder.choice is not None

    def invoke(self, context: bpy.types.Context, _event: "bpy.types.Event") -> set[str]:
        """Show the first pose."""
        try:
            armature = get_body(_Holder.choice.body)
        except AddonError as error:
            return self._fail(error)
        self._bones = remember_bones(armature)
        self._drag: LiveDrag | None = None
        self._ticks = 0
        self._timer = context.window_manager.event_timer_add(LIVE_SECONDS, window=context.window)
        _show_ghosts()
        self._show(context, 0)
        context.window_manager.modal_handler_add(self)
        return {"RUNNING_MODAL"}

    def modal(self, context: bpy.types.Context, event: "bpy.types.Event") -> set[str]:
        """Go through the poses; the view can still be turned."""
        try:
            if self._drag is not None:
                return self._settle(context, event)
            if event.value != "PRESS":
                return {"PASS_THROUGH"}
            if event.type in _NEXT | _PREVIOUS:
                self._show(context, _Holder.choice.chosen + (1 if event.type in _NEXT else -1))
            elif event.type in _TAKE:
                self._take(context)
            elif event.type in _LEAVE:
                self._restore(context)
                return {"CANCELLED"}
            else:
                return {"PASS_THROUGH"}
        except AddonError as error:
            self._restore(context)
            return self._fail(error)
        return {"RUNNING_MODAL"}

    def cancel(self, context: bpy.types.Context) -> None:
        """Blender itself ends the command."""
        self._restore(context)

    def _restore(self, context: bpy.types.Context) -> None:
        """Leave the body as it was before."""
        with contextlib.suppress(AddonError):  # it is gone
            if self._drag is not None:
                self._drag.cancel(context)
            restore_bones(get_body(_Holder.choice.body), self._bones)
        self._leave(context)

    def _show(self, context: bpy.types.Context, number: int) -> None:
        choice = _Holder.choice
        number %= len(choice.found)
        _Holder.choice = _Choice(choice.body, choice.limb, choice.found, number)
        apply_pose(get_body(choice.body), choice.found[number].pose)
        text = iface("Pose {number} of {count}", number=number + 1, count=len(choice.found))
        keys = iface("Arrow keys: another, Enter: take it, Esc: leave all as it was")
        context.workspace.status_text_set(f"IKOL: {text}.  {keys}")
        runtime.redraw()

    def _take(self, context: bpy.types.Context) -> None:
        """Solve from the chosen pose with what the user has decided: the network's depth of the limb has no say."""
        choice = _Holder.choice
        armature = get_body(choice.body)
        if choice.limb in SWAPS:
            self._drag = LiveDrag(context, armature, ())
            record = self._drag.record
            self._drag.update(record if choice.chosen == 0 else swap_sides(record, choice.limb))
            return
        self._drag = LiveDrag(context, armature, joints_of_part(choice.limb, body_tree(armature)))
        self._drag.update(forget_depth(self._drag.record, limb_points(choice.limb)))

    def _settle(self, context: bpy.types.Context, event: "bpy.types.Event") -> set[str]:
        if event.type != "TIMER":
            return {"RUNNING_MODAL"}
        self._ticks += 1
        self._drag.pump(context)
        if not self._drag.is_settled and self._ticks * LIVE_SECONDS < SETTLE_SECONDS:
            return {"RUNNING_MODAL"}
        self._drag.finish(context, iface("Take Alternative"))
        self._leave(context)
        return {"FINISHED"}

    def _leave(self, context: bpy.types.Context) -> None:
        context.window_manager.event_timer_remove(self._timer)
        context.workspace.status_text_set(None)
        _hide_ghosts()
        runtime.redraw()

    def _fail(self, error: AddonError) -> set[str]:
        runtime.get().notice = error
        self.report({"ERROR"}, runtime.sentence(error))
        return {"CANCELLED"}


def _limb_ends(choice: _Choice, found: Alternative) -> FloatArray:
    """Return the ends (n, 2, 3) of the limb's bones in the SMPL world."""
    tree = TREES[len(found.joints)]
    numbers = [tree.index(name) for name in joints_of_part(choice.limb, tree)]
    moved = [number for number, parent in enumerate(tree.parents) if parent in numbers]
    return np.array([[found.joints[tree.parents[number]], found.joints[number]] for number in moved])


def _place(choice: _Choice) -> FloatArray | None:
    """Return where the body stands; None when it is gone meanwhile."""
    try:
        return body_to_world(get_body(choice.body))
    except AddonError:
        return None


def _draw_ghosts() -> None:
    choice = _Holder.choice
    place = None if choice is None else _place(choice)
    if place is None:
        return
    shader = gpu.shader.from_builtin("UNIFORM_COLOR")
    gpu.state.blend_set("ALPHA")
    for number, found in enumerate(choice.found):
        is_chosen = number == choice.chosen
        ends = body_to_scene(_limb_ends(choice, found), place).reshape(-1, 3)
        batch = batch_for_shader(shader, "LINES", {"pos": ends.astype("float32")})
        gpu.state.line_width_set(6.0 if is_chosen else 4.0)
        shader.uniform_float("color", CHOSEN if is_chosen else GHOST)
        batch.draw(shader)
    gpu.state.line_width_set(1.0)
    gpu.state.blend_set("NONE")


def _draw_labels() -> None:
    """Write the number and the cost of each pose at its farthest joint."""
    context, choice = bpy.context, _Holder.choice
    place = None if choice is None else _place(choice)
    if place is None or context.region_data is None:
        return
    scale = ui_scale(context)
    blf.size(FONT, FONT_SIZE * scale)
    for number, found in enumerate(choice.found):
        end = body_to_scene(_limb_ends(choice, found)[-1, 1], place)
        at = location_3d_to_region_2d(context.region, context.region_data, end)
        if at is None:
            continue
        text = f"{number + 1}:  {iface('cost')} {found.cost:.1f}"
        if found.reprojection_px >= 0:
            text += f"  ·  {found.reprojection_px:.1f} px"
        blf.enable(FONT, blf.SHADOW)
        blf.shadow(FONT, 5, 0.0, 0.0, 0.0, 0.9)
        blf.color(FONT, *(CHOSEN if number == choice.chosen else (*GHOST[:3], 1.0)))
        blf.position(FONT, at.x + LABEL_OFFSET * scale, at.y - LINE_HEIGHT * scale * (number + 1), 0.0)
        blf.draw(FONT, text)
        blf.disable(FONT, blf.SHADOW)


def _show_ghosts() -> None:
    add = bpy.types.SpaceView3D.draw_handler_add
    _Holder.handles = (
        add(_draw_ghosts, (), "WINDOW", "POST_VIEW"),
        add(_draw_labels, (), "WINDOW", "POST_PIXEL"),
    )


def _hide_ghosts() -> None:
    for handle in _Holder.handles:
        bpy.types.SpaceView3D.draw_handler_remove(handle, "WINDOW")
    _Holder.handles, _Holder.choice = (), None


def register() -> None:
    """Nothing to do: ghosts are drawn only while there are some."""


def unregister() -> None:
    """Take the ghosts away, if there are any."""
    _hide_ghosts()
