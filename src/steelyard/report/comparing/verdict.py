"""A gate on a run: which cells stand against which of the baseline, the verdict, and how it is shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from steelyard.analysis.compare_measures import load_note
from steelyard.analysis.gate import (
    Check,
    GateReport,
    Policy,
    check_among,
    check_margin,
    check_threshold,
    good_enough,
    refuse_mistaken,
    verdict_of,
)
from steelyard.analysis.gate_pairs import held_against, not_planned, pairs_of, renamed, unpaired
from steelyard.analysis.margins import Cell
from steelyard.analysis.noise import Proposal, propose_margin
from steelyard.analysis.shared import shared_estimates
from steelyard.analysis.stopped import early_end, looks_by_cell
from steelyard.analysis.verdict_words import WORDS, cannot_see, change_of, headline, told
from steelyard.analysis.wording import written
from steelyard.criteria import Margin, Threshold, parse_margin, parse_threshold
from steelyard.errors import UnknownName, UsageError
from steelyard.report.console import console, new_table
from steelyard.report.stands import estimates_of
from steelyard.store import Store
from steelyard.store.rows.baselines import SUFFIX, Baseline, read_baseline
from steelyard.store.transfer.snapshots import Snapshot
from steelyard.store.transfer.taking import reported_models
from steelyard.types import CellInfo, Estimate, RunInfo

COLUMNS = ("", "metric", "model", "benchmark", "baseline", "run", "change (95 % each way)", "criterion", "n")
OTHER_HOUR = (
    "the baseline's times are of another hour: the bounds hold what requests vary, not what the service or the machine "
    "did differently then. steelyard gate --calibrate shows how far runs of one plan are apart"
)

Measured = tuple[CellInfo, tuple[Estimate, ...]]


class VerdictTable(msgspec.Struct, frozen=True, kw_only=True):
    """A row for each criterion, in the columns that say something."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What a run is held to. ``baseline`` is a name, NAME@VERSION or a file; ``model`` and ``benchmark`` narrow."""

    baseline: str | None = None
    margins: tuple[Margin, ...] = ()
    thresholds: tuple[Threshold, ...] = ()
    policy: Policy = Policy()
    model: str | None = None
    benchmark: str | None = None


def asked_of(
    plan: Mapping[str, Any],
    *,
    baseline: str | None = None,
    margins: Iterable[str] = (),
    requirements: Iterable[str] = (),
    policy: Policy = Policy(),  # noqa: B008 - frozen
    model: str | None = None,
    benchmark: str | None = None,
) -> Asked:
    """What a run is held to: the criteria and the baseline that are named, and those of its plan."""
    planned = plan.get("success") or ()
    return Asked(
        baseline=baseline or plan.get("baseline"),
        margins=tuple(map(parse_margin, margins)),
        thresholds=tuple(map(parse_threshold, dict.fromkeys((*planned, *requirements)))),
        policy=policy,
        model=model,
        benchmark=benchmark,
    )


def gate(store: Store, run: RunInfo, asked: Asked) -> GateReport:
    """The verdict on a run of the store."""
    skipped = _skipped(store, run)
    measured = _measured(store, run)
    there = [one for one in measured if one[0].id not in skipped]
    chosen_infos = chosen_of([info for info, _ in there], asked.model, asked.benchmark)
    cells = _read(store, run, [one for one in there if one[0] in chosen_infos])
    baseline, missing = _baseline(store, asked)
    _check_asked(asked, cells, baseline)
    checks: list[Check] = []
    pairs: list[tuple[Cell, Cell]] = []
    faults = [missing] if missing else []
    if baseline is not None:
        before = held_against(cells_of_snapshot(baseline.content), asked.model, asked.benchmark)
        pairs = pairs_of(before, cells)
        faults += unpaired(before, cells, pairs, [info for info, _ in measured if info.id in skipped])
        if baseline.content.run == run.id and asked.margins:
            faults.append(f"run #{run.number} is the baseline itself: nothing new was asked. Try: gate another run")
        checks += [check_margin(margin, *pair, asked.policy) for pair in pairs for margin in asked.margins]
    required, passed_over = _required(store, run, cells, asked)
    checks += required
    called = f"{baseline.label} ({baseline.content.called})" if baseline else asked.baseline
    verdict = verdict_of(checks, policy=asked.policy, run=run.number, baseline=called, faults=faults,
                         notes=(*skipped.values(), *passed_over, *renamed(pairs), *_ended_early(pairs, cells),
                                *_notes(run, checks), *_loads(pairs, checks)))  # fmt: skip
    return told(verdict)


