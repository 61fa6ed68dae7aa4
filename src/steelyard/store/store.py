"""The store: one SQLite file that holds every run, every answer and every judgement.

What ``append_calls`` and ``append_scores`` return from is durable, also against a power cut (WAL with synchronous
FULL). Any thread may use a store; writes take turns.
"""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
from msgspec import Struct
from sqlalchemy import Connection, Engine, create_engine, delete, event, func, select, update
from sqlalchemy.dialects.sqlite import insert as insert_or_ignore
from sqlalchemy.exc import DatabaseError, OperationalError, SQLAlchemyError

from steelyard.errors import StoreError, UnknownName, UsageError
from steelyard.store import schema
from steelyard.store.codec import pack, unpack
from steelyard.store.columns import read_columns
from steelyard.store.records import read_records
from steelyard.types import Call, CellInfo, Columns, Estimate, Record, RunInfo, RunStatus, Sample, Score, SessionInfo

DEFAULT = ".steelyard/steelyard.db"
BUSY_TIMEOUT_S = 30
RETRY_OPEN_S = 0.05
SHORTEST_PREFIX = 4
MOST_READ_AT_ONCE = 1_000


class NewCall(Struct, frozen=True, kw_only=True):
    """A call to be written. ``position`` is the item's place in the benchmark's own order."""

    cell: int
    session: int
    position: int
    sample: Sample
    call: Call
    started_at_s: float
    ended_at_s: float


class NewScore(Struct, frozen=True, kw_only=True):
    """What one grader says of one call: a score per metric."""

    call: int
    grader: str
    grader_version: str
    scores: dict[str, Score]


