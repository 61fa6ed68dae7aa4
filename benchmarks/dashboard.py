"""How soon the dashboard answers over a store of a million records: each page as a browser asks for it, on one machine.

The store is that of ``memory.py --show``: one run, 2,000 items of twenty subjects, each asked 500 times, and the same
once more, with an item of fifty wrong and beside it another model that was asked each item once. A page's time is the
median of five, after a first one that stands beside it with the processor time that it took. The first pages of
everything must come within 300 ms; what finds little is given after 0.15 s as it is, and goes on by a link. What is
made of all answers shows what is kept at its first look; how long it was in the making is printed.

Then pages are asked for while something is under way: counts of several filters, of which each looks all answers
through, and a download of a million answers.
"""

from __future__ import annotations

import argparse
import http.client
import resource
import sqlite3
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from urllib.parse import quote

import uvicorn
from memory import RECORDS, SMALL, measure, multiply

from steelyard.cli.about import about_benchmarks
from steelyard.dashboard.app import access, dashboard
from steelyard.engine.summary import summarise_run
from steelyard.providers.by_hand import request_by_hand
from steelyard.store import Store

AT_MOST_S = 0.3
PAGES = {
    "/": "runs",
    "/runs/1": "a run of a million answers",
    "/runs/1/answers": "its answers, first page",
    "/runs/1/answers?after=1.1000.20": "its answers, from the middle",
    "/runs/1/answers?state=right": "those that are right",
    "/runs/1/answers?order=slowest": "the slowest, of what is looked through by then",
    "/answers/500000": "one answer",
    f"/answers/{2 * RECORDS + 1_000}?against=2": "one answer, beside it another model's",
    f"/answers/{RECORDS + 1_000}?against=3&state=right": "the same the other way round, among those that are right",
    "/runs/1/answers?stratum=subject+7": "those of a subject",
    "/runs/1/answers?stratum=subject+7&state=wrong": "wrong ones of a subject, of which there are none",
    "/runs/2/answers?stratum=subject+7&where=score+%3C+1": "those of a subject that fit a filter, one of fifty",
    f"/item?name={SMALL}/5": "an item that was answered 500 times",
    "/cases?run=1": "case by case, each asked 500 times",
    "/cases?run=1&shown=wrong": "cases that no model has right, of which there are none",
    "/money": "cost",
    "/baselines": "baselines",
    "/runs/1/answers?state=failed": "failed calls, of which there are none",
    "/runs/1/answers?state=unscored": "answers without a score, of which there are none",
    "/answers/500000?state=wrong": "one answer, beside it wrong ones, of which there are none",
    "/runs/1/answers?state=wrong": "wrong ones, of which there are none",
    "/runs/1/answers?text=nowhere": "a text that stands nowhere, in the run",
    "/search?q=nowhere": "a text that stands nowhere, in all runs",
    f"/runs/1/answers?where={quote('score = 1 and output_tokens > 1')}": "a filter that most answers fit",
    f"/runs/1/answers?where={quote('latency_s > 3600')}": "a filter that no call fits",
    f"/runs/1/answers?where={quote('score < 1 and latency_s > 0')}": "a filter that no score fits",
}
MADE = {
    "/runs/1/provenance": "where it comes from",
    "/trends": "trends",
    "/compare?run=1&run=2": "two runs compared",
    "/runs/1?charts=yes": "the charts of a run",
    "/runs/1/answers?model=scripted": "outcomes of all answers",
    "/runs/1/answers?stratum=subject+5": "outcomes of a subject",
    "/runs/1/answers?where=latency_s+%3E+0": "outcomes and subjects of what fits a filter, which are all",
    "/runs/2/answers?model=scripted&where=score+%3C+1&state=wrong": "the same of one in fifty",
}
ON_ITS_WAY = (b"goes on by itself", b'data-live="0.5"')
MEANWHILE = (
    "/",
    "/runs/1",
    "/runs/1/answers",
    "/answers/500000",
    f"/answers/{2 * RECORDS + 1_000}?against=2",
    "/money",
)
"""Pages that are asked for while something is under way."""
FILTERS = [f"/runs/1/answers?where={quote(f'output_tokens > {n}')}" for n in range(8)]
DOWNLOADS = (
    f"/runs/1/answers.csv?where={quote('latency_s > 3600')}",
    "/runs/1/answers.csv",
    "/runs/1/answers.jsonl",
)
AT_MOST_GROWTH_MB = 60.0
WRONG, SUBJECTS = 50, 20
POLLED_S = 0.5


