# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands that install the solver, try it out, update it, remove it; and their box in the preferences."""

import sys
from pathlib import Path

import bpy
from bpy.props import StringProperty

from ..client import installer
from ..core.errors import AddonError, Fix, InstallError
from ..core.install_plan import Installed, Order
from ..core.solver_state import fix_button
from . import installation, runtime
from .text import capitalised, draw_sentence, iface

PAGE_WIDTH = 78
"""Letters in a line of the box, in a window of preferences as Blender opens it."""

_DONE = "The solver is installed and works"
_REMOVED = "The solver is removed"
_VERIFIED = "The installed solver works"


class _InstallOperator:
    """Mixin: begins something that the timer looks after, unless something of the kind runs."""

    bl_options = {"INTERNAL"}

    @classmethod
    def poll(cls, _context: bpy.types.Context) -> bool:
        """Only while no installation runs."""
        if runtime.get().installation.is_running:
            cls.poll_message_set(iface("An installation runs"))
            return False
        return True

    def execute(self, _context: bpy.types.Context) -> set[str]:
        """Begin; a failure stays in the box."""
        living = runtime.get()
        try:
            self.begin(living)
        except AddonError as error:
            living.installation.error = error
            living.configure()
            self.report({"ERROR"}, runtime.sentence(error))
            return {"CANCELLED"}
        finally:
            runtime.redraw()
        return {"FINISHED"}

    def begin(self, living: "runtime.Runtime") -> None:
        """Begin; raises AddonError."""
        raise NotImplementedError


class IKOL_OT_install_solver(_InstallOperator, bpy.types.Operator):
    """The command *Install Solver*, which also updates and repairs."""

    bl_idname = "ikol.install_solver"
    bl_label = "Install Solver"
    bl_description = (
        "Fetch PyTorch and the other packages that the solver needs, and install them into a folder of their own below "
        "your Blender folder; no other program is changed. Goes on where an earlier installation stopped"
    )

    def begin(self, living: "runtime.Runtime") -> None:
        """Install beside what there is."""
        preferences = runtime.get_preferences()
        _begin_install(living, installation.make_order(preferences.variant, installation.package_index()))


class IKOL_OT_install_cuda(_InstallOperator, bpy.types.Operator):
    """The command *Install for CUDA*, where the smaller solver cannot be had."""

    bl_idname = "ikol.install_cuda"
    bl_label = "Install for CUDA"
    bl_description = "Install the solver with PyTorch for CUDA: larger, and it runs without a graphics card too"

    def begin(self, living: "runtime.Runtime") -> None:
        """Choose it from now on, and install it."""
        runtime.get_preferences().variant = "cuda"
        _begin_install(living, installation.make_order("cuda", installation.package_index()))


def _begin_install(living: "runtime.Runtime", order: Order) -> None:
    """End the solver, whose files cannot be replaced in Windows while it runs, and begin."""
    runner = installer.begin_install(order, installation.log_path(), installation.path_limit())
    living.installation.begin(runner, _DONE, starts_solver=True)
    living.show_installation()


class IKOL_OT_install_from_disk(_InstallOperator, bpy.types.Operator):
    """The command *Install from Disk*."""

    bl_idname = "ikol.install_from_disk"
    bl_label = "Install from Disk"
    bl_description = "Install the solver from an offline bundle, without a network"

    filepath: StringProperty(subtype="FILE_PATH", options={"HIDDEN", "SKIP_SAVE"})
    filter_glob: StringProperty(default="*.zip", options={"HIDDEN"})

    def invoke(self, context: bpy.types.Context, _event: "bpy.types.Event") -> set[str]:
        """Ask for the bundle."""
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def begin(self, living: "runtime.Runtime") -> None:
        """Install beside what there is."""
        order = installation.make_order(runtime.get_preferences().variant, "", Path(bpy.path.abspath(self.filepath)))
        _begin_install(living, order)


