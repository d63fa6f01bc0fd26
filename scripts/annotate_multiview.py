# SPDX-License-Identifier: Apache-2.0
"""Annotate every frame of a calibrated recording: `annotate_multiview.py FOLDER OUT.npz [--landmarks KEPT.npz]`.

The cameras come from the annotation that lies in the folder, which the new one is compared with, and are refined: their
rotations and places from what they see, their lenses stay. `--held-out` tells how well each camera is foretold by the
others, before and after.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from ikol.errors import IkolError
from ikol.evaluation.annotation import annotate, difference, held_out, sightings
from ikol.evaluation.landmark_cache import LandmarkCache
from ikol.evaluation.recording import MIN_VIEWS, find_truth, read_truth
from ikol.pipeline import PosePipeline
from ikol.regressor.landmarks import BLAZEPOSE_LANDMARKS, LIMB_LANDMARKS


def main() -> int:
    parser = argparse.ArgumentParser(description="Annotate every frame of a calibrated recording.")
    parser.add_argument("folder", type=Path, help="clips and *_pseudo_gt_*.npz")
    parser.add_argument("out", type=Path, help="write the annotation to this .npz")
    parser.add_argument("--frames", type=int, default=100, help="how many frames each clip has (default: 100)")
    parser.add_argument("--landmarks", type=Path, help="keep what the network finds in this .npz, and use it again")
    parser.add_argument("--model", choices=("heavy", "full"), default="heavy", help="landmark network")
    parser.add_argument("--held-out", action="store_true", help="leave each camera out once: how far off is it?")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of torch (default: 1)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if not options.out.resolve().parent.is_dir():  # said before the work, not after it
        parser.error(f"the folder of {options.out} does not exist; make it first")
    try:
        given = read_truth(find_truth(options.folder))
        cache = None if options.landmarks is None else LandmarkCache(options.landmarks)
        with tqdm(total=100, unit="%", bar_format="{l_bar}{bar}| {elapsed}<{remaining} {postfix}") as bar:

            def show(fraction: float, text: str) -> None:
                bar.update(100 * fraction - bar.n)
                bar.set_postfix_str(text)

            seen = sightings(
                options.folder,
                given,
                PosePipeline(model=options.model),
                options.frames,
                model=options.model,
                cache=cache,
                progress=show,
            )
        found = annotate(seen, given)
    except IkolError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    np.savez_compressed(options.out, allow_pickle=False, **found)
    limb = [BLAZEPOSE_LANDMARKS.index(name) for name in LIMB_LANDMARKS]
    share = (found["n_views"][:, limb] >= MIN_VIEWS).mean()
    apart = difference(found, given)
    print(
        f"wrote {options.out}: {options.frames} frames, {share:.0%} of the limb landmarks from at least "
        f"{MIN_VIEWS} views"
    )
    print(
        f"from the given annotation: median {apart.median_mm:.1f} mm, mean {apart.mean_mm:.1f} mm, 95 % within "
        f"{apart.p95_mm:.1f} mm, over {apart.points} limb landmarks"
    )
    for view, camera in enumerate(seen.cameras if options.held_out else ()):
        before, after = held_out(seen, view)
        print(f"{camera.name} foretold by the others: {before:.1f} px off before, {after:.1f} px after (median)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
