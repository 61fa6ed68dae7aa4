"""How soon the dashboard answers over a store of a million records: each page as a browser asks for it, on one machine.

The store is that of ``memory.py --show``: one run, 2,000 items, each asked 500 times, and the same once more, with an
item of fifty wrong. A page's time is the median of five, after a first one that stands beside it with the processor
time that it took. The first pages of everything must come within 300 ms; what finds little is given after 0.2 s as it
is, and goes on by a link. What is made of all answers shows what is kept at its first look; how long it was in the
making is printed.
"""

from __future__ import annotations

import argparse
import http.client
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
}
WRONG = 50
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
        for table, changed in own.items():
            names = [name for _, name, *_ in connection.execute(f"PRAGMA table_info({table})")]
            values = ", ".join(({"id": "2"} | changed).get(name, f'"{name}"') for name in names)
            quoted = ", ".join(f'"{name}"' for name in names)
            connection.execute(f"INSERT INTO {table} ({quoted}) SELECT {values} FROM {table}")
    connection.commit()
    connection.close()


def made(connection: http.client.HTTPConnection, path: str) -> tuple[float, float, float]:
    """Of what is made of all answers: the first look's time and processor time, and how long until it was there."""
    cpu_s, began = time.process_time(), time.perf_counter()
    page = asked(connection, path)
    first, cpu_s = time.perf_counter() - began, time.process_time() - cpu_s
    while b"goes on by itself" in page:
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


def report(store: Store) -> bool:
    """Serve, ask, print; whether every page kept its bound."""
    app = dashboard(store, access("127.0.0.1", is_open=True), about=about_benchmarks, on_fault=print)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    connection = http.client.HTTPConnection("127.0.0.1", server.servers[0].sockets[0].getsockname()[1])
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
            return 0 if report(store) else 1


if __name__ == "__main__":
    sys.exit(main())
