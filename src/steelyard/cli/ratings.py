"""People's ratings of a run's answers, from a file: which item, whose answer, what was said of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from steelyard.benchmarks.rows import open_rows
from steelyard.errors import DataError
from steelyard.report.comparing.predictions import Rating
from steelyard.scoring.judge import Judge

COLUMNS = ("sample_id", "rating")
MOST_SHOWN = 5


def read_ratings(path: Path) -> list[Rating]:
    """The rows of a CSV or JSON-lines file: ``sample_id``, ``rating`` and, of several models, ``model``.

    A record as ``export`` writes it, with a ``rating`` added, is such a row. One without a rating was not rated. All
    faulty rows are told at once.
    """
    found: list[Rating] = []
    faults: list[str] = []
    rows = open_rows(path)
    for entry in rows.scan():
        try:
            if entry.row is None:
                raise ValueError(entry.fault)
            found += _rating(entry.row)
        except ValueError as error:
            faults.append(f"{rows.unit} {entry.number}: {error}")
    if faults:
        shown = "\n  ".join(faults[:MOST_SHOWN])
        raise DataError(f"{path}: {len(faults)} faulty rows, of which the first are\n  {shown}")
    if not found:
        raise DataError(f"{path} holds no rating. It needs the columns sample_id and rating")
    return found


def label_value(settings: Mapping[str, Any], label: str) -> float:
    """What a person's label is worth to the judge that has these settings."""
    low, high = settings.get("scale", (1, 5))
    judge = Judge(
        model=settings.get("model"),
        mode=settings.get("mode", "reference"),
        rubric=settings.get("rubric"),
        scale=(int(low), int(high)),
    )
    return judge.human_value(label)


def _rating(row: Mapping[str, Any]) -> list[Rating]:
    sample = row.get("sample")
    if isinstance(sample, Mapping) and "id" in sample:
        row = {"sample_id": sample["id"], **row}
    for name in COLUMNS:
        if name not in row:
            raise ValueError(f"no column {name!r}, only {', '.join(map(str, row))}")
    label = row["rating"]
    if label is None or not str(label).strip():
        return []
    if isinstance(label, bool):
        label = int(label)
    model = row.get("model")
    return [Rating(sample_id=str(row["sample_id"]), label=str(label), model=str(model) if model else None)]
