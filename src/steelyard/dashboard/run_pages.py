"""A run: live while it goes on, then its results with charts."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote

from steelyard.analysis.wording import written
from steelyard.dashboard.board import Board, board_of, word
from steelyard.dashboard.links import with_links
from steelyard.dashboard.live_part import failed_last, lines, silence
from steelyard.errors import UsageError
from steelyard.report.comparing.frontier import is_sure
from steelyard.report.evidence import Evidence, load_evidence
from steelyard.report.html import html_report, results_parts
from steelyard.report.matrix import FIGURES, Line, Table, cell
from steelyard.report.results import Results, load_results, warnings
from steelyard.report.spending import spending_line
from steelyard.report.standing import Standing, standing
from steelyard.store.reading.progress import CellProgress, Progress
from steelyard.types import RunInfo

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

LONGEST_NAME = 200
MOST_LIVE = 50_000
"""Answers of a cell up to which its score is computed while it runs."""
FRESH = 50
"""A live score is computed again once this part more is answered: every 2 percent."""


def run(request: Request) -> Response:
    """The run's own page: while it is on its way its progress, then its results."""
    board = board_of(request)
    info = run_of(request)
    is_running = info.status == "running"
    is_long = not is_running and board.is_large([info])
    results = None if is_running else results_of(board, info)
    is_asked = results is not None and any(one.value("attempted") for one in results.cells)
    is_whole = is_asked and (not is_long or bool(word(request, "charts")))
    remember = board.remember_large if is_long else board.remember
    whole = remember("whole", key_of(info), lambda: _whole(board, info)) if is_whole else None
    progress = None if info.status == "done" else board.store.progress(info.id)
    return board.page(
        "run.html.j2",
        request,
        title=f"#{info.number} {info.name}",
        run=info,
        progress=progress,
        lines=lines(progress) if progress else [],
        failed=failed_last(progress.troubles) if progress else [],
        silence=silence(board.store, progress.sign) if progress and is_running else None,
        budget_usd=info.plan.get("budget_usd"),
        standings=_standings(board, info, progress) if progress and is_running else {},
        models=list(dict.fromkeys(one.model for one in board.store.cells(info.id))),
        is_sure=any(map(is_sure, board.store.cells(info.id))),
        warnings=warnings(results) if results and not whole else [],
        spending=spending_line(info.number, results.spending) if results and results.spending and is_asked else "",
        tables=[_kept_table(results, info.number, label) for label in results.benchmarks()]
        if results and not whole
        else [],
        whole=whole,
        is_long=is_long and not is_whole,
        is_making=is_whole and whole is None,
        sessions=board.store.sessions(info.id),
    )


def results_of(board: Board, info: RunInfo) -> Results:
    """The results of a run that is not on its way."""
    return board.remember("results", key_of(info), lambda: load_results(board.store, info))


def _standings(board: Board, info: RunInfo, progress: Progress) -> dict[int, dict[str, str]]:
    """What each cell has scored so far, by the cell's id: the score, and what it is a score of."""
    found = {}
    for one in progress.cells:
        if 0 < one.done <= MOST_LIVE and (stands := _standing(board, info, one)) is not None:
            found[one.cell.id or 0] = {"score": written(stands.estimate), "of": _counted(stands)}
        elif one.done:
            found[one.cell.id or 0] = {"score": "", "of": "not judged yet" if one.done <= MOST_LIVE else "at the end"}
    return found


def _standing(board: Board, info: RunInfo, one: CellProgress) -> Standing | None:
    step = int(FRESH * math.log1p(one.done))
    key = ("standing", info.id, one.cell.id, step, one.done == one.planned)  # a cell's number may be given again
    return board.remembered.get(key, lambda: standing(board.store, info, one.cell))


def _counted(stands: Standing) -> str:
    items = f"{stands.n_items:,}"
    lost = f"; {stands.lost:,} of them failed and have no score" if stands.lost else ""
    if not stands.is_prefix:
        return f"of the {items} items answered so far, the quick ones first: not a random part{lost}"
    if stands.n_items == stands.items:
        return f"of all {items} items{lost}"
    return f"of the first {items} of {stands.items:,} items{lost}"


def run_of(request: Request) -> RunInfo:
    """The run that the address names."""
    return board_of(request).store.run(request.path_params["run"])


def key_of(info: RunInfo) -> tuple[str, str, str]:
    """What a page of the run is remembered by: it changes as the run does."""
    return (info.id, info.name, info.status)


def _evidence(board: Board, info: RunInfo) -> Evidence:
    return load_evidence(board.store, [info])


def _whole(board: Board, info: RunInfo) -> dict[str, Any]:
    """Everything that the report says of the run, each number leading to its answers."""
    evidence = _evidence(board, info)
    parts = results_parts(evidence, board.about(evidence))
    parts["matrix"] = with_links(parts["matrix"], info.number)
    cells = {one.label: one.id or 0 for one in board.store.cells(info.id)}
    for bench in parts["benches"]:
        strata = set(board.store.pages.strata(cells[bench["label"]])) if bench["label"] in cells else set()
        for name in ("table", "subjects"):
            if bench[name]:
                bench[name] = with_links(bench[name], info.number, benchmark=bench["label"], strata=strata)
    return parts


def _kept_table(results: Results, run: int, label: str) -> Table:
    """A benchmark's figures as they were kept, without reading its answers."""
    cells = results.of_benchmark(label)
    shown = [(name, heading) for name, heading in FIGURES if any(one.value(name) is not None for one in cells)]
    models = [one.info.model for one in cells if not one.info.is_floor]
    lines = [
        Line(
            name=one.info.model,
            slot=None if one.info.is_floor else models.index(one.info.model),
            cells=tuple(cell(one.estimates.get(name)) for name, _ in shown),
        )
        for one in cells
    ]
    table = Table(caption=label, headings=tuple(heading for _, heading in shown), lines=tuple(lines))
    return with_links(table, run, benchmark=label)


def report(request: Request) -> Response:
    """The run as one file to be sent: a download, since it carries a style and a script of its own."""
    from starlette.responses import Response

    board = board_of(request)
    info = run_of(request)
    text = board.remember(
        "report",
        key_of(info),
        lambda: _report(board, info),
    )
    headers = {"content-disposition": f'attachment; filename="steelyard-run-{info.number}.html"'}
    return Response(text, media_type="text/html; charset=utf-8", headers=headers)


def _report(board: Board, info: RunInfo) -> str:
    evidence = _evidence(board, info)
    return html_report(board.store, evidence, reveal=board.reveal, about=board.about(evidence))


async def rename(request: Request) -> Response:
    """Give the run another name."""
    return await _changed(request, "name", "rename")


async def tag(request: Request) -> Response:
    """Add a tag."""
    return await _changed(request, "tag", "tag")


async def untag(request: Request) -> Response:
    """Take a tag away."""
    return await _changed(request, "tag", "untag")


async def _changed(request: Request, field: str, change: str) -> Response:
    from starlette.concurrency import run_in_threadpool
    from starlette.responses import RedirectResponse

    form = parse_qs((await request.body()).decode("utf-8", "replace"))
    value = form.get(field, [""])[0].strip()[:LONGEST_NAME]
    if not value or any(not sign.isprintable() for sign in value):
        raise UsageError(f"a {field} is a few words on one line")
    store = board_of(request).store
    info = await run_in_threadpool(run_of, request)
    await run_in_threadpool({"rename": store.rename, "tag": store.tag, "untag": store.untag}[change], info.id, value)
    return RedirectResponse(f"/runs/{quote(str(info.number))}", status_code=303)
