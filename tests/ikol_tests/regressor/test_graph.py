# SPDX-License-Identifier: Apache-2.0
"""The networks on torch say what LiteRT says about the same crops, one at a time or as a batch."""

import hashlib
import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from ikol.errors import FileFormatError
from ikol.regressor import graph, weights
from ikol.regressor.graph import GraphNetwork
from ikol.regressor.weights import load_network

ROOT = Path(__file__).resolve().parents[3]
TFLITE = ROOT / ".cache" / "blazepose"

# What the issue asks for. Both sides compute in float32 in different orders of summation; 3e-3 px was seen.
LANDMARK_TOLERANCE_PX = 5e-3
# The depth column (not used) is larger, and LiteRT's own rounding shows: in float64 the full network is 5.1e-3 away.
DEPTH_TOLERANCE_PX = 1e-2
WORLD_TOLERANCE_M = 1e-4
PRESENCE_TOLERANCE = 1e-5  # a probability; 1e-6 was seen
DETECTOR_TOLERANCE = 5e-3  # px of the 224 px input, and logits
# Of the hand network; px of the 224 px input, metres, probabilities. 1.5e-4, 4e-7, 1e-7 and 4e-6 were seen.
HAND_TOLERANCE = {"landmarks": 2e-3, "world": 5e-6, "presence": 2e-6, "handedness": 5e-5}


@cache
def network(name: str) -> GraphNetwork:
    return GraphNetwork(load_network(name)).eval()


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(ROOT / "tests" / "golden" / "regressor" / "litert.npz", allow_pickle=False) as file:
        return dict(file)


