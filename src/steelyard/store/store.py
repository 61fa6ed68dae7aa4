"""The store: one SQLite file that holds every run, every answer and every judgement.

What ``append_calls`` and ``append_scores`` return from is durable, also against a power cut (WAL with synchronous
FULL). Any thread may use a store; writes take turns.
"""

from __future__ import annotations

import os
import secrets
import socket
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from itertools import chain, islice
from operator import itemgetter
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct
from sqlalchemy import URL, Connection, Dialect, Engine, Insert, create_engine, delete, event, func, select, update
from sqlalchemy.dialects.sqlite import insert as insert_or_ignore
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from steelyard.errors import StoreError, StoreFull, UnknownName, UsageError
from steelyard.secrets import known_forms
from steelyard.store import schema, verdicts
from steelyard.store.account import Budget
from steelyard.store.answers import Answers, answer_columns, hand_over, read_call, with_original
from steelyard.store.backup import keep_copy, rescue
from steelyard.store.baselines import Baselines
from steelyard.store.codec import mended, unpack
from steelyard.store.columns import read_columns, read_names
from steelyard.store.dictionaries import Dictionaries, Packing
from steelyard.store.figures import figures_of
from steelyard.store.history import History
from steelyard.store.items import Items, Key, print_of, prints_here
from steelyard.store.judgements import Measure, Measures, NewScore, delete_scores, measures_of, number_rows, score_rows
from steelyard.store.keys import keyless_call
from steelyard.store.pages import Pages
from steelyard.store.payload import to_keep
from steelyard.store.progress import Progress, progress
from steelyard.store.records import Weighed, read_records, read_weighed
from steelyard.store.redaction import redact
from steelyard.store.verdicts import VerdictStore
from steelyard.types import (
    Call,
    CellInfo,
    Columns,
    Estimate,
    Look,
    Record,
    RunInfo,
    RunStatus,
    Sample,
    SessionInfo,
)

DEFAULT = ".steelyard/steelyard.db"
BUSY_TIMEOUT_S = 30
RETRY_OPEN_S = 0.05
SHORTEST_PREFIX = 4
MOST_READ_AT_ONCE = 1_000
ROWS_OF_A_STATEMENT = (128, 32, 8, 1)
LARGEST_NUMBER = 2**63 - 1
CLOCK_SLACK_S = 60.0  # a clock that was set meanwhile must not make a living run look dead

# SQLite's settings. The first is a property of the file, so it is made only after the file has proved to be ours; the
# page size counts only while a file is empty (8 kB: fewer bytes a record than 4 kB, and more records a second).
KEPT_IN_THE_FILE = "PRAGMA journal_mode=WAL"
OF_EACH_CONNECTION = ("PRAGMA page_size=8192", "PRAGMA synchronous=FULL", "PRAGMA foreign_keys=ON")

# A quota is told as a failed write, and a log that cannot grow as a failure to size it.
NO_ROOM = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE)

DAMAGE = ("database disk image is malformed", "file is not a database")  # what SQLite calls it

INSERT_SAMPLES = insert_or_ignore(schema.samples).on_conflict_do_nothing()
INSERT_CALLS = schema.calls.insert()
INSERT_SCORES = schema.scores.insert()


class NewCall(Struct, frozen=True, kw_only=True):
    """A call to be written. ``position`` is the item's place in the benchmark's own order.

    ``reused_from`` is the call whose answer this is, where nothing was sent; ``saved_usd`` is what that one had cost.
    """

    cell: int
    session: int
    position: int
    sample: Sample
    call: Call
    started_at_s: float
    ended_at_s: float
    reused_from: int | None = None
    saved_usd: float | None = None


