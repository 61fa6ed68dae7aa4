"""No page of a store is cut off because the machine does something else meanwhile."""

import pytest

from unhurried import read_unhurried


@pytest.fixture(autouse=True)
def _unhurried(monkeypatch):
    read_unhurried(monkeypatch)
