"""Money: what may be spent is never exceeded, whatever comes back when; what is left over is valid and labelled."""

import asyncio
import json
import random
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

import steelyard as sy
from command import ok
from forks import FORKS
from server import chunk, finish, serving, stream, usage
from steelyard.engine.asking.attempts import Asker, RetryPolicy
from steelyard.engine.money.budget import (
    ASSUMED_OUTPUT_TOKENS,
    Bill,
    Ledger,
    WorstCase,
    input_bound,
    may_be_billed,
    output_bound,
)
from steelyard.engine.money.purse import Purse
from steelyard.engine.progress import Progress
from steelyard.engine.run import Given, execute
from steelyard.plan.plan import BenchmarkSpec, Plan
from steelyard.providers.scripted import Scripted
from steelyard.store import Store
from steelyard.store.rows import account
from steelyard.types import Failure, Message, ModelSpec, Price, Prompt, Request

AMOUNT = st.floats(0.0, 1.0)
JOBS = st.lists(st.tuples(AMOUNT, AMOUNT, st.booleans(), AMOUNT), min_size=1, max_size=40)


@given(JOBS, st.floats(0.0, 8.0), st.integers(1, 8), st.integers(0, 10**6))
@settings(max_examples=300)
def test_no_order_of_arrival_spends_more_than_the_limit(jobs, limit_usd, at_once, seed):
    """Each job: its worst case, the share of it that it really costs, whether that stays unknown, a promise."""
    ledger, generator, sent = Ledger(limit_usd), random.Random(seed), []

    async def work(queue):
        while queue:
            most_usd, share, is_unknown, promise_usd = queue.pop(0)
            if not await ledger.hold(most_usd, promise_usd=promise_usd):
                return
            sent.append(most_usd)
            assert ledger.used_usd + ledger.held_usd + ledger.promised_usd <= limit_usd + 1e-8
            for _ in range(generator.randrange(4)):
                await asyncio.sleep(0)
            ledger.settle(most_usd, None if is_unknown else share * most_usd)
            await asyncio.sleep(0)
            ledger.keep_promise(promise_usd)

    async def everything():
        queue = list(jobs)
        async with asyncio.timeout(10):
            await asyncio.gather(*(work(queue) for _ in range(at_once)))

    asyncio.run(everything())
    assert ledger.used_usd <= limit_usd + 1e-8
    assert ledger.held_usd == pytest.approx(0.0, abs=1e-9)
    assert ledger.is_exhausted == (len(sent) < len(jobs))


@given(JOBS, st.floats(0.0, 4.0), st.integers(1, 8), st.integers(0, 10**6))
@settings(max_examples=200)
def test_where_answers_cost_more_than_foreseen_what_is_over_is_at_most_one_window(jobs, limit_usd, at_once, seed):
    ledger, generator = Ledger(limit_usd), random.Random(seed)
    dearest_usd = max(3 * most_usd for most_usd, *_ in jobs)

    async def work(queue):
        while queue:
            most_usd, share, *_ = queue.pop(0)
            if not await ledger.hold(most_usd):
                return
            for _ in range(generator.randrange(4)):
                await asyncio.sleep(0)
            ledger.settle(most_usd, 3 * share * most_usd)

    async def everything():
        queue = list(jobs)
        async with asyncio.timeout(10):
            await asyncio.gather(*(work(queue) for _ in range(at_once)))

    asyncio.run(everything())
    assert ledger.used_usd <= limit_usd + at_once * dearest_usd + 1e-8


def drawing_from(pool_usd, step_usd):
    """The store's budget: it gives what is wanted, or a step if that is more, as far as it goes."""
    left = [pool_usd]

    async def draw(wanted_usd):
        await asyncio.sleep(0)
        given_usd = min(left[0], max(step_usd, wanted_usd))
        left[0] -= given_usd
        return given_usd

    return draw


