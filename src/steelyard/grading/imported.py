"""Answers made elsewhere, from JSON Lines: checked row by row, stored as calls of a run, graded by a protocol of ours.

Each line is ``{"sample_id": ..., "completion": ...}``; ``completion`` may be a list of several samples, or
``logprobs`` may hold one log-probability per continuation. ``stop_reason``, ``usage`` and ``timing`` are optional.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from steelyard.benchmarks.rows import check_readable
from steelyard.engine.cells import Task, cell_info, drawn_by_seed, prepare_task
from steelyard.engine.provenance import provenance
from steelyard.engine.summary import summarise_run
from steelyard.errors import DataError
from steelyard.grading.stored import grade_missing
from steelyard.plan.plan import BenchmarkSpec, Plan
from steelyard.store import NewCall, Store
from steelyard.types import Call, Completion, Likelihood, ModelSpec, Request, RunInfo, Timing, Usage
from steelyard.types.ready import ready

ROWS_AT_ONCE = 500
MOST_FAULTS_SHOWN = 5
NS = 1_000_000_000


class Tokens(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Token counts of one answer, as the file states them."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_input_tokens: int | None = None
    reasoning_tokens: int | None = None


class Seconds(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long one answer took, as the file states it."""

    total_s: float
    ttft_s: float | None = None


class Row(Struct, frozen=True, kw_only=True):
    """One line of the file. What it does not name is unknown; further keys are left alone."""

    sample_id: str
    completion: str | list[str] | None = None
    logprobs: list[float] | None = None
    repeat: int = 0
    stop_reason: str | None = None
    usage: Tokens | None = None
    timing: Seconds | None = None


class Answer(Struct, frozen=True, kw_only=True):
    """One answer of the file, with the item it belongs to."""

    position: int
    repeat: int
    row: Row
    text: str


async def import_answers(
    store: Store,
    file: Path,
    spec: BenchmarkSpec,
    model: str,
    *,
    name: str | None = None,
    shots: int | None = None,
    limit: int | None = None,
    seed: int = 0,
) -> RunInfo:
    """Store and grade the answers in ``file`` as a run of ``model`` on the benchmark; nothing is sent anywhere.

    ``limit`` and ``seed`` say which items were asked where they are generated. Where the answers are to just the items
    that a run with this ``seed`` would draw, they are known to be a random part of the benchmark.
    """
    plan = Plan(
        models=(ModelSpec(id=model, provider="import", model=model),),
        benchmarks=(msgspec.structs.replace(spec, shots=shots),),
        name=name or file.stem,
        order="file",
        limit=limit,
        seed=seed,
    )
    task = prepare_task(plan.benchmarks[0], plan)
    task.protocol.ready()
    answers = read_answers(file, task)
    run = store.create_run(name=plan.name, plan=plan.as_document(), plan_digest=plan.digest())
    session = store.begin_session(run.id, provenance("none"))
    info = cell_info(plan.models[0], plan, task, _origin(file), is_floor=False)
    asked = {answer.position for answer in answers}
    repeats = max(answer.repeat for answer in answers) + 1
    is_drawn = len(asked) < info.available and asked == set(drawn_by_seed(task, len(asked), seed))
    order = "shuffled" if is_drawn else "file"
    cell = store.add_cell(run.id, msgspec.structs.replace(info, items=len(asked), repeats=repeats, order=order))
    for start in range(0, len(answers), ROWS_AT_ONCE):
        store.append_calls([_call(task, info.origin, cell, session, a) for a in answers[start : start + ROWS_AT_ONCE]])
    await grade_missing(store, cell, task.protocol)
    store.end_session(session, {})
    store.set_status(run.id, "done")
    summarise_run(store, run.id)
    return store.run(run.id)


