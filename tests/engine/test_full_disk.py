"""A full disk holds a run up before more is paid for; the run goes on when there is room, and loses nothing before."""

import asyncio
from collections import Counter

import pytest
from msgspec.structs import replace
from sqlalchemy import event
from sqlalchemy.engine import Engine

import steelyard as sy
from steelyard.engine import writer
from steelyard.engine.progress import Progress
from steelyard.engine.run import Given, execute
from steelyard.errors import StoreFull
from steelyard.plan.plan import BenchmarkSpec, Plan
from steelyard.store import Store
from steelyard.store.rows.account import Budget
from steelyard.types import ModelSpec, Price

ITEMS, IN_FLIGHT, ASKED_BEFORE = 120, 4, 40
ON_THEIR_WAY = 3 * IN_FLIGHT  # in flight, or answered and let go before the write had failed
UNLIMITED = 2**30
PLAN = Plan(
    models=(ModelSpec(id="m", provider="object", model="m"),),
    benchmarks=(BenchmarkSpec(name="quiz"),),
    concurrency=IN_FLIGHT,
)


class Disk:
    """SQLite's own limit on the pages of a file, set on each connection as it is used: the error is the true one."""

    def __init__(self):
        self.most_pages = UNLIMITED

    def limit(self, connection):
        connection.connection.dbapi_connection.execute(f"PRAGMA max_page_count = {self.most_pages}").fetchone()

    def fill(self):
        self.most_pages = 1  # SQLite takes what the file has already for the least

    def free(self):
        self.most_pages = UNLIMITED


@pytest.fixture
def disk(monkeypatch, tmp_path):
    monkeypatch.setattr(writer, "TRIED_AGAIN_EVERY_S", 0.02)
    monkeypatch.chdir(tmp_path)
    found = Disk()
    event.listen(Engine, "engine_connect", found.limit)
    yield found
    event.remove(Engine, "engine_connect", found.limit)


class Model(sy.Scripted):
    """Fills the disk at one of its answers, which are long, and keeps count of what it was asked."""

    def __init__(self, disk):
        super().__init__(self.reply, delay_s=0.002)
        self.disk, self.questions, self.asked_while_full = disk, [], 0

    def reply(self, request):
        question = request.prompt.messages[-1].content
        self.questions.append(question)
        self.asked_while_full += self.disk.most_pages != UNLIMITED
        if len(self.questions) == ASKED_BEFORE:
            self.disk.fill()
        return "yes " + "".join(str(hash((question, i))) for i in range(200))


def quiz():
    return sy.Benchmark(
        name="quiz",
        version="1",
        load=lambda selection: [sy.Sample(id=f"quiz/{i}", input=f"q{i}", target="yes") for i in range(ITEMS)],
        grade=lambda sample, completion: completion.text.startswith(sample.target),
    )


def ask(model, store, tell, resume=None, plan=PLAN):
    given = Given(providers={"m": model}, benchmarks={"quiz": quiz()})
    return asyncio.run(execute(plan, store, given=given, progress=Progress(say=tell), resume=resume))


def test_a_run_waits_for_room_without_paying_and_then_ends_as_if_nothing_had_been(disk):
    model, told = Model(disk), []

    def tell(text):
        told.append(text)
        if "nothing more is sent" in text:
            asyncio.get_running_loop().call_later(0.3, disk.free)

    with Store.open("s.db") as store:
        ended = ask(model, store, tell)
        accuracy = sy.Run(ended.run, store.location).estimate("accuracy")
    assert (ended.status, accuracy.value, accuracy.n) == ("done", 1.0, ITEMS)
    assert set(Counter(model.questions).values()) == {1}
    assert len(model.questions) == ITEMS
    assert [("s.db" in text) for text in told if "full" in text] == [True]
    assert len([text for text in told if "goes on" in text]) == 1
    assert model.asked_while_full <= ON_THEIR_WAY


def test_a_run_that_gets_no_room_ends_and_resumes_to_the_same_scores_without_repeating_what_was_kept(disk, monkeypatch):
    monkeypatch.setattr(writer, "PATIENCE_S", 0.2)
    model = Model(disk)
    with Store.open("s.db") as store:
        with pytest.raises(StoreFull, match="steelyard run --resume 1"):
            ask(model, store, lambda text: None)
        disk.free()
        asked_before = len(model.questions)
        run = store.run("last")
        kept = len(store.completed(store.cells(run.id)[0].id))
        assert 0 < asked_before - kept <= ON_THEIR_WAY
        ended = ask(model, store, lambda text: None, resume=run)
        accuracy = sy.Run(ended.run, store.location).estimate("accuracy")
    assert (ended.status, accuracy.value, accuracy.n) == ("done", 1.0, ITEMS)
    assert len(model.questions) - asked_before == ITEMS - kept


def test_a_disk_that_is_too_full_to_give_money_holds_the_run_up_and_does_not_end_it(disk, monkeypatch):
    draws, told = [], []

    def draw_or_not(budget, share, wanted_usd, draw=Budget.draw):
        draws.append(wanted_usd)
        if 2 <= len(draws) <= 4:
            raise StoreFull("the disk with the store s.db is full")
        return draw(budget, share, wanted_usd)

    monkeypatch.setattr(Budget, "draw", draw_or_not)
    priced = replace(PLAN, models=(replace(PLAN.models[0], max_tokens=8, price=Price(input=1_000, output=2_000)),))
    model = sy.Scripted("yes")
    with Store.open("s.db") as store:
        store.budget.set(10.0)
        ended = ask(model, store, told.append, plan=priced)
    assert ended.status == "done"
    assert model.asked == ITEMS
    assert len(draws) > 4
    assert told.count("the disk with the store s.db is full; the run waits for room") == 1