@given(st.floats(0.0, 5.0), st.floats(0.0, 5.0), st.lists(AMOUNT, min_size=1, max_size=20), st.floats(0.01, 1.0))
def test_a_share_of_the_store_is_drawn_as_far_as_it_goes_and_never_beyond(limit_usd, pool_usd, amounts, step_usd):
    ledger = Ledger(limit_usd, draw=drawing_from(pool_usd, step_usd))

    async def work(amount):
        if await ledger.hold(amount):
            await asyncio.sleep(0)
            ledger.settle(amount, amount)

    async def everything():
        async with asyncio.timeout(10):
            for amount in amounts:
                await asyncio.gather(work(amount), work(amount))

    asyncio.run(everything())
    assert ledger.used_usd <= min(limit_usd, pool_usd) + 1e-8
    if not ledger.is_exhausted:
        assert ledger.used_usd == pytest.approx(2 * sum(amounts))


@given(st.floats(0.0, 5.0), st.lists(AMOUNT, min_size=2, max_size=8), st.floats(0.01, 1.0))
def test_processes_that_ask_for_money_at_the_same_time_are_all_given_it_while_there_is_some(pool_usd, wanted, step_usd):
    """What one draws from the store's budget another may take: that is no reason to turn the first away."""
    ledger = Ledger(draw=drawing_from(pool_usd, step_usd))

    async def everything():
        async with asyncio.timeout(10):
            return await asyncio.gather(*(ledger.grant(amount) for amount in wanted))

    given = asyncio.run(everything())
    assert all(usd in (0.0, amount) for usd, amount in zip(given, wanted, strict=True))
    turned_away = [amount for usd, amount in zip(given, wanted, strict=True) if not usd and amount]
    assert all(sum(given) + amount > pool_usd - 1e-8 for amount in turned_away)


def test_money_waits_for_what_is_in_flight_and_ends_when_that_cannot_be_enough():
    async def story():
        ledger = Ledger(1.0)
        assert await ledger.hold(0.6)
        waiting = asyncio.ensure_future(ledger.hold(0.6))
        await asyncio.sleep(0.01)
        assert not waiting.done()
        ledger.settle(0.6, 0.1)
        assert await waiting
        hopeless = asyncio.ensure_future(ledger.hold(0.95))
        await asyncio.sleep(0.01)
        assert hopeless.result() is False
        assert ledger.is_exhausted

    asyncio.run(story())


def test_ten_requests_of_ten_cents_fit_into_a_dollar():
    async def story():
        ledger = Ledger(1.0)
        for _ in range(10):
            assert await ledger.hold(0.1)
            ledger.settle(0.1, 0.1)
        assert not await ledger.hold(0.1)

    asyncio.run(story())


def request(text="q", max_tokens=10, **changes):
    prompt = Prompt(kind="chat", messages=(Message(role="user", content=text),))
    return replace(Request(model="m", prompt=prompt, max_tokens=max_tokens), **changes)


@given(st.text(max_size=300))
def test_no_text_has_more_tokens_than_its_bound(text):
    assert input_bound(request(text)) >= len(text.encode("utf-8", "surrogatepass"))


def test_a_likelihood_is_bounded_by_its_prompt_for_each_continuation():
    prompt = Prompt(kind="likelihood", text="x" * 100, continuations=("a", "bb", "ccc"))
    asked = request(prompt=prompt, max_tokens=None)
    assert input_bound(asked) >= 3 * 100 + 6
    assert output_bound(asked) == 3
    assert output_bound(request(max_tokens=None)) == ASSUMED_OUTPUT_TOKENS


@pytest.mark.parametrize(
    ("failure", "billed"),
    [
        (Failure(kind="rate_limit", message="", status=429), False),
        (Failure(kind="server", message="", status=503), False),
        (Failure(kind="server", message="the gateway timed out", status=504), True),
        (Failure(kind="server", message="the gateway timed out", status=524), True),
        (Failure(kind="auth", message="", status=401), False),
        (Failure(kind="timeout", message=""), True),
        (Failure(kind="connection", message=""), True),
        (Failure(kind="connection", message="nothing listens there", was_sent=False), False),
        (Failure(kind="malformed", message="", status=200), True),
        (Failure(kind="server", message="an error in the stream"), True),
    ],
)
def test_a_try_that_was_cut_off_may_be_billed_and_one_that_was_refused_is_not(failure, billed):
    assert may_be_billed(failure) == billed


