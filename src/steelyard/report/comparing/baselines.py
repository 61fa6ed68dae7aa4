"""Baselines on a terminal and as JSON."""

from __future__ import annotations

from typing import Any

import msgspec

from steelyard.analysis.gate import MUCH_LOST
from steelyard.analysis.wording import written
from steelyard.report.console import console, new_table
from steelyard.store.rows.baselines import Baseline, Listed
from steelyard.store.transfer.snapshots import KeptCell

SHOWN = ("accuracy", "latency.p50", "latency.p95", "cost.per_request")


def print_baselines(found: list[Listed]) -> None:
    """Every version of every baseline."""
    table = new_table("baseline", "run", "set", "note")
    for one in found:
        table.add_row(f"{one.name}@{one.version}", f"#{one.number} {one.run_name}", one.set_at[:16].replace("T", " "),
                      one.note or "")  # fmt: skip
    console().print(table)


def print_baseline(baseline: Baseline) -> None:
    """One baseline: which run it is, and what its cells hold."""
    content, out = baseline.content, console()
    out.print(f"{baseline.label}: {content.called}, set {baseline.set_at[:16].replace('T', ' ')}")
    if baseline.note:
        out.print(baseline.note)
    table = new_table("model", "benchmark", "items", *SHOWN)
    for cell in content.cells:
        items = len(set(cell.requests.item))
        each = (written(cell.estimate(metric)) for metric in SHOWN)
        table.add_row(cell.info.model, cell.info.label, f"{items:,}", *each)
    out.print(table)
    for cell in content.cells:
        for weakness in weaknesses(cell):
            out.say(f"! {cell.info.model} on {cell.info.label}: {weakness}")


def weaknesses(cell: KeptCell) -> list[str]:
    """Why a gate against this baseline would judge nothing."""
    requests, scores = cell.requests, next(iter(cell.requests.scores.values()), [])
    total, lost, reused = len(requests.item), sum(score is None for score in scores), sum(requests.cached)
    found = []
    if lost > MUCH_LOST * total:
        found.append(f"{lost} of {total} requests failed or could not be graded: gates will be inconclusive")
    if reused > MUCH_LOST * total:
        found.append(f"{reused} of {total} answers were those of an earlier run: gates will want --allow cached")
    if len(cell.reported) > 1:
        found.append(f"the model changed in mid-run: {', '.join(cell.reported)}")
    return found


def baseline_document(baseline: Baseline) -> dict[str, Any]:
    """The baseline without its requests, as JSON-ready values."""
    content = baseline.content
    return {
        "name": baseline.name,
        "version": baseline.version,
        "set_at": baseline.set_at,
        "note": baseline.note,
        "run": {"id": content.run, "number": content.number, "name": content.name, "created_at": content.created_at},
        "machine": content.machine,
        "cells": [
            {
                "model": cell.info.model,
                "label": cell.info.label,
                "requests": len(cell.requests.item),
                "weaknesses": weaknesses(cell),
                "estimates": {estimate.metric: msgspec.to_builtins(estimate) for estimate in cell.estimates},
            }
            for cell in content.cells
        ],
    }
