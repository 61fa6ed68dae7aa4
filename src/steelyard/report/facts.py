"""What stands at the head of a sent report: when, who, what, how many, how long, for how much."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import accumulate
from typing import Any

from msgspec import Struct

from steelyard.analysis.wording import amount
from steelyard.report.evidence import Evidence
from steelyard.report.results import Results
from steelyard.report.spending import Spending, spending_line
from steelyard.report.stands import CellResult
from steelyard.report.stopping import stopping_lines
from steelyard.report.systems import system_line
from steelyard.types import RunInfo

STATUS = {
    "done": "complete",
    "budget": "stopped by its budget",
    "interrupted": "interrupted: only a part was measured",
    "failed": "failed: only a part was measured",
    "running": "still running: only a part was measured",
}


UNKNOWN = "unknown"
MOST_NAMED = 4
ROOM_FOR_NAMES = 110
"""So many letters of names stand beside a number before they are taller than what it is read with."""


class Fact(Struct, frozen=True, kw_only=True):
    """One thing to know, with a remark; ``whole`` has the names that a remark leaves out, and those before them."""

    name: str
    value: str
    remark: str = ""
    whole: tuple[str, ...] = ()


def facts(evidence: Evidence) -> list[Fact]:
    """Date, models, benchmarks, test cases, duration, cost."""
    models, floors = evidence.models, {one.name for bench in evidence.benches for one in bench.floors}
    return [
        Fact(name="Date", value=_dates(evidence.runs), remark=_statuses(evidence.runs)),
        _models(models, sorted(floors)),
        _benchmarks([bench.label for bench in evidence.benches]),
        _cases(evidence.results),
        _duration(evidence),
        _cost([one.spending for one in evidence.results if one.spending is not None]),
    ]


def spending_lines(evidence: Evidence) -> list[str]:
    """What each run took, what was used again, what ending early saved, what the models of a cascade took."""
    lines = [spending_line(one.run.number, one.spending) for one in evidence.results if one.spending is not None]
    for one in evidence.results:
        for label in one.benchmarks():
            cells = one.of_benchmark(label)
            systems = [system_line(cell.info.model, cell.system) for cell in cells if cell.system is not None]
            told = [*stopping_lines(one.run.plan, label, cells), *filter(None, systems)]
            lines += [f"{label}: {line.strip()}" for line in told]
    return lines


def duration_text(seconds: float) -> str:
    """``2 h 5 min``, ``3 min 20 s``, ``1.4 s``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def _dates(runs: Sequence[RunInfo]) -> str:
    days = sorted({run.created_at[:10] for run in runs})
    return days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"


def _statuses(runs: Sequence[RunInfo]) -> str:
    return "; ".join(dict.fromkeys(STATUS.get(run.status, run.status) for run in runs))


def _models(names: Sequence[str], floors: Sequence[str]) -> Fact:
    """One model by its name; of several how many, and who the first are."""
    beside = f"beside {', '.join(floors)} as floor" if floors else ""
    if len(names) == 1:
        return Fact(name="Models", value=names[0], remark=beside)
    remark = "; ".join(filter(None, [some(names), beside]))
    return Fact(name="Models", value=f"{len(names):,}", remark=remark, whole=cut_short(names))


def _benchmarks(labels: Sequence[str]) -> Fact:
    return Fact(name="Benchmarks", value=f"{len(labels):,}", remark=some(labels), whole=cut_short(labels))


def cut_short(names: Sequence[str]) -> tuple[str, ...]:
    """All of the names where only some are shown."""
    return () if some(names) == ", ".join(names) else tuple(names)


def some(names: Sequence[str]) -> str:
    """The first few names, as many as stand in some lines; at least one."""
    lengths = list(accumulate(map(len, names)))[:MOST_NAMED]
    most = max(1, sum(length <= ROOM_FOR_NAMES for length in lengths))
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _cases(results: Sequence[Results]) -> Fact:
    asked = [cell for one in results for cell in one.cells if cell.info.asked_as is None and not cell.info.is_floor]
    total = sum(int(cell.value("attempted") or 0) for cell in asked)
    errors = sum(int(cell.value("errored") or 0) for cell in asked)
    planned = sum({cell.info.label: cell.info.items for cell in asked}.values())
    items = sum(max(map(_items_asked, group)) for group in _by_benchmark(asked).values())
    failed = f", {errors:,} failed" if errors else ""
    what = "answers made elsewhere" if _is_imported(asked) else f"request{'' if total == 1 else 's'} to models"
    if any(cell.system is not None for cell in asked):  # one answer of a cascade is a request or two
        what = "answers asked for"
    return Fact(
        name="Test cases",
        value=f"{items:,}" if items >= planned else f"{items:,} of {planned:,}",
        remark=f"{total:,} {what}{failed}",
    )


