"""The tables of a sent report: models by benchmarks with speed and cost, then every figure of each benchmark."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
from msgspec import Struct

from steelyard.analysis.bench import Bench, Contender
from steelyard.analysis.wording import PER_THOUSAND, drawn, priced, written
from steelyard.report.drawing.axes import Unit, plain, value_text
from steelyard.report.evidence import Evidence
from steelyard.types import Estimate

DASH = "–"  # noqa: RUF001 - a dash for what is not known
SHADES = 5
OF_SPEED = ("median latency", "median first token")
MOST_COLUMNS = 6
"""So many models are columns of a table of figures; more are its lines."""
OF_WHAT = "Costs of 1,000 are of 1,000 requests, and of 1,000 right answers."
SPANS = "Where benchmarks differ in a time, a cost of 1,000 or reliability, the lowest and the highest stand there."
MARKS = {"leads": "Leads: told apart from all others.", "tied": "Tied: not told apart from the best one seen."}
OF_A_PICK = {
    "accuracy": "{} right",
    "latency.p50": "{} at the median",
    "cost.per_request": "{} for 1,000 requests",
}
FIGURES = (
    ("accuracy", "accuracy"),
    ("scored", "n"),
    ("unparsed", "unparsed"),
    ("truncated", "truncated"),
    ("refused", "refused"),
    ("errored", "errors"),
    ("reliability", "reliability"),
    ("latency.mean", "latency, mean"),
    ("latency.p50", "latency P50"),
    ("latency.p95", "latency P95"),
    ("latency.p99", "latency P99"),
    ("ttft.p50", "TTFT P50"),
    ("ttft.p95", "TTFT P95"),
    ("itl.p50", "ITL P50"),
    ("tokens_per_second", "tokens/s"),
    ("requests_per_second", "requests/s"),
    ("output_tokens", "output tokens"),
    ("cost.total", "cost"),
    *PER_THOUSAND.items(),
    ("judge.kappa", "judge's kappa"),
    ("judge.cost.total", "judge cost"),
    ("peak_rss_mb", "client memory"),
    ("model_peak_rss_mb", "model memory"),
)


class Cell(Struct, frozen=True, kw_only=True):
    """One cell of a table: the value, its interval below it, why there is none, how it stands, how dark it is.

    ``reach``: value, low and high as shares, where the interval is drawn too.
    ``link`` leads to the answers behind it, where a page can show them. ``known``: on how many of several benchmarks.
    """

    text: str
    link: str = ""
    interval: str = ""
    known: str = ""
    why: str = ""
    mark: str = ""
    shade: int = 0
    reach: tuple[float, float, float] | None = None


class Line(Struct, frozen=True, kw_only=True):
    """One model's line. ``slot`` is its colour on the charts, ``None`` for a floor."""

    name: str
    slot: int | None
    cells: tuple[Cell, ...]


class Table(Struct, frozen=True, kw_only=True):
    """A table with what its columns are and what a reader needs to know of it, before it and after it."""

    caption: str
    note: str = ""
    first: str = "model"
    headings: tuple[str, ...]
    lines: tuple[Line, ...]


def matrix(evidence: Evidence, slot_of: dict[str, int]) -> Table:
    """Models by benchmarks, with speed and cost; of several benchmarks the sum of cost and the span of latency."""
    benches = evidence.benches
    tied = {bench.label: {one.name for one in bench.tied()} for bench in benches}
    names = [*evidence.models, *dict.fromkeys(one.name for bench in benches for one in bench.floors)]
    lines = []
    for name in names:
        found = {bench.label: _found(bench, name) for bench in benches}
        scores = [_score(found[bench.label], bench, tied[bench.label]) for bench in benches]
        known = [one for one in found.values() if one is not None]
        lines.append(Line(name=name, slot=slot_of.get(name), cells=(*scores, *_speed_and_cost(known))))
    cost = PER_THOUSAND["cost.per_request"] if len(benches) == 1 else "cost in all"
    headings = (*(bench.label for bench in benches), *OF_SPEED, cost, PER_THOUSAND["cost.per_correct"], "reliability")
    marks = {cell.mark for line in lines for cell in line.cells}
    caption = " ".join(["95 % intervals below each value.", *(MARKS[mark] for mark in MARKS if mark in marks)])
    told = _without_empty(Table(caption=caption, headings=headings, lines=tuple(lines)), keep=len(benches))
    notes = [OF_WHAT] if set(told.headings) & set(PER_THOUSAND.values()) else []
    notes += [SPANS] if len(benches) > 1 else []
    return msgspec.structs.replace(told, caption=" ".join([told.caption, *notes]))


