# SPDX-License-Identifier: Apache-2.0
"""The trained variants: which there are, and what each says of the test pictures."""

from collections.abc import Sequence

from measures import Numbers, pose_errors
from study import Study, body, predict, predicted_root, test_batch, trained

from ikol.training.network.batches import Batch
from ikol.training.network.config import Layer
from ikol.training.network.model import PoseModel

LAYERS = {
    "regression": Layer(solver="regression"),
    "hybrik": Layer(solver="hybrik"),
    "released": Layer(solver="released"),
    "ikol": Layer(),
    "frozen": Layer(gradient="detached"),
    "one_step": Layer(backward="one_step"),
    "unrolled": Layer(backward="unrolled"),
}
NAMES = {
    "regression": "regression alone",
    "hybrik": "HybrIK's analytic solution",
    "released": "released IKOL",
    "ikol": "our layer, end to end, implicit",
    "frozen": "our layer, frozen",
    "one_step": "our layer, one step",
    "unrolled": "our layer, unrolled (5 steps)",
}


def measure(study: Study, model: PoseModel, batch: Batch) -> Numbers:
    """Return the errors of a model on the test pictures."""
    found = predict(model, batch, study.device)
    root = predicted_root(found, batch, study.size.network)
    return pose_errors(model.cpu().posing, body(), batch, found.local_rotmat, found.betas, root)


def train_and_measure(study: Study, names: Sequence[str]) -> dict[str, list[Numbers]]:
    """Return the errors of variants by their names in the table, each with all seeds."""
    batch = test_batch(study.size)
    rows: dict[str, list[Numbers]] = {}
    for seed in range(study.size.seeds):
        for name in names:
            found = measure(study, trained(study, name, LAYERS[name], seed), batch)
            rows.setdefault(NAMES[name], []).append(found)
            print(f"seed {seed}, {name}: {found}", flush=True)
    return rows
