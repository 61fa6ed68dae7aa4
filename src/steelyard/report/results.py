"""What a report shows: the cells of a run with their estimates, read from the store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct

from steelyard.analysis.estimates import MADE_ELSEWHERE, OF_SENDING, unknown
from steelyard.analysis.stopped import looks_by_cell, stopped
from steelyard.analysis.telling import listed
from steelyard.analysis.wording import amount
from steelyard.report.answers import plain
from steelyard.report.identity import MixedModel, mixed_models, mixture_warning
from steelyard.report.machine import beyond_calibration, busy_client, ended_servers
from steelyard.report.spending import Spending, is_all_saved_known, spending
from steelyard.report.stands import CellResult, estimates_of
from steelyard.report.systems import system_result
from steelyard.store import Store
from steelyard.store.reading.conditions import FAILED
from steelyard.types import CellInfo, Estimate, RunInfo

MOST_ERRORS = 0.01
MOST_WARNED = 10
"""So many models or benchmarks are named before a warning that holds for all of them."""
MUCH_UNPARSED = 0.05
LONGEST_FAILURE = 160
MUCH_TRUNCATED = 0.02
MUCH_REFUSED = 0.02
WIDE_STRATA_GAP = 0.2
UNSAFE = "Model-written code was run without a sandbox (--unsafe-code-execution)"


class Results(Struct, frozen=True, kw_only=True):
    """A run and its cells. ``metrics`` are the ones the plan asks to see; empty: the usual ones.

    ``stamps`` are what stands over all its numbers, such as that code was run unprotected. ``mixed`` are the models
    that changed in mid-run. ``left_out`` names, by model, the settings that it turned out not to take, with what
    happened instead. ``kills`` counts the sessions that ended without a word after they had sent anything.
    """

    run: RunInfo
    cells: tuple[CellResult, ...]
    metrics: tuple[str, ...] = ()
    stamps: tuple[str, ...] = ()
    spending: Spending | None = None
    mixed: tuple[MixedModel, ...] = ()
    kills: int = 0
    left_out: dict[str, dict[str, str]] = {}

    def benchmarks(self) -> list[str]:
        """The labels of the benchmarks, in the plan's order."""
        return list(dict.fromkeys(cell.info.label for cell in self.cells))

    def models(self) -> list[str]:
        """The models, in the plan's order."""
        return list(dict.fromkeys(cell.info.model for cell in self.cells))

    def of_benchmark(self, label: str) -> list[CellResult]:
        """The cells of one benchmark: the ranked ones, then those that a cascade skipped."""
        skipped = [cell for cell in self.cells if cell.info.label == label and cell.is_skipped]
        return [*self.ranked(label), *skipped]

    def ranked(self, label: str) -> list[CellResult]:
        """The cells of one benchmark, best accuracy first; unscored ones last, a floor after what beats it.

        What a cascade skipped has no place, and what it dropped stands below all that were asked to their end.
        """
        cells = [cell for cell in self.cells if cell.info.label == label and not cell.is_skipped]
        return sorted(cells, key=_rank)


def _rank(cell: CellResult) -> tuple[bool, float, bool]:
    value = cell.value("accuracy")
    return (cell.is_dropped, float("inf") if value is None else -value, cell.info.is_floor)


def load_results(store: Store, run: RunInfo) -> Results:
    """Read a run's cells and their estimates."""
    cells = []
    infos = store.cells(run.id)
    looks = looks_by_cell(infos, store.looks(run.id)) if run.plan.get("stop") else {}
    for info in infos:
        assert info.id is not None
        series = looks.get(info.id, ())
        found = _result(info, estimates_of(store, run, info))
        ended = stopped(series, found.estimates)
        failure = _failure(store, run, found)
        cells.append(msgspec.structs.replace(found, stopped=ended, system=system_result(store, info), failure=failure))
    cells += [_result(info, estimates) for info, estimates in store.gradings(run.id)]
    return Results(
        run=run,
        cells=tuple(cells),
        metrics=tuple(run.plan.get("metrics", ())),
        stamps=_stamps(store, run, cells),
        kills=_kills(store, run),
        spending=spending(store, run, cells),
        mixed=mixed_models(store, cells),
        left_out=settings_left_out(store, run),
    )


