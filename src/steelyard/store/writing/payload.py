"""What a call's payload holds: all of the call but what stands beside it already, which is put back when it is read.

That is its digest, which is a column, and texts of its item.
A prompt mostly repeats the item's question, or its choices, to the letter. Each such text is kept as a mark: which of
the item's texts stands there, between two control characters that the prompt does not hold itself. A payload with marks
is a pair, one without is the bare call, so payloads of every age are told apart by their shape.

A call's stamps are counted from its first, since small numbers weigh less: one whose end stands before its beginning is
kept so.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from msgspec.structs import replace

from steelyard.store.writing import codec
from steelyard.types import LOST_TEXT, Call, Message, Prompt, Sample, Timing

SHORTEST = 40
"""Characters from which on a text is not kept twice; below, a mark and the look for it save next to nothing."""
MARK = "\0"
FIRST = 0x20
MOST = 64
MARKED = re.compile(f"{MARK}([^{MARK}]){MARK}")
LOST = "[lost with the item's text in a damaged store]"

Kept = Call | tuple[Call, int]
"""A call as it is, or one with marks and their kind, of which there is one so far."""
KIND = 1


def texts_of(sample: Sample) -> tuple[str, ...]:
    """The item's texts, in the order in which marks count them."""
    asked = (sample.input,) if isinstance(sample.input, str) else tuple([turn.content for turn in sample.input])
    return asked + sample.choices


def to_keep(call: Call, sample: Sample | None) -> Kept:
    """The call without its digest, and with marks for what it shares with the item as it is stored, if it is."""
    prompt = None if sample is None else _marked(call.request.prompt, texts_of(sample)[:MOST])
    completion = call.completion
    if completion is not None and completion.timing is not None:
        completion = replace(completion, timing=_from_first(completion.timing))
    if prompt is None:
        return replace(call, digest=b"", completion=completion)
    return replace(call, digest=b"", completion=completion, request=replace(call.request, prompt=prompt)), KIND


def kept_call(payload: bytes) -> tuple[Call, bool]:
    """The call in a payload, with its prompt as it lies there, and whether there are marks in that."""
    kept: Kept = codec.unpack_any(payload, Kept, "call")
    call, has_marks = (kept[0], True) if isinstance(kept, tuple) else (kept, False)
    if call.completion is None or (timing := call.completion.timing) is None or not _is_from_first(timing):
        return call, has_marks
    completion = replace(call.completion, timing=_shifted(timing, timing.scheduled_ns))
    return replace(call, completion=completion), has_marks


def read_payload(payload: bytes, digest: bytes, sample: Sample | bytes) -> Call:
    """The call in a payload, with what stands beside it: its digest, and the texts of the item that it asked.

    The item may be given as the store holds it, which is then only read where it is needed.
    """
    call, has_marks = kept_call(payload)
    if not call.digest:
        call = replace(call, digest=digest)
    if not has_marks:
        return call
    item = codec.unpack(sample, Sample) if isinstance(sample, bytes) else sample
    texts = () if LOST_TEXT in item.flags else texts_of(item)

    def text_there(mark: re.Match[str]) -> str:
        place = ord(mark[1]) - FIRST
        return texts[place] if place < len(texts) else LOST

    prompt = _with_texts(call.request.prompt, lambda text: MARKED.sub(text_there, text))
    return replace(call, request=replace(call.request, prompt=prompt))


def _is_from_first(timing: Timing) -> bool:
    return timing.ended_ns < timing.scheduled_ns


def _from_first(timing: Timing) -> Timing:
    """The stamps counted from the first, unless the clock is so young that this could not be told when it is read."""
    kept = _shifted(timing, -timing.scheduled_ns)
    return kept if _is_from_first(kept) else timing


def _shifted(timing: Timing, by_ns: int) -> Timing:
    """All stamps but the first, so many nanoseconds later."""
    byte_ns, token_ns, answer_ns, last_ns = (
        timing.first_byte_ns, timing.first_token_ns, timing.first_answer_ns, timing.last_token_ns,
    )  # fmt: skip
    return Timing(
        scheduled_ns=timing.scheduled_ns,
        dispatched_ns=timing.dispatched_ns + by_ns,
        first_byte_ns=None if byte_ns is None else byte_ns + by_ns,
        first_token_ns=None if token_ns is None else token_ns + by_ns,
        first_answer_ns=None if answer_ns is None else answer_ns + by_ns,
        last_token_ns=None if last_ns is None else last_ns + by_ns,
        ended_ns=timing.ended_ns + by_ns,
        streamed=timing.streamed,
        gaps_ns=timing.gaps_ns,
    )


def _marked(prompt: Prompt, texts: tuple[str, ...]) -> Prompt | None:
    """The prompt with marks, longest texts first; ``None`` where none is to be made, or one would be unclear."""
    long = [(text, f"{MARK}{chr(FIRST + place)}{MARK}") for place, text in enumerate(texts) if len(text) >= SHORTEST]
    if not long:
        return None
    words = [*[turn.content for turn in prompt.messages], prompt.text, *prompt.continuations]
    found = [pair for pair in long if any(pair[0] in each for each in words)]
    if not found or any(MARK in each for each in words):
        return None
    found.sort(key=lambda pair: -len(pair[0]))

    def with_marks(text: str) -> str:
        for part, mark in found:
            text = text.replace(part, mark)
        return text

    return _with_texts(prompt, with_marks)


def _with_texts(prompt: Prompt, change: Callable[[str], str]) -> Prompt:
    """The prompt with each of its texts changed."""
    return Prompt(
        kind=prompt.kind,
        messages=tuple([Message(role=turn.role, content=change(turn.content)) for turn in prompt.messages]),
        text=change(prompt.text),
        continuations=tuple([change(text) for text in prompt.continuations]),
    )
