# SPDX-License-Identifier: Apache-2.0
"""From photographs to persons: who is found, where, how sure, and what happens when nobody is there."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ikol.errors import Cancelled, InputError
from ikol.regressor import BLAZEPOSE_LANDMARKS, LandmarkRegressor, PersonLandmarks, decode_image
from ikol.regressor.person import AUGMENTATIONS
from ikol.regressor.regressor import SECOND_LOOK

SAMPLES = Path(__file__).resolve().parents[3] / "samples"
NAMES = {name: i for i, name in enumerate(BLAZEPOSE_LANDMARKS)}
FACE, BODY, LEGS = slice(0, 11), slice(11, 33), slice(25, 33)


def unchecked(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function as users run it, without the type checks that the tests put around it."""
    return getattr(function, "__wrapped__", function)


@cache
def regressor(model: str = "heavy") -> LandmarkRegressor:
    return LandmarkRegressor(model)  # type: ignore[arg-type]


@cache
def photo(name: str) -> np.ndarray:
    return decode_image((SAMPLES / name).read_bytes()).rgb


@cache
def persons(name: str) -> list[PersonLandmarks]:
    return regressor().detect(photo(name))


def point(person: PersonLandmarks, name: str) -> np.ndarray:
    return person.image_points[NAMES[name]].numpy()


# Read off the photographs by eye, pixels. What a landmark is precisely is the network's own affair: a shoulder or a hip
# is a few centimetres of the body (3 % of it) anywhere around the joint.
BY_EYE = {
    "front_step.jpg": {
        "left_shoulder": (641, 531),
        "right_shoulder": (503, 543),
        "left_wrist": (728, 745),
        "right_wrist": (424, 726),
        "left_ankle": (566, 1060),
        "nose": (537, 470),
    },
    "back_leg_raised.jpg": {
        "left_shoulder": (272, 762),
        "right_shoulder": (341, 600),
        "right_elbow": (452, 512),
        "left_wrist": (357, 985),
        "right_knee": (734, 851),
        "left_ankle": (621, 1200),
    },
    "person_standing.jpg": {"left_shoulder": (203, 155), "right_shoulder": (250, 155), "right_wrist": (267, 248)},
}


@pytest.mark.parametrize("name", BY_EYE)
def test_a_whole_person_is_found_once_and_landmarks_are_where_the_eye_sees_them(name: str) -> None:
    found = persons(name)
    assert len(found) == 1
    (person,) = found
    assert person.score > 0.95
    extent = float((person.box[2:] - person.box[:2]).max())
    for landmark, place in BY_EYE[name].items():
        off = float(np.linalg.norm(point(person, landmark) - place)) / extent
        assert off < 0.06, (landmark, off, point(person, landmark))
    assert bool(person.in_picture.all())
    assert float(person.confidence.mean()) > 0.75


def test_the_hands_are_looked_at_where_there_is_time_for_it() -> None:
    (person,) = persons("back_leg_raised.jpg")
    assert person.hands is not None
    # 0.95 of a hand, 0.95 of a right one and 0.06 in the mirrored crop were seen
    assert float(person.hands.presence.min()) > 0.7, person.hands
    assert float(person.hands.handedness[:, 0].min()) > 0.7, person.hands
    assert float(person.hands.handedness[:, 1].max()) < 0.3, person.hands
    (quick,) = regressor("full").detect(photo("back_leg_raised.jpg"))
    assert quick.hands is None


def test_results_are_float32_on_the_cpu() -> None:
    (person,) = persons("front_step.jpg")
    for value in (person.box, person.image_points, person.world_points, person.world_sigma, person.confidence):
        assert value.dtype == torch.float32
        assert value.device.type == "cpu"
        assert bool(torch.isfinite(value).all())


