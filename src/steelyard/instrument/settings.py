"""What the mock server is told to do: how fast, how much, how faulty. The same settings give the same replies."""

from __future__ import annotations

from msgspec import Struct

from steelyard.errors import UnknownName, UsageError
from steelyard.types import Price

FAULTS = {
    "429": "refused for asking too fast, with Retry-After in seconds",
    "429-date": "the same with Retry-After as a date",
    "429-bare": "the same without a word on when to come back",
    "quota": "refused for good: the credit is used up",
    "400": "the request is refused",
    "401": "the key is refused",
    "404": "the model does not exist",
    "500": "the server failed",
    "503": "the server is overloaded",
    "529": "the server is overloaded, in Anthropic's way",
    "malformed": "status 200 and JSON that ends too early",
    "html": "status 200 and a proxy's error page",
    "error-200": "status 200 and an error as its body",
    "wrong-model": "another model answers than was asked",
    "empty": "an answer without text",
    "null": "an answer whose content is null",
    "length": "an answer cut off by the token limit",
    "content-filter": "an answer withheld by a filter",
    "refusal": "the model refuses",
    "no-usage": "no token counts",
    "bad-usage": "impossible token counts",
    "slow-headers": "nothing at all for --slow-ms, then a usual reply",
    "stall": "the reply stops in its midst; the connection stays open",
    "reset": "the connection is reset in the midst of the reply",
    "cut": "the reply ends in its midst",
    "huge": "a reply of --huge-mb",
    "no-done": "streams: the last event is missing",
    "stream-error": "streams: an error instead of the second half",
    "split-utf8": "streams: characters of several bytes, each byte in a piece of its own",
    "comments": "streams: comment lines between the events",
}


class Settings(Struct, frozen=True, kw_only=True):
    """Delays count from the receipt of the request, on one absolute schedule.

    Headers and an empty opening event go out after ``first_byte_ms``, the first token after ``ttft_ms``, each further
    one ``itl_ms`` later; a chunk of several tokens goes out when its last token is due. ``jitter`` is a share: each
    gap is drawn evenly from (1 - jitter) to (1 + jitter) times its length. ``faults`` maps a name to its share of all
    requests. ``rate_limit`` and ``token_limit`` are per minute, as a bucket that starts full.
    ``answers`` is a file of JSON lines ``{"prompt": part of a prompt, "completion": text}``.
    ``keep_timings``: for how many of the last replies ``GET /timings`` lists when each was written.
    """

    host: str = "127.0.0.1"
    port: int = 0
    first_byte_ms: float = 0.0
    ttft_ms: float = 0.0
    itl_ms: float = 0.0
    tokens: int = 32
    tokens_per_chunk: int = 1
    reasoning_tokens: int = 0
    jitter: float = 0.0
    seed: int = 0
    faults: dict[str, float] = {}
    retry_after_s: float = 1.0
    slow_ms: float = 1000.0
    huge_bytes: int = 100 << 20
    rate_limit: int | None = None
    token_limit: int | None = None
    cached_share: float = 0.0
    price: Price | None = None
    answers: str | None = None
    keep_timings: int = 0


def checked(settings: Settings) -> Settings:
    """The settings themselves, or a ``UsageError`` that names what cannot be."""
    for name in settings.faults:
        if name not in FAULTS:
            raise UnknownName("fault", name, FAULTS)
    rates = settings.faults.values()
    if any(not 0 <= rate <= 1 for rate in rates) or sum(rates) > 1 + 1e-9:
        raise UsageError(f"shares of faults are between 0 and 1 and add up to at most 1, not {sum(rates):g}")
    for name in ("first_byte_ms", "ttft_ms", "itl_ms", "slow_ms", "retry_after_s", "reasoning_tokens", "tokens"):
        if getattr(settings, name) < 0:
            raise UsageError(f"{name} cannot be negative: {getattr(settings, name):g}")
    if settings.tokens_per_chunk < 1:
        raise UsageError("a chunk holds at least one token")
    if not (0 <= settings.jitter <= 1 and 0 <= settings.cached_share <= 1):
        raise UsageError("jitter and the cached share are between 0 and 1")
    return settings
