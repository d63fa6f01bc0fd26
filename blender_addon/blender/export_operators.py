# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands *Export*: a body with its motion as FBX, glTF, BVH or USD by Blender's own exporters, or as numbers."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import bpy
import numpy as np
from bpy.props import EnumProperty, StringProperty

from ..client.file_reader import WriteCall
from ..core.errors import AddonError, SceneError
from ..core.export_presets import PRESETS
from . import runtime
from .bodies import check_bones, find_body
from .export_convert import CHECK_EXISTING, MARKERS, MOTIONS, ConvertedExport, write_source
from .export_copy import build_copy, remove_copy
from .export_motion import write_motion
from .export_rig import build_rig_copy, plan_rig
from .keys import animated_paths
from .pose_operators import start_on_file
from .rig_operators import find_rig
from .text import iface

MAX_EXPORTED_FRAMES = 20_000
"""Eleven minutes at 30 a second; the bones of each are read with the whole scene."""

SUFFIXES = {
    "FBX": ".fbx",
    "GLTF": ".glb",
    "BVH": ".bvh",
    "USD": ".usdc",
    "AMASS": ".npz",
    "SMPL_CODEC": ".smpl",
    "HYBRIK": ".pk",
    "TRC": ".trc",
    "C3D": ".c3d",
}

FILE_AXES = {"BVH": np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])}
"""Blender's exporter of BVH writes its own axes; readers, Blender's too, take Y for up."""


def _fbx(path: str, _first: int, _last: int) -> None:
    bpy.ops.export_scene.fbx(
        filepath=path,
        use_selection=True,
        object_types={"ARMATURE", "MESH"},
        apply_scale_options="FBX_SCALE_ALL",  # other choices leave a scale of 100 on the armature's object
        add_leaf_bones=False,
        bake_anim_use_nla_strips=False,
        bake_anim_use_all_actions=False,
        bake_anim_simplify_factor=0.0,  # the default drops keys that it takes for superfluous
    )


def _gltf(path: str, _first: int, _last: int) -> None:
    bpy.ops.export_scene.gltf(
        filepath=path,
        export_format="GLB",
        use_selection=True,
        export_animation_mode="SCENE",  # in the others Blender 4.2 takes in the keys of the body itself
        export_anim_scene_split_object=False,  # mesh and bones in one animation: readers play the first
        export_frame_range=True,
        export_optimize_animation_size=False,
        export_all_influences=True,  # four, as engines like them, move vertices by millimetres
    )


def _bvh(path: str, first: int, last: int) -> None:
    bpy.ops.export_anim.bvh(filepath=path, frame_start=first, frame_end=last, root_transform_only=True)


def _bvh_of_rig(path: str, first: int, last: int) -> None:
    bpy.ops.export_anim.bvh(filepath=path, frame_start=first, frame_end=last, root_transform_only=False)


def _usd(path: str, _first: int, _last: int) -> None:
    bpy.ops.wm.usd_export(filepath=path, selected_objects_only=True, export_animation=True)


_WRITERS: dict[str, Callable[[str, int, int], None]] = {"FBX": _fbx, "GLTF": _gltf, "BVH": _bvh, "USD": _usd}
_RIG_WRITERS = {**_WRITERS, "BVH": _bvh_of_rig}
"""Rigs move by the pelvis, which may have a bone above it, and may stretch; bodies by their root alone."""
_OPERATORS = {
    "FBX": ("export_scene", "fbx"),
    "GLTF": ("export_scene", "gltf"),
    "BVH": ("export_anim", "bvh"),
    "USD": ("wm", "usd_export"),
}


_FORMS = [
    ("FBX", "FBX", "For Unreal, Unity, Maya and most others"),
    ("GLTF", "glTF", "One binary file, for the web, Godot and engines"),
    ("BVH", "BVH", "Motion and bones without a mesh, as text"),
    ("USD", "USD", "For Omniverse, Houdini and film pipelines"),
]
_PRESETS = [(key, preset.label, preset.description) for key, preset in PRESETS.items()]
_FRAMES = EnumProperty(
    name="Frames",
    description="What is written of the motion",
    items=[
        ("RANGE", "Frame Range", "All frames of the scene"),
        ("CURRENT", "Current Frame", "Only the pose that is shown"),
    ],
)