@pytest.fixture(params=["fused", "public"])
def convolution(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways in which a convolution can be computed."""
    if request.param == "public":
        monkeypatch.setattr(graph, "has_fused_convolution", lambda: False)
    elif not graph.has_fused_convolution():
        pytest.skip("this torch has no fused convolution")
    return request.param


def run(name: str, pictures: Tensor) -> dict[str, np.ndarray]:
    net = network(name)
    with torch.inference_mode():
        outputs = net(pictures)
    return {key: value.numpy() for key, value in zip(net.output_names, outputs, strict=True)}


def as_input(pictures: np.ndarray, low: float) -> Tensor:
    """Pictures (batch, rows, columns, 3) of bytes to values from ``low`` to 1."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255.0 * (1.0 - low) + low


def error(got: np.ndarray, expected: np.ndarray) -> float:
    assert got.shape == expected.shape
    return float(np.abs(got - expected).max())


def check_landmarks(got: np.ndarray, expected: np.ndarray) -> None:
    """x, y, z in px of the crop, then the logits of visibility and presence."""
    got, expected = got.reshape(-1, 39, 5), expected.reshape(-1, 39, 5)
    depth = error(got[..., 2], expected[..., 2])
    others = error(np.delete(got, 2, -1), np.delete(expected, 2, -1))
    assert others < LANDMARK_TOLERANCE_PX, others
    assert depth < DEPTH_TOLERANCE_PX, depth


@pytest.mark.parametrize("model", ["full", "heavy"])
def test_landmark_networks_equal_litert(model: str, golden: dict[str, np.ndarray], convolution: str) -> None:
    outputs = run(f"blazepose_{model}", as_input(golden["person_crops"], 0.0))
    check_landmarks(outputs["landmarks"], golden[f"{model}_landmarks"])
    metres = error(outputs["world"], golden[f"{model}_world"])
    presence = error(outputs["presence"], golden[f"{model}_presence"])
    assert metres < WORLD_TOLERANCE_M, (convolution, metres)
    assert presence < PRESENCE_TOLERANCE, (convolution, presence)


def test_detector_equals_litert(golden: dict[str, np.ndarray], convolution: str) -> None:
    outputs = run("blazepose_detector", as_input(golden["whole_pictures"], -1.0))
    scores = error(outputs["scores"], golden["detector_scores"])
    boxes = error(outputs["boxes"][:, golden["detector_anchors"]], golden["detector_boxes"])
    assert scores < DETECTOR_TOLERANCE, (convolution, scores)
    assert boxes < DETECTOR_TOLERANCE, (convolution, boxes)
    assert len(golden["detector_anchors"]) > 10  # otherwise nothing was compared


@pytest.mark.needs_tflite
@pytest.mark.parametrize(
    ("name", "file", "places"),
    [
        ("blazepose_detector", "pose_detection.tflite", {"boxes": 0, "scores": 1}),
        ("blazepose_full", "pose_landmark_full.tflite", {"landmarks": 0, "presence": 1, "heatmap": 3, "world": 4}),
        ("blazepose_heavy", "pose_landmark_heavy.tflite", {"landmarks": 0, "presence": 1, "heatmap": 3, "world": 4}),
        ("mediapipe_hand", "hand_landmark_full.tflite", {"landmarks": 0, "presence": 1, "handedness": 2, "world": 3}),
    ],
)
def test_every_output_equals_litert_on_other_crops(
    name: str, file: str, places: dict[str, int], golden: dict[str, np.ndarray]
) -> None:
    if not (TFLITE / file).is_file():
        pytest.skip(f"{file} is missing; run scripts/fetch_blazepose")
    interpreter_module = pytest.importorskip("ai_edge_litert.interpreter")
    interpreter = interpreter_module.Interpreter(str(TFLITE / file))
    interpreter.allocate_tensors()
    # Mirrored, darker and shifted: three pictures of persons that are not in the golden file.
    key, low = ("whole_pictures", -1.0) if "detector" in name else ("person_crops", 0.0)
    size = network(name).input_size
    first = functional.interpolate(as_input(golden[key], low), (size, size), mode="area")
    pictures = torch.cat([first.flip(3), first[:1] * 0.7, first[1:].roll(9, 3)])
    outputs = run(name, pictures)
    assert set(outputs) == set(places)
    for i, picture in enumerate(pictures):
        interpreter.set_tensor(
            interpreter.get_input_details()[0]["index"], np.ascontiguousarray(picture.permute(1, 2, 0)[None].numpy())
        )
        interpreter.invoke()
        expected = [interpreter.get_tensor(output["index"]) for output in interpreter.get_output_details()]
        for output, place in places.items():
            got = outputs[output][i : i + 1]
            got = got.transpose(0, 2, 3, 1) if got.ndim == 4 else got
            if name == "mediapipe_hand":  # its vectors are pictures of one pixel
                off = error(got[:, 0, 0], expected[place])
                assert off < HAND_TOLERANCE[output], (output, off)
                continue
            if output == "landmarks":
                check_landmarks(got, expected[place])
                continue
            tolerance = WORLD_TOLERANCE_M if output == "world" else LANDMARK_TOLERANCE_PX
            assert error(got, expected[place]) < tolerance, (output, error(got, expected[place]))


@pytest.mark.needs_tflite
def test_shipped_weights_are_what_the_converter_makes(tmp_path: Path) -> None:
    if not (TFLITE / "pose_landmark_heavy.tflite").is_file():
        pytest.skip("the .tflite files are missing; run scripts/fetch_blazepose")
    import runpy
    import sys

    script = ROOT / "scripts" / "convert_blazepose.py"
    arguments, sys.argv = sys.argv, [str(script), "--out", str(tmp_path)]
    try:
        runpy.run_path(str(script), run_name="__main__")
    finally:
        sys.argv = arguments
    data = ROOT / "ikol" / "regressor" / "data"
    assert (tmp_path / "manifest.json").read_bytes() == (data / "manifest.json").read_bytes()
    for name in ("blazepose_detector", "blazepose_full", "blazepose_heavy", "mediapipe_hand"):
        made, shipped = tmp_path / f"{name}.safetensors", data / f"{name}.safetensors"
        assert hashlib.sha256(made.read_bytes()).digest() == hashlib.sha256(shipped.read_bytes()).digest()


def test_a_batch_equals_its_pictures_one_by_one(golden: dict[str, np.ndarray]) -> None:
    first = as_input(golden["person_crops"], 0.0)
    pictures = torch.cat([first, first.flip(3)])
    together = run("blazepose_full", pictures)
    for i in range(len(pictures)):
        alone = run("blazepose_full", pictures[i : i + 1])
        pixels = error(alone["landmarks"], together["landmarks"][i : i + 1])
        assert pixels < LANDMARK_TOLERANCE_PX, (i, pixels)  # a batch may be summed in another order


def test_an_empty_batch_gives_empty_outputs() -> None:
    outputs = run("blazepose_full", torch.zeros(0, 3, 256, 256))
    assert outputs["landmarks"].shape == (0, 195)
    assert outputs["world"].shape == (0, 117)


def test_float64_is_supported(golden: dict[str, np.ndarray]) -> None:
    net = GraphNetwork(load_network("blazepose_full")).double()
    with torch.inference_mode():
        landmarks = net(as_input(golden["person_crops"], 0.0).double())[0]
    assert landmarks.dtype == torch.float64
    check_landmarks(landmarks.numpy(), golden["full_landmarks"])


@pytest.mark.gpu
def test_a_gpu_says_the_same(golden: dict[str, np.ndarray]) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    net = GraphNetwork(load_network("blazepose_heavy")).to("cuda")
    with torch.inference_mode():
        landmarks, _, _, world = net(as_input(golden["person_crops"], 0.0).to("cuda"))
    check_landmarks(landmarks.cpu().numpy(), golden["heavy_landmarks"])
    metres = error(world.cpu().numpy(), golden["heavy_world"])
    assert metres < WORLD_TOLERANCE_M, metres


def test_segmentation_is_left_out() -> None:
    assert network("blazepose_heavy").output_names == ("landmarks", "presence", "heatmap", "world")
    sizes = [tensor.shape for tensor in load_network("blazepose_heavy").tensors.values()]
    assert len(sizes) == 2 * sum(op.op == "conv" for op in load_network("blazepose_heavy").graph.ops)


def test_a_changed_weight_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = ROOT / "ikol" / "regressor" / "data"
    content = bytearray((data / "blazepose_full.safetensors").read_bytes())
    content[-1] ^= 1
    (tmp_path / "blazepose_full.safetensors").write_bytes(content)
    monkeypatch.setattr(weights, "_DATA", tmp_path)
    with pytest.raises(FileFormatError, match=r"has SHA-256 [0-9a-f]{64}, expected [0-9a-f]{64}; install the package"):
        load_network("blazepose_full")


def test_a_missing_weight_file_is_an_error_with_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "_DATA", tmp_path)
    with pytest.raises(FileFormatError, match="cannot be read"):
        load_network("blazepose_full")


