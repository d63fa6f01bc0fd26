# SPDX-License-Identifier: Apache-2.0
"""What `scripts/demo` does inside Blender: install the built extension as a user would, pose a photo, save, render.

Run by the Python of a Blender module: `.venv/blender/4.5/bin/python scripts/demo_in_blender.py PHOTO OUT`. It leaves in
OUT: pose.blend, pose.npz, body.png (the bodies alone, seen by the matched camera, transparent elsewhere) and demo.json
(times, keypoints, reprojected points and joints, camera) for the picture that the demo draws from them.
"""

import argparse
import contextlib
import importlib
import json
import math
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
MODULE = "bl_ext.user_default.ikol"

RENDER_SIDE = 900  # pixels of the longer side: Cycles takes 1 to 4 s on two cores
RENDER_SAMPLES = 12
CLAY = (0.55, 0.62, 0.75, 1.0)


class Stopwatch:
    """Seconds of each step by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._begin = time.perf_counter()

    def lap(self, name: str) -> None:
        """Book the time since the last lap under a name and print it."""
        now = time.perf_counter()
        self.seconds[name] = round(now - self._begin, 3)
        self._begin = now
        print(f"[blender] {name}: {self.seconds[name]:.2f} s", flush=True)


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("photo", type=Path)
    arguments.add_argument("out", type=Path)
    arguments.add_argument("--zip", type=Path, default=None, help="default: the one in dist")
    arguments.add_argument("--solver-python", type=Path, default=ROOT / ".venv" / "bin" / "python")
    arguments.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    options = arguments.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    archive = options.zip or max((ROOT / "dist").glob("ikol-*.zip"))

    watch = Stopwatch()
    with tempfile.TemporaryDirectory(prefix="ikol-demo-") as user_folder:
        os.environ["BLENDER_USER_RESOURCES"] = user_folder  # before bpy is imported: fresh settings, and not the user's
        bpy = importlib.import_module("bpy")
        watch.lap("start_blender")
        status = run(bpy, options, archive, watch)
        bpy.ops.preferences.addon_disable(module=MODULE)  # ends the solver process
    sys.stdout.flush()
    os._exit(status)  # some Blender modules end with a segmentation fault after all their work is done


def run(bpy, options: argparse.Namespace, archive: Path, watch: Stopwatch) -> int:
    """Do the steps; return the exit status."""
    install(bpy, archive, options)
    watch.lap("install_extension")
    try:
        bpy.ops.ikol.start_solver()
        watch.lap("start_solver")
        bpy.ops.ikol.pose_from_image(filepath=str(options.photo.resolve()))
    except RuntimeError:  # an operator's error report: Blender has printed the sentence that a user would see
        return 1
    watch.lap("pose_from_image")
    summary = summarise(bpy, options.photo)
    write_npz(options.out / "pose.npz", summary)
    bpy.ops.file.pack_all()  # the photograph goes into the file, so that it can be opened elsewhere
    bpy.ops.wm.save_as_mainfile(filepath=str((options.out / "pose.blend").resolve()), check_existing=False)
    watch.lap("save_blend")
    render(bpy, options.out / "body.png")
    watch.lap("render")
    summary["seconds"] |= watch.seconds
    text = json.dumps(summary, indent=1, allow_nan=False)
    (options.out / "demo.json").write_text(text + "\n", encoding="utf-8")
    return 0


def install(bpy, archive: Path, options: argparse.Namespace) -> None:
    """Install the zip, enable it, name the solver's Python."""
    bpy.ops.extensions.package_install_files(filepath=str(archive), repo="user_default", enable_on_install=True)
    preferences = bpy.context.preferences.addons[MODULE].preferences
    preferences.solver_python = str(options.solver_python)
    preferences.device = options.device
    bpy.context.preferences.filepaths.save_version = 0  # no pose.blend1 beside a pose.blend that is written again
    bpy.ops.wm.read_homefile(use_empty=True)


def part(name: str):
    """Give a module of the installed add-on."""
    return importlib.import_module(f"{MODULE}.{name}")


def summarise(bpy, photo: Path) -> dict:
    """Gather what the add-on stored on the armatures it made."""
    bodies = [thing for thing in bpy.context.scene.objects if part("blender.bodies").is_body(thing)]
    living = part("blender.runtime").get()
    deadline = time.monotonic() + 2.0
    while not living.solver.state.is_ready and time.monotonic() < deadline:  # until it has said on which device
        living.pump()
        time.sleep(0.01)
    records = [part("blender.bodies").read_record(body) for body in bodies]
    camera = records[0].camera
    return {
        "photo": str(photo),
        "blender": bpy.app.version_string,
        "device": living.solver.state.device,
        "camera": {name: getattr(camera, name) for name in camera.__struct_fields__},
        "persons": [summarise_person(*pair) for pair in zip(bodies, records, strict=True)],
        "warnings": list(living.result.warnings),
        "seconds": {
            "detect": round(living.result.detect_seconds, 3),
            "solve": round(sum(record.solution.seconds for record in records), 3),
        },
    }


