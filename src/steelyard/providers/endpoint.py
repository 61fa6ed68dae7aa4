"""One model behind one HTTP endpoint, whichever API it speaks.

An API is a ``Dialect``. What a model refuses (a temperature, a token limit by its old name) is learnt from its error:
see ``accepted``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

import msgspec

from steelyard.errors import ProviderError
from steelyard.providers.accepted import Accepted, known_by
from steelyard.providers.dialect import Dialect
from steelyard.providers.http import STALL_TIMEOUT_S, Http, is_loopback
from steelyard.providers.interface import Done, Event, FirstByte, Notice, Pause, Telling
from steelyard.providers.refusals import error_message, rest_s
from steelyard.providers.reply import BOM
from steelyard.secrets import Secret, scrub, scrubbed_beginning
from steelyard.types import Failure, Request

T = TypeVar("T")

MOST_LOOKED_AT_BYTES = 4096
FILTERED = (
    "content management policy",
    "content filtering policy",
    "flagged as potentially violating",
    "input was flagged",
)


class Sent(NamedTuple):
    """A request as it is sent; ``headers`` may hold a key."""

    url: str
    body: dict[str, Any]
    headers: Mapping[str, str]


class Endpoint(Telling):
    """One model behind one endpoint. A query of ``base_url`` goes with every request; ``headers`` may hold a key."""

    streams = True
    concurrency = 16

    def __init__(
        self,
        dialect: Dialect,
        *,
        base_url: str,
        headers: Mapping[str, str] | None = None,
        origin: str | None = None,
        stall_s: float = STALL_TIMEOUT_S,
        keep_alive: bool = True,
    ) -> None:
        address, _, self._query = base_url.partition("?")
        self.base_url = address.rstrip("/")
        self.origin = scrub(origin or self.url(""))
        self.kinds = dialect.kinds
        self._dialect = dialect
        self._headers = dict(headers or {})
        self._http = Http(stall_s=stall_s, through_proxy=not is_loopback(self.base_url), keep_alive=keep_alive)
        self._accepted = Accepted(dialect)

    @property
    def learnt(self) -> Mapping[str, str]:
        """Each setting that was asked for and is not sent as it was, with what happens instead."""
        return self._accepted.learnt

    def has_learnt(self, before: Mapping[str, str]) -> None:
        """Take for known what an endpoint of the same model had ``learnt`` before."""
        self._accepted.known = known_by(before, self._dialect)

    def sent(self, request: Request) -> Sent:
        """What is sent for a request, as far as it is known by now what the model takes."""
        body = self._accepted.body(request, self._accepted.known)
        return Sent(self.url(self._dialect.path(request)), body, self._headers)

    def url(self, path: str) -> str:
        """Where a path of the dialect leads; it may have a query of its own."""
        if not self._query and "?" not in path:
            return self.base_url + path
        path, _, query = path.partition("?")
        both = "&".join(filter(None, (query, self._query)))
        return self.base_url + path + (f"?{both}" if both else "")

    async def open(self) -> None:
        """Create the session."""
        self._http.open()

    async def close(self) -> None:
        """Close the session."""
        await self._http.close()

    async def tell(self, request: Request, hear: Callable[[Event], None]) -> None:
        """Ask, and once more for each setting that the model turns out not to accept."""
        dialect = self._dialect
        self._check_kind(request)
        for notice in self._accepted.absent(request):
            hear(notice)
        for _ in range(2 + len(dialect.optional)):
            known = self._accepted.known
            done: Done | None = None
            try:
                async with self._http.post(*self.sent(request)) as reply:
                    hear(FirstByte(at_ns=reply.first_byte_ns))
                    if (pause_s := rest_s(reply.headers)) is not None:
                        hear(Pause(seconds=pause_s))
                    if await reply.is_stream():
                        async for event in dialect.streamed(reply):
                            if isinstance(event, Done):
                                done = event  # the answer is complete; more may still be told of it
                            else:
                                hear(event)
                    else:
                        for event in dialect.whole(*await reply.read()):
                            hear(event)
            except ProviderError as error:
                if done is None:
                    if (filtered := _filtered(error.failure)) is not None:
                        hear(filtered)
                        return
                    learnt = self._accepted.learn(error.failure, request, known)
                    if learnt is None:
                        raise
                    hear(learnt)
                    continue
                hear(Notice(text=_stands(request.model, error.failure)))
            if done is not None:
                hear(done)
            return
        raise ProviderError(Failure(kind="rejected", message=f"{request.model} refuses one setting after the other"))

    def _check_kind(self, request: Request) -> None:
        kind = request.prompt.kind
        if kind not in self._dialect.kinds:
            message = f"{self._dialect.name} has no {kind}s. Try: a chat protocol"
            raise ProviderError(Failure(kind="unavailable", message=message))


def _stands(model: str, failure: Failure) -> str:
    """What is said where a stream fails behind a complete answer, which is not asked and paid for again."""
    return f"{model}: an answer was complete when its stream failed ({failure.kind}), and stands"


def _filtered(failure: Failure) -> Done | None:
    """A prompt or an answer that the service's filter held back, told as an error: an answer like a refusal.

    OpenRouter tells it by 403, as others do a key that may not.
    """
    if failure.status not in (400, 403) or not any(words in failure.message for words in FILTERED):
        return None
    return Done(stop_reason="content_filter", streamed=False)


def key_headers(key: Secret | None, header: str = "Authorization") -> dict[str, str]:
    """The header that carries the key; a key that names its scheme (``Basic ...``) is sent as it is."""
    if key is None:
        return {}
    value = key.reveal()
    names_scheme = header != "Authorization" or value.startswith(("Basic ", "Bearer "))
    return {header: value if names_scheme else f"Bearer {value}"}


def decoded(decoder: msgspec.json.Decoder[T], data: bytes) -> T:
    """The reply as a value; what cannot be read is a ``malformed`` failure that shows how it begins.

    What is no JSON but can only mean one thing costs no answer: half of a surrogate pair, which services send that
    count in UTF-16; NaN and infinities, as Python writes them; a control character that is not escaped.
    """
    data = data.removeprefix(BOM)
    try:
        try:
            return decoder.decode(data)
        except msgspec.DecodeError:
            if (mended := _mended(data)) is None:
                raise
            return decoder.decode(mended)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        if not data.strip():
            raise malformed("the reply is empty") from error
        raise malformed(f"cannot read the reply ({error}): {_beginning(data)}") from error


def _mended(data: bytes) -> str | None:
    """The document with a replacement character for each half of a surrogate pair and null for NaN and infinities.

    ``None`` where that is not what is wrong with it.
    """
    try:
        document = json.loads(data, strict=False, parse_constant=lambda name: None)
        text = json.dumps(document, ensure_ascii=False, allow_nan=False)
    except (ValueError, RecursionError):
        return None
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _beginning(data: bytes) -> str:
    return scrubbed_beginning(data[:MOST_LOOKED_AT_BYTES].decode("utf-8", "replace"), 200)


def no_answer(data: bytes) -> ProviderError:
    """A document of another kind than a reply: what it says, or how it begins."""
    message = error_message(data.decode("utf-8", "replace"))
    told = scrubbed_beginning(message, 500) if message else _beginning(data)
    return malformed(f"the reply holds no answer: {told}")


def malformed(message: str) -> ProviderError:
    """A reply that is not what it should be."""
    return ProviderError(Failure(kind="malformed", message=message))


BROKEN_OFF = "the stream ended before the answer was complete"