def test_licence_and_notice_lie_beside_the_weights() -> None:
    data = ROOT / "ikol" / "regressor" / "data"
    assert "Apache License" in (data / "LICENSE").read_text(encoding="utf-8")
    notice = (data / "NOTICE").read_text(encoding="utf-8")
    manifest = json.loads((data / "manifest.json").read_text(encoding="utf-8"))
    assert "MediaPipe" in notice
    assert "Google" in notice
    for name in manifest["networks"]:
        assert f"{name}.safetensors" in notice


def test_inner_values_come_behind_the_outputs() -> None:
    file = load_network("blazepose_full")
    heatmap = file.graph.outputs["heatmap"]
    feeding = next(op for op in file.graph.ops if op.output == heatmap).inputs[0]
    net = GraphNetwork(file, (feeding, heatmap)).eval()
    with torch.inference_mode():
        values = net(torch.full((1, 3, 256, 256), 0.5))
    outputs = dict(zip(net.output_names, values, strict=False))
    assert len(values) == len(net.output_names) + 2
    assert torch.equal(values[-1], outputs["heatmap"])
    # the heat map is a convolution of 1 x 1 of what feeds it: the same places
    assert values[-2].shape[-2:] == values[-1].shape[-2:]


def test_a_network_that_does_not_learn_says_the_same_where_others_do() -> None:
    net = GraphNetwork(load_network("blazepose_full")).eval()
    pictures = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        alone = net(pictures)
    beside = net(pictures)
    assert all(torch.equal(*pair) for pair in zip(alone, beside, strict=True))
    assert not any(value.requires_grad for value in beside)
    # its gradient with respect to the pictures is there all the same
    learned = net(pictures.requires_grad_())
    learned[0].sum().backward()
    assert pictures.grad is not None
    assert bool(pictures.grad.isfinite().all())
    assert float(pictures.grad.abs().max()) > 0.0
