"""The store: durable, append-only, versioned, and readable back as what was written."""

import os
import random
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from steelyard.errors import StoreError, UnknownName, UsageError
from steelyard.store import NewCall, NewScore, Store
from steelyard.store.export import formula_safe
from steelyard.types import (
    Call,
    CellInfo,
    Completion,
    Failure,
    Message,
    Prompt,
    Request,
    Sample,
    Score,
    Timing,
    Usage,
)


def cell_info(**changes):
    fields = {
        "model": "m",
        "benchmark": "quiz",
        "protocol": "p",
        "protocol_version": "1",
        "benchmark_version": "1",
        "kind": "chat",
        "dataset": "quiz",
        "dataset_digest": "d" * 64,
        "prompt_digest": "e" * 64,
        "origin": "here",
        "items": 10,
        "available": 10,
    }
    return CellInfo(**(fields | changes))


def new_call(cell, session, position, *, repeat=0, failure=None, text="yes", cost_usd=None, at_s=0.0):
    request = Request(model="m", prompt=Prompt(kind="chat", messages=(Message(role="user", content="q"),)))
    timing = Timing(
        scheduled_ns=0, dispatched_ns=10**6, first_token_ns=3 * 10**6, last_token_ns=9 * 10**6, ended_ns=10**7,
        streamed=True, gaps_ns=(2 * 10**6, 4 * 10**6),
    )  # fmt: skip
    completion = Completion(text=text, stop_reason="stop", timing=timing, usage=Usage(input_tokens=5, output_tokens=3))
    call = Call(
        sample_id=f"quiz/{position}",
        repeat=repeat,
        request=request,
        digest=request.digest("p/1", "here"),
        started_at="2026-01-01T00:00:00.000+00:00",
        completion=None if failure else completion,
        failure=failure,
        failed_after_s=1.5 if failure else None,
        cost_usd=cost_usd,
    )
    sample = Sample(id=f"quiz/{position}", input="q", target="yes", stratum="even" if position % 2 == 0 else "odd")
    return NewCall(
        cell=cell, session=session, position=position, sample=sample, call=call, started_at_s=at_s, ended_at_s=at_s + 1
    )


@pytest.fixture
def opened():
    with Store.open("test.db") as store:
        run = store.create_run(name="first", plan={"limit": 3}, plan_digest="x")
        session = store.begin_session(run.id, {"python": "3"})
        cell = store.add_cell(run.id, cell_info())
        yield store, run, session, cell


def score(call, value, version="1"):
    return NewScore(call=call, grader="p", grader_version=version, scores={"accuracy": Score(value=value, answer="a")})


def test_what_is_written_is_read_back(opened):
    store, run, session, cell = opened
    rows = [new_call(cell, session, i, cost_usd=0.5) for i in range(4)]
    ids = store.append_calls(rows)
    store.append_scores([score(call, 1.0) for call in ids[:3]])
    records = list(store.records(run.id))
    assert [record.sample for record in records] == [row.sample for row in rows]
    assert records[0].scores["accuracy"] == Score(value=1.0, answer="a")
    assert records[3].scores == {}
    assert records[0].call.completion.timing.ttft_s == pytest.approx(0.002)
    assert [record.sample.id for record in store.records(run.id, wrong_only=True)] == ["quiz/3"]
    assert [record.sample.id for record in store.records(run.id, sample_id="quiz/2")] == ["quiz/2"]
    assert len(list(store.records(run.id, limit=2))) == 2


def test_columns_hold_one_entry_per_item_and_repeat_the_answer_before_the_failure(opened):
    store, _, session, cell = opened
    timeout = Failure(kind="timeout", message="slow")
    first = store.append_calls(
        [
            new_call(cell, session, 0, failure=timeout, cost_usd=0.25),
            new_call(cell, session, 1),
            new_call(cell, session, 2),
        ]
    )
    second = store.append_calls([new_call(cell, session, 0), new_call(cell, session, 2, failure=timeout)])
    store.append_scores([score(first[1], 0.0), score(second[0], 1.0)])
    columns = store.columns(cell, with_names=True)
    assert columns.names == ("quiz/0", "quiz/1", "quiz/2")
    assert list(columns.failure) == ["", "", ""]
    assert np.array_equal(columns.scores["accuracy"], [1.0, 0.0, np.nan], equal_nan=True)
    assert list(columns.parsed["accuracy"]) == [True, True, False]
    assert (columns.superseded, columns.superseded_cost_usd) == (2, 0.25)
    assert [columns.strata[code] for code in columns.stratum] == ["even", "odd", "even"]
    assert np.allclose(columns.gaps_s[:2], [0.002, 0.004])
    assert list(columns.gap_starts) == [0, 2, 4, 6]
    assert columns.total_s[0] == pytest.approx(0.008)


def test_an_empty_cell_has_empty_columns(opened):
    store, _, _, cell = opened
    columns = store.columns(cell)
    assert len(columns.sample) == len(columns.failure) == len(columns.gaps_s) == 0


def test_the_newest_score_counts_and_another_version_is_another_judgement(opened):
    store, _, session, cell = opened
    call = store.append_calls([new_call(cell, session, 0)])[0]
    store.append_scores([score(call, 0.0), score(call, 1.0, version="2")])
    store.append_scores([score(call, 0.5)])
    assert store.columns(cell).scores["accuracy"][0] == 0.5