class IKOL_OT_verify_solver(_InstallOperator, bpy.types.Operator):
    """The command *Verify*."""

    bl_idname = "ikol.verify_solver"
    bl_label = "Verify"
    bl_description = "Let the installed solver load its weights, compare their hashes and solve a pose that is known"

    def begin(self, living: "runtime.Runtime") -> None:
        """Try it out."""
        installed = installation.find_installed()
        if installed is None:
            raise InstallError("the solver is not installed", Fix.INSTALL)
        runner = installer.begin_verify(installation.folders(), installed, installation.log_path())
        living.installation.begin(runner, _VERIFIED, is_exclusive=False)


class IKOL_OT_repair_solver(_InstallOperator, bpy.types.Operator):
    """The command *Repair*."""

    bl_idname = "ikol.repair_solver"
    bl_label = "Repair"
    bl_description = (
        "Compare every file of the installed solver with its hash, and fetch and install the packages again that are "
        "damaged, and only those"
    )

    def begin(self, living: "runtime.Runtime") -> None:
        """Look for what is damaged."""
        installed = installation.find_installed()
        if installed is None:
            raise InstallError("the solver is not installed", Fix.INSTALL)
        order = installation.make_repair_order(installed)
        living.solver.stop()
        runner = installer.begin_repair(order, installed, bpy.app.online_access, installation.log_path())
        living.installation.begin(runner, _VERIFIED)
        living.show_installation()


class IKOL_OT_uninstall_solver(_InstallOperator, bpy.types.Operator):
    """The command *Uninstall*."""

    bl_idname = "ikol.uninstall_solver"
    bl_label = "Uninstall"
    bl_description = "Remove the installed solver and everything that was fetched for it"

    def invoke(self, context: bpy.types.Context, event: "bpy.types.Event") -> set[str]:
        """Ask first."""
        return context.window_manager.invoke_confirm(self, event)

    def begin(self, living: "runtime.Runtime") -> None:
        """End the solver, for on Windows the files of a running program cannot be removed, and remove it."""
        living.solver.close()
        runner = installer.begin_uninstall(installation.folders(), sys.executable, installation.log_path())
        living.installation.begin(runner, _REMOVED, is_exclusive=False)
        living.configure()


class IKOL_OT_cancel_install(bpy.types.Operator):
    """The command *Cancel Installation*."""

    bl_idname = "ikol.cancel_install"
    bl_label = "Cancel Installation"
    bl_description = "Stop the installation; what was fetched is kept for the next time"
    bl_options = {"INTERNAL"}

    @classmethod
    def poll(cls, _context: bpy.types.Context) -> bool:
        """Only while one runs."""
        return runtime.get().installation.is_running

    def execute(self, _context: bpy.types.Context) -> set[str]:
        """Stop it."""
        runtime.get().installation.cancel()
        runtime.get().end_installation()
        runtime.redraw()
        return {"FINISHED"}