def _by_benchmark(cells: Sequence[CellResult]) -> dict[str, list[CellResult]]:
    groups: dict[str, list[CellResult]] = {}
    for cell in cells:
        groups.setdefault(cell.info.label, []).append(cell)
    return groups


def _items_asked(cell: CellResult) -> int:
    """How many different items a model was asked; of repeats that were broken off it is not known, so all count."""
    if cell.stopped is not None:
        return cell.stopped.items
    attempted = cell.value("attempted")
    return cell.info.items if attempted is None or cell.info.repeats > 1 else min(cell.info.items, int(attempted))


def _is_imported(cells: Sequence[CellResult]) -> bool:
    return bool(cells) and all(cell.info.is_imported for cell in cells)


def _duration(evidence: Evidence) -> Fact:
    if _is_imported([cell for one in evidence.results for cell in one.cells]):
        return Fact(name="Duration", value=UNKNOWN, remark="the answers were made elsewhere")
    seconds = [
        each
        for run, document in _documented(evidence)
        for each in _stretches(run.number, document["sessions"], evidence)
    ]
    if not seconds:
        return Fact(name="Duration", value=UNKNOWN)
    killed = any(
        not session.get("ended_at") for _, document in _documented(evidence) for session in document["sessions"]
    )
    paused = "pauses left out" if len(seconds) > 1 else ""
    remark = "; ".join(filter(None, ["up to the last answer" if killed else "", paused]))
    return Fact(name="Duration", value=duration_text(sum(seconds)), remark=remark)


def _documented(evidence: Evidence) -> list[tuple[RunInfo, dict[str, Any]]]:
    return list(zip(evidence.runs, evidence.provenance, strict=True))


def _stretches(run: int, sessions: Sequence[dict[str, Any]], evidence: Evidence) -> Iterator[float]:
    """How long each session took; one whose process was killed, up to its last answer."""
    began_s = [datetime.fromisoformat(one["started_at"]).timestamp() for one in sessions]
    for place, session in enumerate(sessions):
        if session.get("ended_at"):
            yield datetime.fromisoformat(session["ended_at"]).timestamp() - began_s[place]
            continue
        until_s = began_s[place + 1] if place + 1 < len(sessions) else float("inf")
        answered_s = [
            ended_s
            for bench in evidence.benches
            for one in (*bench.models, *bench.floors)
            if one.cell.run == run
            for ended_s in one.side.columns.ended_s
            if began_s[place] <= ended_s < until_s
        ]
        if answered_s:
            yield float(max(answered_s)) - began_s[place]


def _cost(spent: Sequence[Spending]) -> Fact:
    usd = sum(one.spent_usd for one in spent)
    unknown = list(dict.fromkeys(name for one in spent for name in one.unknown))
    saved = sum(one.saved_usd for one in spent)
    judging = sum(one.judge_usd for one in spent)
    remarks = [
        f"{amount(judging)} USD of it on judging" if judging else "",
        f"{amount(saved)} USD saved by what was used again" if saved else "",
    ]
    remark = "; ".join(filter(None, remarks))
    if not unknown:
        return Fact(name="Cost", value=f"{amount(usd)} USD", remark=remark)
    value = f"at least {amount(usd)} USD" if usd else "unknown"
    remark = "; ".join(filter(None, [_unpriced(unknown), remark]))
    return Fact(name="Cost", value=value, remark=remark, whole=tuple(unknown) if len(unknown) > 1 else ())


def _unpriced(names: Sequence[str]) -> str:
    return f"no known price: {names[0]}" if len(names) == 1 else f"no known price of {len(names):,} models"
