"""The store: one SQLite file, or one PostgreSQL database, that holds every run, every answer and every judgement.

What ``append_calls`` and ``append_scores`` return from is durable, also against a power cut (WAL with synchronous
FULL; a server's disk as its owner has set it up). Any thread may use a store; writes take turns.
"""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
from sqlalchemy import Connection, delete, func, select, update
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from steelyard.errors import StoreError, StoreFull, UnknownName
from steelyard.store import registry, schema
from steelyard.store.account import Budget
from steelyard.store.answers import Answers, answer_columns, hand_over, read_call, with_original
from steelyard.store.appending import Appending, NewCall
from steelyard.store.baselines import Baselines
from steelyard.store.codec import unpack
from steelyard.store.columns import read_columns, read_names
from steelyard.store.dialect import insert_unless_there, put, spoken
from steelyard.store.dictionaries import Dictionaries
from steelyard.store.found import FoundStore
from steelyard.store.history import History
from steelyard.store.judgements import NewScore, delete_scores, measures_of
from steelyard.store.opening import Database, database_at, file_of
from steelyard.store.pages import Pages
from steelyard.store.progress import Progress, progress
from steelyard.store.records import Weighed, read_records, read_weighed
from steelyard.store.redaction import redact
from steelyard.store.registry import check_free, check_same_cell, find_run, number_of, run_info, session_info, set_of
from steelyard.store.signs import Signs
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

RETRY_OPEN_S = 0.05
PATIENCE_S = 30
MOST_READ_AT_ONCE = 1_000