def held_to_success(store: Store, run: RunInfo) -> GateReport | None:
    """The verdict on a run by the criteria of its plan alone, with which ``run`` ends; ``None`` where it has none.

    A bound is no comparison with what was, so answers of earlier runs count.
    """
    if not run.plan.get("success"):
        return None
    asked = asked_of(run.plan, policy=Policy(allowed=("cached",)))
    return gate(store, run, msgspec.structs.replace(asked, baseline=None))


def _skipped(store: Store, run: RunInfo) -> dict[int, str]:
    """The cells that a cascade skipped, by their rows, with the reason: they are no candidates."""
    infos = {info.id: info for info in store.cells(run.id)} if run.plan.get("stop") else {}
    return {
        row: f"{infos[row].model} on {infos[row].label} was skipped, since {looks[-1].against} meets the criteria"
        for row, looks in (store.looks(run.id) if infos else {}).items()
        if looks and looks[-1].verdict == "skipped"
    }


def _required(
    store: Store, run: RunInfo, cells: Sequence[Cell], asked: Asked
) -> tuple[Sequence[Check], tuple[str, ...]]:
    """The plain bounds; of a run that looked for one good enough those of the best, and who is passed over."""
    if not asked.thresholds or not _is_choice(run):
        return [check_threshold(one, cell, asked.policy) for cell in cells for one in asked.thresholds], ()
    infos = store.cells(run.id)
    models = len({info.model for info in infos if not info.is_floor})
    looks = looks_by_cell(infos, store.looks(run.id))
    checks: list[Check] = []
    for cell in cells:
        shared = shared_estimates(cell.columns, cell.info, looks.get(cell.info.id or 0, ()), models)
        checks += [check_among(one, cell, shared, models, asked.policy) for one in asked.thresholds]
    return good_enough(checks)


def _is_choice(run: RunInfo) -> bool:
    """Whether the run looked for one model that is good enough."""
    rule = run.plan.get("stop") or {}
    return rule.get("rule") == "cascade" and bool(rule.get("success"))


def cells_of_run(store: Store, run: RunInfo, *, model: str | None = None, benchmark: str | None = None) -> list[Cell]:
    """The cells of a run in the store, or those that are named; floors are no candidates."""
    measured = _measured(store, run)
    chosen = chosen_of([info for info, _ in measured], model, benchmark)
    return _read(store, run, [one for one in measured if one[0] in chosen])


def _measured(store: Store, run: RunInfo) -> list[Measured]:
    own = [(info, estimates_of(store, run, info)) for info in store.cells(run.id) if not info.is_floor]
    return [*own, *store.gradings(run.id)]


def _read(store: Store, run: RunInfo, measured: Iterable[Measured]) -> list[Cell]:
    """These cells with their items, which take the time."""
    sessions = store.sessions(run.id)
    machine = (sessions[0].provenance.get("machine") or {}) if sessions else {}
    return [
        Cell(
            run=run.number,
            run_name=run.name,
            status=run.status,
            info=info,
            columns=store.columns(info.id or 0, **_grader(info)),
            estimates=estimates,
            reported=reported_models(store, info.id or 0),
            machine=machine,
        )
        for info, estimates in measured
    ]


def _grader(info: CellInfo) -> dict[str, Any]:
    return {"grader": info.protocol, "grader_version": info.protocol_version} if info.asked_as else {}


def cells_of_snapshot(content: Snapshot) -> list[Cell]:
    """The cells that a baseline kept."""
    return [
        Cell(
            run=content.number,
            run_name=content.name,
            status=content.status,
            info=cell.info,
            columns=cell.columns(),
            estimates=cell.estimates,
            reported=cell.reported,
            machine=content.machine,
        )
        for cell in content.cells
        if not cell.info.is_floor
    ]


