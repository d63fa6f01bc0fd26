# SPDX-License-Identifier: Apache-2.0
"""Several pictures on the command line."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ikol.camera_files import read_cameras
from ikol.cli import main
from ikol.errors import InputError

SAMPLES = Path(__file__).parents[2] / "samples"


def test_several_pictures_need_to_be_told_how_they_belong_together(capsys: pytest.CaptureFixture[str]) -> None:
    photo = str(SAMPLES / "front_step.jpg")
    assert main(["pose", photo, photo, "--model", "full"]) == 1
    assert "--same-pose or --same-person" in capsys.readouterr().err


def test_they_cannot_be_both(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["pose", "a.jpg", "b.jpg", "--same-pose", "--same-person"])
    assert "not allowed with" in capsys.readouterr().err


@pytest.mark.parametrize(("option", "poses"), [("--same-pose", 1), ("--same-person", 2)])
def test_poses_and_a_camera_for_each_picture_are_written(option: str, poses: int, tmp_path: Path) -> None:
    photo, out = str(SAMPLES / "front_step.jpg"), tmp_path / "poses.npz"
    assert main(["pose", photo, photo, option, "--model", "full", "--out", str(out)]) == 0
    with np.load(out) as data:
        assert data["local_quat"].shape == (poses, 24, 4)
        assert data["R_camera_world"].shape == (2, 3, 3)
        assert (data["betas"] == data["betas"][:1]).all()


def test_the_lens_of_several_pictures_is_the_one_that_was_said(tmp_path: Path) -> None:
    photo = str(SAMPLES / "front_step.jpg")
    found: list[np.ndarray] = []
    for number, lens in enumerate(([], ["--distortion", "-0.3", "0.1", "0", "0"])):
        out = tmp_path / f"{number}.npz"
        arguments = ["pose", photo, photo, "--same-pose", "--model", "full", "--out", str(out), *lens]
        assert main(arguments) == 0
        with np.load(out) as data:
            found.append(data["joints"])
    apart = float(np.abs(found[0] - found[1]).max())
    assert apart > 1e-3, apart  # a wide angle's distortion moves more than a millimetre


def test_a_box_is_refused_for_several_pictures(capsys: pytest.CaptureFixture[str]) -> None:
    photo = str(SAMPLES / "front_step.jpg")
    assert main(["pose", photo, photo, "--same-pose", "--model", "full", "--box", "0", "0", "9", "9"]) == 1
    assert "--box is for one picture" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--same-person"], "add --same-pose"),
        ([], "add --same-pose"),
        (["--same-pose", "--focal-px", "900"], "leave out --focal-px"),
        (["--same-pose", "--distortion", "0", "0", "0", "0"], "leave out --focal-px and --distortion"),
        (["--same-pose"], "there is no camera file"),
    ],
)
def test_cameras_are_refused_where_they_say_nothing(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = str(SAMPLES / "front_step.jpg")
    assert main(["pose", photo, photo, *arguments, "--cameras", str(tmp_path / "none.npz")]) == 1
    assert message in capsys.readouterr().err


def test_cameras_are_refused_for_one_picture(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pose", str(SAMPLES / "front_step.jpg"), "--same-pose", "--cameras", "none.npz"]) == 1
    assert "add --same-pose and all pictures" in capsys.readouterr().err


def test_cameras_that_were_written_are_read_again_and_stay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # a photograph, and itself without some of its margin: one pose on other pixels
    first, second = SAMPLES / "front_step.jpg", tmp_path / "cropped.png"
    with Image.open(first) as photo:
        photo.crop((10, 6, photo.width, photo.height)).save(second)
    found, again = tmp_path / "found.npz", tmp_path / "again.npz"
    command = ["pose", str(first), str(second), "--same-pose", "--model", "full", "--out"]
    assert main([*command, str(found), "--distortion", "-0.1", "0.02", "0", "0"]) == 0
    capsys.readouterr()
    assert main([*command, str(again), "--cameras", str(found)]) == 0
    told = [float(line.split("reprojection ")[1].split(" px")[0]) for line in capsys.readouterr().out.splitlines()[:2]]
    with np.load(found) as before, np.load(again) as after:
        for key in ("focal", "center", "R_camera_world", "t_camera_world", "distortion"):
            assert (before[key] == after[key]).all(), key
        apart = float(np.linalg.norm(before["joints"] - after["joints"], axis=-1).max())
    assert apart < 0.02, apart  # the same evidence and cameras; only the start of the solve is another
    assert max(told) < 10.0, told  # a hundredth of the picture's height


def _cameras(**changed: np.ndarray) -> dict[str, np.ndarray]:
    """Return the arrays of two cameras that can be read, but for what is changed."""
    return {
        "focal": np.full((2, 2), 900.0),
        "center": np.full((2, 2), 400.0),
        "R_camera_world": np.stack([np.diag((1.0, -1.0, -1.0))] * 2),
        "t_camera_world": np.array([[0.0, 1.0, 4.0]] * 2),
    } | changed


def _write(path: Path, arrays: dict[str, np.ndarray]) -> None:
    np.savez(path, **arrays)  # pickled too, as one of the files that are refused


def test_cameras_are_read_with_their_lenses(tmp_path: Path) -> None:
    lens = np.array([[0.1, 0.2, 0.3, 0.4], [0.0, 0.0, 0.0, 0.0]])
    _write(tmp_path / "cameras.npz", _cameras(distortion=lens))
    first, second = read_cameras(tmp_path / "cameras.npz", 2)
    assert first.intrinsics(800, 600).distortion == (0.1, 0.2, 0.3, 0.4)
    assert second.intrinsics(800, 600).focal == (900.0, 900.0)
    assert second.extrinsics[1].tolist() == [0.0, 1.0, 4.0]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"focal": np.ones((3, 2))}, "focal is float64 (3, 2), expected numbers (2, 2); give one camera for each"),
        ({"focal": np.ones(2)}, "focal is float64 (2,), expected numbers (2, 2)"),
        ({"center": np.full((2, 2), "x")}, "center is <U1 (2, 2), expected numbers (2, 2)"),
        ({"distortion": np.zeros((2, 5))}, "distortion is float64 (2, 5), expected numbers (2, 4)"),
        ({"distortion": np.full((2, 4), 99.0)}, "lens distortion must be k1, k2, p1, p2"),
        ({"t_camera_world": np.full((2, 3), np.nan)}, "t_camera_world has nan or inf"),
        ({"focal": np.array([[900.0, 900.0], [900.0, 0.0]])}, "the focal length of camera 2 must be positive"),
        ({"R_camera_world": np.stack([np.eye(3), 1.001 * np.eye(3)])}, "R_camera_world of camera 2 is no rotation"),
        ({"R_camera_world": np.stack([np.diag((1.0, 1.0, -1.0))] * 2)}, "determinant is -1"),
        ({"R_camera_world": np.full((2, 3, 3), 1e300)}, "R_camera_world of camera 1 is no rotation"),
        ({"focal": np.full((2, 2), None)}, "holds pickled Python objects"),
        ({"focal": np.ones((1 << 17, 2))}, "at most 1048576 are accepted"),
    ],
)
def test_what_are_no_cameras_is_refused(changed: dict[str, np.ndarray], message: str, tmp_path: Path) -> None:
    _write(tmp_path / "cameras.npz", _cameras(**changed))
    with pytest.raises(InputError, match=re.escape(message)):
        read_cameras(tmp_path / "cameras.npz", 2)


def test_cameras_without_a_place_are_refused(tmp_path: Path) -> None:
    arrays = _cameras()
    del arrays["t_camera_world"]
    _write(tmp_path / "cameras.npz", arrays)
    with pytest.raises(InputError, match="has no array t_camera_world; got .*; expected focal, center"):
        read_cameras(tmp_path / "cameras.npz", 2)


def test_a_file_of_another_kind_is_no_camera_file(tmp_path: Path) -> None:
    (tmp_path / "cameras.npz").write_bytes(b"\x80\x04N.")
    with pytest.raises(InputError, match="not a readable .npz file.*; expected focal, center"):
        read_cameras(tmp_path / "cameras.npz", 2)
