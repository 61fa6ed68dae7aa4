"""Google's generateContent and streamGenerateContent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from steelyard.instrument.answer import Answer, Asked, Counts, text_of
from steelyard.instrument.dialects.dialect import Dialect, Events, encode, event

STOPS = {"stop": "STOP", "length": "MAX_TOKENS", "content_filter": "SAFETY", "refusal": "PROHIBITED_CONTENT"}
STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
}


def read(path: str, body: Mapping[str, Any]) -> Asked:
    """Contents, with the model and the method in the path: ``models/NAME:generateContent``."""
    model, _, method = path.rpartition("/")[2].partition(":")
    settings = body.get("generationConfig") or body.get("generation_config") or {}
    texts = (text_of(body.get("systemInstruction")), *(text_of(turn) for turn in body["contents"]))
    return Asked(
        model=model,
        prompt="\n".join(filter(None, texts)),
        is_streamed=method.startswith("streamGenerateContent"),
        most_tokens=settings.get("maxOutputTokens"),
        label=(body.get("labels") or {}).get("request"),
        wants_logprobs=bool(settings.get("responseLogprobs")),
    )


def whole(answer: Answer) -> bytes:
    """A complete response."""
    parts = [_part("".join(answer.reasoning), is_thought=True)] if answer.reasoning else []
    parts += [_part("".join(answer.text))] if answer.text else []
    return encode(_response(answer, parts, is_last=True, texts=answer.text or ()))


def stream(answer: Answer) -> Events:
    """One response a chunk; the last one has the finish reason, and no text of its own."""
    pieces = [event(_response(answer, [_part(text, is_thought=True)])) for text in answer.reasoning]
    pieces += [event(_response(answer, [_part(text)], texts=(text,))) for text in answer.text or ()]
    return Events(b"", pieces, b"", event(_response(answer, [_part("")], is_last=True)))


def error(status: int, kind: str, message: str) -> bytes:
    """An error as the body of a refusal; too many requests come with a delay, a used-up quota with the quota."""
    details: list[dict[str, Any]] = []
    if kind == "quota":
        violation = {"quotaId": "GenerateRequestsPerDayPerProjectPerModel", "quotaValue": "0"}
        details = [{"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [violation]}]
    elif status == 429:
        details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "1s"}]
    named = {"code": status, "message": message, "status": STATUSES.get(status, "UNAVAILABLE"), "details": details}
    return encode({"error": named})


def failed(message: str) -> bytes:
    """An error in the midst of a stream."""
    return b"data: " + error(500, "server", message) + b"\n\n"


def limit_headers(limits: Mapping[str, tuple[int, int, float]]) -> dict[str, str]:
    """Google sends none."""
    return {}


def _part(text: str, *, is_thought: bool = False) -> dict[str, Any]:
    return {"text": text, "thought": True} if is_thought else {"text": text}


def _response(
    answer: Answer, parts: list[dict[str, Any]], *, is_last: bool = False, texts: Sequence[str] = ()
) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": parts}, "index": 0}
    if not parts:
        candidate["content"] = {"role": "model"}
    response: dict[str, Any] = {"candidates": [candidate], "modelVersion": answer.model, "responseId": answer.id}
    if answer.logprob is not None and texts:
        chosen = [{"token": text, "tokenId": 0, "logProbability": answer.logprob} for text in texts]
        candidate |= {"avgLogprobs": answer.logprob, "logprobsResult": {"chosenCandidates": chosen}}
    if is_last:
        candidate["finishReason"] = STOPS[answer.stop]
        if answer.usage:
            response["usageMetadata"] = _usage(answer.usage)
    return response


def _usage(counts: Counts) -> dict[str, Any]:
    """Google counts thoughts apart from the rest of the output."""
    usage = {
        "promptTokenCount": counts.input,
        "candidatesTokenCount": counts.output - counts.reasoning,
        "totalTokenCount": counts.input + counts.output,
    }
    if counts.cached:
        usage["cachedContentTokenCount"] = counts.cached
    if counts.reasoning:
        usage["thoughtsTokenCount"] = counts.reasoning
    return usage


GENERATE = Dialect("generateContent", read, whole, stream, error, failed, limit_headers)
