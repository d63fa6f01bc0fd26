# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands that find the persons of a photograph and pose one of them: clicked, or in a box that is drawn."""

from pathlib import Path

import bpy
import numpy as np
from bpy.props import FloatVectorProperty, IntProperty, StringProperty
from msgspec.structs import replace

from ..core import picture_jobs
from ..core.errors import AddonError, SceneError
from ..core.jobs import DetectedPerson, JobResult, Steps
from ..core.people import FoundPerson, People, box_between, person_at, posed_as
from ..core.photo import read_photo
from ..core.record import PhotoCamera, Record
from ..core.wording import count_text
from . import runtime
from .bodies import body_to_world, get_body, give_cameras
from .camera import build_camera, look_through, photo_camera, place_camera, scene_camera, use_scene_camera
from .default_scene import hide_default_cube
from .handles import show_handles
from .lens import body_place, choose_lens
from .own_body import current_body
from .people_scene import STATE, TOOL, has_people, people_camera, people_scene, read_people, write_people
from .photo_drag import mouse
from .photo_scene import redraw
from .pose_operators import object_mode, place_body, say_doubts, select_only, target_betas, target_body
from .solve_operator import SolveOperator
from .text import iface

EYE_LEVEL = PhotoCamera(1, 1, 1.0, 1.0, 0.5, 0.5, (1, 0, 0, 0, -1, 0, 0, 0, -1), (0.0, 1.4, 4.5))
"""Where the camera waits until the first person tells where it was: at 1.4 m, looking at somebody 4.5 m away."""


class IKOL_OT_find_people(SolveOperator, bpy.types.Operator):
    """The command *Find Persons*."""

    bl_idname = "ikol.find_people"
    bl_label = "Find Persons"
    bl_description = "Mark all persons on a photograph, small ones too; a click on one then makes its body"

    filepath: StringProperty(subtype="FILE_PATH", options={"SKIP_SAVE", "HIDDEN"})

    def prepare(self, context: bpy.types.Context) -> Steps:
        """Read the picture file."""
        path = Path(bpy.path.abspath(self.filepath))
        photo = read_photo(path)
        self._path, self._orientation, self._name = path, photo.orientation, photo.name
        self._lens, focal = choose_lens(context, np.eye(4), path, photo.orientation)
        return picture_jobs.find_people(photo.name, photo.data, runtime.get_preferences().model, focal)

    def apply(self, context: bpy.types.Context, result: JobResult) -> str:
        """Show the photograph with a box around everybody."""
        lens = self._lens(result.detection.camera)
        is_placed = lens.rotation is not None
        object_mode(context)
        if is_placed:
            camera = use_scene_camera(context, lens, self._path, self._orientation)
        else:
            waiting = replace(lens, rotation=EYE_LEVEL.rotation, translation=EYE_LEVEL.translation)
            camera = build_camera(context, waiting, self._path, self._orientation, np.eye(4))
        persons = tuple(_found(person) for person in result.detection.persons)
        write_people(camera, People(self._name, str(self._path), lens, persons, is_placed))
        hide_default_cube(context)
        look_through(context)
        take_tool(context)
        if not persons:
            return iface("Nobody was found; drag a box around a person")
        number = count_text(len(persons), "{number} person", "{number} persons", iface)
        return iface("Found {persons}: click one to pose it, drag a box around others", persons=number)


class _PersonOperator(SolveOperator):
    """Mixin: a command that poses one person of the photograph that is shown."""

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only with a photograph on which persons were looked for."""
        if not has_people(context.scene.camera):
            cls.poll_message_set(iface("Use Find Persons, or set Persons to Choose and take a picture"))
            return False
        return True

    def begin(self, context: bpy.types.Context) -> tuple[People, PhotoCamera]:
        """Read the persons, and the camera as it stands now for the body that gets the pose."""
        camera, armature = people_camera(context), target_body(context)
        people = read_people(camera)
        self._camera_name, self._frame = camera.name, context.scene.frame_current
        self._armature_name = None if armature is None else armature.name
        self._betas = target_betas(armature)
        lens = replace(people.camera, distortion=tuple(context.scene.ikol.distortion))
        if not people.is_placed:
            return people, lens
        return people, photo_camera(scene_camera(context), lens, body_place(armature))

    def pose(self, context: bpy.types.Context, record: Record, people: People, number: int) -> str:
        """Make or pose the body of a person."""
        camera = bpy.data.objects.get(self._camera_name)
        if not has_people(camera):
            raise SceneError(f"the camera {self._camera_name} is gone; nothing was changed")
        target = None if self._armature_name is None else get_body(self._armature_name)
        object_mode(context)
        armature = place_body(context, current_body(), record, target, self._frame)
        if not people.is_placed:
            place_camera(context, camera, record.camera, body_to_world(armature))
        give_cameras(armature, (camera,))
        write_people(camera, replace(posed_as(people, number, armature.name), is_placed=True))
        show_handles(context, armature, record)
        select_only(context, armature)
        say_doubts(self, (record,))
        missed = record.solution.reprojection_px
        return iface("Posed person {number}, keypoints met within {pixels:.1f} px", number=number + 1, pixels=missed)


class IKOL_OT_pose_person(_PersonOperator, bpy.types.Operator):
    """The command *Pose Person*."""

    bl_idname = "ikol.pose_person"
    bl_label = "Pose Person"
    bl_description = "Make a body of the person that is clicked on the photograph; one that is posed becomes active"

    person: IntProperty(
        name="Person", description="Number of the person, from 1; 0 for the one under the mouse", min=0,
        options={"SKIP_SAVE"},
    )  # fmt: skip

    def invoke(self, context: bpy.types.Context, event: "bpy.types.Event") -> set[str]:
        """Look whose box is under the mouse."""
        if self.person == 0:
            try:
                seen = people_scene(context)
            except AddonError as error:
                return self._fail(error)
            number = person_at(seen.people, seen.view, mouse(event))
            if number is None:
                self.report({"INFO"}, iface("Nobody was found here; drag a box around the person"))
                return {"CANCELLED"}
            self.person = number + 1
        posed = self._posed_body(context)
        if posed is not None:
            select_only(context, posed)
            return {"FINISHED"}
        return super().invoke(context, event)

    def prepare(self, context: bpy.types.Context) -> Steps:
        """Take the person's evidence."""
        people, camera = self.begin(context)
        if not 1 <= self.person <= len(people.persons):
            raise SceneError(f"there is no person {self.person} on {people.source}, only {len(people.persons)}")
        person = people.persons[self.person - 1]
        found = DetectedPerson(person.evidence, person.confidence, person.score, person.box, person.doubts)
        return picture_jobs.pose_person(people.source, found, camera, self._betas)

    def apply(self, context: bpy.types.Context, result: JobResult) -> str:
        """Make the body."""
        camera = bpy.data.objects.get(self._camera_name)
        if not has_people(camera):
            raise SceneError(f"the camera {self._camera_name} is gone; nothing was changed")
        return self.pose(context, result.records[0], read_people(camera), self.person - 1)

    def _posed_body(self, context: bpy.types.Context) -> bpy.types.Object | None:
        """Return the body that was made of the person, if it is still there."""
        try:
            people = read_people(people_camera(context))
            return get_body(people.persons[self.person - 1].body)
        except (AddonError, IndexError):
            return None


