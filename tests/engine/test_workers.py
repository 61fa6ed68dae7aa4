"""Worker processes, for real: the same records as one process gives, whatever becomes of a worker or of the run."""

import asyncio
import json
import os
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from aiohttp import web

import steelyard as sy
from command import ok, steelyard
from forks import Started
from server import chunk, finish, serving, stream, usage
from steelyard.engine.processes.hand import Hand
from steelyard.engine.writer import Writer
from steelyard.errors import StoreError
from steelyard.store import Store
from steelyard.types import Price


def write_cases(n):
    lines = [json.dumps({"question": f"Say {i}", "answer": str(i % 2), "id": f"c{i}"}) for i in range(n)]
    Path("cases.jsonl").write_text("\n".join(lines) + "\n")


async def parity(request, body, number):
    """Answers "Say 7" with 1, and with 0 where it should be right about every eighth time."""
    asked = int(body["messages"][-1]["content"].removeprefix("Say "))
    answer = "0" if asked % 8 == 7 else str(asked % 2)
    return await stream(request, [chunk(content=answer), finish(), usage()], gap_s=0.002)


async def slowly(request, body, number):
    await asyncio.sleep(0.05)
    return await parity(request, body, number)


def endpoint(server, name="m", **settings):
    return sy.ModelSpec(id=name, provider="openai", model=name, base_url=server.url, **settings)


def run(models, n, **settings):
    write_cases(n)
    said = []
    return sy.run(models, ["cases.jsonl"], on_message=said.append, **settings), said


def started(server, *options):
    """The command line with two workers, in a process of its own."""
    endpoint = ["-m", "openai/m", "--base-url", server.url, "--workers", "2", "--concurrency", "8"]
    return Started("run", "cases.jsonl", *endpoint, *options)


def resumed():
    ok("run", "--resume", "last", "--quiet")


def asked_of(server):
    return [body["messages"][-1]["content"] for body in server.requests]


def scores(run):
    found = {}
    for record in run.records():
        key = (record.model, record.sample.id, record.call.repeat)
        assert key not in found
        found[key] = record.scores["accuracy"].value
    return found


def workers_of(pid=None):
    return [child for child in psutil.Process(pid).children(recursive=True) if is_worker(child)]


def is_worker(process):
    try:
        return "steelyard.engine.processes.worker" in process.cmdline()
    except psutil.Error:  # it ended while we looked
        return False


def until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def test_two_workers_ask_every_item_once_and_end_with_the_records_that_one_process_gives():
    with serving(parity) as server:
        alone, _ = run([endpoint(server, "a"), endpoint(server, "b")], 60, runs=2, fresh=True)
        server.requests.clear()
        shared, said = run([endpoint(server, "a"), endpoint(server, "b")], 60, runs=2, fresh=True, workers=2)
        assert len(server.requests) == 240
    assert said == []
    assert shared.status == "done"
    assert scores(shared) == scores(alone)
    with Store.open() as store:
        (session,) = store.sessions(shared.info.id)
    assert session.provenance["workers"] == 2
    assert session.resources["cpu_s"] > 0


@pytest.mark.parametrize("workers", [None, 2], ids=["a sandbox", "workers"])
def test_neither_workers_nor_a_writing_process_nor_a_sandbox_is_forked_from_the_run(workers, monkeypatch):
    def fork():
        raise AssertionError("a process with threads was forked")

    monkeypatch.setattr(os, "fork", fork)
    monkeypatch.setattr("steelyard.engine.writer.PACE_OF_CALLS", 5)
    monkeypatch.setattr("steelyard.engine.writer.LEAST_TO_COME", 0)
    monkeypatch.setattr("steelyard.engine.writer.FAST_A_SECOND", 0.1)
    row = {"question": "Write f, which returns 1.", "test": "assert f() == 1", "entry_point": "f"}
    Path("code.jsonl").write_text("".join(json.dumps(row | {"id": f"c{i}"}) + "\n" for i in range(40)))

    async def program(request, body, number):
        return await stream(request, [chunk(content="def f():\n    return 1"), finish(), usage()])

    with serving(program) as server:
        done = sy.run([endpoint(server)], ["code.jsonl"], workers=workers)
    assert done.estimate("accuracy").value == 1.0
    with Store.open() as store:
        (session,) = store.sessions(done.info.id)
    assert (session.provenance["workers"], session.provenance["written_by"]) == (workers, "a process")


def test_answers_of_earlier_runs_are_used_again_by_workers_too():
    with serving(parity) as server:
        first, _ = run([endpoint(server)], 40, limit=30)
        server.requests.clear()
        second, _ = run([endpoint(server)], 40, limit=40, workers=2)
        assert len(server.requests) == 10
    assert second.estimate("cached").value == 30
    assert first.estimate("accuracy").n == 30
    assert second.estimate("accuracy").n == 40


