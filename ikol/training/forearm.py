# SPDX-License-Identifier: Apache-2.0
"""The training of what reads hands: rendered people as the hand network and a head see them, to a head that has it.

Imports: torch, the head, the observations.
"""

import copy
import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from ikol.errors import InputError
from ikol.pipeline.evidence import Intrinsics
from ikol.pipeline.sides import with_sides_of
from ikol.regressor.head import LandmarkHead, load_head
from ikol.regressor.head.forearm import SPREAD_UNIT, TURN, TWISTED_JOINTS, forearm_features
from ikol.regressor.head.forearm_network import NUM_PLACES, ForearmNetwork, ForearmOutput
from ikol.regressor.head.prediction import circular_sigma
from ikol.regressor.head.weights import encode_head
from ikol.training.head.evaluation import angle_error, one_sigma_factor, share_within
from ikol.training.head.losses import cosine_apart, von_mises
from ikol.training.head.rendered import MIN_PRESENCE, observed_person
from ikol.training.observations import Observations, read_observations

Progress = Callable[[float, str], None]
_READING = 0.5  # share of the progress


@dataclass(frozen=True)
class ForearmTraining:
    """How it is trained."""

    seed: int = 0
    epochs: int = 20
    batch: int = 256
    learning_rate: float = 1.5e-3
    warmup: int = 100
    """Steps until the full learning rate; it then falls along half a cosine."""
    weight_decay: float = 0.05
    clip: float = 2.0
    average: float = 0.995
    """Share that the averaged weights keep of themselves in a step; they are the result."""
    width: int = 256
    depth: int = 2
    dropout: float = 0.3
    place_error: float = 0.3
    """In a head's standard deviations, added to the places that it says."""
    hand_error: float = 0.05
    """Added to all that the hand network says; a hand's length is 1.5."""

    def __post_init__(self) -> None:
        if min(self.epochs, self.batch, self.width, self.depth) < 1:
            raise InputError("epochs, batch, width and depth must be 1 or more")


@dataclass(frozen=True)
class Arms:
    """Arms as right arms: what is read of them, and the true twists of elbow and wrist, radians."""

    features: Float[Tensor, "arms features"]
    twist: Float[Tensor, "arms 2"]
    guess: Float[Tensor, "arms 2"]
    """What the head says without hands."""

    def __len__(self) -> int:
        """How many there are."""
        return len(self.twist)


@dataclass(frozen=True)
class ForearmScores:
    """Of elbow and wrist, degrees; shares within one and two standard deviations."""

    elbow_deg: float
    wrist_deg: float
    elbow_median_deg: float
    head_elbow_deg: float
    """Of the head without hands."""
    head_wrist_deg: float
    one_sigma: float
    two_sigma: float


def read_arms(observations: Observations, head: LandmarkHead, progress: Callable[[float], None] | None = None) -> Arms:
    """Return both arms of the people whom the landmark network takes for people.

    Raises:
        InputError: the hand network has not looked at them, or there are none.
    """
    if not observations.hand_presence.shape[1]:
        raise InputError(
            "these observations are without hands; remove them and make them with scripts/render_dataset --hands"
        )
    kept = (observations.presence.mean(1) >= MIN_PRESENCE).nonzero()[:, 0].tolist()
    if not kept:
        raise InputError("the landmark network takes none of these people for people; render more of them")
    features: list[Tensor] = []
    guesses: list[Tensor] = []
    joints = torch.tensor(TWISTED_JOINTS)
    turn = torch.tensor(TURN)[:, None]
    for number, index in enumerate(kept):
        if progress is not None and number % 100 == 0:
            progress(number / len(kept))
        person = observed_person(observations, index)
        focal, (x, y) = float(observations.focal[index]), observations.center[index].tolist()
        (prediction,) = head.predict([person], (focal, focal), (x, y))
        width, height = (round(value) for value in observations.size[index].tolist())
        # as the pipeline does before it reads the arms
        person = with_sides_of(prediction, person, Intrinsics(width, height, (focal, focal), (x, y), "given"))
        read = forearm_features(person, prediction, (focal, focal), (x, y))
        assert read is not None
        assert prediction.twist is not None
        features.append(read)
        guesses.append(turn * prediction.twist[joints])
    truth = turn * observations.twist[kept][:, joints]
    return Arms(torch.cat(features), truth.flatten(0, 1), torch.cat(guesses))


