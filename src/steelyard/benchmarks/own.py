"""A user's own questions from a file of rows (JSON Lines, CSV, TSV, Parquet), with no code.

Each row has a question (``question``, ``input``, ``prompt`` or ``messages``) and an answer (``answer``, ``target`` or
``expected``); ``choices`` makes it a choice, whose answer is the text, the letter or the index of the right one, and
``test`` a program to write. A few lines of YAML (``described.py``) say what other names the columns have. Every row is
checked before the first call; rows are read again when they are asked for, so a file of any size costs little memory.
"""

from __future__ import annotations

import hashlib
import re
from array import array
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, overload

import msgspec

from steelyard.benchmarks import readings
from steelyard.benchmarks.benchmark import Benchmark, Dataset, Protocol
from steelyard.benchmarks.protocols import (
    ENTRY_POINT,
    LETTERS,
    TEST,
    cloze,
    free_number,
    free_text,
    letter,
    written_code,
)
from steelyard.benchmarks.rows import Entry, Row, RowFile, canonical, open_rows
from steelyard.errors import DataError, UnknownName
from steelyard.scoring import code, exact, number
from steelyard.types import Message, Sample
from steelyard.types.ready import ready

QUESTION_KEYS = ("question", "input", "prompt", "messages")
ANSWER_KEYS = ("answer", "target", "expected")
MOST_FAULTS_SHOWN = 5
REPEATED = "duplicate"
GRADERS: dict[str, Protocol] = {
    "letter": letter(),
    "cloze": cloze(),
    "number": msgspec.structs.replace(free_number(), name="number"),
    "exact": free_text("exact", exact.same, "the whole reply equals the answer, case and punctuation aside"),
    "contains": free_text("contains", exact.contains, "the answer stands in the reply as whole words"),
    "regex": free_text("regex", exact.matches, "the answer is a regular expression that the reply must match"),
    "code": written_code(),
}
ALSO_CALLED = {"choice": "letter", "likelihood": "cloze"}

Read = Callable[[Row, str], Sample]
"""What makes a sample of a row and a default id; ``ValueError`` says what is wrong with the row."""


def own_benchmark(path: Path, grader: str | None = None) -> Benchmark:
    """A benchmark over the file; ``grader`` is its default protocol (see ``default_grader``)."""
    grader = known_grader(grader)
    samples = Samples(
        open_rows(path),
        lambda row, default_id: checked(as_sample(row, default_id), grader),
        read_as=(grader or "").encode(),
    )
    return Benchmark(
        name=path.stem,
        version="1",
        load=lambda selection: Dataset(samples=samples, id=path.name, digest=samples.digest, split="all"),
        protocols=tuple(GRADERS.values()),
        defaults={"": grader or default_grader(samples)},
        description=f"own questions from {path.name}",
        items=len(samples),
        source=path.name,
        notes=samples.notes(),
    )


def known_grader(name: str | None, further: Sequence[str] = ()) -> str | None:
    """The grader's own name; its other names are understood."""
    found = ALSO_CALLED.get(name, name) if name else None
    known = [*GRADERS, *ALSO_CALLED, *further]
    if found is not None and found not in known:
        raise UnknownName("grader", found, known)
    return found


def default_grader(samples: Sequence[Sample]) -> str:
    """What suits the items where nobody says: the letter for choices, the test of a program, else the whole reply."""
    return "letter" if samples[0].choices else "code" if TEST in samples[0].metadata else "exact"


def checked(sample: Sample, grader: str | None) -> Sample:
    """The sample, if its answer is one that the grader can hold a reply against."""
    if grader == "number" and number.as_decimal(sample.target) is None:
        raise ValueError(f"the answer {sample.target!r} is not a number")
    if grader == "regex":
        try:
            re.compile(sample.target)
        except re.error as error:
            raise ValueError(f"the answer {sample.target!r} is not a regular expression ({error})") from error
    if grader == "code" and TEST not in sample.metadata:
        raise ValueError("no test: the grader 'code' runs one")
    if grader not in (None, "code") and not sample.target:
        raise ValueError(f"no answer: the grader {grader!r} needs one")
    return sample