def in_figures(evidence: Evidence, name: str) -> str:
    """How right, how fast and how dear a model is, where known; over several benchmarks the lowest and the highest."""
    asked = [one for bench in evidence.benches if (one := _found(bench, name)) is not None]
    if not asked:
        return ""
    cells = [(_span(asked, metric), words) for metric, words in OF_A_PICK.items()]
    known = [words.format(_in_words(found)) for found, words in cells if found.text not in ("", DASH)]
    over = f" over {len(asked)} benchmarks" if len(asked) > 1 else ""
    return f"{name}{over}: {', '.join(known)}." if known else ""


def _in_words(found: Cell) -> str:
    beside = "; ".join(part for part in (found.interval, found.known) if part)
    return f"{found.text} ({beside})" if beside else found.text


def _without_empty(table: Table, *, keep: int) -> Table:
    """The table without columns in which nothing is known, which are named with the reason; the first stay."""
    said: dict[str, list[str]] = {}
    kept = list(range(keep))
    for place in range(keep, len(table.headings)):
        cells = [line.cells[place] for line in table.lines]
        if any(one.text not in ("", DASH) for one in cells):
            kept.append(place)
        else:
            why = next((one.why for one in cells if one.why), "")
            said.setdefault(why, []).append(table.headings[place])
    lines = tuple(
        Line(name=line.name, slot=line.slot, cells=tuple(line.cells[place] for place in kept)) for line in table.lines
    )
    headings = tuple(table.headings[place] for place in kept)
    return Table(caption=table.caption, note=_not_known(said), headings=headings, lines=lines)


def _not_known(said: dict[str, list[str]]) -> str:
    """What is missing, by reasons."""
    parts = [", ".join(names) + (f" ({why})" if why else "") for why, names in said.items()]
    return f"Not known: {'; '.join(parts)}." if parts else ""


def figures_table(bench: Bench, slot_of: dict[str, int]) -> Table:
    """Every figure of one benchmark that says something of at least one model."""
    everyone = (*bench.models, *bench.floors)
    extra = [name for name in dict.fromkeys(_further(everyone)) if name not in dict(FIGURES)]
    columns = [FIGURES[0], *((name, name) for name in extra), *FIGURES[1:]]
    if any(one.side.info.repeats > 1 for one in everyone):
        columns = [(name, "answers" if name == "scored" else heading) for name, heading in columns]
    shown = [(name, heading) for name, heading in columns if _says(everyone, name)]
    note = _without_price(everyone)
    if len(everyone) <= MOST_COLUMNS:
        turned = [
            Line(name=heading, slot=None, cells=tuple(_figure(one, name) for one in everyone))
            for name, heading in shown
        ]
        headings = tuple(map(_called, everyone))
        return Table(caption=_drawn(bench), note=note, first="figure", headings=headings, lines=tuple(turned))
    lines = [
        Line(
            name=one.name,
            slot=None if one.side.info.is_floor else slot_of.get(one.name),
            cells=tuple(_figure(one, name) for name, _ in shown),
        )
        for one in everyone
    ]
    return Table(caption=_drawn(bench), note=note, headings=tuple(heading for _, heading in shown), lines=tuple(lines))


def _without_price(everyone: Sequence[Contender]) -> str:
    """Why nothing is said of cost, where nothing is."""
    costs = [one.estimates.get("cost.per_request") for one in everyone if not one.side.info.is_floor]
    if any(cost is not None and cost.value is not None for cost in costs):
        return ""
    return _not_known({cost.status: ["cost"] for cost in costs[:1] if cost is not None})


