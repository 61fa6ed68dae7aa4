"""What a service says when it refuses, or soon will: its status, its words, and how long it asks to wait."""

from __future__ import annotations

import email.utils
import re
from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec

from steelyard.errors import ProviderError
from steelyard.secrets import scrub, scrubbed_beginning
from steelyard.types import Failure, FailureKind

LONGEST_ASKED_S = 3600.0
"""A service that asks to wait no longer than this is waited for."""

LONGEST_REFILL_S = 300.0

PASSING = (409, 425)
"""A lock that was not had in time, as the vendors' own clients take it, and a request that came too early."""

TIMED_OUT_ON_THE_WAY = (504, 524)
"""A gateway gave up waiting for who may well have gone on answering."""

NO_WAY = (404, 407)
"""Nothing of that name is there, or a proxy leads only those there whose password it knows."""

USED_UP = (
    "insufficient_quota",
    "billing_hard_limit_reached",
    "billing_not_active",
    "billing_error",
    "check your plan and billing",
    "credit balance is too low",
)
"""By themselves the words for bills say nothing: Groq names the page to pay more at with each refusal for rate."""

TOO_LARGE = "Request too large for"
"""A single request beyond what a minute allows, which OpenAI refuses as it does one too many: no wait makes it fit."""

NO_SUCH_MODEL = re.compile(r"is not a valid model ID|Model Not Exist|\bmodel_not_found\b|\"Invalid model: ")
"""How a model that does not exist is told with a status of 400 (OpenRouter, DeepSeek, OpenAI's kin, Mistral)."""

RETRY_DELAY = re.compile(r'"retryDelay":\s*"(\d+(?:\.\d+)?)s"')


def classify(status: int, body: str, asked_s: float | None = None) -> FailureKind:
    """What a status means for this call, this model and the next attempt.

    Whoever is to wait longer than ``LONGEST_ASKED_S`` has used up an allowance: no run waits for so long.
    """
    if status in (401, 403) or (status == 400 and "API_KEY_INVALID" in body):
        return "auth"
    if status == 402 or (status in (400, 429) and _is_used_up(body)):
        return "quota"
    if status == 429 and TOO_LARGE in body:
        return "rejected"
    if status == 429:
        return "quota" if asked_s is not None and asked_s > LONGEST_ASKED_S else "rate_limit"
    if status in NO_WAY or 300 <= status < 400 or (status == 400 and NO_SUCH_MODEL.search(body)):
        return "unavailable"
    if status == 408:
        return "timeout"
    if status in PASSING or (status >= 500 and status != 501):
        return "server"
    return "rejected"


def _is_used_up(body: str) -> bool:
    """Whether credit or the day's allowance is gone. Google's words are the same for a minute's: its details tell."""
    if "RESOURCE_EXHAUSTED" in body:
        return "PerDay" in body
    return any(words in body for words in USED_UP)


def error_message(body: str) -> str | None:
    """The text of an error reply as the common services write it: ``{"error": {"message": ...}}`` and its kin."""
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return None
    if isinstance(document, list) and document:
        document = document[0]
    error = document.get("error", document) if isinstance(document, dict) else document
    if isinstance(error, dict):
        error = error.get("message") or error.get("detail")
    return error if isinstance(error, str) else None


def reason_of(body: str) -> str:
    """What an error reply says, or how it begins, without keys; "" where it says nothing."""
    message = error_message(body)
    return scrubbed_beginning(message, 500) if message else scrubbed_beginning(body.strip(), 300)


def reported(message: object, kind: FailureKind = "server", asked_s: float | None = None) -> ProviderError:
    """An error that the service tells within a reply of status 200; ``asked_s`` is how long it asks to wait."""
    told = scrub(f"the service reported: {message}")
    return ProviderError(Failure(kind=kind, message=told, retry_after_s=asked_s))


def retry_after_s(headers: Mapping[str, str], body: str = "") -> float | None:
    """Seconds to wait as ``asked_for_s``, else by the headers that say when a limit is full again.

    Of these no more than ``LONGEST_REFILL_S``: a part of it may be back long before all is.
    """
    asked_s = asked_for_s(headers, body)
    if asked_s is not None:
        return asked_s
    refill_s = spent_for_s(headers)
    return None if refill_s is None else min(refill_s, LONGEST_REFILL_S)