class Samples(Sequence[Sample]):
    """The file's rows as samples: all checked once, then read by offset.

    ``read_as`` says what a row is read as, so that only what was checked as the same is not checked again; ``salt``
    enters the digest, and of each row what ``mark`` makes of it.
    """

    def __init__(
        self,
        file: RowFile,
        read: Read,
        *,
        read_as: bytes = b"",
        salt: bytes = b"",
        mark: Callable[[Row], bytes] = lambda row: b"",
    ) -> None:
        self._file, self._read, self._mark = file, read, mark
        self._stem = file.path.stem
        self._offsets = array("q")
        self._numbers = array("q")
        self._repeated: set[int] = set()
        self._faults: list[str] = []
        self._faulty = 0
        self._stamp = readings.Stamp.of(file.path, read_as, salt)
        if reading := readings.find(self._stamp):
            self._offsets, self._numbers = reading.places()
            self._repeated, self.digest = set(reading.repeated), reading.digest
        else:
            self.digest = self._check(salt)
            readings.note(self._stamp, self.reading)

    def __len__(self) -> int:
        return len(self._offsets)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Sample]: ...
    def __getitem__(self, index: int | slice) -> Sample | Sequence[Sample]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        sample = self._sample(self._file.read(self._offsets[index]), self._numbers[index])
        is_repeated = bool(self._repeated) and range(len(self))[index] in self._repeated
        return msgspec.structs.replace(sample, flags=(REPEATED,)) if is_repeated else sample

    def reading(self) -> readings.Reading:
        """What reading the file through has found."""
        return readings.Reading(
            self._stamp, self._offsets.tobytes(), self._numbers.tobytes(), tuple(sorted(self._repeated)), self.digest
        )

    def notes(self) -> tuple[str, ...]:
        """What the user should hear of the rows before anything is asked."""
        if not self._repeated:
            return ()
        shown = ", ".join(self._place(index) for index in sorted(self._repeated)[:MOST_FAULTS_SHOWN])
        return (
            f"{self._file.path}: {len(self._repeated)} rows repeat an earlier one ({shown}"
            f"{', ...' if len(self._repeated) > MOST_FAULTS_SHOWN else ''}); they are asked again, and the score is "
            "also given without them",
        )

    def _check(self, salt: bytes) -> str:
        total = hashlib.sha256(salt)
        names, questions, answers = array("q"), array("q"), array("q")
        rows = 0
        for entry in self._file.scan():
            rows += 1
            sample = self._checked(entry)
            if sample is None or entry.row is None:
                continue
            self._offsets.append(entry.offset)
            self._numbers.append(entry.number)
            total.update(canonical(entry.row) + b"\n" + self._mark(entry.row))
            names.append(hash(sample.id))
            questions.append(hash(msgspec.msgpack.encode([sample.input, sample.choices, sample.metadata])))
            answers.append(hash(sample.target))
        if not rows:
            raise DataError(f"{self._file.path}: no items in the file")
        self._check_names(names)
        self._check_questions(questions, answers)
        self._raise_faults(rows)
        return total.hexdigest()

    def _checked(self, entry: Entry) -> Sample | None:
        try:
            if entry.row is None:
                raise ValueError(entry.fault)
            return self._sample(entry.row, entry.number)
        except (ValueError, msgspec.ValidationError) as error:
            self._note_fault(f"{self._file.unit} {entry.number}: {error}")
            return None

    def _check_names(self, names: array[int]) -> None:
        for index, earlier in _repeats(names):
            if self[index].id == self[earlier].id:
                self._note_fault(
                    f"{self._place(index)}: id {self[index].id!r} stands in {self._place(earlier)} already"
                )

    def _check_questions(self, questions: array[int], answers: array[int]) -> None:
        for index, earlier in _repeats(questions):
            if self[index].input != self[earlier].input:
                continue
            if answers[index] != answers[earlier]:
                self._note_fault(
                    f"{self._place(index)}: the question of {self._place(earlier)} again, with another answer"
                )
            self._repeated.add(index)

    def _place(self, index: int) -> str:
        return f"{self._file.unit} {self._numbers[index]}"

    def _note_fault(self, words: str) -> None:
        self._faulty += 1
        if len(self._faults) < MOST_FAULTS_SHOWN:
            self._faults.append(words)

    def _raise_faults(self, rows: int) -> None:
        path = self._file.path
        if self._faulty == 1:
            raise DataError(f"{path}, {self._faults[0]}")
        if self._faulty:
            shown = "".join(f"\n  {fault}" for fault in self._faults)
            more = self._faulty - len(self._faults)
            rest = f"\n  and {more:,} more" if more else ""
            raise DataError(f"{path}: {self._faulty:,} faults in {rows:,} rows{shown}{rest}")

    def _sample(self, row: Row, number: int) -> Sample:
        return self._read(row, f"{self._stem}/{number - 1}")