def _called(one: Contender) -> str:
    return f"{one.name} (floor)" if one.side.info.is_floor else one.name


def _figure(one: Contender, name: str) -> Cell:
    found = cell(one.estimates.get(name))
    return Cell(text=found.text) if one.side.info.is_floor and found.why else found


def subjects_table(bench: Bench, slot_of: dict[str, int]) -> Table | None:
    """The score of every group and subject by models; of few models these are the columns, as they mostly are."""
    scored = bench.scored
    names = list(dict.fromkeys(name for one in scored for name in one.estimates if name.startswith("accuracy/")))
    groups = [f"accuracy.{group}" for group in (scored[0].side.info.groups if scored else ())]
    means = [
        name for name in ("accuracy.micro", "accuracy.macro") if any(one.value(name) is not None for one in scored)
    ]
    rows = [*means, *groups, *names] if names else []
    if not rows:
        return None
    called = {name: name.removeprefix("accuracy").lstrip("./") for name in rows}
    if len(scored) > max(MOST_COLUMNS, len(rows)):
        scores = [tuple(_shaded(one.estimates.get(name)) for name in rows) for one in scored]
        of_models = tuple(
            Line(name=one.name, slot=slot_of.get(one.name), cells=cells)
            for one, cells in zip(scored, scores, strict=True)
        )
        counted = tuple(f"{called[name]}, n = {_count(scored, name).text}" for name in rows)
        return Table(caption="", headings=counted, lines=of_models)
    lines = [
        Line(
            name=called[name],
            slot=None,
            cells=(_count(scored, name), *(_shaded(one.estimates.get(name)) for one in scored)),
        )
        for name in rows
    ]
    return Table(caption="", first="subject", headings=("n", *(one.name for one in scored)), lines=tuple(lines))


def cell(estimate: Estimate | None) -> Cell:
    """A value with its interval, or a dash with its reason."""
    if estimate is None:
        return Cell(text="")
    if estimate.value is None:
        return Cell(text=DASH, why=estimate.status)
    text, _, rest = written(priced(estimate)).partition(" (")
    why = "" if estimate.status == "ok" else estimate.status
    return Cell(text=text, interval=rest.removesuffix(")"), why=why)


def _found(bench: Bench, name: str) -> Contender | None:
    return next((one for one in (*bench.models, *bench.floors) if one.name == name), None)


def _score(one: Contender | None, bench: Bench, tied: set[str]) -> Cell:
    if one is None:
        return Cell(text="", why="not asked")
    estimate = one.estimates.get("accuracy")
    found = cell(estimate)
    is_judged = (
        len(bench.pairable) > 1 and not bench.settled
    )  # of a run that ended by a difference its looks alone tell
    is_marked = is_judged and not one.side.info.is_floor and one.name in tied
    mark = ("leads" if len(tied) == 1 else "tied") if is_marked else ""
    return Cell(text=found.text, interval=found.interval, why=found.why, mark=mark, reach=_reach(estimate))


def _reach(estimate: Estimate | None) -> tuple[float, float, float] | None:
    if estimate is None or estimate.value is None or estimate.low is None or estimate.high is None:
        return None
    return estimate.value, estimate.low, estimate.high


def _shaded(estimate: Estimate | None) -> Cell:
    found = cell(estimate)
    value = None if estimate is None else estimate.value
    if value is None:
        return found
    shade = min(SHADES, max(0, round(SHADES * value)))
    return Cell(text=found.text, interval=found.interval, why=found.why, shade=shade)


def _speed_and_cost(known: Sequence[Contender]) -> tuple[Cell, ...]:
    if len(known) == 1:
        names = ("latency.p50", "ttft.p50", "cost.per_request", "cost.per_correct", "reliability")
        return tuple(_figure(known[0], name) for name in names)
    if all(one.side.info.is_floor for one in known):
        return (Cell(text=DASH),) * 5
    times = tuple(_span(known, name) for name in ("latency.p50", "ttft.p50"))
    return (*times, _sum(known, "cost.total"), _span(known, "cost.per_correct"), _span(known, "reliability"))