def test_the_worst_case_takes_the_dearest_way_to_bill_a_token():
    plain = Price(input=1e6, output=1e6)
    for price, usd in (
        (plain, 64.0),
        (replace(plain, cache_write=2e6), 96.0),
        (replace(plain, cached_input=2e6), 96.0),
        (replace(plain, reasoning=3e6), 128.0),
        (replace(plain, reasoning=0.5e6, cached_input=0.1e6), 64.0),
    ):
        spec = ModelSpec(id="m", provider="openai", model="m", price=price)
        assert WorstCase(spec).of_tokens(32, 32) == pytest.approx(usd)
    listed = WorstCase(ModelSpec(id="c", provider="anthropic", model="claude-sonnet-4-5"))
    assert listed.of_tokens(3200, 0) == pytest.approx(3200 * 6 / 1e6)
    assert WorstCase(ModelSpec(id="n", provider="openai", model="no-such-model")).of_tokens(1, 1) is None


def test_the_worst_case_follows_a_price_that_changes_with_the_hour():
    """DeepSeek's nights cost half in the table; a run that begins in one goes on by day."""
    clock = [datetime(2026, 11, 26, 0, 10, tzinfo=UTC)]
    night = WorstCase(spec := ModelSpec(id="d", provider="deepseek", model="deepseek-chat"), now=lambda: clock[0])
    by_night_usd = night.of_tokens(3200, 32)
    clock[0] = datetime(2026, 11, 26, 0, 31, tzinfo=UTC)
    assert night.of_tokens(3200, 32) == WorstCase(spec, now=lambda: clock[0]).of_tokens(3200, 32) > by_night_usd
    clock[0] = datetime(2026, 11, 27, 0, 29, 40, tzinfo=UTC)
    dawn = WorstCase(spec, now=lambda: clock[0])
    assert dawn.of_tokens(3200, 32) > by_night_usd  # what is held now is priced when it goes, in the next minute


def test_every_try_that_may_be_billed_counts_in_full():
    async def story():
        ledger = Ledger(1.0)
        spec = ModelSpec(id="m", provider="openai", model="m", price=Price(input=0, output=1e5))
        bill = Bill(ledger, WorstCase(spec), request(max_tokens=4))
        assert await bill.open()
        assert ledger.held_usd == pytest.approx(0.4)
        assert await bill.again(Failure(kind="timeout", message=""))
        assert not await bill.again(Failure(kind="timeout", message=""))
        bill.close(None, Failure(kind="timeout", message=""))
        assert (ledger.doubtful_usd, ledger.doubtful_tries, ledger.held_usd) == (pytest.approx(0.8), 2, 0.0)

    asyncio.run(story())


A_TRY_USD = 0.4


def asked_of(scripted, *, shut_after_s=None, cancelled_after_s=None, limit_usd=None):
    """Ask one question at ``A_TRY_USD`` a try at most, broken off in one of two ways; the ledger afterwards."""

    async def story():
        ledger = Ledger(limit_usd)
        spec = ModelSpec(id="m", provider="openai", model="m", price=Price(input=0, output=1e5))
        bill = Bill(ledger, WorstCase(spec), request(max_tokens=4))
        assert await bill.open()
        door = RetryPolicy().throttle(1)
        asker = Asker(scripted, timeout_s=60, policy=RetryPolicy(), generator=random.Random(0), throttle=door)
        asking = asyncio.ensure_future(asker.ask(request(max_tokens=4), bill))
        if shut_after_s is not None:
            asyncio.get_running_loop().call_later(shut_after_s, door.shut)
        if cancelled_after_s is not None:
            asyncio.get_running_loop().call_later(cancelled_after_s, asking.cancel)
        with suppress(asyncio.CancelledError):
            outcome = await asking
            bill.close(None, outcome.failure)
        assert ledger.held_usd == 0
        return ledger

    return asyncio.run(story())


