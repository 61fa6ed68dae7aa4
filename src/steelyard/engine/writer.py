"""The one writer of a run: what has gathered while the last commit went on goes into the next one.

Where the disk is full nothing more is sent: what is in flight is kept in memory and written once there is room again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from steelyard.engine.work import Work
from steelyard.errors import StoreFull
from steelyard.store import NewCall, NewScore, Store

LARGEST_BATCH = 500
TRIED_AGAIN_EVERY_S = 1.0
PATIENCE_S = 600.0


class Writer:
    """The one writer: takes what has gathered while the last commit went on, and commits it in one transaction."""

    def __init__(self, store: Store, session: int, tell: Callable[[str], None]) -> None:
        self._store, self._session, self._tell = store, session, tell
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._patience_s = PATIENCE_S
        self._queue: asyncio.Queue[tuple[Work | None, Callable[[Work], None]]] = asyncio.Queue()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="steelyard-writer")

    def submit(self, work: Work, then: Callable[[Work], None]) -> None:
        """Have the call written, or the scores where it has an id already; ``then`` is called when it is durable."""
        self._queue.put_nowait((work, then))

    async def serve(self) -> None:
        """Commit batch after batch until cancelled; raise where the store cannot be written."""
        while True:
            batch = [await self._queue.get()]
            while len(batch) < LARGEST_BATCH and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            await self._commit([work for work, _ in batch if work])
            for work, then in batch:
                then(work)  # type: ignore[arg-type]

    async def ready(self) -> None:
        """Return when what is paid for from now on can be kept: at once, unless the disk is full."""
        if not self._has_room.is_set():
            await self._has_room.wait()

    def hurry(self) -> None:
        """Wait for room no longer: the run is to end."""
        self._patience_s = 0.0

    async def drain(self) -> None:
        """Return when everything handed in so far is durable."""
        drained = asyncio.Event()
        self._queue.put_nowait((None, lambda _: drained.set()))
        await drained.wait()

    def close(self) -> None:
        """End the writer's thread after what it is doing."""
        self._thread.shutdown()

    async def _commit(self, batch: Sequence[Work]) -> None:
        """Write the batch; where there is no room, hold the run up and try again until patience ends."""
        loop = asyncio.get_running_loop()
        full_since_s: float | None = None
        while True:
            try:
                await loop.run_in_executor(self._thread, self._write, batch)
            except StoreFull as error:
                full_since_s = full_since_s or self._hold(error)
                if time.monotonic() - full_since_s >= self._patience_s:
                    raise StoreFull(self._lost(batch)) from error
                await asyncio.sleep(TRIED_AGAIN_EVERY_S)
            else:
                break
        if full_since_s is not None:
            self._has_room.set()
            self._tell(f"there is room for {self._store.location} again: the run goes on")

    def _hold(self, error: StoreFull) -> float:
        self._has_room.clear()
        self._tell(
            f"{error}; nothing more is sent. Free some space: the run waits {PATIENCE_S / 60:.0f} minutes for it"
        )
        return time.monotonic()

    def _lost(self, batch: Sequence[Work]) -> str:
        waiting = len(batch) + self._queue.qsize()
        return (
            f"the disk with the store {self._store.location} is full: up to {waiting} answers or scores in memory were "
            "lost, all earlier ones are kept. Free some space. Then try: steelyard run --resume last"
        )

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
