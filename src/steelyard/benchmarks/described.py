"""A benchmark in a few lines of YAML: a file of rows, what its columns are called, how they are asked and graded.

The description becomes an ordinary ``Benchmark``: the template is filled into each sample's question, and the graders
are those of a bare file, or a judge. Everything is checked before the first call, each fault with its line or row.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct, structs

from steelyard.benchmarks import BUILT_IN
from steelyard.benchmarks.benchmark import Benchmark, Dataset, Protocol, ask
from steelyard.benchmarks.hub_files import HubFile, open_hub
from steelyard.benchmarks.judged import judged
from steelyard.benchmarks.own import (
    GRADERS,
    Samples,
    as_text,
    checked,
    choice_index,
    choices_of,
    default_grader,
    known_grader,
    optional,
    test_of,
)
from steelyard.benchmarks.rows import Row, RowFile, open_rows
from steelyard.benchmarks.template import Template
from steelyard.document import Document, Where
from steelyard.errors import DataError, PlanError, UsageError, nearest
from steelyard.scoring import choice
from steelyard.scoring import judge as judging
from steelyard.scoring.judge import Judge
from steelyard.types import Message, Price, Prompt, Sample

Count = Annotated[int, Meta(ge=1)]
Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
JUDGE = "judge"
CHOICES = "choices"
PLACES = ("id", "cluster", "stratum")
"""What a row says of where its item belongs, in columns of these names unless others are named."""


class ColumnNames(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the file calls its columns. ``choices`` is one column with a list, or several with a choice each.

    ``id``, ``cluster`` and ``stratum`` are those of these names where nothing is said, and none where that is empty.
    """

    question: str | None = None
    answer: str | None = None
    id: str | None = None
    cluster: str | None = None
    stratum: str | None = None
    choices: str | tuple[str, ...] | None = None
    human: str | None = None
    response: str | None = None
    rival: str | None = None
    test: str | None = None
    entry_point: str | None = None


class ShotsFile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Worked examples: the first ``count`` rows of a file with the same columns."""

    file: str
    count: Count


class JudgeEntry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A judge as it is written in YAML; see ``scoring.judge.Judge``."""

    model: str
    mode: Literal["reference", "rubric", "pairwise"] = "reference"
    rubric: str | None = None
    scale: tuple[int, int] = (1, 5)
    repeats: Count = 1
    reasons: bool = True
    base_url: str | None = None
    api_key_env: str | None = None
    temperature: Annotated[float, Meta(ge=0)] | None = 0.0
    max_tokens: Count = 512
    reasoning_effort: str | None = None
    extra: dict[str, Any] = {}
    timeout_s: Annotated[float, Meta(gt=0)] = 120.0
    concurrency: Count | None = None
    price: Price | None = None


