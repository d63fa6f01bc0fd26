# SPDX-License-Identifier: Apache-2.0
"""What the landmark network says about rendered persons, beside the truth: what a head after it learns from.

Each person is looked at in a few crops, with the faults that a detector's crops have. Here: making, writing and reading
them. Imports: torch, safetensors, ikol.regressor, ikol.rendering.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from ikol.errors import FileFormatError, InputError
from ikol.regressor.crops import PERSON_MARGIN, Crops, sample_crops
from ikol.regressor.graph import GraphNetwork
from ikol.regressor.hands import HAND_SHAPES, HandLandmarks, look_at_hands
from ikol.regressor.landmarks import run_landmarks
from ikol.regressor.person import AUGMENTATIONS, CropSamples, combine
from ikol.rendering.dataset import RenderedSample
from ikol.rendering.viewpoint import body_circle

_FORMAT = "ikol observations 4"
# How far the detector's circle is from the body's own, standard deviations: of the centre in radii, of the radius's
# logarithm (its mean is the next), of the direction in radians. Measured on whole rendered pictures, see docs/data.md.
_CENTER_SPREAD, _RADIUS_SPREAD, _RADIUS_MEAN, _TURN_SPREAD = 0.06, 0.10, -0.05, 0.085


@dataclass(frozen=True, eq=False)
class Observations:
    """Persons as the landmark network sees them, and as they are.

    Pixels are those of the sample's picture; metres and camera axes (x right, y down, z forward); left is the person's.
    """

    points: Float[Tensor, "samples crops 33 2"]
    world: Float[Tensor, "samples crops 33 3"]
    """From the middle of the hips, as the network thinks."""
    visibility: Float[Tensor, "samples crops 33"]
    presence: Float[Tensor, "samples crops"]
    inner: Float[Tensor, "samples crops inner"]
    """Inner values of the network, float16."""
    hand_world: Float[Tensor, "samples looks 2 2 21 3"]
    """What the hand network says (`ikol.regressor.hands`), one look; none where it was not asked."""
    hand_presence: Float[Tensor, "samples looks 2 2"]
    hand_handedness: Float[Tensor, "samples looks 2 2"]
    hand_points: Float[Tensor, "samples looks 2 2 21 2"]
    side: Float[Tensor, "samples crops"]
    """Of each crop, pixels."""
    augmentation: Int[Tensor, "samples crops"]
    """Row of `ikol.regressor.person.AUGMENTATIONS` that made the crop from the detector's."""
    crop_side: Float[Tensor, "samples"]
    """Of the detector's crop, before the augmentation, pixels."""
    crop_center: Float[Tensor, "samples 2"]
    crop_rotation: Float[Tensor, "samples"]
    """Radians, clockwise."""
    size: Float[Tensor, "samples 2"]
    """Width and height of the picture."""
    focal: Float[Tensor, "samples"]
    center: Float[Tensor, "samples 2"]
    R_camera_world: Float[Tensor, "samples 3 3"]
    t_camera_world: Float[Tensor, "samples 3"]
    local_rotmat: Float[Tensor, "samples 24 3 3"]
    """The root's is relative to the SMPL world."""
    transl: Float[Tensor, "samples 3"]
    betas: Float[Tensor, "samples 10"]
    joints_camera: Float[Tensor, "samples 24 3"]
    landmarks_camera: Float[Tensor, "samples 33 3"]
    landmarks_px: Float[Tensor, "samples 33 2"]
    twist: Float[Tensor, "samples 24"]
    motion_id: Int[Tensor, "samples"]
    subject_id: Int[Tensor, "samples"]

    def __len__(self) -> int:
        """Return how many persons there are."""
        return len(self.points)

    @property
    def in_picture(self) -> Bool[Tensor, "samples 33"]:
        """Whether the landmarks truly lie in the picture."""
        return ((self.landmarks_px >= 0) & (self.landmarks_px < self.size[:, None])).all(-1)