def test_answers_without_a_judgement_are_found_again(opened):
    store, _, session, cell = opened
    ids = store.append_calls([new_call(cell, session, i) for i in range(3)])
    store.append_calls([new_call(cell, session, 3, failure=Failure(kind="server", message="x"))])
    store.append_scores([score(ids[1], 1.0)])
    assert [call_id for call_id, _, _ in store.unscored(cell, "p", "1")] == [ids[0], ids[2]]
    assert len(list(store.unscored(cell, "p", "2"))) == 3
    assert store.completed(cell) == {(0, 0), (1, 0), (2, 0)}


def test_a_cell_keeps_its_row_when_it_grows_and_refuses_to_mix(opened):
    store, run, _, cell = opened
    assert store.add_cell(run.id, cell_info(items=20)) == cell
    assert store.cells(run.id)[0].items == 20
    with pytest.raises(UsageError, match="origin was here and is there"):
        store.add_cell(run.id, cell_info(origin="there"))


def test_runs_are_found_by_number_name_prefix_and_last(opened):
    store, run, _, _ = opened
    second = store.create_run(name=None, plan={}, plan_digest="y", tags=["t"])
    assert second.name == "run-2"
    for reference in ("1", "#1", "first", run.id[:6]):
        assert store.run(reference).id == run.id
    assert store.run("last").id == second.id
    with pytest.raises(UnknownName, match="'first'"):
        store.run("frist")


def test_a_run_whose_process_was_killed_is_interrupted_not_running():
    code = (
        "from steelyard.store import Store\n"
        "s = Store.open('killed.db'); r = s.create_run(name='k', plan={}, plan_digest='x')\n"
        "s.begin_session(r.id, {}); import os; os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == -signal.SIGKILL
    with Store.open("killed.db") as store:
        assert store.run("k").status == "interrupted"


def test_a_store_is_private_to_its_user(opened):
    assert stat.S_IMODE(os.stat("test.db").st_mode) == 0o600


def test_a_newer_store_is_refused_and_left_as_it_is(opened):
    opened[0].close()
    with sqlite3.connect("test.db") as raw:
        raw.execute("UPDATE meta SET value = '99' WHERE key = 'schema_version'")
    raw.close()
    before = Path("test.db").read_bytes()
    with pytest.raises(StoreError, match="newer Steelyard"):
        Store.open("test.db")
    assert Path("test.db").read_bytes() == before


def test_what_is_not_a_store_is_told():
    Path("text.db").write_text("hello, I am a letter\n" * 100)
    with pytest.raises(StoreError, match="cannot"):
        Store.open("text.db")
    raw = sqlite3.connect("other.db")
    raw.execute("CREATE TABLE people (name)")
    raw.commit()
    raw.close()
    with pytest.raises(StoreError, match="other tables"):
        Store.open("other.db")
    with pytest.raises(StoreError, match="cannot open"):
        Store.open("text.db/store.db")
    with pytest.raises(StoreError, match="no runs yet"):
        Store.open("none.db", create=False)


WRITER = """
import sys
sys.path.insert(0, sys.argv[1])
from test_store import *
with Store.open("durable.db") as store:
    run = store.create_run(name="r", plan={}, plan_digest="x")
    session = store.begin_session(run.id, {})
    cell = store.add_cell(run.id, cell_info())
    for start in range(0, 10_000_000, 20):
        ids = store.append_calls([new_call(cell, session, start + i) for i in range(20)])
        print(ids[-1], flush=True)
"""


@pytest.mark.parametrize("moment", range(2))
def test_every_id_that_was_returned_survives_kill_9(moment):
    command = [sys.executable, "-c", WRITER, str(Path(__file__).parent)]
    writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    writer.stdout.readline()
    time.sleep(0.2 + 0.3 * random.Random(moment).random())
    writer.kill()
    last = int(writer.stdout.read().split()[-1])
    writer.wait()
    writer.stdout.close()
    with Store.open("durable.db") as store:
        cell = store.cells(store.run("last").id)[0]
        assert len(store.completed(cell.id)) >= last


def test_deleting_a_run_takes_its_answers_and_leaves_the_others(opened):
    store, run, session, cell = opened
    store.append_scores([score(call, 1.0) for call in store.append_calls([new_call(cell, session, 0)])])
    other = store.create_run(name="other", plan={}, plan_digest="x")
    other_cell = store.add_cell(other.id, cell_info())
    store.append_calls([new_call(other_cell, store.begin_session(other.id, {}), 0)])
    store.delete(run.id)
    assert [info.name for info in store.runs()] == ["other"]
    assert len(list(store.records(other.id))) == 1


@pytest.mark.parametrize(
    ("cell", "safe"),
    [
        ("=1+1", "'=1+1"),
        ("  =1", "'  =1"),
        ("\u200b@cmd", "'\u200b@cmd"),
        ("\uff1d1", "'\uff1d1"),
        ("-5", "'-5"),
        ("\t=x", "'\t=x"),
        ("plain", "plain"),
        (-5.0, -5.0),
        (None, None),
    ],
)
def test_a_text_that_a_spreadsheet_would_run_is_disarmed(cell, safe):
    assert formula_safe(cell) == safe
