"""What a run and its workers say to one another where two things happen at once, or in the other order."""

import asyncio
from functools import partial
from types import SimpleNamespace

import msgspec
import pytest

from steelyard.engine.asking.attempts import RetryPolicy
from steelyard.engine.money.budget import SPENT, Grant, Ledger
from steelyard.engine.processes import worker
from steelyard.engine.processes.crew import Crew
from steelyard.engine.processes.frames import Ahead, Begin, Books, End, Items, LaneDone, Room, Stop, Weighed
from steelyard.engine.processes.hand import Hand
from steelyard.engine.processes.shared_lane import SharedLane
from steelyard.engine.writer import BY_A_THREAD, FROM_WORKERS, Writer
from steelyard.plan.plan import BenchmarkSpec, Plan
from steelyard.types import ModelSpec

LISTED = ModelSpec(id="m", provider="openai", model="gpt-4o-mini", concurrency=2)  # its price is read from a table


def begin():
    plan = Plan(models=(LISTED,), benchmarks=(BenchmarkSpec(name="starter"),))
    return Begin(
        plan=msgspec.json.encode(plan),
        workers=1,
        run_id="r",
        session=1,
        rows=(1,),
        allows_unsafe_code=False,
        is_limited=False,
        earlier=None,
        readings=(),
        policy=msgspec.json.encode(RetryPolicy()),
    )