def _kills(store: Store, run: RunInfo) -> int:
    sessions = store.sessions(run.id)
    ended = sessions[:-1] if run.status == "running" else sessions
    return sum(session.ended_at is None and session.may_have_sent for session in ended)


def _failure(store: Store, run: RunInfo, cell: CellResult) -> str | None:
    """What the first failed call of a cell failed with, where many did."""
    if not _fails_often(cell):
        return None
    failed = next(store.records(run.id, cell=cell.info.id, where=FAILED, limit=1), None)
    if failed is None or failed.call.failure is None:
        return None
    said = " ".join(plain(failed.call.failure.message).split())
    return said if len(said) <= LONGEST_FAILURE else f"{said[: LONGEST_FAILURE - 1]}…"


def settings_left_out(store: Store, run: RunInfo) -> dict[str, dict[str, str]]:
    """By model: each setting that was not sent as it was asked for, with what happened instead."""
    found: dict[str, dict[str, str]] = {}
    for session in store.sessions(run.id):
        for model, settings in session.provenance.get("settings_left_out", {}).items():
            found.setdefault(model, {}).update(settings)
    return found


def _stamps(store: Store, run: RunInfo, cells: Sequence[CellResult]) -> tuple[str, ...]:
    sessions = store.sessions(run.id)
    origins = [session.provenance for session in sessions]
    is_unsafe = any((origin.get("sandbox") or {}).get("is_unsafe") for origin in origins)
    taken = [session.resources for session in sessions]
    of_machine = [*ended_servers(taken)]
    if any((cell.value("answered") or 0) > (cell.value("cached") or 0) for cell in cells if not cell.info.is_floor):
        of_machine[:0] = busy_client(taken)
    if streamed := sum(_streamed(cell) for cell in cells):
        of_machine[:0] = beyond_calibration([origin.get("instrument") or {} for origin in origins], streamed)
    return (*((UNSAFE,) if is_unsafe else ()), *dict.fromkeys(of_machine))


def _streamed(cell: CellResult) -> int:
    """Of how many answers the time to the first token was measured in this run."""
    found = cell.estimates.get("ttft.p50")
    return 0 if found is None or cell.info.is_floor else found.n


def _result(info: CellInfo, estimates: Sequence[Estimate]) -> CellResult:
    found = {estimate.metric: estimate for estimate in estimates}
    if info.is_imported:  # a summary of an older Steelyard has figures for them
        found |= {name: unknown(name, found[name].unit, MADE_ELSEWHERE) for name in OF_SENDING if name in found}
    return CellResult(info=info, estimates=found)


def results_document(results: Results) -> dict[str, Any]:
    """The results as JSON-ready values: the run, and per cell what it is and every estimate."""
    run = msgspec.to_builtins(results.run)
    stop = run.pop("plan").get("stop")
    if stop is not None:
        run["stop"] = stop
    cells = [
        msgspec.to_builtins(cell.info)
        | {"label": cell.info.label, "estimates": msgspec.to_builtins(cell.estimates)}
        | ({} if cell.stopped is None else {"stopped": msgspec.to_builtins(cell.stopped)})
        | ({} if cell.system is None else {"system": msgspec.to_builtins(cell.system)})
        for cell in results.cells
    ]
    spent = msgspec.to_builtins(results.spending)
    return {
        "run": run,
        "cells": cells,
        "spending": spent,
        "mixed_models": msgspec.to_builtins(results.mixed),
        "settings_left_out": results.left_out,
        "warnings": warnings(results),
    }


def warnings(results: Results) -> list[str]:
    """What a reader must know before believing a number: what was seen, why it matters, what to try."""
    found = [
        *results.stamps,
        *map(mixture_warning, results.mixed),
        *_out_of_money(results),
        *_killed(results),
        *_interrupted(results),
        *_settings_left_out(results),
    ]
    alike: dict[str, list[CellInfo]] = {}
    for cell in results.cells:
        for text in _cell_warnings(cell, results.run.number):
            alike.setdefault(text, []).append(cell.info)
    return [*found, *(f"{_where(infos)}: {text}" for text, infos in alike.items())]


def _where(infos: Sequence[CellInfo]) -> str:
    """The cells of which the same is true: models on a benchmark, a model on benchmarks, or each pair by its names."""
    models, labels = (
        list(dict.fromkeys(names)) for names in ((one.model for one in infos), (one.label for one in infos))
    )
    if len(models) * len(labels) == len(infos):
        return f"{listed(models, MOST_WARNED)} on {listed(labels, MOST_WARNED)}"
    return listed([f"{one.model} on {one.label}" for one in infos], MOST_WARNED)