limited = pytest.mark.parametrize("limit_usd", [None, 10.0], ids=["without a limit", "limited"])
REFUSED = Failure(kind="rate_limit", message="", status=429, retry_after_s=30)
UNHEARD = Failure(kind="connection", message="", retry_after_s=0.1)


@limited
def test_a_run_broken_off_on_the_way_doubts_the_try_and_while_a_refused_one_rests_nothing(limit_usd):
    on_the_way = asked_of(Scripted("x", delay_s=30), cancelled_after_s=0.02, limit_usd=limit_usd)
    assert on_the_way.used_usd == pytest.approx(A_TRY_USD)
    assert on_the_way.cut_off_tries == 1
    resting = asked_of(Scripted(REFUSED), cancelled_after_s=0.02, limit_usd=limit_usd)
    assert resting.used_usd == 0
    assert resting.cut_off_tries == 1


@limited
def test_a_try_that_may_be_billed_is_doubted_once_where_no_other_one_follows(limit_usd):
    """The model is given up while the request rests before its second try."""
    scripted = Scripted(UNHEARD)
    ledger = asked_of(scripted, shut_after_s=0.02, limit_usd=limit_usd)
    assert scripted.asked == 1
    assert (ledger.doubtful_usd, ledger.doubtful_tries) == (pytest.approx(A_TRY_USD), 1)
    assert ledger.cut_off_tries == 0  # the record counts it


PRICE = Price(input=1000.0, output=2000.0)  # 7 tokens in and 3 out: 0.013 USD an answer


def quiz(n=60, **changes):
    return sy.Benchmark(
        name="quiz",
        version="1",
        load=lambda selection: [sy.Sample(id=f"quiz/{i}", input=f"q{i}", target="yes") for i in range(n)],
        grade=lambda sample, completion: completion.text == sample.target,
        **changes,
    )


def endpoint(server, **settings):
    fields = {"id": "m", "provider": "openai", "model": "m", "price": PRICE, "max_tokens": 3, "concurrency": 8}
    return ModelSpec(base_url=server.url, **(fields | settings))


def ask(models, benchmark=None, **plan):
    plan = Plan(models=tuple(models), benchmarks=(BenchmarkSpec(name="quiz"),), **plan)
    messages = []
    with Store.open() as store:
        at_hand = Given(benchmarks={"quiz": benchmark or quiz()})
        policy = RetryPolicy(first_wait_s=0.001, longest_wait_s=0.002)
        progress = Progress(say=messages.append)
        ended = asyncio.run(execute(plan, store, given=at_hand, progress=progress, policy=policy))
        return sy.Run(ended.run, store.location), messages


async def answer(request, body, number):
    await asyncio.sleep(random.Random(number).uniform(0, 0.01))
    return await stream(request, [chunk(content="yes"), finish(), usage()])


BILLED_USD = (7 * 1000 + 3 * 2000) / 1e6


def test_a_run_ends_before_it_overspends_and_what_was_asked_is_a_prefix_of_the_plan():
    with serving(answer) as server:
        whole, _ = ask([endpoint(server)], fresh=True)
        before = len(server.requests)
        run, _ = ask([endpoint(server)], budget_usd=0.4, fresh=True)
        billed_usd = (len(server.requests) - before) * BILLED_USD
    order = [r.sample.id for r in whole.records()]
    assert run.status == "budget"
    assert billed_usd <= 0.4
    assert billed_usd > 0.4 - 9 * 0.05
    assert run.estimate("cost.total").value == pytest.approx(billed_usd)
    asked = {record.sample.id for record in run.records()}
    assert asked == set(planned_order(len(asked)))
    assert set(order) == {f"quiz/{i}" for i in range(60)}
    assert f"Stopped by budget after {len(asked)} of 60 requests" in run.table()
    assert "(stopped by budget)" in run.table()


