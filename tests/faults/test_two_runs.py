"""Two runs at once on one store, and readers beside them: nobody fails, nobody waits long, nothing is mixed up."""

import asyncio
import json
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from forks import Started
from server import chunk, finish, serving, stream, usage
from steelyard.store import Store

ITEMS = 300
LONGEST_READ_S = 2.0


async def echo(request, body, number):
    await asyncio.sleep(0.1 if body["model"] == "slow" else 0.01)
    text = body["messages"][-1]["content"].removeprefix("Say ")
    return await stream(request, [chunk(content=text), finish(), usage()])


@pytest.fixture
def server():
    lines = [json.dumps({"question": f"Say {i}", "answer": str(i)}) for i in range(ITEMS)]
    Path("cases.jsonl").write_text("\n".join(lines) + "\n")
    with serving(echo) as found:
        yield found


def started(*arguments):
    return Started("run", *arguments, "--quiet")


def words_of(model, server):
    return ["cases.jsonl", "-m", f"openai/{model}", "--base-url", server.url, "--concurrency", "4", "--name", model]


def run_of(model, server):
    return started(*words_of(model, server))


def ended(process):
    _, told = process.communicate(timeout=90)
    assert process.returncode == 0, told


def test_two_processes_on_one_store_both_end_whole_while_others_read(server):
    processes = [run_of(model, server) for model in ("a", "b")]
    longest_s, reads, started_s = 0.0, 0, time.monotonic()
    while any(process.poll() is None for process in processes):
        if not Store.exists():
            time.sleep(0.01)
            continue
        began_s = time.monotonic()
        with Store.open() as store:
            for run in store.runs():
                reads += sum(1 for _ in store.records(run.id))
        longest_s = max(longest_s, time.monotonic() - began_s)
    took_s = time.monotonic() - started_s
    for process in processes:
        ended(process)
    assert reads > ITEMS
    assert longest_s < max(LONGEST_READ_S, took_s / 4)  # who has to wait for the runs' end reads as long as they take
    with Store.open() as store:
        for name in ("a", "b"):
            run = store.run(name)
            (cell,) = store.cells(run.id)
            estimates = {estimate.metric: estimate for estimate in store.summary(cell.id)}
            assert (run.status, cell.model) == ("done", f"openai/{name}")
            assert (estimates["accuracy"].value, estimates["accuracy"].n) == (1.0, ITEMS)
            assert {record.call.request.model for record in store.records(run.id)} == {name}
    asked = [(turn["model"], turn["messages"][-1]["content"]) for turn in server.requests]
    assert len(asked) == len(set(asked)) == 2 * ITEMS


@pytest.mark.long
def test_a_reader_that_never_lets_go_does_not_hold_a_run_up(server):
    ended(run_of("before", server))
    with closing(sqlite3.connect(".steelyard/steelyard.db", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        seen = reader.execute("SELECT count(*) FROM calls").fetchone()
        ended(run_of("beside", server))
        assert reader.execute("SELECT count(*) FROM calls").fetchone() == seen
    with Store.open() as store:
        assert store.run("beside").status == "done"


@pytest.mark.long
def test_a_run_waits_for_another_writer(server):
    ended(run_of("before", server))
    process = run_of("beside", server)
    while len(server.requests) < ITEMS + ITEMS // 3:
        time.sleep(0.01)
    with closing(sqlite3.connect(".steelyard/steelyard.db", isolation_level=None, timeout=30)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        time.sleep(2.0)
        writer.execute("ROLLBACK")
    ended(process)
    with Store.open() as store:
        (cell,) = store.cells(store.run("beside").id)
        assert {estimate.metric: estimate for estimate in store.summary(cell.id)}["accuracy"].n == ITEMS


def test_a_run_that_is_being_worked_on_cannot_be_resumed_beside(server):
    words = [sys.executable, "-m", "steelyard", "run", *words_of("slow", server), "--quiet"]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while len(server.requests) < 20:
        time.sleep(0.01)
    beside = started("--resume", "slow")
    _, told = beside.communicate(timeout=60)
    assert process.poll() is None
    assert beside.returncode == 2
    assert f"is being worked on by process {process.pid}" in told
    process.kill()
    while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    with Store.open() as store:
        assert store.run("slow").status == "interrupted"  # also before anybody has asked how the process ended
    process.communicate()
    ended(started("--resume", "slow"))


@pytest.mark.long
def test_of_two_that_resume_a_killed_run_at_once_one_is_refused(server):
    process = run_of("slow", server)
    while len(server.requests) < 20:
        time.sleep(0.01)
    process.kill()
    process.communicate()
    asked = len(server.requests)
    both = [started("--resume", "slow") for _ in range(2)]
    told = [process.communicate(timeout=60)[1] for process in both]
    assert sorted(process.returncode for process in both) == [0, 2], told
    assert len(server.requests) - asked <= ITEMS
