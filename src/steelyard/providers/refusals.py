"""What a refusal of a service means: its status, its words, and how long it asks to wait."""

from __future__ import annotations

import email.utils
import re
from collections.abc import Mapping

import msgspec

from steelyard.types import FailureKind

RETRY_DELAY = re.compile(r'"retryDelay":\s*"(\d+(?:\.\d+)?)s"')


def classify(status: int, body: str) -> FailureKind:
    """What a status means for this call, this model and the next attempt."""
    if status in (401, 403) or (status == 400 and "API_KEY_INVALID" in body):
        return "auth"
    if status == 402 or (status in (400, 429) and _is_used_up(body)):
        return "quota"
    if status == 429:
        return "rate_limit"
    if status == 404:
        return "unavailable"
    if status == 408:
        return "timeout"
    if status >= 500 and status != 501:
        return "server"
    return "rejected"


def _is_used_up(body: str) -> bool:
    """Whether credit or the day's allowance is gone. Google's words are the same for a minute's: its details tell."""
    if "RESOURCE_EXHAUSTED" in body:
        return "PerDay" in body
    return any(words in body for words in ("insufficient_quota", "billing", "credit balance is too low"))


def error_message(body: str) -> str | None:
    """The text of an error reply as the common services write it: ``{"error": {"message": ...}}`` and its kin."""
    try:
        document = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return None
    if isinstance(document, list) and document:
        document = document[0]
    error = document.get("error", document) if isinstance(document, dict) else document
    if isinstance(error, dict):
        error = error.get("message") or error.get("detail")
    return error[:500] if isinstance(error, str) else None


def retry_after_s(headers: Mapping[str, str], body: str = "") -> float | None:
    """Seconds to wait by ``Retry-After``, given as seconds or as a date held against the reply's own ``Date``.

    Also by ``Retry-After-Ms``, and by the delay that Google writes into the body.
    """
    if (milliseconds := headers.get("retry-after-ms", "")).replace(".", "", 1).isdecimal():
        return float(milliseconds) / 1000
    value = headers.get("retry-after")
    if value is None:
        delay = RETRY_DELAY.search(body)
        return float(delay[1]) if delay else None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        then = email.utils.parsedate_to_datetime(value)
        now = email.utils.parsedate_to_datetime(headers["date"])
    except (ValueError, KeyError):
        return None
    return max(0.0, (then - now).total_seconds())
