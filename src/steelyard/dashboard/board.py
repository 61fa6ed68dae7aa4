"""What every page has at hand: the store, what may be shown, and what was computed before.

What takes long (charts, comparisons, trends over many records) is kept until an answer or a judgement is written.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from typing import TYPE_CHECKING, TypeVar

from msgspec import Struct

from steelyard.dashboard.rendering import render
from steelyard.errors import StoreError, UsageError
from steelyard.report.evidence import Evidence
from steelyard.store import Store

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import HTMLResponse

T = TypeVar("T")
About = Callable[[Evidence], Mapping[str, str]]
MOST_KEPT = 24
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
                if key not in self._found:
                    made = make()
                    with self._lock:
                        self._found[key] = made
                        while len(self._found) > MOST_KEPT:
                            self._found.popitem(last=False)
                with self._lock:
                    self._found.move_to_end(key)
                    return self._found[key]  # type: ignore[return-value]  # each key is made by one kind of call
        finally:
            with self._lock:
                if not making.locked():
                    self._making.pop(key, None)


class Board(Struct, frozen=True, kw_only=True):
    """An open store behind the pages. ``reveal``: the texts of confidential benchmarks are shown too.

    ``about`` says what a run's benchmarks ask and how, by their labels.
    """

    store: Store
    reveal: bool
    remembered: Remembered
    about: About

    def remember(self, what: str, key: Hashable, make: Callable[[], T]) -> T:
        """The result of ``make``, which is kept as long as the store stays as it is."""
        return self.remembered.get((what, key, self.store.pages.state()), make)

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
