"""What can go wrong, each as a change of the reply that would have been given."""

from __future__ import annotations

import email.utils
import itertools
import random
import time
from collections.abc import Callable, Iterator, Mapping

import msgspec

from steelyard.instrument.answer import Answer, Counts
from steelyard.instrument.dialects.dialect import Dialect, Events
from steelyard.instrument.reply import (
    LAST_CHUNK,
    Ending,
    Reply,
    Step,
    complete,
    event_steps,
    framed,
    head,
    streamed,
    whole,
)
from steelyard.instrument.settings import Settings

HTML = b"<!DOCTYPE html><html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"
STREAMS_ONLY = ("no-done", "stream-error", "split-utf8", "comments")
REFUSED = {"400": 400, "401": 401, "404": 404, "500": 500, "503": 503, "529": 529}
MESSAGES = {
    "400": "This request cannot be answered.",
    "401": "Incorrect API key provided.",
    "404": "The model does not exist.",
    "quota": "You exceeded your current quota, please check your plan and billing details.",
    "500": "The server had an error while processing your request.",
    "503": "The server is overloaded. Please try again later.",
    "529": "Overloaded",
}
SLOWLY = "Rate limit reached. Please try again later."
MARK = "\u241e"
FILLER = b" weight" * 9362  # near 64 KiB
SPLIT_PAUSE_NS = 1_000_000


def draw(faults: Mapping[str, float], generator: random.Random) -> str | None:
    """The fault of this request, or none."""
    point = generator.random()
    for name, share in faults.items():
        if point < share:
            return name
        point -= share
    return None


def altered(fault: str | None, answer: Answer) -> Answer:
    """The answer itself where the fault is one of content."""
    change = CONTENT.get(fault or "")
    return change(answer) if change else answer


def reply_with(
    fault: str | None,
    dialect: Dialect,
    answer: Answer,
    settings: Settings,
    headers: Mapping[str, str],
    *,
    is_streamed: bool,
    generator: random.Random | None,
) -> Reply:
    """The reply to one request, as it should be or with a fault."""
    answer = altered(fault, answer)
    usual = streamed if is_streamed else whole
    if fault is None or fault in CONTENT:
        return usual(dialect, answer, settings, headers, generator)
    if fault == "slow-headers":
        late = int(settings.slow_ms * 1e6)
        reply = usual(dialect, answer, settings, headers, generator)
        return _with_steps(reply, (step._replace(due_ns=step.due_ns + late) for step in reply.steps))
    if (refusal := _refusal(fault, dialect, settings, headers)) is not None:
        return refusal
    if fault in OF_BODIES and not (is_streamed and fault in ("malformed", "huge")):
        return OF_BODIES[fault](dialect, answer, settings, headers)
    if not is_streamed:
        return _broken_off(fault, whole(dialect, answer, settings, headers, generator))
    answer = _in_many_bytes(answer) if fault == "split-utf8" else answer
    events = dialect.stream(answer)
    if fault == "huge":
        return _endless(events, settings, headers)
    steps = [*event_steps(events, answer.pieces, settings, headers, generator)]
    return _spoilt(fault, dialect, events, steps)


def applies(fault: str, *, is_streamed: bool) -> bool:
    """Whether a reply of this kind can have the fault."""
    return is_streamed or fault not in STREAMS_ONLY


def refused_for_rate(dialect: Dialect, wait_s: float, headers: Mapping[str, str]) -> Reply:
    """The reply to a request beyond the limits."""
    after = {"Retry-After": str(max(1, round(wait_s + 0.5)))}
    return complete(429, dialect.error(429, "rate", SLOWLY), {**headers, **after})


def _refusal(fault: str, dialect: Dialect, settings: Settings, headers: Mapping[str, str]) -> Reply | None:
    if fault in REFUSED:
        status = REFUSED[fault]
        return complete(status, dialect.error(status, "refused", MESSAGES[fault]), headers)
    if fault == "quota":
        status = 402 if dialect.name == "messages" else 429
        return complete(status, dialect.error(status, "quota", MESSAGES[fault]), headers)
    if not fault.startswith("429"):
        return None
    after = {}
    if fault == "429":
        after = {"Retry-After": f"{settings.retry_after_s:g}"}
    elif fault == "429-date":
        now_s = time.time()
        then = email.utils.formatdate(now_s + settings.retry_after_s, usegmt=True)
        after = {"Retry-After": then, "Date": email.utils.formatdate(now_s, usegmt=True)}
    return complete(429, dialect.error(429, "rate", SLOWLY), {**headers, **after})


def _html(dialect: Dialect, answer: Answer, settings: Settings, headers: Mapping[str, str]) -> Reply:
    return complete(200, HTML, headers, content_type="text/html")


def _error_200(dialect: Dialect, answer: Answer, settings: Settings, headers: Mapping[str, str]) -> Reply:
    return complete(200, dialect.error(500, "server", MESSAGES["500"]), headers)


