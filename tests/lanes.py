"""Which files the longer lane need not import: a third of what each of its processes takes to collect its tests.

A file is judged by its text. Where long tests are marked by words that are not known here, the fast lane fails.
"""

import re
from functools import cache

import pytest

MARKED_LONG = re.compile(r"""\bmark\.long\b|["']long["']""")
UNSEEN = pytest.StashKey[list[str]]()


def is_needless(file, lane):
    """Whether a file of tests has none of the lane, which is told by the expression that chooses its marks."""
    return lane == "long" and file.name.startswith("test_") and file.suffix == ".py" and not may_be_long(file)


def unseen(items):
    """Long tests that the longer lane would not come upon."""
    return [item.nodeid for item in items if item.get_closest_marker("long") and not may_be_long(item.path)]


@cache
def may_be_long(file):
    """Whether any of its tests may be of the longer lane."""
    return MARKED_LONG.search(file.read_text("utf-8")) is not None
