"""The front: judge programs, from any thread or event loop, on as many zygotes as there are cores.

Each zygote belongs to one thread, which starts it (it dies with that thread), asks it, and starts another where it
died. Callers put their program in a queue and wait for its verdict.
"""

from __future__ import annotations

import asyncio
import os
import queue
import threading
from concurrent.futures import Future

from steelyard.sandbox.backends import Recipe
from steelyard.sandbox.process import CheckerLost, Zygote, ZygoteLost
from steelyard.sandbox.verdict import Limits, Program, Verdict

MOST_SOURCE_BYTES = 1 << 22
TRIES = 2

Job = tuple[Program, Limits, "Future[Verdict]"]


class Sandbox:
    """A queue before a few zygotes of one back end. Threads start with the first program and end with ``close``."""

    def __init__(self, recipe: Recipe, workers: int | None = None) -> None:
        self.recipe = recipe
        self._workers = workers or _cores()
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._zygotes: dict[int, Zygote] = {}

    def judge(self, program: Program, limits: Limits = Limits()) -> Verdict:  # noqa: B008 - a frozen value
        """Run one program and its test; wait for the verdict. A fault of the sandbox is a verdict too."""
        return self._submit(program, limits).result()

    async def judge_async(self, program: Program, limits: Limits = Limits()) -> Verdict:  # noqa: B008 - a frozen value
        """The async twin of ``judge``."""
        return await asyncio.wrap_future(self._submit(program, limits))

    def close(self) -> None:
        """End the threads and their zygotes, once they have done what is queued."""
        with self._lock:
            threads, self._threads = self._threads, []
        for _ in threads:
            self._jobs.put(None)
        for thread in threads:
            thread.join()

    def pids(self) -> list[int]:
        """The zygotes' processes, as they are now."""
        return [zygote.pid for zygote in list(self._zygotes.values())]

    def _submit(self, program: Program, limits: Limits) -> Future[Verdict]:
        future: Future[Verdict] = Future()
        if len(program.code) > MOST_SOURCE_BYTES:
            future.set_result(
                Verdict(outcome="failed", reason=f"the code is longer than {MOST_SOURCE_BYTES} characters")
            )
            return future
        self._start_threads()
        self._jobs.put((program, limits, future))
        return future

    def _start_threads(self) -> None:
        with self._lock:
            while len(self._threads) < self._workers:
                number = len(self._threads)
                thread = threading.Thread(
                    target=self._work, args=(number,), name=f"steelyard-sandbox-{number}", daemon=True
                )
                self._threads.append(thread)
                thread.start()

    def _work(self, number: int) -> None:
        while (job := self._jobs.get()) is not None:
            program, limits, future = job
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(self._judged(number, program, limits))
            except BaseException as error:  # noqa: BLE001 - it belongs to who waits
                future.set_exception(error)
        self._drop(number)

    def _judged(self, number: int, program: Program, limits: Limits) -> Verdict:
        """Judge, once more on a new zygote where the first was lost."""
        verdict = Verdict(outcome="fault")
        for _ in range(TRIES):
            try:
                return self._zygote(number).judge(program, limits)
            except CheckerLost as lost:
                verdict = lost.verdict
            except (ZygoteLost, OSError) as lost:
                verdict = Verdict(outcome="fault", reason=f"sandbox {self.recipe.name}: {lost}")
            self._drop(number)
        return verdict

    def _zygote(self, number: int) -> Zygote:
        if number not in self._zygotes:
            self._zygotes[number] = Zygote(self.recipe)
        return self._zygotes[number]

    def _drop(self, number: int) -> None:
        if zygote := self._zygotes.pop(number, None):
            zygote.close()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