def planned_order(n):
    from steelyard.engine.schedule.order import draw_positions

    samples = [sy.Sample(id=f"quiz/{i}", input="", target="") for i in range(60)]
    return [f"quiz/{i}" for i in draw_positions(samples, limit=None, seed=0, shuffled=True, strata=False)[:n]]


def test_a_run_that_fits_its_budget_is_done_and_says_what_is_left():
    with serving(answer) as server:
        run, _ = ask([endpoint(server)], budget_usd=5.0)
    assert run.status == "done"
    assert (run.spending.calls, run.spending.answers) == (60, 60)
    assert (run.spending.spent_usd, run.spending.remaining_usd) == pytest.approx((0.78, 4.22))
    assert run.spending.per_answer_usd == pytest.approx(0.013)
    assert "60 requests sent, 0.7800 USD spent, 13 USD for 1,000 answers, 4.2200 of 5 USD left" in run.table()


def test_a_budget_for_less_than_one_request_sends_nothing_and_says_why():
    with serving(answer) as server:
        run, _ = ask([endpoint(server)], budget_usd=0.001)
        assert not server.requests
    assert run.status == "budget"
    assert "Stopped by budget before the first of 60 requests" in run.table()


def test_two_models_share_one_budget():
    with serving(answer) as server:
        models = [endpoint(server, id="a"), endpoint(server, id="b", system="Be brief")]
        run, _ = ask(models, budget_usd=0.5)
        billed_usd = len(server.requests) * BILLED_USD
    assert run.status == "budget"
    assert 0.2 < billed_usd <= 0.5


def test_a_resumed_run_counts_what_it_has_spent_already_and_goes_on_with_more():
    with serving(answer) as server, Store.open() as store:
        run, _ = ask([endpoint(server)], budget_usd=0.4)
        plan = Plan(models=(endpoint(server),), benchmarks=(BenchmarkSpec(name="quiz"),), budget_usd=0.4)
        for budget_usd, status in ((0.4, "budget"), (2.0, "done")):
            ended = asyncio.run(
                execute(
                    replace(plan, budget_usd=budget_usd),
                    store,
                    given=Given(benchmarks={"quiz": quiz()}),
                    progress=Progress(),
                    resume=store.run(run.info.id),
                )
            )
            assert ended.status == status
            assert len(server.requests) * BILLED_USD <= budget_usd
        assert len(server.requests) == 60


def test_answers_used_again_take_nothing_from_the_budget():
    with serving(answer) as server:
        ask([endpoint(server)])
        run, _ = ask([endpoint(server)], budget_usd=0.001)
        assert len(server.requests) == 60
    assert run.status == "done"
    assert "60 answers used again, which saved 0.7800 USD, 0.0010 of 0.001 USD left" in run.table()


def test_what_has_no_price_cannot_be_held_and_is_refused_before_any_call():
    with serving(answer) as server:
        with pytest.raises(sy.UsageError, match=r"price of m is unknown.*--price"):
            ask([endpoint(server, price=None)], budget_usd=1.0)
        with Store.open() as store:
            store.budget.set(1.0)
        with pytest.raises(sy.UsageError, match=r"price of m is unknown"):
            ask([endpoint(server, price=None)])
        assert not server.requests


@pytest.mark.parametrize("amount", [-1.0, float("nan"), float("inf")])
def test_an_amount_that_is_no_money_is_refused_before_any_call(amount):
    with serving(answer) as server:
        with pytest.raises(sy.UsageError, match=r"m: price\.cached_input is .*0 or more"):
            ask([endpoint(server, price=Price(input=1.0, output=1.0, cached_input=amount))])
        with pytest.raises(sy.UsageError, match="not an amount of USD above 0"):
            ask([endpoint(server)], budget_usd=amount)
        assert not server.requests


def test_floors_need_no_price():
    run = sy.run(["baseline/constant"], ["starter@letter"], budget_usd=0.01)
    assert run.status == "done"