class Description(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The keys of a description."""

    benchmark: Name
    data: str | HubFile
    columns: ColumnNames = ColumnNames()
    template: str | None = None
    grader: str | None = None
    judge: JudgeEntry | None = None
    system: str | None = None
    max_tokens: Count | None = None
    shots: ShotsFile | None = None
    separator: Annotated[str, Meta(min_length=1, max_length=1)] | None = None
    version: str | int | float = "1"


class DescriptionFile(Document):
    """The YAML of a description."""

    expected = "a benchmark is a mapping with at least 'benchmark' and 'data'"

    def as_description(self) -> Description:
        """The document under the description's schema."""
        if "models" in self.value or "benchmarks" in self.value:
            raise self.fault(f"this is a plan, not a benchmark. Try: steelyard run {self.file}")
        self.check_keys((), Description)
        for key in ("benchmark", "data"):
            if key not in self.value:
                raise self.fault(f"{key!r} is missing")
        for key, schema in (("columns", ColumnNames), ("data", HubFile), ("shots", ShotsFile), ("judge", JudgeEntry)):
            if key in self.value:
                self.check_keys((key,), schema)
        return self.convert(Description)


def described_benchmark(path: Path, grader: str | None = None) -> Benchmark:
    """The benchmark that the file at ``path`` describes; ``grader`` wins over the one that stands there."""
    document = DescriptionFile.read(path)
    description = document.as_description()
    if description.benchmark in BUILT_IN:
        raise document.fault(f"{description.benchmark!r} is a benchmark that ships with Steelyard", ("benchmark",))
    judge = _at(document, ("judge",), lambda: _judge(description.judge))
    wanted = _at(document, ("grader",), lambda: known_grader(grader or description.grader, (JUDGE,)))
    wanted = wanted or (JUDGE if judge else None)
    if wanted == JUDGE and judge is None:
        raise document.fault("the grader is a judge: say which. Try: judge: {model: PROVIDER/MODEL}", ("grader",))
    template = _at(document, ("template",), lambda: Template(description.template) if description.template else None)
    hears = judge if wanted == JUDGE else None
    reader = _at(document, ("columns",), lambda: Reader(description.columns, template, wanted, hears))
    rows = _open(description, path.parent)
    _check_columns(document, rows, reader)
    salt = msgspec.json.encode([description.columns, description.template], order="sorted")
    read_as = msgspec.json.encode([wanted, description])
    samples = Samples(rows, reader.sample, read_as=read_as, salt=salt, mark=reader.mark)
    examples = _examples(description, path.parent, reader, read_as)
    chosen = wanted or default_grader(samples)
    if chosen in ("letter", "cloze") and not samples[0].choices:
        raise document.fault(f"the grader {chosen!r} needs choices. Try: columns: {{choices: COLUMN}}", ("grader",))
    if chosen == "cloze" and description.system is not None:
        raise document.fault("a system message is for a chat, and the choices of 'cloze' are weighed", ("system",))
    source = description.data if isinstance(description.data, str) else description.data.label
    return Benchmark(
        name=description.benchmark,
        version=str(description.version),
        load=lambda selection: Dataset(
            samples=samples,
            id=source,
            digest=samples.digest,
            revision=None if isinstance(description.data, str) else description.data.revision,
            split="all",
            exemplars=None if examples is None else partial(_exemplars, samples, examples),
        ),
        protocols=tuple(_protocols(description, reader, judge, chosen)),
        defaults={"": chosen},
        description=f"own questions from {source}, described in {path.name}",
        items=len(samples),
        source=source,
        notes=samples.notes(),
    )


def _at(document: Document, where: Where, build: Callable[[], Any]) -> Any:
    """What ``build`` makes; a fault of the user's is told with the line of the key it stands at."""
    try:
        return build()
    except PlanError:
        raise
    except UsageError as error:
        raise document.fault(str(error), where) from error


def _judge(entry: JudgeEntry | None) -> Judge | None:
    return None if entry is None else Judge(**{name: getattr(entry, name) for name in JudgeEntry.__struct_fields__})


def _open(description: Description, folder: Path) -> RowFile:
    if isinstance(description.data, HubFile):
        return open_hub(description.data, description.separator)
    return open_rows(folder / description.data, description.separator)


class Reader:
    """How a row becomes a sample: by the columns' names, the template, and what the grader needs."""

    def __init__(self, names: ColumnNames, template: Template | None, grader: str | None, judge: Judge | None) -> None:
        self._template, self._judge = template, judge
        question = names.question or (None if template else "question")
        is_answered = names.test is None and (judge is None or (judge.needs_target and names.rival is None))
        answer = names.answer or ("answer" if is_answered else None)
        self._grader = grader if is_answered or judge is None else None  # such a judge needs no answer
        self._names = structs.replace(names, question=question, answer=answer)
        taken = {getattr(self._names, field) for field in ColumnNames.__struct_fields__} | {*self._choice_columns()}
        self._unsaid = tuple(name for name in PLACES if getattr(names, name) is None and name not in taken)
        for one, other in ((names.human, "response"), (names.response, "human")):
            if one is not None and getattr(names, other) is None:
                raise UsageError(
                    "columns.human rates the answer in columns.response, so both are needed: people's labels say "
                    "nothing of an answer they have not seen"
                )
        if names.entry_point is not None and names.test is None:
            raise UsageError("columns.entry_point names the function that columns.test calls, and there is no test")
        if names.human is not None and judge is None:
            raise UsageError("columns.human and columns.response check a judge, and this grader is none")

    @property
    def shows_choices(self) -> bool:
        """Whether the template itself shows the choices, so that they need not be listed after it."""
        return self._template is not None and bool({CHOICES, *self._choice_columns()} & set(self._template.names))

    @property
    def is_checked(self) -> bool:
        """Whether the rows hold answers that people rated."""
        return self._names.human is not None

    def columns(self) -> list[tuple[str, Where]]:
        """Every column that is needed, with the key of the description that asks for it."""
        fields = (
            "question", "answer", "id", "cluster", "stratum", "human", "response", "rival", "test", "entry_point",
        )  # fmt: skip
        named: list[tuple[str | None, Where]] = [(getattr(self._names, field), ("columns", field)) for field in fields]
        named += [(name, ("columns", CHOICES)) for name in self._choice_columns()]
        named += [(name, ("template",)) for name in self._placeholders()]
        return [(name, where) for name, where in named if name]

    def sample(self, row: Row, default_id: str) -> Sample:
        """The sample that the row describes; ``ValueError`` says what is wrong with it."""
        names = self._names
        choices = self._choices(row)
        answer = None if names.answer is None else _cell(row, names.answer)
        target = "" if names.answer is None else choice_index(answer, choices) if choices else as_text(answer, "answer")
        sample = Sample(
            id=self._place(row, "id") or default_id,
            input=self._question(row, choices),
            target=target,
            choices=choices,
            cluster=self._place(row, "cluster"),
            stratum=self._place(row, "stratum"),
            metadata=self._metadata(row),
        )
        return checked(sample, self._grader)

    def _question(self, row: Row, choices: tuple[str, ...]) -> str:
        if self._template is None:
            assert self._names.question is not None
            return as_text(_cell(row, self._names.question), "question")
        text = self._template.filled(lambda name: self._placed(row, name, choices))
        return as_text(text, "question")

    def _placed(self, row: Row, name: str, choices: tuple[str, ...]) -> str:
        if name == CHOICES and choices:
            return choice.listed(choices)
        return as_text(_cell(row, name), f"column {name!r}")

    def _placeholders(self) -> list[str]:
        names = self._template.names if self._template else ()
        return [name for name in names if name != CHOICES or self._names.choices is None]

    def _choice_columns(self) -> tuple[str, ...]:
        names = self._names.choices
        return () if names is None else (names,) if isinstance(names, str) else names

    def _choices(self, row: Row) -> tuple[str, ...]:
        names = self._names.choices
        if names is None:
            return ()
        if isinstance(names, str):
            found = choices_of(_cell(row, names))
        else:
            found = choices_of([_cell(row, name) for name in names])
        if not found:
            raise ValueError("the choices are empty")
        return found

    def _metadata(self, row: Row) -> dict[str, str]:
        names = self._names
        found: dict[str, str] = {}
        if names.test is not None:
            entry_point = None if names.entry_point is None else _cell(row, names.entry_point)
            found |= test_of(_cell(row, names.test), entry_point)
        if self._names.rival is not None:
            found[judging.RIVAL] = as_text(_cell(row, self._names.rival), "rival answer")
        if self._names.human is not None and self._names.response is not None and self._judge is not None:
            label = optional(_cell(row, self._names.human))
            response = optional(_cell(row, self._names.response))
            if label is not None:
                found[judging.HUMAN] = f"{self._judge.human_value(label):g}"
                response = as_text(_cell(row, self._names.response), "response")
            if response is not None:
                found[judging.RESPONSE] = response
        return found

    def mark(self, row: Row) -> bytes:
        """Which columns of the row are read although nobody named them: once they were not, and items had other ids."""
        read = [name for name in self._unsaid if optional(row.get(name)) is not None]
        return msgspec.json.encode(read) if read else b""

    def _place(self, row: Row, field: str) -> str | None:
        if field in self._unsaid:
            return optional(row.get(field))
        name = getattr(self._names, field)
        return optional(_cell(row, name)) if name else None


def _cell(row: Row, name: str) -> Any:
    if name not in row:
        raise ValueError(f"no column {name!r}. {nearest(name, map(str, row))}")
    return row[name]


def _check_columns(document: Document, rows: RowFile, reader: Reader) -> None:
    """Raise where the file's head lacks a column; without a head each row is checked for itself."""
    if rows.columns is None:
        return
    for name, where in reader.columns():
        if name in rows.columns:
            continue
        told = f"{rows.path.name} has no column {name!r}. {nearest(name, rows.columns)}"
        if len(rows.columns) == 1 and ";" in rows.columns[0]:
            told += ' Its head has semicolons. Try: separator: ";"'
        raise document.fault(told, where)


def _examples(description: Description, folder: Path, reader: Reader, read_as: bytes) -> Samples | None:
    if description.shots is None:
        return None
    examples = Samples(
        open_rows(folder / description.shots.file, description.separator), reader.sample, read_as=read_as
    )
    if len(examples) < description.shots.count:
        raise DataError(
            f"{description.shots.file}: {description.shots.count} worked examples wanted, and it has {len(examples)}"
        )
    return examples


def _exemplars(samples: Samples, examples: Samples, position: int, shots: int) -> tuple[Sample, ...]:
    """The first examples that are not the item itself."""
    found: list[Sample] = []
    asked = samples[position].input
    for index in range(len(examples)):
        if len(found) == shots:
            break
        if examples[index].input != asked:
            found.append(examples[index])
    return tuple(found)


def _protocols(description: Description, reader: Reader, judge: Judge | None, chosen: str) -> list[Protocol]:
    """The graders of a bare file that suit the description, the chosen one first, each asked in its words."""
    graders = dict(GRADERS)
    if reader.shows_choices:
        graders["letter"] = structs.replace(graders["letter"], render=ask)
    if judge is not None:
        graders[JUDGE] = judged(judge, ask, is_checked=reader.is_checked)
    names = [chosen] if chosen == JUDGE and not judge_has_targets(judge) else sorted(graders, key=lambda n: n != chosen)
    return [_as_described(graders[name], description) for name in names]


def judge_has_targets(judge: Judge | None) -> bool:
    """Whether the items have gold answers that other graders could use."""
    return judge is None or judge.needs_target


def _as_described(protocol: Protocol, description: Description) -> Protocol:
    """The protocol with the description's system message, token limit and worked examples."""
    changes: dict[str, Any] = {"shots": 0 if description.shots is None else description.shots.count}
    if protocol.kind == "chat":
        changes["render"] = partial(_chat, protocol, description.system)
        changes["max_tokens"] = description.max_tokens or protocol.max_tokens
    return structs.replace(protocol, **changes)


def _chat(protocol: Protocol, system: str | None, sample: Sample, exemplars: tuple[Sample, ...]) -> Prompt:
    asked = protocol.render(sample, exemplars)
    return (
        asked
        if system is None
        else Prompt(kind="chat", messages=(Message(role="system", content=system), *asked.messages))
    )