class _Export:
    """Mixin: asks for a file, whose suffix is that of the format, and writes an armature."""

    default_name = ""

    def ask(self, context: bpy.types.Context, armature: bpy.types.Object) -> set[str]:
        """Ask where to; an armature without keys has one pose."""
        if not animated_paths(armature):
            self.frames = "CURRENT"
        if not self.filepath:
            self.filepath = str(
                Path(bpy.data.filepath).with_name(armature.name) if bpy.data.filepath else armature.name
            )
        self.check(context)
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def check(self, _context: bpy.types.Context) -> bool:
        """Keep the name's suffix that of the format."""
        path = Path(self.filepath)
        named = str(path.with_suffix(SUFFIXES[self.form]) if path.suffix in SUFFIXES.values() else path)
        named = named or self.default_name
        named = named if named.endswith(SUFFIXES[self.form]) else f"{named}{SUFFIXES[self.form]}"
        is_changed, self.filepath = named != self.filepath, named
        return is_changed

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Make a copy, write it, remove it."""
        self.check(context)
        try:
            count = self.write(context, bpy.path.abspath(self.filepath))
        except AddonError as error:
            self.report({"ERROR"}, runtime.sentence(error))
            return {"CANCELLED"}
        name = Path(self.filepath).name
        self.report({"INFO"}, iface("Wrote {number} frames to {name}", number=count, name=name))
        return {"FINISHED"}


class IKOL_OT_export(_Export, ConvertedExport, bpy.types.Operator):
    """The command *Export*."""

    bl_idname = "ikol.export"
    bl_label = "Export Body"
    bl_description = (
        "Write the body with its motion for another program: where its joints are in the scene, frame by frame, with "
        "bones named as that program wants them. The body itself is not changed"
    )
    default_name = "body"

    filepath: StringProperty(subtype="FILE_PATH", options={"SKIP_SAVE"})
    check_existing: CHECK_EXISTING
    filter_glob: StringProperty(default=";".join(f"*{suffix}" for suffix in SUFFIXES.values()), options={"HIDDEN"})
    form: EnumProperty(
        name="Format",
        description="Which kind of file is written",
        items=[
            *_FORMS,
            ("AMASS", "AMASS", "Rotations and shape of SMPL's joints as numbers, for research; its own bone names"),
            ("SMPL_CODEC", ".smpl", "The same as Meshcapade's programs read it; the solver's Python writes it"),
            ("HYBRIK", "HybrIK", "The same as HybrIK's res.pk, without fingers; the solver's Python writes it"),
            ("TRC", "TRC", "Places of the joints as markers, as text for OpenSim; the solver's Python writes it"),
            ("C3D", "C3D", "Places of the joints as markers, for motion capture; the solver's Python writes it"),
        ],
    )
    preset: EnumProperty(name="Skeleton", description="How bones are named and which way they point", items=_PRESETS)
    frames: _FRAMES

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only with a body."""
        if find_body(context) is None:
            cls.poll_message_set(iface("Select a body that was made by Pose from Image or Solve Keypoints"))
            return False
        return True

    def invoke(self, context: bpy.types.Context, _event: "bpy.types.Event") -> set[str]:
        """Ask where to; then the solver's Python writes."""
        if self.is_asked:
            return self.run(context, is_modal=True)
        self._is_browsing = True
        return self.ask(context, find_body(context))

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Run to the end before returning; after the browser begin anew where Blender may go on meanwhile."""
        if self.form not in MOTIONS | MARKERS:
            return super().execute(context)
        self.check(context)
        if self._is_browsing:
            command = partial(bpy.ops.ikol.export, form=self.form, frames=self.frames, is_asked=True)
            return start_on_file(self, command, "INVOKE_DEFAULT")
        return self.run(context, is_modal=False)

    def draw(self, _context: bpy.types.Context) -> None:
        """Draw the choices beside the files; numbers have no names of bones to choose."""
        self.layout.use_property_split = True
        self.layout.prop(self, "form")
        if self.form in _WRITERS:
            self.layout.prop(self, "preset")
        self.layout.prop(self, "frames")

    def source(self, context: bpy.types.Context, path: Path) -> int:
        """Write the motion, or the joints."""
        armature = find_body(context)
        check_bones(armature)
        first, last = chosen_frames(context.scene, self.frames)
        write_source(context, armature, path, self.form, range(first, last + 1))
        return last - first + 1

    def call(self, source: Path, target: Path) -> WriteCall:
        """Return what becomes of it."""
        body = runtime.body_file() if self.form in MOTIONS else ""
        return WriteCall(source, target, (MOTIONS | MARKERS)[self.form], body)

    def done(self, name: str) -> str:
        """Return what is said at the end."""
        return iface("Wrote {number} frames to {name}", number=self._count, name=name)

    def write(self, context: bpy.types.Context, path: str) -> int:
        """Write the body."""
        armature = find_body(context)
        check_bones(armature)
        return write_body(context, armature, path, self.form, self.preset, self.frames)


class IKOL_OT_export_rig(_Export, bpy.types.Operator):
    """The command *Export My Rig*."""

    bl_idname = "ikol.export_rig"
    bl_label = "Export My Rig"
    bl_description = (
        "Write the rig with its meshes and its motion for another program: where its bones are in the scene, frame by "
        "frame, those of a control rig that move the skin. The rig itself is not changed"
    )
    default_name = "rig"

    filepath: StringProperty(subtype="FILE_PATH", options={"SKIP_SAVE"})
    check_existing: CHECK_EXISTING
    filter_glob: StringProperty(default=";".join(f"*{SUFFIXES[form]}" for form, _, _ in _FORMS), options={"HIDDEN"})
    form: EnumProperty(name="Format", description="Which kind of file is written", items=_FORMS)
    preset: EnumProperty(
        name="Names",
        description="How the bones of joints and fingers are named; other bones keep their names",
        items=[("OWN", "As They Are", "The rig's own names"), *_PRESETS],
    )
    frames: _FRAMES

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only with a rig."""
        if find_rig(context) is None:
            cls.poll_message_set(iface("Select the rig to pose: an armature that IKOL did not make"))
            return False
        return True

    def invoke(self, context: bpy.types.Context, _event: "bpy.types.Event") -> set[str]:
        """Ask where to."""
        return self.ask(context, find_rig(context))

    def write(self, context: bpy.types.Context, path: str) -> int:
        """Write the rig."""
        rig = find_rig(context)
        first, last = chosen_frames(context.scene, self.frames)
        plan, axes = plan_rig(rig, PRESETS.get(self.preset)), FILE_AXES.get(self.form, np.eye(3))
        write_copy(
            context,
            path,
            self.form,
            (first, last),
            lambda numbers: build_rig_copy(context, rig, plan, numbers, axes),
            is_rig=True,
        )
        return last - first + 1


