"""The back ends that hold on this machine; what was left out is said at the end."""

import os

import pytest

from steelyard.sandbox import Sandbox, backends
from steelyard.sandbox.probe import self_test

REAL = ("linux-strong", "linux-landlock", "container")
FINDINGS = {recipe.name: self_test(recipe) for recipe in backends.recipes()}
HOLDING = [name for name, finding in FINDINGS.items() if finding.backend is not None]


@pytest.fixture(scope="session", params=HOLDING)
def box(request):
    """A sandbox of each back end that holds here, in a process that has a key."""
    os.environ["STEELYARD_CANARY_KEY"] = "hush"
    sandbox = Sandbox(FINDINGS[request.param].recipe, workers=1)
    yield sandbox
    sandbox.close()
    del os.environ["STEELYARD_CANARY_KEY"]


@pytest.fixture(scope="session")
def bare():
    """No sandbox at all: to show that an attack is one."""
    sandbox = Sandbox(backends.unsafe(), workers=1)
    yield sandbox
    sandbox.close()


def pytest_terminal_summary(terminalreporter):
    for name in set(REAL) - set(HOLDING):
        problem = FINDINGS[name].problem if name in FINDINGS else "its parts are not on this machine"
        terminalreporter.write_line(f"sandbox {name} was left out: {problem}")
