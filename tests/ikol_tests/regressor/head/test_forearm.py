# SPDX-License-Identifier: Apache-2.0
"""What is read of an arm knows no left and right and no roll of the camera; what is said of it replaces two twists."""

import math
from dataclasses import replace

import pytest
import torch
from head_people import one_person, random_forearm, some_hands
from torch import Tensor

from ikol.regressor.hands import HandLandmarks
from ikol.regressor.head import HeadPrediction
from ikol.regressor.head.forearm import SPREAD_UNIT, forearm_features, with_forearms
from ikol.regressor.head.forearm_network import NUM_FOREARM_FEATURES, NUM_HAND, NUM_PLACES
from ikol.regressor.head.prediction import MIRRORED_JOINTS
from ikol.regressor.landmarks import BLAZEPOSE_LANDMARKS, LEFT_RIGHT
from ikol.regressor.networks.joints import SMPL24
from ikol.regressor.person import PersonLandmarks

FOCAL, CENTER = (900.0, 900.0), (520.0, 480.0)
SWAP, JOINTS = torch.tensor(LEFT_RIGHT), list(MIRRORED_JOINTS)
FLIP = torch.tensor([-1.0, 1.0, 1.0])
LEFT = [SMPL24.index("L_Elbow"), SMPL24.index("L_Wrist")]
RIGHT = [SMPL24.index("R_Elbow"), SMPL24.index("R_Wrist")]
OTHERS = [index for index in range(24) if index not in LEFT + RIGHT]


def person_with_hands() -> PersonLandmarks:
    return replace(one_person(), hands=some_hands())


def a_prediction() -> HeadPrediction:
    """What a head says that is surer of the picture's plane than of the depth."""
    generator = torch.Generator().manual_seed(3)
    return HeadPrediction(
        joints=0.4 * torch.randn(24, 3, generator=generator),
        joints_sigma=_spread(24, generator),
        landmarks=0.4 * torch.randn(33, 3, generator=generator),
        landmarks_sigma=_spread(33, generator),
        twist=torch.randn(24, generator=generator),
        twist_sigma=torch.rand(24, generator=generator) + 0.1,
    )


def _spread(count: int, generator: torch.Generator) -> Tensor:
    plane, depth = (0.02 + 0.1 * torch.rand(count, 1, generator=generator) for _ in range(2))
    return torch.cat((plane, plane, 2.0 * depth), 1)


def some(value: Tensor | None) -> Tensor:
    assert value is not None
    return value


def hands_of(person: PersonLandmarks) -> HandLandmarks:
    assert person.hands is not None
    return person.hands


def mirrored(person: PersonLandmarks) -> PersonLandmarks:
    """Return the person as a mirror shows it that stands upright before the lens's middle."""
    points, hands = person.image_points[SWAP], hands_of(person)
    points[:, 0] = 2.0 * CENTER[0] - points[:, 0]
    return replace(
        person,
        image_points=points,
        world_points=person.world_points[SWAP] * FLIP,
        in_picture=person.in_picture[SWAP],
        # the crops of a mirrored picture look the same: the first still shows the hand as a right one
        hands=HandLandmarks(
            hands.world.flip(0) * FLIP, hands.presence.flip(0), hands.handedness.flip(0), hands.points.flip(0)
        ),
    )


def mirrored_prediction(prediction: HeadPrediction) -> HeadPrediction:
    return replace(
        prediction,
        joints=some(prediction.joints)[JOINTS] * FLIP,
        joints_sigma=some(prediction.joints_sigma)[JOINTS],
        landmarks=some(prediction.landmarks)[SWAP] * FLIP,
        landmarks_sigma=some(prediction.landmarks_sigma)[SWAP],
        twist=-some(prediction.twist)[JOINTS],
        twist_sigma=some(prediction.twist_sigma)[JOINTS],
    )


def features(person: PersonLandmarks, prediction: HeadPrediction) -> Tensor:
    return some(forearm_features(person, prediction, FOCAL, CENTER))


def read(person: PersonLandmarks, prediction: HeadPrediction, factor: float = 1.0) -> HeadPrediction:
    return with_forearms(random_forearm(), factor, person, prediction, FOCAL, CENTER)


def test_either_arm_has_its_features() -> None:
    found = features(person_with_hands(), a_prediction())
    assert found.shape == (2, NUM_FOREARM_FEATURES)
    assert bool(found.isfinite().all())
    # of a person without symmetry the arms are not alike
    assert float((found[0] - found[1]).abs().mean()) > 0.1


def test_an_arm_is_read_with_its_own_hand() -> None:
    person, prediction = person_with_hands(), a_prediction()
    hands, other = hands_of(person), some_hands(1)
    mixed = HandLandmarks(
        *(
            torch.stack((before[0], after[1]))
            for before, after in zip(vars(hands).values(), vars(other).values(), strict=True)
        )
    )
    before, after = features(person, prediction), features(replace(person, hands=mixed), prediction)
    assert torch.equal(after[0], before[0])
    changed = after[1] != before[1]
    assert not bool(changed[: 6 * NUM_PLACES].any())
    # of either crop the wrist is the origin, the rest is the other hand's
    assert int(changed[6 * NUM_PLACES :].sum()) == NUM_HAND - 2 * 3


