"""An empty store for a test of the dashboard to fill."""

import pytest

from steelyard.store import Store


@pytest.fixture
def place(tmp_path):
    """Where the store's file is."""
    return tmp_path / "s.db"


@pytest.fixture
def store(place):
    """The store, open."""
    with Store.open(place) as opened:
        yield opened
