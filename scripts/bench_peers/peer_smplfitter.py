# SPDX-License-Identifier: Apache-2.0
"""smplfitter with known shape, its numba backend: closed forms on a mesh and its joints in turn, all frames at once.

It cannot do without vertices and reads a body model from SMPL's file format. Its mesh here is the keypoints themselves,
each moving with the joint above it, so that it gets the same data as all others, and less work than with a real mesh.
The root's place is a free unknown for it; it is put back on its keypoint afterwards.
"""

import pickle
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numba
import numpy as np
from harness import Problem, Setting, measure
from smplfitter.nb import BodyFitter, BodyModel


def make_settings(problem: Problem) -> list[Setting]:
    fitter = BodyFitter(_model(problem))
    return [
        Setting(f"known shape, {passes} passes", partial(_prepare, problem, fitter, passes=passes))
        for passes in (1, 3, 10)
    ]


def _model(problem: Problem) -> BodyModel:
    count, nodes = problem.num_joints, len(problem.parents)
    places = np.zeros((nodes, 3))
    weights = np.zeros((nodes, count))
    weights[0, 0] = 1
    for node, parent in enumerate(problem.parents[1:], start=1):
        places[node] = places[parent] + problem.offsets[node]
        weights[node, parent] = 1
    data = {
        "v_template": places,
        "shapedirs": np.zeros((nodes, 3, 10)),
        "posedirs": np.zeros((nodes, 3, 9 * (count - 1))),
        "J_regressor": np.eye(count, nodes),
        "weights": weights,
        "f": np.zeros((1, 3), dtype=np.int64),
        "kintree_table": np.stack((problem.parents[:count], np.arange(count))),
    }
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "basicmodel_neutral_lbs_10_207_0_v1.1.0.pkl").write_bytes(pickle.dumps(data))
        np.save(Path(folder) / "kid_template.npy", np.zeros((nodes, 3)))
        return BodyModel("smpl", "neutral", model_root=folder, num_betas=10)


def _prepare(
    problem: Problem, fitter: BodyFitter, keypoints: np.ndarray, *, passes: int
) -> tuple[Callable[[], object], Callable[[object], np.ndarray]]:
    points = keypoints.astype(np.float32)
    run = partial(
        fitter.fit_with_known_shape,
        np.zeros((len(points), 10), dtype=np.float32),
        points,
        np.ascontiguousarray(points[:, : problem.num_joints]),
        num_iter=passes,
        requested_keys=("relative_orientations",),
    )

    def rotations(found: dict[str, np.ndarray]) -> np.ndarray:
        return found["relative_orientations"]

    return run, rotations


if __name__ == "__main__":
    measure("smplfitter", make_settings, frames=1024, batches=(256, 1024, 4096), set_threads=numba.set_num_threads)