def test_the_forearm_points_up_and_its_spread_with_it() -> None:
    points = one_person().image_points.clone()
    # in the middle of the picture, where the line of sight is the camera's, pointing to the right
    points[BLAZEPOSE_LANDMARKS.index("right_wrist")] = torch.tensor(CENTER)
    points[BLAZEPOSE_LANDMARKS.index("right_elbow")] = torch.tensor(CENTER) - torch.tensor([100.0, 0.0])
    joints = some(a_prediction().joints).clone()
    joints[SMPL24.index("R_Hand")] = joints[SMPL24.index("R_Wrist")] + torch.tensor([0.08, 0.02, 0.03])
    prediction = replace(a_prediction(), joints=joints, joints_sigma=torch.tensor([0.02, 0.1, 0.2]).expand(24, 3))
    found = features(replace(person_with_hands(), image_points=points), prediction)[1]
    places, spread = found[: 6 * NUM_PLACES].unflatten(0, (2, NUM_PLACES, 3))
    wrist, hand = 2, 3
    assert torch.allclose(places[wrist], torch.zeros(3), atol=1e-6)
    assert torch.allclose(places[hand], torch.tensor([0.02, -0.08, 0.03]), atol=1e-6)
    assert torch.allclose(spread[hand], (torch.tensor([0.1, 0.02, 0.2]) / SPREAD_UNIT).log(), atol=1e-5)


def test_the_arm_of_a_mirrored_person_is_the_other_arm() -> None:
    person, prediction = person_with_hands(), a_prediction()
    found, other = features(person, prediction), features(mirrored(person), mirrored_prediction(prediction))
    assert (other - found.flip(0)).abs().max() < 1e-5  # float32; 0 was seen


@pytest.mark.parametrize("degrees", [20.0, 90.0, 180.0])
def test_a_camera_that_rolls_changes_nothing(degrees: float) -> None:
    person, prediction = person_with_hands(), a_prediction()
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    roll = torch.tensor([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])
    center, hands = torch.tensor(CENTER), hands_of(person)
    rolled = replace(
        person,
        image_points=(person.image_points - center) @ roll[:2, :2].mT + center,
        world_points=person.world_points @ roll.mT,
        hands=replace(hands, world=hands.world @ roll.mT),
    )
    said = replace(prediction, joints=some(prediction.joints) @ roll.mT, landmarks=some(prediction.landmarks) @ roll.mT)
    # float32; 3e-7 was seen
    assert (features(rolled, said) - features(person, prediction)).abs().max() < 1e-5
    # were the hands left as they are, the features would not be
    assert (features(replace(rolled, hands=hands), said) - features(person, prediction)).abs().max() > 0.1


def test_only_the_twists_of_elbows_and_wrists_are_replaced() -> None:
    prediction = a_prediction()
    found = read(person_with_hands(), prediction)
    for name in ("twist", "twist_sigma"):
        before, after = getattr(prediction, name), getattr(found, name)
        assert torch.equal(after[OTHERS], before[OTHERS]), name
        assert bool((after[LEFT + RIGHT] != before[LEFT + RIGHT]).all()), name
    untouched = {"twist": prediction.twist, "twist_sigma": prediction.twist_sigma}
    assert all(value is getattr(prediction, name) for name, value in vars(replace(found, **untouched)).items())


def test_a_mirrored_person_has_opposite_twists() -> None:
    person, prediction = person_with_hands(), a_prediction()
    found, other = read(person, prediction), read(mirrored(person), mirrored_prediction(prediction))
    # float32, through a network; 5e-7 was seen
    assert (some(other.twist)[JOINTS] + some(found.twist)).abs().max() < 1e-4
    assert (some(other.twist_sigma)[JOINTS] - some(found.twist_sigma)).abs().max() < 1e-4
    assert some(found.twist)[LEFT + RIGHT].abs().min() > 1e-3  # otherwise no sign was told


def test_an_arm_whose_wrist_is_outside_the_picture_is_the_heads() -> None:
    person, prediction = person_with_hands(), a_prediction()
    in_picture = person.in_picture.clone()
    in_picture[BLAZEPOSE_LANDMARKS.index("left_wrist")] = False
    found, whole = read(replace(person, in_picture=in_picture), prediction), read(person, prediction)
    for name in ("twist", "twist_sigma"):
        assert torch.equal(getattr(found, name)[LEFT], getattr(prediction, name)[LEFT]), name
        assert torch.equal(getattr(found, name)[RIGHT], getattr(whole, name)[RIGHT]), name


def test_without_hands_the_prediction_stays() -> None:
    prediction = a_prediction()
    assert read(one_person(), prediction) is prediction


@pytest.mark.parametrize("name", ["joints", "joints_sigma", "landmarks", "landmarks_sigma", "twist", "twist_sigma"])
def test_a_head_that_does_not_say_where_the_arms_are_keeps_its_twists(name: str) -> None:
    prediction = replace(a_prediction(), **{name: None})
    assert read(person_with_hands(), prediction) is prediction


def test_the_factor_multiplies_the_standard_deviations() -> None:
    person, prediction = person_with_hands(), a_prediction()
    plain, wide = read(person, prediction), read(person, prediction, 2.5)
    assert torch.equal(some(wide.twist), some(plain.twist))
    both = LEFT + RIGHT
    assert torch.allclose(some(wide.twist_sigma)[both], 2.5 * some(plain.twist_sigma)[both], rtol=1e-5)
    assert torch.equal(some(wide.twist_sigma)[OTHERS], some(plain.twist_sigma)[OTHERS])


def test_a_person_of_one_point_is_read_all_the_same() -> None:
    person, prediction = person_with_hands(), a_prediction()
    point = replace(person, image_points=torch.full((33, 2), 300.0))
    for one in (point, replace(point, image_points=torch.full((33, 2), 1e6))):
        found = read(one, prediction)
        assert bool(some(found.twist).isfinite().all())
        assert bool(some(found.twist_sigma).isfinite().all())