def _baseline(store: Store, asked: Asked) -> tuple[Baseline | None, str | None]:
    """The baseline, or why there is none: a gate without what it is held against is inconclusive."""
    if asked.baseline is None:
        return None, None
    path = Path(asked.baseline)
    if path.suffix == SUFFIX:
        return (read_baseline(path), None) if path.exists() else (None, f"there is no baseline file {path}")
    found = store.baselines.find(asked.baseline)
    if found is None:
        name = asked.baseline.partition("@")[0]
        return None, f"there is no baseline {asked.baseline!r}. Try: steelyard baseline set {name} RUN"
    return found, None


def verdict_beforehand(store: Store, asked: Asked, models: Sequence[str]) -> GateReport | None:
    """What is known before a plan is measured: mistakes are raised, and without its baseline there is no verdict.

    Nor is there one where the plan's ``models`` are not those of the baseline.
    """
    baseline, missing = _baseline(store, asked)
    _check_held(asked, baseline)
    if missing:
        return told(verdict_of([], policy=asked.policy, run=None, baseline=asked.baseline, faults=[missing]))
    if baseline is None:
        return None
    before = held_against(cells_of_snapshot(baseline.content), asked.model, asked.benchmark)
    if before:
        _check_metrics(asked.margins, before)
    wanted = [model for model in models if asked.model in (None, model)]
    gone = not_planned(before, wanted)
    return told(verdict_of([], policy=asked.policy, run=None, baseline=asked.baseline, faults=gone)) if gone else None


def _check_asked(asked: Asked, cells: Sequence[Cell], baseline: Baseline | None) -> None:
    _check_metrics((*asked.margins, *asked.thresholds), cells)
    _check_held(asked, baseline)


def _check_metrics(held: Iterable[Margin | Threshold], cells: Sequence[Cell]) -> None:
    known = {one.metric for cell in cells for one in cell.estimates}
    for one in held:
        if one.metric not in known:
            raise UnknownName("metric", one.metric, known)
        if isinstance(one, Margin):
            for cell in cells:
                refuse_mistaken(one, cell.info)


def _check_held(asked: Asked, baseline: Baseline | None) -> None:
    """Refuse what cannot be a gate, and propose a margin where none was given."""
    if asked.margins and asked.baseline is None:
        raise UsageError("a margin is to a baseline. Try: --baseline main (steelyard baseline set main RUN makes one)")
    if not asked.margins and asked.baseline is not None:
        raise UsageError(f"no margin given: how much worse is still borne? {_proposal(baseline)}")
    if not asked.margins and not asked.thresholds:
        raise UsageError(
            "nothing to hold the run to. Try: --baseline main --margin accuracy=0.02, or "
            '--require "accuracy >= 0.70", or success: in the plan'
        )


def _proposal(baseline: Baseline | None) -> str:
    proposed = None if baseline is None else proposed_margin(baseline)
    if proposed is None:
        return "Try: --margin accuracy=0.02"
    return f"{proposal_words(proposed)} Try: --margin {proposal_text(proposed)}"


def proposed_margin(baseline: Baseline) -> Proposal | None:
    """The widest of the margins on accuracy that the noise of the baseline's cells asks for."""
    proposed = [propose_margin(cell) for cell in cells_of_snapshot(baseline.content)]
    return max((one for one in proposed if one is not None), key=lambda one: one.margin, default=None)


def proposal_words(proposed: Proposal) -> str:
    """Why so much."""
    return (
        f"An unchanged model is told from a worse one on {proposed.benchmark} from {100 * proposed.margin:.1f} points "
        f"on (n = {proposed.n:,}, {proposed.basis})."
    )


def proposal_text(proposed: Proposal) -> str:
    """The margin as it is typed."""
    return f"accuracy={proposed.margin:.3g}"


def chosen_of(infos: Sequence[CellInfo], model: str | None, benchmark: str | None) -> list[CellInfo]:
    """The cells of a model and a benchmark, all where none is named; that there is none is a mistake."""
    chosen = [info for info in infos if benchmark in (None, info.benchmark, info.label) and model in (None, info.model)]
    if not chosen:
        known = [f"{info.model} on {info.label}" for info in infos]
        raise UsageError(f"nothing in this run to judge. It has: {', '.join(known) or 'no model, only floors'}")
    return chosen


