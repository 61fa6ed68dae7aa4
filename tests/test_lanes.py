"""The longer lane leaves no file unread in which one of its tests stands."""

from types import SimpleNamespace

import pytest

import lanes

MARKED = "@pytest.mark.long\ndef test_it(): ...\n"
BY_WORD = '@pytest.mark.anywhere("long")\ndef test_it(): ...\n'
AS_A_VALUE = "SIZES = [pytest.param(9, marks=pytest.mark.long)]\n"
WITHOUT = "pytestmark = pytest.mark.data\ndef test_a_long_text(): ...\n"


@pytest.fixture
def file(tmp_path):
    def write(text):
        (tmp_path / "test_it.py").write_text(text)
        return tmp_path / "test_it.py"

    return write


@pytest.mark.parametrize("text", [MARKED, BY_WORD, AS_A_VALUE])
def test_the_longer_lane_reads_each_file_with_a_long_test(file, text):
    assert not lanes.is_needless(file(text), "long")


def test_it_leaves_out_what_has_none_and_nobody_else_does(file):
    assert lanes.is_needless(file(WITHOUT), "long")
    assert not any(lanes.is_needless(file(WITHOUT), lane) for lane in ("not long", "long and model", ""))


def test_a_long_test_that_it_would_not_come_upon_is_known(file):
    marked = SimpleNamespace(path=file(WITHOUT), nodeid="test_it", get_closest_marker=lambda name: name == "long")
    plain = SimpleNamespace(path=marked.path, nodeid="test_other", get_closest_marker=lambda name: None)
    assert lanes.unseen([marked, plain]) == ["test_it"]


def test_it_comes_upon_each_long_test_that_was_collected_here(request):
    """Otherwise write the mark as ``pytest.mark.long``."""
    assert request.config.stash[lanes.UNSEEN] == []
