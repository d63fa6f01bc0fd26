# SPDX-License-Identifier: Apache-2.0
"""The default body posed with numpy alone, joint by joint as text books have it: the oracle of the add-on's tests."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

BODY_PATH = Path(__file__).resolve().parents[2] / "ikol" / "body" / "data" / "default_body.npz"


@dataclass(frozen=True)
class PosedBody:
    """Joints (24, 3), landmarks by name and vertices (V, 3) in the SMPL world."""

    joints: np.ndarray
    landmarks: dict[str, np.ndarray]
    vertices: np.ndarray


def quat_to_rotmat(quat):
    """Return rotation matrices of quaternions (..., 4), wxyz."""
    w, x, y, z = np.moveaxis(np.asarray(quat, float) / np.linalg.norm(quat, axis=-1, keepdims=True), -1, 0)
    rows = [
        [w * w + x * x - y * y - z * z, 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), w * w - x * x + y * y - z * z, 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), w * w - x * x - y * y + z * z],
    ]
    return np.stack([np.stack(row, -1) for row in rows], -2)


def pose_body(transl, local_quat, betas) -> PosedBody:
    """Pose the default body: forward kinematics, linear blend skinning, attached landmarks."""
    with np.load(BODY_PATH) as data:
        vertices = data["v_template"] + data["shapedirs"].astype(float) @ np.asarray(betas, float)
        rest = data["J_regressor"].astype(float) @ vertices
        rest_landmarks = data["landmark_regressor"].astype(float) @ vertices
        carriers = data["landmark_joint_index"]
        names = data["landmark_names"].tolist()
        parents = data["kintree_table"][0]
        weights = data["weights"].astype(float)
    local = quat_to_rotmat(local_quat)
    rotations, joints = local.copy(), rest + np.asarray(transl, float)
    for joint in range(1, len(parents)):
        parent = parents[joint]
        rotations[joint] = rotations[parent] @ local[joint]
        joints[joint] = joints[parent] + rotations[parent] @ (rest[joint] - rest[parent])
    landmarks = {
        name: joints[carrier] + rotations[carrier] @ (point - rest[carrier])
        for name, carrier, point in zip(names, carriers, rest_landmarks, strict=True)
    }
    offsets = joints - np.einsum("jab,jb->ja", rotations, rest)
    posed = np.einsum("vj,jab,vb->va", weights, rotations, vertices, optimize=True) + weights @ offsets
    return PosedBody(joints, landmarks, posed)


def random_quats(seed: int, max_angle: float = 1.2) -> np.ndarray:
    """Return 24 random local rotations of at most `max_angle` radians as quaternions."""
    generator = np.random.default_rng(seed)
    axes = generator.normal(size=(24, 3))
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    half = 0.5 * generator.uniform(0, max_angle, size=(24, 1))
    return np.concatenate([np.cos(half), axes * np.sin(half)], axis=1)