def _span(known: Sequence[Contender], name: str) -> Cell:
    """The lowest and the highest over the benchmarks, and on how many it is known: none right has no price."""
    found = [one.estimates[name] for one in known if one.value(name) is not None]
    if not found:
        return _nothing(known, name)
    shown = cell(found[0]) if len(found) == 1 else Cell(text=_from_to(list(map(priced, found))))
    if len(found) == len(known):
        return shown
    why = _nothing(known, name).why
    return msgspec.structs.replace(shown, known=f"known on {len(found)} of {len(known)}", why=why)


def _from_to(found: Sequence[Estimate]) -> str:
    values = [one.value or 0.0 for one in found]
    unit: Unit = "share" if found[0].unit == "share" else "s" if found[0].unit == "s" else "USD"
    low, high = (_plain(end, unit) for end in (min(values), max(values)))
    return low if low == high else _reaching(low, high)


def _reaching(low: str, high: str) -> str:
    """Two values in one unit say it once, with as many decimals as three digits have: ``61.3 to 74.0 ms``."""
    (number, _, unit), (other, _, its) = low.partition(" "), high.partition(" ")
    if unit != its:
        return f"{low} to {high}"
    most = max(_decimals(number), _decimals(other))
    return f"{_filled(number, most)} to {_filled(other, most)} {unit}"


def _filled(number: str, most: int) -> str:
    """A number that was rounded to three digits with the zeros among them that were left out."""
    value = float(number.replace(",", ""))
    known = max(0, 2 - math.floor(math.log10(abs(value)))) if value else most
    return f"{value:,.{max(_decimals(number), min(most, known))}f}"


def _decimals(number: str) -> int:
    return len(number.partition(".")[2])


def _sum(known: Sequence[Contender], name: str) -> Cell:
    values = [one.value(name) for one in known]
    if any(value is None for value in values):
        return _nothing(known, name)
    return Cell(text=_plain(sum(value or 0.0 for value in values), "USD"))


def _plain(value: float, unit: Unit) -> str:
    """A value without an interval, money as the other cells write it."""
    return f"{plain(value)} USD" if unit == "USD" else value_text(value, unit)


def _nothing(known: Sequence[Contender], name: str) -> Cell:
    reasons = [one.estimates[name].status for one in known if name in one.estimates and one.value(name) is None]
    return Cell(text=DASH, why=next(iter(reasons), ""))


def _further(everyone: Sequence[Contender]) -> list[str]:
    own = [name for one in everyone for name in one.side.info.scored[1:] if not name.startswith("judge.")]
    return own + [name for one in everyone for name in one.estimates if name.startswith("pass@")]


def _says(everyone: Sequence[Contender], name: str) -> bool:
    """Whether a column says anything: shares of what went wrong only where something did."""
    values = [one.value(name) for one in everyone]
    if name in ("unparsed", "truncated", "refused", "errored"):
        return any(values)
    return any(value is not None for value in values)


def _count(scored: Sequence[Contender], name: str) -> Cell:
    """How many items have a score; the fewest and the most where models lost unlike many."""
    counts = [one.estimates[name].n for one in scored if name in one.estimates]
    least, most = min(counts), max(counts)
    return Cell(text=f"{most:,}" if least == most else f"{least:,} to {most:,}")


def _drawn(bench: Bench) -> str:
    info = next(iter((*bench.models, *bench.floors))).side.info
    shots = f", {info.shots}-shot" if info.shots else ""
    repeats = f", {info.repeats} times each" if info.repeats > 1 else ""
    mean = ", accuracy is the mean over strata" if info.aggregate == "macro" else ""
    return f"{bench.label}, version {info.protocol_version}{shots}: {drawn(info)}{_short_of(bench)}{repeats}{mean}."


def _short_of(bench: Bench) -> str:
    """How many of them were asked, where every model's run ended before the last one."""
    infos = [one.side.info for one in bench.models]
    asked = [one.value("attempted") for one in bench.models]
    known = [int(count) for count in asked if count is not None]
    if len(known) < len(asked) or not known or any(info.repeats > 1 or info.is_imported for info in infos):
        return ""
    return f", {max(known):,} of them asked" if max(known) < infos[0].items else ""
