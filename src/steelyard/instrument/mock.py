"""The endpoint with known delays, faults and prices that ships with us.

It speaks the common APIs, needs no model, and answers the same question the same way. ``GET /stats`` tells what it
served and how late it was itself, so that a client's figures can be held against it.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from steelyard.errors import EnvironmentFault
from steelyard.instrument.alarm import Alarm
from steelyard.instrument.answer import compose, load_answers
from steelyard.instrument.dialects import dialect_of
from steelyard.instrument.dialects.dialect import Dialect
from steelyard.instrument.exchange import Exchange, HttpRequest, Play
from steelyard.instrument.faults import altered, applies, draw, refused_for_rate, reply_with
from steelyard.instrument.ledger import Ledger
from steelyard.instrument.limits import Limits
from steelyard.instrument.reply import complete
from steelyard.instrument.settings import Settings, checked

BACKLOG = 4096
MODEL = "mock"


class Mock:
    """One server; ``async with Mock(settings) as mock`` runs it in the loop that is there."""

    def __init__(self, settings: Settings) -> None:
        self.settings = checked(settings)
        self.ledger = Ledger(settings.price, settings.keep_timings)
        self._known = load_answers(settings.answers)
        self._limits = Limits(settings.rate_limit, settings.token_limit)
        self._has_limits = settings.rate_limit is not None or settings.token_limit is not None
        self._is_by_chance = bool(settings.faults or settings.jitter)
        self._asked_before: Counter[bytes] = Counter()
        self._connections: set[Exchange] = set()
        self._number = 0

    @property
    def base_url(self) -> str:
        """Where OpenAI's clients find it; others leave the ``/v1`` out."""
        host = f"[{self.settings.host}]" if ":" in self.settings.host else self.settings.host
        return f"http://{host}:{self.port}/v1"

    async def __aenter__(self) -> Mock:
        loop = asyncio.get_running_loop()
        self._alarm = Alarm(loop)
        try:
            self._server = await loop.create_server(
                lambda: Exchange(self._answer, self._alarm, self.ledger, self._connections),
                self.settings.host,
                self.settings.port,
                backlog=BACKLOG,
            )
        except OSError as error:
            self._alarm.close()
            where = f"{self.settings.host}:{self.settings.port}"
            raise EnvironmentFault(f"cannot listen on {where} ({error}). Try: --port 0 for a free one") from error
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *raised: object) -> None:
        self._server.close()
        for connection in list(self._connections):
            connection.close()
        await self._server.wait_closed()
        self._alarm.close()

    async def serve_forever(self) -> None:
        """Serve until cancelled."""
        await self._server.serve_forever()

    def _answer(self, request: HttpRequest) -> Play:
        dialect = dialect_of(request.path) if request.method == "POST" else None
        if dialect is None:
            return self._about_itself(request)
        try:
            asked = dialect.read(request.path, msgspec.json.decode(request.body))
        except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
            return self._unreadable(dialect, error)
        self.ledger.begin(dialect.name, is_streamed=asked.is_streamed)
        self._number += 1
        digest = asked.digest(self.settings.seed)
        answer = compose(asked, self.settings, self._known, digest, self._number)
        headers: Mapping[str, str] = {"x-request-id": f"req_mock_{self._number}"}
        if self._has_limits:
            wait_s = self._limits.take(answer.counts.input + answer.counts.output)
            headers = {**headers, **dialect.limit_headers(self._limits.state())}
            if wait_s is not None:
                self.ledger.statuses["429"] += 1
                return Play(refused_for_rate(dialect, wait_s, headers), dialect.name, asked.label)
        generator = self._chance(digest)
        fault = draw(self.settings.faults, generator) if generator and self.settings.faults else None
        if fault is not None and not applies(fault, is_streamed=asked.is_streamed):
            fault = None
        if fault is not None:
            self.ledger.faults[fault] += 1
        reply = reply_with(
            fault, dialect, answer, self.settings, headers, is_streamed=asked.is_streamed, generator=generator
        )
        self.ledger.statuses[str(reply.status)] += 1
        if reply.billed:
            self.ledger.bill(altered(fault, answer).counts)
        return Play(reply, dialect.name, asked.label)

    def _chance(self, digest: bytes) -> random.Random | None:
        """Draws that depend on the question and on how often it was asked, not on which came first."""
        if not self._is_by_chance:
            return None
        times = self._asked_before[digest]
        self._asked_before[digest] += 1
        return random.Random(digest + times.to_bytes(4, "big"))

    def _unreadable(self, dialect: Dialect, error: Exception) -> Play:
        self.ledger.begin(dialect.name, is_streamed=False)
        self.ledger.statuses["400"] += 1
        message = f"missing field {error}" if isinstance(error, KeyError) else f"cannot read the request: {error}"
        return Play(complete(400, dialect.error(400, "refused", message), {}), dialect.name)

    def _about_itself(self, request: HttpRequest) -> Play:
        pages: dict[str, Any] = {"/stats": self.ledger.stats, "/timings": self._timings, "/models": self._models}
        page = next((page for ending, page in pages.items() if request.path.endswith(ending)), None)
        if request.method != "GET" or page is None:
            message = f"{request.method} {request.path} is not served here"
            return Play(complete(404, msgspec.json.encode({"error": {"message": message}}), {}), "", is_counted=False)
        return Play(complete(200, msgspec.json.encode(page()), {}), "", is_counted=False)

    def _timings(self) -> list[Any]:
        return list(self.ledger.timings)

    def _models(self) -> dict[str, Any]:
        """The one model, with its price per token where one is set, as OpenRouter lists it."""
        model: dict[str, Any] = {"id": MODEL, "object": "model", "created": 1_764_000_000, "owned_by": "steelyard"}
        if (price := self.settings.price) is not None:
            cached = price.input if price.cached_input is None else price.cached_input
            each = {"prompt": price.input, "completion": price.output, "input_cache_read": cached}
            model["pricing"] = {name: f"{usd / 1e6:.12f}".rstrip("0") for name, usd in each.items()}
        return {"object": "list", "data": [model]}


@asynccontextmanager
async def serving(settings: Settings | None = None) -> AsyncIterator[str]:
    """A mock in the running loop; yields its base URL."""
    async with Mock(settings or Settings()) as mock:
        yield mock.base_url
