"""How long a try may take: one timer for all that are under way, for one of its own each costs four times as much."""

from __future__ import annotations

import asyncio
from types import TracebackType


class Deadlines:
    """Ends what tasks await by ``TimeoutError``, each after as many seconds from its own beginning.

    All take equally long, so the first to begin is the first to end. A cancellation from elsewhere stays one, also when
    both come at once.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._ends_s: dict[Deadline, float] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> Deadline:
        """What the running task awaits within it has so long, from when it is entered."""
        return Deadline(self)

    def add(self, deadline: Deadline, loop: asyncio.AbstractEventLoop) -> None:
        """It begins now."""
        if self._loop is not loop:  # what another loop left behind is over
            self._loop, self._timer = loop, None
            self._ends_s.clear()
        self._ends_s[deadline] = loop.time() + self._seconds
        if self._timer is None:
            self._timer = loop.call_later(self._seconds, self._ring)

    def remove(self, deadline: Deadline) -> None:
        """It has come to its end, in time or not."""
        self._ends_s.pop(deadline, None)

    def _ring(self) -> None:
        """Let pass what is over, and ring again for the next one."""
        assert self._loop is not None
        self._timer = None
        now_s = self._loop.time()
        while self._ends_s:
            first, ends_s = next(iter(self._ends_s.items()))
            if ends_s > now_s:
                self._timer = self._loop.call_later(ends_s - now_s, self._ring)
                return
            self.remove(first)
            first.let_pass()


class Deadline:
    """That of one task."""

    __slots__ = ("_all", "_cancelled_before", "_has_passed", "_task")

    def __init__(self, all_of_them: Deadlines) -> None:
        self._all = all_of_them
        self._has_passed = False

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task, self._cancelled_before = task, task.cancelling()
        self._all.add(self, task.get_loop())

    def let_pass(self) -> None:
        """The time is over."""
        self._has_passed = True
        self._task.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._all.remove(self)
        if not self._has_passed:
            return
        is_ours_alone = self._task.uncancel() <= self._cancelled_before
        if is_ours_alone and kind is asyncio.CancelledError:
            raise TimeoutError from error