def summarise_person(armature, record) -> dict:
    """Gather one person: evidence on the picture, where the solved body's points are, the pose."""
    joint_names = part("core.rig").JOINT_NAMES
    place = part("blender.bodies").body_to_world(armature)
    heads = [armature.matrix_world @ armature.pose.bones[name].head for name in joint_names]
    joints = part("core.pose_conversion").scene_to_body(heads, place)
    seen = [block for block in record.evidence if isinstance(block, part("core.record").Keypoints2D)]
    return {
        "armature": armature.name,
        "score": record.score,
        "box": record.box,
        "keypoints_px": {name: point for block in seen for name, point in zip(block.names, block.points, strict=True)},
        "sigma_px": {name: sigma for block in seen for name, sigma in zip(block.names, block.sigma, strict=True)},
        "confidence": record.confidence,
        "reprojected_px": record.solution.pixels,
        "joints_px": dict(zip(joint_names, project(record.camera, joints).tolist(), strict=True)),
        "joint_parents": part("core.rig").JOINT_PARENTS,
        "joints": joints.tolist(),
        "local_quat": record.solution.pose.local_quat,
        "transl": record.solution.pose.transl,
        "betas": record.solution.pose.betas,
        "reprojection_px_median": record.solution.reprojection_px,
        "status": record.solution.status,
        "iterations": record.solution.iterations,
    }


def project(camera, points: np.ndarray) -> np.ndarray:
    """Give the pixels of points of the SMPL world."""
    seen = points @ np.array(camera.rotation).reshape(3, 3).T + np.array(camera.translation)
    return seen[:, :2] / seen[:, 2:] * (camera.focal_x, camera.focal_y) + (camera.center_x, camera.center_y)


def write_npz(path: Path, summary: dict) -> None:
    """Write poses and camera as plain arrays: SMPL world, metres, radians, quaternions wxyz."""
    persons, camera = summary["persons"], summary["camera"]
    np.savez(
        path,
        joint_names=np.array(part("core.rig").JOINT_NAMES),
        joint_parents=np.array(part("core.rig").JOINT_PARENTS),
        local_quat=np.array([person["local_quat"] for person in persons], dtype=np.float32),
        transl=np.array([person["transl"] for person in persons], dtype=np.float32),
        betas=np.array([person["betas"] for person in persons], dtype=np.float32),
        joints=np.array([person["joints"] for person in persons], dtype=np.float32),
        camera_size=np.array([camera["width"], camera["height"]]),
        camera_focal=np.array([camera["focal_x"], camera["focal_y"]]),
        camera_center=np.array([camera["center_x"], camera["center_y"]]),
        camera_rotation=np.array(camera["rotation"]).reshape(3, 3),
        camera_translation=np.array(camera["translation"]),
    )


def render(bpy, path: Path) -> None:
    """Render the bodies alone from the matched camera. Cycles on the processor needs no screen and no graphics card."""
    scene = bpy.context.scene
    render_settings = scene.render
    longest = max(render_settings.resolution_x, render_settings.resolution_y)
    render_settings.resolution_percentage = 100
    render_settings.resolution_x = round(render_settings.resolution_x * RENDER_SIDE / longest)
    render_settings.resolution_y = round(render_settings.resolution_y * RENDER_SIDE / longest)
    render_settings.engine = "CYCLES"
    render_settings.film_transparent = True
    render_settings.image_settings.file_format = "PNG"
    render_settings.image_settings.color_mode = "RGBA"
    render_settings.filepath = str(path.resolve())
    scene.cycles.device = "CPU"
    scene.cycles.samples = RENDER_SAMPLES
    scene.cycles.use_denoising = False  # takes longer than the picture
    scene.cycles.max_bounces = 2
    scene.view_settings.view_transform = "Standard"
    add_light(bpy, scene)
    material = bpy.data.materials.new("Clay")
    material.diffuse_color = CLAY
    if material.node_tree is None:  # Blender 5 always has one
        material.use_nodes = True
    shader = next(node for node in material.node_tree.nodes if node.type == "BSDF_PRINCIPLED")
    shader.inputs["Base Color"].default_value = CLAY
    shader.inputs["Roughness"].default_value = 0.7
    for thing in scene.objects:
        if thing.type == "MESH":
            thing.data.materials.append(material)
    with silent_stdout():  # Cycles prints a line for every step
        bpy.ops.render.render(write_still=True)


@contextlib.contextmanager
def silent_stdout():
    """Send to nowhere what libraries print on stdout."""
    sys.stdout.flush()
    saved, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        yield
    finally:
        os.dup2(saved, 1)
        os.close(saved)
        os.close(nowhere)


def add_light(bpy, scene) -> None:
    """A sun over the camera's left shoulder and a grey sky."""
    sun = bpy.data.objects.new("Sun", bpy.data.lights.new("Sun", "SUN"))
    sun.data.energy, sun.data.angle = 1.9, 0.2
    scene.collection.objects.link(sun)
    sun.rotation_euler = scene.camera.matrix_world.to_euler()
    sun.rotation_euler.x -= math.radians(35)
    sun.rotation_euler.z -= math.radians(35)
    world = bpy.data.worlds.new("Sky")
    scene.world = world
    if world.node_tree is None:  # Blender 5 always has one
        world.use_nodes = True
    background = next(node for node in world.node_tree.nodes if node.type == "BACKGROUND")
    background.inputs["Color"].default_value = (0.5, 0.5, 0.5, 1.0)
    background.inputs["Strength"].default_value = 0.45


if __name__ == "__main__":
    sys.exit(main())