def seconds(connection: http.client.HTTPConnection, path: str) -> tuple[float, float, float]:
    """The median of five requests, after a first one: its time, and the processor time of server and client."""
    taken, cpu_s = [], time.process_time()
    for _ in range(6):
        began = time.perf_counter()
        asked(connection, path)
        taken.append(time.perf_counter() - began)
        if len(taken) == 1:
            cpu_s = time.process_time() - cpu_s
    return statistics.median(taken[1:]), taken[0], cpu_s


def once_more(place: Path) -> None:
    """Run 1 once more as run 2, one of so many items wrong."""
    own = {
        "runs": {"uid": "'again' || uid", "name": "'run-2'"},
        "sessions": {"run": "2"},
        "cells": {"run": "2"},
        "calls": {"id": f"id + {RECORDS}", "cell": "2", "session": "2"},
        "scores": {
            "id": f"id + ({RECORDS} << 16)",
            "value": f"CASE WHEN (id >> 16) % {SMALL} % {WRONG} THEN value ELSE 0 END",
        },
    }
    connection = sqlite3.connect(place)
    if connection.execute("SELECT count(*) FROM runs").fetchone()[0] == 1:
        connection.execute(f"UPDATE samples SET stratum = 'subject ' || position % {SUBJECTS}")
        for table, changed in own.items():
            copy_rows(connection, table, {"id": "2"} | changed)
        beside = {"id": "3", "run": "2", "model": "'beside'", "info": "replace(info, 'scripted', 'beside')"}
        copy_rows(connection, "cells", beside, "id = 1")
        first = f"id <= {SMALL}"
        copy_rows(connection, "calls", {"id": f"id + {2 * RECORDS}", "cell": "3", "session": "2"}, first)
        copy_rows(connection, "scores", {"id": f"id + ({2 * RECORDS} << 16)"}, first.replace("id", "call"))
    connection.commit()
    connection.close()


def copy_rows(connection: sqlite3.Connection, table: str, changed: dict[str, str], which: str = "true") -> None:
    """Rows of the table once more, with these columns changed."""
    rows = connection.execute(f"PRAGMA table_info({table})")  # names no column that is worked out
    quoted = {name: f'"{name}"' for _, name, *_ in rows}
    values = ", ".join((quoted | changed)[name] for name in quoted)
    copying = f"INSERT INTO {table} ({', '.join(quoted.values())}) SELECT {values} FROM {table} WHERE {which}"
    connection.execute(copying)


def made(connection: http.client.HTTPConnection, path: str) -> tuple[float, float, float]:
    """Of what is made of all answers: the first look's time and processor time, and how long until it was there."""
    cpu_s, began = time.process_time(), time.perf_counter()
    page = asked(connection, path)
    first, cpu_s = time.perf_counter() - began, time.process_time() - cpu_s
    while any(sign in page for sign in ON_ITS_WAY):
        time.sleep(POLLED_S)
        page = asked(connection, path)
    return first, cpu_s, time.perf_counter() - began


def asked(connection: http.client.HTTPConnection, path: str) -> bytes:
    """The page."""
    connection.request("GET", path)
    response = connection.getresponse()
    body = response.read()
    assert response.status == 200, (path, response.status, body[-300:])
    return body