class Store:
    """An open store; use it as a context manager.

    ``answers`` and ``verdicts`` find what may be used again, ``budget`` is what stands over all its runs, ``baselines``
    are the runs that others are held against; ``pages`` reads runs and answers a page at a time, ``history`` what
    became of an item; ``found`` keeps what a large run shows, ``signs`` what its process tells while it goes on.
    """

    def __init__(self, database: Database) -> None:
        self._database, self._engine = database, database.engine
        self.location = database.location
        self._dictionaries = Dictionaries(self._reading, self._writing)
        self._appending = Appending(self._reading, self._writing, self._dictionaries)
        self.answers = Answers(self._reading, self._writing, number_of)
        self.verdicts = VerdictStore(self._reading)
        self.baselines = Baselines(self._reading, self._writing)
        self.pages = Pages(self._reading, number_of, run_info)
        self.signs = Signs(self._writing)
        self.history = History(self._reading, run_info)
        self.found = FoundStore(self._reading, self._writing, number_of, self.pages.holds_more_than)
        self.budget = Budget(self._reading, self._writing, number_of, lambda pid, at: registry.is_alive(pid, at))

    @staticmethod
    def place(url_or_path: str | Path | None = None, *, what_for: str = "a file's place") -> Path:
        """The file that is meant, for what is done to files alone; a store on a server has none."""
        return file_of(url_or_path, what_for=what_for)

    @staticmethod
    def exists(url_or_path: str | Path | None = None) -> bool:
        """Whether there is a store to open."""
        database = database_at(url_or_path)
        try:
            return database.is_there()
        finally:
            database.close()

    @classmethod
    def open(cls, url_or_path: str | Path | None = None, *, create: bool = True) -> Store:
        """Open the store there, else at ``STEELYARD_STORE``, else in the working folder; create or migrate it."""
        database = database_at(url_or_path)
        store = cls(database)
        try:
            if not create and not database.is_there():
                raise StoreError(
                    f"no runs yet: {database.location} does not exist. Try: steelyard run starter -m local/smollm2-135m"
                )
            database.make_place()
            store._bring_up_to_date()
            store._dictionaries.open()
        except BaseException as error:
            store.close()
            if isinstance(error, SQLAlchemyError | OSError | UnicodeDecodeError):
                reason = database.reason_of(error)
                raise StoreError(f"cannot open the store {database.location}: {reason}") from error
            raise
        return store

    def _bring_up_to_date(self) -> None:
        """Create or migrate the tables. SQLite does not wait while another process makes the file; we do."""
        deadline_s = time.monotonic() + PATIENCE_S
        while True:
            try:
                with self._engine.connect() as connection:
                    if schema.version_of(connection) < schema.VERSION:
                        connection.rollback()
                        connection.exec_driver_sql(spoken(connection).begin_to_write)
                        if 0 < (found := schema.version_of(connection)) < schema.VERSION:
                            self._database.keep_copy(found)
                        schema.bring_up_to_date(connection)
                        connection.commit()
                    self._database.settle(connection)
                    return
            except OperationalError as error:
                if not self._database.is_passing(error) or time.monotonic() > deadline_s:
                    raise
            time.sleep(RETRY_OPEN_S)

    def close(self) -> None:
        """Close every connection."""
        self._dictionaries.close()
        self._database.close()

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
            row = find_run(connection, reference.removeprefix("#"))
            if row is None:
                known = [str(name) for (name,) in connection.execute(select(schema.runs.c.name)).all()]
                raise UnknownName("run", reference, ["last", *known])
            return run_info(connection, row)

    def runs(self, limit: int | None = None) -> list[RunInfo]:
        """The runs, newest first."""
        with self._reading() as connection:
            rows = connection.execute(select(schema.runs).order_by(schema.runs.c.id.desc()).limit(limit)).all()
            return [run_info(connection, row) for row in rows]

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
            row = insert_unless_there(schema.run_tags, spoken(connection))
            connection.execute(row.values(run=number_of(connection, run_id), tag=tag))

    def untag(self, run_id: str, tag: str) -> None:
        """Take a tag away."""
        with self._writing() as connection:
            tags = schema.run_tags
            number = number_of(connection, run_id)
            connection.execute(delete(tags).where(tags.c.run == number, tags.c.tag == tag))

    def delete(self, run_id: str) -> None:
        """Remove the run with its answers and scores. Items stay: other runs may have asked them."""
        with self._writing() as connection:
            number = number_of(connection, run_id)
            of_run = select(schema.cells.c.id).where(schema.cells.c.run == number)
            of_cells = select(schema.calls.c.id).where(schema.calls.c.cell.in_(of_run))
            hand_over(connection, of_run)
            delete_scores(connection, of_run)
            connection.execute(delete(schema.verdicts).where(schema.verdicts.c.call.in_(of_cells)))
            connection.execute(delete(schema.calls).where(schema.calls.c.cell.in_(of_run)))
            for of_cell in (schema.gradings, schema.looks):
                connection.execute(delete(of_cell).where(of_cell.c.cell.in_(of_run)))
            for table in (schema.findings, schema.cells, schema.sessions, schema.run_tags):
                connection.execute(delete(table).where(table.c.run == number))
            connection.execute(delete(schema.runs).where(schema.runs.c.id == number))

    def progress(self, run_id: str) -> Progress:
        """How far the run has come, and at what pace, from what it has written so far."""
        with self._reading() as connection:
            connection.exec_driver_sql(spoken(connection).begin_to_read)  # all counts are of one moment
            return progress(connection, number_of(connection, run_id))

    # Sessions and cells

    def begin_session(self, run_id: str, provenance: dict[str, Any]) -> int:
        """A process begins to work on the run; one run is worked on by one process at a time."""
        with self._writing() as connection:
            check_free(connection, number_of(connection, run_id))
            row = connection.execute(
                schema.sessions.insert().values(
                    run=number_of(connection, run_id),
                    started_at=_now(),
                    pid=os.getpid(),
                    host=socket.gethostname(),
                    provenance=msgspec.json.encode(provenance),
                )
            )
            assert row.inserted_primary_key is not None
            session = int(row.inserted_primary_key[0])
            self._database.hold(session)
            return session

    def check_free(self, run_id: str) -> None:
        """Raise where another process is working on the run."""
        with self._reading() as connection:
            check_free(connection, number_of(connection, run_id))

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
                .values(ended_at=_now(), resources=msgspec.json.encode(resources), sign=None)
            )
        self._database.release(session)

    def sessions(self, run_id: str) -> list[SessionInfo]:
        """The stretches of the run, oldest first."""
        with self._reading() as connection:
            table = schema.sessions
            chosen = select(table).where(table.c.run == number_of(connection, run_id)).order_by(table.c.id)
            return [session_info(row) for row in connection.execute(chosen)]

    def add_cell(self, run_id: str, info: CellInfo) -> int:
        """The row of a cell; one that is there already keeps its row and takes the new counts."""
        table = schema.cells
        with self._writing() as connection:
            number = number_of(connection, run_id)
            same = (table.c.run == number, table.c.model == info.model, table.c.label == info.label)
            row = connection.execute(select(table.c.id, table.c.set, table.c.info).where(*same)).first()
            item_set = set_of(connection, info)
            encoded = msgspec.json.encode(info)
            if row is None:
                values = {"run": number, "set": item_set, "model": info.model, "label": info.label, "info": encoded}
                inserted = connection.execute(table.insert().values(**values)).inserted_primary_key
                assert inserted is not None
                return int(inserted[0])
            check_same_cell(msgspec.json.decode(row.info, type=CellInfo), info)
            connection.execute(update(table).where(table.c.id == row.id).values(info=encoded))
            return int(row.id)

    def cells(self, run_id: str) -> list[CellInfo]:
        """The cells of the run, in the order in which they were planned."""
        table = schema.cells
        with self._reading() as connection:
            chosen = select(table.c.id, table.c.info).where(table.c.run == number_of(connection, run_id))
            rows = connection.execute(chosen.order_by(table.c.id)).all()
            return [msgspec.structs.replace(msgspec.json.decode(row.info, type=CellInfo), id=row.id) for row in rows]

    def set_summary(self, cell: int, estimates: Sequence[Estimate] | None) -> None:
        """Keep the cell's estimates, so that showing them reads one row; ``None``: those kept count no more."""
        with self._writing() as connection:
            encoded = None if estimates is None else msgspec.json.encode(list(estimates))
            connection.execute(update(schema.cells).where(schema.cells.c.id == cell).values(summary=encoded))

    def summary(self, cell: int) -> tuple[Estimate, ...] | None:
        """The cell's estimates, or ``None`` before there are any."""
        with self._reading() as connection:
            encoded = connection.execute(select(schema.cells.c.summary).where(schema.cells.c.id == cell)).scalar()
        return None if encoded is None else msgspec.json.decode(encoded, type=tuple[Estimate, ...])

    def set_grading(self, info: CellInfo, estimates: Sequence[Estimate]) -> None:
        """Keep what another grader makes of a cell's answers; ``info`` is the cell's with that grader as protocol."""
        key = {"cell": info.id, "grader": info.protocol, "grader_version": info.protocol_version}
        made = {"info": msgspec.json.encode(info), "summary": msgspec.json.encode(list(estimates))}
        with self._writing() as connection:
            put(connection, schema.gradings, key, made)

    def gradings(self, run_id: str) -> list[tuple[CellInfo, tuple[Estimate, ...]]]:
        """What other graders made of the run's answers."""
        table, cells = schema.gradings, schema.cells
        with self._reading() as connection:
            chosen = select(table.c.cell, table.c.info, table.c.summary).join(cells, cells.c.id == table.c.cell)
            of_run = chosen.where(cells.c.run == number_of(connection, run_id)).order_by(table.c.cell, table.c.grader)
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
                chosen.where(cells.c.run == number_of(connection, run_id)).order_by(table.c.id)
            ).all()
        found: dict[int, list[Look]] = {}
        for row in rows:
            found.setdefault(row.cell, []).append(msgspec.json.decode(row.content, type=Look))
        return found

    # Calls and scores

    def append(self, calls: Sequence[NewCall], scores: Sequence[NewScore]) -> list[int]:
        """Write calls, and judgements of earlier ones, in one transaction; return the calls' ids when it is durable."""
        return self._appending.append(calls, scores)

    def append_once(self, calls: Sequence[NewCall], scores: Sequence[NewScore]) -> list[int]:
        """``append``, where a process may have made that very transaction before it died: whole or not at all."""
        return self._appending.append_once(calls, scores)

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
            connection.exec_driver_sql(spoken(connection).begin_to_read)  # whatever is being written meanwhile
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
    def address(self) -> str:
        """What opens it, also for a process or a moment with another working folder. It may hold a password."""
        return self._database.address

    @property
    def file(self) -> Path | None:
        """The file that it is, if it is one."""
        return self._database.file

    @property
    def folder(self) -> Path:
        """Where files lie that belong to it."""
        return self._database.folder

    def is_there(self) -> bool:
        """Whether it still is."""
        return self._database.is_there()

    def reading(self) -> AbstractContextManager[Connection]:
        """A connection to read by, for who moves whole rows."""
        return self._reading()

    def writing(self) -> AbstractContextManager[Connection]:
        """One transaction to write in, likewise."""
        return self._writing()

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """One transaction that holds the write lock from its start, so that two writers wait for one another."""
        database = self._database
        database.check_place()
        try:
            with self._engine.connect() as connection:
                connection.exec_driver_sql(spoken(connection).begin_to_write)
                yield connection
                connection.commit()
        except (SQLAlchemyError, OverflowError, database.fault) as error:
            kind = StoreFull if database.is_full(error) else StoreError
            raise kind(f"cannot write to the store {self.location}: {database.reason_of(error)}") from error

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        try:
            with self._engine.connect() as connection:
                yield connection
        except (SQLAlchemyError, UnicodeDecodeError, msgspec.DecodeError) as error:
            raise StoreError(f"cannot read the store {self.location}: {self._database.reason_of(error)}") from error

    def _change_run(self, run_id: str, **values: Any) -> None:
        with self._writing() as connection:
            self._update_run(connection, number_of(connection, run_id), **values)

    @staticmethod
    def _update_run(connection: Connection, number: int, **values: Any) -> None:
        connection.execute(update(schema.runs).where(schema.runs.c.id == number).values(**values))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
