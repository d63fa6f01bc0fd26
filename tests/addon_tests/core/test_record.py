# SPDX-License-Identifier: Apache-2.0
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blender_addon.core.errors import EvidenceError
from blender_addon.core.record import (
    RECORD_VERSION,
    Anchor,
    KeypointEdit,
    Keypoints2D,
    Keypoints3D,
    Orientations,
    PhotoCamera,
    Pins,
    Pose,
    Record,
    RelativeKeypoints3D,
    Shape,
    Solution,
    Twist,
    ViewKeypoints2D,
    decode_record,
    encode_record,
)
from blender_addon.core.rig import JOINT_NAMES, LANDMARK_NAMES

numbers = st.floats(-1e6, 1e6)
positive = st.floats(1e-6, 1e6)
vectors = st.tuples(numbers, numbers, numbers)
quaternions = st.tuples(numbers, numbers, numbers, numbers)
name_lists = st.lists(st.sampled_from(LANDMARK_NAMES), unique=True, max_size=6).map(tuple)


@st.composite
def evidence(draw):
    def many(values, names):
        return tuple(draw(values) for _ in names)

    names = draw(name_lists)
    kind = draw(
        st.sampled_from(
            [Keypoints2D, Keypoints3D, RelativeKeypoints3D, Anchor, Twist, Shape, Pins, Orientations, ViewKeypoints2D]
        )
    )
    if kind is Keypoints2D:
        return Keypoints2D(names, many(st.tuples(numbers, numbers), names), many(positive, names), draw(st.booleans()))
    if kind is ViewKeypoints2D:
        camera = PhotoCamera(640, 480, draw(positive), draw(positive), draw(numbers), draw(numbers))
        return ViewKeypoints2D(names, many(st.tuples(numbers, numbers), names), many(positive, names), camera)
    if kind is Keypoints3D:
        return Keypoints3D(names, many(vectors, names), many(positive, names))
    if kind is RelativeKeypoints3D:
        return RelativeKeypoints3D(names, many(vectors, names), many(st.tuples(positive, positive, positive), names))
    if kind is Pins:
        return Pins(names, many(vectors, names))
    if kind is Orientations:
        return Orientations(names, many(quaternions, names), many(positive, names))
    if kind is Anchor:
        return Anchor(many(quaternions, JOINT_NAMES), many(positive, JOINT_NAMES))
    if kind is Shape:
        return Shape("default body", many(numbers, names), many(positive, names))
    return Twist(names, many(numbers, names), many(positive, names))


def maybe(values):
    return st.none() | values


edits = st.builds(
    KeypointEdit,
    maybe(st.tuples(numbers, numbers)),
    maybe(vectors),
    maybe(quaternions),
    maybe(positive),
    maybe(positive),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)


@st.composite
def records(draw):
    rotation = draw(st.tuples(*[numbers] * 9))
    camera = PhotoCamera(
        640, 480, draw(positive), draw(positive), draw(numbers), draw(numbers), rotation, draw(vectors)
    )
    pose = Pose(draw(vectors), tuple(draw(quaternions) for _ in JOINT_NAMES), (0.5,) * 10)
    points = draw(st.dictionaries(st.sampled_from(LANDMARK_NAMES), vectors))
    solution = Solution(
        pose,
        draw(st.sampled_from([None, camera])),
        points,
        {name: (position[0], position[1]) for name, position in points.items()},
        "converged",
        draw(st.integers(0, 99)),
        draw(numbers),
        draw(positive),
    )
    return Record(
        draw(st.text(max_size=20)),
        tuple(draw(st.lists(evidence(), max_size=3))),
        solution,
        draw(st.dictionaries(st.sampled_from(LANDMARK_NAMES), st.floats(0, 1))),
        draw(positive),
        draw(st.sampled_from([None, (1.0, 2.0, 3.0, 4.0)])),
        draw(st.dictionaries(st.sampled_from(LANDMARK_NAMES), edits)),
        draw(name_lists),
    )


@given(records())
def test_a_record_there_and_back(record):
    assert decode_record(encode_record(record)) == record


@given(records())
def test_the_stored_form_is_plain_json(record):
    assert json.loads(encode_record(record))["version"] == RECORD_VERSION