class IKOL_OT_box_person(_PersonOperator, bpy.types.Operator):
    """The command *Pose Person in Box*."""

    bl_idname = "ikol.box_person"
    bl_label = "Pose Person in Box"
    bl_description = "Drag a box around a person who was not found, and make a body of that person"

    box: FloatVectorProperty(
        name="Box", description="Left, top, right and bottom in pixels of the photograph", size=4,
        options={"SKIP_SAVE"},
    )  # fmt: skip

    _start: tuple[float, float] | None = None

    def invoke(self, context: bpy.types.Context, event: "bpy.types.Event") -> set[str]:
        """Begin a box where the mouse was pressed, unless one is given."""
        if any(self.box) or bpy.app.background:
            return super().invoke(context, event)
        try:
            people_scene(context)
        except AddonError as error:
            return self._fail(error)
        region = context.region
        self._start = (event.mouse_prev_press_x - region.x, event.mouse_prev_press_y - region.y)
        STATE.box = (self._start, mouse(event))
        context.workspace.status_text_set(iface("Release to look for a person in the box; Esc: cancel"))
        context.window_manager.modal_handler_add(self)
        redraw(context)
        return {"RUNNING_MODAL"}

    def modal(self, context: bpy.types.Context, event: "bpy.types.Event") -> set[str]:
        """Draw the box until the button is released, then look after the job."""
        if self._start is None:
            return super().modal(context, event)
        if event.type == "MOUSEMOVE":
            STATE.box = (self._start, mouse(event))
            redraw(context)
        elif event.type in {"ESC", "RIGHTMOUSE"}:
            self._end_box(context)
            return {"CANCELLED"}
        elif event.type == "LEFTMOUSE" and event.value == "RELEASE":
            return self._take_box(context, event)
        return {"RUNNING_MODAL"}

    def cancel(self, context: bpy.types.Context) -> None:
        """Blender itself ends the command."""
        self._end_box(context)
        super().cancel(context)

    def prepare(self, context: bpy.types.Context) -> Steps:
        """Read the picture once more."""
        people, camera = self.begin(context)
        photo = read_photo(Path(people.path))
        model = runtime.get_preferences().model
        return picture_jobs.pose_in_box(people.source, photo.data, model, tuple(self.box), camera, self._betas)

    def apply(self, context: bpy.types.Context, result: JobResult) -> str:
        """Add the person and make the body."""
        camera = bpy.data.objects.get(self._camera_name)
        if not has_people(camera):
            raise SceneError(f"the camera {self._camera_name} is gone; nothing was changed")
        people = read_people(camera)
        people = replace(people, persons=(*people.persons, _found(result.detection.persons[0])))
        return self.pose(context, result.records[0], people, len(people.persons) - 1)

    def _take_box(self, context: bpy.types.Context, event: "bpy.types.Event") -> set[str]:
        start = self._start
        self._end_box(context)
        try:
            seen = people_scene(context)
        except AddonError as error:
            return self._fail(error)
        box = box_between(seen.people, seen.view, start, mouse(event))
        if box is None:
            self.report({"INFO"}, iface("The box is too small"))
            return {"CANCELLED"}
        self.box = box
        return super().invoke(context, event)

    def _end_box(self, context: bpy.types.Context) -> None:
        self._start = STATE.box = None
        context.workspace.status_text_set(None)
        redraw(context)


def _found(person: DetectedPerson) -> FoundPerson:
    return FoundPerson(person.evidence, person.confidence, person.score, person.box, person.doubts)


def take_tool(context: bpy.types.Context) -> None:
    """Take the tool that picks persons, in the 3D view that the user works in."""
    areas = [] if context.screen is None else [area for area in context.screen.areas if area.type == "VIEW_3D"]
    if not areas or bpy.app.background:
        return
    area = context.area if context.area in areas else max(areas, key=lambda area: area.width * area.height)
    region = next(region for region in area.regions if region.type == "WINDOW")
    with context.temp_override(area=area, region=region):
        area.spaces.active.overlay.show_overlays = True
        bpy.ops.wm.tool_set_by_id(name=TOOL)
