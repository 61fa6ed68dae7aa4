"""The process that writes for a fast run, for real: the same records as a thread writes, and nothing lost with it."""

import asyncio
import itertools
import json
import os
import signal
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from aiohttp import web

import steelyard as sy
from command import ok, steelyard
from forks import Started
from server import serving
from steelyard.engine import writer
from steelyard.engine.processes import child
from steelyard.engine.progress import Progress
from steelyard.errors import EnvironmentFault
from steelyard.store import Store

ITEMS = 400
EARLY = {
    ("steelyard.engine.writer", "PACE_OF_CALLS"): 20,
    ("steelyard.engine.writer", "FAST_A_SECOND"): 1,
    ("steelyard.engine.writer", "LEAST_TO_COME"): 0,
}


@pytest.fixture(autouse=True)
def cases(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = [json.dumps({"question": f"Say {i}", "answer": str(i % 3), "id": f"c{i}"}) for i in range(ITEMS)]
    Path("cases.jsonl").write_text("\n".join(lines) + "\n")


@pytest.fixture
def hired_early(monkeypatch):
    """A run is fast from its twentieth answer on."""
    monkeypatch.setattr(writer, "PACE_OF_CALLS", 20)
    monkeypatch.setattr(writer, "LEAST_TO_COME", 0)
    monkeypatch.setattr(writer, "FAST_A_SECOND", 1.0)


@pytest.fixture
def hired_at_once(monkeypatch):
    monkeypatch.setattr(writer, "LEAST_TO_COME", 0)
    serve = writer.Writer.serve

    async def hire_and_serve(self):
        assert self._idle is not None
        await self._hire(self._idle)
        await serve(self)

    monkeypatch.setattr(writer.Writer, "serve", hire_and_serve)


async def parity(request, body, number):
    await asyncio.sleep(0.02)
    asked = int(body["messages"][-1]["content"].removeprefix("Say "))
    message = {"role": "assistant", "content": str(asked % 2)}
    return web.json_response({"model": "m", "choices": [{"message": message, "finish_reason": "stop"}]})


def run(server, **settings):
    spec = sy.ModelSpec(id="m", provider="openai", model="m", base_url=server.url, extra={"stream": False})
    return sy.run([spec], ["cases.jsonl"], concurrency=8, **settings)


def scores(run):
    return {record.sample.id: record.scores["accuracy"].value for record in run.records()}


def scribes():
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            found += [process] if "steelyard.engine.processes.scribe" in process.cmdline() else []
        except psutil.Error:  # it ended while we looked
            continue
    return found


def wait_for(found):
    deadline = time.monotonic() + 60
    while not (value := found()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return value


def watched(server, do=lambda process: None, **settings):
    """A run, and the process that wrote for it, to which something may be done once half is asked."""
    seen = []

    def look():
        seen.extend(wait_for(scribes))
        wait_for(lambda: len(server.requests) > ITEMS / 2)
        do(seen[0])

    watching = threading.Thread(target=look)
    watching.start()
    try:
        return run(server, **settings), seen
    finally:
        watching.join()


def test_a_process_writes_the_same_records_as_a_thread_and_ends_with_the_run(hired_early, monkeypatch):
    with serving(parity) as server:
        by_process, seen = watched(server, fresh=True)
        monkeypatch.setattr(writer, "has_a_core", lambda: False)
        by_thread = run(server, fresh=True)
        assert len(server.requests) == 2 * ITEMS
    assert scores(by_process) == scores(by_thread)
    assert len(scores(by_thread)) == ITEMS
    assert len(seen) == 1
    assert written_by_a_process()
    assert not psutil.pid_exists(seen[0].pid)
    with Store.open() as store:
        ours, theirs = (store.sessions(each.info.id)[0].resources for each in (by_thread, by_process))
    assert theirs["peak_rss_bytes"] > ours["peak_rss_bytes"] + 20e6  # the process is weighed with the run


def test_a_slow_run_and_one_on_a_single_core_keep_to_the_thread(monkeypatch):
    monkeypatch.setattr(writer, "PACE_OF_CALLS", 20)
    monkeypatch.setattr(writer, "LEAST_TO_COME", 0)
    monkeypatch.setattr(writer, "FAST_A_SECOND", 1e9)
    monkeypatch.setattr(writer.Writer, "_hire", None)
    with serving(parity) as server:
        slow, seen = watched(server)
        assert (slow.status, len(seen)) == ("done", 1)  # it stood ready, and was not needed
        assert not psutil.pid_exists(seen[0].pid)
        monkeypatch.setattr(writer, "FAST_A_SECOND", 1.0)
        monkeypatch.setattr(writer, "has_a_core", lambda: False)
        assert run(server, fresh=True).status == "done"


def test_a_fast_run_with_few_answers_to_come_keeps_to_the_thread(monkeypatch):
    monkeypatch.setattr(writer, "PACE_OF_CALLS", 20)
    monkeypatch.setattr(writer, "FAST_A_SECOND", 1.0)
    monkeypatch.setattr(writer, "LEAST_TO_COME", ITEMS + 1)
    monkeypatch.setattr(writer.Writer, "_make_ready", None)
    with serving(parity) as server:
        assert run(server).status == "done"


def test_where_the_process_is_killed_the_run_writes_by_itself_and_nothing_is_asked_twice_or_lost(
    hired_at_once, monkeypatch
):
    told = []
    monkeypatch.setattr(Progress, "tell", lambda self, text: told.append(text))
    with serving(parity) as server:
        done, _ = watched(server, lambda process: process.kill())
        assert len(server.requests) == ITEMS
    assert done.status == "done"
    assert len(scores(done)) == ITEMS
    with closing(sqlite3.connect(Store.place())) as raw:
        assert raw.execute("SELECT count(*), count(DISTINCT position) FROM calls").fetchone() == (ITEMS, ITEMS)
    assert any("killed by signal 9" in text for text in told)


@pytest.mark.parametrize("dies", ["before the commit", "after the commit"])
def test_a_transaction_whose_writer_died_is_made_once(dies, monkeypatch):
    """Whether the process died before it wrote the rows or before it could say so."""

    class Dying:
        async def append(self, calls, new_scores, *, is_new=True):
            if dies == "after the commit":
                with Store.open() as store:
                    store.append(calls, new_scores)
            raise EnvironmentFault("the process that writes the store died")

    async def serve_dying(self, serve=writer.Writer.serve):
        self._scribe = Dying()
        await serve(self)

    monkeypatch.setattr(writer.Writer, "serve", serve_dying)
    done = sy.run([sy.Scripted(lambda request: "1", concurrency=8)], ["cases.jsonl"])
    assert len(scores(done)) == ITEMS
    with closing(sqlite3.connect(Store.place())) as raw:
        assert raw.execute("SELECT count(*) FROM calls").fetchone() == (ITEMS,)


class Noting:
    """Stands for the process; keeps how many calls came at once."""

    def __init__(self):
        self.batches, self._numbers = [], itertools.count(1)

    async def append(self, calls, new_scores, *, is_new=True):
        self.batches.append(len(calls))
        return [next(self._numbers) for _ in calls]


def of_a_writer(scenario):
    async def main():
        given = writer.Writer(SimpleNamespace(append=None, is_in_place=True), print)
        given.slots, given._scribe = 3, Noting()
        serving_it = asyncio.create_task(given.serve())
        try:
            return await asyncio.wait_for(scenario(given), timeout=10)
        finally:
            serving_it.cancel()
            ended = await asyncio.gather(serving_it, return_exceptions=True)
            assert isinstance(ended[0], asyncio.CancelledError)

    return asyncio.run(main())


def test_a_process_is_given_an_answer_a_slot_at_once_and_who_drains_waits_for_no_more(monkeypatch):
    monkeypatch.setattr(writer, "GATHERS_S", 60.0)

    async def scenario(given):
        durable = []
        for _ in range(3):
            assert given._scribe.batches == []
            given.call(None, durable.append)
            await asyncio.sleep(0.001)
        await given.drain()
        given.call(None, durable.append)
        await given.drain()
        given.call(None, durable.append)  # and it ends, called off while it gathers
        await asyncio.sleep(0.001)
        return given._scribe.batches, durable

    assert of_a_writer(scenario) == ([3, 0, 1], [1, 2, 3, 4])


def test_a_last_answer_that_no_other_follows_is_written_all_the_same():
    async def scenario(given):
        durable = asyncio.get_running_loop().create_future()
        given.call(None, durable.set_result)
        return await durable

    assert of_a_writer(scenario) == 1


def test_the_store_of_the_run_is_written_also_where_the_working_folder_changes(hired_early, tmp_path):
    Path("elsewhere").mkdir()
    asked = []

    def wandering(request):
        asked.append(request)
        if len(asked) == 10:
            os.chdir("elsewhere")
        return "1"

    done = sy.run([sy.Scripted(wandering, delay_s=0.01, concurrency=8)], ["cases.jsonl"])
    with Store.open(tmp_path / Store.place()) as store:
        (cell,) = store.cells(done.info.id)
        assert len(store.completed(cell.id)) == ITEMS
        assert "written_by" in store.sessions(done.info.id)[0].provenance


def test_a_file_in_the_working_folder_hides_no_module_of_the_process(hired_early):
    Path("csv.py").write_text("raise SystemExit('not this one')")
    with serving(parity) as server:
        done, seen = watched(server)
    assert (done.status, len(seen)) == ("done", 1)
    assert written_by_a_process()


@pytest.mark.parametrize(("options", "each"), [([], 4), (["--workers", "2"], 6)], ids=["alone", "workers"])
def test_a_run_killed_while_a_process_writes_for_it_shows_what_is_durable_and_says_what_may_be_paid_twice(
    options, each
):
    async def slowly(request, body, number):
        await asyncio.sleep(0.05)
        return await parity(request, body, number)

    slots = 8
    with serving(slowly) as server:
        command = ["run", "cases.jsonl", "-m", "openai/m", "--base-url", server.url, "--concurrency", str(slots)]
        with Started(*command, *options, "--quiet", settings=EARLY) as process:
            wait_for(written_by_a_process)
            wait_for(lambda: len(server.requests) > ITEMS / 2)
            os.kill(process.pid, signal.SIGKILL)
        shown = json.loads(ok("show", "--json"))
        so_far = shown["cells"][0]["estimates"]["accuracy"]
        assert (so_far["n"] > ITEMS / 4, so_far["value"] is None) == (True, False)
        assert shown["spending"]["calls"] >= so_far["n"]
        done = steelyard("run", "--resume", "last", "--quiet")
        assert done.returncode == 0, done.stderr
        assert len(server.requests) - ITEMS <= each * slots
    assert f"up to {each * slots} calls without a record may be paid for twice" in done.stderr
    (told,) = [text for text in json.loads(ok("show", "--json"))["warnings"] if "killed" in text]
    assert told.startswith("The run was killed once: ")


def written_by_a_process():
    if not Store.exists():
        return False
    with Store.open() as store:
        return any("written_by" in session.provenance for run in store.runs() for session in store.sessions(run.id))


def test_after_kill_9_of_the_run_its_scribe_ends_too():
    with serving(parity) as server:
        command = ["run", "cases.jsonl", "-m", "openai/m", "--base-url", server.url, "--concurrency", "8", "--quiet"]
        with Started(*command, settings=EARLY) as process:
            wait_for(written_by_a_process)
            (writing,) = scribes()
            os.kill(process.pid, signal.SIGKILL)
        writing.wait(60)


def test_a_process_that_does_not_come_to_be_ready_leaves_the_writing_to_the_thread(monkeypatch):
    monkeypatch.setattr(writer, "LEAST_TO_COME", 0)
    monkeypatch.setattr(writer, "READY_WITHIN_S", 0.5)
    start, started = child.start, []

    def frozen(module):
        process, end = start(module)
        process.send_signal(signal.SIGSTOP)
        started.append(process)
        return process, end

    monkeypatch.setattr(child, "start", frozen)
    with serving(parity) as server:
        done = run(server)
    assert (done.status, len(scores(done))) == ("done", ITEMS)
    assert [process.returncode for process in started] == [-signal.SIGKILL]


@pytest.mark.parametrize("fault", [RuntimeError("can't start new thread"), OSError("no memory"), ValueError("?")])
def test_whatever_keeps_the_process_from_starting_a_run_goes_on_without(fault, monkeypatch):
    def fails(module):
        raise fault

    monkeypatch.setattr(writer, "LEAST_TO_COME", 0)
    monkeypatch.setattr(child, "start", fails)
    with serving(parity) as server:
        done = run(server)
    assert (done.status, len(scores(done))) == ("done", ITEMS)


def test_a_key_that_a_service_echoes_is_not_written_by_the_process_either(hired_at_once, monkeypatch):
    monkeypatch.setenv("QUITE_ANOTHER_NAME", "canary-1234567890")

    async def echoing(request, body, number):
        message = {"role": "assistant", "content": "you sent " + request.headers["Authorization"]}
        await asyncio.sleep(0.02)
        return web.json_response({"model": "m", "choices": [{"message": message, "finish_reason": "stop"}]})

    with serving(echoing) as server:
        spec = {"id": "m", "provider": "openai", "model": "m", "base_url": server.url, "extra": {"stream": False}}
        sy.run([sy.ModelSpec(**spec, api_key_env="QUITE_ANOTHER_NAME")], ["cases.jsonl"], concurrency=8)
        assert all(headers["Authorization"] == "Bearer canary-1234567890" for headers in server.headers)
    with Store.open() as store:
        texts = [record.call.completion.text for record in store.records(store.run("last").id)]
    assert texts == ["you sent Bearer [key removed]"] * ITEMS


def test_half_a_surrogate_pair_is_written_as_a_thread_would_write_it(hired_at_once):
    model = sy.Scripted(lambda request: "half \ud800 of it", delay_s=0.01, concurrency=8)
    run = sy.run([model], ["cases.jsonl"])
    assert {record.call.completion.text for record in run.records()} == {"half \N{REPLACEMENT CHARACTER} of it"}


def test_what_cannot_be_written_is_told_in_the_words_of_the_store(hired_at_once):
    def lose_the_cell(process):
        with closing(sqlite3.connect(Store.place())) as connection, connection:
            connection.execute("DELETE FROM cells")

    with serving(parity) as server, pytest.raises(sy.SteelyardError, match="is not in the store"):
        watched(server, lose_the_cell)
    assert not scribes()
