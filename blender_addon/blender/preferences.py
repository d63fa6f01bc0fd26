# SPDX-License-Identifier: GPL-3.0-or-later
"""Preferences of the add-on: installing the solver or naming a Python that has it, device, network, keys."""

import bpy
from bpy.props import BoolProperty, EnumProperty, StringProperty

from ..core.solver_state import Phase
from . import install_operators, keymaps, runtime
from .identity import BASE_PACKAGE
from .text import draw_sentence


def _on_solver_changed(_preferences: "IKOL_Preferences", _context: bpy.types.Context) -> None:
    """The running process was started with the old values: part from it; the next command starts a new one."""
    state = runtime.get()
    if state.solver.state.phase is not Phase.STOPPED:
        state.solver.stop()
    state.check_result = ""
    state.notice = None
    state.configure()


class IKOL_Preferences(bpy.types.AddonPreferences):
    """What the user sets once."""

    bl_idname = BASE_PACKAGE

    variant: EnumProperty(
        name="Install for",
        description="For what PyTorch is installed",
        items=[
            ("auto", "Automatic", "CUDA where an NVIDIA graphics card is found, else the processor"),
            ("cpu", "Processor", "Small; runs everywhere"),
            ("cuda", "CUDA", "Large; for an NVIDIA graphics card"),
        ],
        default="auto",
    )
    package_index: StringProperty(
        name="Package Index",
        description="Address of one more package index for pip, beside its usual one; under Linux one with PyTorch for "
        "the processor alone, if you want that",
    )
    solver_python: StringProperty(
        name="Solver's Python",
        description="The Python interpreter of an environment that has ikol; empty for the installed solver",
        subtype="FILE_PATH",
        update=_on_solver_changed,
    )
    listen_file: StringProperty(
        name="Shared Solver",
        description="The listen file of a solver that serves several Blenders (ikol serve --listen-file); empty for a "
        "solver of this Blender's own",
        subtype="FILE_PATH",
        update=_on_solver_changed,
    )
    key_file: StringProperty(
        name="Key",
        description="Your key for the shared solver (ikol serve --make-key); only you may be able to read it",
        subtype="FILE_PATH",
        update=_on_solver_changed,
    )
    body_file: StringProperty(
        name="Body",
        description="Your own body: an .npz file in the layout of SMPL's model files; empty for the default body",
        subtype="FILE_PATH",
        update=_on_solver_changed,
    )
    device: EnumProperty(
        name="Device",
        description="Where the solver computes",
        items=[
            ("auto", "Automatic", "The graphics card when there is one that fits, else the processor"),
            ("cpu", "Processor", "Always the processor"),
            ("cuda", "CUDA", "An NVIDIA graphics card"),
        ],
        default="auto",
        update=_on_solver_changed,
    )
    model: EnumProperty(
        name="Network",
        description="Which landmark network looks at the picture",
        items=[
            ("heavy", "Heavy", "The most exact one"),
            ("full", "Full", "Twice as fast, a little less exact"),
            ("own", "Own", "Your own network, named in the preferences"),
        ],
        default="heavy",
    )
    own_network: StringProperty(
        name="Own Network",
        description="A network of yours: its manifest, weights of HybrIK or IKOL, or a training's folder; empty for "
        "none",
        subtype="FILE_PATH",
        update=_on_solver_changed,
    )
    is_network_trusted: BoolProperty(
        name="Trust It",
        description="Load the network also if its file is a program, which can do all that you can on this computer",
        default=False,
        update=_on_solver_changed,
    )

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the page in Blender's preferences."""
        install_operators.draw(self.layout, self)
        column = self.layout.column()
        column.use_property_split = True
        column.prop(self, "solver_python")  # a line of its own: paths are long
        row = column.split(factor=0.4)
        row.separator()
        row.operator("ikol.check_python", text="Check", icon="CHECKMARK")
        column.prop(self, "listen_file")
        if self.listen_file:
            column.prop(self, "key_file")
        column.prop(self, "body_file")
        column.prop(self, "device")
        column.prop(self, "model")
        column.prop(self, "own_network")
        if self.own_network:
            column.prop(self, "is_network_trusted")
        result = runtime.get().check_result
        if result:
            draw_sentence(column, result, width=110)
        box = self.layout.box()
        box.label(text="Keys", icon="KEYINGSET")
        keymaps.draw(box, context)
