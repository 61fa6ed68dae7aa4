"""OpenAI's chat completions and completions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from steelyard.instrument.answer import Answer, Asked, Counts, text_of
from steelyard.instrument.dialects.dialect import Dialect, Events, encode, event

DONE = b"data: [DONE]\n\n"
FINGERPRINT = "fp_mock"
TYPES = {400: "invalid_request_error", 401: "invalid_request_error", 404: "invalid_request_error", 429: "requests"}
CODES = {401: "invalid_api_key", 404: "model_not_found", 429: "rate_limit_exceeded"}


def read(path: str, body: Mapping[str, Any]) -> Asked:
    """A chat, or a prompt to go on from."""
    turns = body.get("messages")
    prompt = body.get("prompt", "")
    text = "\n".join(text_of(turn.get("content")) for turn in turns) if turns is not None else text_of(prompt)
    options = body.get("stream_options") or {}
    return Asked(
        model=str(body["model"]),
        prompt=text,
        is_streamed=bool(body.get("stream")),
        wants_usage=bool(options.get("include_usage")),
        most_tokens=body.get("max_completion_tokens") or body.get("max_tokens"),
        label=body.get("user"),
        can_reason=turns is not None,
        wants_logprobs=bool(body.get("logprobs")),
    )


def usage(counts: Counts) -> dict[str, Any]:
    """Token counts with their details."""
    return {
        "prompt_tokens": counts.input,
        "completion_tokens": counts.output,
        "total_tokens": counts.input + counts.output,
        "prompt_tokens_details": {"cached_tokens": counts.cached, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": counts.reasoning, "audio_tokens": 0},
    }


def error(status: int, kind: str, message: str) -> bytes:
    """An error as the body of a refusal."""
    code = "insufficient_quota" if kind == "quota" else CODES.get(status)
    named = "insufficient_quota" if kind == "quota" else TYPES.get(status, "server_error")
    return encode({"error": {"message": message, "type": named, "param": None, "code": code}})


def failed(message: str) -> bytes:
    """An error in the midst of a stream."""
    return b"data: " + error(500, "server", message) + b"\n\n"


def limit_headers(limits: Mapping[str, tuple[int, int, float]]) -> dict[str, str]:
    """What is left of the minute's allowance, and how long until all of it is back."""
    headers = {}
    for what, (limit, remaining, reset_s) in limits.items():
        headers[f"x-ratelimit-limit-{what}"] = str(limit)
        headers[f"x-ratelimit-remaining-{what}"] = str(remaining)
        headers[f"x-ratelimit-reset-{what}"] = f"{1000 * reset_s:.0f}ms" if reset_s < 1 else f"{reset_s:.3f}s"
    return headers


def _origin(answer: Answer, kind: str) -> dict[str, Any]:
    return {
        "id": f"{'cmpl' if kind == 'text_completion' else 'chatcmpl'}-{answer.id}",
        "object": kind,
        "created": answer.created_s,
        "model": answer.model,
        "system_fingerprint": FINGERPRINT,
    }


def _with_usage(document: dict[str, Any], answer: Answer) -> bytes:
    return encode(document | {"usage": usage(answer.usage)} if answer.usage else document)


def tokens(answer: Answer, texts: Iterable[str]) -> list[dict[str, Any]]:
    """How likely each chunk of the text was, as if it were a token."""
    return [
        {"token": text, "logprob": answer.logprob, "bytes": list(text.encode()), "top_logprobs": []} for text in texts
    ]


def _chat_logprobs(answer: Answer, texts: Iterable[str]) -> dict[str, Any] | None:
    if answer.logprob is None:
        return None
    said = tokens(answer, texts)
    return {"content": None, "refusal": said} if answer.stop == "refusal" else {"content": said, "refusal": None}


def _text_logprobs(answer: Answer, texts: Sequence[str]) -> dict[str, Any] | None:
    if answer.logprob is None:
        return None
    told = [answer.logprob] * len(texts)
    return {"tokens": list(texts), "token_logprobs": told, "top_logprobs": None, "text_offset": [0] * len(texts)}


def _chat_whole(answer: Answer) -> bytes:
    content = None if answer.text is None else "".join(answer.text)
    message: dict[str, Any] = {"role": "assistant", "content": content, "refusal": None}
    if answer.stop == "refusal":
        message |= {"content": None, "refusal": content}
    if answer.reasoning:
        message["reasoning_content"] = "".join(answer.reasoning)
    logprobs = _chat_logprobs(answer, answer.text or ())
    choice = {"index": 0, "message": message, "logprobs": logprobs, "finish_reason": _finish(answer)}
    return _with_usage(_origin(answer, "chat.completion") | {"choices": [choice]}, answer)


def _chat_stream(answer: Answer) -> Events:
    origin = encode(_origin(answer, "chat.completion.chunk"))[:-1]

    def chunk(delta: bytes, reason: bytes = b"null", logprobs: bytes = b"null") -> bytes:
        choice = b'"choices":[{"index":0,"delta":%s,"logprobs":%s,"finish_reason":%s}]' % (delta, logprobs, reason)
        return b"data: %s,%s}\n\n" % (origin, choice)

    channel = b'{"refusal":%s}' if answer.stop == "refusal" else b'{"content":%s}'

    def pieces() -> Iterator[bytes]:
        for text in answer.reasoning:
            yield chunk(b'{"reasoning_content":%s}' % encode(text))
        for text in answer.text or ():
            yield chunk(channel % encode(text), logprobs=encode(_chat_logprobs(answer, (text,))))

    closing = chunk(b"{}", b'"%s"' % _finish(answer).encode())
    if answer.usage:
        closing += b'data: %s,"choices":[],"usage":%s}\n\n' % (origin, encode(usage(answer.usage)))
    opening = b'{"role":"assistant","content":%s,"refusal":null}' % (b"null" if answer.text is None else b'""')
    return Events(chunk(opening), pieces(), closing, DONE)


def _text_whole(answer: Answer) -> bytes:
    text = None if answer.text is None else "".join(answer.text)
    logprobs = _text_logprobs(answer, answer.text or ())
    choice = {"index": 0, "text": text, "logprobs": logprobs, "finish_reason": _finish(answer)}
    return _with_usage(_origin(answer, "text_completion") | {"choices": [choice]}, answer)


def _text_stream(answer: Answer) -> Events:
    origin = _origin(answer, "text_completion")

    def chunk(text: str, reason: str | None = None) -> bytes:
        logprobs = _text_logprobs(answer, (text,)) if text else None
        choice = {"index": 0, "text": text, "logprobs": logprobs, "finish_reason": reason}
        return event(origin | {"choices": [choice]})

    closing = chunk("", _finish(answer))
    if answer.usage:
        closing += event(origin | {"choices": [], "usage": usage(answer.usage)})
    return Events(b"", [chunk(text) for text in answer.text or ()], closing, DONE)


def _finish(answer: Answer) -> str:
    return "stop" if answer.stop == "refusal" else answer.stop


CHAT = Dialect("chat/completions", read, _chat_whole, _chat_stream, error, failed, limit_headers)
TEXT = Dialect("completions", read, _text_whole, _text_stream, error, failed, limit_headers)
