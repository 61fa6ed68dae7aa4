"""After a kill the run says how many calls may be paid for twice: every call behind an answer or a verdict counts."""

import asyncio
import json
import re
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import psutil
import pytest
from aiohttp import web

from command import steelyard
from forks import Started
from server import chunk, finish, serving, stream, usage
from steelyard.engine.writer import BY_A_THREAD
from steelyard.store import Store

ITEMS, SLOTS, SAMPLES = 24, 4, 3
BEFORE_THE_FIRST = partial(asyncio.sleep, 600)
"""In place of what comes just before the first request."""


class Halting:
    """Answers 1 to everything; leaves the models in ``holds`` thinking until it is let go on, after the first few."""

    def __init__(self, *holds, first=0):
        self._holds, self._first, self.asked = holds, first, []
        self._released = asyncio.Event()

    async def reply(self, request, body, number):
        self.asked.append(body["model"])
        self._loop = asyncio.get_running_loop()
        if body["model"] in self._holds and len(self.asked) > self._first:
            await self._released.wait()
        text = {"judge": "Verdict: CORRECT", "cheap": str(number)}.get(body["model"], "1")  # no two of cheap agree
        with suppress(ConnectionResetError):
            return await stream(request, [chunk(content=text), finish(), usage()])
        return web.Response()

    def go_on(self):
        self._loop.call_soon_threadsafe(self._released.set)

    def until_asked(self, model, times):
        deadline_s = time.monotonic() + 120
        while self.asked.count(model) < times:
            assert time.monotonic() < deadline_s
            time.sleep(0.005)


@pytest.fixture(autouse=True)
def cases():
    lines = [json.dumps({"question": f"Say {i}", "answer": "1"}) for i in range(ITEMS)]
    Path("cases.jsonl").write_text("\n".join(lines) + "\n")


def judged_by(server, **settings):
    judge = {"model": "openai/judge", "base_url": server.url} | settings
    Path("judged.yaml").write_text(json.dumps({"benchmark": "judged", "data": "cases.jsonl", "judge": judge}))
    return "judged.yaml"


def started(server, *words, settings=None):
    words = [*words, "--base-url", server.url, "--concurrency", str(SLOTS), "--quiet"]
    return Started("run", *words, settings=settings)


def sessions():
    with Store.open(create=False) as store:
        return [session for run in store.runs() for session in store.sessions(run.id)]


def killed_and_resumed(process, service, *options):
    """What the run says may be paid for twice, as it goes on after a kill."""
    process.kill()
    process.wait()
    service.go_on()
    done = steelyard("run", "--resume", "last", "--quiet", *options)
    assert done.returncode == 0, done.stderr
    return told_of(done.stderr)


def told_of(said):
    """The number that it says; of several workers, all together."""
    found = re.findall(r"up to (\d+) calls without a record may be paid for twice", said)
    assert found, said
    return sum(map(int, found))


@pytest.mark.parametrize("resumed_with", [(), ("--concurrency", "1")], ids=["as it was", "one at a time"])
def test_all_calls_of_a_system_count_and_the_slots_of_the_run_that_was_killed(resumed_with):
    service, voted = Halting("dear"), ("--confidence", "agreement", "--samples", str(SAMPLES), "--escalate-below", "1")
    with serving(service.reply) as server:
        process = started(server, "cases.jsonl", "-m", "cascade/openai/cheap>openai/dear", *voted)
        service.until_asked("dear", SLOTS)
        told = killed_and_resumed(process, service, *resumed_with)
    paid_twice = len(service.asked) - ITEMS * (SAMPLES + 1)
    assert paid_twice == SLOTS * (SAMPLES + 1)
    assert told == (1 + BY_A_THREAD) * paid_twice  # what had been answered might not have been durable


