"""Cells as rows: one model on one benchmark within a run, with what was made of its answers and decided of its end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, select, update

from steelyard.errors import UsageError
from steelyard.store.database import schema
from steelyard.store.database.dialect import insert_unless_there, put, spoken
from steelyard.store.reading.cell_calls import reported_words
from steelyard.types import CellInfo, Estimate, Look
from steelyard.types.ready import ready

SAME_ON_RESUME = (
    "protocol_version",
    "benchmark_version",
    "dataset_digest",
    "prompt_digest",
    "origin",
    "order",
    "shots",
)


def add_cell(connection: Connection, run: int, info: CellInfo) -> int:
    """The row of a cell; one that is there already keeps its row and takes the new counts."""
    table = schema.cells
    same = (table.c.run == run, table.c.model == info.model, table.c.label == info.label)
    row = connection.execute(select(table.c.id, table.c.set, table.c.info).where(*same)).first()
    item_set = _set_of(connection, info)
    encoded = msgspec.json.encode(info)
    if row is None:
        values = {"run": run, "set": item_set, "model": info.model, "label": info.label, "info": encoded}
        inserted = connection.execute(table.insert().values(**values)).inserted_primary_key
        assert inserted is not None
        return int(inserted[0])
    _check_same(msgspec.json.decode(row.info, type=ready(CellInfo)), info)
    connection.execute(update(table).where(table.c.id == row.id).values(info=encoded))
    return int(row.id)


def cells_of(connection: Connection, run: int) -> list[CellInfo]:
    """The cells of the run, in the order in which they were planned."""
    table = schema.cells
    rows = connection.execute(select(table.c.id, table.c.info).where(table.c.run == run).order_by(table.c.id)).all()
    return [cell_info(row.info, row.id) for row in rows]


def cell_info(encoded: bytes, cell: int) -> CellInfo:
    """The cell as its row holds it, with its number."""
    return msgspec.structs.replace(msgspec.json.decode(encoded, type=ready(CellInfo)), id=cell)


def set_summary(connection: Connection, cell: int, estimates: Sequence[Estimate] | None) -> None:
    """Keep the cell's estimates; ``None``: those kept count no more."""
    encoded = None if estimates is None else msgspec.json.encode(list(estimates))
    connection.execute(update(schema.cells).where(schema.cells.c.id == cell).values(summary=encoded))


def summary_of(connection: Connection, cell: int) -> tuple[Estimate, ...] | None:
    """The cell's estimates, or ``None`` before there are any."""
    encoded = connection.execute(select(schema.cells.c.summary).where(schema.cells.c.id == cell)).scalar()
    return None if encoded is None else msgspec.json.decode(encoded, type=ready(tuple[Estimate, ...]))


def set_grading(connection: Connection, info: CellInfo, estimates: Sequence[Estimate]) -> None:
    """Keep what another grader makes of a cell's answers; ``info`` is the cell's with that grader as protocol."""
    key = {"cell": info.id, "grader": info.protocol, "grader_version": info.protocol_version}
    made = {"info": msgspec.json.encode(info), "summary": msgspec.json.encode(list(estimates))}
    put(connection, schema.gradings, key, made)


def gradings_of(connection: Connection, run: int) -> list[tuple[CellInfo, tuple[Estimate, ...]]]:
    """What other graders made of the run's answers."""
    table, cells = schema.gradings, schema.cells
    chosen = select(table.c.cell, table.c.info, table.c.summary).join(cells, cells.c.id == table.c.cell)
    rows = connection.execute(chosen.where(cells.c.run == run).order_by(table.c.cell, table.c.grader)).all()
    return [
        (cell_info(row.info, row.cell), msgspec.json.decode(row.summary, type=ready(tuple[Estimate, ...])))
        for row in rows
    ]


def add_look(connection: Connection, cell: int, look: Look) -> None:
    """Keep what a look at the cell decided: it is not taken again, and is there once also where it is kept twice."""
    table, content = schema.looks, msgspec.json.encode(look)
    is_there = select(table.c.id).where(table.c.cell == cell, table.c.content == content)
    if connection.execute(is_there).first() is None:
        connection.execute(table.insert().values(cell=cell, content=content))


def looks_of(connection: Connection, run: int) -> dict[int, list[Look]]:
    """Every look of the run in the order taken, by the cell that it is about."""
    table, cells = schema.looks, schema.cells
    chosen = select(table.c.cell, table.c.content).join(cells, cells.c.id == table.c.cell)
    found: dict[int, list[Look]] = {}
    for row in connection.execute(chosen.where(cells.c.run == run).order_by(table.c.id)).all():
        found.setdefault(row.cell, []).append(msgspec.json.decode(row.content, type=ready(Look)))
    return found


def reported_by(connection: Connection, cell: int) -> list[dict[str, Any]]:
    """What the service said that it is: each (model, fingerprint) with its number of answers. Reads them all."""
    rows = reported_words(connection, cell)
    return [{"model": model, "fingerprint": fingerprint, "answers": n} for model, fingerprint, n in rows]


def reported_first_by(connection: Connection, cell: int) -> tuple[str | None, str | None]:
    """The (model, fingerprint) of one answer of the cell that names a model."""
    table = schema.calls
    named = (table.c.cell == cell, table.c.failure.is_(None), table.c.model_reported.is_not(None))
    row = connection.execute(select(table.c.model_reported, table.c.fingerprint).where(*named).limit(1)).first()
    return (None, None) if row is None else (row.model_reported, row.fingerprint)


def _set_of(connection: Connection, info: CellInfo) -> int:
    """The number of the set of items that a cell asks, new or known."""
    table = schema.sets
    key = {
        "benchmark": info.benchmark,
        "version": info.benchmark_version,
        "part": info.part or "",
        "digest": info.dataset_digest,
    }
    connection.execute(insert_unless_there(table, spoken(connection)).values(**key))
    chosen = select(table.c.id).where(*(table.c[name] == value for name, value in key.items()))
    return int(connection.execute(chosen).scalar_one())


def _check_same(before: CellInfo, now: CellInfo) -> None:
    """Answers to other words, or of another model, are not mixed into one cell."""
    for name in SAME_ON_RESUME:
        old, new = getattr(before, name), getattr(now, name)
        if old != new:
            raise UsageError(
                f"{now.model} on {now.label}: {name.replace('_', ' ')} was {old} and is {new} now; a run does not mix "
                "them. Try: a new run"
            )