def asked_for_s(headers: Mapping[str, str], body: str = "") -> float | None:
    """Seconds to wait by ``Retry-After``, given as seconds or as a date held against the reply's own ``Date``.

    Also by ``Retry-After-Ms``, and by the delay that Google writes into the body. What cannot be read counts as not
    said.
    """
    if (asked_s := _duration_s(headers.get("retry-after-ms", "").strip() + "ms")) is not None:
        return asked_s
    asked_s = _wait_s(headers.get("retry-after", ""), headers)
    if asked_s is not None:
        return asked_s
    delay = RETRY_DELAY.search(body)
    return _duration_s(delay[1]) if delay else None


def spent_for_s(headers: Mapping[str, str]) -> float | None:
    """Seconds until more may be asked, where the headers say that nothing is left of a limit; ``None`` elsewhere.

    Read are ``x-ratelimit-remaining-requests`` and ``-tokens`` with ``x-ratelimit-reset-...`` (OpenAI and its kin:
    ``1m2.5s``, ``120ms``, seconds, or an instant in seconds or milliseconds since 1970), ``x-ratelimit-remaining`` with
    ``x-ratelimit-reset`` (OpenRouter, Together) and ``anthropic-ratelimit-...-remaining`` with ``...-reset`` (a date).
    """
    return max((wait for _, wait in _spent(headers)), default=None)


def rest_s(headers: Mapping[str, str]) -> float | None:
    """Seconds until the next request may fit, where the headers of an answer say that nothing is left of a limit.

    Services tell when all of it is back, but most fill it evenly: a request fits after that time over the limit's size.
    A sixtieth is waited for at least, and where the size is not told, all. One that fills at once will refuse, and say
    how long it takes.
    """
    if LIMITS.keys().isdisjoint(headers):
        return None
    return max((wait / _parts(headers.get(_size_of(left), "")) for left, wait in _spent(headers)), default=None)


def _spent(headers: Mapping[str, str]) -> list[tuple[str, float]]:
    """The limits of which nothing is left, each with the seconds until all of it is back."""
    spent = [
        (left, _wait_s(headers.get(reset, ""), headers)) for left, reset in LIMITS.items() if headers.get(left) == "0"
    ]
    return [(left, wait) for left, wait in spent if wait is not None]


def _size_of(left: str) -> str:
    return left.replace("remaining", "limit")


def _parts(size: str) -> int:
    return max(1, min(int(size[:MOST_DIGITS_OF_A_LIMIT]), MOST_PARTS)) if size.isdecimal() else 1


LIMITS = {
    "x-ratelimit-remaining": "x-ratelimit-reset",
    **{f"x-ratelimit-remaining-{what}": f"x-ratelimit-reset-{what}" for what in ("requests", "tokens")},
    **{
        f"anthropic-ratelimit-{what}-remaining": f"anthropic-ratelimit-{what}-reset"
        for what in ("requests", "tokens", "input-tokens", "output-tokens")
    },
}
"""The header that says how much of a limit is left, and the one that says when it is full again."""

MOST_PARTS = 60
MOST_DIGITS_OF_A_LIMIT = 18

AN_INSTANT_S = 1e9
"""A longer wait in seconds is none: it is a time since 1970."""

MOST_DIGITS_OF_SECONDS = 11

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def _wait_s(text: str, headers: Mapping[str, str]) -> float | None:
    """Seconds to wait by a header's text: a duration, or an instant against the reply's ``Date``, else our clock."""
    duration_s = _duration_s(text)
    if duration_s is not None:
        return duration_s
    then = _instant(text)
    if then is None:
        return None
    return max(0.0, (then - (_instant(headers.get("date", "")) or datetime.now(UTC))).total_seconds())


def _duration_s(text: str) -> float | None:
    if re.fullmatch(r"\d+(\.\d+)?", text):
        seconds = float(text)
    elif re.fullmatch(rf"(?:{_DURATION.pattern})+", text):
        seconds = sum(float(number) * _UNIT_S[unit] for number, unit in _DURATION.findall(text))
    else:
        return None
    return seconds if seconds < AN_INSTANT_S else None


def _instant(text: str) -> datetime | None:
    """A date as HTTP writes it or as RFC 3339 does, or a time since 1970; without a zone it is in UTC."""
    if re.fullmatch(r"\d{10,13}", text):
        return datetime.fromtimestamp(float(text) / (1000 if len(text) > MOST_DIGITS_OF_SECONDS else 1), UTC)
    for read in (email.utils.parsedate_to_datetime, datetime.fromisoformat):
        try:
            then = read(text)
            return then if then.tzinfo is not None else then.replace(tzinfo=UTC)
        except (ValueError, TypeError, OverflowError):
            continue
    return None