def test_where_a_worker_is_killed_another_one_goes_on_and_no_completed_call_is_repeated():
    with serving(slowly) as server:

        def kill_one():
            until(lambda: len(server.requests) > 60)
            workers_of()[0].kill()

        killing = threading.Thread(target=kill_one)
        killing.start()
        ended, said = run([endpoint(server, concurrency=16)], 300, workers=2)
        killing.join()
        asked = asked_of(server)
    assert ended.status == "done"
    assert len(scores(ended)) == 300
    assert ended.estimate("errored").value == 0
    assert len(asked) - 300 <= 16
    (told,) = said
    assert told.startswith("worker ")
    assert "died (killed by signal 9)" in told
    assert "may be paid for twice" in told


def test_where_the_only_worker_that_asks_a_model_is_killed_another_one_asks_the_rest(monkeypatch):
    """Scores of its last answers become durable while the run still looks how it died."""
    how_it_died, commit = Hand.how_it_died, Writer._commit

    def found_out_slowly(hand):
        time.sleep(0.1)
        return how_it_died(hand)

    async def commit_slowly(writer, calls, scores):
        await asyncio.sleep(0.02)
        return await commit(writer, calls, scores)

    monkeypatch.setattr(Hand, "how_it_died", found_out_slowly)
    monkeypatch.setattr(Writer, "_commit", commit_slowly)
    with serving(parity) as server:

        def kill_the_busy_one():
            until(lambda: len(server.requests) > 20)
            next(process for process in workers_of() if process.net_connections("tcp")).kill()

        killing = threading.Thread(target=kill_the_busy_one)
        killing.start()
        ended, said = run([endpoint(server, concurrency=1)], 60, workers=2)
        killing.join()
    assert (ended.status, len(scores(ended))) == ("done", 60)
    assert len(said) == 1


@pytest.mark.long
def test_workers_that_die_again_and_again_end_the_run_and_nothing_durable_is_lost(monkeypatch):
    monkeypatch.setattr("steelyard.engine.processes.crew.MOST_DEATHS", 1)
    stop = threading.Event()

    def kill_all(server):
        until(lambda: len(server.requests) > 20)
        while not stop.wait(0.05):
            for worker in workers_of():
                with suppress(psutil.Error):
                    worker.kill()

    with serving(slowly) as server:
        killing = threading.Thread(target=kill_all, args=(server,))
        killing.start()
        with pytest.raises(sy.SteelyardError, match="workers died, the last one killed by signal 9"):
            run([endpoint(server, concurrency=4)], 300, workers=2)
        stop.set()
        killing.join()
        with Store.open() as store:
            ended = store.run("last")
            durable = sum(record.call.failure is None for record in store.records(ended.id))
        assert ended.status == "failed"
        assert 0 < durable < 300
        server.requests.clear()
        resumed()
        assert len(server.requests) == 300 - durable


def test_workers_share_a_budget_that_is_never_overspent():
    async def dear(request, body, number):
        return await stream(request, [chunk(content="0"), finish(), usage(10, 10)], gap_s=0.002)

    price = Price(input=1000.0, output=1000.0)  # 2 cents an answer
    with serving(dear) as server:
        model = endpoint(server, price=price, max_tokens=10, concurrency=4)
        ended, _ = run([model], 300, workers=2, budget_usd=1.0)
        asked = len(server.requests)
    assert ended.status == "budget"
    assert 40 <= asked <= 50
    assert ended.estimate("cost.total").value == pytest.approx(0.02 * asked)


def test_a_budget_that_ends_when_all_items_are_dealt_out_ends_the_run():
    """Each worker then holds items that it cannot pay, and waits for more of what none has left."""

    async def dear(request, body, number):
        return await stream(request, [chunk(content="0"), finish(), usage(10, 10)], gap_s=0.002)

    with serving(dear) as server:
        model = endpoint(server, price=Price(input=1000.0, output=1000.0), max_tokens=10, concurrency=2)
        ended, _ = run([model], 6, workers=2, budget_usd=0.14)
        assert 0 < len(server.requests) < 6
    assert ended.status == "budget"


def test_what_goes_wrong_between_a_worker_and_the_run_ends_the_run(monkeypatch):
    async def broken(grant, wanted_usd):
        raise StoreError("the store's budget cannot be read")

    monkeypatch.setattr("steelyard.engine.money.budget.Grant.more", broken)
    with serving(parity) as server, pytest.raises(StoreError, match="cannot be read"):
        run([endpoint(server, price=Price(input=1.0, output=1.0), max_tokens=10)], 40, workers=2, budget_usd=1.0)
    assert workers_of() == []


