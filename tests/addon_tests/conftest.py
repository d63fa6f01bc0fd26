# SPDX-License-Identifier: Apache-2.0
"""Settings and fixtures of the add-on's tests outside Blender."""

import json
from types import SimpleNamespace

import pytest
from hypothesis import settings
from solver_wrapper import make_solver_python

from blender_addon.client.process import SolverConfig

# the machines that run the tests are shared: time says nothing about an example
settings.register_profile("no_deadline", deadline=None)
settings.load_profile("no_deadline")


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """The fake solver: `config` starts it, `behave` sets how it behaves, `requests` gives what it was asked."""
    log = tmp_path / "requests.jsonl"
    monkeypatch.setenv("IKOL_FAKE_LOG", str(log))

    def behave(mode="", persons=1, seconds=0.2):
        monkeypatch.setenv("IKOL_FAKE_MODE", mode)
        monkeypatch.setenv("IKOL_FAKE_PERSONS", str(persons))
        monkeypatch.setenv("IKOL_FAKE_SECONDS", str(seconds))

    def requests(kind):
        lines = log.read_text(encoding="utf-8").splitlines()
        return [entry for entry in map(json.loads, lines) if entry["kind"] == kind]

    behave()
    config = SolverConfig(str(make_solver_python(tmp_path)), "cpu", tmp_path / "log" / "solver.log")
    return SimpleNamespace(config=config, behave=behave, requests=requests)
