# SPDX-License-Identifier: Apache-2.0
"""A sequence for timing and judging `solve_sequence`: a walk before a camera, with the evidence of photographs.

Imports: torch, the body, the solver, the walk, the evidence of photographs.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ikol.body.default_body import load_default_body
from ikol.body.points import AttachedPoints
from ikol.evaluation.photo_case import SolveCase, photo_case
from ikol.evaluation.synthetic_walk import synthetic_walk
from ikol.solver import Skeleton, SolveConfig, SolveState
from ikol.solver.sequence import Contacts, Floor, SequenceEvidence, SmoothRotations, SmoothTranslation

SOLES = ("left_heel", "left_foot_index", "right_heel", "right_foot_index")
# about what the walk's own second differences are at 30 frames a second: 0.03 rad of the fastest joints, 3 mm
TURN_SIGMA, SHIFT_SIGMA = 0.03, 0.003
CONTACT_SIGMA = 0.002  # metres a frame
# the start knows the outliers, so no graduated non-convexity; frames that jump out of line may turn back at once; a
# step that gains less than 1e-5 of the cost gains a thousandth of a squared standard deviation in each frame
CONFIG = SolveConfig(gnc_start=1.0, max_step=2.0, cost_tolerance=1e-5)


@dataclass(frozen=True, eq=False)
class SequenceCase:
    """What `solve_sequence` is given, and the motion behind it."""

    frames: SolveCase
    """For each frame by itself, which makes the start."""
    config: SolveConfig
    """For the frames together."""
    sequence_evidence: tuple[SequenceEvidence, ...]
    soles: AttachedPoints
    is_contact: Tensor
    """(T - 1, soles): which stand still."""


@dataclass(frozen=True)
class SequenceScore:
    """How good a motion is, in millimetres."""

    error: float
    """Mean distance of the joints from the truth."""
    jitter: float
    """Mean second difference of the joints' error."""
    slide: float
    """Mean way of a sole in contact from frame to frame."""


def sequence_case(num_frames: int, *, seed: int = 0, dtype: torch.dtype = torch.float32) -> SequenceCase:
    """Return a walk of the default body, seen as `photo_case` sees poses, each frame with its own noise."""
    body = load_default_body(dtype=torch.float64)
    soles = body.points.select(SOLES)
    walk = synthetic_walk(Skeleton.from_body(body), soles, num_frames)
    is_contact = walk.is_contact.repeat_interleave(2, -1)
    soles = soles.to(dtype=dtype)
    links: tuple[SequenceEvidence, ...] = (
        SmoothRotations(torch.full((body.tree.num_joints,), TURN_SIGMA, dtype=dtype)),
        SmoothTranslation(torch.tensor(SHIFT_SIGMA, dtype=dtype)),
        Contacts(soles, torch.where(is_contact, CONTACT_SIGMA, math.inf).to(dtype)),
        Floor(soles, torch.tensor((0.0, 1.0, 0.0), dtype=dtype)),
    )
    frames = photo_case(num_frames, seed=seed, dtype=dtype, truth=walk.state)
    return SequenceCase(frames, CONFIG, links, soles, is_contact)


def score(case: SequenceCase, state: SolveState) -> SequenceScore:
    """Compare a motion with the truth."""
    skeleton = case.frames.skeleton
    error = skeleton.pose(state).joints - skeleton.pose(case.frames.truth).joints
    jitter = error[2:] - 2.0 * error[1:-1] + error[:-2]
    slides = skeleton.posed_points(case.soles, state).diff(dim=0).norm(dim=-1)[case.is_contact]
    parts = (error.norm(dim=-1), jitter.norm(dim=-1), slides)
    return SequenceScore(*(1000.0 * float(part.mean()) for part in parts))
