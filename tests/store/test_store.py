"""The store: durable, append-only, versioned, and readable back as what was written."""

import os
import random
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
import tracemalloc
from contextlib import ExitStack, closing, suppress
from itertools import product
from pathlib import Path

import msgspec
import numpy as np
import pytest
from sqlalchemy import event, text

from steelyard.errors import StoreError, UnknownName, UsageError
from steelyard.store import NewCall, NewScore, Store
from steelyard.store.database import backup, migrations
from steelyard.store.database.backup import backup_path
from steelyard.store.reading.conditions import FAILED, NOT_RIGHT
from steelyard.store.writing import codec
from steelyard.types import (
    Call,
    CellInfo,
    Completion,
    Estimate,
    Failure,
    Message,
    Prompt,
    Request,
    Sample,
    Score,
    Spent,
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
        digest=request.digest("here"),
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


@pytest.mark.anywhere
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
    assert [record.sample.id for record in store.records(run.id, where=NOT_RIGHT)] == ["quiz/3"]
    assert [record.sample.id for record in store.records(run.id, sample_id="quiz/2")] == ["quiz/2"]
    assert len(list(store.records(run.id, limit=2))) == 2


@pytest.mark.anywhere
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


@pytest.mark.anywhere
def test_an_empty_cell_has_empty_columns(opened):
    store, _, _, cell = opened
    columns = store.columns(cell)
    assert len(columns.sample) == len(columns.failure) == len(columns.gaps_s) == 0


@pytest.mark.anywhere
def test_the_newest_score_counts_and_another_version_is_another_judgement(opened):
    store, _, session, cell = opened
    call = store.append_calls([new_call(cell, session, 0)])[0]
    store.append_scores([score(call, 0.0), score(call, 1.0, version="2")])
    store.append_scores([score(call, 0.5)])
    assert store.columns(cell).scores["accuracy"][0] == 0.5


@pytest.mark.anywhere
def test_answers_without_a_judgement_are_found_again(opened):
    store, _, session, cell = opened
    ids = store.append_calls([new_call(cell, session, i) for i in range(3)])
    store.append_calls([new_call(cell, session, 3, failure=Failure(kind="server", message="x"))])
    store.append_scores([score(ids[1], 1.0)])
    assert [call_id for call_id, _, _ in store.unscored(cell, "p", "1")] == [ids[0], ids[2]]
    assert len(list(store.unscored(cell, "p", "2"))) == 3
    assert store.completed(cell) == {(0, 0), (1, 0), (2, 0)}


@pytest.mark.anywhere
def test_a_cell_keeps_its_row_when_it_grows_and_refuses_to_mix(opened):
    store, run, _, cell = opened
    assert store.add_cell(run.id, cell_info(items=20)) == cell
    assert store.cells(run.id)[0].items == 20
    with pytest.raises(UsageError, match="origin was here and is there"):
        store.add_cell(run.id, cell_info(origin="there"))


@pytest.mark.anywhere
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
        print(*ids, flush=True)
"""


@pytest.mark.parametrize("moment", range(2))
def test_every_id_that_was_returned_survives_kill_9(moment):
    command = [sys.executable, "-c", WRITER, str(Path(__file__).parent)]
    writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    first = writer.stdout.readline()
    time.sleep(0.2 + 0.3 * random.Random(moment).random())
    writer.kill()
    lines = (first + writer.stdout.read()).splitlines(keepends=True)
    assert writer.wait() == -signal.SIGKILL
    writer.stdout.close()
    returned = {int(word) for line in lines if line.endswith("\n") for word in line.split()}
    with Store.open("durable.db") as store:
        run = store.run("last")
        cell = store.cells(run.id)[0]
        there = {call_id for call_id, _, _ in store.unscored(cell.id, "p", "1")}
        assert len(returned) >= 20
        assert returned <= there
        assert {(call_id - 1, 0) for call_id in returned} <= store.completed(cell.id)
        assert run.status == "interrupted"
    raw = sqlite3.connect("durable.db")
    assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    raw.close()


@pytest.mark.anywhere
def test_deleting_a_run_takes_its_answers_and_leaves_the_others(opened):
    store, run, session, cell = opened
    store.append_scores([score(call, 1.0) for call in store.append_calls([new_call(cell, session, 0)])])
    other = store.create_run(name="other", plan={}, plan_digest="x")
    other_cell = store.add_cell(other.id, cell_info())
    store.append_calls([new_call(other_cell, store.begin_session(other.id, {}), 0)])
    store.delete(run.id)
    assert [info.name for info in store.runs()] == ["other"]
    assert len(list(store.records(other.id))) == 1


@pytest.mark.anywhere
def test_sessions_plans_tags_and_summaries_are_read_back(opened):
    store, run, session, cell = opened
    store.end_session(session, {"peak_rss_mb": 12.5})
    info = store.sessions(run.id)[0]
    assert (info.id, info.provenance, info.resources) == (session, {"python": "3"}, {"peak_rss_mb": 12.5})
    assert (info.pid, info.ended_at is not None) == (os.getpid(), True)
    store.set_plan(run.id, {"limit": 9}, "y")
    store.rename(run.id, "renamed")
    store.tag(run.id, "b")
    store.tag(run.id, "a")
    store.tag(run.id, "a")
    assert (store.run("1").plan, store.run("1").plan_digest) == ({"limit": 9}, "y")
    assert (store.run("renamed").tags, store.run("a").id) == (("a", "b"), run.id)
    store.untag(run.id, "a")
    store.set_status(run.id, "done")
    assert (store.run("1").tags, store.run("1").status) == (("b",), "done")
    assert store.run("1").finished_at is not None
    assert store.summary(cell) is None
    estimates = (Estimate(metric="accuracy", value=0.5, n=2, method="m", unit="share"),)
    store.set_summary(cell, estimates)
    assert store.summary(cell) == estimates


@pytest.mark.parametrize(
    "reference", ["", "0", "99", "#", "9" * 19, "9" * 400, "\u00b2", "%", "____", "abc", "nosuchname"]
)
@pytest.mark.anywhere("long")
def test_a_reference_that_means_no_run_is_an_unknown_name(opened, reference):
    with pytest.raises(UnknownName):
        opened[0].run(reference)


@pytest.mark.anywhere
def test_a_prefix_of_two_ids_is_ambiguous_and_a_name_means_the_newest(opened):
    store, run, _, _ = opened
    second = store.create_run(name="first", plan={}, plan_digest="x")
    assert store.run("first").id == second.id
    assert [info.number for info in store.runs(limit=1)] == [2]
    with store._writing() as connection:
        for number, uid in ((1, "abcdef00"), (2, "abcdef11")):
            connection.execute(text(f"UPDATE runs SET uid = '{uid}' WHERE id = {number}"))
    with pytest.raises(UsageError, match="ambiguous"):
        store.run("abcdef")
    assert store.run("abcdef0").number == run.number
    with pytest.raises(UnknownName):
        store.run("abc")


def test_a_process_that_only_got_the_same_number_does_not_keep_a_run_running(opened):
    store, run, session, _ = opened
    assert store.run("1").status == "running"
    with store._writing() as connection:
        connection.execute(
            text(f"UPDATE sessions SET started_at = '2020-01-01T00:00:00.000+00:00' WHERE id = {session}")
        )
    assert store.run(run.id).status == "interrupted"
    with store._writing() as connection:
        connection.execute(text("UPDATE sessions SET host = 'elsewhere'"))
    assert store.run(run.id).status == "running"


@pytest.mark.anywhere
def test_what_failed_is_not_right_and_can_be_had_alone(opened):
    store, run, session, cell = opened
    timeout = Failure(kind="timeout", message="slow")
    ids = store.append_calls([new_call(cell, session, 0), new_call(cell, session, 1, failure=timeout)])
    store.append_scores([score(ids[0], 0.0)])
    assert [record.call.failure for record in store.records(run.id, where=FAILED)] == [timeout]
    assert len(list(store.records(run.id, where=NOT_RIGHT))) == 2


@pytest.mark.anywhere
def test_columns_can_be_read_by_another_grader(opened):
    store, _, session, cell = opened
    call = store.append_calls([new_call(cell, session, 0)])[0]
    other = NewScore(call=call, grader="judge", grader_version="1", scores={"kindness": Score(value=0.25)})
    store.append_scores([score(call, 1.0), other])
    store.append_scores([msgspec.structs.replace(other, grader_version="2", scores={"kindness": Score(value=0.75)})])
    assert list(store.columns(cell).scores) == ["accuracy"]
    judged = store.columns(cell, grader="judge")
    assert (list(judged.scores), judged.scores["kindness"][0], judged.parsed["kindness"][0]) == (
        ["kindness"],
        0.75,
        False,
    )
    assert store.columns(cell, grader="judge", grader_version="1").scores["kindness"][0] == 0.25
    assert store.columns(cell, grader="nobody").scores == {}


@pytest.mark.anywhere("long")
def test_columns_agree_with_records_on_a_random_history(opened):
    store, run, session, cell = opened
    draw = random.Random(7)
    kinds = (None, Failure(kind="server", message="x"), Failure(kind="timeout", message="y"))
    for _ in range(60):
        batch = [
            new_call(cell, session, draw.randrange(12), repeat=draw.randrange(2), failure=draw.choice(kinds))
            for _ in range(5)
        ]
        ids = store.append_calls(batch)
        store.append_scores([score(call, draw.random()) for call in draw.sample(ids, 3)])
    columns = store.columns(cell, with_names=True)
    records = list(store.records(run.id))
    assert [(r.sample.id, r.call.repeat) for r in records] == list(zip(columns.names, columns.repeat, strict=True))
    assert [r.call.failure.kind if r.call.failure else "" for r in records] == list(columns.failure)
    values = [r.scores["accuracy"].value if r.scores else np.nan for r in records]
    assert np.array_equal(columns.scores["accuracy"], values, equal_nan=True)
    assert columns.superseded == 300 - len(records)


@pytest.mark.anywhere
@pytest.mark.parametrize("is_alike", [True, False])
def test_columns_are_the_same_by_whichever_way_they_are_read_and_however_rows_lie(opened, monkeypatch, is_alike):
    store, run, session, cell = opened
    draw = random.Random(8)
    other = store.add_cell(run.id, cell_info(model="n"))
    kinds = (None,) if is_alike else (None, None, None, None, Failure(kind="timeout", message="y"))
    places = [(of, position, repeat) for of in (cell, other) for position in range(20) for repeat in range(2)] * 2
    draw.shuffle(places)
    calls = [
        new_call(
            of, session, 2 * position if is_alike else position, repeat=repeat, failure=draw.choice(kinds),
            at_s=float(draw.random()), cost_usd=None if is_alike else draw.random(),
        )
        for of, position, repeat in places
    ]  # fmt: skip
    ids = store.append_calls(calls)
    store.append_scores([score(call, draw.choice((0.0, 1.0, 1 / 3, None))) for call in ids[:-3]])
    monkeypatch.setattr("steelyard.store.reading.cell_calls.PROBED", 10)
    found = []
    for few, sparse in product((0, 10**6), (0, 4)):  # by their usual values or whole; by the index or as they lie
        monkeypatch.setattr("steelyard.store.reading.cell_calls.FEW", few)
        monkeypatch.setattr("steelyard.store.reading.columns.FEW", few)
        monkeypatch.setattr("steelyard.store.reading.cell_calls.SPARSE", sparse)
        found.append(store.columns(cell, with_names=True))
    whole, *others = found
    order = list(zip(whole.sample.tolist(), whole.repeat.tolist(), strict=True))
    assert order == sorted(set(order))
    assert len(order) == 40
    for name in whole.__struct_fields__:
        assert all(_same(getattr(whole, name), getattr(other, name)) for other in others), name


@pytest.mark.parametrize("sparse", [0, 4])
def test_a_cell_that_is_being_written_is_read_as_it_stood_at_one_moment(opened, monkeypatch, sparse):
    store, _, session, cell = opened
    monkeypatch.setattr("steelyard.store.reading.cell_calls.FEW", 0)
    monkeypatch.setattr("steelyard.store.reading.columns.FEW", 0)
    monkeypatch.setattr("steelyard.store.reading.cell_calls.SPARSE", sparse)
    first = store.append_calls([new_call(cell, session, position) for position in range(20)])
    store.append_scores([score(first[-1], 1.0)])
    written = []

    def fail_one_and_score_an_earlier_one():
        failed = new_call(cell, session, 19 + len(written), failure=Failure(kind="timeout", message="y"))
        store.append_calls([failed])
        store.append_scores([score(first[len(written)], 1 / 3)])

    def write_between(*_):
        if threading.current_thread() is threading.main_thread():
            written.append(threading.Thread(target=fail_one_and_score_an_earlier_one))
            written[-1].start()
            written[-1].join()

    event.listen(store._database.engine, "before_cursor_execute", write_between)
    during = store.columns(cell)
    event.remove(store._database.engine, "before_cursor_execute", write_between)
    n = len(during.sample)
    assert 20 <= n < 19 + len(written)
    assert during.failure.tolist() == [""] * 20 + ["timeout"] * (n - 20)
    scores = during.scores["accuracy"]
    assert scores[19] == 1.0
    assert np.count_nonzero(scores == 1 / 3) == n - 20


def _same(a, b):
    if isinstance(a, dict):
        return list(a) == list(b) and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, np.ndarray):
        is_text = a.dtype == object
        return (a.dtype, a.shape) == (b.dtype, b.shape) and (
            a.tolist() == b.tolist() if is_text else a.tobytes() == b.tobytes()
        )
    return a == b or (a != a and b != b)


@pytest.mark.anywhere
def test_only_the_latest_answer_of_an_item_waits_for_its_judgement(opened):
    store, _, session, cell = opened
    store.append_calls([new_call(cell, session, 0)])
    second = store.append_calls([new_call(cell, session, 0)])
    assert [call_id for call_id, _, _ in store.unscored(cell, "p", "1")] == second


def test_appending_nothing_is_no_fault(opened):
    store, _, session, cell = opened
    assert store.append_calls([]) == []
    call = store.append_calls([new_call(cell, session, 0)])[0]
    store.append_scores([])
    store.append_scores([NewScore(call=call, grader="p", grader_version="1", scores={})])


@pytest.mark.anywhere
def test_an_answer_with_half_a_surrogate_pair_is_kept(opened):
    store, run, session, cell = opened
    call = store.append_calls([new_call(cell, session, 0, text="caf\u00e9 \ud83d!")])[0]
    store.append_scores(
        [NewScore(call=call, grader="p", grader_version="1", scores={"accuracy": Score(value=1.0, answer="\udc80")})]
    )
    record = next(store.records(run.id))
    assert record.call.completion.text == "caf\u00e9 \ufffd!"
    assert record.scores["accuracy"].answer == "\ufffd"


@pytest.mark.anywhere
def test_a_call_of_a_deleted_run_is_a_store_error_and_writes_nothing(opened):
    store, run, session, cell = opened
    row = new_call(cell, session, 0)
    store.delete(run.id)
    with pytest.raises(StoreError, match="deleted"):
        store.append_calls([row])


@pytest.mark.anywhere
def test_one_faulty_row_leaves_the_whole_batch_out(opened):
    store, _, session, cell = opened
    with pytest.raises(StoreError, match="cannot write"):
        store.append_calls([new_call(cell, session, 0), new_call(cell, session + 1, 1)])
    assert store.completed(cell) == set()
    huge = new_call(cell, session, 0)
    usage = Usage(input_tokens=2**63, output_tokens=1)
    completion = msgspec.structs.replace(huge.call.completion, usage=usage)
    with pytest.raises(StoreError, match="cannot write"):
        store.append_calls(
            [msgspec.structs.replace(huge, call=msgspec.structs.replace(huge.call, completion=completion))]
        )
    assert store.append_calls([new_call(cell, session, 0)]) == [1]


@pytest.mark.anywhere
def test_who_reads_may_read_something_else_meanwhile_however_many_do_so(opened):
    store, run, _, cell = opened
    with ExitStack() as reading:
        for _ in range(20):
            reading.enter_context(store.reading())
        assert [info.id for info in store.cells(run.id)] == [cell]


def test_a_store_that_several_threads_miss_at_once_is_rescued_once(opened, monkeypatch):
    store, *_ = opened
    copied, together = [], threading.Barrier(2)
    copy = backup._copy

    def copies(source, to):
        copied.append(to)
        with suppress(threading.BrokenBarrierError):
            together.wait(0.3)
        copy(source, to)

    monkeypatch.setattr(backup, "_copy", copies)
    store.file.unlink()
    told = []

    def write():
        with pytest.raises(StoreError) as error:
            store.create_run(name="r", plan={}, plan_digest="x")
        told.append(str(error.value))

    threads = [threading.Thread(target=write) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (rescued,) = copied
    assert all(f"What it held is in {rescued}" in words for words in told)
    assert rescued.is_file()


@pytest.mark.anywhere
def test_threads_write_and_read_one_store_at_the_same_time(opened):
    store, run, session, cell = opened
    faults = []

    def work(thread):
        try:
            for start in range(10):
                ids = store.append_calls([new_call(cell, session, thread * 100 + start * 5 + i) for i in range(5)])
                store.append_scores([score(call, 1.0) for call in ids])
                list(store.records(run.id, limit=20))
        except Exception as error:  # noqa: BLE001 - whatever a thread meets, the test shows it
            faults.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert len(store.completed(cell)) == 200
    assert np.nansum(store.columns(cell).scores["accuracy"]) == 200


def test_an_older_store_is_migrated_once_and_a_failed_step_changes_nothing(opened, monkeypatch):
    opened[0].close()

    def add_notes(connection):
        connection.exec_driver_sql("ALTER TABLE runs ADD COLUMN notes TEXT")

    def fail(connection):
        connection.exec_driver_sql("CREATE TABLE half (done)")
        raise StoreError("no")

    now = migrations.VERSION
    monkeypatch.setattr(migrations, "MIGRATIONS", (*migrations.MIGRATIONS, add_notes, fail))
    monkeypatch.setattr(migrations, "VERSION", now + 2)
    with pytest.raises(StoreError, match="no"):
        Store.open("test.db")
    assert (schema_version(), columns_of("runs") & {"notes"}, columns_of("half")) == (str(now), set(), set())
    monkeypatch.setattr(migrations, "MIGRATIONS", migrations.MIGRATIONS[:-1])
    monkeypatch.setattr(migrations, "VERSION", now + 1)
    for _ in range(2):
        with Store.open("test.db") as store:
            assert store.run("first").plan == {"limit": 3}
    assert (schema_version(), columns_of("runs") & {"notes"}) == (str(now + 1), {"notes"})


OLDER = Path(__file__).parent / "schema_9.sql"
"""A store as an older Steelyard wrote it: a run of six answers that were judged, and one that used them again."""


def older(path):
    """A store of schema 9, with its last change still in its log."""
    raw = sqlite3.connect(path)
    raw.executescript(f"PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0; {OLDER.read_text()}")
    raw.execute("UPDATE runs SET name = 'as it was' WHERE name = 'again'")
    raw.commit()
    return raw


def test_a_store_of_the_first_schema_is_read_and_written_on():
    raw = older("test.db")
    for index in ("scores_by_a_judge", "calls_by_source", "calls_by_cost"):
        raw.execute(f"DROP INDEX {index}")
    for table in ("budget_shares", "dictionaries", "baselines", "looks", "verdicts"):
        raw.execute(f"DROP TABLE {table}")
    raw.execute("DELETE FROM calls WHERE reused_from IS NOT NULL")
    for column in ("reused_from", "saved_usd"):
        raw.execute(f"ALTER TABLE calls DROP COLUMN {column}")
    for column in ("calls", "input_tokens", "output_tokens", "cost_usd", "cached", "saved_usd"):
        raw.execute(f"ALTER TABLE scores DROP COLUMN {column}")
    raw.execute("UPDATE meta SET value = '1' WHERE key = 'schema_version'")
    raw.commit()
    raw.close()
    with Store.open("test.db") as store:
        [call] = store.append_calls([new_call(1, 1, 6)])
        store.append_scores([score(call, 0.5)])
        assert store.columns(1).scores["accuracy"].tolist() == [0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.5]
    assert schema_version() == str(migrations.VERSION)
    assert len(raw_query("SELECT sql FROM sqlite_master WHERE name = 'scores_by_a_judge'")) == 1


def test_a_migrated_store_has_the_tables_and_indexes_of_a_new_one(opened):
    opened[0].close()
    older("old.db").close()
    Store.open("old.db").close()
    found = {}
    for path in ("test.db", "old.db"):
        with closing(sqlite3.connect(path)) as raw:
            tables = [name for (name,) in raw.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
            found[path] = {
                name: set(raw.execute(f"SELECT name, hidden FROM pragma_table_xinfo('{name}')")) for name in tables
            }
            indexes = raw.execute("SELECT name FROM sqlite_schema WHERE type = 'index'")
            found[path]["indexes"] = {name for (name,) in indexes if not name.startswith("sqlite_")}
            assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            assert raw.execute("PRAGMA foreign_key_check").fetchall() == []
    assert found["test.db"] == found["old.db"]


def test_a_copy_is_kept_before_a_migration_with_all_that_was_in_the_log():
    raw = older("test.db")
    Store.open("test.db").close()
    raw.close()
    kept = backup_path(Path("test.db"), 9)
    assert stat.S_IMODE(os.stat(kept).st_mode) == 0o600
    copy = sqlite3.connect(kept)
    assert copy.execute("SELECT value FROM meta WHERE key = 'schema_version'").fetchone() == ("9",)
    assert copy.execute("SELECT name FROM runs").fetchall() == [("old",), ("as it was",)]
    assert copy.execute("SELECT count(*) FROM calls").fetchone() == (12,)
    assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    copy.close()
    with Store.open(kept) as store:  # and it is a store, which can be migrated in its turn
        assert store.runs()[0].name == "as it was"


def test_a_store_that_cannot_be_copied_is_not_migrated():
    older("test.db").close()
    before = raw_query("SELECT * FROM meta")
    Path(backup_path(Path("test.db"), 9)).mkdir()
    with pytest.raises(StoreError, match="Nothing was changed"):
        Store.open("test.db")
    assert raw_query("SELECT * FROM meta") == before
    assert not [path for path in Path().iterdir() if str(os.getpid()) in path.name]


def test_a_new_store_and_one_of_today_leave_no_copy(opened):
    Store.open("test.db").close()
    assert not list(Path().glob("*.schema-*"))


def test_what_a_run_has_spent_is_summed_from_indexes_without_reading_its_answers(opened):
    store, run, cell, session = opened
    ids = store.append_calls(
        [new_call(cell, session, i, cost_usd=cost) for i, cost in enumerate((0.25, 0.5, 0.0, None))]
    )
    judged = Score(value=1.0, spent=Spent(calls=1, cost_usd=2.0))
    store.append_scores([NewScore(call=ids[0], grader="p", grader_version="1", scores={"accuracy": judged})])
    seen = []
    event.listen(store._database.engine, "before_cursor_execute", lambda *told: seen.append(told[2:4]))
    assert store.budget.spent_of_run(run.id) == 2.75
    raw = sqlite3.connect("test.db")
    plans = [
        " ".join(row[3] for row in raw.execute(f"EXPLAIN QUERY PLAN {sql}", values))
        for sql, values in seen
        if "sum(" in sql
    ]
    raw.close()
    assert ["calls_by_cost" in plans[0], "scores_by_a_judge" in plans[1]] == [True, True]


def test_a_flipped_bit_of_a_payload_is_never_read_as_another_text():
    sample = Sample(id="quiz/1", input="how many eggs does she sell at the market every day? " * 3, target="18")
    good = codec.pack(sample)
    for place in range(len(good)):
        bad = good[:place] + bytes([good[place] ^ 1 << place % 8]) + good[place + 1 :]
        with suppress(StoreError):
            assert codec.unpack(bad, Sample) == sample


@pytest.mark.parametrize("is_cut", [True, False])
def test_a_truncated_or_bit_flipped_store_is_refused_in_words_and_never_by_a_traceback(opened, is_cut):
    store, _run, cell, session = opened
    store.append_calls([new_call(cell, session, position, text="yes " * 300) for position in range(200)])
    store.close()
    whole, chance = Path("test.db").read_bytes(), random.Random(3)
    told = []
    for number in range(30):
        damaged = bytearray(whole[: chance.randrange(1, len(whole))] if is_cut else whole)
        for place in (chance.randrange(len(damaged)) for _ in range(20)):
            damaged[place] ^= 1 << chance.randrange(8)
        Path(f"damaged-{number}.db").write_bytes(damaged)
        try:
            with Store.open(f"damaged-{number}.db", create=False) as store:
                for run in store.runs():
                    list(store.records(run.id))
        except StoreError as error:
            told.append(str(error))
    assert len(told) > 20
    assert [text for text in told if "Try:" in text or "damaged" in text] == told


def raw_query(sql):
    raw = sqlite3.connect("test.db")
    rows = raw.execute(sql).fetchall()
    raw.close()
    return rows


def schema_version():
    return raw_query("SELECT value FROM meta WHERE key = 'schema_version'")[0][0]


def columns_of(table):
    return {row[1] for row in raw_query(f"PRAGMA table_info({table})")}


def test_a_refused_database_is_left_byte_for_byte_also_without_wal():
    raw = sqlite3.connect("other.db")
    raw.execute("CREATE TABLE meta (key TEXT, value TEXT)")
    raw.execute("INSERT INTO meta VALUES ('schema_version', '99')")
    raw.commit()
    raw.close()
    before = Path("other.db").read_bytes()
    with pytest.raises(StoreError, match="newer Steelyard"):
        Store.open("other.db")
    assert Path("other.db").read_bytes() == before
    assert not Path("other.db-wal").exists()
    for value in ("x", "", "-1", "1.5"):
        raw = sqlite3.connect("other.db")
        raw.execute("UPDATE meta SET value = ?", (value,))
        raw.commit()
        raw.close()
        with pytest.raises(StoreError, match="schema version"):
            Store.open("other.db")


def test_an_empty_file_becomes_a_store():
    Path("empty.db").touch()
    with Store.open("empty.db") as store:
        assert store.runs() == []


def test_the_settings_that_make_writes_durable_hold_on_every_connection(opened):
    store = opened[0]
    with store._reading() as first, store._reading() as second:
        for connection in (first, second):
            asked = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
            values = [connection.execute(text(f"PRAGMA {name}")).scalar() for name in asked]
            assert values == ["wal", 2, 1, 30_000]


@pytest.mark.parametrize("name", ["a?b%20#c.db", ":memory:", "mode=memory.db"])
def test_a_strange_file_name_is_a_file_name(name):
    with Store.open(name) as store:
        store.create_run(name="r", plan={}, plan_digest="x")
    assert stat.S_IMODE(os.stat(name).st_mode) == 0o600
    with Store.open(f"sqlite:///{name}", create=False) as store:
        assert [run.name for run in store.runs()] == ["r"]


def test_a_url_of_another_database_is_refused_without_its_password():
    with pytest.raises(StoreError, match="postgresql") as caught:
        Store.open("postgresql://me:hunter2@db/steelyard")
    assert "hunter2" not in str(caught.value)
    assert not Path("postgresql:").exists()


@pytest.mark.long
def test_memory_stays_flat_while_records_are_written_and_read(opened):
    store, run, session, cell = opened
    peaks = []
    tracemalloc.start()
    for items in (1_000, 4_000):
        tracemalloc.reset_peak()
        for start in range(0, items, 200):
            store.append_calls([new_call(cell, session, start + i, text="x" * 2_000) for i in range(200)])
        assert sum(1 for _ in store.records(run.id)) == items
        assert sum(1 for _ in store.unscored(cell, "p", "1")) == items
        peaks.append(tracemalloc.get_traced_memory()[1])
    tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0] + 1_500_000  # what is gathered for the next dictionary, of some 6.9 MB written
