# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands that pose a body: from a picture, from 3D keypoints, again from moved keypoints."""

from collections.abc import Callable, Iterable
from pathlib import Path

import bpy
from bpy.props import BoolProperty, CollectionProperty, StringProperty
from msgspec.structs import replace

from ..core import jobs, picture_jobs
from ..core.body import BodyData
from ..core.errors import SceneError
from ..core.jobs import JobResult, Steps
from ..core.keypoint_files import KEYPOINT_SUFFIXES, read_keypoints
from ..core.people import doubt_help, doubt_text
from ..core.photo import PHOTO_SUFFIXES, read_photo
from ..core.record import KeypointEdit, Record
from ..core.wording import count_text
from . import live_edit, runtime
from .armature import build_body, check_writable, key_pose, read_betas, set_shape
from .bodies import body_to_world, find_body, get_body, give_cameras, read_record, write_record
from .camera import build_camera, current_photo_camera, look_through, use_scene_camera
from .default_scene import hide_default_cube
from .handles import record_with_handles, show_handles
from .keys import KeyPlan, plan_by_settings
from .lens import body_place, choose_lens
from .live import let_go, warn_of_drop
from .own_body import check_fits, current_body
from .part_operators import part_joints
from .posing import apply_pose, free_joints, read_pose
from .solve_operator import SolveOperator
from .text import iface


def target_body(context: bpy.types.Context) -> bpy.types.Object | None:
    """Return the armature that gets the pose, None for a new one; look before the solve whether its body fits."""
    if context.scene.ikol.target == "NEW":
        current_body()
        return None
    armature = find_body(context)
    if armature is None:
        raise SceneError("no IKOL body is active; select one, or choose New Body in the panel")
    armature = get_body(armature.name)
    check_fits(armature)
    return armature


def target_betas(armature: bpy.types.Object | None) -> tuple[float, ...] | None:
    """Return the shape of the body that gets the pose; None where it takes the person's."""
    is_kept = armature is not None and armature.ikol.keep_shape
    return None if not is_kept else read_betas(armature, read_record(armature).solution.pose.betas)


def place_body(
    context: bpy.types.Context, body: BodyData, record: Record, armature: bpy.types.Object | None, plan: KeyPlan | int
) -> bpy.types.Object:
    """Pose the armature (a new one for None), store the record; the shape is the record's.

    `plan`: which keys are set; a frame's number for keys of the whole pose there.
    """
    betas = body.complete(record.solution.pose.betas)  # a solver before protocol 1.5 tells the first ten
    if armature is None:
        armature = build_body(context, body, betas)
    else:
        let_go(armature)
        set_shape(context, armature, body, betas)
    if isinstance(plan, int):
        key_pose(armature, record.solution.pose, plan)
    else:
        check_writable(armature)
        apply_pose(armature, record.solution.pose)
        plan.insert(armature)
    write_record(armature, record)
    context.view_layer.update()
    return armature


def select_only(context: bpy.types.Context, armature: bpy.types.Object) -> None:
    """Make a body the active object, and the only one that is selected."""
    for thing in context.selected_objects:
        thing.select_set(False)
    armature.select_set(True)
    context.view_layer.objects.active = armature


def object_mode(context: bpy.types.Context) -> None:
    """Leave whatever mode the active object is in."""
    active = context.view_layer.objects.active
    if active is not None and active.mode != "OBJECT":
        bpy.ops.object.mode_set(mode="OBJECT")


def say_doubts(operator: bpy.types.Operator, records: Iterable[Record]) -> None:
    """Warn of poses that may be wrong as a whole, with what helps."""
    for doubts in dict.fromkeys(record.doubts for record in records):
        if doubts:
            operator.report({"WARNING"}, f"{doubt_text(doubts, iface)}. {doubt_help(doubts, iface)}")


