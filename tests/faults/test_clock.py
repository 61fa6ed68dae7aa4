"""The clock is set, the machine sleeps, the process is stopped: a time is the model's, or there is none."""

import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest

import steelyard as sy
from forks import Started
from server import chunk, finish, serving, stream, usage
from steelyard.engine.asking import clock
from steelyard.engine.asking.clock import Clock
from steelyard.store import Store

ITEMS = 24


def quiz(items=ITEMS):
    return sy.Benchmark(
        name="quiz",
        version="1",
        load=lambda selection: [sy.Sample(id=f"quiz/{i}", input=f"q{i}", target="x") for i in range(items)],
        grade=lambda sample, completion: completion.text == sample.target,
    )


class Hands:
    """The hands of three clocks, moved by the test: the wall's, the steady one, and the one that goes on in sleep."""

    def __init__(self):
        self.wall_s, self.steady_ns, self.sleeping_ns = 1_000_000.0, 7 * 10**9, 90 * 10**9

    def clock(self):
        return Clock(lambda: self.wall_s, lambda: self.steady_ns, lambda: self.sleeping_ns)

    def go_on(self, seconds):
        self.wall_s += seconds
        self.steady_ns += int(seconds * 1e9)
        self.sleeping_ns += int(seconds * 1e9)


@pytest.mark.parametrize("step_s", [-3600.0, 86_400.0])
def test_a_step_of_the_wall_clock_does_not_move_the_clock_of_a_session(step_s):
    hands = Hands()
    watched = hands.clock()
    before_s = watched.now_s()
    hands.wall_s += step_s
    hands.go_on(2.0)
    assert watched.now_s() - before_s == pytest.approx(2.0)
    assert watched.paused_s() == 0.0


def test_a_sleep_is_seen_also_where_the_steady_clock_stood_still_and_a_short_pause_is_none():
    hands = Hands()
    watched = hands.clock()
    hands.go_on(29.0)
    assert watched.paused_s() == 0.0
    hands.sleeping_ns += 45 * 10**9  # what the kernel does while the machine sleeps
    assert watched.paused_s() == pytest.approx(45.0)
    hands.go_on(1.0)
    assert watched.paused_s() == pytest.approx(45.0)


@pytest.mark.skipif(sys.platform != "linux", reason="the clock that goes on in sleep has another name elsewhere")
def test_the_clock_that_goes_on_in_sleep_is_the_systems():
    apart_ns = clock.with_sleep_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    assert abs(apart_ns) < 10**9


@pytest.mark.parametrize("step_s", [-3600.0, 3600.0])
def test_times_and_rates_of_a_run_hold_while_the_wall_clock_is_set(monkeypatch, step_s):
    true, asked = time.time, []

    def answer(prompt):
        asked.append(prompt)
        time.sleep(0.02)
        return "x"

    monkeypatch.setattr(time, "time", lambda: true() + (step_s if len(asked) > ITEMS // 2 else 0.0))
    began_s = time.monotonic()
    run = sy.run([answer], [quiz()])
    took_s = time.monotonic() - began_s
    assert 0.02 <= run.estimate("latency.mean").value < ITEMS  # a step of an hour makes it minutes
    assert ITEMS / took_s <= run.estimate("requests_per_second").value <= 60 * ITEMS
    with Store.open() as store:
        columns = store.columns(store.cells(run.info.id)[0].id)
    assert ((columns.ended_s - columns.started_s >= 0) & (columns.ended_s - columns.started_s < 60.0)).all()


def test_an_answer_that_was_on_its_way_while_the_loop_stood_still_keeps_its_words_and_loses_its_times(monkeypatch):
    monkeypatch.setattr(clock, "LONGEST_PAUSE_S", 0.8)
    monkeypatch.setattr(clock, "LOOKED_EVERY_S", 0.05)

    async def model(prompt):
        await asyncio.sleep(0.05)
        if "q7" in prompt:
            time.sleep(1.0)  # noqa: ASYNC251 - stands for what keeps the whole process from running
        return "x"

    run = sy.run([model], [quiz()])
    untimed = run.estimate("untimed").value
    assert 1 <= untimed < ITEMS
    assert run.estimate("accuracy").n == ITEMS
    assert run.estimate("latency.mean").n == ITEMS - untimed
    assert run.estimate("latency.p50").value < 0.8
    assert f"{untimed:.0f} of {ITEMS} answers were on their way while this machine slept" in run.table()


def test_a_process_that_was_stopped_and_continued_says_so_over_its_results():
    Path("q.jsonl").write_text("".join(json.dumps({"question": f"q{i}", "answer": "x"}) + "\n" for i in range(ITEMS)))

    async def slow_x(request, body, number):
        await asyncio.sleep(0.1)
        return await stream(request, [chunk(content="x"), finish(), usage()])

    with serving(slow_x) as server:
        command = ["run", "q.jsonl", "-m", "openai/m", "--base-url", server.url, "--concurrency", "4", "--json"]
        at = "steelyard.engine.asking.clock"
        process = Started(*command, settings={(at, "LONGEST_PAUSE_S"): 1.0, (at, "LOOKED_EVERY_S"): 0.05})
        while len(server.requests) < ITEMS // 2:
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGSTOP)
        time.sleep(2.5)
        os.kill(process.pid, signal.SIGCONT)
        out, _ = process.communicate(timeout=60)
    document = json.loads(out)
    estimates = document["cells"][0]["estimates"]
    assert process.returncode == 0
    assert (estimates["accuracy"]["value"], estimates["scored"]["value"]) == (1.0, ITEMS)
    assert 1 <= estimates["untimed"]["value"] <= 4
    assert estimates["latency.mean"]["value"] < 2.0
    assert any("the client was stopped:" in warning for warning in document["warnings"])
    with Store.open() as store:
        run = store.run("last")
        (session,) = store.sessions(run.id)
        slept = [record.call.slept_s for record in store.records(run.id) if record.call.slept_s]
    assert session.resources["slept_s"] > 2.0
    assert session.resources["loop_lag_max_s"] < 2.0
    assert len(slept) == estimates["untimed"]["value"]
    assert min(slept) > 2.0