def write_body(
    context: bpy.types.Context, armature: bpy.types.Object, path: str, form: str, preset: str, frames: str
) -> int:
    """Write a body and return how many frames that were; scene, selection and mode are as before.

    Raises:
        SceneError: It cannot be written.
    """
    first, last = chosen_frames(context.scene, frames)
    if form == "AMASS":
        try:
            write_motion(context, armature, path, range(first, last + 1))
        except OSError as error:
            raise SceneError(f"{Path(path).name} could not be written: {error.strerror or error}") from error
        return last - first + 1
    chosen = PRESETS[preset]
    if form == "BVH":  # whose root is the joint that moves
        chosen = replace(chosen, root="")
    axes = FILE_AXES.get(form, np.eye(3))
    write_copy(context, path, form, (first, last), lambda numbers: build_copy(context, armature, chosen, numbers, axes))
    return last - first + 1


def chosen_frames(scene: bpy.types.Scene, frames: str) -> tuple[int, int]:
    """Return the first and the last frame that is written.

    Raises:
        SceneError: Those are too many.
    """
    is_range = frames == "RANGE"
    first, last = (scene.frame_start, scene.frame_end) if is_range else (scene.frame_current, scene.frame_current)
    if last - first >= MAX_EXPORTED_FRAMES:
        raise SceneError(f"frames {first} to {last} are more than {MAX_EXPORTED_FRAMES}; set a shorter range")
    return first, last


def write_copy(
    context: bpy.types.Context,
    path: str,
    form: str,
    frames: tuple[int, int],
    build: Callable[[range], object],
    *,
    is_rig: bool = False,
) -> None:
    """Make a copy, write it with Blender's exporter, remove it; scene, selection and mode are as before.

    Args:
        context: For the scene.
        path: Of the file.
        form: One of those that Blender writes.
        frames: The first and the last.
        build: Makes the copy of these frames, selected.
        is_rig: Whether it is one of the user's own, which may move by any of its bones.

    Raises:
        SceneError: It cannot be written.
    """
    module, command = _OPERATORS[form]
    if command not in dir(getattr(bpy.ops, module)):
        raise SceneError(f"this Blender has no exporter for {form}; enable it in the preferences under Add-ons")
    scene, layer = context.scene, context.view_layer
    first, last = frames
    active, selected = layer.objects.active, context.selected_objects
    mode = active.mode if active is not None else "OBJECT"
    kept = (scene.frame_start, scene.frame_end, scene.frame_current)
    before = {thing.name for thing in scene.objects}
    if mode != "OBJECT":
        bpy.ops.object.mode_set(mode="OBJECT")
    try:
        build(range(first, last + 1))
        scene.frame_start, scene.frame_end = first, last
        (_RIG_WRITERS if is_rig else _WRITERS)[form](path, first, last)
    except (RuntimeError, OSError) as error:  # the exporter's own report
        raise SceneError(f"{Path(path).name} could not be written: {_reason(error)}") from error
    finally:
        remove_copy([thing for thing in scene.objects if thing.name not in before])
        scene.frame_start, scene.frame_end = kept[:2]
        if scene.frame_current != kept[2]:
            scene.frame_set(kept[2])
        for thing in selected:
            thing.select_set(True)
        layer.objects.active = active
        if mode != "OBJECT":
            bpy.ops.object.mode_set(mode=mode)


def _reason(error: Exception) -> str:
    """Return what an exporter of Blender says; one that is a program in Python gives all of its own lines with it."""
    lines = [line for line in str(error).splitlines() if line.strip() and not line.startswith("Location:")]
    text = lines[-1] if lines and "Traceback" in str(error) else " ".join(lines)
    return text.removeprefix("Error: ").strip()
