"""Anthropic's messages."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from steelyard.instrument.answer import Answer, Asked, Counts, text_of
from steelyard.instrument.dialects.dialect import Dialect, Events, encode, named_event

STOPS = {"stop": "end_turn", "length": "max_tokens", "content_filter": "refusal", "refusal": "refusal"}
TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    404: "not_found_error",
    429: "rate_limit_error",
    503: "overloaded_error",
    529: "overloaded_error",
}
SIGNATURE = "bW9jaw=="


def read(path: str, body: Mapping[str, Any]) -> Asked:
    """A system text and turns."""
    texts = (text_of(body.get("system")), *(text_of(turn.get("content")) for turn in body["messages"]))
    return Asked(
        model=str(body["model"]),
        prompt="\n".join(filter(None, texts)),
        is_streamed=bool(body.get("stream")),
        most_tokens=int(body["max_tokens"]),
        label=(body.get("metadata") or {}).get("user_id"),
    )


def whole(answer: Answer) -> bytes:
    """A complete message."""
    blocks = [{"type": "thinking", "thinking": "".join(answer.reasoning), "signature": SIGNATURE}]
    if not answer.reasoning:
        blocks.clear()
    if answer.text:
        blocks.append({"type": "text", "text": "".join(answer.text)})
    message = _message(answer) | {"content": blocks, "stop_reason": STOPS[answer.stop]}
    if answer.usage:
        message["usage"] = _usage(answer.usage)
    return encode(message)


def stream(answer: Answer) -> Events:
    """Message start, a block of thinking and one of text, message delta with the stop reason, message stop."""
    start = _message(answer) | {"content": [], "stop_reason": None}
    if answer.usage:
        start["usage"] = _usage(answer.usage) | {"output_tokens": 0}
    opening = _event("message_start", message=start) + _event("ping")
    pieces: list[bytes] = []
    lead = b""
    index = 0
    for kind, texts in (("thinking", answer.reasoning), ("text", answer.text or ())):
        if not texts:
            continue
        empty = {"type": kind, kind: ""} | ({"signature": ""} if kind == "thinking" else {})
        lead += _event("content_block_start", index=index, content_block=empty)
        for text in texts:
            delta = {"type": f"{kind}_delta", kind: text}
            pieces.append(lead + _event("content_block_delta", index=index, delta=delta))
            lead = b""
        if kind == "thinking":
            lead = _event("content_block_delta", index=index, delta={"type": "signature_delta", "signature": SIGNATURE})
        lead += _event("content_block_stop", index=index)
        index += 1
    ending: dict[str, Any] = {"delta": {"stop_reason": STOPS[answer.stop], "stop_sequence": None}}
    if answer.usage:
        ending["usage"] = _usage(answer.usage)
    return Events(opening, pieces, lead + _event("message_delta", **ending), _event("message_stop"))


def error(status: int, kind: str, message: str) -> bytes:
    """An error as the body of a refusal."""
    named = {"type": TYPES.get(status, "api_error"), "message": message}
    return encode({"type": "error", "error": named, "request_id": "req_mock"})


def failed(message: str) -> bytes:
    """An error in the midst of a stream."""
    return b"event: error\ndata: " + error(529, "server", message) + b"\n\n"


def limit_headers(limits: Mapping[str, tuple[int, int, float]]) -> dict[str, str]:
    """What is left of the minute's allowance, and when all of it will be back."""
    headers = {}
    for what, (limit, remaining, reset_s) in limits.items():
        reset = datetime.now(UTC) + timedelta(seconds=reset_s)
        headers[f"anthropic-ratelimit-{what}-limit"] = str(limit)
        headers[f"anthropic-ratelimit-{what}-remaining"] = str(remaining)
        headers[f"anthropic-ratelimit-{what}-reset"] = reset.strftime("%Y-%m-%dT%H:%M:%SZ")
    return headers


def _message(answer: Answer) -> dict[str, Any]:
    return {
        "id": f"msg_{answer.id}",
        "type": "message",
        "role": "assistant",
        "model": answer.model,
        "stop_sequence": None,
    }


def _usage(counts: Counts) -> dict[str, Any]:
    """Anthropic counts cached input apart from the rest."""
    return {
        "input_tokens": counts.input - counts.cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": counts.cached,
        "output_tokens": counts.output,
    }


def _event(name: str, **fields: Any) -> bytes:
    return named_event(name, {"type": name, **fields})


MESSAGES = Dialect("messages", read, whole, stream, error, failed, limit_headers)
