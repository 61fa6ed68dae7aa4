"""Ctrl-C twice, SIGTERM: the run ends at once, the store holds what was answered, and the run can be gone on with."""

import asyncio
import json
import os
import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from command import ok
from forks import Started
from server import chunk, finish, serving, stream, usage
from steelyard.cli import main
from steelyard.store import Store

ITEMS, AT_ONCE_S = 40, 4.0


def test_ctrl_c_while_a_run_sums_up_says_how_to_go_on(monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    Path("q.jsonl").write_text(json.dumps({"question": "q", "answer": "x"}) + "\n")
    with monkeypatch.context() as patched:
        patched.setattr("steelyard.engine.run.summarise_run", interrupted)
        assert main(["run", "q.jsonl", "-m", "baseline/constant:x", "--quiet"]) == 130
    assert "steelyard: interrupted. Go on with: steelyard run --resume 1" in capsys.readouterr().err
    assert main(["run", "--resume", "1", "--quiet"]) == 0


@pytest.mark.parametrize(
    "signals", [(signal.SIGINT, signal.SIGINT), (signal.SIGTERM,)], ids=["Ctrl-C twice", "SIGTERM"]
)
def test_a_run_that_is_told_to_end_at_once_does_and_loses_only_what_was_in_flight(signals):
    Path("q.jsonl").write_text("".join(json.dumps({"question": f"q{i}", "answer": "x"}) + "\n" for i in range(ITEMS)))
    hangs = True

    async def handle(request, body, number):
        if hangs and number > 10:
            await asyncio.sleep(60)
        return await stream(request, [chunk(content="x"), finish(), usage()])

    with serving(handle) as server:
        where = ["-m", "openai/m", "--base-url", server.url, "--concurrency", "4"]
        with Started("run", "q.jsonl", *where, "--quiet") as process:
            while len(server.requests) < 14:
                time.sleep(0.01)
            time.sleep(0.2)
            began_s = time.monotonic()
            for sent in signals:
                os.kill(process.pid, sent)
                time.sleep(0.1)
            _, told = process.communicate(30)
            assert process.returncode == 130
            assert time.monotonic() - began_s < AT_ONCE_S  # the grace for answers on their way is 5 s
        assert "steelyard run --resume 1" in told
        with closing(sqlite3.connect(".steelyard/steelyard.db")) as raw:
            assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        with Store.open() as store:
            (cell,) = store.cells(store.run("last").id)
            assert (store.run("last").status, len(store.completed(cell.id))) == ("interrupted", 10)
        hangs = False
        asked = len(server.requests)
        ok("run", "--resume", "1", "--quiet")
        assert len(server.requests) - asked == ITEMS - 10
    with Store.open() as store:
        estimates = {estimate.metric: estimate for estimate in store.summary(cell.id)}
        assert (estimates["accuracy"].value, estimates["accuracy"].n) == (1.0, ITEMS)


@pytest.mark.parametrize("workers", [(), ("--workers", "2")], ids=["alone", "by workers"])
def test_what_was_cut_off_may_be_billed_and_counts_against_both_budgets(workers):
    """Four requests are on their way: each may cost 52 bytes and tokens at a tenth of a cent."""
    Path("q.jsonl").write_text("".join(json.dumps({"question": f"q{i}", "answer": "x"}) + "\n" for i in range(ITEMS)))

    async def handle(request, body, number):
        await asyncio.sleep(60)

    ok("budget", "set", "9")
    with serving(handle) as server:
        paid = ["--price", "1000/1000", "--budget", "8", "--max-tokens", "20"]
        where = ["-m", "openai/m", "--base-url", server.url, "--concurrency", "4"]
        with Started("run", "q.jsonl", *where, *paid, *workers, "--quiet") as process:
            while len(server.requests) < 4:
                time.sleep(0.01)
            time.sleep(0.2)
            for _ in range(2):
                os.kill(process.pid, signal.SIGINT)
                time.sleep(0.1)
            process.communicate(30)
    with Store.open() as store:
        in_doubt_usd = store.budget.spent_of_run(store.run("last").id)
        of_the_store_usd = store.budget.account().spent_usd
    assert in_doubt_usd == pytest.approx(4 * 0.052)
    assert of_the_store_usd == pytest.approx(in_doubt_usd)
