# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch
from motion import motion_archive

from ikol.body import load_default_body
from ikol.body.bone_axes import bone_axes
from ikol.errors import InputError
from ikol.evaluation.motion_clips import CLIPS
from ikol.geometry.swing_twist import twist_angle
from ikol.solver.anatomy import default_limits
from ikol.solver.limits import limit_excess
from ikol.training.poses import SPLITS, PoseSample, clips_of_split, sample_poses

BODY = load_default_body()


def _sample(split: str, seed: int = 0, count: int = 400) -> PoseSample:
    return sample_poses(count, seed, split, folder=motion_archive().parent)


def test_splits_share_no_motion_and_no_subject() -> None:
    samples = [_sample(split) for split in SPLITS]
    for of in (lambda s: s.motion_id, lambda s: s.subject_id):
        sets = [{*of(sample).tolist()} for sample in samples]
        assert sum(map(len, sets)) == len(set.union(*sets))
    assert sorted(clip for split in SPLITS for clip in clips_of_split(split)) == sorted(CLIPS)


def test_a_subject_has_one_shape_whatever_the_seed() -> None:
    first, second = _sample("val", 0), _sample("val", 1)
    shape = dict(zip(first.subject_id.tolist(), first.betas, strict=True))
    common = [(s, b) for s, b in zip(second.subject_id.tolist(), second.betas, strict=True) if s in shape]
    assert len(common) > 100
    assert all(torch.equal(shape[subject], betas) for subject, betas in common)


def test_seed_decides() -> None:
    first, again, other = _sample("train", 7), _sample("train", 7), _sample("train", 8)
    assert torch.equal(first.local_rotmat, again.local_rotmat)
    assert not torch.equal(first.local_rotmat, other.local_rotmat)


def test_rotations_are_rotations_within_human_limits() -> None:
    local = _sample("train").local_rotmat
    assert (local @ local.mT - torch.eye(3)).abs().max() < 1e-4  # products of a dozen float32 rotations
    limits = default_limits(BODY.tree)
    # clamped through angles near half a turn, where float32 keeps 1e-3 of an angle
    assert limit_excess(limits, local[:, limits.joint_index]).residual.abs().max() < 5e-3


def test_headings_and_forearm_twists_cover_their_range() -> None:
    sample = _sample("train")
    facing = sample.local_rotmat[:, 0, :, 2]
    upright = sample.local_rotmat[:, 0, 1, 1] > 0.7
    heading = torch.atan2(facing[upright, 0], facing[upright, 2])
    assert torch.histc(heading, 4, -math.pi, math.pi).min() > 0.15 * int(upright.sum())
    assert upright.float().mean() > 0.6  # photographs mostly show people upright
    elbow = torch.tensor([BODY.tree.names.index("L_Elbow"), BODY.tree.names.index("R_Elbow")])
    twist = twist_angle(sample.local_rotmat[:, elbow], bone_axes(BODY)[elbow])
    assert 0.4 < float(twist.std()) < 1.0
    assert abs(float(twist.mean())) < 0.1


def test_unknown_split_is_refused() -> None:
    with pytest.raises(InputError, match="expected one of train, val, test"):
        sample_poses(1, 0, "dev")
