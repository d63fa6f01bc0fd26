# SPDX-License-Identifier: Apache-2.0
"""Which set every machine gets, and that those without one get a sentence that says what to do."""

import pytest

from blender_addon.core.errors import Fix, InstallError
from blender_addon.core.install_plan import decode_lock
from blender_addon.core.install_sets import choose_set

from .test_install_plan import COMMITTED

LOCK = decode_lock(COMMITTED)


@pytest.mark.parametrize(
    ("python", "system", "variant", "has_nvidia", "name"),
    [
        ((3, 11), "linux-x64", "auto", False, "3.11-linux-x64-cpu"),
        ((3, 11), "linux-x64", "auto", True, "3.11-linux-x64-cuda"),
        ((3, 11), "linux-x64", "cuda", False, "3.11-linux-x64-cuda"),
        ((3, 11), "windows-x64", "auto", True, "3.11-windows-x64-cpu"),
        ((3, 13), "linux-x64", "auto", False, "3.13-linux-x64-cuda"),
        ((3, 13), "windows-x64", "auto", False, "3.13-windows-x64-cpu"),
        ((3, 13), "macos-arm64", "auto", False, "3.13-macos-arm64-cpu"),
        ((3, 14), "linux-x64", "auto", False, "3.14-linux-x64-cuda"),
    ],
)
def test_a_machine_gets_what_fits(python, system, variant, has_nvidia, name):
    assert choose_set(LOCK, python, system, variant, has_nvidia) == name


@pytest.mark.parametrize(
    ("python", "system", "variant", "sentence", "fix"),
    [
        ((3, 11), "macos-x64", "auto", "not made for Macs with Intel processors any more", Fix.OPEN_PREFERENCES),
        ((3, 13), "linux-x64", "cpu", "PyTorch for CUDA only; it is larger and runs without", Fix.INSTALL_CUDA),
        ((3, 11), "windows-x64", "cuda", "PyTorch for the processor only", Fix.OPEN_PREFERENCES),
        ((3, 15), "linux-x64", "auto", "Python 3.15; for linux-x64 the solver can be installed with 3.11, 3.12, 3.13",
         Fix.OPEN_PREFERENCES),
        ((3, 11), "linux-arm64", "auto", "can be installed with no version of it", Fix.OPEN_PREFERENCES),
    ],
)  # fmt: skip
def test_a_machine_that_gets_none_gets_a_sentence(python, system, variant, sentence, fix):
    with pytest.raises(InstallError) as error:
        choose_set(LOCK, python, system, variant, False)
    assert sentence in str(error.value)
    assert error.value.fix is fix