class Store:
    """An open store; use it as a context manager."""

    def __init__(self, engine: Engine, location: str) -> None:
        self._engine = engine
        self.location = location

    @classmethod
    def open(cls, path: str | Path | None = None, *, create: bool = True) -> Store:
        """Open the store at ``path``, else at ``STEELYARD_STORE``, else in the working folder; create or migrate it."""
        location = Path(path or os.environ.get("STEELYARD_STORE") or DEFAULT)
        if not location.exists() and not create:
            raise StoreError(f"no runs yet: {location} does not exist. Try: steelyard run starter -m baseline/random")
        engine = create_engine(f"sqlite:///{location}", connect_args={"timeout": BUSY_TIMEOUT_S})
        event.listen(engine, "connect", _configure)
        store = cls(engine, str(location))
        try:
            _create_privately(location)
            store._bring_up_to_date()
        except (SQLAlchemyError, OSError) as error:
            raise StoreError(f"cannot open the store {location}: {_reason(error)}") from error
        return store

    def _bring_up_to_date(self) -> None:
        """Create or migrate the tables. SQLite does not wait while another process makes the file; we do."""
        deadline_s = time.monotonic() + BUSY_TIMEOUT_S
        while True:
            try:
                with self._engine.connect() as connection:
                    connection.exec_driver_sql("BEGIN IMMEDIATE")
                    schema.bring_up_to_date(connection)
                    connection.commit()
                    return
            except OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > deadline_s:
                    raise
            time.sleep(RETRY_OPEN_S)

    def close(self) -> None:
        """Close every connection."""
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
        """The run that a number, the start of an id, a name or ``last`` means."""
        with self._reading() as connection:
            row = _find_run(connection, reference.removeprefix("#"))
            if row is None:
                known = [str(name) for (name,) in connection.execute(select(schema.runs.c.name)).all()]
                raise UnknownName("run", reference, ["last", *known])
            return _run_info(connection, row)

    def runs(self, most: int | None = None) -> list[RunInfo]:
        """The runs, newest first."""
        with self._reading() as connection:
            rows = connection.execute(select(schema.runs).order_by(schema.runs.c.id.desc()).limit(most)).all()
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
            connection.execute(delete(schema.scores).where(schema.scores.c.call.in_(of_cells)))
            connection.execute(delete(schema.calls).where(schema.calls.c.cell.in_(of_run)))
            for table in (schema.cells, schema.sessions, schema.run_tags):
                connection.execute(delete(table).where(table.c.run == number))
            connection.execute(delete(schema.runs).where(schema.runs.c.id == number))

    # Sessions and cells

    def begin_session(self, run_id: str, provenance: dict[str, Any]) -> int:
        """A process begins to work on the run."""
        with self._writing() as connection:
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

    # Calls and scores

    def append_calls(self, rows: Sequence[NewCall]) -> list[int]:
        """Write calls in one transaction; return their ids when they are durable."""
        with self._writing() as connection:
            item_sets = _sets_of(connection, {row.cell for row in rows})
            items = {(item_sets[row.cell], row.position): row.sample for row in rows}
            new_samples = insert_or_ignore(schema.samples).on_conflict_do_nothing()
            connection.execute(new_samples, [_sample_row(key, sample) for key, sample in items.items()])
            first = int(connection.execute(select(func.coalesce(func.max(schema.calls.c.id), 0))).scalar_one()) + 1
            ids = list(range(first, first + len(rows)))
            new_calls = [_call_row(call_id, row) for call_id, row in zip(ids, rows, strict=True)]
            connection.execute(schema.calls.insert(), new_calls)
        return ids

    def append_scores(self, rows: Sequence[NewScore]) -> None:
        """Write judgements in one transaction."""
        new_scores = [
            {
                "call": row.call,
                "metric": metric,
                "value": score.value,
                "parsed": score.answer is not None,
                "answer": score.answer,
                "reason": score.reason,
                "grader": row.grader,
                "grader_version": row.grader_version,
            }
            for row in rows
            for metric, score in row.scores.items()
        ]
        with self._writing() as connection:
            connection.execute(schema.scores.insert(), new_scores)

    def completed(self, cell: int) -> set[tuple[int, int]]:
        """(position, repeat) of every item of the cell that has been answered."""
        table = schema.calls
        with self._reading() as connection:
            chosen = select(table.c.position, table.c.repeat).where(table.c.cell == cell, table.c.failure.is_(None))
            return {(position, repeat) for position, repeat in connection.execute(chosen)}

    def unscored(self, cell: int, grader: str, grader_version: str) -> Iterator[tuple[int, Sample, Call]]:
        """Answers that this grader has not judged, oldest first: a kill may come between an answer and its score."""
        calls, scores, samples = schema.calls, schema.scores, schema.samples
        judged = (
            select(scores.c.id)
            .where(scores.c.call == calls.c.id, scores.c.grader == grader, scores.c.grader_version == grader_version)
            .exists()
        )
        chosen = (
            select(calls.c.id, calls.c.payload, samples.c.content)
            .join(schema.cells, schema.cells.c.id == calls.c.cell)
            .join(samples, (samples.c.set == schema.cells.c.set) & (samples.c.position == calls.c.position))
            .where(calls.c.cell == cell, calls.c.failure.is_(None), ~judged)
            .order_by(calls.c.id)
        )
        with self._reading() as connection:
            for row in connection.execute(chosen).yield_per(MOST_READ_AT_ONCE):
                yield row.id, unpack(row.content, Sample), unpack(row.payload, Call)

    def columns(self, cell: int, *, with_names: bool = False) -> Columns:
        """The cell as arrays, one entry per (item, repeat); item names only where asked for."""
        with self._reading() as connection:
            return read_columns(connection, cell, with_names=with_names)

    def records(
        self,
        run_id: str,
        *,
        model: str | None = None,
        cell: int | None = None,
        sample_id: str | None = None,
        wrong_only: bool = False,
        limit: int | None = None,
    ) -> Iterator[Record]:
        """The run's records, streamed: the call that counts for each item, joined with its sample and scores."""
        chosen = [info for info in self.cells(run_id) if model in (None, info.model) and cell in (None, info.id)]
        with self._reading() as connection:
            found = (
                record for info in chosen for record in read_records(connection, run_id, info, sample_id, wrong_only)
            )
            yield from islice(found, limit)

    def reported(self, cell: int) -> list[dict[str, Any]]:
        """What the service said that it is: each (model, fingerprint) with the number of its answers."""
        table = schema.calls
        chosen = (
            select(table.c.model_reported, table.c.fingerprint, func.count())
            .where(table.c.cell == cell, table.c.failure.is_(None))
            .group_by(table.c.model_reported, table.c.fingerprint)
        )
        with self._reading() as connection:
            rows = connection.execute(chosen).all()
        return [{"model": model, "fingerprint": fingerprint, "answers": n} for model, fingerprint, n in rows]

    # Connections

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """One transaction that holds the write lock from its start, so that two writers wait for one another."""
        with self._engine.connect() as connection:
            try:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
                yield connection
                connection.commit()
            except DatabaseError as error:
                connection.rollback()
                raise StoreError(f"cannot write to the store {self.location}: {_reason(error)}") from error

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with self._engine.connect() as connection:
            try:
                yield connection
            except DatabaseError as error:
                raise StoreError(f"cannot read the store {self.location}: {_reason(error)}") from error

    def _change_run(self, run_id: str, **values: Any) -> None:
        with self._writing() as connection:
            self._update_run(connection, _number(connection, run_id), **values)

    @staticmethod
    def _update_run(connection: Connection, number: int, **values: Any) -> None:
        connection.execute(update(schema.runs).where(schema.runs.c.id == number).values(**values))


