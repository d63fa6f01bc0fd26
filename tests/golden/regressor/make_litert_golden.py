# SPDX-License-Identifier: Apache-2.0
"""Write litert.npz: what LiteRT says about fixed crops of two sample photographs.

Needs ai-edge-litert and the original networks (scripts/fetch_blazepose). Run from the repository's root:
``python tests/golden/regressor/make_litert_golden.py``. The crops themselves are stored, so the file does not depend on
how crops are cut.
"""

from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from ikol.regressor.crops import Crops, sample_crops
from ikol.regressor.image import decode_image

ROOT = Path(__file__).resolve().parents[3]
HERE = Path(__file__).resolve().parent
# Photograph, centre and side of the crop (px), rotation (radians): what the detector finds there, rounded.
PERSONS = (("front_step.jpg", (529.0, 798.0), 1004.0, 0.13), ("back_leg_raised.jpg", (536.0, 829.0), 1163.0, -0.97))


def run_litert(file: str, pictures: np.ndarray) -> list[np.ndarray]:
    """Run a .tflite network on pictures (batch, rows, columns, 3), one by one; outputs in the file's order."""
    interpreter = Interpreter(str(ROOT / ".cache" / "blazepose" / file))
    interpreter.allocate_tensors()
    results: list[list[np.ndarray]] = []
    for picture in pictures:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], picture[None])
        interpreter.invoke()
        results.append([interpreter.get_tensor(output["index"]) for output in interpreter.get_output_details()])
    return [np.concatenate(parts) for parts in zip(*results, strict=True)]


def cut(size: int, whole: bool) -> np.ndarray:
    parts: list[np.ndarray] = []
    for name, center, side, rotation in PERSONS:
        rgb = decode_image((ROOT / "samples" / name).read_bytes()).rgb
        height, width = rgb.shape[:2]
        crop = (
            Crops.upright([(width / 2, height / 2)], [max(width, height)])
            if whole
            else Crops.upright([center], [side], rotation)
        )
        sampled = sample_crops(rgb, crop, size, "zeros" if whole else "border")
        parts.append(sampled.mul(255.0).round().byte().permute(0, 2, 3, 1).numpy())
    return np.concatenate(parts)


def main() -> None:
    arrays = {"person_crops": cut(256, whole=False), "whole_pictures": cut(224, whole=True)}
    for model in ("full", "heavy"):
        outputs = run_litert(f"pose_landmark_{model}.tflite", arrays["person_crops"].astype(np.float32) / 255.0)
        arrays[f"{model}_landmarks"], arrays[f"{model}_presence"] = outputs[0], outputs[1]
        arrays[f"{model}_world"] = outputs[4]
    boxes, scores = run_litert("pose_detection.tflite", arrays["whole_pictures"].astype(np.float32) / 127.5 - 1.0)
    # The boxes of anchors that see nothing are noise and never read; leaving them out keeps the file small.
    anchors = np.flatnonzero((scores[..., 0] > -3.0).any(0))
    arrays |= {"detector_anchors": anchors, "detector_boxes": boxes[:, anchors], "detector_scores": scores}
    np.savez_compressed(HERE / "litert.npz", **arrays)
    print({name: (values.shape, str(values.dtype)) for name, values in arrays.items()})


if __name__ == "__main__":
    main()