def _malformed(dialect: Dialect, answer: Answer, settings: Settings, headers: Mapping[str, str]) -> Reply:
    body = dialect.whole(answer)
    return complete(200, body[: len(body) // 2], headers)


def _huge(dialect: Dialect, answer: Answer, settings: Settings, headers: Mapping[str, str]) -> Reply:
    """One JSON document with an endless text in it, piece by piece, so that it never stands in memory."""
    before, after = dialect.whole(msgspec.structs.replace(answer, text=(MARK,), stop="stop")).split(MARK.encode())
    pieces = max(1, settings.huge_bytes // len(FILLER))

    def steps() -> Iterator[Step]:
        length = len(before) + pieces * len(FILLER) + len(after)
        yield Step(0, head(200, "application/json", length, headers) + before)
        for _ in range(pieces):
            yield Step(0, FILLER)
        yield Step(0, after, True)

    return Reply(status=200, steps=steps())


def _endless(events: Events, settings: Settings, headers: Mapping[str, str]) -> Reply:
    """A stream that says its last piece again and again."""
    last = [b"", *events.pieces][-1]
    piece = framed(last * (len(FILLER) // max(1, len(last)) + 1))

    def steps() -> Iterator[Step]:
        yield Step(0, head(200, "text/event-stream", None, headers) + framed(events.opening))
        for _ in range(settings.huge_bytes // len(FILLER)):
            yield Step(0, piece, True)
        yield Step(0, framed(events.closing + events.farewell) + LAST_CHUNK)

    return Reply(status=200, steps=steps())


def _broken_off(fault: str, reply: Reply) -> Reply:
    """A plain reply that ends in its midst."""
    step = next(reply.steps)
    end = step.data.index(b"\r\n\r\n") + 4
    half = step._replace(data=step.data[: (end + len(step.data)) // 2], is_token=False)
    return Reply(status=200, steps=iter((half,)), ending=ENDINGS[fault])


def _spoilt(fault: str, dialect: Dialect, events: Events, steps: list[Step]) -> Reply:
    """A stream that ends too early, or is written in a way that readers stumble over."""
    last_ns = steps[-1].due_ns
    closing = [Step(last_ns, framed(events.closing + events.farewell) + LAST_CHUNK)]
    half = steps[: 1 + (len(steps) - 1) // 2]
    if fault in ENDINGS:
        return Reply(status=200, steps=iter(half), ending=ENDINGS[fault])
    if fault == "stream-error":
        failed = framed(dialect.failed(MESSAGES["503"])) + LAST_CHUNK
        return Reply(status=200, steps=iter([*half, Step(half[-1].due_ns, failed)]))
    if fault == "malformed":
        cut = half[-1].data.partition(b"\r\n")[2].rstrip()
        half[-1] = half[-1]._replace(data=framed(cut[: len(cut) // 2] + b"\n\n"))
        return Reply(status=200, steps=iter([*half, *closing]))
    if fault == "no-done":
        closing = [Step(last_ns, framed(events.closing) + LAST_CHUNK)]
    elif fault == "comments":
        comment = framed(b": PROCESSING\n\n")
        steps = [step._replace(data=comment + step.data) if step.is_token else step for step in steps]
    elif fault == "split-utf8":
        steps = [part for step in steps for part in _in_parts(step)]
        closing = [closing[0]._replace(due_ns=max(last_ns, steps[-1].due_ns))]
    return Reply(status=200, steps=iter([*steps, *closing]))


def _in_parts(step: Step) -> Iterator[Step]:
    """Each byte of a character of several in a chunk of its own, a moment after the one before."""
    if not step.is_token:
        yield step
        return
    data = step.data.partition(b"\r\n")[2].removesuffix(b"\r\n")
    wide = [position for position, byte in enumerate(data) if byte >= 0x80]
    cuts = [0, *wide, *(wide[-1:] and [wide[-1] + 1]), len(data)]
    for number, (start, end) in enumerate(itertools.pairwise(cuts)):
        yield Step(step.due_ns + number * SPLIT_PAUSE_NS, framed(data[start:end]), end == len(data))


def _with_steps(reply: Reply, steps: Iterator[Step]) -> Reply:
    return msgspec.structs.replace(reply, steps=steps)


def _in_many_bytes(answer: Answer) -> Answer:
    text = answer.text or ()
    wide = (*text[:-1], f"{text[-1]} 秤") if text else ("秤",)
    return msgspec.structs.replace(answer, text=wide)


def _emptied(answer: Answer) -> Answer:
    return _counted(msgspec.structs.replace(answer, reasoning=(), text=()), 0)


def _nulled(answer: Answer) -> Answer:
    return _counted(msgspec.structs.replace(answer, reasoning=(), text=None), 0)


def _halved(answer: Answer) -> Answer:
    text = answer.text or ()
    return msgspec.structs.replace(answer, text=text[: len(text) // 2], stop="length")


def _filtered(answer: Answer) -> Answer:
    return msgspec.structs.replace(_emptied(answer), stop="content_filter")


def _refused(answer: Answer) -> Answer:
    return msgspec.structs.replace(answer, reasoning=(), text=("I cannot", " help", " with that."), stop="refusal")


def _renamed(answer: Answer) -> Answer:
    return msgspec.structs.replace(answer, model=f"{answer.model}-other")


def _uncounted(answer: Answer) -> Answer:
    return msgspec.structs.replace(answer, usage=None)


def _miscounted(answer: Answer) -> Answer:
    return msgspec.structs.replace(answer, usage=answer.usage and Counts(input=0, cached=0, output=-1, reasoning=0))


def _counted(answer: Answer, output: int) -> Answer:
    counts = Counts(input=answer.counts.input, cached=answer.counts.cached, output=output, reasoning=0)
    return msgspec.structs.replace(answer, counts=counts, usage=answer.usage and counts)


ENDINGS: dict[str, Ending] = {"stall": "hold", "reset": "reset", "cut": "close"}
CONTENT: dict[str, Callable[[Answer], Answer]] = {
    "wrong-model": _renamed,
    "empty": _emptied,
    "null": _nulled,
    "length": _halved,
    "content-filter": _filtered,
    "refusal": _refused,
    "no-usage": _uncounted,
    "bad-usage": _miscounted,
}
OF_BODIES: dict[str, Callable[[Dialect, Answer, Settings, Mapping[str, str]], Reply]] = {
    "html": _html,
    "error-200": _error_200,
    "malformed": _malformed,
    "huge": _huge,
}
