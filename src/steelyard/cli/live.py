"""What a user sees while a run goes on: one bar per cell on a terminal, a calm line now and then elsewhere."""

from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING, Any

from steelyard.analysis.wording import amount
from steelyard.report.answers import plain
from steelyard.report.unseen import on_one_line
from steelyard.secrets import scrub

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

    from steelyard.engine.progress import BatchProgress, CellProgress, Progress
    from steelyard.types import RunInfo

REFRESH_S = 0.2
LINE_EVERY_S = 10.0
GAP = "  "
WIDE_ENOUGH_FOR_BARS = 120
SHORTEST_NAME = 12
LONGEST_REASON = 60
WITHOUT_CURSOR = ("dumb", "unknown")
"""Terminals, as TERM names them, on which nothing can be drawn over: they are told what a log is told."""
NOTABLE = 0.1
"""The share of a batch that must have come in anew before a log hears of it again."""


class Display:
    """Shows a ``Progress`` on standard error from a thread of its own, so that drawing never delays an answer."""

    def __init__(self, progress: Progress, *, quiet: bool) -> None:
        self.progress = progress
        progress.say = self._say
        self._quiet = quiet
        self._on_terminal = sys.stderr.isatty() and os.environ.get("TERM") not in WITHOUT_CURSOR and not quiet
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._draw, name="steelyard-display", daemon=True)
        self._bars: Any = None
        self._money: Any = None

    def started(self, run: RunInfo) -> None:
        """The run has its number: start drawing."""
        if not self._quiet:
            print(on_one_line(f"run #{run.number} {run.name}"), file=sys.stderr)
            self._thread.start()

    def __enter__(self) -> Display:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _say(self, text: str) -> None:
        text = plain(scrub(text))
        if (bars := self._bars) is not None:  # which the thread that draws may end now
            bars.console.print(text, markup=False, highlight=False)
        else:
            print(text, file=sys.stderr, flush=True)

    def _draw(self) -> None:
        if self._on_terminal:
            self._draw_bars()
        else:
            self._print_lines()

    def _print_lines(self) -> None:
        batches, ended = BatchLines(), set[int]()
        while not self._ended.wait(LINE_EVERY_S):
            for batch in self.progress.batches:
                if line := batches.line(batch):
                    print(line, file=sys.stderr, flush=True)
            for place, cell in enumerate(self.progress.cells):
                is_news = place not in ended if cell.is_over else cell.finished or cell.held()
                if cell.is_over:
                    ended.add(place)
                if is_news:
                    names = f"{on_one_line(cell.model)}  {on_one_line(cell.label)}"
                    print(f"{names}  {cell_state(cell)}", file=sys.stderr, flush=True)
            if money := money_state(self.progress):
                print(money, file=sys.stderr, flush=True)

    def _draw_bars(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        out = Console(stderr=True)
        columns = (
            TextColumn("{task.fields[model]}", markup=False),
            TextColumn("{task.fields[label]}", style="cyan", markup=False),
            *([BarColumn(bar_width=out.width // 8)] if out.width >= WIDE_ENOUGH_FOR_BARS else []),
            TextColumn("{task.fields[state]}", markup=False),
        )
        with Progress(*columns, console=out, auto_refresh=False) as bars:
            self._bars = bars
            rows: list[Any] = []
            batches: dict[int, Any] = {}
            while True:
                ended = self._ended.wait(REFRESH_S)
                self._update_batches(bars, batches)
                self._update(bars, rows)
                if ended:
                    break
        self._bars = None

    def _update(self, bars: Any, rows: list[Any]) -> None:
        width = bars.console.width
        share = width // 4
        models = names_that_fit([on_one_line(cell.model) for cell in self.progress.cells], share)
        labels = names_that_fit([on_one_line(cell.label) for cell in self.progress.cells], share)
        if width < WIDE_ENOUGH_FOR_BARS and len(set(labels)) == 1:
            labels = [""] * len(labels)
        bar = width // 8 + 1 if width >= WIDE_ENOUGH_FOR_BARS else 0
        room = width - bar - 2 - max(map(len, [*models, "money"]), default=0) - max(map(len, labels), default=0)
        for place in range(len(rows), len(models)):
            planned = self.progress.cells[place].planned
            rows.append(bars.add_task("", total=planned, model=models[place], label=labels[place], state=""))
        for row, cell in zip(rows, self.progress.cells, strict=False):
            bars.update(row, completed=cell.finished, state=cell_state(cell, room))
        self._update_money(bars, room)
        bars.refresh()

    def _update_batches(self, bars: Any, rows: dict[int, Any]) -> None:
        """A bar for each batch that is in progress, gone when it is over."""
        for place, batch in enumerate(self.progress.batches):
            if batch.is_over:
                if (row := rows.pop(place, None)) is not None:
                    bars.remove_task(row)
                continue
            if place not in rows:
                rows[place] = bars.add_task(
                    "", total=batch.requests, model=on_one_line(batch.model), label="", state=""
                )
            came = (batch.answered or 0) + (batch.failed or 0)
            bars.update(rows[place], total=batch.requests, completed=came, state=batch.state())

    def _update_money(self, bars: Any, room: int) -> None:
        """A bar of its own for the money, once there is any to speak of: full when the budget is spent."""
        ledger, state = self.progress.ledger, money_state(self.progress)
        if ledger is None or state is None:
            return
        while len(state) > room and GAP in state:
            state = state.rpartition(GAP)[0]
        if self._money is None:
            self._money = bars.add_task("", total=None, model="money", label="", state="")
        limit_usd, left_usd = ledger.limit_usd, ledger.remaining_usd
        gone_usd = 0.0 if limit_usd is None or left_usd is None else limit_usd - left_usd
        bars.update(self._money, total=limit_usd, completed=gone_usd, state=state)


def names_that_fit(names: Sequence[str], most: int) -> list[str]:
    """The names, long ones without their middle: beginning and end tell them apart."""
    most = max(most, SHORTEST_NAME)
    head = (most - 1) // 2
    return [name if len(name) <= most else f"{name[:head]}…{name[head + 1 - most :]}" for name in names]


class BatchLines:
    """What a log hears of batches: the first news of each, and then only what differs notably."""

    def __init__(self) -> None:
        self._told: dict[tuple[str, int], tuple[str, int]] = {}

    def line(self, batch: BatchProgress) -> str | None:
        """The line to print, if there is one."""
        key, state = (batch.model, batch.number), batch.state()
        came = (batch.answered or 0) + (batch.failed or 0)
        before, came_before = self._told.get(key, ("", 0))
        is_notable = not came_before or abs(came - came_before) >= NOTABLE * batch.requests or came == batch.requests
        is_news = state != before and is_notable
        if batch.is_over or not is_news:
            return None
        self._told[key] = (state, came)
        return f"{batch.model}  {state}"


def money_state(progress: Progress) -> str | None:
    """Spent, left of the budget, and what the whole run comes to at this rate; ``None`` before anything was spent."""
    ledger = progress.ledger
    if ledger is None or not (ledger.used_usd or ledger.limit_usd):
        return None
    parts = [f"${amount(ledger.before_usd + ledger.used_usd)} spent"]
    if ledger.limit_usd is not None and ledger.remaining_usd is not None:
        parts.append(f"${amount(ledger.remaining_usd)} of ${ledger.limit_usd:g} left")
    finished = sum(cell.scored_anew + cell.errored for cell in progress.cells)
    waiting = sum(cell.planned - cell.finished for cell in progress.cells if not cell.is_over)
    if finished:
        parts.append(f"forecast ${amount(ledger.before_usd + ledger.used_usd * (1 + waiting / finished))}")
    if ledger.doubtful_tries:
        parts.append(f"up to ${amount(ledger.doubtful_usd)} of it in doubt")
    return GAP.join(parts)


def cell_state(cell: CellProgress, room: int | None = None) -> str:
    """How a cell stands; where there is no room for all, why it waits is told in a word, and what matters least is
    left out.
    """
    parts = [(importance, text) for importance, text in _parts(cell) if text]
    if room is not None and len(GAP.join(text for _, text in parts)) > room:
        parts = [(importance, text) for importance, text in _parts(cell, short=True) if text]
    while room is not None and len(parts) > 1 and len(GAP.join(text for _, text in parts)) > room:
        parts.remove(min(parts))
    return GAP.join(text for _, text in parts)


def _parts(cell: CellProgress, *, short: bool = False) -> Iterator[tuple[int, str | None]]:
    """What there is to say, in the order in which it is said, each with how much it matters."""
    left_s = cell.remaining_s()
    yield 9, f"{cell.finished:,}/{cell.planned:,}"
    yield 8, None if left_s is None else f"{duration(left_s)} left"
    yield 4, None if cell.stopped else _pace(cell.per_second())
    yield 2, f"{100 * cell.right / cell.scored:.1f} % right" if cell.scored else None
    yield 5, None if cell.cost_usd is None else f"${amount(cell.cost_usd)}"
    yield 1, f"{cell.cached:,} from earlier runs" if cell.cached else None
    yield 7, f"{cell.errored:,} failed" if cell.errored else None
    yield 3, f"{cell.retries:,} {'retry' if cell.retries == 1 else 'retries'}" if cell.retries else None
    yield 6, _stopped(cell, short=short) or cell.held(short=short)


def _stopped(cell: CellProgress, *, short: bool) -> str | None:
    """That nothing more is asked, where not all was; the reason was said in full when it came about."""
    if cell.stopped is None or cell.finished >= cell.planned:
        return None
    return "stopped" if short else f"stopped: {on_one_line(scrub(cell.stopped))[:LONGEST_REASON]}"


def duration(seconds: float) -> str:
    """``12 s``, ``3 min 20 s``, ``2 h 5 min``, ``3 d 4 h``."""
    whole = round(seconds)
    for size, unit, smaller, of_smaller in ((86_400, "d", "h", 3_600), (3_600, "h", "min", 60), (60, "min", "s", 1)):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // of_smaller} {smaller}"
    return f"{whole} s"


def _pace(per_second: float | None) -> str | None:
    if not per_second:
        return None
    if per_second >= 1:
        return f"{per_second:,.1f}/s"
    return f"{60 * per_second:.1f}/min" if 60 * per_second >= 1 else f"{3600 * per_second:.1f}/h"