class IKOL_OT_allow_online(bpy.types.Operator):
    """The command *Allow Online Access*."""

    bl_idname = "ikol.allow_online"
    bl_label = "Allow Online Access"
    bl_description = "Let Blender and its extensions use the internet; the same as in its preferences under System"
    bl_options = {"INTERNAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Set Blender's own preference; the command line may forbid it all the same."""
        context.preferences.system.use_online_access = True
        if not bpy.app.online_access:
            self.report({"ERROR"}, iface("Blender was started offline; start it without --offline-mode"))
            return {"CANCELLED"}
        runtime.get().installation.error = None
        runtime.get().configure()
        runtime.redraw()
        return {"FINISHED"}


class IKOL_OT_open_install_log(bpy.types.Operator):
    """The command *Open Installation Log*."""

    bl_idname = "ikol.open_install_log"
    bl_label = "Open Installation Log"
    bl_description = "Open what the last installation wrote"
    bl_options = {"INTERNAL"}

    @classmethod
    def poll(cls, _context: bpy.types.Context) -> bool:
        """Only when there is one."""
        if not installation.log_path().is_file():
            cls.poll_message_set(iface("There is no log yet: nothing has been installed"))
            return False
        return True

    def execute(self, _context: bpy.types.Context) -> set[str]:
        """Open it with the program that the system has for it."""
        path = installation.log_path()
        try:
            bpy.ops.wm.path_open(filepath=str(path))
        except RuntimeError:  # no desktop, or nothing that opens text
            self.report({"WARNING"}, iface("The log is at {path}", path=path))
        return {"FINISHED"}


def draw(layout: bpy.types.UILayout, preferences: "bpy.types.AddonPreferences") -> None:
    """Draw the box of the installation."""
    living = runtime.get().installation
    box = layout.box()
    box.label(text="Solver", icon="IMPORT")
    if living.is_running:
        draw_sentence(box, capitalised(living.text), PAGE_WIDTH)
        box.progress(factor=living.fraction, text=f"{living.fraction:.0%}", type="BAR")
        box.operator("ikol.cancel_install", icon="CANCEL")
        return
    installed = installation.find_installed()
    _draw_state(box, installed)
    column = box.column()
    column.use_property_split = True
    column.prop(preferences, "variant")
    column.prop(preferences, "package_index")
    _draw_size(box, preferences.variant)
    if living.error is not None:
        draw_sentence(box, runtime.sentence(living.error), PAGE_WIDTH, icon="ERROR")
        on_page = {Fix.NONE, Fix.OPEN_PREFERENCES, Fix.INSTALL} | (
            {Fix.INSTALL_FROM_DISK} if installed is None else set()
        )
        if living.error.fix not in on_page:
            button = fix_button(living.error.fix)
            box.operator(button.operator, text=iface(button.label), icon=button.icon)
        row = box.row()
        row.operator("ikol.copy_report", icon="COPYDOWN")
        row.operator("ikol.open_install_log", icon="TEXT")
    elif living.result:
        box.label(text=iface(living.result), icon="CHECKMARK")
    _draw_buttons(box, installed)


def _draw_state(box: bpy.types.UILayout, installed: Installed | None) -> None:
    if installed is None:
        is_incomplete = installation.is_incomplete()
        text = iface("The installation is incomplete") if is_incomplete else iface("The solver is not installed")
    elif installation.is_outdated(installed):
        text = iface("The installed solver is of another version than the add-on: update it")
    else:
        text = iface("The solver is installed, for {variant}", variant=installed.variant.upper())
    box.label(text=text, translate=False)


def size_text(variant: str, download: int, needed: int) -> str:
    """Return how much is fetched and how much room it takes, in bytes, as the user reads it."""
    return iface(
        "For {variant}: {download} MB to fetch, {needed} GB of free space",
        variant=variant.upper(),
        download=f"{download / 1e6:.0f}",
        needed=f"{needed / 1e9:.1f}",
    )


def _draw_size(box: bpy.types.UILayout, variant: str) -> None:
    try:
        chosen, download, needed = installation.sizes(variant)
    except AddonError as error:
        draw_sentence(box, runtime.sentence(error), PAGE_WIDTH, icon="ERROR")
        return
    box.label(text=size_text(chosen, download, needed), icon="DISK_DRIVE", translate=False)


def _draw_buttons(box: bpy.types.UILayout, installed: Installed | None) -> None:
    row = box.row()
    if installed is None:
        row.scale_y = 1.4
        text = "Continue Installation" if installation.is_incomplete() else "Install Solver"
        row.operator("ikol.install_solver", text=text, icon="IMPORT")
        row.operator("ikol.install_from_disk", icon="FILE_FOLDER")
        return
    if installation.is_outdated(installed):
        row.operator("ikol.install_solver", text="Update Solver", icon="FILE_REFRESH")
    else:
        row.operator("ikol.repair_solver", icon="FILE_REFRESH")
    row.operator("ikol.verify_solver", icon="CHECKMARK")
    row.operator("ikol.uninstall_solver", icon="TRASH")