class PosesPicture(SolveOperator):
    """Mixin: poses the persons on `filepath`."""

    is_of_one_person = False

    filepath: StringProperty(subtype="FILE_PATH", options={"SKIP_SAVE", "HIDDEN"})

    def target(self, context: bpy.types.Context) -> bpy.types.Object | None:
        """Return the armature that gets the pose, None for a new one."""
        return target_body(context)

    def prepare(self, context: bpy.types.Context) -> Steps:
        """Read the picture file."""
        path = Path(bpy.path.abspath(self.filepath))
        photo = read_photo(path)
        armature = self.target(context)
        lens, focal = choose_lens(context, body_place(armature), path, photo.orientation)
        self._is_scene_camera = context.scene.ikol.camera == "SCENE"
        settings = context.scene.ikol
        is_single = self.is_of_one_person or armature is not None or settings.persons == "BEST"
        self._path, self._orientation = path, photo.orientation
        self._frame = context.scene.frame_current
        self._armature_name = None if armature is None else armature.name
        return picture_jobs.pose_from_image(
            photo.name,
            photo.data,
            runtime.get_preferences().model,
            1 if is_single else jobs.MAX_PERSONS,
            target_betas(armature),
            lens,
            focal,
        )

    def apply(self, context: bpy.types.Context, result: JobResult) -> str:
        """Make bodies, camera and handles."""
        body = current_body()
        target = None if self._armature_name is None else get_body(self._armature_name)
        object_mode(context)
        first = result.records[0]
        if self._is_scene_camera:  # before any body is made: the user may have removed it meanwhile
            camera = use_scene_camera(context, first.camera, self._path, self._orientation)
        armatures = [place_body(context, body, record, target, self._frame) for record in result.records]
        if not self._is_scene_camera:
            camera = build_camera(context, first.camera, self._path, self._orientation, body_to_world(armatures[0]))
        for armature, record in zip(armatures, result.records, strict=True):
            give_cameras(armature, (camera,))
            show_handles(context, armature, record)
        select_only(context, armatures[0])
        hide_default_cube(context)
        look_through(context)
        say_doubts(self, result.records)
        persons = count_text(len(armatures), "{number} person", "{number} persons", iface)
        missed = first.solution.reprojection_px
        return iface("Posed {persons}, keypoints met within {pixels:.1f} px", persons=persons, pixels=missed)


