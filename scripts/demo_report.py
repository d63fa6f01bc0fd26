# SPDX-License-Identifier: Apache-2.0
"""The second half of `scripts/demo`: run Blender on the photograph, draw the result, write the report.

Picture and report are made here and not in Blender, because Blender's Python has no image library.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

from PIL import Image, ImageDraw, ImageOps

ROOT = Path(__file__).resolve().parents[1]
PANEL_HEIGHT = 960  # of the picture; small photographs are drawn larger, so that the marks stay readable
SEEN, SOLVED, JOINT = (80, 230, 90), (255, 70, 60), (255, 200, 60)
BACKGROUND = (38, 40, 44)


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("photo", type=Path)
    arguments.add_argument("out", type=Path)
    arguments.add_argument("--blender", type=Path, required=True, help="folder of a Blender module's environment")
    arguments.add_argument("--setup-seconds", type=float, default=0.0)
    arguments.add_argument("--build-seconds", type=float, default=0.0)
    options = arguments.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for stale in ("demo.json", "report.json", "pose.png", "pose.blend", "pose.npz", "body.png"):
        (options.out / stale).unlink(missing_ok=True)

    print("[demo] Pose from Image in Blender", flush=True)
    command = [options.blender / "bin" / "python", ROOT / "scripts" / "demo_in_blender.py", options.photo, options.out]
    status = subprocess.run([str(part) for part in command], check=False).returncode
    if status != 0:
        print("[demo] no pose: the sentence above says why", file=sys.stderr)
        return 1
    start = time.perf_counter()
    summary = json.loads((options.out / "demo.json").read_text())
    draw_result(options.photo, options.out / "body.png", summary).save(options.out / "pose.png")
    seconds = {
        "setup": round(options.setup_seconds, 3),
        "build_extension": round(options.build_seconds, 3),
        **summary["seconds"],
        "draw_picture": round(time.perf_counter() - start, 3),
    }
    report = {
        "photo": options.photo.name,
        "persons": len(summary["persons"]),
        "reprojection_px_median": summary["persons"][0]["reprojection_px_median"],
        "reprojection_px_median_each": [person["reprojection_px_median"] for person in summary["persons"]],
        "focal_source": summary["camera"]["focal_source"],
        "device": summary["device"],
        "blender": summary["blender"],
        "seconds": seconds,
    }
    (options.out / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    (options.out / "demo.json").unlink()
    print_report(report, options.out)
    return 0


def print_report(report: dict, out: Path) -> None:
    for step, seconds in report["seconds"].items():
        print(f"[demo] {step:20}{seconds:8.2f} s")
    print(f"[demo] {report['persons']} person(s), device {report['device']}, focal length: {report['focal_source']}")
    print(f"[demo] reprojection error {report['reprojection_px_median']:.1f} px (median over the keypoints)")
    print(f"[demo] left in {out}: " + ", ".join(sorted(path.name for path in out.iterdir())))


def draw_result(photo: Path, body: Path, summary: dict) -> Image.Image:
    """Return the photograph with keypoints and joints, beside the body over the paled photograph."""
    with Image.open(photo) as opened:
        picture = ImageOps.exif_transpose(opened).convert("RGB")
    scale = PANEL_HEIGHT / picture.height
    picture = picture.resize((max(1, round(picture.width * scale)), PANEL_HEIGHT), Image.Resampling.LANCZOS)
    marked = picture.copy()
    draw = ImageDraw.Draw(marked)
    for person in summary["persons"]:
        draw_person(draw, person, scale)
    with Image.open(body) as opened:
        overlay = opened.convert("RGBA").resize(picture.size, Image.Resampling.LANCZOS)
    posed = Image.blend(picture, Image.new("RGB", picture.size, BACKGROUND), 0.45)
    posed.paste(overlay, (0, 0), overlay)
    legend = 34
    canvas = Image.new("RGB", (2 * picture.width + 8, PANEL_HEIGHT + legend), BACKGROUND)
    canvas.paste(marked, (0, legend))
    canvas.paste(posed, (picture.width + 8, legend))
    text = ImageDraw.Draw(canvas)
    at = 10.0
    for label, colour in (("2D keypoints", SEEN), ("reprojected", SOLVED), ("joints", JOINT)):
        text.ellipse((at, 12, at + 10, 22), fill=colour)
        text.text((at + 16, 8), label, fill=(235, 235, 235), font_size=16)
        at += 28 + text.textlength(label, font_size=16)
    error = summary["persons"][0]["reprojection_px_median"]
    text.text((picture.width + 18, 8), f"matched camera, {error:.1f} px median", fill=(235, 235, 235), font_size=16)
    return canvas


def draw_person(draw: ImageDraw.ImageDraw, person: dict, scale: float) -> None:
    joints = [(x * scale, y * scale) for x, y in person["joints_px"].values()]
    for joint, parent in enumerate(person["joint_parents"]):
        if parent >= 0:
            draw.line((*joints[parent], *joints[joint]), fill=JOINT, width=2)
    for x, y in joints:
        draw.ellipse((x - 3, y - 3, x + 3, y + 3), fill=JOINT)
    for name, seen in person["keypoints_px"].items():
        x, y, solved_x, solved_y = (value * scale for value in (*seen, *person["reprojected_px"][name]))
        draw.line((x, y, solved_x, solved_y), fill=(255, 255, 255), width=1)
        draw.ellipse((x - 5, y - 5, x + 5, y + 5), outline=SEEN, width=2)
        draw.ellipse((solved_x - 2, solved_y - 2, solved_x + 2, solved_y + 2), fill=SOLVED)


if __name__ == "__main__":
    sys.exit(main())