def test_failed_tries_that_may_be_billed_hold_their_worst_case_and_are_said():
    async def cut(request, body, number):
        if number % 4 == 0:
            return await stream(request, [chunk(content="y")], done=False)
        return await answer(request, body, number)

    with serving(cut) as server:
        run, _ = ask([endpoint(server, concurrency=4)], budget_usd=1.0)
        worst_usd = len(server.requests) * BILLED_USD
    assert worst_usd <= 1.0
    assert "USD more in doubt" in run.table()
    assert run.status == "budget"


def test_a_reply_without_token_counts_costs_its_worst_case_in_the_budget_and_unknown_in_the_report():
    async def silent(request, body, number):
        return await stream(request, [chunk(content="yes"), finish()])

    with serving(silent) as server:
        run, _ = ask([endpoint(server)], budget_usd=0.4)
        assert len(server.requests) * BILLED_USD <= 0.4
    assert run.estimate("cost.total").value is None
    assert run.status == "budget"


def test_a_judge_is_paid_from_the_same_budget_and_no_answer_is_left_without_its_verdict():
    from steelyard.scoring.judge import Judge

    async def both(request, body, number):
        text = "yes" if body["messages"][-1]["content"].startswith("q") else "It is.\nVerdict: CORRECT"
        await asyncio.sleep(0.002)
        return await stream(request, [chunk(content=text), finish(), usage()])

    with serving(both) as server:
        judge = Judge(
            model=ModelSpec(id="j", provider="openai", model="j", base_url=server.url, price=PRICE), max_tokens=3
        )
        benchmark = replace(quiz(), grade=judge)
        run, _ = ask([endpoint(server)], benchmark, budget_usd=2.4)
        billed_usd = len(server.requests) * BILLED_USD
    assert run.status == "budget"
    assert billed_usd <= 2.4
    answered = run.estimate("answered").value
    assert run.estimate("scored").value == answered > 0


def test_a_budget_over_the_store_counts_all_runs_also_what_was_deleted():
    with serving(answer) as server, Store.open() as store:
        first, _ = ask([endpoint(server)], quiz(20))
        store.budget.set(1.0)
        assert store.budget.account().spent_usd == pytest.approx(20 * BILLED_USD)
        second, _ = ask([endpoint(server)], quiz(40), fresh=True)
        assert second.status == "done"
        assert store.budget.account().remaining_usd == pytest.approx(1.0 - 60 * BILLED_USD)
        store.delete(second.info.id)
        third, _ = ask([endpoint(server)], quiz(60), fresh=True)
        assert third.status == "budget"
        assert len(server.requests) * BILLED_USD <= 1.0
        assert store.budget.account().held_usd == 0
        assert "of the store's 1 USD left" in third.table()
        store.budget.set(2.0)
        assert store.budget.account().spent_usd == pytest.approx(len(server.requests) * BILLED_USD)
        store.budget.set(2.0, from_now=True)
        assert store.budget.account().remaining_usd == 2.0
        store.budget.clear()
        assert store.budget.account() is None
    assert first.status == "done"


@pytest.mark.parametrize("from_now", [False, True])
def test_a_budget_set_while_a_run_goes_on_counts_what_that_spends_from_then_on(from_now):
    async def setting(request, body, number):
        if number == 20:
            with Store.open() as store:
                store.budget.set(5.0, from_now=from_now)
        return await answer(request, body, number)

    with serving(setting) as server:
        ask([endpoint(server)])
    with Store.open() as store:
        spent_usd = store.budget.account().spent_usd
    least = 40 if from_now else 60
    assert least * BILLED_USD - 1e-9 <= spent_usd <= 60 * BILLED_USD + 1e-9


