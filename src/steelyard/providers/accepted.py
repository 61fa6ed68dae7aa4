"""Which settings a model takes: what it refuses is learnt from its errors, said once, and left out from then on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from steelyard.providers.dialect import CUT_HERE, Dialect, Settings
from steelyard.providers.interface import Notice
from steelyard.types import Failure, Request

COMPLAINTS = re.compile(
    r"unsupported|not (?:yet )?support|unrecogni[sz]ed|unknown|extra (?:input|field)|unexpected|not permitted"
    r"|not allowed|deprecated|only be set|cannot both|not available|not enabled|no longer|cannot find field"
    r"|does not accept|must be verified|is invalid for this model"
)
ASKED_AT_MOST = "at most {} tokens an answer are asked for"
IS_ASKED_AT_MOST = re.compile(ASKED_AT_MOST.format(r"(\d{1,15})"))
TOO_MANY_TOKENS = re.compile(r"max_tokens\D{1,20}\d+ > (\d+)|at most (\d+) (?:completion|output) tokens")
FIRST_STOPS = "the first {} strings are sent; at the others " + CUT_HERE
ARE_FIRST_STOPS = re.compile(FIRST_STOPS.format(r"(\d{1,3})"))
TOO_MANY_STOPS = re.compile(r"'stop'\D{1,80}maximum length (\d{1,3})|stop_sequences must not exceed (\d{1,3})")


class Known(Struct, frozen=True, kw_only=True):
    """What was known of a model when a request was sent: settings that it refuses, the longest answer it can be asked
    for, and how many stop strings it takes.
    """

    refused: Settings = frozenset()
    most_tokens: int | None = None
    most_stops: int | None = None


class Accepted:
    """What one model accepts of the settings of its API."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self.known = Known()
        self.learnt: dict[str, str] = {}

    def body(self, request: Request, known: Known) -> dict[str, Any]:
        """What is sent, without what the model refuses; the request's ``extra`` over it."""
        sent = _capped(request, known)
        return merged(self._dialect.body(sent, known.refused), sent.extra)

    def absent(self, request: Request) -> list[Notice]:
        """Settings of the request that the API does not have, each told once."""
        absent = self._dialect.absent
        if not absent:
            return []
        wanted = [name for name in absent if getattr(request, name) and name not in self.learnt]
        self.learnt |= {name: absent[name] for name in wanted}
        return [Notice(text=f"{self._dialect.name} has no {name!r}: {absent[name]}") for name in wanted]

    def learn(self, failure: Failure, request: Request, known: Known) -> Notice | None:
        """Take in what the model refuses; ``None`` where it is nothing that could be left out.

        ``known`` is what was known when the request was sent: requests in flight learn the same thing more than once,
        and whoever hears the same words twice says them once.
        """
        limit = most_tokens_accepted(failure)
        if limit is not None and limit != known.most_tokens:
            self.known = msgspec.structs.replace(self.known, most_tokens=limit)
            self.learnt["max_tokens"] = self._instead("max_tokens")
            return Notice(text=f"{request.model} gives at most {limit} tokens an answer: no more are asked for")
        most_stops = most_stops_accepted(failure)
        if most_stops is not None and most_stops != known.most_stops:
            self.known = msgspec.structs.replace(self.known, most_stops=most_stops)
            self.learnt["stop"] = FIRST_STOPS.format(most_stops)
            return Notice(text=f"{request.model} takes at most {most_stops} stop strings: {self.learnt['stop']}")
        setting = refused_setting(failure, _capped(request, known), known.refused, self._dialect)
        if setting is None:
            return None
        self.known = msgspec.structs.replace(self.known, refused=self.known.refused | {setting})
        self.learnt[setting] = self._instead(setting)
        return Notice(text=f"{request.model} does not accept {setting!r}: {self._refused(setting)}")

    def _instead(self, setting: str) -> str:
        """What happens with a setting that is not sent as it is asked for, from which ``known_by`` can tell why."""
        told = [self._refused(setting)] if setting in self.known.refused else []
        if setting == "max_tokens" and self.known.most_tokens is not None:
            told.append(ASKED_AT_MOST.format(self.known.most_tokens))
        return "; ".join(told)

    def _refused(self, setting: str) -> str:
        return self._dialect.renamed.get(setting, "the model's own default stands")


def known_by(learnt: Mapping[str, str], dialect: Dialect) -> Known:
    """What was known of a model, from what was kept of it with the run that learnt it."""
    capped = IS_ASKED_AT_MOST.search(learnt.get("max_tokens", ""))
    stops = ARE_FIRST_STOPS.fullmatch(learnt.get("stop", ""))
    told = {setting for setting, instead in learnt.items() if not IS_ASKED_AT_MOST.fullmatch(instead)}
    return Known(
        refused=frozenset((told - {"stop"} if stops else told) & dialect.optional.keys()),
        most_tokens=int(capped[1]) if capped else None,
        most_stops=int(stops[1]) if stops else None,
    )


def merged(body: dict[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """The body with ``extra`` over it, which may override everything; a mapping is merged key by key."""
    for name, value in extra.items():
        within = body.get(name)
        body[name] = merged(dict(within), value) if isinstance(within, dict) and isinstance(value, dict) else value
    return body


def refused_setting(failure: Failure, request: Request, refused: Settings, dialect: Dialect) -> str | None:
    """The setting that a 400 or 422 complains about by name, if it was sent and can be left out."""
    words = failure.message.lower()
    if failure.status not in (400, 422) or not COMPLAINTS.search(words):
        return None
    body = dialect.body(request, refused)
    for setting, names in dialect.optional.items():
        is_named = setting not in refused and any(name in words for name in names)
        if is_named and dialect.body(request, refused | {setting}) != body:
            return setting
    return None


def most_tokens_accepted(failure: Failure) -> int | None:
    """The longest answer that a model can be asked for, from the error about a longer one."""
    found = TOO_MANY_TOKENS.search(failure.message) if failure.status == 400 else None
    return int(found[1] or found[2]) or None if found else None


def most_stops_accepted(failure: Failure) -> int | None:
    """How many stop strings a model takes, from the error about more."""
    found = TOO_MANY_STOPS.search(failure.message) if failure.status == 400 else None
    return int(found[1] or found[2]) or None if found else None


def _capped(request: Request, known: Known) -> Request:
    if known.most_stops is not None and len(request.stop) > known.most_stops:
        request = msgspec.structs.replace(request, stop=request.stop[: known.most_stops])
    most_tokens = known.most_tokens
    if most_tokens is None or (request.max_tokens is not None and request.max_tokens <= most_tokens):
        return request
    return msgspec.structs.replace(request, max_tokens=most_tokens)
