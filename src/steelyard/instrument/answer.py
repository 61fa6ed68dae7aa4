"""What is asked of the mock and what it says: the same words for the same seed and question, however often it is asked.

An answer knows no wire format; the dialects write it down.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from steelyard.errors import UsageError
from steelyard.instrument.settings import Settings
from steelyard.types.ready import ready

Stop = Literal["stop", "length", "content_filter", "refusal"]

CREATED_S = 1_764_000_000
CHARACTERS_PER_TOKEN = 4
WORDS = (
    "a balance weighs what is put on its pan against a known weight and says by how much it was off the beam turns on "
    "an edge of steel so that little is lost to it each weight has been held against another and the last against one "
    "that nobody doubts"
).split()
SPACED = [f" {word}" for word in WORDS]


class Asked(Struct, frozen=True, kw_only=True):
    """A request as any dialect reads it. ``label`` is the caller's own name for it, where the dialect has one.

    ``can_reason`` is false where the dialect has no channel for reasoning; ``wants_logprobs`` are those of the text.
    """

    model: str
    prompt: str
    is_streamed: bool = False
    wants_usage: bool = True
    most_tokens: int | None = None
    label: str | None = None
    can_reason: bool = True
    wants_logprobs: bool = False

    def digest(self, seed: int) -> bytes:
        """16 bytes that stand for the question under a seed."""
        text = f"{seed}\0{self.model}\0{self.prompt}".encode("utf-8", "replace")
        return hashlib.blake2b(text, digest_size=16).digest()


class Counts(Struct, frozen=True, kw_only=True):
    """Tokens: cached ones are part of the input, reasoning ones of the output."""

    input: int
    cached: int
    output: int
    reasoning: int


class Answer(Struct, frozen=True, kw_only=True):
    """What will be said, in the chunks it will be said in. ``text`` is ``None`` for a null content.

    ``logprob`` is that of every chunk of the text, where it was asked for.
    """

    id: str
    model: str
    reasoning: tuple[str, ...]
    text: tuple[str, ...] | None
    stop: Stop
    counts: Counts
    usage: Counts | None
    logprob: float | None = None
    created_s: int = CREATED_S

    @property
    def pieces(self) -> int:
        """How many chunks carry text."""
        return len(self.reasoning) + len(self.text or ())


class Known(Struct, frozen=True, kw_only=True):
    """A line of an answers file."""

    prompt: str
    completion: str
    reasoning: str = ""
    confidence: Annotated[float, Meta(gt=0, le=1)] | None = None


def load_answers(path: str | None) -> tuple[Known, ...]:
    """The lines of an answers file; a fault names its line."""
    if path is None:
        return ()
    try:
        lines = Path(path).read_bytes().splitlines()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    known = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                known.append(msgspec.json.decode(line, type=ready(Known)))
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise UsageError(
                    f'{path}, line {number}: {error}. Expected {{"prompt": ..., "completion": ...}}'
                ) from error
    return tuple(known)


def compose(asked: Asked, settings: Settings, known: Sequence[Known], digest: bytes, number: int) -> Answer:
    """The answer to a question: from the file where its prompt holds one of the file's, else words by its digest."""
    found = next((line for line in known if line.prompt in asked.prompt), None)
    if found is None:
        thought = _words(settings.reasoning_tokens, digest[0])
        said = _words(settings.tokens, digest[1])
    else:
        thought, said = _tokens(found.reasoning), _tokens(found.completion)
    if not asked.can_reason:
        thought = []
    sure = found.confidence if found is not None and found.confidence is not None else (1 + digest[2]) / 256
    wanted = len(thought) + len(said)
    most = wanted if asked.most_tokens is None else asked.most_tokens
    thought, said = thought[:most], said[: max(0, most - len(thought))]
    inputs = max(1, len(asked.prompt) // CHARACTERS_PER_TOKEN)
    counts = Counts(
        input=inputs,
        cached=int(inputs * settings.cached_share),
        output=len(thought) + len(said),
        reasoning=len(thought),
    )
    return Answer(
        id=f"mock-{number}",
        model=asked.model,
        reasoning=_chunks(thought, settings.tokens_per_chunk),
        text=_chunks(said, settings.tokens_per_chunk),
        stop="length" if wanted > most else "stop",
        counts=counts,
        usage=counts if asked.wants_usage or not asked.is_streamed else None,
        logprob=math.log(sure) if asked.wants_logprobs else None,
    )


def text_of(value: Any) -> str:
    """All text in a message, whatever parts and blocks it is wrapped in."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "\n".join(filter(None, map(text_of, value)))
    if isinstance(value, dict):
        return text_of(next((value[key] for key in ("text", "content", "parts") if value.get(key)), ""))
    return ""


def _words(tokens: int, start: int) -> list[str]:
    if tokens == 0:
        return []
    start %= len(WORDS)
    spaced = SPACED[start:] + SPACED[:start]
    return [WORDS[start], *(spaced * (tokens // len(WORDS) + 1))[1:tokens]]


def _tokens(text: str) -> list[str]:
    return re.findall(r"\s*\S+|\s+$", text)


def _chunks(tokens: list[str], size: int) -> tuple[str, ...]:
    if size == 1:
        return tuple(tokens)
    return tuple("".join(tokens[start : start + size]) for start in range(0, len(tokens), size))
