"""Shared by all tests: every test has a store and a working folder of its own, and no key from outside."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

from command import modules_of

# The same examples every time, however long one takes: a busy machine must fail no test.
settings.register_profile("steelyard", deadline=None, derandomize=True)
settings.load_profile("steelyard")

DATA = os.environ.get("STEELYARD_DATA")


@pytest.fixture(autouse=True)
def _own_folder(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("work")
    monkeypatch.chdir(folder)
    for name in ("OPENAI_API_KEY", "STEELYARD_STORE"):
        monkeypatch.delenv(name, raising=False)
    with modules_of(folder):
        yield


@pytest.fixture
def data_folder():
    """The five benchmarks' data; a test that needs it says so when it is left out."""
    if not DATA:
        pytest.skip("STEELYARD_DATA is not set: the benchmarks' data is not here")
    return Path(DATA).resolve()


def pytest_collection_modifyitems(items):
    """What takes longest and cannot be divided begins first: the README's commands, one after another."""
    items.sort(key=lambda item: item.path.name != "test_readme.py")


def pytest_terminal_summary(terminalreporter):
    left_out = [
        report for report in terminalreporter.stats.get("skipped", ()) if "STEELYARD_DATA" in str(report.longrepr)
    ]
    if left_out:
        terminalreporter.write_line(
            f"{len(left_out)} tests need the benchmarks' data and were left out: set STEELYARD_DATA to run them"
        )
