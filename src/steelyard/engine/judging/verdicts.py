"""What a judge said in earlier runs, used again: under which key, and for whom nothing is.

The key is that of any answer: who answers, every field of what it is asked, and which answer to which item it is asked
about, so that the verdict on the second answer to an item is another than that on the first. A run never uses what it
asked itself.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from steelyard.engine.writer import patiently
from steelyard.plan.names import OF_THE_USER
from steelyard.providers.interface import Provider
from steelyard.store.nouns import Known, Remembered
from steelyard.types import ModelSpec, Request

if TYPE_CHECKING:
    from steelyard.store import Store


def key_of_verdict(spec: ModelSpec, provider: Provider, request: Request, asked: str) -> bytes | None:
    """The digest under which a judge's reply is found again; ``None`` where its judge is code without a version.

    ``asked`` is the form in which judges are asked, with the item and the repeat of the answer that is judged.
    """
    version = spec.version or getattr(provider, "version", None)
    if spec.provider in OF_THE_USER and version is None:
        return None
    origin = provider.origin if version is None else f"{provider.origin}@{version}"
    return request.digest(f"{spec.provider} {origin}", about=asked)


class Verdicts:
    """The judges' replies that one run, or one grading of what is stored, may use.

    ``tell`` hears where the store is waited for.
    """

    def __init__(
        self,
        store: Store,
        run_id: str | None = None,
        *,
        since_s: float = 0.0,
        tell: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._tell = tell
        self._store, self._run_id, self._since_s, self._before_s = store, run_id, since_s, time.time()
        self._known: dict[str, asyncio.Task[Known]] = {}

    async def find(self, digest: bytes, judge: str) -> Remembered | None:
        """What the judge said to this, if it was asked before; what it was asked at all is read once."""
        if judge not in self._known:
            self._known[judge] = asyncio.create_task(patiently(partial(self._read, judge), self._tell))
        known = await asyncio.shield(self._known[judge])
        if digest not in known:
            return None
        find = partial(
            self._store.verdicts.find,
            known,
            digest,
            judge,
            but_not_run=self._run_id,
            since_s=self._since_s,
            before_s=self._before_s,
        )
        return await patiently(find, self._tell)

    def _read(self, judge: str) -> Known:
        return self._store.verdicts.known(
            judge, but_not_run=self._run_id, since_s=self._since_s, before_s=self._before_s
        )
