"""Where a run's numbers come from, in full, as a document and as text."""

from __future__ import annotations

from typing import Any

import msgspec

from steelyard.report.answers import plain
from steelyard.store import Store
from steelyard.types import RunInfo

NOT_SET = "not set"
"""What a plan leaves open or says no to, as nothing is by default: the service's own default holds, or nothing does."""


def provenance_document(store: Store, run: RunInfo) -> dict[str, Any]:
    """Plan and digest; data, prompts and settings of each cell; code, machine and packages of each session."""
    return {
        "run": {"number": run.number, "id": run.id, "name": run.name, "status": run.status},
        "plan_digest": run.plan_digest,
        "plan": run.plan,
        "cells": [
            msgspec.to_builtins(cell) | {"reported": store.reported(cell.id or 0)} for cell in store.cells(run.id)
        ],
        "sessions": [
            {
                "started_at": session.started_at,
                "ended_at": session.ended_at,
                **session.provenance,
                "resources": session.resources,
            }
            for session in store.sessions(run.id)
        ],
    }


def print_provenance(document: dict[str, Any]) -> None:
    """Print the document."""
    print(plain(provenance_text(document)))


def provenance_text(document: dict[str, Any]) -> str:
    """The document as indented ``key: value`` lines."""
    return "\n".join(_lines(document, 0))


def _lines(value: Any, depth: int, unset: str = "unknown") -> list[str]:
    pad = "  " * depth
    if isinstance(value, dict):
        lines = []
        for key, inner in value.items():
            if isinstance(inner, dict | list | tuple) and inner:
                lines += [f"{pad}{key}:", *_lines(inner, depth + 1, unset if key != "plan" else NOT_SET)]
            else:
                lines.append(f"{pad}{key}: {_scalar(inner, unset)}")
        return lines
    if isinstance(value, list | tuple):
        lines = []
        for inner in value:
            first, *rest = _lines(inner, depth + 1, unset)
            lines += [f"{pad}- {first.strip()}", *rest]
        return lines
    return [f"{pad}{_scalar(value, unset)}"]


def _scalar(value: Any, unset: str) -> str:
    is_empty = value in ({}, [], ())
    if value is None or (unset == NOT_SET and (is_empty or value is False)):
        return unset
    return "none" if is_empty else str(value)
