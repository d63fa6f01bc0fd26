# SPDX-License-Identifier: Apache-2.0
"""What `scripts/rig_table/run` does inside Blender: pose each rig of the tests from one photograph, measure, render.

Run by the Python of a Blender module. It leaves in OUT: rigs.json, and for each rig NUMBER_front.png (its bones as the
rig's own camera sees them, transparent elsewhere) and NUMBER_side.png (on the floor, from the side).
"""

import argparse
import importlib
import json
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests" / "support")]
demo = importlib.import_module("demo_in_blender")

RIGS = (
    ("Mixamo", "Mixamo", 1.15, 0), ("Unreal", "Unreal", 0.85, 50), ("VRM, J_Bip", "VRM J_Bip", 1.0, 0),
    ("VRM, humanoid names", "VRM humanoid", 1.0, 45), ("Auto-Rig Pro names", "Auto-Rig Pro", 1.0, 45),
    ("MakeHuman names", "MakeHuman", 1.0, 45), ("Daz names", "Daz", 1.15, 45), ("CMU names", "CMU", 0.85, 0),
)  # fmt: skip
"""Title, style of names, length of the legs, degrees that the arms hang down at rest; Rigify's two come to them."""

LIMBS = tuple(f"{side}_{joint}" for side in ("left", "right") for joint in (
    "shoulder", "elbow", "wrist", "hip", "knee", "ankle",
))  # fmt: skip
MEETING = {"L_Shoulder": -1.15, "L_Elbow": -1.5, "R_Shoulder": 1.15, "R_Elbow": 1.5, "L_Collar": 0.0, "R_Collar": 0.0,
           "L_Wrist": 0.0, "R_Wrist": 0.0}  # fmt: skip
"""Radians about the body's upright axis: with the arms in front, the hands meet."""

