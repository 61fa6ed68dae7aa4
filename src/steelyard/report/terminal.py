"""Results on a terminal: the matrix of models by benchmarks, then one table per benchmark, then what to beware of."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence

from rich.table import Table
from rich.text import Text

from steelyard.analysis.estimates import Context
from steelyard.analysis.spread import advice
from steelyard.analysis.telling import first_few
from steelyard.analysis.wording import PER_THOUSAND, drawn, priced, written
from steelyard.report.console import LOG_WIDTH, PlainConsole, console, new_table
from steelyard.report.drawing.axes import shortened
from steelyard.report.results import Results, warnings
from steelyard.report.short import Found
from steelyard.report.spending import spending_line
from steelyard.report.stands import CellResult
from steelyard.report.stopping import stopping_lines
from steelyard.report.systems import system_line
from steelyard.report.unseen import visible
from steelyard.types import CellInfo, Estimate, RunInfo

NAMED, LONGEST_NAME = 3, 40
WIDE = 100
QUALITY = (("accuracy", "accuracy (95 %)"), ("scored", "n"), ("unparsed", "unparsed"), ("truncated", "truncated"))
SPEED = (
    ("latency.mean", "latency (95 %)"),
    ("latency.p50", "P50"),
    ("latency.p95", "P95"),
    ("ttft.p50", "TTFT P50"),
    ("itl.p50", "ITL P50"),
    ("tokens_per_second", "tokens/s"),
)
TIMED = (*(name for name, _ in SPEED), "requests_per_second")
JUDGED = (
    ("judge.unscored", "judge undecided"),
    ("judge.kappa", "judge's kappa"),
    ("judge.swapped", "turned by order"),
    ("judge.calls", "judge calls"),
    ("judge.cached", "judge cached"),
    ("judge.cost.total", "judge cost"),
)
MONEY = tuple(PER_THOUSAND.items())
STATUS = {"budget": "stopped by budget"}
BREAKDOWN = ("accuracy.micro", "accuracy.macro", "accuracy/")
TAILS = (".p95", ".p99")
WITH_BOUNDS = ("accuracy", "accuracy.strict", "accuracy.norm", "latency.mean", "cost.per_request", "judge.kappa")


def print_results(results: Results, *, everything: bool = False, found: Found | None = None) -> None:
    """Print the results of a run, and what was found in them; ``everything``: every estimate of every cell."""
    _render(results, console(), everything=everything, found=found)


def print_strata(results: Results) -> None:
    """One table a benchmark: its groups and strata by models."""
    out = console()
    for label in results.benchmarks():
        cells = results.ranked(label)
        names = [name for name in cells[0].estimates if name.startswith(BREAKDOWN)] or ["accuracy"]
        table = new_table(label, "n", *(cell.info.model for cell in cells))
        for name in names:
            counts = [cell.estimates[name].n for cell in cells if name in cell.estimates]
            each = (_score(cell.estimates.get(name)) for cell in cells)
            table.add_row(name.partition("accuracy")[2].lstrip("./") or name, _from_to(counts), *each)
        out.print(table)
        out.print()


def _from_to(counts: Sequence[int]) -> str:
    """How many were scored; of models that lost some, the fewest and the most."""
    least, most = min(counts), max(counts)
    return f"{most:,}" if least == most else f"{least:,} to {most:,}"


def results_text(results: Results) -> str:
    """The same as plain text."""
    buffer = io.StringIO()
    _render(results, PlainConsole(file=buffer, width=LOG_WIDTH, no_color=True), everything=False)
    return buffer.getvalue()


def print_runs(runs: list[tuple[RunInfo, list[CellInfo]]]) -> None:
    """The list of past runs."""
    out = console()
    table = new_table("#", "name", "status", "started", "models", "benchmarks", "tags")
    for run, cells in runs:
        table.add_row(
            str(run.number),
            run.name,
            STATUS.get(run.status, run.status),
            run.created_at[: 16 if out.width >= WIDE else 10].replace("T", " "),
            _named(cell.model for cell in cells),
            _named(cell.label for cell in cells),
            ", ".join(run.tags),
        )
    out.print(table)


def _named(names: Iterable[str]) -> str:
    return first_few([shortened(name, LONGEST_NAME) for name in dict.fromkeys(names)], NAMED)


def _render(results: Results, out: PlainConsole, *, everything: bool, found: Found | None = None) -> None:
    status = STATUS.get(results.run.status, results.run.status)
    out.print(f"Run #{results.run.number} {results.run.name} ({status})")
    if len(results.benchmarks()) > 1 and len(results.cells) > 1:
        out.print()
        out.print(_matrix(results))
    for label in results.benchmarks():
        out.print()
        out.print(_caption(results, label))
        if everything:
            out.print(_every_estimate(results, label))
        else:
            out.print(_benchmark_table(results, label))
        for line in stopping_lines(results.run.plan, label, results.of_benchmark(label)):
            out.say(line)
        for cell in results.of_benchmark(label):
            if cell.system is not None and (told := system_line(cell.info.model, cell.system)) is not None:
                out.say(told)
        if not everything and (groups := _group_names(results, label)):
            out.print()
            out.print(_group_table(results, label, groups))
        for line in _advice(results, label):
            out.say(line)
    for line in () if found is None else found.lines(results.run.number, out.width):
        out.print(line, soft_wrap=True)
    if results.spending is not None and any(not cell.info.is_floor for cell in results.cells):
        out.print()
        out.say(spending_line(results.run.number, results.spending))
    notes = warnings(results)
    if notes:
        out.print()
    for note in notes:
        out.say(f"! {note}")


def _advice(results: Results, label: str) -> list[str]:
    """What more items or more repeats would do, where items were asked several times."""
    models = [cell for cell in results.ranked(label) if not cell.info.is_floor]
    found = ((cell.info.model, advice(cell.estimates, Context(info=cell.info))) for cell in models)
    return [f"{model}: {text}" for model, text in found if text is not None]


def _matrix(results: Results) -> Table:
    table = new_table("accuracy", *results.benchmarks())
    by_key = {(cell.info.model, cell.info.label): cell for cell in results.cells}
    for model in results.models():
        cells = [by_key.get((model, label)) for label in results.benchmarks()]
        table.add_row(model, *(_matrix_text(cell) for cell in cells))
    return table


def _matrix_text(cell: CellResult | None) -> str:
    if cell is None:
        return ""
    return "skipped" if cell.is_skipped else _score(cell.estimates.get("accuracy"))


def _score(estimate: Estimate | None) -> str:
    """A score with its interval; one that has none says so, and why is among the warnings."""
    has_none = estimate is not None and estimate.value is not None and estimate.low is None
    return f"{written(estimate)} (no interval)" if has_none else written(estimate)


def _caption(results: Results, label: str) -> str:
    info = next(cell.info for cell in results.cells if cell.info.label == label)
    shots = f", {info.shots}-shot" if info.shots else ""
    repeats = f", {info.repeats} times each" if info.repeats > 1 else ""
    mean = ", accuracy is the mean over strata" if info.aggregate == "macro" else ""
    ended = any(cell.stopped is not None for cell in results.of_benchmark(label))
    most = ", at most" if ended else ""  # what was planned, where a run could end early
    return f"{label} v{info.protocol_version}{shots}: {drawn(info)}{most}{repeats}{mean}"


def _benchmark_table(results: Results, label: str) -> Table:
    cells = results.ranked(label)
    columns = [column for column in _columns(cells, results.metrics) if _is_known(cells, column[0])]
    table = new_table("model", *(heading for _, heading in columns))
    for cell in cells:
        table.add_row(_name(cell), *(_cell_text(cell, name) for name, _ in columns))
    return table


def _group_names(results: Results, label: str) -> list[str]:
    """The scores over groups of strata, with the two means, where the benchmark has groups or families."""
    cells = results.ranked(label)
    info = cells[0].info
    if not (info.groups or info.families):
        return []
    names = ("accuracy.micro", "accuracy.macro", *(f"accuracy.{group}" for group in info.groups))
    return [name for name in names if any(cell.value(name) is not None for cell in cells)]


def _group_table(results: Results, label: str, names: list[str]) -> Table:
    table = new_table("by group", *(name.removeprefix("accuracy.") for name in names))
    for cell in results.ranked(label):
        table.add_row(_name(cell), *(_score(cell.estimates.get(name)) for name in names))
    return table


def _columns(cells: list[CellResult], wanted: tuple[str, ...]) -> list[tuple[str, str]]:
    extra = [(name, name) for cell in cells[:1] for name in cell.info.scored[1:] if not name.startswith("judge.")]
    extra += [(name, name) for cell in cells[:1] for name in cell.estimates if name.startswith("pass@")]
    usual = [QUALITY[0], *extra, *QUALITY[1:], ("errored", "errors"), *JUDGED, *SPEED, *_rates(cells), *MONEY]
    if any(cell.info.repeats > 1 for cell in cells):  # an interval is over items, and these are their repeats
        usual = [(name, "answers" if name == "scored" else heading) for name, heading in usual]
    if not wanted:
        return usual
    known = [name for cell in cells[:1] for name in cell.estimates]
    names = [name for want in wanted for name in known if name == want or name.startswith(f"{want}.")]
    headings = dict(usual)
    return [(name, headings.get(name, name)) for name in dict.fromkeys(names)]


def _rates(cells: list[CellResult]) -> tuple[tuple[str, str], ...]:
    is_likelihood = any(cell.info.kind == "likelihood" for cell in cells)
    return (("requests_per_second", "questions/s" if is_likelihood else "requests/s"),)


def _is_known(cells: list[CellResult], name: str) -> bool:
    """Whether a column says anything: an unknown price of a real model does, a latency of likelihoods does not."""
    if name in ("unparsed", "truncated", "errored", "judge.unscored", "judge.cached"):
        return any(cell.value(name) for cell in cells)
    if name == "cost.per_request":
        return any(not cell.info.is_floor for cell in cells)
    return any(cell.value(name) is not None for cell in cells)


def _cell_text(cell: CellResult, name: str) -> str:
    estimate = cell.estimates.get(name)
    if name == "cost.per_request" and estimate is not None and estimate.value is None and not cell.info.is_floor:
        return "unknown"
    if estimate is not None and estimate.value is None and estimate.status.startswith("n too small"):
        return "n too small"
    if name.startswith("accuracy"):
        return _score(estimate) if name in WITH_BOUNDS else written(estimate, bounds=False)
    text = written(None if estimate is None else priced(estimate), bounds=name in WITH_BOUNDS)
    if estimate is not None and estimate.value is not None and estimate.low is None and name.endswith(TAILS):
        text += " (no interval)"
    is_time = name in TIMED and estimate is not None and estimate.value is not None
    return f"{text} (indirect)" if is_time and cell.is_timed_indirectly else text


def _name(cell: CellResult) -> Text:
    if cell.info.is_floor:
        return Text(f"{visible(cell.info.model)} (floor)", style="dim")
    return Text(visible(cell.info.model))


def _every_estimate(results: Results, label: str) -> Table:
    cells = results.ranked(label)
    table = new_table("metric", *(f"{cell.info.model}" for cell in cells))
    for name in cells[0].estimates:
        table.add_row(Text(name), *(_with_reason(cell, name) for cell in cells))
    return table


def _with_reason(cell: CellResult, name: str) -> Text:
    estimate = cell.estimates.get(name)
    if estimate is None:
        return Text()
    text = written(estimate)
    return Text(text if estimate.status == "ok" else f"{text}  [{estimate.status}]")
