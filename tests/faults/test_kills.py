"""``kill -9`` at random instants: the run goes on, repeats nothing that was kept, and ends as if nothing had been."""

import asyncio
import json
import random
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from aiohttp import web

from server import chunk, finish, serving, stream, usage
from steelyard.store import Store

ITEMS, IN_FLIGHT, WRONG_EVERY = 200, 8, 7
AT_RISK = 2 * IN_FLIGHT  # in flight, or answered and not yet committed
OF_THE_CLOCK = ("latency", "ttft", "itl", "tpot", "_per_second", "cpu", "rss", "queued")
KILLED_AGAIN = 0.25  # of the runs are killed a second time, while they go on
AT_ONCE = 2
LONGEST = 1.2  # a kill comes at any moment up to this share of a whole run's time: two at a time take longer


async def slow_echo(request, body, number):
    """Answers "Say 7" with 7, streamed, and every seventh question wrongly."""
    await asyncio.sleep(0.02)
    said = body["messages"][-1]["content"].removeprefix("Say ")
    text = "nothing" if int(said) % WRONG_EVERY == 0 else said
    with suppress(ConnectionResetError):  # who asked may be dead
        return await stream(request, [chunk(content=text), finish(), usage()], gap_s=0.001)
    return web.Response()


def start(store, *arguments):
    command = [sys.executable, "-m", "steelyard", "run", *arguments, "--store", str(store)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def ended(process):
    _, told = process.communicate(timeout=60)
    assert process.returncode == 0, told
    return told


def totals(store):
    """Every estimate that does not read a clock: scores with their intervals, counts, tokens, money."""
    with Store.open(store, create=False) as opened:
        run = opened.run("last")
        (cell,) = opened.cells(run.id)
        found = {estimate.metric: estimate for estimate in opened.summary(cell.id)}
        assert run.status == "done"
    return {name: found[name] for name in found if not any(word in name for word in OF_THE_CLOCK)}


def kept_of(store):
    """The questions whose answers were committed, and whether the run was cut off; ``None`` before there is a run."""
    if not store.exists():
        return None
    with Store.open(store, create=False) as opened:
        runs = opened.runs()
        if not runs:
            return None
        cells = opened.cells(runs[0].id)
        sessions = opened.sessions(runs[0].id)
        kept = {f"Say {position}" for cell in cells for position, _ in opened.completed(cell.id)}
    return kept, bool(sessions) and sessions[-1].ended_at is None


def killed_at(process, moment_s):
    time.sleep(moment_s)
    process.kill()
    process.communicate()


class Undisturbed:
    """A server, what a whole run against it gives, and how long that takes."""

    def __init__(self, server):
        lines = [json.dumps({"question": f"Say {i}", "answer": str(i), "id": f"c{i}"}) for i in range(ITEMS)]
        Path("cases.jsonl").write_text("\n".join(lines) + "\n")
        self.server = server
        began_s = time.monotonic()
        ended(start("whole.db", *self.command("whole")))
        self.took_s = time.monotonic() - began_s
        self.totals = totals("whole.db")

    def command(self, model):
        where = ["--base-url", self.server.url, "--concurrency", str(IN_FLIGHT)]
        return ["cases.jsonl", "-m", f"openai/{model}", *where, "--price", "1/2", "--quiet", "--yes"]

    def asked(self, model):
        return [turn["messages"][-1]["content"] for turn in self.server.requests if turn["model"] == model]


def end_as_undisturbed(whole, name, moments):
    """Kill a run at each of the moments, resuming it between; let it end; returns whether it was cut off at last."""
    store, how = Path(f"{name}.db"), whole.command(name)
    for moment in moments:
        killed_at(start(store, *how), moment * whole.took_s)
        if kept_of(store) is not None:
            how = ["--resume", "last", "--quiet"]
    kept, was_cut_off = kept_of(store) or (set(), False)
    before = len(whole.asked(name))
    told = ended(start(store, *how))
    asked = whole.asked(name)
    assert (f"up to {AT_RISK} calls without a record may be paid for twice" in told) == was_cut_off
    assert set(asked) - set(asked[before:]) <= kept  # all that was not kept is asked again
    assert not set(asked[before:]) & kept  # no completed call is repeated
    assert len(asked[before:]) == ITEMS - len(kept)
    assert len(asked) - ITEMS <= AT_RISK * len(moments)
    assert totals(store) == whole.totals
    for file in Path().glob(f"{store}*"):
        file.unlink()
    return was_cut_off


def kill(times, seed):
    """That many kills over so many runs as it takes, two runs at a time; returns how many had to be gone on with."""
    chance = random.Random(seed)
    rounds = []
    while (left := times - sum(map(len, rounds))) > 0:
        kills = min(left, 2 if chance.random() < KILLED_AGAIN else 1)
        rounds.append([LONGEST * chance.random() for _ in range(kills)])
    with serving(slow_echo) as server, ThreadPoolExecutor(AT_ONCE) as pool:
        whole = Undisturbed(server)
        names = [f"killed-{number}" for number in range(len(rounds))]
        return sum(pool.map(partial(end_as_undisturbed, whole), names, rounds))


def test_after_kill_9_a_resumed_run_ends_with_the_same_scores():
    kill(5, seed=1)


@pytest.mark.long
def test_after_100_kills_at_random_instants_every_resume_ends_with_the_same_scores():
    assert kill(100, seed=2) >= 30  # not only before the first call and after the last
