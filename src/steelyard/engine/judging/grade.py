"""One answer judged: whatever the grader does, the answer is kept and the run goes on."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

from steelyard.benchmarks.benchmark import Deliberate, Grade, Protocol, scores_of
from steelyard.engine.judging.judges import Hearing
from steelyard.secrets import scrub
from steelyard.threads import on_daemon_thread
from steelyard.types import LOST_TEXT, Completion, Sample, Score

GRADING_TIMEOUT_S = 300.0
LOST = "the item's text was lost with a damaged store: ask it in a new run"
LONG_TEXT = 100_000  # characters, beyond which even a quick grader would hold up the clock


async def grade(
    protocol: Protocol, sample: Sample, completion: Completion, hearing: Hearing | None = None
) -> dict[str, Score]:
    """The protocol's scores. A grader that raises or hangs leaves the answer unscored, with the reason.

    ``hearing`` is where the answer stands before its judge, where a model judges.
    """
    if LOST_TEXT in sample.flags:
        return _unscored(protocol, LOST)
    if protocol.deliberate is not None and hearing is not None:
        scores = await _deliberate(protocol, protocol.deliberate, sample, completion, hearing)
        return hearing.booked(scores, protocol.metrics[0])
    if is_quick(protocol, completion):
        return grade_at_once(protocol, sample, completion)
    try:
        async with asyncio.timeout(GRADING_TIMEOUT_S):
            return scores_of(protocol, await _foreign(protocol.grade, sample, completion))
    except TimeoutError:
        reason = f"grading took more than {GRADING_TIMEOUT_S:g} s"
    except Exception as error:  # noqa: BLE001 - the boundary where a grader's errors are attributed to it
        reason = _blame(error)
    return _unscored(protocol, reason)


def is_quick(protocol: Protocol, completion: Completion) -> bool:
    """Whether no clock is held up by judging the answer in passing."""
    return protocol.inline and protocol.deliberate is None and len(completion.text) < LONG_TEXT


def grade_at_once(protocol: Protocol, sample: Sample, completion: Completion) -> dict[str, Score]:
    """The scores of an answer that is quick to judge; a grader that raises leaves it unscored."""
    if LOST_TEXT in sample.flags:
        return _unscored(protocol, LOST)
    try:
        return scores_of(protocol, protocol.grade(sample, completion))
    except Exception as error:  # noqa: BLE001 - the boundary where a grader's errors are attributed to it
        return _unscored(protocol, _blame(error))


async def _foreign(judge: Grade, sample: Sample, completion: Completion) -> Any:
    """What a grader says that may take its time: a function on a thread of its own, or a coroutine."""
    judged: Any
    if inspect.iscoroutinefunction(judge):
        judged = judge(sample, completion)
    else:
        judged = await on_daemon_thread(judge, sample, completion)
    return await judged if inspect.isawaitable(judged) else judged


async def _deliberate(
    protocol: Protocol, deliberate: Deliberate, sample: Sample, completion: Completion, hearing: Hearing
) -> dict[str, Score]:
    """What the judge says. Its calls have time limits of their own, so it always ends."""
    try:
        return await deliberate(sample, completion, hearing.ask)
    except Exception as error:  # noqa: BLE001 - the boundary where a grader's errors are attributed to it
        return _unscored(protocol, _blame(error))


def _blame(error: Exception) -> str:
    return scrub(f"grading failed: {type(error).__name__}: {error}")


def _unscored(protocol: Protocol, reason: str) -> dict[str, Score]:
    return {metric: Score(value=None, reason=reason) for metric in protocol.metrics}
