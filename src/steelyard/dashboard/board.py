"""What every page has at hand: the store, what may be shown, and what was computed before.

What takes long (charts, comparisons, trends over many records) is kept until an answer or a judgement is written.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

from msgspec import Struct

from steelyard.dashboard.giving_way import GivingWay
from steelyard.dashboard.rendering import render
from steelyard.errors import StoreError, UsageError
from steelyard.report.evidence import Evidence
from steelyard.store import Store
from steelyard.types import CellInfo, Record, RunInfo, WireRequest

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import HTMLResponse

T = TypeVar("T")
About = Callable[[Evidence], Mapping[str, str]]
ByHand = Callable[[CellInfo, Record, Mapping[str, str]], WireRequest | None]
MOST_KEPT = 24
MOST_AT_ONCE = 20_000
"""So many answers of a run are read while one waits; of more what is kept of it is shown first."""
SOON_S = 0.1
"""So long a page waits for what is being made of a large run."""
GOOD_FOR_S = 60.0
"""So long what was made of a large run is shown as of when it was made."""
LEFT_AFTER_S = 40.0
"""Who has not asked for so long asks no more: a page that nobody sees asks every quarter of a minute."""
LONGEST_PARAMETER = 300
LARGEST_NUMBER = 2**53


class Remembered:
    """The last few results, each as of one state of the store; who asks for one that is being made waits for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: OrderedDict[Hashable, object] = OrderedDict()
        self._making: dict[Hashable, threading.Lock] = {}

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """The result under the key, made if it is not there."""
        with self._lock:
            making = self._making.setdefault(key, threading.Lock())
        try:
            with making:
                with self._lock:
                    if key in self._found:
                        self._found.move_to_end(key)
                        return self._found[key]  # type: ignore[return-value]  # each key is made by one kind of call
                made = make()
                with self._lock:
                    self._found[key] = made
                    while len(self._found) > MOST_KEPT:
                        self._found.popitem(last=False)
                return made
        finally:
            with self._lock:
                if not making.locked():
                    self._making.pop(key, None)


class Making:
    """One result that is made, of a state of the store; once it is ``done`` it has come, or an error in its place."""

    def __init__(self, state: Hashable, make: Callable[[], object]) -> None:
        self.state, self.make, self.done, self.made_s = state, make, threading.Event(), 0.0
        self.asked_s = time.monotonic()
        self.result: object = None
        self.error: Exception | None = None
        self.raised_at: TracebackType | None = None

    def still_holds(self, state: Hashable) -> bool:
        """Whether it need not be made again.

        A page that waited for it must find it when it asks, whatever is written meanwhile.
        """
        if not self.done.is_set() or time.monotonic() < self.made_s + GOOD_FOR_S:
            return True
        return self.state == state and (self.error is None or isinstance(self.error, UsageError))


def soon_s() -> float:
    """Until when a page that begins now waits for what is being made, as the monotonic clock tells it."""
    return time.monotonic() + SOON_S


