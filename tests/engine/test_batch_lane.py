"""A model asked by batches from the command line: answered, scored, and handed in once though its process is killed."""

import asyncio
import json
import os
import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest

from batch_server import BatchServer
from command import steelyard
from forks import Started
from server import serving
from steelyard.engine.asking import batch_lane
from steelyard.engine.asking.batch_lane import BatchLane
from steelyard.engine.asking.standings import Standings
from steelyard.engine.progress import BatchProgress
from steelyard.errors import ProviderError
from steelyard.providers import batches
from steelyard.types import Failure, Message, Prompt, Request

NEVER_OVER = -1_000_000
ROWS = [{"id": f"q{n}", "input": f"Say {n}", "target": "42"} for n in range(4)]


@pytest.fixture(autouse=True)
def _looks_soon(monkeypatch):
    monkeypatch.setattr(batches, "FIRST_LOOK_S", 0.2)


def command(*more):
    return ["run", *more, "--store", "s.db", "--json"]


def asked(url):
    with open("q.jsonl", "w") as file:
        file.writelines(json.dumps(row) + "\n" for row in ROWS)
    words = ("q.jsonl", "--grader", "contains", "-m", "openai/m", "--base-url", url, "--price", "1/2", "--batch")
    return command(*words)


async def at_once():
    """What takes no time."""


def lane_of(service, standings, **how):
    """A lane that goes on, with money and room for everything, but for ``how``."""

    async def afford(work):
        return True

    given = {
        "ready": at_once,
        "afford": afford,
        "owe": lambda work, piece: None,
        "leave": lambda work: None,
        "answered": lambda work, answered: None,
        "drain": at_once,
        "stopped": lambda: None,
        "tell": lambda text: None,
        "begin": lambda requests: BatchProgress(model="m", number=1, requests=requests),
        "is_loaded": lambda: True,
    }
    return BatchLane(service=service, standings=standings, **(given | how))


def loaded_with(n):
    loaded, cell = asyncio.Queue(), SimpleNamespace(row=1)
    request = Request(model="m", prompt=Prompt(kind="chat", messages=(Message(role="user", content="q"),)))
    for position in range(n):
        work = SimpleNamespace(digest=b"d", cell=cell, position=position, repeat=0, request=request, bill=None)
        loaded.put_nowait(work)
    return loaded


def test_no_batch_is_handed_in_while_there_is_no_room_for_its_answers(tmp_path):
    """Money that does not come in time ends the gathering of a batch; what was gathered still waits for room."""
    room, handed_in = asyncio.Event(), asyncio.Event()

    class Service:
        async def submit(self, *told):
            handed_in.set()
            raise ProviderError(Failure(kind="auth", message="no"))

    async def afford(work):
        if work.position:
            await asyncio.sleep(60)
        return True

    async def main():
        lane = lane_of(Service(), Standings(tmp_path, "run", "m"), ready=room.wait, afford=afford)
        serving_it = asyncio.ensure_future(lane.serve(loaded_with(2)))
        await asyncio.sleep(0.2)
        assert not handed_in.is_set()
        room.set()
        await asyncio.wait_for(handed_in.wait(), 10)
        serving_it.cancel()
        await asyncio.gather(serving_it, return_exceptions=True)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch_lane, "MONEY_COMES_WITHIN_S", 0.02)
        asyncio.run(main())


@pytest.mark.parametrize("is_given_up", [False, True])
def test_requests_that_are_asked_again_take_what_is_in_doubt_of_them_along(tmp_path, is_given_up):
    """Each bill is told what an earlier session left in doubt, and tells once that this has come to its end."""
    stops, seen = [], []
    standings = Standings(tmp_path, "run", "m")

    class Service:
        learnt: ClassVar = {}

        async def progress(self, batch):
            return batches.Progress(is_over=True, answered=0)

        async def answers(self, ticket):
            for index in range(2):
                yield batches.Answered(index=index, failure=Failure(kind="rejected", message="no temperature"))

        def learn(self, failure, request):
            stops.extend(["its key is refused"] if is_given_up else [])
            return True

        async def submit(self, *told):
            seen.extend(piece.doubted for piece in standings.left())
            raise ProviderError(Failure(kind="auth", message="no"))

    async def main():
        loaded = loaded_with(2)
        works = [loaded.get_nowait() for _ in range(2)]
        piece = await standings.keep(works)
        await standings.doubt(piece, piece.keys)
        await standings.journal.keep(batches.Ticket(label=piece.label, requests=2, meant_at_s=0.0, batch="b"))
        for work in (*works, None):
            loaded.put_nowait(work)
        await lane_of(Service(), standings, stopped=lambda: next(iter(stops), None)).serve(loaded)
        return piece

    piece = asyncio.run(main())
    assert seen == ([] if is_given_up else [piece.keys])
    assert [left.doubted for left in standings.left()] == ([()] if is_given_up else [])