def train(arms: Arms, config: ForearmTraining, report: Callable[[float, float], None]) -> ForearmNetwork:
    """Return a trained network; `report` is told how far it is, and the loss."""
    generator = torch.Generator().manual_seed(config.seed)
    torch.manual_seed(config.seed)
    network = ForearmNetwork(config.width, config.depth, config.dropout).train()
    network.standardise(arms.features)
    averaged = copy.deepcopy(network).eval()
    optimizer = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    a_round = max(1, len(arms) // config.batch)
    steps = config.epochs * a_round
    orders = (torch.randperm(len(arms), generator=generator) for _ in range(config.epochs))
    batches = (order[config.batch * number :][: config.batch] for order in orders for number in range(a_round))
    for step, chosen in enumerate(batches):
        rate = min(1.0, (step + 1) / config.warmup) * 0.5 * (1.0 + math.cos(math.pi * step / steps))
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * rate
        output = network(_disturbed(arms.features[chosen], generator, config))
        loss = twist_loss(output, arms.twist[chosen])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        clip_grad_norm_(network.parameters(), config.clip)
        optimizer.step()
        # early on the average must not remember the random beginning
        keep = min(config.average, (1 + step) / (10 + step))
        with torch.no_grad():
            for mean, value in zip(averaged.parameters(), network.parameters(), strict=True):
                mean.lerp_(value, 1.0 - keep)
        if step % a_round == a_round - 1:
            report((step + 1) / steps, float(loss.detach()))
    return averaged


def twist_loss(output: ForearmOutput, twist: Float[Tensor, "arms 2"]) -> Tensor:
    """Return the mean negative logarithm of von Mises' likelihood, without what is constant."""
    return von_mises(cosine_apart(output.twist, twist), output.concentration).sum(-1).mean()


def _disturbed(
    features: Float[Tensor, "arms features"], generator: torch.Generator, config: ForearmTraining
) -> Float[Tensor, "arms features"]:
    """Return features with other errors of the head and of the hand network."""
    places, spread, hands = features.split((3 * NUM_PLACES, 3 * NUM_PLACES, features.shape[1] - 6 * NUM_PLACES), -1)
    noise = torch.randn(features.shape, generator=generator)
    places = places + config.place_error * SPREAD_UNIT * spread.exp() * noise[:, : 3 * NUM_PLACES]
    return torch.cat((places, spread, hands + config.hand_error * noise[:, 6 * NUM_PLACES :]), -1)


def calibrate(network: ForearmNetwork, arms: Arms) -> float:
    """Return the factor with which two thirds of the errors are within one standard deviation."""
    return one_sigma_factor(*_judge(network, arms))


def scores(network: ForearmNetwork, factor: float, arms: Arms) -> ForearmScores:
    """Return how good a network is; `factor` multiplies its standard deviations."""
    error, sigma = _judge(network, arms)
    guess = angle_error(torch.stack((arms.guess.cos(), arms.guess.sin()), -1), arms.twist).abs()
    standing = error / (factor * sigma)
    return ForearmScores(
        *(math.degrees(float(value)) for value in (*error.mean(0), error[:, 0].median(), *guess.mean(0))),
        one_sigma=share_within(standing, 1.0),
        two_sigma=share_within(standing, 2.0),
    )


def _judge(network: ForearmNetwork, arms: Arms) -> tuple[Float[Tensor, "arms 2"], Float[Tensor, "arms 2"]]:
    with torch.inference_mode():
        output = network.eval()(arms.features)
    return angle_error(output.twist, arms.twist).abs(), circular_sigma(output.concentration)


def train_forearm(config: ForearmTraining, data: Path, head: Path | None, out: Path, progress: Progress) -> str:
    """Train, calibrate on the validation people, and write the head with it; return what stands beside it, as JSON.

    Args:
        config: settings.
        data: folder of rendered people whose hands were looked at: train, val, and test where it is there.
        head: the file of the head that gets it; None for the shipped one, whose forearm network it replaces.
        out: where the head goes; the JSON goes beside it.
        progress: told how far it is.

    Raises:
        InputError: there are no observations, or they are without hands.
    """
    loaded = load_head(head)
    has_test = any((data / "test").glob("observations_*.safetensors"))
    splits = ("train", "val", "test") if has_test else ("train", "val")
    arms: dict[str, Arms] = {}
    for number, split in enumerate(splits):

        def report(fraction: float, number: int = number, split: str = split) -> None:
            progress(_READING * (number + fraction) / len(splits), f"reading {split}")

        arms[split] = read_arms(read_observations(data / split), loaded, report)

    def trained(fraction: float, loss: float) -> None:
        progress(_READING + (1 - _READING) * fraction, f"loss {loss:.2f}")

    network = train(arms["train"], config, trained)
    factor = calibrate(network, arms["val"])
    found = {split: scores(network, factor, arms[split]) for split in splits[1:]}
    calibration = replace(loaded.calibration, forearm=factor)
    content = encode_head(LandmarkHead(loaded.network, calibration, loaded.body, network))
    beside = {
        "sha256": hashlib.sha256(content).hexdigest(),
        "calibration": asdict(calibration),
        "rendered_arms": len(arms["train"]),
        "config": asdict(config),
        "scores": {split: asdict(value) for split, value in found.items()},
    }
    summary = json.dumps(beside, indent=1)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(content)
    out.with_suffix(".json").write_text(summary + "\n", encoding="utf-8")
    return summary
