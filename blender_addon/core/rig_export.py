# SPDX-License-Identifier: GPL-3.0-or-later
"""Which bones of a rig are written for another program, and what they are called there.

Of a control rig those that move the skin, each below the nearest one above it; of any other rig all.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from .errors import SceneError
from .export_presets import Preset
from .rig_bones import Bones, RestBone, ancestors, path_down
from .rig_fingers import find_fingers
from .rig_mapping import map_rig
from .rig_names import FOLLOWERS


@dataclass(frozen=True, eq=False)
class ExportPlan:
    """A rig as it is written."""

    bones: Bones
    """Parents before children; the parents are those of the file."""
    names: Mapping[str, str]
    """Of all bones, as the file has them."""
    root: str = ""
    """Name of a bone on the floor above all; empty for none."""


def plan_export(
    bones: Bones, joints: Mapping[str, str], fingers: Mapping[str, str], preset: Preset | None
) -> ExportPlan:
    """Return what is written of a rig.

    Args:
        bones: At rest.
        joints: Bones by joints; empty where none are known.
        fingers: Bones by joints of fingers.
        preset: How joints are named; None to keep the rig's own names.

    Raises:
        SceneError: It has no bones, or none is known from which the preset names the others.
    """
    written, is_control = dict(bones), any(not bones[name].is_deform for name in joints.values())
    if is_control:
        written = _deforming(bones)
        found = map_rig(written)
        joints, fingers = found.bones, find_fingers(written, found.bones)
    if not written:
        raise SceneError("the rig has no bones to write; select another one")
    names = {name: name for name in written}
    root = ""
    if preset is not None:
        if "Pelvis" not in joints:
            raise SceneError("no bone of the rig is known as its Pelvis; choose Find Bones, or export its own names")
        names = _renamed(written, joints, fingers, preset)
        if written[joints["Pelvis"]].parent is None:
            root = preset.root
    if not root and sum(bone.parent is None for bone in written.values()) > 1:
        root = "root"  # a file has one skeleton
    return ExportPlan(written, names, root if root not in names.values() else "")


def _deforming(bones: Bones) -> dict[str, RestBone]:
    """Return the bones that move the skin, parents first, each below the nearest of them, or what follows that one."""
    parents: dict[str, str | None] = {}
    for name, bone in bones.items():
        if bone.is_deform:
            above = (_deformer(bones, one) for one in ancestors(bones, name)[1:])
            parents[name] = next((one for one in above if one is not None and one != name), None)

    def depth(name: str) -> int:
        way: list[str] = []
        current: str | None = name
        while current is not None and current not in way:
            way.append(current)
            current = parents[current]
        if current is not None:  # two that each hang on what follows the other
            parents[name] = None
        return len(way)

    order = sorted(parents, key=depth)
    return {name: replace(bones[name], parent=parents[name]) for name in sorted(order, key=depth)}


def _deformer(bones: Bones, name: str) -> str | None:
    """Return the bone itself where it moves the skin, or Rigify's that does it for this control."""
    if bones[name].is_deform:
        return name
    plain = next((name.removeprefix(prefix) for prefix in FOLLOWERS if name.startswith(prefix)), name)
    deformer = f"DEF-{plain}"
    return deformer if deformer in bones and bones[deformer].is_deform else None


def _renamed(bones: Bones, joints: Mapping[str, str], fingers: Mapping[str, str], preset: Preset) -> dict[str, str]:
    names = {bone: preset.names[joint] for joint, bone in {**joints, **fingers}.items()}
    chest = joints.get("Spine3") or joints.get("Spine2") or joints.get("Spine1")
    if chest is not None:
        _number(names, path_down(bones, joints["Pelvis"], chest), preset.spine)
        if "Head" in joints:
            _number(names, path_down(bones, chest, joints["Head"])[:-1], preset.neck)
    taken = set(names.values())
    for name in bones:
        if name not in names:
            free, number = name, 2
            while free in taken:
                free, number = f"{name}_{number}", number + 1
            names[name] = free
            taken.add(free)
    return {name: names[name] for name in bones}


def _number(names: dict[str, str], path: list[str], wanted: tuple[str, ...]) -> None:
    """Name the bones of the spine or the neck from the bottom, where the program counts them and has as many."""
    if len(path) <= len(wanted):
        names |= dict(zip(path, wanted, strict=False))
