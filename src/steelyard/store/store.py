"""The store: one SQLite file, or one PostgreSQL database, that holds every run, every answer and every judgement.

What ``append_calls`` and ``append_scores`` return from is durable, also against a power cut (WAL with synchronous
FULL; a server's disk as its owner has set it up). Any thread may use a store; writes take turns.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any

from sqlalchemy import Connection

from steelyard.errors import StoreHeldUp
from steelyard.store.database.dialect import spoken
from steelyard.store.database.opening import Database, database_at, file_of
from steelyard.store.nouns import NewCall, NewScore
from steelyard.store.pen import Pen
from steelyard.store.reading.cell_scores import read_judged_items
from steelyard.store.reading.columns import read_columns, read_names
from steelyard.store.reading.conditions import Condition
from steelyard.store.reading.found import FoundStore
from steelyard.store.reading.history import History
from steelyard.store.reading.pages import Pages
from steelyard.store.reading.progress import Progress, progress
from steelyard.store.reading.records import START, Place, Weighed, piece_behind, read_records, read_weighed
from steelyard.store.reading.redaction import redact
from steelyard.store.rows import cells, runs, sessions, unfinished
from steelyard.store.rows.account import CUT_OFF_CALLS, CUT_OFF_USD, Budget
from steelyard.store.rows.answers import Answers
from steelyard.store.rows.baselines import Baselines
from steelyard.store.rows.runs import number_of, run_info
from steelyard.store.rows.signs import Signs
from steelyard.store.rows.verdicts import VerdictStore
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


class Store:
    """An open store; use it as a context manager.

    ``answers`` and ``verdicts`` find what may be used again, ``budget`` is what stands over all its runs, ``baselines``
    are the runs that others are held against; ``pages`` reads runs and answers a page at a time, ``history`` what
    became of an item; ``found`` keeps what a large run shows, ``signs`` what its process tells while it goes on.
    """

    def __init__(self, database: Database) -> None:
        self._database, self._pen = database, Pen(database)
        self._reading, self._writing = self._pen.connections.reading, self._pen.connections.writing
        self.location = database.location
        self._unheard_of: set[int] = set()
        """Sessions that may stand here although they were never begun."""
        self.answers = Answers(self._reading, self._writing, number_of)
        self.verdicts = VerdictStore(self._reading)
        self.baselines = Baselines(self._reading, self._writing)
        self.pages = Pages(self._reading, number_of, run_info)
        self.signs = Signs(self._writing)
        self.history = History(self._reading, run_info)
        self.found = FoundStore(self._reading, self._writing, number_of, self.pages.holds_more_than)
        self.budget = Budget(self._reading, self._writing, number_of, lambda pid, at: sessions.is_alive(pid, at))

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
        store = cls(database_at(url_or_path))
        store._pen.open(create=create)
        return store

    def close(self) -> None:
        """Close every connection."""
        self._pen.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Runs

    def create_run(
        self,
        *,
        name: str | None,
        plan: dict[str, Any],
        plan_digest: str,
        tags: Sequence[str] = (),
        run_id: str | None = None,
    ) -> RunInfo:
        """A new run with the next number; without a name it is called after its number.

        ``run_id`` is that of one which may have been made before nobody heard of it: it is made once.
        """
        with self._writing() as connection:
            return runs.add_run(connection, uid=run_id, name=name, plan=plan, plan_digest=plan_digest, tags=tags)

    def run(self, reference: str) -> RunInfo:
        """The run that ``last``, a number, a name, a tag or the start of an id means, in this order; the newest one."""
        with self._reading() as connection:
            return runs.run_called(connection, reference)

    def runs(self, limit: int | None = None) -> list[RunInfo]:
        """The runs, newest first."""
        with self._reading() as connection:
            return runs.newest_runs(connection, limit)

    def set_status(self, run_id: str, status: RunStatus) -> None:
        """Record how the run stands; anything but ``running`` also notes when."""
        with self._writing() as connection:
            runs.set_status(connection, number_of(connection, run_id), status)

    def set_plan(self, run_id: str, plan: dict[str, Any], plan_digest: str) -> None:
        """Record the plan of a run that was extended."""
        with self._writing() as connection:
            runs.set_plan(connection, number_of(connection, run_id), plan, plan_digest)

    def rename(self, run_id: str, name: str) -> None:
        """Give the run another name."""
        with self._writing() as connection:
            runs.rename(connection, number_of(connection, run_id), name)

    def tag(self, run_id: str, tag: str) -> None:
        """Add a tag; having it already is no fault."""
        with self._writing() as connection:
            runs.add_tag(connection, number_of(connection, run_id), tag)

    def untag(self, run_id: str, tag: str) -> None:
        """Take a tag away."""
        with self._writing() as connection:
            runs.take_tag(connection, number_of(connection, run_id), tag)

    def delete(self, run_id: str) -> None:
        """Remove the run with its answers and scores. Items stay: other runs may have asked them."""
        with self._writing() as connection:
            runs.delete_run(connection, number_of(connection, run_id))

    def progress(self, run_id: str) -> Progress:
        """How far the run has come, and at what pace, from what it has written so far."""
        with self._reading() as connection:
            connection.exec_driver_sql(spoken(connection).begin_to_read)  # all counts are of one moment
            return progress(connection, number_of(connection, run_id))

    # Sessions and cells

    @property
    def is_in_place(self) -> bool:
        """Whether ``check_place`` would find nothing to do, as far as that is seen without waiting."""
        return self._database.is_in_place

    def check_place(self) -> None:
        """Raise where what is written now would be lost, or is another process's to write; each write here does so."""
        self._database.check_place()

    def check_writable(self) -> None:
        """Raise where nothing can be written until somebody sees to it, which a run would wait for in vain."""
        self._database.check_writable()

    def begin_session(self, run_id: str, provenance: dict[str, Any]) -> int:
        """A process begins to work on the run; one run is worked on by one process at a time.

        It may be tried again where the store was held up: of a session of which nobody heard nothing is left.
        """
        session: int | None = None
        try:
            with self._writing() as connection:
                sessions.remove_sessions(connection, self._unheard_of)
                session = sessions.add_session(connection, number_of(connection, run_id), provenance)
                self._database.hold(session)
        except StoreHeldUp:
            if session is not None:
                self._database.release(session)
                self._unheard_of.add(session)
            raise
        self._unheard_of.clear()
        return session

    def check_free(self, run_id: str) -> None:
        """Raise where another process is working on the run."""
        with self._reading() as connection:
            sessions.check_free(connection, number_of(connection, run_id))

    def add_provenance(self, session: int, found: dict[str, Any]) -> None:
        """What was found out of a session's origin after it began; it takes the place of what was there by its name."""
        with self._writing() as connection:
            sessions.add_provenance(connection, session, found)

    def end_session(self, session: int, resources: dict[str, float]) -> None:
        """The process is done with the run, and this is what it took."""
        with self._writing() as connection:
            sessions.end_session(connection, session, resources)
        self._database.release(session)

    def note_cut_off(self, run_id: str, calls: int, usd: float | None) -> None:
        """What the kill of the run's last session can have cost; ``None`` where a price is unknown. Noted once."""
        figures = {CUT_OFF_CALLS: float(calls)} | ({} if usd is None else {CUT_OFF_USD: usd})
        with self._writing() as connection:
            *_, last = sessions.sessions_of(connection, number_of(connection, run_id))
            assert last.id is not None
            sessions.note_figures(connection, last.id, figures)

    def sessions(self, run_id: str) -> list[SessionInfo]:
        """The stretches of the run, oldest first."""
        with self._reading() as connection:
            return sessions.sessions_of(connection, number_of(connection, run_id))

    def add_cell(self, run_id: str, info: CellInfo) -> int:
        """The row of a cell; one that is there already keeps its row and takes the new counts."""
        with self._writing() as connection:
            return cells.add_cell(connection, number_of(connection, run_id), info)

    def cells(self, run_id: str) -> list[CellInfo]:
        """The cells of the run, in the order in which they were planned."""
        with self._reading() as connection:
            return cells.cells_of(connection, number_of(connection, run_id))

    def set_summary(self, cell: int, estimates: Sequence[Estimate] | None) -> None:
        """Keep the cell's estimates, so that showing them reads one row; ``None``: those kept count no more."""
        with self._writing() as connection:
            cells.set_summary(connection, cell, estimates)

    def summary(self, cell: int) -> tuple[Estimate, ...] | None:
        """The cell's estimates, or ``None`` before there are any."""
        with self._reading() as connection:
            return cells.summary_of(connection, cell)

    def set_grading(self, info: CellInfo, estimates: Sequence[Estimate]) -> None:
        """Keep what another grader makes of a cell's answers; ``info`` is the cell's with that grader as protocol."""
        with self._writing() as connection:
            cells.set_grading(connection, info, estimates)

    def gradings(self, run_id: str) -> list[tuple[CellInfo, tuple[Estimate, ...]]]:
        """What other graders made of the run's answers."""
        with self._reading() as connection:
            return cells.gradings_of(connection, number_of(connection, run_id))

    def add_look(self, cell: int, look: Look) -> None:
        """Keep what a look at the cell decided: it is not taken again."""
        with self._writing() as connection:
            cells.add_look(connection, cell, look)

    def looks(self, run_id: str) -> dict[int, list[Look]]:
        """Every look of the run in the order taken, by the cell that it is about."""
        with self._reading() as connection:
            return cells.looks_of(connection, number_of(connection, run_id))

    # Calls and scores

    def append(self, calls: Sequence[NewCall], scores: Sequence[NewScore]) -> list[int]:
        """Write calls, and judgements of earlier ones, in one transaction; return the calls' ids when it is durable."""
        return self._pen.append(calls, scores)

    def append_once(self, calls: Sequence[NewCall], scores: Sequence[NewScore]) -> list[int]:
        """``append``, where that very transaction may have been made before nobody heard of it: whole or not at all."""
        return self._pen.append_once(calls, scores)

    def append_calls(self, rows: Sequence[NewCall]) -> list[int]:
        """Write calls in one transaction; return their ids when they are durable."""
        return self.append(rows, ())

    def append_scores(self, rows: Sequence[NewScore]) -> None:
        """Write judgements in one transaction; they are durable when this returns."""
        self.append((), rows)

    def completed(self, cell: int) -> set[tuple[int, int]]:
        """(position, repeat) of every item of the cell that has been answered."""
        with self._reading() as connection:
            return unfinished.completed(connection, cell)

    def unscored(
        self, cell: int, grader: str, grader_version: str, *, after: int = 0, most: int | None = None
    ) -> Iterator[tuple[int, Sample, Call]]:
        """Answers that this grader has not judged, oldest first: a kill may come between an answer and its score.

        One that it left unscored (its judge or its sandbox failed) counts as not judged. ``after`` is the call that was
        the last one of those known; ``most`` come at once.
        """
        with self._reading() as connection:
            yield from unfinished.unscored(connection, cell, grader, grader_version, after, most)

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

    def judged_items(
        self, cell: int, metric: str, *, grader: str | None = None, grader_version: str | None = None
    ) -> list[int]:
        """The positions of the items that were judged by a metric, also of those that the grader did not decide on.

        In ``columns`` an item that was not decided on looks like one that was never judged.
        """
        with self._reading() as connection:
            return read_judged_items(connection, cell, grader, grader_version, metric)

    def names(self, cell: int, among: Sequence[int] | None = None) -> dict[int, str]:
        """What the items of a cell that were asked are called, by their position; only a few, where they are given."""
        with self._reading() as connection:
            return read_names(connection, cell, among)

    def records(
        self,
        run_id: str,
        *,
        model: str | None = None,
        cell: int | None = None,
        sample_id: str | None = None,
        repeat: int | None = None,
        where: Condition | None = None,
        limit: int | None = None,
        reveal: bool = False,
    ) -> Iterator[Record]:
        """The run's records, streamed: the call that counts for each item, joined with its sample and scores.

        ``where`` is what they must fit. Texts of a confidential benchmark are left out unless ``reveal``.
        """
        chosen = [info for info in self.cells(run_id) if model in (None, info.model) and cell in (None, info.id)]
        with self._reading() as connection:
            found = (
                redact(record) if info.is_confidential and not reveal else record
                for info in chosen
                for record in read_records(connection, run_id, info, sample_id, repeat=repeat, where=where)
            )
            yield from islice(found, limit)

    def records_in_pieces(
        self, run_id: str, info: CellInfo, *, where: Condition | None = None, reveal: bool = False
    ) -> Iterator[list[Record]]:
        """The same of one cell, some at once: nothing of the store is held while nobody asks for more.

        A piece is of one moment, all of them are not; of few that fit, most pieces are empty.
        """
        after: Place | None = START
        while after is not None:
            with self._reading() as connection:
                connection.exec_driver_sql(spoken(connection).begin_to_read)
                piece = piece_behind(connection, info, after)
                found = list(read_records(connection, run_id, info, where=where, piece=piece))
            yield [redact(one) if info.is_confidential and not reveal else one for one in found]
            after = piece.last

    def weighed(self, info: CellInfo) -> list[Weighed | None]:
        """How sure the model was of each answer and which stages it took, in the order of the cell's columns."""
        with self._reading() as connection:
            return read_weighed(connection, info)

    def reported(self, cell: int) -> list[dict[str, Any]]:
        """What the service said that it is: each (model, fingerprint) with its number of answers. Reads them all."""
        with self._reading() as connection:
            return cells.reported_by(connection, cell)

    def reported_first(self, cell: int) -> tuple[str | None, str | None]:
        """The (model, fingerprint) of one answer of the cell that names a model."""
        with self._reading() as connection:
            return cells.reported_first_by(connection, cell)

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