def _repeats(hashes: array[int]) -> list[tuple[int, int]]:
    """(index, first index) of each value that stood before, in order; eight bytes a row, however many there are."""
    import numpy as np

    values = np.frombuffer(hashes, dtype=np.int64) if len(hashes) else np.zeros(0, dtype=np.int64)
    order = np.argsort(values, kind="stable")
    is_new = np.r_[True, np.diff(values[order]) != 0][: len(order)]
    first = order[np.maximum.accumulate(np.where(is_new, np.arange(len(order)), 0))]
    return sorted(zip(order[~is_new].tolist(), first[~is_new].tolist(), strict=True))


def as_sample(row: Row, default_id: str) -> Sample:
    """The sample that one row describes under the usual names; ``ValueError`` says what is wrong with it."""
    asked = _one_of(row, QUESTION_KEYS, "question")
    tested = test_of(row[TEST], row.get(ENTRY_POINT)) if TEST in row else {}
    has_answer = not tested or any(key in row for key in ANSWER_KEYS)
    answer = _one_of(row, ANSWER_KEYS, "answer") if has_answer else None
    choices = choices_of(row.get("choices"))
    return Sample(
        id=optional(row.get("id")) or default_id,
        input=_turns(asked) if isinstance(asked, list) else as_text(asked, "question"),
        target=choice_index(answer, choices) if choices else as_text(answer, "answer") if has_answer else "",
        choices=choices,
        cluster=optional(row.get("cluster")),
        stratum=optional(row.get("stratum")),
        metadata=tested,
    )


def test_of(test: Any, entry_point: Any) -> dict[str, str]:
    """The metadata of an item whose answer is a program: its test, and the function that the test calls.

    A test is statements (``assert add(1, 2) == 3``), a list of them, or a function ``check(candidate)``. Where
    ``entry_point`` is not given it is the one function that the test calls and does not define.
    """
    if test is None or test == "":
        return {}
    text = as_text("\n".join(map(str, test)) if isinstance(test, list) else test, "test")
    try:
        called = code.called_by(text)
        is_function = code.is_checked_by_a_function(text)
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"the test is not Python ({error})") from error
    name = optional(entry_point)
    if name is None and (is_function or len(called) != 1):
        found = f"the test calls {', '.join(called)}" if called else "the test calls none by name"
        raise ValueError(f"no entry_point, and {found}: say which function is to be written")
    name = name or called[0]
    return {TEST: f"{text}\ncheck({name})" if is_function else text, ENTRY_POINT: name}


def _one_of(row: Row, keys: tuple[str, ...], what: str) -> Any:
    found = row.keys() & keys
    if not found:
        raise ValueError(f"no {what}: expected one of {', '.join(keys)}; found {', '.join(map(str, row)) or 'nothing'}")
    if len(found) > 1:
        raise ValueError(f"two keys for the {what}: {' and '.join(sorted(found, key=keys.index))}")
    return row[found.pop()]


def choices_of(value: Any) -> tuple[str, ...]:
    """The choices in one cell: a list, or a list in JSON where cells are texts; none where there are none."""
    if value is None or value == "":
        return ()
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = msgspec.json.decode(value)
        except msgspec.DecodeError as error:
            raise ValueError(f"choices is not a list in JSON ({error})") from error
    if not isinstance(value, list) or len(value) < 2 or len(value) > len(LETTERS):
        raise ValueError(f"choices must be a list of 2 to {len(LETTERS)} texts")
    return tuple(as_text(option, "choice") for option in value)


def as_text(value: Any, what: str) -> str:
    """The value as a text that is not blank."""
    if isinstance(value, str):
        text = value
    elif isinstance(value, int | float) and not isinstance(value, bool):
        text = str(value)
    else:
        raise ValueError(f"the {what} is a {type(value).__name__}, not a text or a number")
    if not text or text.isspace():
        raise ValueError(f"the {what} is empty")
    return text


def _turns(value: list[Any]) -> tuple[Message, ...]:
    turns = msgspec.convert(value, type=ready(tuple[Message, ...]))
    if not turns:
        raise ValueError("messages is empty")
    return turns


def choice_index(answer: Any, choices: tuple[str, ...]) -> str:
    """The 0-based index of the right choice: by its text, its letter, or the index itself."""
    if isinstance(answer, int) and not isinstance(answer, bool) and 0 <= answer < len(choices):
        return str(answer)
    text = as_text(answer, "answer")
    if choices.count(text) == 1:
        return str(choices.index(text))
    if len(text) == 1 and text.upper() in LETTERS[: len(choices)]:
        return str(LETTERS.index(text.upper()))
    if text.isascii() and text.isdigit() and int(text) < len(choices):
        return str(int(text))
    raise ValueError(f"the answer {text!r} is neither one of the choices, nor a letter, nor an index from 0")


def optional(value: Any) -> str | None:
    """The value as a text, if there is one; an empty cell holds none."""
    return None if value is None or value == "" else str(value)
