"""A run held against a baseline: the verdict that ``steelyard gate`` gives, drawn, with what turned a click away.

What is asked stands in the address alone. A baseline is one of the store's: no address makes the server read a file.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import msgspec

from steelyard.analysis.gate import Allowance, Blocking, Check, GateReport, Mode, Policy
from steelyard.analysis.verdict_words import WORDS, lead
from steelyard.dashboard.board import MOST_AT_ONCE, Board, board_of, word, words
from steelyard.dashboard.rendering import address, drawn
from steelyard.dashboard.run_pages import run_of
from steelyard.errors import UnknownName, UsageError
from steelyard.report.comparing import verdict as verdicts
from steelyard.report.comparing.verdict_figures import criteria_figures
from steelyard.store.rows.baselines import Listed
from steelyard.types import CellInfo, RunInfo

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

MODES: tuple[Mode, ...] = ("regression", "noninferiority")
BLOCKING: tuple[Blocking, ...] = ("warn", "block")
ALLOWANCES: dict[Allowance, str] = {
    "cached": "answers of earlier runs",
    "machine": "times of another machine",
    "model-change": "a model that changed in mid-run",
}
MOST_CRITERIA = 40
MOST_LOOKED_AT = 20


class Form(msgspec.Struct, frozen=True, kw_only=True):
    """What the address asks for, as it was written. ``baseline`` is a name or NAME@VERSION, "" where there is none."""

    baseline: str
    margins: tuple[str, ...]
    requirements: tuple[str, ...]
    policy: Policy
    model: str
    benchmark: str


def gate(request: Request) -> Response:
    """The page; without a criterion it offers what could be held."""
    board = board_of(request)
    info = run_of(request)
    listed = board.store.baselines.all()
    form = _form(request, info, listed)
    is_asked = bool(form.margins or form.requirements or (info.plan.get("success") and not form.baseline))
    found, problem = _verdict(board, info, form, listed) if is_asked else (None, "")
    is_making = is_asked and found is None and not problem
    cells = [cell for cell in board.store.cells(info.id) if not cell.is_floor]
    proposed = None if form.margins else _proposed(board, info, form, listed)
    return board.page(
        "gate.html.j2",
        request,
        status=400 if problem else 200,
        title=f"Gate on #{info.number} {info.name}",
        run=info,
        form=form,
        problem=problem,
        proposed=proposed,
        is_making=is_making,
        verdict=found,
        word="" if found is None else WORDS[found.verdict],
        lead="" if found is None else lead(found),
        table=None if found is None else verdicts.verdict_table(found),
        turned=[] if found is None else _turned(board, info, found, form, listed, cells),
        figures=[] if found is None else drawn(criteria_figures(found)),
        command=_command(info, form),
        planned=info.plan.get("success") or (),
        baselines=_offered(listed),
        modes=MODES,
        blocking=BLOCKING,
        allowances=ALLOWANCES,
        models=list(dict.fromkeys(cell.model for cell in cells)),
        benchmarks=list(dict.fromkeys(cell.label for cell in cells)),
    )


def _form(request: Request, info: RunInfo, listed: Sequence[Listed]) -> Form:
    """What the address says; of a baseline it says nothing of, the one that the run's plan names."""
    planned = info.plan.get("baseline")
    is_named = "baseline" in request.query_params
    mode = next(one for one in MODES if one == word(request, "mode", MODES, "regression"))
    blocking = word(request, "inconclusive", BLOCKING)
    chosen = words(request, "allow")
    return Form(
        baseline=word(request, "baseline") if is_named else planned if planned in _offered(listed) else "",
        margins=tuple(_written(request, "margin")),
        requirements=tuple(_written(request, "require")),
        policy=Policy(
            mode=mode,
            inconclusive=next((one for one in BLOCKING if one == blocking), None),
            allowed=tuple(name for name in ALLOWANCES if name in chosen),
        ),
        model=word(request, "model"),
        benchmark=word(request, "benchmark"),
    )


def _written(request: Request, name: str) -> Iterator[str]:
    """The criteria of a field, which may stand several times or hold several."""
    found = [part.strip() for text in words(request, name) for part in text.split(";") if part.strip()]
    if len(found) > MOST_CRITERIA:
        raise UsageError(f"{len(found)} criteria on one page; at most {MOST_CRITERIA}")
    yield from found


def _offered(listed: Sequence[Listed]) -> list[str]:
    """What a baseline may be called: each name for its newest version, then every version."""
    return [*dict.fromkeys(one.name for one in listed), *(f"{one.name}@{one.version}" for one in listed)]


def _chosen(form: Form, listed: Sequence[Listed]) -> Listed | None:
    """The version that is meant, or an error that lists the known ones."""
    if not form.baseline:
        return None
    found = (one for one in listed if form.baseline in (one.name, f"{one.name}@{one.version}"))
    if (chosen := next(found, None)) is None:
        raise UnknownName("baseline", form.baseline, _offered(listed))
    return chosen