def _settings_left_out(results: Results) -> list[str]:
    return [
        f"{model} was not asked with its {setting}: {instead}"
        for model, settings in results.left_out.items()
        for setting, instead in settings.items()
    ]


def _out_of_money(results: Results) -> list[str]:
    """What a run that ended with its money still is."""
    if results.run.status != "budget":
        return []
    planned, attempted = _asked(results)
    if attempted == 0:
        return [
            f"Stopped by budget before the first of {planned:,} requests: what one can cost at most, with what must "
            "follow it, is more than is left. Try: a larger budget, or a smaller --max-tokens"
        ]
    number, planned_usd = results.run.number, results.run.plan.get("budget_usd")
    more = f"steelyard run --resume {number} --budget USD"
    if planned_usd is None:
        more = f"steelyard budget set USD; steelyard run --resume {number}"
    how = "the first ones in file order" if results.run.plan.get("order") == "file" else "a random sample"
    return [
        f"Stopped by budget after {attempted:,} of {planned:,} requests. The items asked are {how} of those planned, "
        f"so every number stands, with wider bounds. Try: {more}"
    ]


def _killed(results: Results) -> list[str]:
    """That a service may have billed calls of which nothing is known here."""
    spent = results.spending
    if results.kills < 1 or spent is None or not (spent.spent_usd or spent.unknown):
        return []
    times = "once" if results.kills == 1 else f"{results.kills:,} times"
    return [
        f"The run was killed {times}: calls whose answers were not kept by then may have been paid for, and stand in "
        "no cost here. The service's bill may be higher"
    ]


def _interrupted(results: Results) -> list[str]:
    """That the numbers are of a part, and of which."""
    if results.run.status != "interrupted":
        return []
    planned, attempted = _asked(results)
    return [
        f"Interrupted after {attempted:,} of {planned:,} requests: every number is of what was answered by then. "
        f"Try: steelyard run --resume {results.run.number}"
    ]


def _asked(results: Results) -> tuple[int, int]:
    """How many requests were planned, and how many of them were sent."""
    cells = [cell for cell in results.cells if cell.info.asked_as is None]
    planned = sum(cell.info.items * cell.info.repeats for cell in cells)
    return planned, sum(int(cell.value("attempted") or 0) for cell in cells)


OF_CLUSTERS = "only "
"""How the status begins that says what too few clusters make of an interval."""


def _cell_warnings(cell: CellResult, run: int) -> list[str]:
    texts = []
    if _fails_often(cell):
        errored, attempted = cell.value("errored") or 0, cell.value("attempted") or 0
        first = f" (the first: {cell.failure.rstrip('.')})" if cell.failure else ""
        texts.append(
            f"{errored:,.0f} of {attempted:,.0f} calls failed and are not scored{first}{_with_the_lost(cell)}. "
            f"Try: steelyard run --resume {run} to ask them again"
        )
    score = cell.estimates.get("accuracy")
    if score is not None and score.value is not None and score.status.startswith(OF_CLUSTERS):
        texts.append(f"accuracy is of {score.status}")
    elif score is not None and score.value is not None and score.low is None:
        texts.append(f"accuracy has no interval: {score.status}")
    if _exceeds(cell, "truncated", MUCH_TRUNCATED):
        texts.append(
            f"{_percent(cell, 'truncated')} of the answers were cut off by the token limit; "
            "what could be read of them was graded. Try: a larger --max-tokens"
        )
    if (cell.value("unparsed") or 0.0) - (cell.value("truncated") or 0.0) > MUCH_UNPARSED:
        texts.append(
            f"{_percent(cell, 'unparsed')} of the answers were not in the asked form, and count "
            f"as wrong. {_read('them', run, 'unparsed')}"
        )
    if _exceeds(cell, "refused", MUCH_REFUSED):
        texts.append(
            f"{_percent(cell, 'refused')} of the answers were refused by the model or a filter; the words that came "
            f"were graded. {_read('them', run, 'refused')}"
        )
    if _exceeds(cell, "strata_gap", WIDE_STRATA_GAP):
        texts.append(
            f"the strata of the asked items are not those of the whole: {_percent(cell, 'strata_gap')} of them would "
            f"have to come from others, so this score is not one of {cell.info.label}. "
            "Try: without --order file, or all items"
        )
    return texts + _clock_warnings(cell) + _timing_warnings(cell) + _cache_warnings(cell) + _judge_warnings(cell, run)


