# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys of the add-on: registered in Blender's add-on keymap, where the user can change or remove each."""

from dataclasses import dataclass, field

import bpy
import rna_keymap_ui

from .menus import PIE_MENU


@dataclass(frozen=True)
class Key:
    """One key: the command, the chord, and the command's properties."""

    operator: str
    type: str
    modifiers: dict[str, bool]
    properties: dict[str, str] = field(default_factory=dict)


KEYMAP = "3D View"
KEYS = (Key("wm.call_menu_pie", "I", {"ctrl": True, "alt": True}, {"name": PIE_MENU}),)


def register() -> None:
    """Add the keys; in background mode there is no keymap to add them to."""
    configuration = bpy.context.window_manager.keyconfigs.addon
    if configuration is None:
        return
    keymap = configuration.keymaps.new(name=KEYMAP, space_type="VIEW_3D")
    for key in KEYS:
        item = keymap.keymap_items.new(key.operator, key.type, "PRESS", **key.modifiers)
        for name, value in key.properties.items():
            setattr(item.properties, name, value)


def unregister() -> None:
    """Take the keys back."""
    configuration = bpy.context.window_manager.keyconfigs.addon
    keymap = configuration and configuration.keymaps.get(KEYMAP)
    if not keymap:
        return
    for item in _items(keymap):
        keymap.keymap_items.remove(item)


def draw(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """Draw the keys so that the user can change, switch off, remove and restore them."""
    configuration = context.window_manager.keyconfigs.user
    keymap = configuration and configuration.keymaps.get(KEYMAP)
    if not keymap:
        return
    column = layout.column()
    column.context_pointer_set("keymap", keymap)
    items = _items(keymap)
    for item in items:
        rna_keymap_ui.draw_kmi(["ADDON", "USER", "DEFAULT"], configuration, keymap, item, column, 0)
    if len(items) < len(KEYS):
        column.label(text="Removed keys come back with Restore in the keymap's own page", icon="INFO")


def _items(keymap: "bpy.types.KeyMap") -> "list[bpy.types.KeyMapItem]":
    """Return the add-on's keys of a keymap, whatever the user has made of their chords."""
    return [
        item
        for item in keymap.keymap_items
        if any(
            item.idname == key.operator
            and all(getattr(item.properties, name, None) == value for name, value in key.properties.items())
            for key in KEYS
        )
    ]