class Store:
    """An open store; use it as a context manager.

    ``answers`` and ``verdicts`` find what may be used again, ``budget`` is what stands over all its runs, ``baselines``
    are the runs that others are held against; ``pages`` reads runs and answers a page at a time, ``history`` what
    became of an item.
    """

    def __init__(self, engine: Engine, location: str) -> None:
        self._engine = engine
        self.location = location
        self._file: int | None = None
        self._dictionaries = Dictionaries(self._reading, self._writing)
        self._items = Items()
        self._measures = Measures()
        self.answers = Answers(self._reading, self._writing, _number)
        self.verdicts = VerdictStore(self._reading)
        self.baselines = Baselines(self._reading, self._writing)
        self.pages = Pages(self._reading, _number, _run_info)
        self.history = History(self._reading, _run_info)
        self.budget = Budget(self._reading, self._writing, _number, lambda pid, at: _is_alive(pid, at))

    @staticmethod
    def place(url_or_path: str | Path | None = None) -> Path:
        """The file that is meant: the one given, else ``STEELYARD_STORE``, else the one in the working folder."""
        return _location(url_or_path)

    @staticmethod
    def exists(url_or_path: str | Path | None = None) -> bool:
        """Whether there is a store to open."""
        return _is_there(_location(url_or_path))

    @classmethod
    def open(cls, url_or_path: str | Path | None = None, *, create: bool = True) -> Store:
        """Open the store there, else at ``STEELYARD_STORE``, else in the working folder; create or migrate it."""
        location = _location(url_or_path)
        if not _is_there(location) and not create:
            raise StoreError(
                f"no runs yet: {location} does not exist. Try: steelyard run starter -m local/smollm2-135m"
            )
        url = URL.create("sqlite", database=str(location.absolute()))
        engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S})
        event.listen(engine, "connect", _configure)
        store = cls(engine, str(location))
        try:
            _create_privately(location)
            store._bring_up_to_date()
            store._file = _file_at(store.path)
            store._dictionaries.open()
        except BaseException as error:
            store.close()
            if isinstance(error, SQLAlchemyError | OSError | UnicodeDecodeError):
                raise StoreError(f"cannot open the store {location}: {_reason(error)}") from error
            raise
        return store

    def _bring_up_to_date(self) -> None:
        """Create or migrate the tables. SQLite does not wait while another process makes the file; we do."""
        deadline_s = time.monotonic() + BUSY_TIMEOUT_S
        while True:
            try:
                with self._engine.connect() as connection:
                    if schema.version_of(connection) < schema.VERSION:
                        connection.rollback()
                        connection.exec_driver_sql("BEGIN IMMEDIATE")
                        if 0 < (found := schema.version_of(connection)) < schema.VERSION:
                            keep_copy(Path(self.location), found)
                        schema.bring_up_to_date(connection)
                        connection.commit()
                    connection.exec_driver_sql(KEPT_IN_THE_FILE)
                    return
            except OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > deadline_s:
                    raise
            time.sleep(RETRY_OPEN_S)

    def close(self) -> None:
        """Close every connection."""
        self._dictionaries.close()
        self._engine.dispose()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Runs

    def create_run(
        self, *, name: str | None, plan: dict[str, Any], plan_digest: str, tags: Sequence[str] = ()
    ) -> RunInfo:
        """A new run with the next number; without a name it is called after its number."""
        with self._writing() as connection:
            row = connection.execute(
                schema.runs.insert().values(
                    uid=secrets.token_hex(8),
                    name=name or "",
                    status="running",
                    created_at=_now(),
                    plan=msgspec.json.encode(plan),
                    plan_digest=plan_digest,
                )
            )
            assert row.inserted_primary_key is not None
            number = int(row.inserted_primary_key[0])
            if not name:
                self._update_run(connection, number, name=f"run-{number}")
            for tag in dict.fromkeys(tags):
                connection.execute(schema.run_tags.insert().values(run=number, tag=tag))
        return self.run(str(number))

    def run(self, reference: str) -> RunInfo:
        """The run that ``last``, a number, a name, a tag or the start of an id means, in this order; the newest one."""
        with self._reading() as connection:
            row = _find_run(connection, reference.removeprefix("#"))
            if row is None:
                known = [str(name) for (name,) in connection.execute(select(schema.runs.c.name)).all()]
                raise UnknownName("run", reference, ["last", *known])
            return _run_info(connection, row)

    def runs(self, limit: int | None = None) -> list[RunInfo]:
        """The runs, newest first."""
        with self._reading() as connection:
            rows = connection.execute(select(schema.runs).order_by(schema.runs.c.id.desc()).limit(limit)).all()
            return [_run_info(connection, row) for row in rows]

    def set_status(self, run_id: str, status: RunStatus) -> None:
        """Record how the run stands; anything but ``running`` also notes when."""
        finished_at = None if status == "running" else _now()
        self._change_run(run_id, status=status, finished_at=finished_at)

    def set_plan(self, run_id: str, plan: dict[str, Any], plan_digest: str) -> None:
        """Record the plan of a run that was extended."""
        self._change_run(run_id, plan=msgspec.json.encode(plan), plan_digest=plan_digest)

    def rename(self, run_id: str, name: str) -> None:
        """Give the run another name."""
        self._change_run(run_id, name=name)

    def tag(self, run_id: str, tag: str) -> None:
        """Add a tag; having it already is no fault."""
        with self._writing() as connection:
            row = insert_or_ignore(schema.run_tags).values(run=_number(connection, run_id), tag=tag)
            connection.execute(row.on_conflict_do_nothing())

    def untag(self, run_id: str, tag: str) -> None:
        """Take a tag away."""
        with self._writing() as connection:
            tags = schema.run_tags
            number = _number(connection, run_id)
            connection.execute(delete(tags).where(tags.c.run == number, tags.c.tag == tag))

    def delete(self, run_id: str) -> None:
        """Remove the run with its answers and scores. Items stay: other runs may have asked them."""
        with self._writing() as connection:
            number = _number(connection, run_id)
            of_run = select(schema.cells.c.id).where(schema.cells.c.run == number)
            of_cells = select(schema.calls.c.id).where(schema.calls.c.cell.in_(of_run))
            hand_over(connection, of_run)
            delete_scores(connection, of_run)
            connection.execute(delete(schema.verdicts).where(schema.verdicts.c.call.in_(of_cells)))
            connection.execute(delete(schema.calls).where(schema.calls.c.cell.in_(of_run)))
            for of_cell in (schema.gradings, schema.looks):
                connection.execute(delete(of_cell).where(of_cell.c.cell.in_(of_run)))
            for table in (schema.cells, schema.sessions, schema.run_tags):
                connection.execute(delete(table).where(table.c.run == number))
            connection.execute(delete(schema.runs).where(schema.runs.c.id == number))

    def progress(self, run_id: str) -> Progress:
        """How far the run has come, and at what pace, from what it has written so far."""
        with self._reading() as connection:
            return progress(connection, _number(connection, run_id))

    # Sessions and cells

    def begin_session(self, run_id: str, provenance: dict[str, Any]) -> int:
        """A process begins to work on the run; one run is worked on by one process at a time."""
        with self._writing() as connection:
            _check_free(connection, _number(connection, run_id))
            row = connection.execute(
                schema.sessions.insert().values(
                    run=_number(connection, run_id),
                    started_at=_now(),
                    pid=os.getpid(),
                    host=socket.gethostname(),
                    provenance=msgspec.json.encode(provenance),
                )
            )
            assert row.inserted_primary_key is not None
            return int(row.inserted_primary_key[0])

    def check_free(self, run_id: str) -> None:
        """Raise where another process is working on the run."""
        with self._reading() as connection:
            _check_free(connection, _number(connection, run_id))

    def add_provenance(self, session: int, found: dict[str, Any]) -> None:
        """What was found out of a session's origin after it began; it takes the place of what was there by its name."""
        column = schema.sessions.c.provenance
        with self._writing() as connection:
            known = connection.execute(select(column).where(schema.sessions.c.id == session)).scalar_one()
            both = msgspec.json.encode(msgspec.json.decode(known) | found)
            connection.execute(update(schema.sessions).where(schema.sessions.c.id == session).values(provenance=both))

    def end_session(self, session: int, resources: dict[str, float]) -> None:
        """The process is done with the run, and this is what it took."""
        with self._writing() as connection:
            connection.execute(
                update(schema.sessions)
                .where(schema.sessions.c.id == session)
                .values(ended_at=_now(), resources=msgspec.json.encode(resources))
            )

    def sessions(self, run_id: str) -> list[SessionInfo]:
        """The stretches of the run, oldest first."""
        with self._reading() as connection:
            table = schema.sessions
            chosen = select(table).where(table.c.run == _number(connection, run_id)).order_by(table.c.id)
            return [_session_info(row) for row in connection.execute(chosen)]

    def add_cell(self, run_id: str, info: CellInfo) -> int:
        """The row of a cell; one that is there already keeps its row and takes the new counts."""
        table = schema.cells
        with self._writing() as connection:
            number = _number(connection, run_id)
            same = (table.c.run == number, table.c.model == info.model, table.c.label == info.label)
            row = connection.execute(select(table.c.id, table.c.set, table.c.info).where(*same)).first()
            item_set = _set_id(connection, info)
            encoded = msgspec.json.encode(info)
            if row is None:
                values = {"run": number, "set": item_set, "model": info.model, "label": info.label, "info": encoded}
                inserted = connection.execute(table.insert().values(**values)).inserted_primary_key
                assert inserted is not None
                return int(inserted[0])
            _check_same_cell(msgspec.json.decode(row.info, type=CellInfo), info)
            connection.execute(update(table).where(table.c.id == row.id).values(info=encoded))
            return int(row.id)

    def cells(self, run_id: str) -> list[CellInfo]:
        """The cells of the run, in the order in which they were planned."""
        table = schema.cells
        with self._reading() as connection:
            chosen = select(table.c.id, table.c.info).where(table.c.run == _number(connection, run_id))
            rows = connection.execute(chosen.order_by(table.c.id)).all()
            return [msgspec.structs.replace(msgspec.json.decode(row.info, type=CellInfo), id=row.id) for row in rows]

    def set_summary(self, cell: int, estimates: Sequence[Estimate]) -> None:
        """Keep the cell's estimates, so that showing them reads one row."""
        with self._writing() as connection:
            encoded = msgspec.json.encode(list(estimates))
            connection.execute(update(schema.cells).where(schema.cells.c.id == cell).values(summary=encoded))

    def summary(self, cell: int) -> tuple[Estimate, ...] | None:
        """The cell's estimates, or ``None`` before there are any."""
        with self._reading() as connection:
            encoded = connection.execute(select(schema.cells.c.summary).where(schema.cells.c.id == cell)).scalar()
        return None if encoded is None else msgspec.json.decode(encoded, type=tuple[Estimate, ...])

    def set_grading(self, info: CellInfo, estimates: Sequence[Estimate]) -> None:
        """Keep what another grader makes of a cell's answers; ``info`` is the cell's with that grader as protocol."""
        values = {
            "cell": info.id,
            "grader": info.protocol,
            "grader_version": info.protocol_version,
            "info": msgspec.json.encode(info),
            "summary": msgspec.json.encode(list(estimates)),
        }
        with self._writing() as connection:
            row = insert_or_ignore(schema.gradings).values(**values)
            changed = {name: values[name] for name in ("info", "summary")}
            connection.execute(
                row.on_conflict_do_update(index_elements=["cell", "grader", "grader_version"], set_=changed)
            )

    def gradings(self, run_id: str) -> list[tuple[CellInfo, tuple[Estimate, ...]]]:
        """What other graders made of the run's answers."""
        table, cells = schema.gradings, schema.cells
        with self._reading() as connection:
            chosen = select(table.c.cell, table.c.info, table.c.summary).join(cells, cells.c.id == table.c.cell)
            of_run = chosen.where(cells.c.run == _number(connection, run_id)).order_by(table.c.cell, table.c.grader)
            rows = connection.execute(of_run).all()
        return [
            (
                msgspec.structs.replace(msgspec.json.decode(row.info, type=CellInfo), id=row.cell),
                msgspec.json.decode(row.summary, type=tuple[Estimate, ...]),
            )
            for row in rows
        ]

    # Looks
    def add_look(self, cell: int, look: Look) -> None:
        """Keep what a look at the cell decided: it is not taken again."""
        with self._writing() as connection:
            connection.execute(schema.looks.insert().values(cell=cell, content=msgspec.json.encode(look)))

    def looks(self, run_id: str) -> dict[int, list[Look]]:
        """Every look of the run in the order taken, by the cell that it is about."""
        table, cells = schema.looks, schema.cells
        with self._reading() as connection:
            chosen = select(table.c.cell, table.c.content).join(cells, cells.c.id == table.c.cell)
            rows = connection.execute(
                chosen.where(cells.c.run == _number(connection, run_id)).order_by(table.c.id)
            ).all()
        found: dict[int, list[Look]] = {}
        for row in rows:
            found.setdefault(row.cell, []).append(msgspec.json.decode(row.content, type=Look))
        return found

    # Calls and scores

    def append(self, calls: Sequence[NewCall], scores: Sequence[NewScore]) -> list[int]:
        """Write calls, and judgements of earlier ones, in one transaction; return the calls' ids when it is durable."""
        # compressing is done before the write lock is taken
        batch = self._prepared(calls, known_forms())
        new_scores = score_rows(scores, batch.keys)
        new_verdicts = [verdicts.row_of(row.call, said, batch.keys) for row in scores for said in row.verdicts]
        if not batch.calls and not new_scores:
            return []
        ids: list[int] = []
        measures: dict[Measure, int] = {}
        with self._writing() as connection:
            if batch.calls:
                _check_cells(connection, {row.cell for row in calls})
                _keep_samples(connection, batch)
                _keep_answers_at_hand(connection, batch)
                first = int(connection.execute(select(func.coalesce(func.max(schema.calls.c.id), 0))).scalar_one()) + 1
                ids = list(range(first, first + len(calls)))
                for call_id, values in zip(ids, batch.calls, strict=True):
                    values["id"] = call_id
                _insert_many(connection, INSERT_CALLS, batch.calls)
            if new_scores:
                measures = self._measures.numbers(connection, scores)
                number_rows(connection, scores, new_scores, measures)
                _insert_many(connection, INSERT_SCORES, new_scores)
            if new_verdicts:
                _insert_many(connection, verdicts.INSERT, new_verdicts)
        self._items.note(batch.prints)
        self._measures.note(measures)
        self._dictionaries.learn(batch.packings.values())
        return ids

    def _prepared(self, calls: Sequence[NewCall], keys: Sequence[bytes]) -> _Batch:
        """The rows of these calls and of the items that no run has asked yet."""
        packings = self._dictionaries.of({row.cell for row in calls})
        places = [(packings[row.cell].item_set, row.position) for row in calls]
        items = {place: row.sample for place, row in zip(places, calls, strict=True)}
        if not self._items.know(items):
            with self._reading() as connection:
                self._items.learn(connection, items)
        prints = {place: print_of(sample) for place, sample in items.items() if not self._items.print_at(place)}
        new_calls = []
        for place, row in zip(places, calls, strict=True):
            is_kept_so = print_of(row.sample) == (self._items.print_at(place) or prints[place])
            new_calls.append(_call_row(row, keys, packings[row.cell], row.sample if is_kept_so else None))
        of_sets = {packing.item_set: packing for packing in packings.values()}
        return _Batch(
            keys=keys,
            new=calls,
            places=places,
            packings=packings,
            calls=new_calls,
            samples=[_sample_row(place, items[place], of_sets[place[0]]) for place in prints],
            prints=prints,
        )

    def append_once(self, calls: Sequence[NewCall], scores: Sequence[NewScore]) -> list[int]:
        """``append``, where a process may have made that very transaction before it died: whole or not at all."""
        with self._reading() as connection:
            known = [_number_of_call(connection, row) for row in calls]
            is_judged = any(verdicts.is_kept(connection, row.call, said) for row in scores for said in row.verdicts)
        ids = [number for number in known if number is not None]
        return ids if ids or is_judged else self.append(calls, scores)

    def append_calls(self, rows: Sequence[NewCall]) -> list[int]:
        """Write calls in one transaction; return their ids when they are durable."""
        return self.append(rows, ())

    def append_scores(self, rows: Sequence[NewScore]) -> None:
        """Write judgements in one transaction; they are durable when this returns."""
        self.append((), rows)

    def completed(self, cell: int) -> set[tuple[int, int]]:
        """(position, repeat) of every item of the cell that has been answered."""
        table = schema.calls
        with self._reading() as connection:
            chosen = select(table.c.position, table.c.repeat).where(table.c.cell == cell, table.c.failure.is_(None))
            return {(position, repeat) for position, repeat in connection.execute(chosen)}

    def unscored(self, cell: int, grader: str, grader_version: str) -> Iterator[tuple[int, Sample, Call]]:
        """Answers that this grader has not judged, oldest first: a kill may come between an answer and its score.

        One that it left unscored (its judge or its sandbox failed) counts as not judged.
        """
        calls, scores, samples = schema.calls, schema.scores, schema.samples
        later = calls.alias()
        asked_again = (
            select(later.c.id)
            .where(later.c.cell == calls.c.cell, later.c.position == calls.c.position)
            .where(later.c.repeat == calls.c.repeat, later.c.failure.is_(None), later.c.id > calls.c.id)
            .exists()
        )
        with self._reading() as connection:
            measures = measures_of(connection, grader, grader_version)
            judged = (
                select(scores.c.id)
                .where(schema.is_of_call(calls.c.id), scores.c.measure.in_(measures), scores.c.value.is_not(None))
                .exists()
            )
            chosen = (
                with_original(select(calls.c.id, samples.c.content, *answer_columns()))
                .where(calls.c.cell == cell, calls.c.failure.is_(None), ~judged, ~asked_again)
                .order_by(calls.c.id)
            )
            for row in connection.execute(chosen).yield_per(MOST_READ_AT_ONCE):
                sample = unpack(row.content, Sample)
                yield row.id, sample, read_call(row, sample)

    # Columns and records

    def columns(
        self, cell: int, *, grader: str | None = None, grader_version: str | None = None, with_names: bool = False
    ) -> Columns:
        """The cell as arrays, one entry per (item, repeat); item names only where asked for.

        Scores are those of the cell's own protocol and version, or of ``grader``: in its version given, else in
        whichever judged an answer last.
        """
        with self._reading() as connection:
            return read_columns(connection, cell, grader, grader_version, with_names=with_names)

    def names(self, cell: int) -> dict[int, str]:
        """What the items of a cell that were asked are called, by their position."""
        with self._reading() as connection:
            return read_names(connection, cell)

    def records(
        self,
        run_id: str,
        *,
        model: str | None = None,
        cell: int | None = None,
        sample_id: str | None = None,
        wrong_only: bool = False,
        errors_only: bool = False,
        limit: int | None = None,
        reveal: bool = False,
    ) -> Iterator[Record]:
        """The run's records, streamed: the call that counts for each item, joined with its sample and scores.

        ``wrong_only``: without a full headline score, the failed and the unscored included. ``errors_only``: failed.
        Texts of a confidential benchmark are left out unless ``reveal``.
        """
        chosen = [info for info in self.cells(run_id) if model in (None, info.model) and cell in (None, info.id)]
        with self._reading() as connection:
            found = (
                redact(record) if info.is_confidential and not reveal else record
                for info in chosen
                for record in read_records(
                    connection, run_id, info, sample_id, wrong_only=wrong_only, errors_only=errors_only
                )
            )
            yield from islice(found, limit)

    def weighed(self, info: CellInfo) -> list[Weighed | None]:
        """How sure the model was of each answer and which stages it took, in the order of the cell's columns."""
        with self._reading() as connection:
            return read_weighed(connection, info)

    def reported(self, cell: int) -> list[dict[str, Any]]:
        """What the service said that it is: each (model, fingerprint) with its number of answers. Reads them all."""
        table = schema.calls
        chosen = (
            select(table.c.model_reported, table.c.fingerprint, func.count())
            .where(table.c.cell == cell, table.c.failure.is_(None))
            .group_by(table.c.model_reported, table.c.fingerprint)
        )
        with self._reading() as connection:
            rows = connection.execute(chosen).all()
        return [{"model": model, "fingerprint": fingerprint, "answers": n} for model, fingerprint, n in rows]

    def reported_first(self, cell: int) -> tuple[str | None, str | None]:
        """The (model, fingerprint) of one answer of the cell that names a model."""
        table = schema.calls
        named = (table.c.cell == cell, table.c.failure.is_(None), table.c.model_reported.is_not(None))
        with self._reading() as connection:
            row = connection.execute(select(table.c.model_reported, table.c.fingerprint).where(*named).limit(1)).first()
        return (None, None) if row is None else (row.model_reported, row.fingerprint)

    # Connections

    @property
    def path(self) -> str:
        """The file, also for a process or a moment with another working folder."""
        return str(self._engine.url.database)

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """One transaction that holds the write lock from its start, so that two writers wait for one another."""
        self._check_place()
        with self._engine.connect() as connection:
            try:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
                yield connection
                connection.commit()
            except (SQLAlchemyError, sqlite3.Error, OverflowError) as error:
                connection.rollback()
                kind = StoreFull if _is_full(error) else StoreError
                raise kind(f"cannot write to the store {self.location}: {_reason(error)}") from error

    def _check_place(self) -> None:
        """What is written to a file that was removed goes with it: such a store is copied, and takes nothing more."""
        if self._file is None or _file_at(self.path) == self._file:
            return
        with closing(self._engine.raw_connection()) as connection:
            raw = connection.driver_connection
            assert isinstance(raw, sqlite3.Connection)
            rescued = rescue(raw, Path(self.path), self._file)
        became = f"What it held is in {rescued}. Try: --store {rescued}" if rescued else "What it held is lost"
        raise StoreError(f"the store {self.location} was removed, or another file put in its place. {became}")

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        try:
            with self._engine.connect() as connection:
                yield connection
        except (SQLAlchemyError, UnicodeDecodeError, msgspec.DecodeError) as error:
            raise StoreError(f"cannot read the store {self.location}: {_reason(error)}") from error

    def _change_run(self, run_id: str, **values: Any) -> None:
        with self._writing() as connection:
            self._update_run(connection, _number(connection, run_id), **values)

    @staticmethod
    def _update_run(connection: Connection, number: int, **values: Any) -> None:
        connection.execute(update(schema.runs).where(schema.runs.c.id == number).values(**values))