@pytest.mark.parametrize("price", [("--price", "100/1000", "--max-tokens", "64"), ()], ids=["known", "unknown"])
def test_what_a_kill_may_cost_is_told_in_money_and_stands_beside_what_was_spent(price):
    service = Halting("m")
    with serving(service.reply) as server:
        process = started(server, "cases.jsonl", "-m", "openai/m", *price)
        service.until_asked("m", SLOTS)
        process.kill()
        process.wait()
        service.go_on()
        done = steelyard("run", "--resume", "last", "--quiet")
    calls = (1 + BY_A_THREAD) * SLOTS
    most_usd = calls * (32 * 100 + 64 * 1000) / 1e6  # a short question is held at 32 tokens
    told = f"for {most_usd:.4g} USD at most" if price else "at a price that is unknown"
    assert f"up to {calls} calls without a record may be paid for twice, {told}" in done.stderr
    shown = steelyard("show").stdout
    kept = f"up to {most_usd:.4g} USD more" if price else "an unknown price"
    assert f"{kept} in doubt for up to {calls} calls that a kill cut off" in shown


def test_a_run_that_is_killed_before_its_first_request_has_nothing_in_doubt():
    service = Halting()
    with serving(service.reply) as server:
        words = ["cases.jsonl", "-m", "openai/m", "--price", "100/1000", "--max-tokens", "64"]
        process = started(server, *words, settings={("steelyard.engine.run", "probe"): BEFORE_THE_FIRST})
        while not (Store.exists() and sessions()):
            assert process.poll() is None
            time.sleep(0.005)
        process.kill()
        process.wait()
        assert not service.asked
        done = steelyard("run", "--resume", "last", "--quiet")
    assert done.returncode == 0, done.stderr
    assert "paid for twice" not in done.stderr
    assert "killed" not in steelyard("show").stdout


def test_of_a_run_that_is_killed_at_its_end_only_what_it_lacked_is_in_doubt():
    lacking = 2
    service = Halting("m", first=ITEMS - lacking)
    with serving(service.reply) as server:
        process = started(server, "cases.jsonl", "-m", "openai/m", "--price", "100/1000", "--max-tokens", "64")
        service.until_asked("m", ITEMS)
        while answers_kept() < ITEMS - lacking:
            time.sleep(0.005)
        assert killed_and_resumed(process, service) == lacking
    assert len(service.asked) <= ITEMS + lacking


def test_verdicts_that_a_kill_cut_off_count():
    service = Halting("judge")
    with serving(service.reply) as server:
        process = started(server, judged_by(server, repeats=2, temperature=0.5), "-m", "openai/m")
        service.until_asked("judge", SLOTS)
        told = killed_and_resumed(process, service)
    assert service.asked.count("judge") - 2 * ITEMS >= SLOTS
    assert len(service.asked) - 3 * ITEMS <= told


def test_verdicts_that_died_with_workers_count():
    service = Halting("judge")
    with serving(service.reply) as server:
        process = started(server, judged_by(server), "-m", "openai/m", "--workers", "2")
        service.until_asked("judge", SLOTS)
        for child in psutil.Process(process.pid).children(recursive=True):
            if "steelyard.engine.processes.worker" in child.cmdline():
                child.kill()
        service.go_on()
        _, said = process.communicate()
    assert service.asked.count("judge") - ITEMS >= SLOTS
    assert len(service.asked) - 2 * ITEMS <= told_of(said)


def test_a_judge_is_no_further_ahead_of_what_is_durable_than_is_said(monkeypatch):
    service, durable, ahead, append = Halting("judge"), [], [], Store.append

    def slowly(store, calls, scores):
        time.sleep(0.1)
        ids = append(store, calls, scores)
        durable.extend(scores)
        ahead.append(service.asked.count("judge") - cut_off - len(durable))
        return ids

    with serving(service.reply) as server:
        process = started(server, judged_by(server, concurrency=SLOTS), "-m", "openai/m")
        service.until_asked("judge", SLOTS)
        while answers_kept() < ITEMS:
            time.sleep(0.005)
        cut_off = service.asked.count("judge")
        monkeypatch.setattr(Store, "append", slowly)
        told = killed_and_resumed(process, service)
    assert len(durable) == ITEMS
    assert max(ahead) <= (1 + BY_A_THREAD) * SLOTS == told


def answers_kept():
    with Store.open() as store:
        return sum(len(store.completed(cell.id)) for cell in store.cells(store.run("last").id))