class IKOL_OT_pose_from_image(PosesPicture, bpy.types.Operator):
    """The command *Pose from Image*."""

    bl_idname = "ikol.pose_from_image"
    bl_label = "Pose from Image"
    bl_description = (
        "Find the persons on a photograph and make a posed, keyed armature of each, with a camera that sees them so"
    )

    directory: StringProperty(subtype="DIR_PATH", options={"SKIP_SAVE", "HIDDEN"})
    files: CollectionProperty(type=bpy.types.OperatorFileListElement, options={"SKIP_SAVE", "HIDDEN"})

    def invoke(self, context: bpy.types.Context, event: "bpy.types.Event") -> set[str]:
        """Ask for a file unless one was dropped; several that were dropped are for the command on several."""
        if len(self.files) > 1:
            return self._start_on_several("INVOKE_DEFAULT")
        if not self.filepath:
            bpy.ops.ikol.pick_image("INVOKE_DEFAULT")
            return {"CANCELLED"}
        if context.scene.ikol.persons == "CHOOSE":
            return start_on_file(self, bpy.ops.ikol.find_people, "INVOKE_DEFAULT")
        return super().invoke(context, event)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Run to the end; where persons are to be chosen, until they are found."""
        if len(self.files) > 1:
            return self._start_on_several("EXEC_DEFAULT")
        if context.scene.ikol.persons == "CHOOSE":
            return start_on_file(self, bpy.ops.ikol.find_people, "EXEC_DEFAULT")
        return super().execute(context)

    def _start_on_several(self, how: str) -> set[str]:
        files = [{"name": each.name} for each in self.files]
        return start(self, bpy.ops.ikol.pick_images, how, directory=self.directory, files=files)


FIT_DESCRIPTION = (
    "Solve again and fit the shape to the picture once, also a locked one; the poses on all other frames get it too"
)


class IKOL_OT_resolve(SolveOperator, bpy.types.Operator):
    """The command *Re-solve*."""

    bl_idname = "ikol.resolve"
    bl_label = "Re-solve"
    bl_description = (
        "Solve again from the current pose: keypoints that you moved are kept, the rest of the picture keeps its say. "
        "Only the part of the body that is chosen in the panel moves"
    )
    is_of_pose = True

    part: StringProperty(options={"SKIP_SAVE", "HIDDEN"})
    fit_shape: BoolProperty(options={"SKIP_SAVE", "HIDDEN"})

    @classmethod
    def description(cls, _context: bpy.types.Context, properties: "IKOL_OT_resolve") -> str:
        """Say what it does where the shape is fitted too."""
        return iface(FIT_DESCRIPTION) if properties.fit_shape else ""

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only with a body that has evidence."""
        if find_body(context) is None:
            cls.poll_message_set(iface("Select a body that was made by Pose from Image or Solve Keypoints"))
            return False
        return True

    def prepare(self, context: bpy.types.Context) -> Steps:
        """Read what the user changed: keypoints, pose, shape, camera."""
        armature = get_body(find_body(context).name)
        check_fits(armature)
        record = read_record(armature)
        self._armature_name = armature.name
        placed = record_with_handles(context, armature, record)
        self._stored, self._placed = record.edits, placed.edits
        pose = read_pose(armature, read_betas(armature, record.solution.pose.betas))
        joints = free_joints(armature, part_joints(context, armature, self.part))
        self._plan = plan_by_settings(context, armature, joints)
        if self.fit_shape and not placed.evidence:
            raise SceneError(f"{armature.name} was made from {record.source}, which tells no shape; choose a picture")
        fit_shape = bool(placed.evidence) and (self.fit_shape or not armature.ikol.keep_shape)
        return jobs.resolve(placed, current_photo_camera(armature, record), pose, joints, fit_shape)

    def apply(self, context: bpy.types.Context, result: JobResult) -> str:
        """Take the new pose, key it by the user's settings, and put the handles where they are now."""
        live_edit.finish()
        armature = get_body(self._armature_name)
        record = self._with_newest_edits(read_record(armature), result.records[0])
        place_body(context, current_body(), record, armature, self._plan)
        show_handles(context, armature, record)
        if self._plan.is_dropped:
            warn_of_drop(armature)
        edits = count_text(len(record.edits), "{number} edit", "{number} edits", iface)
        return iface("Solved again with {edits}", edits=edits)

    def _with_newest_edits(self, newest: Record, solved: Record) -> Record:
        """Return what is stored now with the new solution: what was edited meanwhile stays, the moved handles count."""
        none, edits = KeypointEdit(), dict(newest.edits)
        for name in self._stored.keys() | self._placed.keys():
            stored, moved = self._stored.get(name, none), self._placed.get(name, none)
            meanwhile = newest.edits.get(name, none)
            if moved == stored:
                continue
            if meanwhile != stored:
                moved = replace(meanwhile, position=moved.position, orientation=moved.orientation)
            edits[name] = moved
        edits = {name: edit for name, edit in edits.items() if edit != none}
        return replace(newest, edits=edits, solution=solved.solution)


class IKOL_OT_solve_keypoints(SolveOperator, bpy.types.Operator):
    """The command *Solve Keypoints*."""

    bl_idname = "ikol.solve_keypoints"
    bl_label = "Solve Keypoints"
    bl_description = (
        "Pose a body by 3D keypoints from a .npz or .json file (names and points in metres, Y up), without a picture"
    )

    filepath: StringProperty(subtype="FILE_PATH", options={"SKIP_SAVE", "HIDDEN"})

    def invoke(self, context: bpy.types.Context, event: "bpy.types.Event") -> set[str]:
        """Ask for a file unless one is given."""
        if not self.filepath:
            bpy.ops.ikol.pick_keypoints("INVOKE_DEFAULT")
            return {"CANCELLED"}
        return super().invoke(context, event)

    def prepare(self, context: bpy.types.Context) -> Steps:
        """Read the keypoint file."""
        path = Path(bpy.path.abspath(self.filepath))
        keypoints = read_keypoints(path)
        armature = target_body(context)
        self._frame = context.scene.frame_current
        self._armature_name = None if armature is None else armature.name
        return jobs.solve_keypoints(path.name, keypoints, target_betas(armature))

    def apply(self, context: bpy.types.Context, result: JobResult) -> str:
        """Make or pose the body and show the handles."""
        (record,) = result.records
        target = None if self._armature_name is None else get_body(self._armature_name)
        object_mode(context)
        armature = place_body(context, current_body(), record, target, self._frame)
        give_cameras(armature, ())  # they belong to the picture that this record replaces
        show_handles(context, armature, record)
        select_only(context, armature)
        hide_default_cube(context)
        return iface("Solved {number} keypoints", number=len(record.evidence[0].names))


