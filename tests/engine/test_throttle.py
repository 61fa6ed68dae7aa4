"""The gate before a model, minutes of it in virtual time: what it lets through, what it learns, what it never does."""

import asyncio
import random
from types import SimpleNamespace

import pytest

from steelyard.engine.asking import attempts
from steelyard.engine.asking.attempts import Asker, RetryPolicy
from steelyard.engine.asking.throttle import COOL_DOWN_S, PROBE_EVERY_S, Door, GateShut, Throttle
from steelyard.providers.scripted import Scripted
from steelyard.types import Completion, Failure, Likelihood, Prompt, Request

QUESTION = Request(model="m", prompt=Prompt(kind="chat"))


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop whose clock jumps to the next thing that is due."""

    def __init__(self):
        super().__init__()
        self.now_s = 0.0

    def time(self):
        return self.now_s

    def _run_once(self):
        due = [handle._when for handle in self._scheduled if not handle._cancelled]
        if due and not self._ready:
            self.now_s = max(self.now_s, min(due))
        super()._run_once()


def simulate(scenario):
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(_ended(scenario(loop)))
    finally:
        loop.close()


def asker(provider, throttle=None):
    return Asker(provider, timeout_s=5.0, policy=RetryPolicy(), generator=random.Random(0), throttle=throttle)


def failing_once(**failure):
    failures = [Failure(kind="server", message="down", **failure)]
    return Scripted(script=lambda request: failures.pop() if failures else "7")


async def _ended(scenario):
    """What the scenario gives, with no task of it left behind."""
    try:
        return await scenario
    finally:
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)


class Service:
    """Takes ``latency_s`` for an answer; refuses what its token bucket does not hold; may be down for a while.

    ``by_chance``: the share it refuses however slowly requests come.
    """

    def __init__(
        self, loop, *, latency_s=0.05, per_minute=None, burst=10, retry_after=True, down=(0.0, 0.0), by_chance=0.0
    ):
        self._loop, self._latency_s, self._retry_after, self._down = loop, latency_s, retry_after, down
        self._rate = per_minute / 60 if per_minute else None
        self._burst = self._tokens = burst
        self._filled_s = 0.0
        self._by_chance, self._generator = by_chance, random.Random(3)
        self.answered, self.refused, self.failed, self.most = 0, 0, 0, 0
        self.in_flight = 0

    async def ask(self):
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        try:
            if self._down[0] <= self._loop.time() < self._down[1]:
                self.failed += 1
                return Failure(kind="connection", message="down")
            if self._generator.random() < self._by_chance:
                self.refused += 1
                return Failure(kind="rate_limit", message="busy", retry_after_s=1.0 if self._retry_after else None)
            if self._rate is not None and not self._take():
                await asyncio.sleep(0.01)
                self.refused += 1
                wait_s = -(-(1 - self._tokens) // self._rate) if self._retry_after else None
                return Failure(kind="rate_limit", message="slow down", retry_after_s=wait_s and max(1.0, wait_s))
            await asyncio.sleep(self._latency_s)
            self.answered += 1
            return None
        finally:
            self.in_flight -= 1

    def per_minute(self, requests):
        self._rate = requests / 60

    def _take(self):
        now_s = self._loop.time()
        self._tokens = min(self._burst, self._tokens + (now_s - self._filled_s) * self._rate)
        self._filled_s = now_s
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class Seated(Service):
    """Takes so many at once and refuses the next one, whenever it comes."""

    def __init__(self, loop, seats, **named):
        super().__init__(loop, **named)
        self.seats, self._busy = seats, 0

    async def ask(self):
        if self._busy >= self.seats:
            await asyncio.sleep(0.005)
            self.refused += 1
            return Failure(kind="rate_limit", message="too many at once", retry_after_s=self._retry_after or None)
        self._busy += 1
        try:
            await asyncio.sleep(self._latency_s * self._generator.uniform(0.7, 1.3))
        finally:
            self._busy -= 1
        self.answered += 1
        return None


async def press(loop, throttle, service, workers, until_s, tokens=None):
    """Workers that ask again and again, and once more what failed, until the clock has come so far."""

    async def work():
        again = False
        while loop.time() < until_s:
            ticket = await throttle.enter(again=again)
            failure = await service.ask()
            throttle.leave(ticket, failure, tokens=tokens)
            again = failure is not None

    tasks = [asyncio.ensure_future(work()) for _ in range(workers)]
    await asyncio.wait(tasks, timeout=until_s - loop.time() + 1)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("per_minute", [60, 600, pytest.param(6_000, marks=pytest.mark.long)])
@pytest.mark.parametrize("burst", [10, 100])
@pytest.mark.parametrize("retry_after", [True, False])
@pytest.mark.parametrize("latency_s", [0.05, 2.0])
def test_a_limit_nobody_stated_is_used_to_nine_tenths_with_few_refusals(per_minute, burst, retry_after, latency_s):
    async def scenario(loop):
        throttle = Throttle(64, clock=loop.time)
        service = Service(loop, latency_s=latency_s, per_minute=per_minute, burst=burst, retry_after=retry_after)
        await press(loop, throttle, service, 64, 600.0)
        return service

    service = simulate(scenario)
    ideal = min(10 * per_minute, 600 / latency_s * 64)
    assert service.answered >= 0.9 * ideal
    assert service.refused <= 0.1 * service.answered + 200


@pytest.mark.parametrize("seats", [1, 4, 30])
@pytest.mark.parametrize("retry_after", [True, False])
@pytest.mark.parametrize("latency_s", [0.5, 2.0])
def test_a_limit_of_what_is_in_flight_is_used_to_nine_tenths_with_few_refusals(seats, retry_after, latency_s):
    async def scenario(loop):
        throttle = Throttle(64, clock=loop.time)
        service = Seated(loop, seats, latency_s=latency_s, retry_after=retry_after)
        await press(loop, throttle, service, 64, 200.0)
        return service

    service = simulate(scenario)
    assert service.answered >= 0.9 * 200 / latency_s * seats
    assert service.refused <= 64 + 20


@pytest.mark.parametrize(("before", "after"), [(4, 12), (12, 4)])
def test_a_limit_of_what_is_in_flight_that_changes_is_learnt_anew(before, after):
    async def scenario(loop):
        throttle = Throttle(16, clock=loop.time)
        service = Seated(loop, before, latency_s=0.5, retry_after=False)
        until_then = []

        def change():
            service.seats = after
            until_then.append(service.answered)

        loop.call_at(60.0, change)
        await press(loop, throttle, service, 16, 200.0)
        return service.answered - until_then[0]

    assert simulate(scenario) >= 0.85 * 140 / 0.5 * after


@pytest.mark.parametrize("by_chance", [0.05, 0.2])
@pytest.mark.parametrize("retry_after", [True, False])
@pytest.mark.parametrize("latency_s", [0.5, 2.0])
def test_a_service_that_refuses_by_chance_is_not_slowed_down_for(by_chance, retry_after, latency_s):
    """Each refusal holds all up for a second at most; what is sent between two of them is lost by nobody."""

    async def scenario(loop):
        throttle = Throttle(32, clock=loop.time)
        service = Service(loop, latency_s=latency_s, retry_after=retry_after, by_chance=by_chance)
        await press(loop, throttle, service, 32, 600.0)
        return service.answered

    at_best = 32 * 600 / (latency_s + (1.0 if retry_after else 0.5))
    assert simulate(scenario) >= 0.6 * at_best


@pytest.mark.parametrize("retry_after", [True, False])
def test_a_limit_that_few_fast_requests_meet_is_not_taken_for_chance(retry_after):
    """Waited for after each refusal, it refuses a third of what eight ask at once; those come one behind another."""

    async def scenario(loop):
        throttle = Throttle(8, clock=loop.time)
        service = Service(loop, per_minute=600, burst=30, retry_after=retry_after)
        await press(loop, throttle, service, 8, 600.0)
        return service.answered, service.refused

    answered, refused = simulate(scenario)
    assert answered >= 0.9 * 6000
    assert refused <= 0.1 * 6000


@pytest.mark.parametrize("retry_after", [True, False])
def test_a_limit_that_falls_to_a_tenth_is_not_taken_for_chance(retry_after):
    async def scenario(loop):
        throttle, service = Throttle(64, clock=loop.time), Service(loop, per_minute=6000, retry_after=retry_after)
        await press(loop, throttle, service, 64, 60.0)
        service.per_minute(600)
        before = service.answered, service.refused
        await press(loop, throttle, service, 64, 360.0)
        return service.answered - before[0], service.refused - before[1]

    answered, refused = simulate(scenario)
    assert answered >= 0.9 * 3000
    assert refused <= 0.1 * 3000


@pytest.mark.parametrize("latency_s", [0.01, 1.0])
def test_a_stated_limit_is_met_and_never_refused(latency_s):
    async def scenario(loop):
        throttle = Throttle(64, requests_per_minute=600, clock=loop.time)
        service = Service(loop, latency_s=latency_s, per_minute=600)
        await press(loop, throttle, service, 64, 120.0)
        return service

    service = simulate(scenario)
    assert service.refused == 0
    assert service.answered >= 0.98 * 1200 - 64


def test_tokens_a_minute_are_met_whatever_was_guessed():
    async def scenario(loop):
        throttle = Throttle(64, tokens_per_minute=60_000, clock=loop.time)
        service = Service(loop, latency_s=1.0)
        await press(loop, throttle, service, 64, 300.0, tokens=500)
        return service.answered * 500 / 5

    assert simulate(scenario) == pytest.approx(60_000, rel=0.12)


def test_an_answer_that_claims_tokens_without_end_holds_the_others_back_for_minutes():
    async def scenario(loop):
        throttle = Throttle(1, tokens_per_minute=60_000, clock=loop.time)
        throttle.leave(await throttle.enter(input_tokens=10), None, tokens=10**12)
        await throttle.enter(input_tokens=10)
        return loop.time()

    assert 60 < simulate(scenario) <= 600


def test_a_text_before_four_continuations_counts_four_times_among_tokens_a_minute():
    told = []

    class Counting(Door):
        def at_once(self, input_tokens=0.0):
            told.append(input_tokens)
            return super().at_once(input_tokens)

    prompt = Prompt(kind="likelihood", text="x" * 4_000, continuations=(" a", " b", " c", " d"))
    answer = Completion(likelihoods=(Likelihood(logprob=-1.0, tokens=1, characters=1),) * 4)
    asking = asker(Scripted(answer), Counting(Throttle(1, tokens_per_minute=1e9)))
    assert asyncio.run(asking.ask(Request(model="m", prompt=prompt))).completion is not None
    assert told == [4_002.0]


def test_without_limits_nothing_is_held_back_and_no_more_than_allowed_is_in_flight():
    async def scenario(loop):
        throttle, service = Throttle(16, clock=loop.time), Service(loop)
        await press(loop, throttle, service, 64, 60.0)
        return service

    service = simulate(scenario)
    assert service.most == 16
    assert service.answered == pytest.approx(16 * 60 / 0.05, rel=0.02)


def test_a_burst_of_refusals_cuts_once_and_a_pause_holds_everybody():
    async def scenario(loop):
        throttle = Throttle(10, clock=loop.time)
        tickets = [await throttle.enter() for _ in range(10)]
        for ticket in tickets:
            throttle.leave(ticket, Failure(kind="rate_limit", message="", retry_after_s=7.0))
        allowed = throttle.allowed
        await throttle.enter()
        return allowed, loop.time(), throttle.refusals

    assert simulate(scenario) == (7.0, pytest.approx(7.0), 10)


def test_a_refusal_is_waited_out_for_as_long_as_it_asks_and_what_an_answer_says_for_minutes():
    async def scenario(loop):
        throttle = Throttle(1, clock=loop.time)
        throttle.leave(await throttle.enter(), Failure(kind="rate_limit", message="", retry_after_s=1800.0))
        throttle.leave(await throttle.enter(), None)
        refused_s = loop.time()
        throttle.hold(1800.0)
        await throttle.enter()
        return refused_s, loop.time() - refused_s

    assert simulate(scenario) == (pytest.approx(1800.0), pytest.approx(300.0, abs=31.0))


def test_a_pause_that_a_failing_service_asks_for_is_kept_and_none_beyond_the_time_of_a_question():
    async def scenario(loop, asked_s):
        began_s = loop.time()
        outcome = await asker(failing_once(retry_after_s=asked_s)).ask(QUESTION)
        return loop.time() - began_s, outcome.completion is not None

    assert simulate(lambda loop: scenario(loop, 120.0)) == (pytest.approx(120.0, abs=1.0), True)
    assert simulate(lambda loop: scenario(loop, 7200.0)) == (pytest.approx(0.0, abs=1.0), False)


def test_a_pause_ends_as_soon_as_nothing_more_is_sent():
    async def scenario(loop):
        door = Door(Throttle(1, clock=loop.time))
        asking = asyncio.create_task(asker(failing_once(retry_after_s=1800.0), door).ask(QUESTION))
        loop.call_later(1.0, door.shut)
        outcome = await asking
        return loop.time(), outcome.failure.message, outcome.attempts, door.resting

    assert simulate(scenario) == (pytest.approx(1.0), "down", (), 0)


def test_the_wait_for_its_first_turn_takes_no_time_from_the_tries_of_a_question(monkeypatch):
    async def scenario(loop):
        monkeypatch.setattr(attempts, "time", SimpleNamespace(perf_counter_ns=lambda: int(loop.time() * 1e9) + 1))
        throttle = Throttle(1, clock=loop.time)
        throttle.hold(2 * RetryPolicy().longest_s, most_s=float("inf"))
        outcome = await asker(failing_once(), Door(throttle)).ask(QUESTION)
        return outcome.completion is not None, len(outcome.attempts)

    assert simulate(scenario) == (True, 1)


def test_what_was_cut_comes_back_after_a_while_of_answers():
    async def scenario(loop):
        throttle, service = Throttle(10, clock=loop.time), Service(loop, latency_s=0.5)
        throttle.leave(await throttle.enter(), Failure(kind="rate_limit", message="", retry_after_s=1.0))
        await press(loop, throttle, service, 10, COOL_DOWN_S + 300.0)
        return throttle.allowed

    assert simulate(scenario) == 10.0


def test_other_faults_do_not_cut():
    async def scenario(loop):
        throttle = Throttle(10, clock=loop.time)
        for kind in ("server", "timeout", "malformed", "rejected", "connection"):
            throttle.leave(await throttle.enter(), Failure(kind=kind, message=""))
        return throttle.allowed, throttle.held_for_s

    assert simulate(scenario) == (10.0, 0.0)


def test_a_service_that_goes_away_for_five_minutes_is_probed_and_comes_back_by_itself():
    async def scenario(loop):
        throttle = Throttle(16, clock=loop.time)
        service = Service(loop, latency_s=0.25, down=(60.0, 360.0))
        await press(loop, throttle, service, 16, 600.0)
        return throttle, service

    throttle, service = simulate(scenario)
    assert not throttle.is_closed
    assert service.failed <= 2 * (32 + 16) + 300 / PROBE_EVERY_S
    assert service.answered >= 0.95 * 16 * 300 / 0.25


def test_one_that_stays_away_is_lost_and_one_that_never_answered_is_not_waited_for():
    async def scenario(loop):
        throttle = Throttle(2, patience_s=60.0, clock=loop.time)
        throttle.leave(await throttle.enter(), None)
        while not throttle.is_lost:
            throttle.leave(await throttle.enter(), Failure(kind="connection", message=""))
        never = Throttle(2, clock=loop.time)
        for _ in range(100):
            never.leave(await never.enter(), Failure(kind="connection", message=""))
        return loop.time(), never.is_closed

    at_s, is_closed = simulate(scenario)
    assert (60.0 <= at_s <= 70.0, is_closed) == (True, False)


def test_a_request_that_is_called_off_gives_its_place_away():
    async def scenario(loop):
        throttle = Throttle(1, clock=loop.time)
        await throttle.enter()
        waiting = [asyncio.ensure_future(throttle.enter()) for _ in range(3)]
        await asyncio.sleep(1)
        waiting[0].cancel()
        throttle.withdraw()
        await asyncio.sleep(1)
        assert waiting[1].done()
        waiting[1].cancel()
        return throttle.waiting, throttle.in_flight

    assert simulate(scenario) == (1, 1)


def test_one_that_is_sent_away_and_called_off_at_once_gives_no_place_away_that_it_never_had():
    async def scenario(loop):
        gate = Throttle(1, clock=loop.time)
        door = Door(gate)
        await door.enter()
        waiting = asyncio.ensure_future(door.enter())
        await asyncio.sleep(1)
        door.shut()
        waiting.cancel()
        await asyncio.sleep(1)
        return gate.in_flight

    assert simulate(scenario) == 1


def test_two_doors_to_one_gate_share_its_limits_and_each_is_shut_alone():
    async def scenario(loop):
        gate = Throttle(1, clock=loop.time)
        one, other = Door(gate), Door(gate)
        ticket = await one.enter()
        turns = [asyncio.ensure_future(door.enter()) for door in (one, other, one, other)]
        await asyncio.sleep(1)
        assert (one.waiting, other.waiting, gate.in_flight) == (2, 2, 1)
        one.shut()
        one.leave(ticket, None)
        await asyncio.sleep(1)
        assert [turn.done() for turn in turns] == [True, True, True, False]
        assert [type(turns[at].exception()) for at in (0, 2)] == [GateShut, GateShut]
        other.leave(turns[1].result(), None)
        await asyncio.sleep(1)
        with pytest.raises(GateShut):
            await one.enter()
        return turns[3].done(), gate.in_flight

    assert simulate(scenario) == (True, 1)


def test_a_window_that_is_full_for_a_minute_is_waited_out():
    """600 requests in each minute, all at once if one likes: the pause that the refusal names costs nothing."""

    async def scenario(loop):
        throttle, windows = Throttle(64, clock=loop.time), {}

        async def work():
            while loop.time() < 600.0:
                ticket = await throttle.enter()
                window = int(loop.time() // 60)
                windows[window] = windows.get(window, 0) + 1
                if windows[window] > 600:
                    windows[window] = 600
                    throttle.leave(
                        ticket, Failure(kind="rate_limit", message="", retry_after_s=60 - loop.time() % 60 + 0.01)
                    )
                else:
                    await asyncio.sleep(0.05)
                    throttle.leave(ticket, None)

        tasks = [asyncio.ensure_future(work()) for _ in range(64)]
        await asyncio.wait(tasks, timeout=600.0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return sum(windows.values())

    assert simulate(scenario) >= 0.9 * 6000
