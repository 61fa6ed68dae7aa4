"""Answers of earlier runs used again: what is looked up, under which key, and for whom nothing is.

The key covers everything that can change an answer, and nothing else: who answers, and every field of the request, the
repeat's index among them. How the answer is graded is no part of it. It is the digest that each call carries anyway, so
there is nothing to keep in step. What a run has asked itself is never used again within it, or its numbers would depend
on the order of arrival.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from steelyard.engine.cells import Cell
from steelyard.engine.writer import patiently
from steelyard.plan.names import OF_THE_USER
from steelyard.plan.plan import Plan
from steelyard.store.nouns import Known, Reusable
from steelyard.types import CellInfo, Request

if TYPE_CHECKING:
    from steelyard.store import Store


class Identity(Struct, frozen=True, kw_only=True):
    """Who answers: what an answer depends on, beside the request."""

    provider: str
    origin: str

    def key(self, request: Request) -> bytes:
        """The digest under which the answer to ``request`` is found again."""
        return request.digest(f"{self.provider} {self.origin}")


def identity(info: CellInfo) -> Identity:
    """The identity of a cell's answers, from what is stored of the cell."""
    model: dict[str, Any] = info.settings.get("model", {})
    return Identity(provider=str(model.get("provider", "")), origin=info.origin)


def why_never(info: CellInfo) -> str | None:
    """Why answers of this cell are never used again; ``None`` where they are."""
    if info.is_floor:
        return "a floor answers anew for nothing"
    if any(asked.get("provider") in OF_THE_USER and asked.get("version") is None for asked in _asked(info)):
        return "a function's answers are used again only if it has a version"
    return None


def _asked(info: CellInfo) -> Iterator[dict[str, Any]]:
    """The settings of every model behind a cell's answers."""
    model = info.settings.get("model", {})
    cascade = model.get("cascade")
    for one in (cascade["cheap"], cascade["dear"]) if cascade else (model,):
        yield one
        if judge := (one.get("confidence") or {}).get("judge"):
            yield judge


class Cache:
    """The answers that one model's cells may use again in one run; ``tell`` hears where the store is waited for."""

    def __init__(
        self,
        store: Store,
        run_id: str | None,
        cells: Sequence[Cell],
        *,
        since_s: float,
        tell: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._store, self._run_id, self._since_s, self._tell = store, run_id, since_s, tell
        self._origins = {cell.info.origin for cell in cells if why_never(cell.info) is None}
        self._known: Known | None = None

    async def open(self) -> None:
        """Learn which digests the store knows, and where, so that a question without an answer costs no look-up."""
        if self._known is None:
            await patiently(self.read, self._tell)

    def read(self) -> None:
        """The same, here and now."""
        known = self._store.answers.known
        self._known = known(self._origins, run_id=self._run_id, since_s=self._since_s) if self._origins else Known()

    @property
    def is_empty(self) -> bool:
        """Whether nothing is known."""
        return not self._known

    def may_hold(self, digest: bytes) -> bool:
        """Whether it is worth looking."""
        return self._known is not None and digest in self._known

    async def find(self, digests: Sequence[bytes]) -> dict[bytes, Reusable]:
        """The answers to those digests that have one."""
        assert self._known is not None
        find = partial(self._store.answers.find, self._known, digests, run_id=self._run_id, since_s=self._since_s)
        return await patiently(find, self._tell)


def count_known(store: Store, cell: Cell, plan: Plan) -> int:
    """How many of a cell's answers are in the store already, this plan's own earlier ones among them."""
    since_s = oldest_used_s(plan)
    if since_s is None:
        return 0
    cache, key = Cache(store, None, [cell], since_s=since_s), identity(cell.info).key
    cache.read()
    if cache.is_empty:
        return 0
    samples = cell.task.dataset.samples
    return sum(
        cache.may_hold(key(cell.request(position, samples[position], repeat, plan.seed)))
        for position in cell.task.positions
        for repeat in range(cell.info.repeats)
    )


def oldest_used_s(plan: Plan, now_s: float | None = None) -> float | None:
    """Seconds since the epoch before which no answer is used again; ``None`` where none is used at all."""
    if plan.fresh:
        return None
    now_s = time.time() if now_s is None else now_s
    return 0.0 if plan.cache_max_age_s is None else now_s - plan.cache_max_age_s