def _configure(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # transactions begin where we say so
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _create_privately(location: Path) -> None:
    """Only the user may read what was asked and answered."""
    location.parent.mkdir(parents=True, exist_ok=True)
    if not location.exists():
        os.close(os.open(location, os.O_CREAT | os.O_RDWR, 0o600))


def _reason(error: BaseException) -> str:
    return str(getattr(error, "orig", None) or error).split("\n", 1)[0]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _find_run(connection: Connection, reference: str) -> Any:
    table = schema.runs
    newest = select(table).order_by(table.c.id.desc())
    if reference == "last":
        return connection.execute(newest.limit(1)).first()
    if reference.isdigit() and (row := connection.execute(newest.where(table.c.id == int(reference))).first()):
        return row
    if row := connection.execute(newest.where(table.c.name == reference).limit(1)).first():
        return row
    if len(reference) < SHORTEST_PREFIX:
        return None
    found = connection.execute(newest.where(table.c.uid.startswith(reference, autoescape=True))).all()
    if len(found) > 1:
        raise UsageError(f"run {reference!r} is ambiguous: {', '.join(row.uid for row in found)}")
    return found[0] if found else None


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
    if last is None or last.host != socket.gethostname() or _is_alive(last.pid):
        return status
    return "interrupted"


def _is_alive(pid: int) -> bool:
    with suppress(PermissionError):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
    return True


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


def _sets_of(connection: Connection, cells: set[int]) -> dict[int, int]:
    table = schema.cells
    rows = connection.execute(select(table.c.id, table.c.set).where(table.c.id.in_(cells)))
    return {row.id: row.set for row in rows}


def _sample_row(key: tuple[int, int], sample: Sample) -> dict[str, Any]:
    return {
        "set": key[0],
        "position": key[1],
        "name": sample.id,
        "stratum": sample.stratum,
        "cluster": sample.cluster,
        "content": pack(sample),
    }


def _call_row(call_id: int, row: NewCall) -> dict[str, Any]:
    call, completion = row.call, row.call.completion
    timing = completion.timing if completion else None
    usage = completion.usage if completion else None
    return {
        "id": call_id,
        "cell": row.cell,
        "session": row.session,
        "position": row.position,
        "repeat": call.repeat,
        "digest": call.digest,
        "failure": call.failure.kind if call.failure else None,
        "stop_reason": completion.stop_reason if completion else None,
        "empty": completion is not None and not completion.likelihoods and not completion.text.strip(),
        "cached": completion is not None and completion.cached,
        "tries": len(call.attempts) + 1,
        "started_s": row.started_at_s,
        "ended_s": row.ended_at_s,
        "queued_s": timing.queued_s if timing else None,
        "ttft_s": timing.ttft_s if timing else None,
        "total_s": timing.total_s if timing else call.failed_after_s,
        "tpot_s": timing.tpot_s(usage.output_tokens if usage else None) if timing else None,
        "input_tokens": usage.input_tokens if usage else None,
        "output_tokens": usage.output_tokens if usage else None,
        "cached_input_tokens": usage.cached_input_tokens if usage else None,
        "reasoning_tokens": usage.reasoning_tokens if usage else None,
        "cost_usd": call.cost_usd,
        "model_reported": completion.model_reported if completion else None,
        "fingerprint": completion.fingerprint if completion else None,
        "gaps_us": _gaps_us(timing.gaps_ns) if timing else None,
        "payload": pack(_without_gaps(call)),
    }


def _gaps_us(gaps_ns: tuple[int, ...]) -> bytes | None:
    """The gaps as little-endian 32-bit microseconds; a gap of more than 71 minutes does not occur."""
    return b"".join(min(gap // 1000, 0xFFFFFFFF).to_bytes(4, "little") for gap in gaps_ns) if gaps_ns else None


def _without_gaps(call: Call) -> Call:
    if call.completion is None or call.completion.timing is None:
        return call
    timing = msgspec.structs.replace(call.completion.timing, gaps_ns=())
    return msgspec.structs.replace(call, completion=msgspec.structs.replace(call.completion, timing=timing))