def a_record() -> Record:
    names = ("left_wrist", "right_wrist", "nose")
    seen = Keypoints2D(names, ((1.0, 2.0), (3.0, 4.0), (5.0, 6.0)), (2.0, 3.0, 4.0))
    felt = RelativeKeypoints3D(("left_wrist",), ((0.0, 0.0, 0.0),), ((1.0, 1.0, 1.0),))
    pose = Pose((0.0, 0.0, 0.0), ((1.0, 0.0, 0.0, 0.0),) * 24, (0.0,) * 10)
    return Record("a.jpg", (seen, felt), Solution(pose, None, {}, {}, "converged", 1, 1.0, 0.1))


def damaged(change) -> str:
    content = json.loads(encode_record(a_record()))
    change(content)
    return json.dumps(content)


DAMAGES = {
    "unknown_point": lambda content: content["evidence"][0]["names"].__setitem__(0, "tail"),
    "lengths_differ": lambda content: content["evidence"][0]["sigma"].pop(),
    "sigma_is_zero": lambda content: content["evidence"][0]["sigma"].__setitem__(0, 0.0),
    "not_a_number": lambda content: content["evidence"][0]["points"].__setitem__(0, [None, 1.0]),
    "unknown_evidence": lambda content: content["evidence"][0].__setitem__("type", "smell"),
    "no_solution": lambda content: content.pop("solution"),
    "half_a_camera": lambda content: content["solution"].__setitem__(
        "camera",
        {"width": 1, "height": 1, "focal_x": 1, "focal_y": 1, "center_x": 0, "center_y": 0, "translation": [0, 0, 0]},
    ),
}


def test_a_record_is_decoded_once_however_often_the_panel_asks():
    text = encode_record(a_record())
    copy = text.encode().decode()  # Blender gives a new string each time
    assert decode_record(copy) is decode_record(text)


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_record_gives_a_sentence(name):
    with pytest.raises(EvidenceError, match=r"cannot be read \(.+\); run Pose from Image again"):
        decode_record(damaged(DAMAGES[name]))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\x00", '{"version": "one"}', "[" * 100000])
def test_what_is_no_record_gives_a_sentence(text):
    with pytest.raises(EvidenceError, match="cannot be read"):
        decode_record(text)


def test_a_record_of_a_newer_add_on_is_named_as_such():
    with pytest.raises(EvidenceError, match=r"newer IKOL add-on \(version 4, this one reads 3\); update the add-on"):
        decode_record(damaged(lambda content: content.__setitem__("version", 4)))


def test_unknown_fields_of_a_record_are_ignored():
    assert decode_record(damaged(lambda content: content.__setitem__("mood", "good"))) == a_record()


def test_a_record_of_the_second_version_is_stored_again_as_one_of_today():
    content = json.loads(encode_record(a_record()))
    content["version"] = 2
    del content["doubts"]
    assert decode_record(json.dumps(content)) == a_record()


def test_a_record_of_the_first_version_keeps_the_users_places():
    content = json.loads(encode_record(a_record()))
    content.update(version=1, edits={"left_wrist": [1.0, 2.0, 3.0]})
    del content["solo"]
    record = decode_record(json.dumps(content))
    assert record.edits == {"left_wrist": KeypointEdit(position=(1.0, 2.0, 3.0))}
    assert record.version == RECORD_VERSION
    assert record.evidence == a_record().evidence


@pytest.mark.parametrize("edit", [{"pixel": [1.0, None]}, {"tolerance_px": 0.0}, {"tolerance_m": -1.0}])
def test_a_damaged_edit_gives_a_sentence(edit):
    with pytest.raises(EvidenceError, match="cannot be read"):
        decode_record(damaged(lambda content: content.__setitem__("edits", {"nose": edit})))


@pytest.mark.parametrize("quats", [(), ((1.0, 0.0, 0.0, 0.0),) * 23, ((float("nan"), 0.0, 0.0, 0.0),) * 24])
def test_a_pose_of_another_body_is_refused(quats):
    with pytest.raises(ValueError, match="pose"):
        Pose((0.0, 0.0, 0.0), quats, (0.0,) * 10)
