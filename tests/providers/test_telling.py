"""What a provider tells can be iterated as well, with the same events, errors and ends."""

import asyncio
from contextlib import aclosing

import pytest

from steelyard.errors import ProviderError
from steelyard.providers.interface import Done, Telling, Text, teller
from steelyard.types import Failure, Prompt, Request

ASKED = Request(model="m", prompt=Prompt(kind="chat"))
SAID = [Text("a"), Text("b"), Done(stop_reason="stop")]


class Says(Telling):
    """Tells what it is given; ``fails`` after it, or waits for ever."""

    def __init__(self, *said, fails=False, waits=False):
        self.said, self.fails, self.waits, self.was_called_off = said, fails, waits, False

    async def tell(self, request, hear):
        for event in self.said:
            await asyncio.sleep(0)
            hear(event)
        if self.fails:
            raise ProviderError(Failure(kind="server", message="it broke"))
        if self.waits:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.was_called_off = True
                raise


async def heard(provider):
    return [event async for event in provider.generate(ASKED)]


def test_events_come_in_order():
    assert asyncio.run(heard(Says(*SAID))) == SAID


def test_an_error_comes_behind_the_events_before_it():
    got = []

    async def ask():
        async for event in Says(*SAID[:2], fails=True).generate(ASKED):
            got.append(event)

    with pytest.raises(ProviderError, match="it broke"):
        asyncio.run(ask())
    assert got == SAID[:2]


def test_what_generates_in_another_way_is_asked_in_that_way():
    class Otherwise(Says):
        async def generate(self, request):
            async for event in super().generate(request):
                yield event

    assert teller(Says(*SAID)) is not None
    assert teller(Otherwise(*SAID)) is None


def test_who_stops_iterating_calls_the_request_off():
    provider = Says(SAID[0], waits=True)

    async def first():
        async with aclosing(provider.generate(ASKED)) as events:
            return await anext(events)

    assert asyncio.run(first()) == SAID[0]
    assert provider.was_called_off
