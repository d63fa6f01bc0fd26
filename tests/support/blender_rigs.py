# SPDX-License-Identifier: Apache-2.0
"""Rigs in Blender for the tests: from plain bones (humanoid_rigs), and Rigify's own."""

import addon_utils
import bpy
from humanoid_rigs import add_fingers, humanoid


def build_rig(
    style: str,
    legs: float = 1.0,
    arms_down_deg: float = 0.0,
    mode: str = "QUATERNION",
    finger_curl_deg: float | None = None,
) -> bpy.types.Object:
    """Make an armature of a style of names, and make it active; with fingers that curl at rest, None for none."""
    plain = humanoid(style, legs, arms_down_deg)
    if finger_curl_deg is not None:
        add_fingers(plain, style, finger_curl_deg)
    rig = bpy.data.objects.new(style, bpy.data.armatures.new(style))
    bpy.context.scene.collection.objects.link(rig)
    activate(rig)
    bpy.ops.object.mode_set(mode="EDIT")
    for name, bone in plain.items():
        made = rig.data.edit_bones.new(name)
        made.head, made.tail, made.roll = bone.head, bone.tail, bone.roll
        if bone.parent is not None:
            made.parent = rig.data.edit_bones[bone.parent]
    bpy.ops.object.mode_set(mode="OBJECT")
    for bone in rig.pose.bones:
        bone.rotation_mode = mode
    return rig


def rigify_rigs() -> tuple[bpy.types.Object, bpy.types.Object]:
    """Return Rigify's human metarig and the rig that it generates from it."""
    addon_utils.enable("rigify", default_set=True)
    if bpy.context.object is not None and bpy.context.object.mode != "OBJECT":
        bpy.ops.object.mode_set(mode="OBJECT")
    bpy.ops.object.armature_human_metarig_add()
    metarig = bpy.context.object
    bpy.ops.pose.rigify_generate()
    return metarig, bpy.context.object


_AUTO_RIG_LIMBS = {"arm": "c_arm_fk", "forearm": "c_forearm_fk", "hand": "c_hand_fk", "thigh": "c_thigh_fk",
                   "leg": "c_leg_fk", "foot": "c_foot_fk", "toes": "c_toes_fk"}  # fmt: skip


def auto_rig() -> bpy.types.Object:
    """Make a rig in the layout of Auto-Rig Pro: FK controls, a switch at the IK ones, and bones that follow them."""
    plain = humanoid("Auto-Rig Pro")
    rig = bpy.data.objects.new("rig", bpy.data.armatures.new("rig"))
    bpy.context.scene.collection.objects.link(rig)
    activate(rig)
    bpy.ops.object.mode_set(mode="EDIT")
    bones = rig.data.edit_bones

    def add(name: str, like: str, parent: str | None, *, is_deform: bool) -> None:
        made = bones.new(name)
        made.head, made.tail, made.roll = plain[like].head, plain[like].tail, plain[like].roll
        made.use_deform = is_deform
        if parent is not None:
            made.parent = bones[parent]

    add("c_traj", "root.x", None, is_deform=False)
    bones["c_traj"].head.z, bones["c_traj"].tail.z = 0.0, 0.3
    add("c_root_master.x", "root.x", "c_traj", is_deform=False)
    add("c_root.x", "root.x", "c_root_master.x", is_deform=False)
    add("root.x", "root.x", "c_root.x", is_deform=True)
    above = "c_root_master.x"
    for name in ("spine_01.x", "spine_02.x", "spine_03.x", "neck.x", "head.x"):
        add(f"c_{name}", name, above, is_deform=False)
        add(name, name, f"c_{name}", is_deform=True)
        above = f"c_{name}"
    followed: dict[str, str] = {}
    for side in "lr":
        add(f"c_shoulder.{side}", f"shoulder.{side}", "c_spine_03.x", is_deform=False)
        add(f"shoulder.{side}", f"shoulder.{side}", f"c_shoulder.{side}", is_deform=True)
        for limb, start in (("arm forearm hand", f"shoulder.{side}"), ("thigh leg foot toes", "root.x")):
            control = follower = start
            for part in limb.split():
                own = f"{part}{'' if part in ('hand', 'foot') else '_01' if part == 'toes' else '_stretch'}.{side}"
                add(f"{_AUTO_RIG_LIMBS[part]}.{side}", own, control, is_deform=False)
                add(own, own, follower, is_deform=True)
                control, follower = f"{_AUTO_RIG_LIMBS[part]}.{side}", own
                followed[own] = control
        for end in ("hand", "foot"):
            add(f"c_{end}_ik.{side}", f"{end}.{side}", "c_traj", is_deform=False)
    bpy.ops.object.mode_set(mode="OBJECT")
    widget = bpy.data.objects.new("cs_user", bpy.data.meshes.new("cs_user"))
    for bone in rig.pose.bones:
        if bone.name.startswith("c_"):
            bone.custom_shape = widget
    for own, control in followed.items():
        end = "hand" if any(part in own for part in ("arm", "hand")) else "foot"
        constraint = rig.pose.bones[own].constraints.new("COPY_TRANSFORMS")
        constraint.target, constraint.subtarget = rig, control
        switch = rig.pose.bones[f"c_{end}_ik.{own[-1]}"]
        switch["ik_fk_switch"] = 0.0
        driver = constraint.driver_add("influence").driver
        driver.type = "SUM"
        variable = driver.variables.new()
        variable.targets[0].id = rig
        variable.targets[0].data_path = f'pose.bones["{switch.name}"]["ik_fk_switch"]'
    return rig


def activate(thing: bpy.types.Object) -> None:
    """Make an object the active one."""
    active = bpy.context.view_layer.objects.active
    if active is not None and active.mode != "OBJECT":
        bpy.ops.object.mode_set(mode="OBJECT")
    for other in bpy.context.selected_objects:
        other.select_set(False)
    thing.select_set(True)
    bpy.context.view_layer.objects.active = thing
