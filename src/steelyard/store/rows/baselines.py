"""Baselines: runs that were blessed under a name, each time as a new version, kept apart from the runs themselves.

Nothing is ever changed: another run under the same name is the next version, and the one before can still be named
(``main@2``). A baseline outlives its run, and leaves as one file that can be committed and gated against.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct
from sqlalchemy import Connection, func, select

from steelyard.errors import UnknownName, UsageError
from steelyard.store.database import schema
from steelyard.store.transfer.snapshots import KeptCell, Snapshot
from steelyard.store.writing.codec import pack, unpack
from steelyard.types.ready import ready

Open = Callable[[], AbstractContextManager[Connection]]

FORMAT = 1
SUFFIX = ".jsonl"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class Baseline(Struct, frozen=True, kw_only=True):
    """One version of a baseline. ``set_at`` is when it was blessed, ``note`` why."""

    name: str
    version: int
    set_at: str
    note: str | None = None
    content: Snapshot

    @property
    def label(self) -> str:
        """The words that name exactly this one."""
        return f"{self.name}@{self.version}"


class Listed(Struct, frozen=True, kw_only=True):
    """A baseline without its figures."""

    name: str
    version: int
    set_at: str
    note: str | None
    run: str
    number: int
    run_name: str


class Header(Struct, frozen=True, kw_only=True, tag_field="kind", tag="steelyard baseline"):
    """The first line of a baseline's file; ``digest`` is the sha256 of the rest of it and of the lines after it."""

    format: int
    name: str
    version: int
    set_at: str
    note: str | None = None
    run: str
    number: int
    run_name: str
    created_at: str
    status: str
    machine: dict[str, Any] = {}
    steelyard: str | None = None
    cells: int
    digest: str = ""


class Baselines:
    """The baselines of a store."""

    def __init__(self, open_to_read: Open, open_to_write: Open) -> None:
        self._reading, self._writing = open_to_read, open_to_write

    def set(self, name: str, content: Snapshot, *, note: str | None = None) -> Baseline:
        """Bless the run under the name, as its next version."""
        if not NAME.fullmatch(name):
            raise UsageError(f"{name!r} is no name for a baseline: letters, digits, '.', '_' and '-'. Try: main")
        set_at = schema.now()
        table = schema.baselines
        with self._writing() as connection:
            last = connection.execute(select(func.max(table.c.version)).where(table.c.name == name)).scalar()
            baseline = Baseline(name=name, version=(last or 0) + 1, set_at=set_at, note=note, content=content)
            connection.execute(table.insert().values(**_row(baseline)))
        return baseline

    def find(self, reference: str) -> Baseline | None:
        """The newest version of ``NAME``, or the one that ``NAME@VERSION`` means; ``None`` where there is none."""
        name, at, version = reference.partition("@")
        if at and not (version.isdecimal() and len(version) < 10):
            raise UsageError(f"{reference!r} is no baseline. Try: {name}@1, or {name} for its newest version")
        table = schema.baselines
        chosen = select(table).where(table.c.name == name).order_by(table.c.version.desc()).limit(1)
        if at:
            chosen = chosen.where(table.c.version == int(version))
        with self._reading() as connection:
            row = connection.execute(chosen).first()
        if row is None:
            return None
        return Baseline(
            name=row.name,
            version=row.version,
            set_at=row.set_at,
            note=row.note,
            content=unpack(row.content, Snapshot),
        )

    def get(self, reference: str) -> Baseline:
        """The baseline, or an error that lists the known ones."""
        found = self.find(reference)
        if found is None:
            raise UnknownName(
                "baseline", reference, [f"{one.name}@{one.version}" for one in self.all()] or ["none yet"]
            )
        return found

    def all(self) -> list[Listed]:
        """Every version of every baseline, the newest first within a name."""
        table = schema.baselines
        columns = [table.c[name] for name in Listed.__struct_fields__]
        chosen = select(*columns).order_by(table.c.name, table.c.version.desc())
        with self._reading() as connection:
            return [Listed(**row._asdict()) for row in connection.execute(chosen)]


def write_baseline(baseline: Baseline) -> str:
    """The baseline as the text of a file: a header, then one line a cell; ids and numbers only."""
    lines = [msgspec.json.encode(cell).decode() for cell in baseline.content.cells]
    content = baseline.content
    header = Header(
        format=FORMAT,
        name=baseline.name,
        version=baseline.version,
        set_at=baseline.set_at,
        note=baseline.note,
        run=content.run,
        number=content.number,
        run_name=content.name,
        created_at=content.created_at,
        status=content.status,
        machine=content.machine,
        steelyard=content.steelyard,
        cells=len(lines),
    )
    signed = msgspec.structs.replace(header, digest=_digest(header, lines))
    return "\n".join([msgspec.json.encode(signed).decode(), *lines]) + "\n"


def read_baseline(path: Path) -> Baseline:
    """The baseline in a file; one that was cut or edited is refused."""
    try:
        first, *lines = path.read_text("utf-8").splitlines()
        header = msgspec.json.decode(first, type=ready(Header))
    except (OSError, UnicodeDecodeError, ValueError, msgspec.DecodeError) as error:
        raise UsageError(f"{path} is no baseline's file: {error}. Try: steelyard baseline export NAME") from error
    if header.format > FORMAT:
        raise UsageError(
            f"{path} was written by a newer Steelyard (format {header.format}; this one knows {FORMAT}). "
            "Try: pip install --upgrade steelyard"
        )
    if len(lines) != header.cells or _digest(header, lines) != header.digest:
        raise UsageError(f"{path} was cut or edited: its content is not what its header says. Try: export it again")
    try:
        cells = tuple(msgspec.json.decode(line, type=ready(KeptCell)) for line in lines)
    except msgspec.DecodeError as error:
        raise UsageError(f"{path} is no baseline's file: {error}") from error
    content = Snapshot(
        run=header.run,
        number=header.number,
        name=header.run_name,
        created_at=header.created_at,
        status=header.status,
        machine=header.machine,
        steelyard=header.steelyard,
        cells=cells,
    )
    return Baseline(name=header.name, version=header.version, set_at=header.set_at, note=header.note, content=content)


def _row(baseline: Baseline) -> dict[str, Any]:
    return {
        "name": baseline.name,
        "version": baseline.version,
        "set_at": baseline.set_at,
        "note": baseline.note,
        "run": baseline.content.run,
        "number": baseline.content.number,
        "run_name": baseline.content.name,
        "content": pack(baseline.content),
    }


def _digest(header: Header, lines: list[str]) -> str:
    unsigned = msgspec.json.encode(msgspec.structs.replace(header, digest="")).decode()
    return hashlib.sha256("\n".join([unsigned, *lines]).encode()).hexdigest()
