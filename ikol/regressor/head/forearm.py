# SPDX-License-Identifier: Apache-2.0
"""The twists of elbows and wrists, from how the hand network sees the hands and where a head has the arms.

Every arm is read as a right arm, by one network, in a frame whose z looks along the line of sight of the wrist and in
whose picture the forearm points up. Imports: torch, the head's parts, the hands.
"""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from ikol.regressor.hands import SIDES
from ikol.regressor.head.forearm_network import NUM_PLACES, PALM, TWISTS, ForearmNetwork
from ikol.regressor.head.inputs import MAX_SPREAD, MIN_SPREAD, towards
from ikol.regressor.head.prediction import HeadPrediction, circular_sigma
from ikol.regressor.landmarks import BLAZEPOSE_LANDMARKS
from ikol.regressor.networks.joints import SMPL24
from ikol.regressor.person import PersonLandmarks

_TRUNK = ("Pelvis", "Spine3", "Neck", "Head")
_OWN_JOINTS, _OTHER_JOINTS = ("Shoulder", "Elbow", "Wrist", "Hand"), ("Shoulder",)
_OWN_LANDMARKS, _OTHER_LANDMARKS = ("index", "pinky", "thumb", "hip"), ("hip",)
_HAND_SCALE = 8.0  # a hand's length is then about one and a half
_FURTHEST = 2.0  # metres from the wrist; what lies further off is an outlier
SPREAD_UNIT = 0.05  # metres; of a standard deviation the logarithm is read


def _places(side: str) -> list[int]:
    """Return where the places of an arm's features are among 24 joints and 33 landmarks; the fourth is its wrist."""
    letter, other_letter, other = ("L", "R", "right") if side == "left" else ("R", "L", "left")
    joints = [f"{letter}_{name}" for name in _OWN_JOINTS] + [f"{other_letter}_{name}" for name in _OTHER_JOINTS]
    landmarks = [f"{side}_{name}" for name in _OWN_LANDMARKS] + [f"{other}_{name}" for name in _OTHER_LANDMARKS]
    return [
        *(SMPL24.index(name) for name in (*joints, *_TRUNK)),
        *(len(SMPL24) + BLAZEPOSE_LANDMARKS.index(name) for name in landmarks),
    ]


_PLACES = tuple(_places(side) for side in SIDES)
assert {len(places) for places in _PLACES} == {NUM_PLACES}
_WRIST = _OWN_JOINTS.index("Wrist")
_ELBOW_SEEN, _WRIST_SEEN = (
    [BLAZEPOSE_LANDMARKS.index(f"{side}_{name}") for side in SIDES] for name in ("elbow", "wrist")
)
TWISTED_JOINTS = tuple(tuple(SMPL24.index(f"{letter}_{name}") for name in TWISTS) for letter in "LR")
"""The joints whose twists are read, of the left arm and of the right one."""
TURN = (-1.0, 1.0)
"""By what the twists of a right arm are multiplied to be those of the left arm or the right one."""


def forearm_features(
    person: PersonLandmarks,
    prediction: HeadPrediction,
    focal: tuple[float, float],
    center: tuple[float, float],
) -> Float[Tensor, "2 features"] | None:
    """Return what the network reads of a person's left and right arm; None where something of it is not known.

    Args:
        person: the landmarks, with hands.
        prediction: what a head says of this person, joints and landmarks at least.
        focal: of the picture's lens, pixels.
        center: of the picture's lens, pixels.
    """
    hands, joints, landmarks = person.hands, prediction.joints, prediction.landmarks
    joints_sigma, landmarks_sigma = prediction.joints_sigma, prediction.landmarks_sigma
    if hands is None or joints is None or landmarks is None or joints_sigma is None or landmarks_sigma is None:
        return None
    nodes, sigma = torch.cat((joints, landmarks)), torch.cat((joints_sigma, landmarks_sigma))
    wrist = person.image_points[_WRIST_SEEN]
    roll = _upright(wrist - person.image_points[_ELBOW_SEEN])
    rotation = roll @ towards((wrist - wrist.new_tensor(center)) / wrist.new_tensor(focal))
    parts: list[Tensor] = []
    for side, places in enumerate(_PLACES):
        mirror = nodes.new_tensor((TURN[side], 1.0, 1.0))
        own = (nodes[places] - nodes[places[_WRIST]]) @ rotation[side].mT * mirror
        spread = (sigma[places].square() @ rotation[side].square().mT).sqrt().clamp(MIN_SPREAD, MAX_SPREAD)
        palm = hands.world[side][:, list(PALM)]
        palm = (palm - palm[:, :1]) @ roll[side].mT * mirror
        parts.append(
            torch.cat(
                (
                    own.clamp(-_FURTHEST, _FURTHEST).flatten(),
                    (spread / SPREAD_UNIT).log().flatten(),
                    _HAND_SCALE * palm.flatten(),
                    _log_odds(hands.presence[side]),
                    _log_odds(hands.handedness[side]),
                )
            )
        )
    return torch.stack(parts)


def with_forearms(
    network: ForearmNetwork,
    factor: float,
    person: PersonLandmarks,
    prediction: HeadPrediction,
    focal: tuple[float, float],
    center: tuple[float, float],
) -> HeadPrediction:
    """Return a prediction with the twists of the forearms that are on the picture; see `forearm_features`.

    Args:
        network: what reads the arms.
        factor: by which its standard deviations are multiplied.
        person: the landmarks; without hands the prediction stays as it is.
        prediction: what a head says of this person.
        focal: of the picture's lens, pixels.
        center: of the picture's lens, pixels.
    """
    features = forearm_features(person, prediction, focal, center)
    if features is None or prediction.twist is None or prediction.twist_sigma is None:
        return prediction
    with torch.inference_mode():
        output = network(features)
    twist, sigma = prediction.twist.clone(), prediction.twist_sigma.clone()
    for side, joints in enumerate(TWISTED_JOINTS):
        if bool(person.in_picture[_WRIST_SEEN[side]]):
            angle = torch.atan2(output.twist[side, :, 1], output.twist[side, :, 0])
            twist[list(joints)] = TURN[side] * angle
            sigma[list(joints)] = factor * circular_sigma(output.concentration[side])
    return replace(prediction, twist=twist, twist_sigma=sigma)


def _upright(forearm: Float[Tensor, "arms 2"]) -> Float[Tensor, "arms 3 3"]:
    """Return the rotations about the line of sight after which a direction on the picture points up."""
    angle = torch.atan2(forearm[:, 0], -forearm[:, 1])
    cosine, sine, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    rows = ((cosine, sine, zero), (-sine, cosine, zero), (zero, zero, zero + 1.0))
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def _log_odds(probability: Tensor) -> Tensor:
    return probability.clamp(0.003, 0.997).logit() / 2.0