def read_answers(file: Path, task: Task) -> list[Answer]:
    """Every answer of the file; all faulty rows are told at once, with their line numbers."""
    check_readable(file)
    places = {task.dataset.samples[position].id: position for position in task.positions}
    answers: list[Answer] = []
    faults: list[str] = []
    seen: dict[tuple[int, int], int] = {}
    for number, line in enumerate(file.read_bytes().split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            for answer in _answers(line, places, task):
                key = (answer.position, answer.repeat)
                if key in seen:
                    raise ValueError(f"{answer.row.sample_id} was answered in line {seen[key]} already")
                seen[key] = number
                answers.append(answer)
        except (ValueError, msgspec.ValidationError, msgspec.DecodeError) as error:
            faults.append(f"line {number}: {error}")
    if faults:
        shown = "\n  ".join(faults[:MOST_FAULTS_SHOWN])
        more = f"\n  and {len(faults) - MOST_FAULTS_SHOWN} more" if len(faults) > MOST_FAULTS_SHOWN else ""
        raise DataError(f"{file}: {len(faults)} faulty lines; nothing was imported\n  {shown}{more}")
    if not answers:
        raise DataError(f"{file}: no answers in the file")
    return answers


def _answers(line: bytes, places: dict[str, int], task: Task) -> Iterator[Answer]:
    row = msgspec.json.decode(line, type=ready(Row))
    if row.sample_id not in places:
        near = difflib.get_close_matches(row.sample_id, places, n=1, cutoff=0.5)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"no item {row.sample_id!r} in {task.spec.label}.{hint}")
    if (row.logprobs is None) == (row.completion is None):
        raise ValueError("a row holds either 'completion' or 'logprobs'")
    if (row.logprobs is not None) != (task.protocol.kind == "likelihood"):
        wanted = "logprobs" if task.protocol.kind == "likelihood" else "completion"
        raise ValueError(f"protocol {task.protocol.name!r} needs {wanted!r}")
    texts = row.completion if isinstance(row.completion, list) else [row.completion or ""]
    for index, text in enumerate(texts):
        yield Answer(position=places[row.sample_id], repeat=row.repeat + index, row=row, text=text)


def _call(task: Task, origin: str, cell: int, session: int, answer: Answer) -> NewCall:
    sample, row = task.dataset.samples[answer.position], answer.row
    request = Request(model=origin, prompt=task.prompt(answer.position), repeat=answer.repeat)
    now = datetime.now(UTC)
    call = Call(
        sample_id=sample.id,
        repeat=answer.repeat,
        request=request,
        digest=request.digest(origin),
        started_at=now.isoformat(timespec="milliseconds"),
        completion=Completion(
            text=answer.text,
            stop_reason=row.stop_reason,
            usage=_usage(row.usage),
            timing=_timing(row.timing),
            likelihoods=_likelihoods(row, request),
        ),
    )
    return NewCall(
        cell=cell,
        session=session,
        position=answer.position,
        sample=sample,
        call=call,
        started_at_s=now.timestamp(),
        ended_at_s=now.timestamp(),
    )


def _usage(stated: Tokens | None) -> Usage:
    if stated is None:
        return Usage()
    fields: dict[str, Any] = {name: getattr(stated, name) for name in Tokens.__struct_fields__}
    return Usage(source="server", **fields)


def _timing(stated: Seconds | None) -> Timing | None:
    if stated is None:
        return None
    first_ns = None if stated.ttft_s is None else round(stated.ttft_s * NS)
    end_ns = round(stated.total_s * NS)
    return Timing(
        scheduled_ns=0,
        dispatched_ns=0,
        first_token_ns=first_ns,
        last_token_ns=end_ns,
        ended_ns=end_ns,
        streamed=first_ns is not None,
    )


def _likelihoods(row: Row, request: Request) -> tuple[Likelihood, ...]:
    if row.logprobs is None:
        return ()
    words = request.prompt.continuations
    if len(words) != len(row.logprobs):
        raise DataError(f"{row.sample_id}: {len(row.logprobs)} logprobs for {len(words)} continuations")
    return tuple(
        Likelihood(logprob=logprob, tokens=0, characters=len(text.lstrip(" ")))
        for logprob, text in zip(row.logprobs, words, strict=True)
    )


def _origin(file: Path) -> str:
    with file.open("rb") as content:
        return f"import sha256:{hashlib.file_digest(content, 'sha256').hexdigest()}"