def _verdict(board: Board, info: RunInfo, form: Form, listed: Sequence[Listed]) -> tuple[GateReport | None, str]:
    """The verdict, or what keeps it from being given. Neither: it is on its way."""
    try:
        chosen = _chosen(form, listed)
        asked = _asked(info, form, chosen)
        is_large = board.is_large([info]) or (chosen is not None and _is_large(board, chosen))
        remember = board.remember_large if is_large else board.remember
        key = (info.id, info.name, info.status, asked)
        return remember("gate", key, lambda: verdicts.gate(board.store, info, asked)), ""
    except UsageError as error:
        return None, str(error)


def _is_large(board: Board, one: Listed) -> bool:
    """Whether a baseline holds more answers than are read while one waits, as far as its run tells; it may be gone."""
    return one.run in board.store.pages.ids() and board.store.pages.holds_more_than(one.run, MOST_AT_ONCE)


def _asked(info: RunInfo, form: Form, chosen: Listed | None) -> verdicts.Asked:
    found = verdicts.asked_of(
        info.plan,
        margins=form.margins,
        requirements=form.requirements,
        policy=form.policy,
        model=form.model or None,
        benchmark=form.benchmark or None,
    )
    return msgspec.structs.replace(found, baseline=f"{chosen.name}@{chosen.version}" if chosen else None)


def _proposed(board: Board, info: RunInfo, form: Form, listed: Sequence[Listed]) -> dict[str, str] | None:
    """A margin for the baseline that is chosen; where none is, for the newest one that asked something of the same.

    A large baseline proposes none: a form is not worth the wait.
    """
    named = [one for one in listed if form.baseline in (one.name, f"{one.name}@{one.version}")]
    one = next(iter(named or _newest(board, info, listed)), None)
    if one is None:
        return None
    label = f"{one.name}@{one.version}"
    name = form.baseline if named else one.name
    if _is_large(board, one):
        return {"baseline": name, "margin": "", "why": ""}
    found = board.remember("proposal", label, lambda: verdicts.proposed_margin(board.store.baselines.get(label)))
    if found is None:
        return {"baseline": name, "margin": "", "why": ""}
    return {"baseline": name, "margin": verdicts.proposal_text(found), "why": verdicts.proposal_words(found)}


def _newest(board: Board, info: RunInfo, listed: Sequence[Listed]) -> list[Listed]:
    """The newest baselines, first those whose runs are here and have a model and benchmark of this one."""
    newest = sorted(listed, key=lambda one: one.set_at, reverse=True)[:MOST_LOOKED_AT]
    here = board.store.pages.ids()

    def asked(run: str) -> set[tuple[str, str]]:
        return {(cell.model, cell.label) for cell in board.store.cells(run)} if run in here else set()

    own = asked(info.id)
    return sorted(newest, key=lambda one: own.isdisjoint(asked(one.run)))


def _turned(
    board: Board,
    info: RunInfo,
    verdict: GateReport,
    form: Form,
    listed: Sequence[Listed],
    cells: Sequence[CellInfo],
) -> list[dict[str, str] | None]:
    """Of each criterion on scores how many items turned, and where they stand while the baseline's run is here."""
    chosen = _chosen(form, listed)
    is_here = chosen is not None and chosen.run in board.store.pages.ids()
    runs = [chosen.number, info.number] if chosen is not None and is_here else []
    several = len({cell.model for cell in cells}) > 1
    return [_turned_by(check, runs, several=several) for check in verdict.checks]


def _turned_by(check: Check, runs: Sequence[int], *, several: bool) -> dict[str, str] | None:
    if check.agreement is None:
        return None
    worse, better = check.agreement.only_baseline, check.agreement.only_candidate
    link = address(
        "/compare",
        run=runs,
        metric=check.metric,
        benchmark=check.benchmark,
        model=check.model if several else "",
    )
    return {"text": f"{worse:,} worse, {better:,} better", "link": f"{link}#turned1" if runs else ""}


def _command(info: RunInfo, form: Form) -> str:
    """What gives the same verdict in a terminal, with its exit code."""
    options = [("--baseline", form.baseline), *(("--margin", text) for text in form.margins)]
    options += [("--require", text) for text in form.requirements]
    options.append(("--mode", "" if form.policy.mode == MODES[0] else form.policy.mode))
    options += [("--inconclusive", form.policy.inconclusive or ""), *(("--allow", one) for one in form.policy.allowed)]
    options += [("--model", form.model), ("--benchmark", form.benchmark)]
    return shlex.join(
        ["steelyard", "gate", str(info.number), *(part for name, text in options if text for part in (name, text))]
    )
