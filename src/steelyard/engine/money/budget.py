"""The money of one run: held before a request goes out, settled when its answer is there, never more than allowed.

One ledger serves all models and judges of a run. A request is sent only if what was spent, what is in doubt and the
worst case of everything in flight fit under the ceiling together with its own worst case. So long as no answer costs
more than its worst case nothing is overspent; where one does (no token limit was set), what is over is at most what was
in flight. A try that failed and may have been billed all the same is *in doubt*: it counts in full against the ceiling,
and as unknown in every cost. Nobody who waits for money holds any, so nobody waits for ever.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime, timedelta

from msgspec.structs import asdict, replace

from steelyard import prices
from steelyard.errors import UsageError
from steelyard.providers.refusals import TIMED_OUT_ON_THE_WAY
from steelyard.types import Failure, ModelSpec, Request, Usage

ASSUMED_OUTPUT_TOKENS = 4_096
"""What an answer without a token limit is held at."""

TOKENS_A_MESSAGE = 16
"""Room for what a chat template adds to a message."""

STEP = 32
PRICED_ANEW_AFTER = timedelta(minutes=1)
ROUNDING_USD = 1e-9
"""Ten requests of ten cents each fit into a dollar, whatever binary fractions make of it."""

NOT_BILLED = ("rate_limit", "quota", "rejected", "auth", "unavailable")

SPENT = "the budget is spent"

Draw = Callable[[float], Awaitable[float]]


def may_be_billed(failure: Failure) -> bool:
    """Whether a failed try may cost money: a reply was under way, or nobody knows."""
    status = failure.status or 0
    was_refused = failure.kind in NOT_BILLED or (status >= 400 and status not in TIMED_OUT_ON_THE_WAY)
    return failure.was_sent and not was_refused


class Ledger:
    """What a run may spend, has spent, has in doubt and has in flight, in USD.

    ``limit_usd`` is the run's own, over all its sessions, of which ``before_usd`` is gone. ``draw`` asks the budget
    that stands over the whole store for more, and is answered with what that can give. Of what is in flight, or was,
    ``counted_before`` stands there as spent already, by the share of the earlier session that handed it in.
    ``cut_off_tries`` were sent, and stand on no record, since the run was broken off. ``resolved_usd`` is what
    earlier sessions had in doubt and this one knows the end of.
    """

    def __init__(self, limit_usd: float | None = None, *, before_usd: float = 0.0, draw: Draw | None = None) -> None:
        self.limit_usd, self.before_usd = limit_usd, before_usd
        self.spent_usd = self.doubtful_usd = self.held_usd = self.promised_usd = 0.0
        self.doubtful_tries = 0
        self.cut_off_tries = 0
        self.resolved_usd, self.resolved_tries = 0.0, 0
        self.granted_usd: float | None = None if draw is None else 0.0
        self.counted_before: dict[int, float] = {}
        self.is_exhausted = False
        self._draw, self._drawing = draw, asyncio.Lock()
        self._changed = asyncio.Event()
        self._settled = 0

    @property
    def is_limited(self) -> bool:
        """Whether anything limits the run."""
        return self.limit_usd is not None or self._draw is not None

    @property
    def used_usd(self) -> float:
        """What this session has spent, and may have spent."""
        return self.spent_usd + self.doubtful_usd

    @property
    def doubt_added_usd(self) -> float:
        """What this session adds to what is in doubt of the run: less than nothing where it resolved more."""
        return self.doubtful_usd - self.resolved_usd

    @property
    def doubt_added_tries(self) -> int:
        """How many tries it adds."""
        return self.doubtful_tries - self.resolved_tries

    @property
    def counted_before_usd(self) -> float:
        """What earlier sessions have counted already, all their shares together."""
        return sum(self.counted_before.values())

    @property
    def remaining_usd(self) -> float | None:
        """What is left of the run's own limit; ``None`` where it has none."""
        return None if self.limit_usd is None else max(0.0, self.limit_usd - self.before_usd - self.used_usd)

    async def hold(self, most_usd: float, *, promise_usd: float = 0.0, is_promised: bool = False) -> bool:
        """Set aside the worst case of a request, and promise what must follow it; wait until it fits.

        ``False``: it will not fit, whatever comes back of what is in flight. What ``is_promised`` (a judge's call about
        an answer that is paid for) does not wait behind promises.
        """
        own_usd = most_usd + promise_usd
        while True:
            settled = self._settled
            others_usd = self.held_usd + (0.0 if is_promised else self.promised_usd)
            needed_usd = self.used_usd + others_usd + own_usd
            if self._fits(needed_usd):
                self.held_usd += most_usd
                self.promised_usd += promise_usd
                return True
            worth_drawing_usd = needed_usd if self._fits_the_run(needed_usd) else self.used_usd + own_usd
            if self._fits_the_run(worth_drawing_usd) and await self._draw_more(worth_drawing_usd):
                continue
            if self._settled == settled and not self._fits(self.used_usd + own_usd):
                self.is_exhausted = True
                return False
            while self._settled == settled:
                self._changed.clear()
                await self._changed.wait()

    async def grant(self, wanted_usd: float) -> float:
        """Set aside what another process wants to spend, now or not at all; 0 where it does not fit."""
        while not self._fits(needed_usd := self.used_usd + self.held_usd + self.promised_usd + wanted_usd):
            # what was drawn may have gone to another who asked at the same time: then there may still be more
            if not self._fits_the_run(needed_usd) or not await self._draw_more(needed_usd):
                return 0.0
        self.held_usd += wanted_usd
        return wanted_usd

    def release(self, usd: float) -> None:
        """What was set aside for another process is spent by now, or will not be."""
        self.held_usd = max(0.0, self.held_usd - usd)
        self._tell_the_waiting()

    def owe(self, most_usd: float, counted_in: int | None) -> None:
        """Hold the worst case of what an earlier session sent, whether it fits or not; ``counted_in`` a share of it."""
        self.held_usd += most_usd
        if counted_in is not None:
            self.counted_before[counted_in] = self.counted_before.get(counted_in, 0.0) + most_usd

    def settle(self, most_usd: float, cost_usd: float | None) -> None:
        """A request held at ``most_usd`` has come to its end; an unknown cost counts in full, as in doubt."""
        self.held_usd = max(0.0, self.held_usd - most_usd)
        if cost_usd is None:
            self.doubt(most_usd)
        else:
            self.spent_usd += cost_usd
        self._tell_the_waiting()

    def doubt(self, most_usd: float) -> None:
        """Up to so much may have been billed for a try that failed, or an answer that came without its tokens."""
        self.doubtful_usd += most_usd
        self.doubtful_tries += most_usd > 0

    def resolve(self, most_usd: float) -> None:
        """What an earlier session had in doubt has come to its end, and is counted by that alone."""
        self.resolved_usd += most_usd
        self.resolved_tries += most_usd > 0
        if self.limit_usd is not None:
            self.before_usd = max(0.0, self.before_usd - most_usd)
            self._tell_the_waiting()

    def lose(self, cost_usd: float) -> None:
        """An answer that was paid for is kept nowhere: it counts as in doubt, or no later session would know of it."""
        if cost_usd:
            self.spent_usd -= cost_usd
            self.doubt(cost_usd)

    def keep_promise(self, promise_usd: float) -> None:
        """What had to follow has followed, or will not."""
        if promise_usd:
            self.promised_usd = max(0.0, self.promised_usd - promise_usd)
            self._tell_the_waiting()

    def _tell_the_waiting(self) -> None:
        self._settled += 1
        self._changed.set()

    def _fits(self, needed_usd: float) -> bool:
        return self._fits_the_run(needed_usd) and self._fits_the_share(needed_usd)

    def _fits_the_run(self, needed_usd: float) -> bool:
        return self.limit_usd is None or self.before_usd + needed_usd <= self.limit_usd + ROUNDING_USD

    def _fits_the_share(self, needed_usd: float) -> bool:
        return self.granted_usd is None or needed_usd - self.counted_before_usd <= self.granted_usd + ROUNDING_USD

    async def _draw_more(self, needed_usd: float) -> bool:
        """Whether the store's budget gave anything towards what is needed; one asks at a time."""
        if self._draw is None or self.granted_usd is None or self._fits_the_share(needed_usd):
            return False
        async with self._drawing:
            if self._fits_the_share(needed_usd):
                return True
            given_usd = await self._draw(needed_usd - self.counted_before_usd - self.granted_usd)
            self.granted_usd += given_usd
            return given_usd > 0