def test_a_budget_over_the_store_counts_what_past_runs_left_in_doubt():
    async def silent(request, body, number):
        if number == 3:
            return await stream(request, [chunk(content="y")], done=False)
        return await stream(request, [chunk(content="yes"), finish(), *([usage()] if number > 2 else [])])

    with serving(silent) as server:
        run, _ = ask([endpoint(server, concurrency=1)], quiz(10))
        assert len(server.requests) == 11
    assert "3 replies cut off or without token counts" in run.table()
    doubtful_usd = run.spending.doubtful_usd
    assert doubtful_usd > 3 * BILLED_USD
    with Store.open() as store:
        store.budget.set(5.0)
        assert store.budget.account().spent_usd == pytest.approx(8 * BILLED_USD + doubtful_usd)


def settled_by_an_earlier_session(store, usd):
    """The share of a run that was broken off with so much standing in batches."""
    purse = Purse(store)
    purse.ledger.owe(usd, None)
    purse.close()
    return purse.share


@pytest.mark.parametrize("is_set_anew", [False, True])
def test_what_stood_in_batches_counts_once_also_where_the_budget_is_set_anew_before_it_is_collected(is_set_anew):
    with Store.open() as store:
        store.budget.set(10.0)
        earlier = settled_by_an_earlier_session(store, 3.0)
        assert store.budget.account().spent_usd == 3.0
        purse = Purse(store)
        purse.ledger.owe(3.0, earlier)
        if is_set_anew:
            store.budget.set(10.0, from_now=True)
        purse.ledger.settle(3.0, 2.0)
        purse.close()
        assert store.budget.account().spent_usd == pytest.approx(2.0)


def test_what_little_was_spent_of_the_stores_budget_is_not_written_as_nothing(monkeypatch):
    with Store.open() as store:
        store.budget.set(1.0)
        little = account.Account(limit_usd=1.0, set_at="2026-01-01", spent_usd=0.000012, held_usd=0.0)
        monkeypatch.setattr(account.Budget, "account", lambda self: little)
    assert "1.0000 of 1 USD left: 0.000012 USD spent (set 2026-01-01)" in ok("budget")


def test_a_judge_that_grades_again_is_paid_from_the_stores_budget():
    import sqlite3

    from steelyard.grading.stored import grade_missing
    from steelyard.scoring.judge import Judge

    async def verdict(request, body, number):
        return await stream(request, [chunk(content="Verdict: CORRECT"), finish(), usage()])

    with serving(answer) as server:
        run, _ = ask([endpoint(server)])
    with serving(verdict) as server, Store.open() as store:
        store.budget.set(1.5, from_now=True)
        model = ModelSpec(id="j", provider="openai", model="j", base_url=server.url, price=PRICE)
        judge = replace(quiz(), grade=Judge(model=model, max_tokens=3)).protocol(None)
        asyncio.run(grade_missing(store, store.cells(run.info.id)[0].id, judge))
        assert 0.5 < len(server.requests) * BILLED_USD <= 1.5
        assert len(server.requests) < 60 or store.budget.account().remaining_usd >= 0
        assert store.budget.account().spent_usd == pytest.approx(len(server.requests) * BILLED_USD)
    raw = sqlite3.connect(".steelyard/steelyard.db")
    judged = raw.execute("SELECT count(*) FROM scores WHERE value = 1 AND calls = 1").fetchone()
    raw.close()
    assert judged == (len(server.requests),)


def test_verdicts_of_a_judge_that_had_graded_the_run_already_are_counted_once():
    async def verdict(request, body, number):
        return await stream(request, [chunk(content="Verdict: CORRECT"), finish(), usage()])

    with serving(verdict) as server:
        Path("cases.csv").write_text("id,question,answer\n1,q1,yes\n2,q2,no\n")
        Path("own.yaml").write_text(
            "benchmark: own\ndata: cases.csv\ncolumns: {question: question, answer: answer}\n"
            f"judge: {{model: openai/j, base_url: '{server.url}', price: {{input: 1000, output: 2000}}}}\n"
        )
        ok("run", "own.yaml", "-m", "openai/m", "--base-url", server.url, "--price", "1000/2000", "--quiet")
        ok("rescore", "last", "--protocol", "own.yaml")
        assert len(server.requests) == 4
    assert "4 requests sent (2 of them to judges), 0.0520 USD spent (0.0260 of it on judging), 13 USD" in ok("show")