@pytest.mark.long
def test_workers_share_a_limit_of_requests_a_minute():
    with serving(parity) as server:
        began = time.monotonic()
        ended, _ = run([endpoint(server, requests_per_minute=1200)], 60, workers=2)
        took_s = time.monotonic() - began
    assert ended.status == "done"
    assert took_s > 2.5  # 60 requests at 20 a second


def test_a_refusal_that_one_worker_meets_is_waited_out_by_all():
    refused_at = []

    async def limited(request, body, number):
        if not refused_at and number > 10:
            refused_at.append(time.monotonic())
            return web.json_response({"error": {"message": "slow down"}}, status=429, headers={"Retry-After": "2"})
        if refused_at and 0.9 < time.monotonic() - refused_at[0] < 1.9:
            late.append(number)
        return await slowly(request, body, number)

    late = []
    with serving(limited) as server:
        ended, _ = run([endpoint(server, concurrency=8)], 100, workers=2)
    assert ended.status == "done"
    assert ended.estimate("errored").value == 0
    assert late == []


def test_a_model_that_one_worker_gives_up_is_given_up_by_all_and_the_others_go_on():
    async def handle(request, body, number):
        if body["model"] == "locked":
            return web.json_response({"error": {"message": "bad key"}}, status=401)
        return await slowly(request, body, number)

    with serving(handle) as server:
        ended, said = run([endpoint(server, "locked"), endpoint(server, "open")], 120, workers=2)
        refused = sum(body["model"] == "locked" for body in server.requests)
    assert ended.status == "failed"
    assert ended.estimate("accuracy", model="open").n == 120
    assert refused <= 16
    assert [text.split(":")[0] for text in said] == ["locked stopped"]


def test_what_has_no_name_stays_in_this_process_and_the_rest_is_shared():
    with serving(parity) as server:
        ended, said = run([lambda prompt: "0", endpoint(server)], 30, workers=2)
        assert len(server.requests) == 30
    assert ended.status == "done"
    assert len(scores(ended)) == 60
    assert len(said) == 1
    assert "stays in this process" in said[0]
    assert "python:MODULE:FUNCTION" in said[0]


def test_a_function_with_a_name_answers_in_the_workers():
    Path("mine.py").write_text("import os\n\n\ndef answer(prompt):\n    return str(os.getpid())\n")
    write_cases(40)
    ended = sy.run(["python:mine:answer"], ["cases.jsonl"], workers=2)
    pids = {record.call.completion.text for record in ended.records()}
    assert len(scores(ended)) == 40
    assert str(os.getpid()) not in pids


def test_a_worker_reads_no_file_through_and_loads_no_database_unless_earlier_answers_are_to_be_found():
    Path("weighed.py").write_text(
        "import sys\n\n\ndef answer(prompt):\n"
        "    return ' '.join({'numpy', 'sqlalchemy'} & set(sys.modules)) or 'neither'\n"
    )  # repeated rows are found by numpy, for which a worker has no other use
    model = sy.ModelSpec(id="m", provider="python", model="weighed:answer", version="1")
    first, second = (run([model], n, workers=1)[0] for n in (4, 5))
    assert [record.call.completion.text for record in first.records()] == ["neither"] * 4
    assert sum("sqlalchemy" in record.call.completion.text for record in second.records()) == 1


@pytest.mark.long
def test_after_kill_9_of_a_slow_run_its_workers_end_and_a_resumed_run_repeats_no_completed_call():
    write_cases(200)
    with serving(slowly) as server:
        process = started(server)
        until(lambda: len(server.requests) > 60)
        workers = workers_of(process.pid)
        assert len(workers) == 2
        process.kill()
        process.wait()
        _, alive = psutil.wait_procs(workers, timeout=30)
        assert not alive
        done = steelyard("run", "--resume", "last", "--quiet")
        assert done.returncode == 0, done.stderr
        asked = asked_of(server)
    assert len(set(asked)) == 200
    assert len(asked) - 200 <= 16
    assert "up to 16 calls without a record may be paid for twice" in done.stderr
    with Store.open() as store:
        assert sum(record.call.failure is None for record in store.records(store.run("last").id)) == 200


def test_ctrl_c_lets_what_workers_have_in_flight_come_in():
    write_cases(200)
    with serving(slowly) as server:
        process = started(server, "--quiet")
        until(lambda: len(server.requests) > 60)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate()
        asked = len(server.requests)
    assert process.returncode == 130
    assert "--resume" in said
    with Store.open() as store:
        assert len(list(store.records(store.run("last").id))) == asked
