"""A budget holds over kills: what a service billed in all sessions of a run is no more than the run was given."""

import asyncio
import json
import random
import threading
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from aiohttp import web

from forks import Started
from server import chunk, finish, serving, stream, usage
from steelyard.engine.money.budget import ROUNDING_USD
from steelyard.store import Store

ITEMS, IN_FLIGHT = 2_000, 4
PRICES = "1000/1000"  # USD per million tokens
INPUT, OUTPUT, LIMIT = 20, 4, 8
ANSWER_USD = (INPUT + OUTPUT) / 1000
A_FEW_USD, MANY_USD = 40 * ANSWER_USD, 800 * ANSWER_USD
SPENT = 5


class Billing:
    """Bills every question that reaches it."""

    def __init__(self):
        self.billed = 0
        self._changed = threading.Condition()

    async def reply(self, request, body, number):
        with self._changed:
            self.billed += 1
            self._changed.notify_all()
        await asyncio.sleep(0.02)
        with suppress(ConnectionResetError):  # who asked may be dead
            return await stream(request, [chunk(content="yes"), finish(), usage(INPUT, OUTPUT)])
        return web.Response()

    def until_billed(self, times, process):
        """Return when it has billed so often, or whoever asks has come to an end."""
        with self._changed:
            while self.billed < times and process.poll() is None:
                self._changed.wait(timeout=0.1)


def started(*words):
    return Started("run", *words, "--store", "s.db", "--quiet", "--yes")


def killed_with_its_workers(process):
    """Kill it, and return when its workers have heard of that and are gone, too: until then they may send more."""
    workers = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    process.kill()
    process.communicate()
    assert not psutil.wait_procs(workers, timeout=60)[1]


def killed_and_resumed_until_it_is_spent(budget_usd, kills, *how, seed=1):
    """What was billed, what the run says it spent and has in doubt, and how many kills hit it while it was at work."""
    lines = [json.dumps({"question": f"Is {i}?", "answer": "yes", "id": f"c{i}"}) for i in range(ITEMS)]
    Path("cases.jsonl").write_text("\n".join(lines) + "\n")
    chance, service, hits = random.Random(seed), Billing(), 0
    with serving(service.reply) as server:
        words = ["cases.jsonl", "-m", "openai/m", "--base-url", server.url, "--concurrency", str(IN_FLIGHT), *how]
        words += ["--price", PRICES, "--max-tokens", str(LIMIT), "--budget", str(budget_usd)]
        for _ in range(kills):
            process, before = started(*words), service.billed
            service.until_billed(before + chance.randint(1, 16), process)
            hits += process.poll() is None
            killed_with_its_workers(process)
            words = ["--resume", "last"]
        process = started(*words)
        _, told = process.communicate(timeout=60)
        assert process.returncode == SPENT, told
        with Store.open("s.db", create=False) as store:
            counted_usd = store.budget.spent_of_run(store.run("last").id)
    return service.billed * ANSWER_USD, counted_usd, hits


@pytest.mark.parametrize(
    ("budget_usd", "kills", "how"),
    [
        (A_FEW_USD, 2, ()),
        pytest.param(MANY_USD, 6, (), marks=pytest.mark.long),
        pytest.param(MANY_USD, 4, ("--workers", "2"), marks=pytest.mark.long),
    ],
)
def test_a_budget_is_not_overspent_however_often_the_run_is_killed(budget_usd, kills, how):
    billed_usd, counted_usd, hits = killed_and_resumed_until_it_is_spent(budget_usd, kills, *how)
    assert hits >= kills / 2
    assert billed_usd <= counted_usd + ROUNDING_USD
    assert counted_usd <= budget_usd + ROUNDING_USD
