"""The protocol whose grader is a language model: the question as it stands, the answer judged by another model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from steelyard.benchmarks.protocol import Protocol
from steelyard.errors import UsageError
from steelyard.scoring import judge as judging
from steelyard.scoring.judge import Ask, Judge
from steelyard.types import Completion, Prompt, Sample, Score


def judged(
    judge: Judge, render: Callable[[Sample, tuple[Sample, ...]], Prompt], *, is_checked: bool = False
) -> Protocol:
    """The protocol ``judge``. ``is_checked``: the items hold answers that people rated, to check the judge by."""
    unjudged = Protocol(
        name="judge",
        version="",
        kind="chat",
        render=render,
        grade=_not_without_its_judge,
        description="the answer as another model judges it",
        max_tokens=1024,
        metrics=judging.metrics_of(judge, is_checked=is_checked),
    )
    return under(unjudged, judge)


def under(protocol: Protocol, judge: Judge) -> Protocol:
    """The protocol with this judge in place of its own."""

    async def deliberate(sample: Sample, completion: Completion, ask: Ask) -> dict[str, Score]:
        return await judging.grade(judge, sample, completion, ask)

    return msgspec.structs.replace(
        protocol,
        version=judge.version(),
        metrics=judging.metrics_of(judge, is_checked=judging.HUMAN in protocol.metrics),
        description=f"the answer as {judge.identity()['model']} judges it ({judge.mode})",
        judge=judge,
        deliberate=deliberate,
    )


def _not_without_its_judge(sample: Sample, completion: Completion) -> Any:
    raise UsageError("this grader asks a model, which only a run, an import or a rescore can do")