@pytest.mark.parametrize("when", ["before it was told to begin", "while it prepares"])
def test_a_wish_to_stop_that_comes_early_is_heard_by_a_worker(when, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    said = []

    def hear(hand, message):
        said.append(message)
        if isinstance(message, Weighed):
            hand.say(End())

    async def story():
        hand = Hand(0, [], {"m": 2}, Grant(Ledger()))
        if when == "before it was told to begin":
            hand.say(Stop(model="m", reason="interrupted"))
        await hand.begin(begin())
        await hand._wire.flush()
        if when == "while it prepares":
            hand.say(Stop(model="m", reason="interrupted"))
        async with asyncio.timeout(50):
            await hand.listen(hear)
        await hand.end(patiently=True)

    asyncio.run(story())
    assert LaneDone(model="m", reason="interrupted") in said
    assert isinstance(said[-1], Weighed)


def a_crew(ledger, writer=None, **settings):
    writer = writer or SimpleNamespace(**({"is_full": False, "from_workers": BY_A_THREAD} | settings))
    plan = Plan(models=(LISTED,), benchmarks=(BenchmarkSpec(name="starter"),), workers=1, fresh=True)
    return Crew(
        plan,
        run_id="r",
        session=1,
        store="none",
        ledger=ledger,
        writer=writer,
        tell=lambda text: None,
        policy=RetryPolicy(),
    )


def a_lane(crew, **inner):
    cells = [SimpleNamespace(row=1, cell=SimpleNamespace(spec=LISTED, judge=None), progress=SimpleNamespace())]
    given = {"model": "m", "cells": cells, "concurrency": 2, "stopped": None} | inner
    return SharedLane(SimpleNamespace(**given), crew, inner.get("left_over", list))


def test_what_a_worker_was_given_that_is_killed_as_the_run_ends_is_in_doubt():
    async def story():
        ledger = Ledger(1.0)
        crew = a_crew(ledger)
        async with crew:
            hand = Hand(0, [], {"m": 2}, Grant(ledger))
            crew.hands.append(hand)
            await hand.begin(begin())
            await hand.grant.more(0.25)
            listening = asyncio.create_task(hand.listen(crew._hear))
            hand._process.kill()
            await listening
        return ledger

    ledger = asyncio.run(story())
    assert (ledger.doubtful_usd, ledger.held_usd) == (0.25, 0.0)


def test_nobody_is_hired_in_the_place_of_a_worker_that_died_as_the_run_ended():
    async def story():
        crew = a_crew(Ledger())

        async def listen(hear):
            return

        def how_it_died():
            crew._is_ending = True
            return "killed by signal 9"

        crew._hire = None
        hand = SimpleNamespace(listen=listen, how_it_died=how_it_died, has_ended=asyncio.Event())
        await crew._attend(hand)
        return crew.deaths

    assert asyncio.run(story()) == 0


def test_nobody_is_hired_while_the_store_is_away():
    async def story():
        is_back = asyncio.Event()
        crew = a_crew(Ledger(), ready=is_back.wait)
        hired = []

        async def hire(number):
            hired.append((number, is_back.is_set()))

        crew._hire = hire
        dead = SimpleNamespace(number=1, in_hand={}, grant=Grant(crew.ledger))
        replacing = asyncio.create_task(crew._replace(dead, "killed by signal 9"))
        await asyncio.sleep(0.01)
        is_back.set()
        await replacing
        return hired

    assert asyncio.run(story()) == [(1, True)]


def test_a_worker_is_told_as_it_is_hired_that_the_disk_is_full_or_how_many_answers_may_be_under_way(monkeypatch):
    said = []

    class Hired(Hand):
        def __init__(self, number, cells, slots, grant):
            self.in_hand = {"m": set()}

        async def begin(self, begin):
            said.append(begin)

        async def listen(self, hear):
            self.has_ended = asyncio.Event()
            self.has_ended.set()

        def say(self, message):
            said.append(message)

    monkeypatch.setattr("steelyard.engine.processes.crew.Hand", Hired)

    async def story(**writer):
        said.clear()
        crew = a_crew(Ledger(), **writer)
        crew.lanes["m"] = a_lane(crew)
        crew.lanes["m"].cells.clear()
        await crew._hire(0)
        await asyncio.gather(*crew._tasks)
        return said[1:]

    assert asyncio.run(story(is_full=True)) == [Room(is_there=False)]
    assert asyncio.run(story(from_workers=FROM_WORKERS)) == [Ahead(uncommitted=FROM_WORKERS)]
    assert asyncio.run(story()) == []


def test_money_that_a_worker_leaves_is_there_for_who_waits_for_it_as_soon_as_its_books_are_closed():
    async def story():
        ledger = Ledger(1.0)
        crew = a_crew(ledger)
        hand = SimpleNamespace(grant=Grant(ledger), has_told_all=False)
        assert await hand.grant.more(0.9) == 0.9
        waiting = asyncio.create_task(ledger.hold(0.5))
        await asyncio.sleep(0)
        crew._hear(hand, Books(spent_usd=0.25, doubtful_usd=0.0, doubtful_tries=0, is_last=True))
        async with asyncio.timeout(10):
            assert await waiting
        assert (ledger.spent_usd, ledger.held_usd) == (0.25, 0.5)

    asyncio.run(story())


def test_who_waits_for_money_learns_that_workers_have_spent_it():
    async def story():
        ledger = Ledger(1.0)
        grant = Grant(ledger)
        await grant.more(0.9)
        waiting = asyncio.create_task(ledger.hold(0.5))
        await asyncio.sleep(0)
        grant.told(0.875, 0.0, 0)
        async with asyncio.timeout(10):
            return await waiting

    assert asyncio.run(story()) is False


def test_money_that_comes_for_a_worker_that_died_meanwhile_is_there_for_others():
    async def story():
        may_give = asyncio.Event()

        async def draw(wanted_usd):
            await may_give.wait()
            return wanted_usd

        ledger = Ledger(draw=draw)
        grant = Grant(ledger)
        asking = asyncio.create_task(grant.more(0.5))
        await asyncio.sleep(0)
        grant.close(was_lost=True)
        may_give.set()
        return await asking, ledger.held_usd, ledger.doubtful_usd

    assert asyncio.run(story()) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("takes_long", [False, True])
def test_a_worker_that_cannot_cut_all_off_in_time_does_not_say_that_its_books_are_closed(takes_long, monkeypatch):
    monkeypatch.setattr(worker, "CUT_OFF_WITHIN_S", 0.05)
    said = []

    async def leave():
        return

    async def story():
        may_end = asyncio.Event()

        async def work():
            try:
                await asyncio.sleep(60)
            finally:
                await may_end.wait()

        if not takes_long:
            may_end.set()
        working = asyncio.create_task(work())
        await asyncio.sleep(0)
        told = SimpleNamespace(say_books=lambda *, is_last: said.append(is_last))
        await worker._break_off(SimpleNamespace(leave=leave), told, working)
        may_end.set()
        await asyncio.wait((working,))

    asyncio.run(story())
    assert said == [not takes_long]


def test_where_one_worker_ran_out_of_money_and_the_last_other_one_died_the_budget_ended_the_model():
    async def story():
        hands = [SimpleNamespace(is_alive=True, done=set(), in_hand={"m": set()}) for _ in range(2)]
        crew = SimpleNamespace(hands=hands, has_hands=True, ledger=Ledger(1.0))
        reasons = []
        lane = a_lane(crew, stop=reasons.append)
        lane._is_drawn = True
        poor, dying = hands
        lane.done(poor, SPENT)
        lane._ready.append((lane.cells[0], 0, 0))
        dying.is_alive = False
        lane.lost(dying)
        return reasons, crew.ledger.is_exhausted, lane._is_over.is_set()

    assert asyncio.run(story()) == ([SPENT], True, True)


def test_once_a_process_writes_workers_may_have_more_answers_on_their_way_to_it():
    async def story():
        writer, said = Writer(SimpleNamespace(), print), []
        crew = a_crew(Ledger(), writer)
        crew.hands.append(SimpleNamespace(say=said.append))
        asking = worker.Worker(SimpleNamespace(say=print), begin())
        allowed = [(crew.uncommitted_per_slot, asking._keeper.uncommitted_per_slot)]
        await writer._hire(SimpleNamespace())
        for message in said:
            asking.hear(message)
        return [*allowed, (crew.uncommitted_per_slot, asking._keeper.uncommitted_per_slot)]

    assert asyncio.run(story()) == [(BY_A_THREAD, BY_A_THREAD), (FROM_WORKERS, FROM_WORKERS)]


def a_scored_call(*others):
    """A lane of which one worker has two items in hand; it hands in the first with its scores, which is not kept yet.

    What is to happen is in ``due``, the last thing first; ``counted`` and ``told`` are what did.
    """
    due, told, counted = [], [], []
    keep = SimpleNamespace(
        call=lambda row, then: due.append(partial(then, 7)),
        scores=lambda row, then: due.append(then) or told.append(row),
    )
    hand = SimpleNamespace(
        is_alive=True, done=set(), in_hand={"m": {(0, 3, 0), (0, 4, 0)}}, keep=lambda *row: told.append(row)
    )
    lane = a_lane(SimpleNamespace(hands=[hand, *others], has_hands=True, ledger=Ledger()))
    lane._is_drawn, lane._in_hand = True, 2
    (cell,) = hand.cells = lane.cells
    cell.cell.info = SimpleNamespace(scored=("accuracy",))
    cell.new_score = lambda call_id, completion, scores: (call_id, scores)
    cell.progress.count_call = lambda call, **how: counted.append("call")
    cell.progress.count_score = lambda score, **how: counted.append("score")
    cell.horizon = SimpleNamespace(leave=counted.append)
    call = SimpleNamespace(repeat=0, failure=None, completion=None)
    row = SimpleNamespace(position=3, call=call, reused_from=None, saved_usd=None)
    lane.call(hand, SimpleNamespace(number=5, cell=0, row=row, scores={"accuracy": 1.0}), keep)
    return lane, hand, due, told, counted


def test_a_lane_is_not_over_before_the_scores_that_came_with_its_calls_are_durable():
    """Or what they are of would be scored a second time in the place of a worker that died."""

    async def story():
        lane, hand, due, told, counted = a_scored_call()
        hand.is_alive = False
        lane.lost(hand)
        states = [(lane._is_over.is_set(), tuple(counted))]
        for _ in range(2):
            due.pop()()
            states.append((lane._is_over.is_set(), tuple(counted)))
        return states, told, lane.knows(7)

    states, told, is_known = asyncio.run(story())
    assert states == [(False, ()), (False, ("call",)), (True, ("call", "score", (3, 0)))]
    assert told == [(7, {"accuracy": 1.0}), (5, 7)]
    assert not is_known


def test_a_lane_is_not_over_while_a_worker_that_died_has_items_that_nobody_has_taken_back():
    async def story():
        through = SimpleNamespace(is_alive=True, done={"m"}, in_hand={"m": set()})
        lane, dead, due, _, _ = a_scored_call(through)
        dead.is_alive = False
        due.pop()()
        due.pop()()
        was_over = lane._is_over.is_set()
        hired = SimpleNamespace(is_alive=True, done=set(), in_hand={"m": set()}, say=print)
        lane._crew.hands.append(hired)
        lane.lost(dead)
        return was_over, lane._is_over.is_set(), [position for _, position, _ in lane._ready]

    assert asyncio.run(story()) == (False, False, [4])


def test_a_lane_of_which_nothing_is_left_is_over_also_where_its_last_worker_died_after_its_last_word():
    async def story():
        lane, hand, due, _, _ = a_scored_call()
        hand.in_hand["m"].clear()
        lane._in_hand = 0
        due.pop()()
        lane.done(hand, None)
        hand.is_alive = lane._crew.has_hands = False
        was_over = lane._is_over.is_set()
        due.pop()()
        return was_over, lane._is_over.is_set()

    assert asyncio.run(story()) == (False, True)


def test_while_a_worker_loads_some_items_the_next_ones_are_on_their_way():
    async def story():
        said = []
        supply = worker.Supply(SimpleNamespace(say=said.append), "m", {0: "cell"}, 2)
        items = supply()
        first = asyncio.ensure_future(anext(items))
        await asyncio.sleep(0)
        asked = [len(said)]
        supply.items(Items(model="m", errands=((0, 1, 0), (0, 2, 0)), is_last=False))
        came = [await first]
        asked.append(len(said))
        supply.items(Items(model="m", errands=((0, 3, 0),), is_last=True))
        came += [some async for some in items]
        return came, [*asked, len(said)]

    came, asked = asyncio.run(story())
    assert came == [[("cell", 1, 0), ("cell", 2, 0)], [("cell", 3, 0)]]
    assert asked == [1, 2, 2]


def test_what_a_dead_worker_handed_in_is_durable_before_anyone_looks_for_what_it_left_unscored():
    order = []

    async def story():
        async def until(over, drawing):
            return

        async def kept():
            order.append("durable")

        async def inner_run(unscored, source):
            order.extend(unscored)

        async def remaining():
            yield ()

        def left_over():
            order.append("looked for")
            return []

        crew = SimpleNamespace(hands=[], deaths=1, until=until, kept=kept)
        await a_lane(crew, run=inner_run, remaining=remaining, left_over=left_over).run([])

    asyncio.run(story())
    assert order == ["durable", "looked for"]