HANDS_FRAME = 2
WIDTH = 700  # pixels of the photograph
SIDE_SIZE = (420, 700)
SAMPLES = 12
THICK = 0.1  # of a bone's length
COLORS = {"L": (0.05, 0.22, 0.8, 1.0), "R": (0.8, 0.1, 0.05, 1.0), "": (0.75, 0.6, 0.1, 1.0)}
SIDE_CAMERA = (-5.2, -2.2, 1.4)  # metres from the rig's place on the floor
SIDE_LENS = 70.0  # millimetres
FLOOR = 0.8  # metres, its radius


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--solver-python", type=Path, default=ROOT / ".venv" / "bin" / "python")
    options = parser.parse_args()
    options.device = "cpu"
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="ikol-rigs-") as user_folder:
        os.environ["BLENDER_USER_RESOURCES"] = user_folder  # before bpy is imported: fresh settings
        bpy = importlib.import_module("bpy")
        demo.install(bpy, max((ROOT / "dist").glob("ikol-*.zip")), options)
        rows = list(pose_all(bpy, options))
        (options.out / "rigs.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
        bpy.ops.preferences.addon_disable(module=demo.MODULE)  # ends the solver process
    sys.stdout.flush()
    os._exit(0)  # some Blender modules end with a segmentation fault after all their work is done


def pose_all(bpy, options: argparse.Namespace):
    """Pose every rig, and give its row."""
    made = importlib.import_module("blender_rigs")  # after bpy
    bpy.context.scene.frame_set(1)
    bpy.ops.ikol.pose_from_image(filepath=str(options.photo.resolve()))
    body = bpy.context.view_layer.objects.active
    for joint, angle in MEETING.items():
        bone = body.pose.bones[joint]
        bone.rotation_quaternion = (np.cos(0.5 * angle), 0.0, np.sin(0.5 * angle), 0.0)
        bone.keyframe_insert("rotation_quaternion", frame=HANDS_FRAME)
    bpy.context.scene.frame_set(1)
    rigs = [(title, made.build_rig(style, legs, down), legs) for title, style, legs, down in RIGS]
    rigs += [
        (f"Rigify, {kind}", rig, None) for kind, rig in zip(("metarig", "generated"), made.rigify_rigs(), strict=True)
    ]
    stage = Stage(bpy, options.out)
    for number, (title, rig, legs) in enumerate(rigs):
        made.activate(rig)
        rig.ikol_rig.source = body
        bpy.ops.ikol.pose_rig()
        row = {"title": title, "legs": legs, "way": rig.ikol_rig.way, "guessed": guessed(rig)} | measure(bpy, rig, body)
        stage.render(rig, number)
        rig.ikol_rig.place = "SCENE"
        bpy.ops.ikol.pose_rig()
        row["px_like_body"] = measure(bpy, rig, body)["px_solved"]
        bpy.context.scene.frame_set(HANDS_FRAME)
        bpy.ops.ikol.pose_rig()
        row["hands_solved"], row["hands_copied"] = hands(bpy, rig, body)
        bpy.context.scene.frame_set(1)
        print("[rigs]", row, flush=True)
        yield row


def guessed(rig) -> list[str]:
    """Give the joints whose bone's name did not tell."""
    return [row.name for row in rig.ikol_rig.joints if row.is_guessed]


def task_of(bpy, rig, body):
    """Give the task that the button has made, without the photograph, and the photograph."""
    scene, skeletons = demo.part("blender.rig_scene"), demo.part("core.rig_skeleton")
    job, shots = demo.part("core.rig_job"), demo.part("blender.rig_photo")
    theirs = scene.source_skeleton(body)
    own = skeletons.calibrated(scene.rig_skeleton(rig), theirs)
    pose = scene.read_source(body, theirs, True)
    placement = demo.part("core.rig_placement").Placement(np.linalg.inv(scene.to_scene(rig, own)))
    found, _ = shots.read_shots(bpy.context, body, [bpy.context.scene.frame_current], placement)
    return job.Task(own, (pose,), placement), found[0]


def measure(bpy, rig, body) -> dict[str, float]:
    """Give what is off on the written bones, beside copied rotations.

    Joints from where they were solved and soles from where they stand, millimetres; on the picture the limbs from their
    keypoints, pixels, median and largest.
    """
    scene, job = demo.part("blender.rig_scene"), demo.part("core.rig_job")
    pictures, photos = demo.part("core.rig_picture"), demo.part("core.rig_photo")
    plain, shot = task_of(bpy, rig, body)
    large = photos.on_photograph(plain, shot)
    result = demo.part("blender.runtime").get().result
    is_on_photo = result.rig_camera is not None
    task = large if is_on_photo else plain
    written = scene.read_source(rig, large.rig, True)
    solved = job.posed(large.rig, result.rig_poses[-1])
    to_scene = plain.placement.to_scene
    residual = np.linalg.norm(written.places - to_scene(solved.places), axis=1).max()
    copied = job.posed(large.rig, job.copy_rotations(plain, plain.frames[0]))
    theirs = pictures.camera_in(shot.camera, shot.to_scene)
    seen = replace(large.picture, camera=result.rig_camera if is_on_photo else theirs).misses(written.place)
    before = replace(large.picture, camera=theirs).misses(lambda name: to_scene(copied.place(name)))
    return {
        "residual": 1e3 * float(residual),
        "feet_solved": soles(task, written.place),
        "feet_copied": soles(plain, lambda name: to_scene(copied.place(name))),
        "px_solved": pair(seen),
        "px_copied": pair(before),
    }


def pair(missed: dict[str, float]) -> tuple[float, float]:
    """Give median and largest of the limbs."""
    limbs = [missed[name] for name in LIMBS]
    return float(np.median(limbs)), max(limbs)


def soles(task, place) -> float:
    """Give the farthest that a sole which stands is from its place, millimetres."""
    problem = demo.part("core.rig_job").FrameProblem(task, task.frames[0], task.touched()[0])
    ways = [place(name) - task.placement.to_scene(at) for name, (at, _) in problem.feet().items()]
    return 1e3 * max(float(np.linalg.norm(way)) for way in ways)


def hands(bpy, rig, body) -> tuple[float, float]:
    """Give how far the palms are from each other beyond what the source's are, solved and copied, millimetres."""
    scene, job = demo.part("blender.rig_scene"), demo.part("core.rig_job")
    plain, _ = task_of(bpy, rig, body)
    (contact,) = plain.touched()[0].hands
    written = scene.read_source(rig, plain.rig, True)
    copied = job.posed(plain.rig, job.copy_rotations(plain, plain.frames[0]))
    ways = [
        written.place("L_palm") - written.place("R_palm"),
        plain.placement.to_scene(copied.place("L_palm")) - plain.placement.to_scene(copied.place("R_palm")),
    ]
    solved, before = (1e3 * float(np.linalg.norm(way - contact.offset)) for way in ways)
    return solved, before


class Stage:
    """Renders the bones of a rig as solids, by Cycles on the processor, which needs no screen."""

    def __init__(self, bpy, out: Path) -> None:
        self._bpy, self._out = bpy, out
        scene = bpy.context.scene
        scene.render.engine, scene.cycles.device, scene.cycles.samples = "CYCLES", "CPU", SAMPLES
        scene.cycles.use_denoising, scene.cycles.max_bounces = False, 2
        scene.render.film_transparent = True
        scene.render.image_settings.file_format, scene.render.image_settings.color_mode = "PNG", "RGBA"
        scene.view_settings.view_transform = "Standard"
        demo.add_light(bpy, scene)
        self._materials = {side: self._material(side, color) for side, color in COLORS.items()}
        self._side = bpy.data.objects.new("Side", bpy.data.cameras.new("Side"))
        self._side.data.lens = SIDE_LENS
        scene.collection.objects.link(self._side)
        for thing in scene.objects:
            thing.hide_render = thing.type == "MESH"

    def _material(self, name: str, color: tuple[float, ...]):
        material = self._bpy.data.materials.new(name or "middle")
        if material.node_tree is None:  # Blender 5 always has one
            material.use_nodes = True
        shader = next(node for node in material.node_tree.nodes if node.type == "BSDF_PRINCIPLED")
        shader.inputs["Base Color"].default_value = color
        return material

    def render(self, rig, number: int) -> None:
        """Write both views."""
        bpy, scene = self._bpy, self._bpy.context.scene
        vector = importlib.import_module("mathutils").Vector
        things, render, camera = self._solids(rig), scene.render, scene.camera
        size = render.resolution_x, render.resolution_y
        render.resolution_x, render.resolution_y = WIDTH, round(WIDTH * size[1] / size[0])
        self._shoot(self._out / f"{number}_front.png")
        ends = np.array([vertex.co for thing in things for vertex in thing.data.vertices[:2]])
        foot = vector((*(0.5 * (ends.min(axis=0) + ends.max(axis=0)))[:2], 0.0))
        things.append(self._floor(foot))
        self._side.location = foot + vector(SIDE_CAMERA)
        aim = foot + vector((0.0, 0.0, 0.5 * float(ends[:, 2].max()))) - self._side.location
        self._side.rotation_euler = aim.to_track_quat("-Z", "Y").to_euler()
        scene.camera = self._side
        render.resolution_x, render.resolution_y = SIDE_SIZE
        self._shoot(self._out / f"{number}_side.png")
        scene.camera, (render.resolution_x, render.resolution_y) = camera, size
        for thing in things:
            bpy.data.objects.remove(thing)

    def _shoot(self, path: Path) -> None:
        self._bpy.context.scene.render.filepath = str(path.resolve())
        with demo.silent_stdout():  # Cycles prints a line for every step
            self._bpy.ops.render.render(write_still=True)

    def _floor(self, at):
        mesh = self._bpy.data.meshes.new("Floor")
        ring = np.linspace(0.0, 2.0 * np.pi, 48, endpoint=False)
        corners = [(at[0] + FLOOR * np.cos(angle), at[1] + FLOOR * np.sin(angle), 0.0) for angle in ring]
        mesh.from_pydata(corners, [], [range(len(corners))])
        floor = self._bpy.data.objects.new("Floor", mesh)
        self._bpy.context.scene.collection.objects.link(floor)
        return floor

    def _solids(self, rig) -> list:
        """Make an octahedron of each bone that moves skin."""
        self._bpy.context.view_layer.update()
        things = []
        for bone in rig.pose.bones:
            if not bone.bone.use_deform:
                continue
            ends = [np.array(rig.matrix_world @ end) for end in (bone.head, bone.tail)]
            axes = np.array((rig.matrix_world @ bone.matrix).to_3x3().normalized())
            middle, width = 0.85 * ends[0] + 0.15 * ends[1], THICK * float(np.linalg.norm(ends[1] - ends[0]))
            ring = [middle + width * way for way in (axes[:, 0], axes[:, 2], -axes[:, 0], -axes[:, 2])]
            mesh = self._bpy.data.meshes.new(bone.name)
            faces = [(end, 2 + one, 2 + (one + 1) % 4) for end in (0, 1) for one in range(4)]
            mesh.from_pydata([end.tolist() for end in (*ends, *ring)], [], faces)
            rest = float((rig.matrix_world @ bone.bone.tail_local).x)
            mesh.materials.append(self._materials["" if abs(rest) < 0.02 else "L" if rest > 0 else "R"])
            thing = self._bpy.data.objects.new(bone.name, mesh)
            self._bpy.context.scene.collection.objects.link(thing)
            things.append(thing)
        return things


if __name__ == "__main__":
    main()
