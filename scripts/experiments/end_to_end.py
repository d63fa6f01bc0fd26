#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Train end to end and with a frozen layer, through which no gradient reaches keypoints and shape.

The last row is the difference of the two with the same seed: the same samples in the same order.
"""

from measures import POSE_COLUMNS, table
from study import read_study
from variants import NAMES, train_and_measure


def main() -> None:
    study = read_study("end_to_end", __doc__)
    rows = train_and_measure(study, ("ikol", "frozen"))
    pairs = zip(rows[NAMES["ikol"]], rows[NAMES["frozen"]], strict=True)
    rows["end to end less frozen"] = [{key: ours[key] - frozen[key] for key in ours} for ours, frozen in pairs]
    study.finish(table(rows, POSE_COLUMNS, "training"), rows)


if __name__ == "__main__":
    main()