def _with_the_lost(cell: CellResult) -> str:
    """Between what the score lies, whatever the lost answers were."""
    least, most = cell.value("accuracy.lower_bound"), cell.value("accuracy.upper_bound")
    if not cell.value("scored") or least is None or most is None:
        return ""
    return f"; with them, accuracy is between {100 * least:.1f} % (all wrong) and {100 * most:.1f} % (all right)"


def _fails_often(cell: CellResult) -> bool:
    attempted, errored = cell.value("attempted") or 0, cell.value("errored") or 0
    return attempted > 0 and errored / attempted > MOST_ERRORS


def _clock_warnings(cell: CellResult) -> list[str]:
    untimed, answered = cell.value("untimed") or 0, cell.value("answered") or 0
    if not untimed:
        return []
    return [
        f"{untimed:,.0f} of {answered:,.0f} answers were on their way while this machine slept or the client was "
        "stopped: they are scored, and left out of every time"
    ]


def _timing_warnings(cell: CellResult) -> list[str]:
    if not cell.is_timed_indirectly or cell.value("latency.mean") is None:
        return []
    return [
        "times are indirect: a client of others stands between the socket and the clock, so latency and rates hold "
        "its overhead, and TTFT and ITL are not measured. Try: the provider's own name, without litellm/"
    ]


def _cache_warnings(cell: CellResult) -> list[str]:
    """Answers used again are labelled, and what cannot be told from them is said."""
    cached, answered = cell.value("cached") or 0, cell.value("answered") or 0
    if not cached:
        return []
    saved = cell.value("cost.saved")
    least = "" if is_all_saved_known(cell, "cached", "cost.saved") else "at least "
    worth = f", which saved {least}{amount(saved)} USD" if saved else ""
    timed = "There is no" if cached == answered else f"Only the other {answered - cached:,.0f} give"
    return [
        f"{cached:,.0f} of {answered:,.0f} answers were given in earlier runs and used again{worth}. {timed} "
        "latency or rate of this run. Try: --fresh to ask anew"
    ]


def _exceeds(cell: CellResult, metric: str, most: float) -> bool:
    return (cell.value(metric) or 0.0) > most


def _percent(cell: CellResult, metric: str) -> str:
    return f"{100 * (cell.value(metric) or 0.0):.1f} %"


def _read(what: str, run: int, outcome: str) -> str:
    """The command that prints just those answers; a page of the dashboard has a link in its place."""
    return f'Read {what}: steelyard show {run} --where "outcome = {outcome}"'


def _with_reach(kappa: Estimate) -> str:
    reach = "" if kappa.low is None or kappa.high is None else f", {kappa.low:.2f} to {kappa.high:.2f}"
    return f"{kappa.value:.2f}{reach}"


def _judge_warnings(cell: CellResult, run: int) -> list[str]:
    texts = []
    undecided, answered = cell.value("judge.unscored") or 0, cell.value("answered") or 0
    if answered and undecided / answered > MOST_ERRORS:
        texts.append(
            f"the judge left {undecided:,.0f} of {answered:,.0f} answers without a verdict, and they are not scored. "
            f"{_read('why', run, 'unscored')}"
        )
    if cached := cell.value("judge.cached"):
        heard, saved = cached + (cell.value("judge.calls") or 0), cell.value("judge.cost.saved")
        worth = f", which saved {amount(saved)} USD" if saved else ""
        texts.append(
            f"{cached:,.0f} of the judge's {heard:,.0f} replies were given in earlier runs and used again{worth}. "
            "Try: --fresh to ask it anew"
        )
    kappa = cell.estimates.get("judge.kappa")
    if kappa is not None and kappa.value is not None and (kappa.value if kappa.low is None else kappa.low) <= 0:
        texts.append(
            f"the judge is not shown to agree with people better than by chance (kappa {_with_reach(kappa)}, "
            f"{kappa.n} answers): its score says nothing yet. Try: a stronger judge, or more rated answers"
        )
    return texts
