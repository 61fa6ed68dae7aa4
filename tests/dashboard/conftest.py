"""An empty store for a test of the dashboard to fill, of which no page is cut off because the machine is busy."""

import pytest

from steelyard.store import Store
from unhurried import read_unhurried


@pytest.fixture(autouse=True)
def _unhurried(monkeypatch):
    read_unhurried(monkeypatch)


@pytest.fixture
def place(tmp_path):
    """Where the store's file is."""
    return tmp_path / "s.db"


@pytest.fixture
def store(place):
    """The store, open."""
    with Store.open(place) as opened:
        yield opened