def ask_in_a_process(url):
    spec = ModelSpec(id="m", provider="openai", model="m", base_url=url, price=PRICE, max_tokens=3, concurrency=8)
    plan = Plan(models=(spec,), benchmarks=(BenchmarkSpec(name="quiz"),), fresh=True)
    with Store.open() as store:
        asyncio.run(execute(plan, store, given=Given(benchmarks={"quiz": quiz()}), progress=Progress()))


def test_runs_side_by_side_in_processes_of_their_own_do_not_overspend_together():
    with Store.open() as store, serving(answer) as server:
        store.budget.set(1.2)
        processes = [FORKS.Process(target=ask_in_a_process, args=(server.url,)) for _ in range(3)]
        for process in processes:
            process.start()
        for process in processes:
            process.join(120)
        billed_usd = len(server.requests) * BILLED_USD
        state = store.budget.account()
    assert 0.6 < billed_usd <= 1.2
    assert state.held_usd == 0
    assert state.spent_usd == pytest.approx(billed_usd)


def test_a_run_that_was_killed_counts_with_all_it_held(monkeypatch):
    with Store.open() as store:
        store.budget.set(10.0)
        share = store.budget.open_share()
        assert store.budget.draw(share, 3.0) == 3.0
        assert store.budget.account().held_usd == 3.0
        monkeypatch.setattr("steelyard.store.rows.sessions.is_alive", lambda pid, at: False)
        state = store.budget.account()
    assert (state.held_usd, state.spent_usd, state.remaining_usd) == (0.0, 3.0, 7.0)


def test_a_price_given_for_models_leaves_no_cost_of_a_floor_in_doubt():
    from cli.test_cli import ok

    with serving(answer) as server:
        ok("run", "starter", "-m", "openai/m", "-m", "baseline/random", "--base-url", server.url, "--limit", 3,
           "--price", "1000/2000", "--budget", 50, "--quiet")  # fmt: skip
    spending = json.loads(ok("show", "--json"))["spending"]
    assert spending["spent_usd"] > 0
    assert spending["doubtful_usd"] == 0


def test_the_budget_from_the_command_line_ends_with_exit_code_5():
    from cli.test_cli import ok, steelyard, write_cases

    write_cases(60)
    with serving(answer) as server:
        command = ("run", "cases.jsonl", "-m", "openai/m", "--base-url", server.url, "--max-tokens", 3,
                   "--price", "1000/2000", "--fresh")  # fmt: skip
        done = steelyard(*command, "--budget", "0.4")
        assert done.returncode == 5
        assert "of a budget of 0.4 USD; it may end before all is asked" in done.stderr
        assert "Go on with more: steelyard run --resume 1 --budget 0.8" in done.stderr
        assert "Run #1:" in done.stdout
        document = json.loads(ok("show", "--json"))
        assert document["run"]["status"] == "budget"
        assert document["spending"]["remaining_usd"] >= 0
        ok("run", "--resume", 1, "--budget", 5, "--quiet")
        assert len(server.requests) == 60
        assert "No budget stands" in ok("budget")
        assert json.loads(ok("budget", "set", "1", "--json"))["remaining_usd"] == pytest.approx(1 - 60 * BILLED_USD)
        assert steelyard(*command).returncode == 5
        assert "of 1 USD left" in ok("budget", "show")
        assert steelyard("budget", "set").returncode == 2
        assert (
            steelyard("run", "cases.jsonl", "-m", "openai/m", "--base-url", server.url, "--budget", 1).returncode == 2
        )
        ok("budget", "clear")
    Path("plan.yaml").write_text("models: [baseline/random]\nbenchmarks: [starter]\nbudget: {usd: 3, eur: 2}\n")
    assert "unknown key 'eur'" in steelyard("run", "plan.yaml").stderr
