"""A user's own questions from a JSON Lines file, with no code.

Each line is an object with a question (``question``, ``input``, ``prompt`` or ``messages``) and an answer (``answer``,
``target`` or ``expected``); ``choices`` makes it a choice, whose answer is the text, the letter or the index of the
right one. Every line is checked before the first call; lines are read again when they are asked for, so a file of any
size costs eight bytes a line.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any, overload

import msgspec

from steelyard.benchmarks.benchmark import Benchmark, Dataset, Protocol
from steelyard.benchmarks.protocols import LETTERS, cloze, free_number, free_text, letter
from steelyard.errors import DataError, UnknownName
from steelyard.scoring import exact
from steelyard.types import Message, Sample

QUESTION_KEYS = ("question", "input", "prompt", "messages")
ANSWER_KEYS = ("answer", "target", "expected")
OTHER_KEYS = ("id", "choices", "cluster", "stratum", "metadata")
SUFFIXES = (".jsonl", ".ndjson")
GRADERS: dict[str, Protocol] = {
    "letter": letter(),
    "cloze": cloze(),
    "number": msgspec.structs.replace(free_number(), name="number"),
    "exact": free_text("exact", exact.same, "the whole reply equals the answer, case and punctuation aside"),
    "contains": free_text("contains", exact.contains, "the answer stands in the reply as whole words"),
    "regex": free_text("regex", exact.matches, "the answer is a regular expression that the reply must match"),
}


def own_benchmark(path: Path, grader: str | None = None) -> Benchmark:
    """A benchmark over the file; ``grader`` is its default protocol (``letter`` for choices, else ``exact``)."""
    if not path.is_file():
        raise DataError(f"no such file: {path}")
    if grader is not None and grader not in GRADERS:
        raise UnknownName("grader", grader, GRADERS)
    lines = Lines(path)
    has_choices = bool(lines[0].choices)
    return Benchmark(
        name=path.stem,
        version="1",
        load=lambda selection: _dataset(lines),
        protocols=tuple(GRADERS.values()),
        defaults={"": grader or ("letter" if has_choices else "exact")},
        description=f"own questions from {path.name}",
        items=len(lines),
        source=path.name,
    )


def _dataset(lines: Lines) -> Dataset:
    return Dataset(samples=lines, id=lines.path.name, digest=lines.digest, split="all")


class Lines(Sequence[Sample]):
    """The file's lines as samples: checked once, then read by offset."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offsets = array("q")
        self._numbers = array("l")
        self.digest = self._check()

    def __len__(self) -> int:
        return len(self._offsets)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Sample]: ...
    def __getitem__(self, index: int | slice) -> Sample | Sequence[Sample]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        with self.path.open("rb") as file:
            file.seek(self._offsets[index])
            return self._sample(file.readline(), self._numbers[index])

    def _check(self) -> str:
        total = hashlib.sha256()
        seen: dict[bytes, int] = {}
        offset = 0
        with self.path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    sample = self._sample(line, number)
                    self._remember(seen, sample.id, number)
                    self._offsets.append(offset)
                    self._numbers.append(number)
                    total.update(line.strip() + b"\n")
                offset += len(line)
        if not self._offsets:
            raise DataError(f"{self.path}: no items in the file")
        return total.hexdigest()

    def _remember(self, seen: dict[bytes, int], name: str, number: int) -> None:
        key = hashlib.blake2b(name.encode(), digest_size=8).digest()
        if key in seen:
            raise DataError(f"{self.path}, line {number}: id {name!r} stands in line {seen[key]} already")
        seen[key] = number

    def _sample(self, line: bytes, number: int) -> Sample:
        try:
            row = msgspec.json.decode(line.removeprefix(b"\xef\xbb\xbf"))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise DataError(f"{self.path}, line {number}: not JSON ({error})") from error
        if not isinstance(row, dict):
            raise DataError(f"{self.path}, line {number}: expected an object, found {type(row).__name__}")
        try:
            return as_sample(row, default_id=f"{self.path.stem}/{number - 1}")
        except (ValueError, msgspec.ValidationError) as error:
            raise DataError(f"{self.path}, line {number}: {error}") from error


def as_sample(row: dict[str, Any], default_id: str) -> Sample:
    """The sample that one object describes; ``ValueError`` says what is wrong with it."""
    question = _one_of(row, QUESTION_KEYS, "question")
    answer = _one_of(row, ANSWER_KEYS, "answer")
    choices = tuple(str(option) for option in _list(row.get("choices")))
    return Sample(
        id=str(row.get("id", default_id)),
        input=_turns(question) if isinstance(question, list) else _text(question, "question"),
        target=_choice_index(answer, choices) if choices else _text(answer, "answer"),
        choices=choices,
        cluster=_optional(row.get("cluster")),
        stratum=_optional(row.get("stratum")),
    )


def _one_of(row: dict[str, Any], keys: tuple[str, ...], what: str) -> Any:
    found = [key for key in keys if key in row]
    if not found:
        raise ValueError(f"no {what}: expected one of {', '.join(keys)}; found {', '.join(map(str, row)) or 'nothing'}")
    if len(found) > 1:
        raise ValueError(f"two keys for the {what}: {' and '.join(found)}")
    return row[found[0]]


def _list(value: Any) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list) or len(value) < 2 or len(value) > len(LETTERS):
        raise ValueError(f"choices must be a list of 2 to {len(LETTERS)} texts")
    return value


def _text(value: Any, what: str) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"the {what} is a {type(value).__name__}, not a text or a number")
    text = str(value)
    if not text.strip():
        raise ValueError(f"the {what} is empty")
    return text


def _turns(value: list[Any]) -> tuple[Message, ...]:
    turns = msgspec.convert(value, type=tuple[Message, ...])
    if not turns:
        raise ValueError("messages is empty")
    return turns


def _choice_index(answer: Any, choices: tuple[str, ...]) -> str:
    if isinstance(answer, int) and not isinstance(answer, bool) and 0 <= answer < len(choices):
        return str(answer)
    text = str(answer)
    if choices.count(text) == 1:
        return str(choices.index(text))
    if len(text) == 1 and text.upper() in LETTERS[: len(choices)]:
        return str(LETTERS.index(text.upper()))
    raise ValueError(f"the answer {text!r} is neither one of the choices, nor a letter, nor an index from 0")


def _optional(value: Any) -> str | None:
    return None if value is None else str(value)