def observe(
    network: GraphNetwork,
    samples: Iterable[RenderedSample],
    *,
    seed: int,
    num_crops: int = 2,
    hands: GraphNetwork | None = None,
) -> Observations:
    """Return what the landmark network says about each sample, in crops that a detector might have cut.

    Args:
        network: BlazePose's landmark network.
        samples: pictures around one person each.
        seed: what the crops' faults are drawn from.
        num_crops: of each person; every second one is mirrored.
        hands: the hand network, where it shall look as well.

    Raises:
        InputError: there are no samples.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.inference_mode():
        rows = [_observe_one(network, sample, generator, num_crops, hands) for sample in samples]
    if not rows:
        raise InputError("there is nothing to observe: the data set is empty")
    return Observations(**{key: torch.stack([row[key] for row in rows]) for key in rows[0]})


def observations_path(folder: Path, number: int) -> Path:
    """Return where the observations of a shard lie."""
    return folder / f"observations_{number:05d}.safetensors"


def write_observations(path: Path, observations: Observations) -> None:
    """Write a file so that no half-written one is ever seen under its name."""
    part = path.with_suffix(".part")
    tensors = {field.name: getattr(observations, field.name).contiguous() for field in fields(Observations)}
    save_file(tensors, part, metadata={"format": _FORMAT})
    part.replace(path)


def read_observations(folder: Path) -> Observations:
    """Return all observations of a folder, one after the other.

    Raises:
        InputError: the folder has none.
        FileFormatError: a file is something else.
    """
    paths = sorted(folder.glob("observations_*.safetensors"))
    if not paths:
        raise InputError(f"{folder} holds no observations_*.safetensors; make them with scripts/render_dataset")
    shards: list[dict[str, Tensor]] = []
    for path in paths:
        try:
            with safe_open(path, framework="pt") as opened:
                is_ours = (opened.metadata() or {}).get("format") == _FORMAT
            shard = load_file(path) if is_ours else {}
        except (SafetensorError, OSError) as error:
            raise FileFormatError(f"{path} cannot be read: {error}; remove it and make it again") from error
        if shard.keys() != {field.name for field in fields(Observations)}:
            raise FileFormatError(f"{path} does not hold observations as this version writes them; make it again")
        if shards and any(shard[key].shape[1:] != value.shape[1:] for key, value in shards[0].items()):
            raise FileFormatError(
                f"{path} has other crops, or other looks at hands, than {paths[0].name}; remove one and make it again"
            )
        shards.append(shard)
    return Observations(**{key: torch.cat([shard[key] for shard in shards]) for key in shards[0]})


def _observe_one(
    network: GraphNetwork,
    sample: RenderedSample,
    generator: torch.Generator,
    num_crops: int,
    hands: GraphNetwork | None,
) -> dict[str, Tensor]:
    circle = body_circle(sample.landmarks_px.numpy())
    draw = torch.randn(4, generator=generator).tolist()
    shift = torch.tensor(draw[:2]) * _CENTER_SPREAD * circle.radius
    base = Crops.upright(
        [(torch.from_numpy(circle.center).float() + shift).tolist()],
        [2.0 * PERSON_MARGIN * circle.radius * math.exp(_RADIUS_MEAN + _RADIUS_SPREAD * draw[2])],
        circle.rotation + _TURN_SPREAD * draw[3],
    )
    chosen: list[int] = []
    for number in range(num_crops):
        suited = [row for row, (_, _, mirrored) in enumerate(AUGMENTATIONS) if mirrored == bool(number % 2)]
        suited = [row for row in suited if row not in chosen] or suited
        chosen.append(suited[int(torch.randint(len(suited), (), generator=generator))])
    crops = base.augmented([AUGMENTATIONS[row] for row in chosen])
    found = run_landmarks(network, sample_crops(sample.picture, crops, network.input_size, "border"))
    answer = CropSamples.from_crops(crops, found)
    camera = sample.camera
    looks: list[HandLandmarks] = []
    if hands is not None:
        person = combine(answer, camera.width, camera.height)
        looks = [look_at_hands(hands, sample.picture, person.image_points, person.pixels_per_metre())]
    return {
        **{
            f"hand_{name}": torch.stack([getattr(look, name) for look in looks]) if looks else torch.zeros(0, *shape)
            for name, shape in HAND_SHAPES.items()
        },
        "points": answer.points,
        "world": answer.world,
        "visibility": answer.visibility,
        "presence": answer.presence,
        "inner": answer.presence.new_zeros(len(crops), 0).half() if answer.inner is None else answer.inner,
        "side": crops.side,
        "augmentation": torch.tensor(chosen),
        "crop_side": base.side[0],
        "crop_center": base.center[0],
        "crop_rotation": base.rotation[0],
        "size": torch.tensor([float(camera.width), float(camera.height)]),
        "focal": camera.focal[0],
        "center": camera.center,
        "R_camera_world": camera.R_camera_world,
        "t_camera_world": camera.t_camera_world,
        "local_rotmat": sample.local_rotmat,
        "transl": sample.transl,
        "betas": sample.betas,
        "joints_camera": sample.joints_camera,
        "landmarks_camera": sample.landmarks_camera,
        "landmarks_px": sample.landmarks_px,
        "twist": sample.twist,
        "motion_id": torch.tensor(sample.motion_id),
        "subject_id": torch.tensor(sample.subject_id),
    }
