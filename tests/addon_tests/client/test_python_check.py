# SPDX-License-Identifier: Apache-2.0
import sys
import time

import pytest

from blender_addon.client.python_check import PythonCheck, PythonReport, find_problem, judge
from blender_addon.core.errors import Fix, SolverError


def result(python):
    check = PythonCheck(python)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        sentence = check.poll()
        if sentence is not None:
            return sentence
        time.sleep(0.01)
    raise AssertionError("no result")


def test_this_environment_has_everything():
    assert result(sys.executable).endswith("has everything that the solver needs")


def test_missing_modules_are_named_with_the_command_that_installs_them():
    report = PythonReport((3, 12, 1), ("torch", "ikol"))
    with pytest.raises(SolverError, match=r"Python 3\.12\.1 lacks torch, ikol; .*: /p -m pip install ikol") as error:
        judge("/p", report)
    assert error.value.fix is Fix.OPEN_PREFERENCES


def test_an_old_python_is_named():
    with pytest.raises(SolverError, match=r"this is Python 3\.9\.1, the solver needs 3\.11 or newer"):
        judge("/p", PythonReport((3, 9, 1), ()))


def test_a_program_that_is_no_python_is_named():
    with pytest.raises(SolverError, match="/bin/true is not a Python interpreter"):
        result("/bin/true")


@pytest.mark.parametrize(
    ("path", "sentence", "fix"),
    [
        ("", "the solver is not installed", Fix.INSTALL),
        ("/nowhere/python", "there is no Python at", Fix.OPEN_PREFERENCES),
        (__file__, "cannot be run", Fix.OPEN_PREFERENCES),
    ],
)
def test_a_path_is_judged_without_starting_anything(path, sentence, fix):
    problem = find_problem(path)
    assert sentence in str(problem)
    assert problem.fix is fix


def test_a_check_can_be_given_up():
    check = PythonCheck(sys.executable)
    check.kill()