class Meanwhile:
    """What takes so long that a page does not wait for it: made one after another in a thread of its own.

    What was asked for last comes first, since a page that is open asks again and one that was left does not; what
    nobody asks for any more when its turn comes is not made.
    """

    def __init__(self) -> None:
        self._lock, self._is_at_work = threading.Lock(), False
        self._begun: OrderedDict[Hashable, Making] = OrderedDict()

    def get(self, key: Hashable, state: Hashable, make: Callable[[], T], until_s: float | None = None) -> T | None:
        """The result under the key, or the error that it ended with; ``None`` where it is on its way.

        It is waited for until the monotonic clock shows ``until_s``, as ``soon_s`` tells where that is ``None``.
        """
        with self._lock:
            one = self._begun.get(key)
            if one is None or not one.still_holds(state):
                one = self._begun[key] = Making(state, make)
            one.asked_s = time.monotonic()
            self._begun.move_to_end(key)
            if not (self._is_at_work or one.done.is_set()):
                self._is_at_work = True
                threading.Thread(target=self._work, daemon=True).start()
            done = [other for other, made in self._begun.items() if made.done.is_set()]
            for other in done[: max(0, len(self._begun) - MOST_KEPT)]:  # what is on its way would be begun again
                del self._begun[other]
        if not one.done.wait(max(0.0, (soon_s() if until_s is None else until_s) - time.monotonic())):
            return None
        if one.error is not None:
            raise one.error.with_traceback(one.raised_at)
        return one.result  # type: ignore[return-value]  # each key is made by one kind of call

    def _work(self) -> None:
        while (one := self._next()) is not None:
            self._make(one)

    def _next(self) -> Making | None:
        """What is to be made now; ``None`` ends the work."""
        with self._lock:
            waiting = [(key, one) for key, one in self._begun.items() if not one.done.is_set()]
            left_s = time.monotonic() - LEFT_AFTER_S
            for key, one in waiting:
                if one.asked_s < left_s:
                    del self._begun[key]
            wanted = [one for _, one in waiting if one.asked_s >= left_s]
            self._is_at_work = bool(wanted)
            return wanted[-1] if wanted else None

    def _make(self, one: Making) -> None:
        try:
            one.result = one.make()
        except Exception as error:  # noqa: BLE001 - it is raised where the page is made
            one.error, one.raised_at = error, error.__traceback__
        finally:
            one.made_s = time.monotonic()
            one.done.set()


class Board(Struct, frozen=True, kw_only=True):
    """An open store behind the pages. ``reveal``: the texts of confidential benchmarks are shown too.

    ``about`` says what a run's benchmarks ask and how, by their labels. ``by_hand`` makes a call a request again,
    without the settings that its model does not take; ``None`` where there is no such request.
    """

    store: Store
    reveal: bool
    remembered: Remembered
    meanwhile: Meanwhile
    giving_way: GivingWay
    about: About
    by_hand: ByHand

    def remember(self, what: str, key: Hashable, make: Callable[[], T]) -> T:
        """The result of ``make``, which is kept as long as the store stays as it is."""
        return self.remembered.get((what, key, self.store.pages.state()), make)

    def remember_large(self, what: str, key: Hashable, make: Callable[[], T], until_s: float | None = None) -> T | None:
        """The same of a large run: ``None`` where it is still being made, and the page asks again by itself."""
        return self.meanwhile.get((what, key), self.store.pages.state(), make, until_s)

    def is_large(self, runs: Iterable[RunInfo]) -> bool:
        """Whether any of the runs has more answers than a page reads while one waits for it."""
        return any(self.store.pages.holds_more_than(run.id, MOST_AT_ONCE) for run in runs)

    def page(self, template: str, request: Request, *, status: int = 200, **values: object) -> HTMLResponse:
        """A page of ours as an answer."""
        from starlette.responses import HTMLResponse

        return HTMLResponse(render(template, path=request.url.path, reveal=self.reveal, **values), status_code=status)


def board_of(request: Request) -> Board:
    """The board that the application was made for, as long as its store is there.

    SQLite would make an empty file in the place of one that was removed.
    """
    board: Board = request.app.state.board
    if board.store.file is not None and not board.store.is_there():
        raise StoreError(
            f"the store {board.store.location} is not there any more. Put it back, or end `steelyard serve`"
        )
    return board


def word(request: Request, name: str, known: tuple[str, ...] = (), default: str = "") -> str:
    """A parameter of the address; where it is one of a few words, another one is an error that names them."""
    value = request.query_params.get(name, "").strip()[:LONGEST_PARAMETER] or default
    if known and value not in (*known, default):
        raise UsageError(f"{name} is one of {', '.join(known)}")
    return value


def words(request: Request, name: str, most: int = 20) -> list[str]:
    """A parameter that may stand several times."""
    values = [value.strip()[:LONGEST_PARAMETER] for value in request.query_params.getlist(name)]
    return [value for value in dict.fromkeys(values) if value][:most]


def number(request: Request, name: str, default: int = 0) -> int:
    """A whole number of the address."""
    text = request.query_params.get(name, "").strip()
    if not text:
        return default
    if not text.isdecimal() or not text.isascii() or len(text) > 16 or int(text) > LARGEST_NUMBER:
        raise UsageError(f"{name} is a whole number")
    return int(text)
