"""The one writer of a run: what has gathered while the last commit went on goes into the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from steelyard.engine.work import Work
from steelyard.store import NewCall, NewScore, Store

LARGEST_BATCH = 500


class Writer:
    """The one writer: takes what has gathered while the last commit went on, and commits it in one transaction."""

    def __init__(self, store: Store, session: int) -> None:
        self._store, self._session = store, session
        self._queue: asyncio.Queue[tuple[Work | None, Callable[[Work], None]]] = asyncio.Queue()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="steelyard-writer")

    def submit(self, work: Work, then: Callable[[Work], None]) -> None:
        """Have the call written, or the scores where it has an id already; ``then`` is called when it is durable."""
        self._queue.put_nowait((work, then))

    async def serve(self) -> None:
        """Commit batch after batch until cancelled; raise where the store cannot be written."""
        loop = asyncio.get_running_loop()
        while True:
            batch = [await self._queue.get()]
            while len(batch) < LARGEST_BATCH and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            await loop.run_in_executor(self._thread, self._write, [work for work, _ in batch if work])
            for work, then in batch:
                then(work)  # type: ignore[arg-type]

    async def drain(self) -> None:
        """Return when everything handed in so far is durable."""
        drained = asyncio.Event()
        self._queue.put_nowait((None, lambda _: drained.set()))
        await drained.wait()

    def close(self) -> None:
        """End the writer's thread after what it is doing."""
        self._thread.shutdown()

    def _write(self, batch: Sequence[Work]) -> None:
        calls = [work for work in batch if work.call_id is None]
        scores = [work for work in batch if work.call_id is not None]
        ids = self._store.append(list(map(self._new_call, calls)), list(map(_new_score, scores)))
        for work, call_id in zip(calls, ids, strict=True):
            work.call_id = call_id

    def _new_call(self, work: Work) -> NewCall:
        assert work.call is not None
        return NewCall(
            cell=work.cell.row,
            session=self._session,
            position=work.position,
            sample=work.sample,
            call=work.call,
            started_at_s=work.started_at_s,
            ended_at_s=work.ended_at_s,
            reused_from=work.reused.id if work.reused else None,
            saved_usd=work.reused.cost_usd if work.reused else None,
        )


def _new_score(work: Work) -> NewScore:
    assert work.call_id is not None
    protocol = work.cell.cell.task.protocol
    return NewScore(call=work.call_id, grader=protocol.name, grader_version=protocol.version, scores=work.scores)