def test_a_standing_person_s_world_landmarks_are_upright_metres() -> None:
    (person,) = persons("person_standing.jpg")
    world = person.world_points
    hips = (world[NAMES["left_hip"]] + world[NAMES["right_hip"]]) / 2
    assert float(hips.norm()) < 0.03  # the origin, up to the network's own accuracy
    height = float(world[NAMES["left_heel"], 1] - world[NAMES["nose"], 1])  # y points down
    assert 1.2 < height < 1.9, height
    # He is seen from behind: his left is on the left of the picture.
    assert float(world[NAMES["left_shoulder"], 0]) < float(world[NAMES["right_shoulder"], 0])


@pytest.mark.parametrize(("name", "outside"), [("astronaut.png", LEGS), ("grace_hopper.jpg", slice(13, 33))])
def test_half_body_photographs_flag_what_is_not_there(name: str, outside: slice) -> None:
    found = persons(name)
    assert len(found) == 1
    (person,) = found
    assert not bool(person.in_picture[outside].any())
    assert float(person.confidence[outside].max()) == 0.0
    assert float(person.confidence[FACE].min()) > 0.9
    assert float(person.confidence[11:13].min()) > 0.5  # the shoulders


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (300, 420, 3), dtype=np.uint8)


def ramp() -> np.ndarray:
    x, y = np.meshgrid(np.arange(500) // 2, np.arange(300) // 2)
    return np.stack([x, y, x ^ y], -1).astype(np.uint8)


def empty_scenes() -> dict[str, np.ndarray]:
    return {
        "black": np.zeros((200, 300, 3), np.uint8),
        "white": np.full((1000, 400, 3), 255, np.uint8),
        "noise": noise(0),
        "pattern": ramp(),
        "one-pixel": np.zeros((1, 1, 3), np.uint8),
        "a-line": noise(1)[:1],
        "dog": np.ascontiguousarray(photo("person_standing.jpg")[200:, :190]),
        "horse": np.ascontiguousarray(photo("person_standing.jpg")[:, 330:]),
        "treadmill": np.ascontiguousarray(photo("front_step.jpg")[1200:]),
        "ceiling": np.ascontiguousarray(photo("front_step.jpg")[:350]),
        "rocket": np.ascontiguousarray(photo("astronaut.png")[:300, 330:]),
        "flag": np.ascontiguousarray(photo("grace_hopper.jpg")[:180, :130]),
    }


@pytest.mark.parametrize("name", empty_scenes())
def test_nobody_is_found_in_pictures_without_a_person(name: str) -> None:
    assert regressor().detect(empty_scenes()[name]) == []


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_turned_picture_gives_the_same_person_when_its_rotation_is_told(quarters: int) -> None:
    rgb = photo("front_step.jpg")
    turned = np.ascontiguousarray(np.rot90(rgb, -quarters))  # clockwise
    found = regressor().detect(turned, rotation_deg=90.0 * quarters)
    assert len(found) == 1
    x, y = persons("front_step.jpg")[0].image_points.unbind(-1)
    height, width = rgb.shape[:2]
    # Where a point goes when the picture is turned clockwise.
    expected = {1: (height - y, x), 2: (width - x, height - y), 3: (y, width - x)}[quarters]
    off = (found[0].image_points - torch.stack(expected, -1)).norm(dim=-1)
    # The detector sees a turned person slightly differently and cuts another crop.
    assert float(off.median()) < 12.0, off
    # World landmarks stay in the axes of the picture: up is where the head is in it.
    head = found[0].world_points[NAMES["nose"]]
    axis, sign = {1: (0, 1), 2: (1, 1), 3: (0, -1)}[quarters]
    assert float(sign * head[axis]) > 0.3, head


def test_a_box_says_whom_to_look_at() -> None:
    rgb = photo("person_standing.jpg")
    found = regressor().detect(rgb, boxes=[(190.0, 100.0, 275.0, 375.0)])
    assert len(found) == 1
    off = (found[0].image_points - persons("person_standing.jpg")[0].image_points).norm(dim=-1)
    assert float(off.median()) < 4.0, off  # 1.5 % of his height: another crop of the same man


def test_a_box_around_half_a_person_is_enough() -> None:
    found = regressor().detect(photo("grace_hopper.jpg"), boxes=[(60.0, 10.0, 490.0, 600.0)])
    assert len(found) == 1
    off = (found[0].image_points - persons("grace_hopper.jpg")[0].image_points)[:13].norm(dim=-1)
    assert float(off.max()) < 25.0, off  # a twentieth of the picture; the hips of the crop are a guess each time


def test_a_box_around_a_leaning_person_finds_how_he_leans() -> None:
    found = regressor().detect(photo("back_leg_raised.jpg"), boxes=[(230.0, 430.0, 920.0, 1250.0)])
    assert len(found) == 1
    off = (found[0].image_points - persons("back_leg_raised.jpg")[0].image_points).norm(dim=-1)
    assert float(off.median()) < 12.0, off  # 1.5 % of his 810 px


def test_a_box_without_a_person_gives_nothing() -> None:
    found = regressor().detect(photo("person_standing.jpg"), boxes=[(400.0, 130.0, 600.0, 330.0)])  # the horse
    assert found == []
    assert regressor().detect(photo("person_standing.jpg"), boxes=[]) == []


def group() -> np.ndarray:
    """Return two photographs of whole persons side by side."""
    first, second = photo("front_step.jpg")[300:1300], photo("back_leg_raised.jpg")[300:1300]
    return np.ascontiguousarray(np.concatenate([first, second], 1))


def test_several_persons_give_several_results_largest_first() -> None:
    found = regressor().detect(group())
    assert len(found) == 2
    areas = [float((person.box[2:] - person.box[:2]).prod()) for person in found]
    assert areas == sorted(areas, reverse=True)
    left = [float(person.image_points[:, 0].mean()) < 1080 for person in found]
    assert sorted(left) == [False, True]


def test_boxes_keep_their_order_and_name_a_person_once() -> None:
    first, second = (380.0, 130.0, 770.0, 850.0), (1310.0, 140.0, 2000.0, 950.0)
    found = regressor().detect(group(), boxes=[second, first, second])
    assert len(found) == 2
    assert float(found[0].image_points[:, 0].mean()) > 1080 > float(found[1].image_points[:, 0].mean())


def test_max_persons_limits_the_results() -> None:
    assert len(regressor().detect(group(), max_persons=1)) == 1


def test_the_same_picture_gives_the_same_numbers() -> None:
    again = regressor().detect(photo("person_standing.jpg"))
    assert torch.equal(again[0].image_points, persons("person_standing.jpg")[0].image_points)


def test_the_large_network_looks_again_around_the_body_that_it_has_found() -> None:
    counts = [persons("person_standing.jpg"), regressor("full").detect(photo("person_standing.jpg"))]
    first, looked_twice = len(AUGMENTATIONS), len(AUGMENTATIONS) + sum(map(len, SECOND_LOOK))
    assert [len(found[0].samples.points) for found in counts if found[0].samples] == [looked_twice, first]


def test_the_small_network_works_too() -> None:
    found = regressor("full").detect(photo("back_leg_raised.jpg"))
    assert len(found) == 1
    off = (found[0].image_points - persons("back_leg_raised.jpg")[0].image_points).norm(dim=-1)
    assert float(off.median()) < 25.0, off  # 3 % of his 810 px: two networks, one man


def test_progress_rises_from_zero_to_one() -> None:
    steps: list[tuple[float, str]] = []
    regressor().detect(photo("person_standing.jpg"), progress=lambda fraction, text: steps.append((fraction, text)))
    fractions = [fraction for fraction, _ in steps]
    assert fractions[0] == 0.0
    assert fractions[-1] == 1.0
    assert fractions == sorted(fractions)
    texts = list(dict.fromkeys(text for _, text in steps))
    assert texts == ["finding persons", "landmarks of person 1", "landmarks found"]


@pytest.mark.parametrize(
    ("call", "where"), [(1, "finding persons"), (9, "finding persons"), (500, "landmarks of person 1")]
)
def test_progress_may_cancel_between_steps_and_between_layers(call: int, where: str) -> None:
    calls = 0

    def cancel(fraction: float, text: str) -> None:
        nonlocal calls
        calls += 1
        if calls == call:
            raise Cancelled(f"stopped in {text} at {fraction}")

    with pytest.raises(Cancelled, match=f"stopped in {where}"):
        regressor().detect(photo("person_standing.jpg"), progress=cancel)
    assert calls == call


def test_gradients_are_not_recorded_and_the_mode_is_restored() -> None:
    assert torch.is_grad_enabled()
    (person,) = regressor().detect(photo("person_standing.jpg"))
    assert not person.image_points.requires_grad
    assert torch.is_grad_enabled()


@pytest.mark.parametrize(
    "picture",
    [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)],
    ids=["grey", "alpha", "float", "empty"],
)
def test_what_is_no_picture_is_refused(picture: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"a picture must be bytes of shape \(height, width, 3\), got .*; use decode_"):
        unchecked(LandmarkRegressor.detect)(regressor(), picture)


