"""One timer for all that are under way: each has its own time, and a cancellation from elsewhere stays one."""

import asyncio

import pytest

from steelyard.engine.asking.deadlines import Deadlines

SHORT_S, LONG_S = 0.05, 30.0


async def passes(deadlines: Deadlines) -> float:
    """How long it took until the deadline ended what waits for ever."""
    began_s = asyncio.get_running_loop().time()
    with pytest.raises(TimeoutError), deadlines.begin():
        await asyncio.Event().wait()
    return asyncio.get_running_loop().time() - began_s


def test_each_has_the_whole_time_from_its_own_beginning():
    async def both() -> list[float]:
        deadlines = Deadlines(SHORT_S)
        first = asyncio.ensure_future(passes(deadlines))
        await asyncio.sleep(0.6 * SHORT_S)
        return [await first, await passes(deadlines), await passes(deadlines)]

    assert all(SHORT_S - 0.002 <= took_s < LONG_S for took_s in asyncio.run(both()))


def test_what_ends_in_time_is_let_be():
    async def quick() -> str:
        deadlines = Deadlines(SHORT_S)
        for _ in range(3):
            with deadlines.begin():
                await asyncio.sleep(0)
        await passes(deadlines)
        return "all through"

    assert asyncio.run(quick()) == "all through"


def test_a_cancellation_from_elsewhere_is_no_timeout():
    async def cancelled() -> None:
        waiting = asyncio.ensure_future(passes(Deadlines(LONG_S)))
        await asyncio.sleep(0)
        waiting.cancel()
        await waiting

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancelled())


def test_where_both_come_at_once_it_stays_a_cancellation():
    async def both() -> bool:
        deadlines = Deadlines(SHORT_S)

        async def waits() -> None:
            with deadlines.begin():
                try:
                    await asyncio.Event().wait()
                finally:
                    task.cancel()  # while the deadline's own is on its way

        task = asyncio.ensure_future(waits())
        await asyncio.wait([task])
        return task.cancelled()

    assert asyncio.run(both())


def test_a_loop_that_follows_another_has_a_timer_of_its_own():
    deadlines = Deadlines(SHORT_S)

    async def begun() -> None:
        with deadlines.begin():
            await asyncio.sleep(0)

    asyncio.run(begun())
    assert asyncio.run(passes(deadlines)) < LONG_S
