# SPDX-License-Identifier: Apache-2.0
"""Keypoints on a picture: OpenPose's, COCO's, COCO-WholeBody's, MMPose's and MediaPipe's JSON."""

import json
import re
from pathlib import Path
from typing import get_args

import pytest
import torch
from exchange_motions import damaged, markers, picture_points

from ikol.errors import InputError
from ikol.exchange import read_keypoint_json, write_keypoint_json
from ikol.exchange.keypoint_json import KeypointFormat
from ikol.exchange.point_names import BLAZEPOSE, COCO, OPENPOSE_25, WHOLEBODY

NAMES = {"openpose": OPENPOSE_25, "coco": COCO, "wholebody": WHOLEBODY, "blazepose": BLAZEPOSE}


@pytest.mark.parametrize("form", get_args(KeypointFormat))
def test_points_are_read_again_one_by_one(tmp_path: Path, form: KeypointFormat) -> None:
    first = picture_points(1 if form == "openpose" else 3, NAMES[form])
    write_keypoint_json(tmp_path / "a.json", first, form)
    again = read_keypoint_json(tmp_path / "a.json")
    assert again.names == first.names
    # exact but for the fractions of the picture
    assert float((again.points - first.points).abs().max()) < 1e-9
    assert float((again.confidence - first.confidence).abs().max()) < 1e-12


def test_hands_of_openpose_come_along(tmp_path: Path) -> None:
    first = picture_points(1, (*OPENPOSE_25, "left_hand_root", "left_index", "right_pinky"))
    write_keypoint_json(tmp_path / "a.json", first, "openpose")
    again = read_keypoint_json(tmp_path / "a.json")
    assert torch.equal(again.of(first.names).points, first.points)
    assert float(again.of(("right_thumb",)).confidence) == 0


def test_openposes_middles_come_from_the_points_that_others_have(tmp_path: Path) -> None:
    first = picture_points(1, COCO)
    write_keypoint_json(tmp_path / "a.json", first, "openpose")
    again = read_keypoint_json(tmp_path / "a.json")
    for middle, ends in (("neck", ("left_shoulder", "right_shoulder")), ("mid_hip", ("left_hip", "right_hip"))):
        pair, found = first.of(ends), again.of((middle,))
        assert torch.allclose(found.points[0, 0], pair.points[0].mean(0), atol=1e-9), middle
        assert float(found.confidence) == float(pair.confidence.min()), middle


def test_faces_of_openpose_are_those_of_coco_wholebody(tmp_path: Path) -> None:
    first = picture_points(1, WHOLEBODY)
    write_keypoint_json(tmp_path / "a.json", first, "openpose")
    again = read_keypoint_json(tmp_path / "a.json")
    assert torch.equal(again.of(WHOLEBODY).points, first.points)
    assert again.names[-2:] == ("right_pupil", "left_pupil")


def test_a_folder_of_openposes_files_is_a_sequence_in_the_order_of_its_numbers(tmp_path: Path) -> None:
    first = picture_points(11, OPENPOSE_25)
    for frame in range(11):
        write_keypoint_json(tmp_path / f"clip_{frame}_keypoints.json", first, "openpose", frame)
    assert torch.equal(read_keypoint_json(tmp_path).points, first.points)


def test_persons_are_told_apart_and_a_missing_one_is_missing(tmp_path: Path) -> None:
    flat = [1.0] * 75
    people = [{"pose_keypoints_2d": flat}, {"pose_keypoints_2d": [2.0] * 75}]
    (tmp_path / "0_keypoints.json").write_text(json.dumps({"people": people}))
    (tmp_path / "1_keypoints.json").write_text(json.dumps({"people": people[:1]}))
    read = read_keypoint_json(tmp_path, person=1)
    assert read.points[0, 0].tolist() == [2.0, 2.0]
    assert read.confidence[1].max() == 0
    with pytest.raises(InputError, match="holds no such person"):
        read_keypoint_json(tmp_path, person=2)


def test_coco_annotations_say_hidden_and_missing(tmp_path: Path) -> None:
    flat = [value for point in range(17) for value in (10.0 + point, 20.0, point % 3)]
    content = {"annotations": [{"image_id": 7, "keypoints": flat, "foot_kpts": [1.0] * 18}], "images": []}
    (tmp_path / "a.json").write_text(json.dumps(content))
    read = read_keypoint_json(tmp_path / "a.json")
    assert read.names[:17] == COCO
    assert read.names[17] == "left_foot_index"
    assert read.confidence[0, :3].tolist() == [0, 0.5, 1]


