#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compare regression alone, HybrIK's analytic solution, the released IKOL and our layer: one network, one budget.

The first rows are the network that all start from, before any of them has trained, read in each of these ways.
"""

from measures import POSE_COLUMNS, table
from study import read_study, test_batch, trained, warmed_up
from variants import LAYERS, NAMES, measure, train_and_measure

COMPARED = ("regression", "hybrik", "released", "ikol")


def main() -> None:
    study = read_study("compare_layers", __doc__)
    batch = test_batch(study.size)
    rows = {f"before: {NAMES[name]}": [measure(study, warmed_up(study, LAYERS[name]), batch)] for name in COMPARED}
    rows |= train_and_measure(study, COMPARED)
    # published is naive in training and adaptive afterwards; here the network is read as it was trained
    naive = [trained(study, "hybrik", LAYERS["hybrik"], seed) for seed in range(study.size.seeds)]
    for model in naive:
        model.posing.train()
    rows["HybrIK, naive as in training"] = [measure(study, model, batch) for model in naive]
    study.finish(table(rows, POSE_COLUMNS, "rotations by"), rows)


if __name__ == "__main__":
    main()
