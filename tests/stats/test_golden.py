"""Every golden value: published tables and independent implementations."""

import csv
import io
import json
from pathlib import Path

import pytest

import steelyard.stats as stats

TEXT = (Path(__file__).parent / "golden.csv").read_text("utf-8")
ROWS = list(csv.DictReader(io.StringIO(TEXT)))


def close(found, expected, tolerance):
    if expected is None or isinstance(expected, str | bool):
        return found == expected
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(close, found, expected, [tolerance] * len(expected)))
    return abs(found - expected) <= tolerance


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["id"])
def test_golden_value(row):
    result = getattr(stats, row["function"])(**json.loads(row["inputs-json"]))
    for name, expected in json.loads(row["expected-json"]).items():
        assert close(getattr(result, name), expected, float(row["tolerance"])), (name, getattr(result, name), expected)


def test_every_function_of_the_golden_file_is_there():
    assert len(ROWS) == 64
    assert {row["function"] for row in ROWS} <= set(stats.__all__)