@pytest.mark.parametrize("box", [(10.0, 10.0, 5.0, 20.0), (10.0, 10.0, 20.0, 10.0), (0.0, 0.0, float("nan"), 5.0)])
def test_what_is_no_box_is_refused(box: tuple[float, float, float, float]) -> None:
    with pytest.raises(InputError, match="a box must be x0, y0, x1, y1 in pixels"):
        regressor().detect(photo("person_standing.jpg"), boxes=[box])


def test_an_unknown_network_is_refused() -> None:
    with pytest.raises(InputError, match="unknown landmark network 'lite', expected 'heavy' or 'full'"):
        unchecked(LandmarkRegressor.__init__)(object.__new__(LandmarkRegressor), "lite")


def far_away(height: int, size: tuple[int, int] = (1000, 700)) -> np.ndarray:
    """The standing man shrunk to a height (pixels), before a wall that darkens downwards."""
    man = Image.fromarray(photo("person_standing.jpg")[60:400, 140:330])
    scale = height / 246  # his height in the photograph
    man = man.resize((round(man.width * scale), round(man.height * scale)), Image.Resampling.LANCZOS)
    wall = np.linspace(200, 90, size[1])[:, None, None] * np.ones((1, size[0], 3))
    picture = Image.fromarray(wall.astype(np.uint8))
    picture.paste(man, (620, 330))
    return np.asarray(picture)


