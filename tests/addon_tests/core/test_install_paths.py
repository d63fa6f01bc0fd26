# SPDX-License-Identifier: Apache-2.0
from pathlib import PureWindowsPath

import pytest

from blender_addon.core.errors import Fix, InstallError
from blender_addon.core.install_paths import WINDOWS_LIMIT, check_path, choose_root, longest_path
from blender_addon.core.install_plan import decode_lock

from .test_install_plan import COMMITTED

OWN = PureWindowsPath(
    r"C:\Users\somebody\AppData\Roaming\Blender Foundation\Blender\4.2\extensions\.user\user_default\ikol\solver"
)
SHORT = PureWindowsPath(r"C:\Users\somebody\AppData\Local\ikol\4.2")
LONGEST = max(decode_lock(COMMITTED).longest.values())


def test_the_lock_knows_the_longest_path_where_paths_are_limited():
    lock = decode_lock(COMMITTED)
    assert set(lock.longest) == {name for name in lock.sets if "windows" in name}
    assert LONGEST > 150  # a licence deep in torch's third parties


def test_blenders_folder_is_too_deep_for_windows_and_the_short_one_is_not():
    assert longest_path(OWN, LONGEST) > WINDOWS_LIMIT
    assert longest_path(SHORT, LONGEST) <= WINDOWS_LIMIT


def test_letters_are_those_of_the_path_that_is_written():
    packages = PureWindowsPath("C:/x") / "a" / "Lib" / "site-packages"
    assert longest_path(PureWindowsPath("C:/x"), len("torch/a.py")) == len(str(packages / "torch" / "a.py"))


def test_a_path_that_is_too_long_is_told_in_numbers_before_anything_is_fetched():
    with pytest.raises(InstallError, match=r"would have \d+ letters and Windows takes 259; allow long paths") as error:
        check_path(OWN, LONGEST, WINDOWS_LIMIT)
    assert error.value.fix is Fix.OPEN_PREFERENCES
    check_path(SHORT, LONGEST, WINDOWS_LIMIT)


def test_the_first_folder_that_is_short_enough_is_taken(tmp_path):
    long, short = tmp_path / ("x" * 80), tmp_path / "y"
    limit = longest_path(short, LONGEST)
    assert choose_root((long, short), LONGEST, limit) == short
    assert choose_root((long, short), LONGEST, 10_000) == long
    assert choose_root((long, short), LONGEST, 10) == short  # the check tells that nothing fits


def test_an_installation_is_found_where_it_is_whatever_was_allowed_since(tmp_path):
    long, short = tmp_path / ("x" * 80), tmp_path / "y"
    short.mkdir()
    (short / "installed.json").write_text("{}")
    assert choose_root((long, short), LONGEST, 10_000) == short
