"""``kill -9`` at random instants: the run goes on, repeats nothing that was kept, and ends as if nothing had been."""

import asyncio
import json
import random
import re
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest
from aiohttp import web

import postgresql_server
import steelyard as sy
from dashboard.boards import Visitor, served
from forks import Started
from server import chunk, finish, serving, stream, usage
from steelyard.store import Store

ITEMS, IN_FLIGHT, WRONG_EVERY = 120, 8, 7
AT_RISK = 2 * IN_FLIGHT  # in flight, or answered and not yet committed
OF_THE_CLOCK = ("latency", "ttft", "ttfo", "itl", "tpot", "_per_second", "cpu", "rss", "queued", "in_flight")
KILLED_AGAIN = 0.25  # of the runs are killed a second time, while they go on
AT_ONCE = 2
AT_THE_ENDS = 0.1


class Echo:
    """Answers "Say 7" with 7, streamed, and every seventh question wrongly; keeps what each model was asked."""

    def __init__(self):
        self.asked = defaultdict(list)

    async def answer(self, request, body, number):
        question = body["messages"][-1]["content"]
        self.asked[body["model"]].append(question)
        await asyncio.sleep(0.02)
        said = question.removeprefix("Say ")
        text = "nothing" if int(said) % WRONG_EVERY == 0 else said
        with suppress(ConnectionResetError):  # who asked may be dead
            return await stream(request, [chunk(content=text), finish(), usage()], gap_s=0.001)
        return web.Response()


def start(store, *arguments):
    return Started("run", *arguments, "--store", store)


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
    if not Store.exists(store):
        return None
    with Store.open(store, create=False) as opened:
        runs = opened.runs()
        if not runs:
            return None
        cells = opened.cells(runs[0].id)
        sessions = opened.sessions(runs[0].id)
        kept = {f"Say {position}" for cell in cells for position, _ in opened.completed(cell.id)}
    return kept, bool(sessions) and sessions[-1].ended_at is None


class Moment(NamedTuple):
    """When to kill: once that share of what is to be asked was asked, and a little later.

    Below 0: while the run starts; above 1: while it ends.
    """

    share: float
    later_s: float


class Undisturbed:
    """A server, what a whole run against it gives, and how long that takes."""

    def __init__(self, echo, url):
        lines = [json.dumps({"question": f"Say {i}", "answer": str(i), "id": f"c{i}"}) for i in range(ITEMS)]
        Path("cases.jsonl").write_text("\n".join(lines) + "\n")
        self.echo, self.url = echo, url
        began_s = time.monotonic()
        ended(start("whole.db", *self.command("whole")))
        self.took_s = time.monotonic() - began_s
        self.totals = totals("whole.db")

    def command(self, model):
        where = ["--base-url", self.url, "--concurrency", str(IN_FLIGHT)]
        return ["cases.jsonl", "-m", f"openai/{model}", *where, "--price", "1/2", "--quiet", "--yes"]

    def kill(self, process, moment, name, left):
        asked = self.echo.asked[name]
        enough = len(asked) + min(moment.share, 1.0) * left
        if moment.share < 0:
            time.sleep((1 + moment.share / AT_THE_ENDS) * self.took_s / 2)
        while moment.share >= 0 and len(asked) < enough and process.poll() is None:
            time.sleep(0.001)
        time.sleep(moment.later_s + max(0.0, moment.share - 1) * self.took_s)
        process.kill()
        process.communicate()


def in_a_file(name):
    """Where the store of a run lies."""
    return f"{name}.db"


def on_a_server(name):
    """Likewise; the name is of no use."""
    return postgresql_server.address(postgresql_server.new_schema())


def check_a_look(store, kept):
    """Of a run that was killed, a look at it from anywhere counts what is durable, and says that it was cut off."""
    with Store.open(store, create=False) as opened:
        run = opened.run("last")
        with served(opened, token=None) as port:
            listed, page = (Visitor(port, token=None).page(path) for path in ("/", f"/runs/{run.number}"))
    found = sy.Run(run, str(store))
    assert found.status == "interrupted"
    if not found.cells:  # it was killed before it knew what to ask
        assert kept == 0
        return
    assert found.estimate("attempted").value == kept
    said = f"Interrupted after {kept} of {ITEMS} requests: every number is of what was answered by then"
    assert said in found.table()
    assert not kept or (said.replace(":", ":</strong>") in page and f'data-of="requests">{kept}</td>' in listed)


def end_as_undisturbed(whole, place, name, moments):
    """Kill a run at each of the moments, resuming it between; let it end; returns whether it was cut off at last."""
    store, how, asked, kept = place(name), whole.command(name), whole.echo.asked[name], set()
    was_cut_off, before = False, 0
    for moment in moments:
        before = len(asked)
        whole.kill(start(store, *how), moment, name, ITEMS - len(kept))
        if (found := kept_of(store)) is not None:
            how, (kept, was_cut_off) = ["--resume", "last", "--quiet"], found
            if was_cut_off and moment is moments[0]:
                check_a_look(store, len(kept))
    can_be_lost = was_cut_off and len(asked) > before and len(kept) < ITEMS
    before = len(asked)
    told = ended(start(store, *how))
    said = re.search(r"up to (\d+) calls? without a record may be paid for twice", told)
    assert was_cut_off if said else not can_be_lost
    assert not said or int(said[1]) <= min(AT_RISK, ITEMS - len(kept))
    assert not set(asked[before:]) & kept  # no completed call is repeated
    assert sorted(asked[before:]) == sorted({f"Say {i}" for i in range(ITEMS)} - kept)
    assert len(asked) - ITEMS <= AT_RISK * len(moments)
    assert totals(store) == whole.totals
    for file in Path().glob(f"{name}.db*"):
        file.unlink()
    return was_cut_off


def kill(times, seed, place=in_a_file):
    """That many kills over so many runs as it takes, two runs at a time; returns how many had to be gone on with."""
    chance, echo = random.Random(seed), Echo()
    rounds = []
    while (left := times - sum(map(len, rounds))) > 0:
        kills = min(left, 2 if chance.random() < KILLED_AGAIN else 1)
        moments = ((chance.uniform(-AT_THE_ENDS, 1 + AT_THE_ENDS), chance.uniform(0, 0.04)) for _ in range(kills))
        rounds.append([Moment(*moment) for moment in moments])
    with serving(echo.answer) as server, ThreadPoolExecutor(AT_ONCE) as pool:
        whole = Undisturbed(echo, server.url)
        names = [f"killed-{number}" for number in range(len(rounds))]
        return sum(pool.map(partial(end_as_undisturbed, whole, place), names, rounds))


def test_after_kill_9_a_resumed_run_ends_with_the_same_scores():
    kill(5, seed=1)


@pytest.mark.long
def test_after_kill_9_a_run_on_a_server_ends_with_the_scores_of_one_in_a_file():
    if missing := postgresql_server.missing():
        pytest.skip(f"{postgresql_server.ABSENT}: {missing} is not here")
    kill(6, seed=3, place=on_a_server)


@pytest.mark.long
def test_after_100_kills_at_random_instants_every_resume_ends_with_the_same_scores():
    assert kill(100, seed=2) >= 50  # not only before the first call and after the last