def test_coco_results_take_the_surest_person_of_each_picture(tmp_path: Path) -> None:
    content = [
        {"image_id": image, "score": score, "keypoints": [100.0 * image + score] * 51}
        for image, score in ((2, 0.5), (1, 0.25), (1, 0.75))
    ]
    (tmp_path / "a.json").write_text(json.dumps(content))
    assert read_keypoint_json(tmp_path / "a.json").points[:, 0, 0].tolist() == [100.75, 200.5]


def test_mmposes_and_mediapipes_files_are_read(tmp_path: Path) -> None:
    instance = {"keypoints": [[1.0, 2.0]] * 133, "keypoint_scores": [0.5] * 133}
    (tmp_path / "mm.json").write_text(json.dumps({"meta_info": {}, "instance_info": [{"instances": [instance]}]}))
    assert read_keypoint_json(tmp_path / "mm.json").names == WHOLEBODY
    point = {"x": 0.5, "y": 0.25, "z": 0.0, "visibility": 0.75}
    for content in ([point] * 33, {"landmarks": [[point] * 33]}, {"poseLandmarks": [point] * 33}):
        (tmp_path / "mp.json").write_text(json.dumps(content))
        read = read_keypoint_json(tmp_path / "mp.json", size=(640, 480))
        assert read.points[0, 0].tolist() == [320.0, 120.0]
        with pytest.raises(InputError, match="holds fractions of a picture; say its width and height in pixels"):
            read_keypoint_json(tmp_path / "mp.json")


WRONG = {
    "text": ("hello", "is not JSON, it may be truncated"),
    "deep": ("[" * 100_000, "is not JSON, it may be truncated"),
    "closed deep": ("[" * 5000 + "]" * 5000, "is not JSON, it may be truncated: it nests too deeply"),
    "number": ("5", "the file is a int, expected a list"),
    "other": ('[{"a": 1}]', "is no keypoint file of OpenPose, COCO, COCO-WholeBody or MediaPipe"),
    "no people": ('{"people": 5}', "people is a int, expected a list"),
    "no pose": ('{"people": [{}]}', "an entry of people has no pose_keypoints_2d"),
    "short": ('{"people": [{"pose_keypoints_2d": [1, 2]}]}', "pose_keypoints_2d has 2 numbers, expected 75 or 54"),
    "words": (
        '{"people": [{"pose_keypoints_2d": ["a"]}]}',
        "pose_keypoints_2d is a str, expected a number",
    ),
    "not a number": ('{"people": [{"pose_keypoints_2d": [NaN]}]}', "is nan, expected a number"),
    "infinite": ('{"people": [{"pose_keypoints_2d": [1e999]}]}', "is inf, expected a number"),
    "large": ('{"people": [{"pose_keypoints_2d": [1' + "0" * 400 + "]}]}", "is a int, expected a number"),
    "very large": ('{"people": [{"pose_keypoints_2d": [1' + "0" * 5000 + "]}]}", "is not JSON"),
    "coco": ('[{"keypoints": [1, 2, 3]}]', "keypoints has 3 numbers, expected 51 (COCO) or 399"),
    "feet": (
        json.dumps({"annotations": [{"keypoints": [0] * 51, "foot_kpts": [1]}]}),
        "foot_kpts has 1 numbers, expected 18",
    ),
    "mediapipe": ('{"landmarks": [[{"x": 0, "y": 0}]]}', "a person has 1 landmarks, BlazePose has 33"),
    "mmpose": (
        '{"instance_info": [{"instances": [{"keypoints": [[1, 2]], "keypoint_scores": []}]}]}',
        "1 keypoints with 0 scores",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_file_says_what_is_wrong(tmp_path: Path, name: str) -> None:
    text, sentence = WRONG[name]
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(InputError, match=re.escape(sentence)):
        read_keypoint_json(tmp_path / "a.json")


def test_an_empty_folder_and_points_in_space_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has 0 files \*_keypoints.json; OpenPose writes these"):
        read_keypoint_json(tmp_path)
    with pytest.raises(InputError, match="these are in space; write them as .trc or .c3d"):
        write_keypoint_json(tmp_path / "a.json", markers(), "coco")


def test_damaged_files_give_points_or_a_sentence(tmp_path: Path) -> None:
    first = picture_points(1, OPENPOSE_25)
    for path in damaged(tmp_path / "a.json", lambda path: write_keypoint_json(path, first, "openpose")):
        try:
            read_keypoint_json(path)
        except InputError:
            continue
