"""The dashboard: which address shows which page.

Pages are made in threads from the store alone; no model is called, and only the three forms of a run's page change
anything: its name and its tags.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from functools import wraps
from typing import TYPE_CHECKING

from msgspec import Struct

from steelyard.dashboard import (
    answers_page,
    cascade_page,
    cases_page,
    compare_page,
    download,
    gate_page,
    item_pages,
    money_page,
    provenance_page,
    run_pages,
    runs_page,
    search_page,
    trend_pages,
)
from steelyard.dashboard.board import About, Board, ByHand, Meanwhile, Remembered
from steelyard.dashboard.giving_way import GivingWay
from steelyard.dashboard.guard import LOOPBACK, App, Guard, Refusal
from steelyard.dashboard.rendering import assets, render
from steelyard.errors import EnvironmentFault, SteelyardError, UnknownName, UsageError
from steelyard.store import Store

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

SHORTEST_TOKEN = 16
WILDCARDS = ("0.0.0.0", "::", "")  # noqa: S104 - these are what is asked about
PAGES = {
    "/": runs_page.runs,
    "/runs/{run}": run_pages.run,
    "/runs/{run}/answers": answers_page.answers,
    "/runs/{run}/answers.{format}": download.download,
    "/runs/{run}/gate": gate_page.gate,
    "/runs/{run}/report.html": run_pages.report,
    "/runs/{run}/provenance": provenance_page.provenance,
    "/answers/{call:int}": item_pages.answer,
    "/item": item_pages.item,
    "/cases": cases_page.cases,
    "/cascade": cascade_page.cascade,
    "/compare": compare_page.compare,
    "/trends": trend_pages.trends,
    "/baselines": trend_pages.baselines,
    "/baselines/{reference}": trend_pages.baseline,
    "/money": money_page.money,
    "/search": search_page.search,
}
FORMS = {
    "/runs/{run}/name": run_pages.rename,
    "/runs/{run}/tag": run_pages.tag,
    "/runs/{run}/untag": run_pages.untag,
}


class Access(Struct, frozen=True, kw_only=True):
    """Who may come in: from where, by which names of this machine, with which token (``None``: without)."""

    host: str
    hosts: frozenset[str]
    token: str | None


def access(host: str, *, allowed_hosts: Iterable[str] = (), token: str | None = None, is_open: bool = False) -> Access:
    """Check where to listen and for whom. ``is_open``: without a token, on this machine only."""
    name = f"[{host}]" if ":" in host else host.lower()
    named = frozenset(one.lower() for one in allowed_hosts)
    if is_open and name not in LOOPBACK:
        raise UsageError(f"--no-token would let everyone who reaches {host} read all runs. Try: without --no-token")
    if host in WILDCARDS and not named:
        raise UsageError(f"{host or 'every address'} has no name. Try: --allow-host NAME, as browsers will call it")
    if token is not None and len(token) < SHORTEST_TOKEN:
        raise UsageError(f"a token has at least {SHORTEST_TOKEN} characters")
    hosts = named | (frozenset(LOOPBACK if name in LOOPBACK else () if host in WILDCARDS else (name,)))
    return Access(host=host, hosts=hosts, token=None if is_open else token or secrets.token_urlsafe(24))


def dashboard(
    store: Store,
    allowed: Access,
    *,
    about: About,
    by_hand: ByHand,
    cookie: str = "steelyard",
    reveal: bool = False,
    on_fault: Callable[[str], None],
) -> App:
    """The whole application behind its guard. ``on_fault`` gets the trace of a fault of ours.

    ``about`` says what a run's benchmarks ask and how, by their labels; ``by_hand`` makes a call a request again.
    """
    app = _application(on_fault)
    app.state.board = Board(
        store=store,
        reveal=reveal,
        remembered=Remembered(),
        meanwhile=Meanwhile(),
        giving_way=GivingWay(),
        about=about,
        by_hand=by_hand,
    )
    return Guard(app, hosts=allowed.hosts, token=allowed.token, cookie=cookie, refused=_refused)


def _application(on_fault: Callable[[str], None]) -> Starlette:
    try:
        from starlette.applications import Starlette
        from starlette.exceptions import HTTPException
        from starlette.routing import Route
    except ImportError as error:
        raise EnvironmentFault("the dashboard needs Starlette. Try: pip install 'steelyard[serve]'") from error
    routes = [Route(path, _not_held_up(page), methods=["GET"]) for path, page in PAGES.items()]
    routes += [Route(path, form, methods=["POST"]) for path, form in FORMS.items()]
    routes.append(Route("/static/{digest}/{name}", _asset, methods=["GET"]))

    def fault(request: Request, error: Exception) -> Response:
        import traceback

        on_fault("".join(traceback.format_exception(error)))
        return _error(request, 500, "this is a fault of steelyard; its trace stands where `steelyard serve` runs")

    def missing(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return _error(request, error.status_code, "there is no such page" if error.status_code == 404 else error.detail)

    handlers = {SteelyardError: _said, HTTPException: missing, Exception: fault}
    return Starlette(routes=routes, exception_handlers=handlers)


def _not_held_up(page: Callable[[Request], Response]) -> Callable[[Request], Response]:
    """The page, to which downloads give way while it is made."""

    @wraps(page)
    def made(request: Request) -> Response:
        board: Board = request.app.state.board
        with board.giving_way.page():
            return page(request)

    return made


def _said(request: Request, error: Exception) -> Response:
    """What a user can mend is said as the command line says it."""
    status = 404 if isinstance(error, UnknownName) else 400 if isinstance(error, UsageError) else 500
    return _error(request, status, str(error))


def _error(request: Request, status: int, message: str) -> Response:
    board: Board = request.app.state.board
    return board.page(
        "error.html.j2",
        request,
        status=status,
        title="Not shown",
        message=message,
        back=status == 400 and bool(request.url.query),
    )


def _refused(refusal: Refusal) -> bytes:
    return render("refused.html.j2", refusal=refusal).encode()


def _asset(request: Request) -> Response:
    from starlette.exceptions import HTTPException
    from starlette.responses import Response

    found = assets().get(request.path_params["name"])
    if found is None or found.address != request.url.path:
        raise HTTPException(404)
    headers = {"cache-control": "private, max-age=31536000, immutable"}
    return Response(found.content, media_type=found.kind, headers=headers)
