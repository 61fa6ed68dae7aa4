"""The page of faults cannot rot: its rows are all there, and every test that it names exists."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROWS = re.findall(r"^\| (?:(\d+) )?\| (.+) \| (.+) \| (.+) \|$", (ROOT / "docs" / "faults.md").read_text("utf-8"), re.M)
TESTS = {
    name
    for path in (ROOT / "tests").rglob("test_*.py")
    for name in re.findall(r"^def (test_\w+)\(", path.read_text("utf-8"), re.M)
}
NOT_THERE_YET = {"26"}


def test_every_fault_of_the_matrix_has_its_row():
    assert [int(number) for number, *_ in ROWS if number] == list(range(1, 45))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_a_row_names_tests_that_exist_or_says_that_it_is_not_there_yet(row):
    number, _, does, proof = row
    named = re.findall(r"`(\w+)`", proof)
    assert set(named) <= TESTS
    assert bool(named) == (number not in NOT_THERE_YET)
    assert ("yet" in does) >= (number in NOT_THERE_YET)