class Grant:
    """What another process was given to spend, and has told of."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._given_usd = self._spent_usd = self._doubtful_usd = 0.0
        self._doubtful_tries = self._cut_off_tries = 0
        self._is_closed = False

    async def more(self, wanted_usd: float) -> float:
        """Give so much more, or nothing."""
        given_usd = await self._ledger.grant(wanted_usd)
        if self._is_closed:  # while the money was on its way
            self._ledger.release(given_usd)
            return 0.0
        self._given_usd += given_usd
        return given_usd

    def told(self, spent_usd: float, doubtful_usd: float, doubtful_tries: int, cut_off_tries: int = 0) -> None:
        """It has spent and doubts so much by now, in all."""
        ledger, spent_more_usd = self._ledger, spent_usd - self._spent_usd
        doubted_more_usd = doubtful_usd - self._doubtful_usd
        ledger.spent_usd += spent_more_usd
        ledger.doubtful_usd += doubted_more_usd
        ledger.doubtful_tries += doubtful_tries - self._doubtful_tries
        ledger.cut_off_tries += cut_off_tries - self._cut_off_tries
        self._release(spent_more_usd + doubted_more_usd)
        self._spent_usd, self._doubtful_usd = spent_usd, doubtful_usd
        self._doubtful_tries, self._cut_off_tries = doubtful_tries, cut_off_tries

    def close(self, *, was_lost: bool = False) -> None:
        """The process spends nothing more; one that was lost may have spent all it was given."""
        if self._is_closed:
            return
        self._is_closed = True
        left_usd = max(0.0, self._given_usd - self._spent_usd - self._doubtful_usd)
        if was_lost and left_usd:
            self._ledger.doubt(left_usd)
        self._release(left_usd)

    def _release(self, usd: float) -> None:
        if self._given_usd:
            self._ledger.release(usd)


class WorstCase:
    """The most that one request to a model can cost, at the price of this minute: some change with the hour of the day.

    A token of text has at least one byte, so bytes bound the input from above; the output is bounded by its limit.
    """

    def __init__(self, spec: ModelSpec, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._spec, self._now = spec, now
        self._at = now()
        self._known: dict[tuple[int, int], float | None] = {}
        self._has_price = prices.price_source(spec) != prices.UNKNOWN

    def usd(self, request: Request) -> float | None:
        """The bound, or ``None`` where the price is unknown."""
        return self.of_tokens(input_bound(request), output_bound(request)) if self._has_price else None

    def of_tokens(self, input_tokens: int, output_tokens: int) -> float | None:
        """The price of so many tokens, the input rounded up."""
        key = (-(-input_tokens // STEP) * STEP, output_tokens)
        now = self._now()
        if not timedelta() <= now - self._at < PRICED_ANEW_AFTER:
            self._known.clear()
            self._at = now
        if key not in self._known:
            self._known[key] = self._dearest(Usage(input_tokens=key[0], output_tokens=key[1], source="tokenizer"))
        return self._known[key]

    def _dearest(self, usage: Usage) -> float | None:
        """The price as it is, or if all input came from a prompt cache or went to one, or all output were reasoning."""
        read = replace(usage, cached_input_tokens=usage.input_tokens)
        written = replace(usage, cache_write_tokens=usage.input_tokens, cache_write_1h_tokens=usage.input_tokens)
        reasoned = replace(usage, reasoning_tokens=usage.output_tokens)
        costs = [
            prices.cost_usd(each, self._spec, at)
            for each in (usage, read, written, reasoned)
            for at in (self._at, self._at + PRICED_ANEW_AFTER)
        ]
        return None if costs[0] is None else max(cost for cost in costs if cost is not None)


def input_bound(request: Request) -> int:
    """More tokens than the prompt can have; a likelihood sends it once for each continuation."""
    prompt = request.prompt
    texts = [*(turn.content for turn in prompt.messages), *([prompt.text] if prompt.text else [])]
    shared = sum(len(text.encode("utf-8", "surrogatepass")) + TOKENS_A_MESSAGE for text in texts)
    if request.prompt.kind != "likelihood":
        return shared
    return sum(shared + len(text.encode("utf-8", "surrogatepass")) for text in prompt.continuations)


def output_bound(request: Request) -> int:
    """The most tokens that may come back, or what is assumed where nothing limits them."""
    if request.prompt.kind == "likelihood":
        return len(request.prompt.continuations)
    return ASSUMED_OUTPUT_TOKENS if request.max_tokens is None else request.max_tokens


class Bill:
    """The money of one request, over all its tries. Each try is accounted for once, whoever tells of its end."""

    __slots__ = ("_held_usd", "_is_doubted", "_is_open", "_ledger", "_promise_usd", "_request", "_worst_case")

    def __init__(self, ledger: Ledger, worst_case: WorstCase, request: Request, promise_usd: float = 0.0) -> None:
        self._ledger, self._worst_case, self._request = ledger, worst_case, request
        self._promise_usd = promise_usd
        self._held_usd: float | None = None
        self._is_open, self._is_doubted = True, False

    async def open(self, *, is_promised: bool = False) -> bool:
        """Hold the worst case of the first try; ``False`` where there is no money for it."""
        return await self._hold(self._promise_usd, is_promised=is_promised)

    def owe(self, counted_in: int | None, *, is_doubted: bool) -> None:
        """An earlier session sent it, and may have left it in doubt; ``counted_in`` is the share in which the store's
        budget has it as spent.
        """
        self._is_doubted = is_doubted
        if self._ledger.is_limited:
            self._held_usd = self._worst_case.usd(self._request) or 0.0
            self._ledger.owe(self._held_usd, counted_in)

    async def again(self, failure: Failure) -> bool:
        """Whether another try may go out after this one failed; the failed one counts if it may be billed."""
        self._failed(failure)
        return await self._hold(0.0, is_promised=True)

    def close(self, cost_usd: float | None, failure: Failure | None) -> None:
        """The last try has ended, with an answer at a price or with a failure."""
        self._resolve()
        if failure is not None:
            self._failed(failure)
        elif self._held_usd is not None:
            self._settle(cost_usd)
        elif cost_usd is None and not self._ledger.is_limited:
            self._ledger.doubt(self._worst_case.usd(self._request) or 0.0)
        else:
            self._ledger.spent_usd += cost_usd or 0.0

    def cut_off(self) -> None:
        """The run was broken off while a try was on its way, which may be billed."""
        self._end_try(may_be_billed=True)

    def leave_unrecorded(self, tries: int) -> None:
        """So many tries were sent, and the request will have no record that counts them."""
        self._ledger.cut_off_tries += tries

    def unsend(self) -> None:
        """The request, or the next try of it, was not sent after all, or is not billed."""
        self._resolve()
        self._end_try(may_be_billed=False)
        self.keep_promise()

    def keep_promise(self) -> None:
        """What had to follow the answer has followed, or will not."""
        if self._promise_usd:
            self._ledger.keep_promise(self._promise_usd)
            self._promise_usd = 0.0

    async def _hold(self, promise_usd: float, *, is_promised: bool) -> bool:
        self._is_open = True
        if not self._ledger.is_limited:
            self._promise_usd = 0.0
            return True
        most_usd = self._worst_case.usd(self._request) or 0.0
        is_held = await self._ledger.hold(most_usd, promise_usd=promise_usd, is_promised=is_promised)
        self._held_usd = most_usd if is_held else None
        return is_held

    def _failed(self, failure: Failure) -> None:
        self._end_try(may_be_billed=may_be_billed(failure))

    def _end_try(self, *, may_be_billed: bool) -> None:
        """A try has ended without an answer, or will not be sent."""
        is_open, self._is_open = self._is_open, False
        if self._held_usd is not None:
            self._settle(None if may_be_billed else 0.0)
        elif is_open and may_be_billed and not self._ledger.is_limited:
            self._ledger.doubt(self._worst_case.usd(self._request) or 0.0)

    def _resolve(self) -> None:
        """Only now: one that is broken off again leaves the earlier doubt as it was."""
        if self._is_doubted:
            self._is_doubted = False
            self._ledger.resolve(self._worst_case.usd(self._request) or 0.0)

    def _settle(self, cost_usd: float | None) -> None:
        assert self._held_usd is not None
        self._ledger.settle(self._held_usd, cost_usd)
        self._held_usd = None


class Till:
    """Where the requests to one model are paid: first come, first served, so that what is asked stays a prefix."""

    def __init__(self, ledger: Ledger, spec: ModelSpec) -> None:
        self.ledger = ledger
        self.worst_case = WorstCase(spec)
        self._queue = asyncio.Lock()

    @property
    def is_short(self) -> bool:
        """Whether a request waits for money that others hold: one that finds some passes at once."""
        return self._queue.locked()

    async def bill(self, request: Request, *, promise_usd: float = 0.0, is_promised: bool = False) -> Bill | None:
        """A bill that is open, or ``None`` where there is no money left for it."""
        bill = Bill(self.ledger, self.worst_case, request, promise_usd)
        if not self.ledger.is_limited:
            return bill
        async with self._queue:
            return bill if await bill.open(is_promised=is_promised) else None


def is_free(spec: ModelSpec) -> bool:
    """Whether a model runs here and takes no money that we could count, whoever else is asked for its answers."""
    return spec.price is None and spec.provider in ("local", "baseline")


def costs_nothing(spec: ModelSpec) -> bool:
    """Whether a model, or all of a system, runs here and takes no money that we could count."""
    return all(map(is_free, spec.asked))


def is_priced(spec: ModelSpec) -> bool:
    """Whether what a request to the model costs can be known."""
    return is_free(spec) or WorstCase(spec).of_tokens(STEP, STEP) is not None


def check_amounts(budget_usd: float | None, specs: Iterable[ModelSpec]) -> None:
    """Raise where an amount of money is no number or below nothing: a negative cost would fill a budget up again."""
    if budget_usd is not None and not 0 < budget_usd < math.inf:
        raise UsageError(f"{budget_usd:g} is not an amount of USD above 0, as a budget has to be")
    for spec in specs:
        stated = {} if spec.price is None else asdict(spec.price)
        for name, usd in stated.items():
            if usd is not None and not 0 <= usd < math.inf:
                raise UsageError(f"{spec.id}: price.{name} is {usd:g}. A price is 0 or more, in USD per million tokens")


def check_prices(specs: Iterable[ModelSpec]) -> None:
    """Raise where a budget is set and a model's price is unknown: what cannot be counted cannot be held."""
    unpriced = list(dict.fromkeys(spec.id for spec in specs if not is_priced(spec)))
    if unpriced:
        raise UsageError(
            f"a budget cannot hold what it cannot count, and the price of {', '.join(unpriced)} is unknown. "
            "Try: --price 0.15/0.60 (USD per million tokens, input/output; 0/0 if it costs nothing), "
            "or price: {input: 0.15, output: 0.60} in the plan"
        )
