# SPDX-License-Identifier: Apache-2.0
"""A line of a configuration to samples. Imports: the data sets."""

from pathlib import Path

from ikol.training.network.config import Source
from ikol.training.network.samples import SampleSource
from ikol.training.network.sources.annotations import open_annotations
from ikol.training.network.sources.rendered import open_rendered


def open_source(source: Source, *, is_smpl: bool = False) -> SampleSource:
    """Return the samples of a source.

    Args:
        source: what the configuration says.
        is_smpl: whether the training's body is SMPL, so that SMPL's rotations and betas are its own.

    Raises:
        InputError: it cannot be read.
    """
    if source.kind == "rendered":
        return open_rendered(Path(source.path))
    return open_annotations(source.kind, Path(source.path), Path(source.pictures), is_smpl=is_smpl)