def start_on_file(operator: bpy.types.Operator, command: Callable[..., set[str]], how: str) -> set[str]:
    """Start another command on an operator's file."""
    return start(operator, command, how, filepath=operator.filepath)


def start(operator: bpy.types.Operator, command: Callable[..., set[str]], how: str, **values: object) -> set[str]:
    """Start another command; what it refuses is its user's business, not an exception."""
    try:
        answer = command(how, **values)
    except RuntimeError as error:  # its report, which Blender turns into an exception when a script calls
        operator.report({"ERROR"}, str(error).removeprefix("Error: ").strip())
        return {"CANCELLED"}
    return {"CANCELLED"} if "CANCELLED" in answer else {"FINISHED"}


class FilePicker:
    """Mixin: a file browser that hands the chosen file to another command.

    The command itself cannot open the browser and go modal afterwards: Blender calls `execute` when a file is chosen.
    """

    def invoke(self, context: bpy.types.Context, _event: "bpy.types.Event") -> set[str]:
        """Open the file browser."""
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}


class IKOL_OT_pick_image(FilePicker, bpy.types.Operator):
    """The command *Pose from Image*."""

    bl_idname = "ikol.pick_image"
    bl_label = "Pose from Image"
    bl_description = "Choose a photograph and make a posed, keyed armature of each person on it"

    filepath: StringProperty(subtype="FILE_PATH", options={"SKIP_SAVE"})
    filter_glob: StringProperty(default=";".join(f"*{suffix}" for suffix in PHOTO_SUFFIXES), options={"HIDDEN"})

    def execute(self, _context: bpy.types.Context) -> set[str]:
        """Start the command that poses."""
        return start_on_file(self, bpy.ops.ikol.pose_from_image, "INVOKE_DEFAULT")


class IKOL_OT_pick_keypoints(FilePicker, bpy.types.Operator):
    """The command *Solve Keypoints*."""

    bl_idname = "ikol.pick_keypoints"
    bl_label = "Solve Keypoints"
    bl_description = "Choose a file with 3D keypoints and pose a body by them"

    filepath: StringProperty(subtype="FILE_PATH", options={"SKIP_SAVE"})
    filter_glob: StringProperty(default=";".join(f"*{suffix}" for suffix in KEYPOINT_SUFFIXES), options={"HIDDEN"})

    def execute(self, _context: bpy.types.Context) -> set[str]:
        """Start the command that poses."""
        return start_on_file(self, bpy.ops.ikol.solve_keypoints, "INVOKE_DEFAULT")


class IKOL_OT_pick_people(FilePicker, bpy.types.Operator):
    """The command *Find Persons*."""

    bl_idname = "ikol.pick_people"
    bl_label = "Find Persons"
    bl_description = "Choose a photograph, mark all persons on it, small ones too, and click those to pose"

    filepath: StringProperty(subtype="FILE_PATH", options={"SKIP_SAVE"})
    filter_glob: StringProperty(default=";".join(f"*{suffix}" for suffix in PHOTO_SUFFIXES), options={"HIDDEN"})

    def execute(self, _context: bpy.types.Context) -> set[str]:
        """Start the command that finds."""
        return start_on_file(self, bpy.ops.ikol.find_people, "INVOKE_DEFAULT")


class IKOL_FH_photo(bpy.types.FileHandler):
    """Photographs that are dropped into the 3D view."""

    bl_idname = "IKOL_FH_photo"
    bl_label = "IKOL: Pose from Image"
    bl_import_operator = "ikol.pose_from_image"
    bl_file_extensions = ";".join(PHOTO_SUFFIXES)

    @classmethod
    def poll_drop(cls, context: bpy.types.Context) -> bool:
        """Only into the 3D view: elsewhere a picture means something else."""
        return context.area is not None and context.area.type == "VIEW_3D"
