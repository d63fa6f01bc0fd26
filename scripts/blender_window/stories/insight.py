# SPDX-License-Identifier: Apache-2.0
"""What the solver knows, in the window: ellipsoids, heat map, Explain, Which Keypoint Next?, Alternatives.

Takes one argument, the photograph's name in ~/Pictures.
"""

import os
import sys

import bpy

sys.path.insert(0, os.environ["IKOL_WINDOW_DRIVER"])
from driver import SETTLE, Driver, Wait, story_arguments
from ikol_user import PACKAGE, PICTURES, User, bodies, job

PHOTO = (story_arguments() or ["front_step.jpg"])[0]
POINT = "left_wrist"
LIMB = "left_arm"
# One inspection or one search for alternatives, on two busy cores.
ANSWER_SECONDS = 10.0


def part(name: str) -> object:
    """A module of the extension."""
    return sys.modules[f"{PACKAGE}.{name}"]


def known() -> object:
    """What the solver has said of the body."""
    return part("blender.insight").inspection_of(bodies()[0])


def rotations() -> list[tuple[float, ...]]:
    """The rotations of all bones."""
    return [tuple(bone.matrix_basis.to_quaternion()) for bone in bodies()[0].pose.bones]


def turned(before: list[tuple[float, ...]]) -> set[str]:
    """The bones that have turned since, by more than float32's noise."""
    pairs = zip(bodies()[0].pose.bones, before, rotations(), strict=True)
    return {bone.name for bone, a, b in pairs if abs(sum(x * y for x, y in zip(a, b, strict=True))) < 1 - 1e-6}


def call(driver: Driver, command: str, **options: object) -> Wait:
    """Run a command as a click does and wait until the solver has answered."""
    with driver.context():
        getattr(bpy.ops.ikol, command)("INVOKE_DEFAULT", **options)
    yield 0.2
    yield from driver.wait_until(lambda: job() is None, ANSWER_SECONDS)
    yield SETTLE


def show(driver: Driver) -> Wait:
    """Ellipsoids and heat, as the toggles of the panel show them."""
    settings = bpy.context.scene.ikol
    settings.show_uncertainty = True
    came = yield from driver.wait_until(lambda: known() is not None, ANSWER_SECONDS)
    driver.check("switching uncertainty on asks the solver by itself", came)
    yield from driver.picture("1_uncertainty")
    with driver.context():
        bpy.ops.view3d.view_persportho()
        bpy.ops.view3d.view_axis(type="LEFT")
        bpy.ops.view3d.view_selected()
    yield from driver.picture("2_uncertainty_from_the_side")
    settings.show_uncertainty, settings.show_heat = False, True
    yield from driver.picture("3_heat_from_the_side")
    with driver.context():
        bpy.ops.ikol.look_through()
    yield from driver.picture("4_heat")
    settings.show_heat = False


def explain(driver: Driver) -> Wait:
    """The list for a joint, and the keypoint that would help most."""
    part("blender.selection").select_points(bodies()[0], (POINT,), POINT)
    yield from call(driver, "explain")
    driver.check("the solver has told what holds each joint", known() is not None)
    yield from driver.picture("5_explain")
    yield from call(driver, "next_keypoint")
    point = part("blender.selection").active_point(bodies()[0])
    driver.check("the keypoint that would help most is selected", point, point)
    yield from driver.picture("6_next_keypoint")


def alternatives(driver: Driver) -> Wait:
    """Ghosts, arrow keys, Esc, Enter, undo."""
    part("blender.selection").select_points(bodies()[0], ())
    before = rotations()
    yield from call(driver, "alternatives", limb=LIMB)
    choice = part("blender.alternatives")._Holder.choice
    if not driver.check("several poses of the arm fit the photograph", choice is not None):
        return
    driver.check("up to four", 2 <= len(choice.found) <= 4, len(choice.found))
    yield from driver.hover_viewport()
    yield from driver.picture("7_alternatives")
    yield from driver.press_key("Right")
    limb = set(part("core.body_parts").PARTS[LIMB])
    driver.check("an arrow key shows the next, of this arm only", turned(before) and turned(before) <= limb)
    with driver.context():  # on the photograph they look alike, from the side they do not
        bpy.ops.view3d.view_persportho()
        bpy.ops.view3d.view_axis(type="LEFT")
        bpy.ops.view3d.view_selected()
    yield from driver.picture("8_next_alternative")
    yield from driver.press_key("Escape")
    driver.check("Esc leaves all as it was", not turned(before))
    yield from call(driver, "alternatives", limb=LIMB)
    yield from driver.hover_viewport()
    yield from driver.press_key("Right")
    shown = rotations()
    yield from driver.press_key("Return")
    yield 1.5
    driver.check("Enter takes it", turned(before) and part("blender.alternatives")._Holder.choice is None)
    driver.check("and nothing but the arm has moved", turned(before) <= limb, sorted(turned(before) - limb))
    names = [bone.name for bone in bodies()[0].pose.bones]
    dots = [abs(sum(x * y for x, y in zip(a, b, strict=True))) for a, b in zip(shown, rotations(), strict=True)]
    driver.check("as it was shown", min(dots) > 0.99, f"{names[dots.index(min(dots))]} {min(dots):.4f}")
    yield from driver.picture("9_taken")
    yield from driver.press_key("ctrl+z")
    bpy.context.view_layer.update()
    driver.check("one undo takes it back", not turned(before), sorted(turned(before)))


def story(driver: Driver) -> Wait:
    """Pose, then ask what the solver knows."""
    user = User(driver)
    yield 2.0
    yield from user.open_panel()
    yield from user.name_solver()
    yield from user.start_solver()
    posed = yield from user.pose_photograph(PICTURES / PHOTO)
    if not driver.check("the photograph is posed", posed):
        return
    yield from show(driver)
    yield from explain(driver)
    yield from alternatives(driver)


driver = Driver()
driver.play(story)