@pytest.mark.parametrize("height", [80, 150])
def test_a_far_person_is_found_and_called_small_below_100_pixels(height: int) -> None:
    (man,) = regressor("full").detect(far_away(height))
    assert float(man.box[3] - man.box[1]) == pytest.approx(height, rel=0.2)
    assert 620 < point(man, "nose")[0] < 720
    assert ("small" in man.doubts) == (height < 100)


def test_a_far_person_beside_a_near_one_is_looked_for_when_asked() -> None:
    near = np.asarray(Image.fromarray(photo("person_standing.jpg")).resize((1100, 729)))[:700, :600]
    picture = np.concatenate([near, far_away(80)], axis=1)
    assert len(regressor("full").detect(picture)) == 1
    boxes = [one.box for one in regressor("full").detect(picture, thorough=True)]
    assert any(float(box[0]) > 600 and float(box[3] - box[1]) < 110 for box in boxes), boxes


def test_a_box_around_a_turned_person_finds_which_way_up() -> None:
    upside_down = photo("person_standing.jpg")[::-1, ::-1].copy()
    height, width = upside_down.shape[:2]
    (man,) = regressor("full").detect(
        upside_down, boxes=[(width - 300.0, height - 385.0, width - 160.0, height - 85.0)]
    )
    assert point(man, "nose")[1] > point(man, "left_ankle")[1]
    assert "upside_down" in man.doubts
