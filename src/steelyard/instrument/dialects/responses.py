"""OpenAI's responses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from steelyard.instrument.answer import Answer, Asked, text_of
from steelyard.instrument.dialects import openai
from steelyard.instrument.dialects.dialect import Dialect, Events, encode, named_event

REASONS = {"length": "max_output_tokens", "content_filter": "content_filter"}


def read(path: str, body: Mapping[str, Any]) -> Asked:
    """Instructions and an input of text or turns."""
    texts = (text_of(body.get("instructions")), text_of(body.get("input", "")))
    return Asked(
        model=str(body["model"]),
        prompt="\n".join(filter(None, texts)),
        is_streamed=bool(body.get("stream")),
        most_tokens=body.get("max_output_tokens"),
        label=body.get("user"),
        wants_logprobs="message.output_text.logprobs" in (body.get("include") or ()),
    )


def whole(answer: Answer) -> bytes:
    """A complete response."""
    return encode(_response(answer, _output(answer), is_done=True))


def stream(answer: Answer) -> Events:
    """Created, in progress, then each output item: added, its deltas, done; then the whole response again."""
    log = _Log()
    output = _output(answer)
    started = _response(answer, [], is_done=False)
    opening = log.event("response.created", response=started) + log.event("response.in_progress", response=started)
    pieces: list[bytes] = []
    after = b""
    for index, item in enumerate(output):
        before = after + log.event(
            "response.output_item.added", output_index=index, item=item | _unfilled(item) | {"status": "in_progress"}
        )
        texts = answer.reasoning if item["type"] == "reasoning" else answer.text or ()
        deltas, after = _item(log, index, item, texts, answer)
        for delta in deltas:
            pieces.append(before + delta)
            before = b""
        after = before + after + log.event("response.output_item.done", output_index=index, item=item)
    ending = "response.incomplete" if answer.stop in REASONS else "response.completed"
    farewell = log.event(ending, response=_response(answer, output, is_done=True))
    return Events(opening, pieces, after, farewell)


def failed(message: str) -> bytes:
    """An error in the midst of a stream."""
    return named_event(
        "error", {"type": "error", "code": "server_error", "message": message, "param": None, "sequence_number": 0}
    )


class _Log:
    """Events in sequence."""

    def __init__(self) -> None:
        self._number = -1

    def event(self, name: str, **fields: Any) -> bytes:
        self._number += 1
        return named_event(name, {"type": name, "sequence_number": self._number, **fields})


def _logprobs(answer: Answer, texts: Iterable[str]) -> list[dict[str, Any]]:
    return [] if answer.logprob is None else openai.tokens(answer, texts)


def _item(
    log: _Log, index: int, item: dict[str, Any], texts: tuple[str, ...], answer: Answer
) -> tuple[list[bytes], bytes]:
    """The deltas of an output item, the first with what leads it in, and what closes the item."""
    where = {"item_id": item["id"], "output_index": index}
    full = "".join(texts)
    ended: dict[str, Any]
    if item["type"] == "reasoning":
        part, name, extra = "response.reasoning_summary_part", "response.reasoning_summary_text", {"summary_index": 0}
        filled = {"type": "summary_text", "text": full}
        ended = {"text": full}
    else:
        filled = item["content"][0]
        is_refusal = filled["type"] == "refusal"
        part, extra = "response.content_part", {"content_index": 0}
        name = "response.refusal" if is_refusal else "response.output_text"
        ended = {"refusal": full} if is_refusal else {"text": full, "logprobs": _logprobs(answer, texts)}
    where = where | extra
    is_likely = name == "response.output_text"
    blank: dict[str, Any] = {"refusal" if "refusal" in filled else "text": ""}
    lead = log.event(f"{part}.added", **where, part=filled | blank)
    more = [{"logprobs": _logprobs(answer, (text,))} if is_likely else {} for text in texts]
    deltas = [log.event(f"{name}.delta", **where, delta=text, **told) for text, told in zip(texts, more, strict=True)]
    closing = log.event(f"{name}.done", **where, **ended) + log.event(f"{part}.done", **where, part=filled)
    if not deltas:
        return [], lead + closing
    return [lead + deltas[0], *deltas[1:]], closing


def _output(answer: Answer) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    if answer.reasoning:
        summary = [{"type": "summary_text", "text": "".join(answer.reasoning)}]
        items.append({"id": f"rs_{answer.id}", "type": "reasoning", "summary": summary})
    if answer.text is None:
        return items
    text = "".join(answer.text)
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": _logprobs(answer, answer.text)}
    content = {"type": "refusal", "refusal": text} if answer.stop == "refusal" else part
    status = "incomplete" if answer.stop in REASONS else "completed"
    message = {"id": f"msg_{answer.id}", "type": "message", "role": "assistant", "status": status}
    return [*items, message | {"content": [content]}]


def _unfilled(item: dict[str, Any]) -> dict[str, Any]:
    return {"summary": []} if item["type"] == "reasoning" else {"content": []}


def _response(answer: Answer, output: list[dict[str, Any]], *, is_done: bool) -> dict[str, Any]:
    reason = REASONS.get(answer.stop) if is_done else None
    status = "in_progress" if not is_done else "incomplete" if reason else "completed"
    counts = answer.usage if is_done else None
    return {
        "id": f"resp_{answer.id}",
        "object": "response",
        "created_at": answer.created_s,
        "status": status,
        "error": None,
        "incomplete_details": {"reason": reason} if reason else None,
        "instructions": None,
        "metadata": {},
        "model": answer.model,
        "output": output,
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "usage": counts
        and {
            "input_tokens": counts.input,
            "input_tokens_details": {"cached_tokens": counts.cached, "cache_write_tokens": 0},
            "output_tokens": counts.output,
            "output_tokens_details": {"reasoning_tokens": counts.reasoning},
            "total_tokens": counts.input + counts.output,
        },
    }


RESPONSES = Dialect("responses", read, whole, stream, openai.error, failed, openai.limit_headers)
