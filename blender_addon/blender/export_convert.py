# SPDX-License-Identifier: GPL-3.0-or-later
"""Exports that the solver's Python writes: motions as .smpl and .pk, joints as markers, keypoints of a photograph."""

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import bpy
import numpy as np
from bpy.props import BoolProperty, EnumProperty, StringProperty
from numpy.typing import NDArray

from ..client.file_reader import FileWriter, WriteCall
from ..core.errors import AddonError, SceneError
from ..core.written_points import marker_arrays, picture_arrays
from . import live_edit, runtime
from .bodies import check_bones, find_body
from .export_copy import bake
from .export_motion import write_motion
from .file_operator import FileOperator
from .posing import body_tree
from .text import iface

CHECK_EXISTING = BoolProperty(default=True, options={"HIDDEN"})
"""By this name Blender's file browser warns of a file that is there already."""

MOTIONS = {"SMPL_CODEC": "smpl", "HYBRIK": "hybrik"}
MARKERS = {"TRC": "trc", "C3D": "c3d"}
"""By the operator's formats, what `ikol convert` calls them."""


class ConvertedExport(FileOperator):
    """Mixin: what is to be written goes to a file in a folder of its own, and the solver's Python makes the user's."""

    is_asked: BoolProperty(options={"SKIP_SAVE", "HIDDEN"})
    """Set by the file browser's end, which runs `execute`: the command begins anew then, and may take its time."""
    _is_browsing = False
    _source: tempfile.TemporaryDirectory[str] | None = None

    def source(self, context: bpy.types.Context, path: Path) -> int:
        """Write what is to be converted; return how many frames or points that is. An AddonError is reported."""
        raise NotImplementedError

    def call(self, source: Path, target: Path) -> WriteCall:
        """Return what becomes of it."""
        raise NotImplementedError

    def done(self, name: str) -> str:
        """Return what is said at the end."""
        raise NotImplementedError

    def begin(self, context: bpy.types.Context) -> FileWriter:
        """Write what is to be converted and start the process."""
        python = runtime.get().config().python or runtime.local_python()
        target = Path(bpy.path.abspath(self.filepath))
        if not target.parent.is_dir():
            raise SceneError(f"the folder of {target.name} does not exist; make it first")
        self._source = tempfile.TemporaryDirectory(prefix="ikol-")
        try:
            path = Path(self._source.name) / "source.npz"
            self._count = self.source(context, path)
            return FileWriter(python, self.call(path, target))
        except AddonError:
            self._source.cleanup()
            raise
        except OSError as error:
            self._source.cleanup()
            raise SceneError(f"{target.name} could not be written: {error.strerror or error}") from error

    def waiting(self) -> str:
        """Return what is shown meanwhile."""
        return iface("IKOL: writing {name}.  Esc to cancel", name=Path(self.filepath).name)

    def finish(self, _context: bpy.types.Context, path: Path) -> set[str]:
        """Put the whole file in its place."""
        target = Path(bpy.path.abspath(self.filepath))
        unfinished = target.with_name(f"{target.name}.partial-{os.getpid()}")
        try:
            shutil.copyfile(path, unfinished)
            unfinished.replace(target)
        except OSError as error:
            raise SceneError(f"{target.name} could not be written: {error.strerror or error}") from error
        finally:
            unfinished.unlink(missing_ok=True)
        self.report({"INFO"}, self.done(target.name))
        return {"FINISHED"}

    def _leave(self, context: bpy.types.Context) -> None:
        super()._leave(context)
        if self._source is not None:
            self._source.cleanup()
            self._source = None


def write_source(
    context: bpy.types.Context, armature: bpy.types.Object, path: Path, form: str, frames: Sequence[int]
) -> None:
    """Write a body's motion or its joints with all their digits.

    Raises:
        AddonError: The body is scaled, or is not the one in use.
    """
    if form in MOTIONS:
        write_motion(context, armature, str(path), frames)
        return
    tree = body_tree(armature)
    places = bake(context, armature, tree, frames).posed[..., :3, 3]
    _save(path, marker_arrays(tree.names, places, context.scene.render.fps / context.scene.render.fps_base))


def _save(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    with path.open("wb") as file:
        np.savez(file, **arrays)


class IKOL_OT_export_keypoints(ConvertedExport, bpy.types.Operator):
    """The command *Export Keypoints*."""

    bl_idname = "ikol.export_keypoints"
    bl_label = "Export Keypoints"
    bl_description = (
        "Write the keypoints of the photograph as you have left them, for another program: without those that are "
        "muted or removed. The solver's Python writes them"
    )

    filepath: StringProperty(subtype="FILE_PATH", options={"SKIP_SAVE"})
    check_existing: CHECK_EXISTING
    filter_glob: StringProperty(default="*.json", options={"HIDDEN"})
    form: EnumProperty(
        name="Format",
        description="Which points are written, and how",
        items=[
            ("OPENPOSE", "OpenPose", "25 points of the body, with hands and face where there are some"),
            ("COCO", "COCO", "17 points, without hands and feet"),
            ("WHOLEBODY", "COCO-WholeBody", "133 points; those that are not known are missing"),
            ("BLAZEPOSE", "BlazePose", "MediaPipe's 33 points, as fractions of the picture"),
        ],
    )

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only with a body that was made from a picture."""
        armature = find_body(context)
        try:
            has_picture = armature is not None and live_edit.newest_record(armature).camera is not None
        except AddonError as error:
            cls.poll_message_set(runtime.sentence(error))
            return False
        if not has_picture:
            cls.poll_message_set(iface("Select a body that was made by Pose from Image"))
        return has_picture

    def invoke(self, context: bpy.types.Context, _event: "bpy.types.Event") -> set[str]:
        """Ask where to; then write."""
        if self.is_asked:
            return self.run(context, is_modal=True)
        self._is_browsing = True
        armature = find_body(context)
        name = f"{armature.name}_keypoints"
        self.filepath = str(Path(bpy.data.filepath).with_name(name)) if bpy.data.filepath else name
        self.check(context)
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def check(self, _context: bpy.types.Context) -> bool:
        """Keep the name's suffix that of the format."""
        named = self.filepath or "keypoints"
        named = named if named.endswith(".json") else f"{named}.json"
        is_changed, self.filepath = named != self.filepath, named
        return is_changed

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Run to the end before returning; after the browser begin anew, and let Blender go on."""
        self.check(context)
        if self._is_browsing:
            return bpy.ops.ikol.export_keypoints(
                "INVOKE_DEFAULT", filepath=self.filepath, form=self.form, is_asked=True
            )
        return self.run(context, is_modal=False)

    def source(self, context: bpy.types.Context, path: Path) -> int:
        """Write the picture's points."""
        armature = find_body(context)
        check_bones(armature)
        arrays = picture_arrays(live_edit.newest_record(armature))
        _save(path, arrays)
        return len(arrays["names"])

    def call(self, source: Path, target: Path) -> WriteCall:
        """Return what becomes of it."""
        return WriteCall(source, target, self.form.lower())

    def done(self, name: str) -> str:
        """Return what is said at the end."""
        return iface("Wrote {number} keypoints to {name}", number=self._count, name=name)
