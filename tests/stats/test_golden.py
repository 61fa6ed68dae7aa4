"""Every golden value: published tables and independent implementations."""

import csv
import io
import json
from pathlib import Path

import numpy as np
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


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["id"])
@pytest.mark.parametrize("kind", [tuple, np.array])
def test_a_sequence_of_any_kind_gives_the_golden_value(row, kind):
    given = json.loads(row["inputs-json"])
    inputs = {name: kind(value) if isinstance(value, list) else value for name, value in given.items()}
    result = getattr(stats, row["function"])(**inputs)
    for name, expected in json.loads(row["expected-json"]).items():
        assert close(getattr(result, name), expected, float(row["tolerance"])), (name, getattr(result, name), expected)


def test_percentiles_of_two_samples_are_the_same_of_lists_and_of_arrays():
    draw = np.random.default_rng(3)
    a, b, items = draw.random(80), draw.random(80), np.arange(80)
    of_arrays = stats.paired_quantiles(a=a, b=b, p=0.9, items_a=items, items_b=items)
    assert of_arrays == stats.paired_quantiles(
        a=a.tolist(), b=b.tolist(), p=0.9, items_a=items.tolist(), items_b=items.tolist()
    )