class Meanwhile:
    """How soon pages came, asked for one after another as long as something is under way."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port)
        self._ended = threading.Event()
        self._taken: list[tuple[float, str]] = []
        self._asking = threading.Thread(target=self._ask)

    def __enter__(self) -> Meanwhile:
        self._asking.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._asking.join()
        self._connection.close()

    def _ask(self) -> None:
        while not self._ended.is_set():
            for path in MEANWHILE:
                began = time.perf_counter()
                asked(self._connection, path)
                self._taken.append((time.perf_counter() - began, path))

    def told(self) -> bool:
        """Print it; whether the median kept the bound."""
        median = statistics.median(taken for taken, _ in self._taken)
        worst, path = max(self._taken)
        print(f"{1000 * median:8.1f} ms  worst {1000 * worst:8.1f} ms ({path}), {len(self._taken)} pages meanwhile")
        return median <= AT_MOST_S


def counted_at_once(port: int) -> bool:
    """Several filters, one asked for after another as by someone who tries them, and only the last is waited for."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    firsts = []
    for path in FILTERS[:-1]:
        began = time.perf_counter()
        asked(connection, path)
        firsts.append(time.perf_counter() - began)
    with Meanwhile(port) as meanwhile:
        first, _, until = made(connection, FILTERS[-1])
    connection.close()
    worst = max([*firsts, first])
    print(f"{len(FILTERS)} filters: worst first look {1000 * worst:.1f} ms, the last one counted in {until:.1f} s")
    return meanwhile.told() and worst <= AT_MOST_S


def downloaded(port: int, path: str) -> bool:
    """A file to its end: when it began, what it took, what memory grew by, how soon pages came."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    before_mb, began, lines = peak_mb(), time.perf_counter(), 0
    with Meanwhile(port) as meanwhile:
        connection.request("GET", path)
        response = connection.getresponse()
        first = response.read1(1)
        first_s = time.perf_counter() - began
        while block := response.read(1 << 20):
            lines += block.count(b"\n")
    connection.close()
    taken_s, growth_mb = time.perf_counter() - began, peak_mb() - before_mb
    print(f"{path}: began after {1000 * first_s:.1f} ms ({first!r}), {lines:,} lines in {taken_s:.1f} s, "
          f"memory + {growth_mb:.1f} MB")  # fmt: skip
    return meanwhile.told() and first_s <= AT_MOST_S and growth_mb <= AT_MOST_GROWTH_MB


def left(port: int, place: Path) -> bool:
    """Clients that stop taking a file, and one that goes away: whether the store's log can be emptied meanwhile."""
    stalled = [http.client.HTTPConnection("127.0.0.1", port) for _ in range(20)]
    for connection in stalled:
        connection.request("GET", "/runs/1/answers.csv")
        connection.getresponse().read1(1)
    stalled.pop().close()
    with Meanwhile(port) as meanwhile:
        time.sleep(5)
    with sqlite3.connect(place) as writer:
        (is_busy, *_) = writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    for connection in stalled:
        connection.close()
    print(f"{len(stalled)} clients that do not go on: the log can {'not ' if is_busy else ''}be emptied")
    return meanwhile.told() and not is_busy


def peak_mb() -> float:
    """The most memory that the process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def report(store: Store, place: Path) -> bool:
    """Serve, ask, print; whether every page kept its bound."""
    app = dashboard(
        store, access("127.0.0.1", is_open=True), about=about_benchmarks, by_hand=request_by_hand, on_fault=print
    )
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    connection = http.client.HTTPConnection("127.0.0.1", port)
    is_kept = True
    for path, what in PAGES.items():
        taken, first, cpu_s = seconds(connection, path)
        is_kept &= taken <= AT_MOST_S
        print(f"{1000 * taken:8.1f} ms  first {1000 * first:8.1f} ms, cpu {1000 * cpu_s:6.1f} ms  {what}")
    for path, what in MADE.items():
        first, cpu_s, until = made(connection, path)
        is_kept &= first <= AT_MOST_S
        print(f"first {1000 * first:8.1f} ms, cpu {1000 * cpu_s:6.1f} ms, made in {until:5.1f} s  {what}")
    connection.close()
    is_kept &= counted_at_once(port)
    for path in DOWNLOADS:
        is_kept &= downloaded(port, path)
    is_kept &= left(port, place)
    server.should_exit = True
    thread.join()
    return is_kept


def main() -> int:
    """Make the store, or take one that was made, and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, help="a store that was made so before")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        place = options.store or Path(name) / f"{SMALL}.db"
        if options.store is None:
            measure(Path(name), SMALL)
            multiply(place, SMALL, RECORDS // SMALL)
            once_more(place)
            with Store.open(place) as store:
                for run in store.runs():
                    summarise_run(store, run.id)
        with Store.open(place) as store:
            return 0 if report(store, place) else 1


if __name__ == "__main__":
    sys.exit(main())