def _configure(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # transactions begin where we say so
    for pragma in OF_EACH_CONNECTION:
        connection.execute(pragma)


def _location(url_or_path: str | Path | None) -> Path:
    return _path_of(url_or_path or os.environ.get("STEELYARD_STORE") or DEFAULT)


def _path_of(url_or_path: str | Path) -> Path:
    """The file that is meant; ``sqlite:///PATH`` is the only URL so far."""
    text = str(url_or_path)
    if isinstance(url_or_path, str) and "://" in text:
        scheme, _, rest = text.partition("://")
        if scheme != "sqlite" or len(rest) < 2 or not rest.startswith("/"):
            raise StoreError(f"a store is a file or sqlite:///PATH; {scheme}:// is not understood yet")
        text = rest[1:]
    return Path(text).expanduser()


def _is_there(location: Path) -> bool:
    try:
        return location.exists()
    except OSError as error:  # a name that is too long for the file system
        raise StoreError(f"cannot open a store at {location}: {error.strerror}") from error


def _file_at(path: str) -> int | None:
    """Which file is there, by its number in the file system."""
    try:
        return os.stat(path).st_ino
    except OSError:
        return None


def _create_privately(location: Path) -> None:
    """Only the user may read what was asked and answered."""
    location.parent.mkdir(parents=True, exist_ok=True)
    if not location.exists():
        os.close(os.open(location, os.O_CREAT | os.O_RDWR, 0o600))


def _reason(error: BaseException) -> str:
    reason = str(getattr(error, "orig", None) or error).split("\n", 1)[0]
    is_damage = isinstance(error, UnicodeDecodeError | msgspec.DecodeError) or reason.startswith(DAMAGE)
    return (
        f"{reason}. The file is damaged, or no store. Try: an earlier copy of it, or steelyard runs salvage"
        if is_damage
        else reason
    )


def _is_full(error: Exception) -> bool:
    return getattr(getattr(error, "orig", error), "sqlite_errorcode", None) in NO_ROOM


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _find_run(connection: Connection, reference: str) -> Any:
    table = schema.runs
    newest = select(table).order_by(table.c.id.desc())
    if reference == "last":
        return connection.execute(newest.limit(1)).first()
    if (number := _as_number(reference)) and (row := connection.execute(newest.where(table.c.id == number)).first()):
        return row
    if row := connection.execute(newest.where(table.c.name == reference).limit(1)).first():
        return row
    tagged = select(schema.run_tags.c.run).where(schema.run_tags.c.tag == reference)
    if row := connection.execute(newest.where(table.c.id.in_(tagged)).limit(1)).first():
        return row
    if len(reference) < SHORTEST_PREFIX:
        return None
    found = connection.execute(newest.where(table.c.uid.startswith(reference, autoescape=True))).all()
    if len(found) > 1:
        raise UsageError(f"run {reference!r} is ambiguous: {', '.join(row.uid for row in found)}")
    return found[0] if found else None


def _as_number(reference: str) -> int | None:
    if not reference.isdecimal() or len(reference) > len(str(LARGEST_NUMBER)):
        return None
    number = int(reference)
    return number if number <= LARGEST_NUMBER else None


def _number(connection: Connection, run_id: str) -> int:
    number = connection.execute(select(schema.runs.c.id).where(schema.runs.c.uid == run_id)).scalar()
    if number is None:
        raise UnknownName("run", run_id, ["last"])
    return int(number)


def _run_info(connection: Connection, row: Any) -> RunInfo:
    tags = connection.execute(select(schema.run_tags.c.tag).where(schema.run_tags.c.run == row.id)).scalars().all()
    return RunInfo(
        id=row.uid,
        number=row.id,
        name=row.name,
        tags=tuple(sorted(tags)),
        status=_true_status(connection, row),
        created_at=row.created_at,
        finished_at=row.finished_at,
        plan=msgspec.json.decode(row.plan),
        plan_digest=row.plan_digest,
    )


def _true_status(connection: Connection, row: Any) -> RunStatus:
    """A run whose process was killed cannot say so itself: it is interrupted if that process is gone."""
    status: RunStatus = row.status
    if status != "running":
        return status
    table = schema.sessions
    last = connection.execute(select(table).where(table.c.run == row.id).order_by(table.c.id.desc()).limit(1)).first()
    if last is None or last.pid is None or last.host != socket.gethostname() or _is_alive(last.pid, last.started_at):
        return status
    return "interrupted"


def _check_free(connection: Connection, number: int) -> None:
    table = schema.sessions
    chosen = select(table).where(
        table.c.run == number, table.c.ended_at.is_(None), table.c.host == socket.gethostname()
    )
    for row in connection.execute(chosen):
        if row.pid not in (None, os.getpid()) and _is_alive(row.pid, row.started_at):
            raise UsageError(
                f"run #{number} is being worked on by process {row.pid} since {row.started_at[:19]}: two at once would "
                f"pay twice. Try: wait for it, or end it with Ctrl-C or: kill {row.pid}"
            )


def _is_alive(pid: int, session_started_at: str) -> bool:
    """Whether that very process lives: a process that is younger than the session only got the same number."""
    import psutil

    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:  # it ended, and nobody has asked how
            return False
        born_s = process.create_time()
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True
    return born_s <= datetime.fromisoformat(session_started_at).timestamp() + CLOCK_SLACK_S


def _session_info(row: Any) -> SessionInfo:
    return SessionInfo(
        id=row.id,
        started_at=row.started_at,
        ended_at=row.ended_at,
        pid=row.pid,
        host=row.host,
        provenance=msgspec.json.decode(row.provenance),
        resources=msgspec.json.decode(row.resources) if row.resources else {},
    )


def _set_id(connection: Connection, info: CellInfo) -> int:
    table = schema.sets
    key = {
        "benchmark": info.benchmark,
        "version": info.benchmark_version,
        "part": info.part or "",
        "digest": info.dataset_digest,
    }
    connection.execute(insert_or_ignore(table).values(**key).on_conflict_do_nothing())
    chosen = select(table.c.id).where(*(table.c[name] == value for name, value in key.items()))
    return int(connection.execute(chosen).scalar_one())


SAME_ON_RESUME = (
    "protocol_version",
    "benchmark_version",
    "dataset_digest",
    "prompt_digest",
    "origin",
    "order",
    "shots",
)


def _check_same_cell(before: CellInfo, now: CellInfo) -> None:
    """Answers to other words, or of another model, are not mixed into one cell."""
    for name in SAME_ON_RESUME:
        old, new = getattr(before, name), getattr(now, name)
        if old != new:
            raise UsageError(
                f"{now.model} on {now.label}: {name.replace('_', ' ')} was {old} and is {new} now; a run does not mix "
                "them. Try: a new run"
            )


def _number_of_call(connection: Connection, row: NewCall) -> int | None:
    """The id of that very call, where it is written: a session asks each item and repeat of a cell once."""
    table = schema.calls
    same = (table.c.cell == row.cell, table.c.position == row.position, table.c.repeat == row.call.repeat)
    return connection.execute(select(table.c.id).where(*same, table.c.session == row.session)).scalar()


def _check_cells(connection: Connection, cells: set[int]) -> None:
    table = schema.cells
    here = connection.execute(select(table.c.id).where(table.c.id.in_(cells))).scalars()
    if gone := sorted(cells.difference(here)):
        raise StoreError(f"cell {gone[0]} is not in the store (any more). Was its run deleted meanwhile?")


class _Batch(Struct, kw_only=True):
    """Calls on their way into the store, with the items among them that it lacks and the prints of those."""

    keys: Sequence[bytes]
    new: Sequence[NewCall]
    places: list[Key]
    packings: dict[int, Packing]
    calls: list[dict[str, Any]]
    samples: list[dict[str, Any]]
    prints: dict[Key, int]

    def keep_whole(self, index: int) -> None:
        """Give the call's row all of its answer, and of its request all that its item might say in other words."""
        row = msgspec.structs.replace(self.new[index], reused_from=None)
        self.calls[index] |= _call_row(row, self.keys, self.packings[row.cell], None)


def _keep_answers_at_hand(connection: Connection, batch: _Batch) -> None:
    """A row whose answer stood in a run that was deleted meanwhile gets the answer itself."""
    sources = {call.reused_from for call in batch.new if call.reused_from is not None}
    if not sources:
        return
    here = set(connection.execute(select(schema.calls.c.id).where(schema.calls.c.id.in_(sources))).scalars())
    for index, call in enumerate(batch.new):
        if call.reused_from is not None and call.reused_from not in here:
            batch.keep_whole(index)


def _keep_samples(connection: Connection, batch: _Batch) -> None:
    """Insert the items that no run has asked yet. Another process may have been first, with other words."""
    if not batch.samples or _insert_many(connection, INSERT_SAMPLES, batch.samples) == len(batch.samples):
        return
    batch.prints |= prints_here(connection, batch.prints)
    for index, (place, call) in enumerate(zip(batch.places, batch.new, strict=True)):
        if call.reused_from is None and batch.prints.get(place) not in (None, print_of(call.sample)):
            batch.keep_whole(index)


def _insert_many(connection: Connection, statement: Insert, rows: Sequence[dict[str, Any]]) -> int:
    """Insert the rows, many of them by one statement; return how many there was room for.

    SQLite's driver lets go of the interpreter for each row it inserts, and waits until a busy event loop gives it back;
    a statement of many rows waits once.
    """
    sql, names = _compiled(statement, connection.dialect, tuple(rows[0]))
    if names is None:
        return connection.execute(statement, rows).rowcount
    values_of = itemgetter(*names)
    cursor = connection.connection.cursor()  # the driver's own: a statement costs a fifth of the time
    start = inserted = 0
    for size in ROWS_OF_A_STATEMENT:
        while len(rows) - start >= size:
            values = tuple(chain.from_iterable(map(values_of, rows[start : start + size])))
            cursor.execute(_of_many_rows(sql, size), values)
            start += size
            inserted += cursor.rowcount
    return inserted


@lru_cache(maxsize=16)
def _compiled(statement: Insert, dialect: Dialect, columns: tuple[str, ...]) -> tuple[str, list[str] | None]:
    compiled = statement.compile(dialect=dialect, column_keys=columns)
    return str(compiled), compiled.positiontup


@lru_cache(maxsize=64)
def _of_many_rows(sql: str, size: int) -> str:
    head, values, rest = sql.partition(" VALUES ")
    row, end, clause = rest.partition(")")
    return head + values + ", ".join([row + end] * size) + clause


def _sample_row(place: Key, sample: Sample, packing: Packing) -> dict[str, Any]:
    return {
        "set": place[0],
        "position": place[1],
        "name": sample.id,
        "stratum": sample.stratum,
        "cluster": sample.cluster,
        "flags": " ".join(sample.flags) or None,
        "content": packing.pack(sample),
    }


def _call_row(row: NewCall, keys: Sequence[bytes], packing: Packing, item: Sample | None) -> dict[str, Any]:
    """The call's row; ``item`` is the one it asked where the store holds that in these very words."""
    call = keyless_call(row.call, keys)
    try:
        payload = packing.pack(to_keep(_without_gaps(call), item)) if row.reused_from is None else b""
    except UnicodeEncodeError:  # half a surrogate pair in an answer: kept with a replacement character, not lost
        call = mended(call)
        payload = packing.pack(to_keep(_without_gaps(call), item))
    completion = call.completion
    timing = completion.timing if completion else None
    return {
        **figures_of(call),
        "cell": row.cell,
        "session": row.session,
        "position": row.position,
        "digest": call.digest,
        "empty": completion is not None and not completion.likelihoods and not completion.text.strip(),
        "cached": completion is not None and completion.cached,
        "started_s": row.started_at_s,
        "ended_s": row.ended_at_s,
        "gaps_us": _gaps_us(timing.gaps_ns) if timing else None,
        "payload": payload,
        "reused_from": row.reused_from,
        "saved_usd": row.saved_usd,
    }


def _gaps_us(gaps_ns: tuple[int, ...]) -> bytes | None:
    """The gaps as little-endian 32-bit microseconds; a gap of more than 71 minutes does not occur."""
    if not gaps_ns:
        return None
    gaps_us = np.array(gaps_ns, dtype=np.int64) // 1000
    return gaps_us.clip(0, 0xFFFFFFFF).astype("<u4").tobytes()


def _without_gaps(call: Call) -> Call:
    if call.completion is None or call.completion.timing is None or not call.completion.timing.gaps_ns:
        return call
    timing = msgspec.structs.replace(call.completion.timing, gaps_ns=())
    return msgspec.structs.replace(call, completion=msgspec.structs.replace(call.completion, timing=timing))
