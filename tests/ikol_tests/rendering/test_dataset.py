# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from ikol.body import forward_kinematics, linear_blend_skinning, load_default_body
from ikol.errors import FileFormatError, InputError
from ikol.geometry.rotations import rotvec_to_rotmat
from ikol.rendering.dataset import RenderedDataset, RenderedSample, render_shard, shard_path, write_shard
from ikol.rendering.rasteriser import rasterise

BODY = load_default_body()
COUNT = 5


def _shard(seed: int = 3, **options: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    rotvec = 0.15 * torch.randn(COUNT, 24, 3, generator=generator)
    rotvec[:, 0] = torch.tensor([0.0, 1.0, 0.0]) * torch.arange(COUNT)[:, None]
    betas = torch.randn(COUNT, 10, generator=generator)
    ids = torch.arange(COUNT)
    return render_shard(BODY, rotvec_to_rotmat(rotvec), betas, ids, ids + 100, seed=seed, **options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rendered")
    write_shard(shard_path(folder, 0), _shard(3))
    write_shard(shard_path(folder, 1), _shard(4, long_side=200))
    return folder


@pytest.fixture(scope="module")
def samples(folder: Path) -> list[RenderedSample]:
    return list(RenderedDataset(folder))


def test_reading_one_and_reading_all_agree(folder: Path, samples: list[RenderedSample]) -> None:
    dataset = RenderedDataset(folder)
    assert len(dataset) == len(samples) == 2 * COUNT
    one = dataset[COUNT + 1]
    assert (one.picture == samples[COUNT + 1].picture).all()
    assert (one.motion_id, one.subject_id) == (1, 101)
    assert torch.equal(one.twist, samples[COUNT + 1].twist)


def test_same_seed_gives_the_same_bytes_and_another_seed_other_pictures() -> None:
    first, again, other = _shard(3), _shard(3), _shard(5)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["focal"], other["focal"])


def test_pictures_have_their_cameras_size(samples: list[RenderedSample]) -> None:
    assert all(s.picture.shape == (s.camera.height, s.camera.width, 3) for s in samples)
    assert max(samples[-1].picture.shape) == 200


@pytest.mark.parametrize("index", range(2 * COUNT))
def test_truth_is_what_the_body_says(samples: list[RenderedSample], index: int) -> None:
    s = samples[index]
    rest = BODY.rest_joints(s.betas)
    pose = forward_kinematics(BODY.tree, rest, s.local_rotmat, s.transl)
    points = BODY.points.posed_points(BODY.points.rest_points(s.betas), rest, pose)
    camera_points = s.camera.to_camera(points)
    # float32 at ten metres is good to 1 um; rotation and translation are a few of them
    assert (camera_points[:24] - s.joints_camera).abs().max() < 1e-5
    assert (camera_points[24:] - s.landmarks_camera).abs().max() < 1e-5
    assert (s.camera.project(points)[24:] - s.landmarks_px).abs().max() < 2e-2  # pixels, of up to 1000
    vertices = linear_blend_skinning(BODY, s.betas, s.local_rotmat, s.transl)
    assert abs(float(vertices[:, 1].min())) < 1e-5  # it stands on the floor


@pytest.mark.parametrize("index", range(2 * COUNT))
def test_silhouette_contains_the_joints_and_stands_out(samples: list[RenderedSample], index: int) -> None:
    s = samples[index]
    vertices = s.camera.to_camera(linear_blend_skinning(BODY, s.betas, s.local_rotmat, s.transl)).numpy()
    focal = (float(s.camera.focal[0]),) * 2
    center = (float(s.camera.center[0]), float(s.camera.center[1]))
    width, height = s.camera.width, s.camera.height
    mask = np.zeros(height * width, dtype=bool)
    mask[rasterise(vertices, BODY.faces.numpy(), focal, center, width, height).pixel] = True
    mask = mask.reshape(height, width)
    x, y = (s.joints_camera[:, :2] / s.joints_camera[:, 2:] * s.camera.focal + s.camera.center).long().T
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    # joints lie within the body, but the hands' joints may lie between fingers
    assert float(torch.from_numpy(mask)[y[inside], x[inside]].float().mean()) > 0.9
    person, around = s.picture[mask].astype(float), s.picture[~mask].astype(float)
    assert 0.005 < mask.mean() < 0.9
    assert np.abs(person.mean(0) - around.mean(0)).max() > 1.0 or abs(person.std() - around.std()) > 1.0


def test_a_folder_without_shards_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="make them with scripts/render_dataset"):
        RenderedDataset(tmp_path)


def test_a_damaged_shard_is_said(tmp_path: Path) -> None:
    shard_path(tmp_path, 0).write_bytes(b"not a shard at all, but long enough to have a header")
    with pytest.raises(FileFormatError, match="render it again"):
        RenderedDataset(tmp_path)


def test_a_shard_that_lacks_an_array_is_said(tmp_path: Path) -> None:
    write_shard(shard_path(tmp_path, 0), {"focal": torch.zeros(2)})
    with pytest.raises(FileFormatError, match="is not a shard of a rendered data set"):
        RenderedDataset(tmp_path)