def test_a_model_that_is_given_up_while_its_batch_waits_for_room_is_handed_nothing(tmp_path):
    left, stops = [], []

    class Waiting(Standings):
        async def keep(self, works, doubted=()):
            piece = await super().keep(works, doubted)
            stops.append("its key is refused")
            return piece

    class Service:
        async def submit(self, *told):
            raise AssertionError("handed in")

    async def main():
        loaded = loaded_with(2)
        loaded.put_nowait(None)
        standings = Waiting(tmp_path, "run", "m")
        lane = lane_of(Service(), standings, stopped=lambda: next(iter(stops), None), leave=left.append)
        await lane.serve(loaded)

    asyncio.run(main())
    assert [work.position for work in left] == [0, 1]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("ends_it", [signal.SIGKILL, signal.SIGINT])
def test_a_process_that_ends_before_its_batch_does_hands_it_in_once(monkeypatch, ends_it):
    server = BatchServer()
    server.polls = NEVER_OVER
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    with serving(server.handle) as http:
        process = Started(*asked(http.url), settings={("steelyard.providers.batches", "FIRST_LOOK_S"): 0.2})
        until = time.monotonic() + 40
        while server.polls == NEVER_OVER and process.poll() is None and time.monotonic() < until:
            time.sleep(0.02)
        os.kill(process.pid, ends_it)
        said = process.communicate(timeout=30)
        assert server.submitted == 1, said
        assert process.returncode == (130 if ends_it == signal.SIGINT else -signal.SIGKILL), said
        server.polls = 2
        ended = steelyard(*command("--resume", "1"))
        assert ended.returncode == 0, ended.stderr
        assert server.submitted == 1
        with closing(sqlite3.connect("s.db")) as raw:
            rows = raw.execute("select failure, total_s, cost_usd from calls").fetchall()
        assert sorted(failure is not None for failure, _, _ in rows) == [False, False, True, True]
        assert [total_s for _, total_s, _ in rows] == [None] * 4
        assert not list(Path("batches").glob("*.piece"))
        again = steelyard(*command("--resume", "1"))
        assert again.returncode == 0, again.stderr
    assert server.submitted == 2  # what failed is asked again, by a batch of its own
    assert len(server.batches["batch_2"]["entries"]) == 2


def test_a_budget_lets_no_more_be_handed_in_than_it_holds(monkeypatch):
    server = BatchServer()
    server.polls = 2
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    with serving(server.handle) as http:
        words = [*asked(http.url), "--max-tokens", "100", "--budget", "0.0006"]
        ended = steelyard(*words)
    assert ended.returncode == 5, ended.stderr
    assert server.submitted >= 1
    assert len(server.batches["batch_1"]["entries"]) == 2


@pytest.mark.parametrize("model", ["groq/m", "local/smollm2-135m", "google/m"])
def test_a_provider_without_batches_is_told_before_anything_is_sent(model, monkeypatch):
    monkeypatch.setenv("GROQ_API_KEY", "k")
    monkeypatch.setenv("GEMINI_API_KEY", "k")
    words = ("q.jsonl", "--grader", "contains", "-m", model, "--batch")
    Path("q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    ended = steelyard(*command(*words))
    assert ended.returncode == 2, ended.stderr
    assert "takes no batches" in ended.stderr


def test_a_run_that_may_end_early_hands_in_one_batch_for_each_look(monkeypatch):
    server = BatchServer()
    server.polls = 2
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    rows = [{"id": f"q{n}", "input": f"Say {n}", "target": "42"} for n in range(300)]
    Path("q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with serving(server.handle) as http:
        words = ("q.jsonl", "--grader", "contains", "-m", "openai/m", "--base-url", http.url, "--batch")
        ended = steelyard(*command(*words, "--stop", "ladder=0.2/0.5/1,variance=0.005"))
    assert ended.returncode == 0, ended.stderr
    stopped = json.loads(ended.stdout)["cells"][0]["stopped"]
    assert [len(batch["entries"]) for batch in server.batches.values()] == [60, 90, 150]
    assert (stopped["look"], stopped["items"]) == (3, 300)
