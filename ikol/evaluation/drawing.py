# SPDX-License-Identifier: Apache-2.0
"""Pictures of single cases: the photograph around the person, with the true and the solved skeleton on it.

Imports: numpy, Pillow.
"""

import base64
import io
import math

import numpy as np
from PIL import Image, ImageDraw

from ikol.distortion import distort
from ikol.evaluation.picture_errors import PictureErrors
from ikol.evaluation.samples import EvaluationSample, bones_of

TRUTH, SOLVED, OFFSET = (80, 230, 90), (255, 70, 60), (255, 255, 255)
PAPER = (38, 40, 44)
HEIGHT = 420  # pixels of one picture in the report
MARGIN = 0.15  # of the box around both skeletons
_QUALITY = 80  # of JPEG: ten pictures make a report of half a megabyte


def draw_case(sample: EvaluationSample, errors: PictureErrors, scored: tuple[str, ...]) -> Image.Image:
    """Return the photograph around the person with the true (green) and the solved skeleton (red).

    Without a photograph the skeletons are on plain paper. White lines join what should lie on each other.

    Args:
        sample: of the photograph.
        errors: with the places of both skeletons.
        scored: names of the points.
    """
    lens = sample.intrinsics
    truth, solved = (
        distort(points, lens.focal, lens.center, lens.distortion).numpy()
        for points in (errors.truth_px, errors.solved_px)
    )
    known = np.isfinite(truth).all(-1)
    every = np.concatenate((truth[known], solved))
    low, high = every.min(0), every.max(0)
    margin = MARGIN * float((high - low).max()) + 1
    # the skeletons may lie far outside the picture; what is shown stays within one picture's size around it
    left, top = np.floor(np.maximum(low - margin, (-lens.width, -lens.height))).astype(int).tolist()
    right, bottom = np.ceil(np.minimum(high + margin, (2 * lens.width, 2 * lens.height))).astype(int).tolist()
    photo = Image.new("RGB", (lens.width, lens.height), PAPER)
    if sample.picture is not None:
        photo = Image.fromarray(sample.picture())
    scale = HEIGHT / max(1, bottom - top)
    size = (max(1, math.ceil((right - left) * scale)), HEIGHT)
    shown = photo.crop((left, top, max(right, left + 1), max(bottom, top + 1)))
    shown = shown.resize(size, Image.Resampling.BILINEAR)
    draw = ImageDraw.Draw(shown)

    def placed(points: np.ndarray) -> list[tuple[float, float]]:
        return [(float(x), float(y)) for x, y in (np.nan_to_num(points) - (left, top)) * scale]

    true_places, solved_places = placed(truth), placed(solved)
    for index in np.flatnonzero(known).tolist():
        draw.line((*true_places[index], *solved_places[index]), fill=OFFSET, width=1)
    _draw_skeleton(draw, solved_places, np.ones(len(scored), dtype=bool), scored, SOLVED)
    _draw_skeleton(draw, true_places, np.asarray(known), scored, TRUTH)
    return shown


def _draw_skeleton(
    draw: ImageDraw.ImageDraw,
    places: list[tuple[float, float]],
    known: np.ndarray,
    names: tuple[str, ...],
    colour: tuple[int, int, int],
) -> None:
    for near, far in bones_of(names):
        a, b = names.index(near), names.index(far)
        if known[a] and known[b]:
            draw.line((*places[a], *places[b]), fill=colour, width=2)
    for (x, y), is_known in zip(places, known.tolist(), strict=True):
        if is_known:
            draw.ellipse((x - 3, y - 3, x + 3, y + 3), fill=colour)


def as_data_url(picture: Image.Image) -> str:
    """Return a picture as a JPEG that HTML can hold."""
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