def _ended_early(pairs: Sequence[tuple[Cell, Cell]], cells: Sequence[Cell]) -> list[str]:
    """What ended before its items were through: the run, and what it is held against."""
    watched = [*(before for before, _ in pairs), *cells]
    found = [(cell, early_end(cell.run, cell.estimates)) for cell in watched]
    return list(dict.fromkeys(f"{cell.info.model} on {cell.info.label}: {words}" for cell, words in found if words))


def _notes(run: RunInfo, checks: Sequence[Check]) -> list[str]:
    notes = (
        [f"run #{run.number} ended with its budget: it is judged on what was asked"] if run.status == "budget" else []
    )
    for check in checks:
        if note := cannot_see(check):
            notes.append(note)
        if check.unit == "s" and check.baseline is not None and check.value is not None:
            notes.append(OTHER_HOUR)
        if check.pairing is not None and (left := check.pairing.only_baseline + check.pairing.only_candidate):
            notes.append(
                f"{check.metric} of {check.model} on {check.benchmark}: {left:,} items were asked on one side only and "
                "are left out"
            )
    return list(dict.fromkeys(notes))


def _loads(pairs: Sequence[tuple[Cell, Cell]], checks: Sequence[Check]) -> list[str]:
    """Cells whose times were held against others that were taken under another load."""
    timed = {(check.model, check.benchmark) for check in checks if check.unit == "s" and check.baseline is not None}
    return [
        f"{after.info.model} on {after.info.label}: {note}"
        for before, after in pairs
        if (after.info.model, after.info.label) in timed
        for note in load_note(before.side, after.side)
    ]


def verdict_document(verdict: GateReport) -> dict[str, Any]:
    """The verdict as JSON-ready values."""
    document: dict[str, Any] = msgspec.to_builtins(verdict)
    return document


def print_verdict(verdict: GateReport) -> None:
    """One line that says it, one row a criterion, then what to beware of."""
    out = console()
    out.say(f"{headline(verdict)}, mode {verdict.mode}")
    if verdict.checks:
        found = verdict_table(verdict)
        table = new_table(*found.headings)
        for row in found.rows:
            table.add_row(*row)
        out.print()
        out.print(table)
        out.print()
    for check in verdict.checks:
        if check.verdict != "pass" and not check.fault:
            out.say(f"{check.sentence}")
    for text in (*verdict.faults, *verdict.notes):
        out.say(f"! {text}")
    if verdict.verdict == "inconclusive":
        warns = (
            f"warns only (exit 0). Try: steelyard gate {verdict.run or 'RUN'} --inconclusive block, which exits with 3"
        )
        ends = "blocks (exit 3)" if verdict.exit_code else warns
        out.say(f"Inconclusive {ends}.")


def verdict_table(verdict: GateReport) -> VerdictTable:
    """Every criterion as it came out."""
    rows = [_row(check) for check in verdict.checks]
    shown = [place for place, _ in enumerate(COLUMNS) if any(row[place] for row in rows)]
    levels = sorted({one.level for one in verdict.checks if one.scale == "value" and one.candidate and one.level})
    headings = {"run": f"run ({' or '.join(f'{100 * level:.3g}' for level in levels)} % each way)"} if levels else {}
    return VerdictTable(
        headings=tuple(headings.get(COLUMNS[place], COLUMNS[place]) for place in shown),
        rows=tuple(tuple(row[place] for place in shown) for row in rows),
    )


def _row(check: Check) -> list[str]:
    return [
        WORDS[check.verdict],
        check.metric,
        check.model,
        check.benchmark,
        written(check.baseline, bounds=False) if check.baseline else "",
        written(check.candidate, bounds=check.scale == "value") if check.candidate else "",
        change_with_bounds(check),
        check.criterion,
        f"{check.n:,}" if check.n else "",
    ]


def change_with_bounds(check: Check) -> str:
    """What changed, with its bounds; nothing for a criterion that is no comparison."""
    if check.scale == "value" or check.value is None:
        return ""
    texts = [change_of(check, value) for value in (check.value, check.low, check.high)]
    if check.low is None:
        return texts[0]
    bounds = [text.partition(" ")[0] if check.unit == "share" or check.scale == "ratio" else text for text in texts[1:]]
    return f"{texts[0]} ({bounds[0]} to {bounds[1]})"
