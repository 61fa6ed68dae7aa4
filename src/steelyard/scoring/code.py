"""Code as the answer: right when its test, run in the sandbox, comes to its end."""

from __future__ import annotations

from steelyard import sandbox
from steelyard.sandbox import Limits, Program, Verdict
from steelyard.types import Score


def grade(program: Program, limits: Limits, answer: str | None) -> Score:
    """Run the program's test. ``answer`` is the code as extracted; ``None`` says that the reply held none.

    A fault of the sandbox leaves the answer unscored: it says nothing of the code.
    """
    verdict = sandbox.judge(program, limits)
    if verdict.outcome == "fault":
        return Score(value=None, answer=answer, reason=f"not scored: {verdict.reason}")
    return Score(value=float(verdict.passed), answer=answer, reason=_reason(verdict))


def ready() -> None:
    """Raise ``EnvironmentFault`` where no sandbox holds on this machine."""
    sandbox.choose()


def _reason(verdict: Verdict) -> str | None:
    backend = sandbox.chosen()
    unsafe = "run without a sandbox" if backend is not None and backend.is_unsafe else ""
    told = "" if verdict.passed else f"{verdict.outcome.replace('_', ' ')}: {verdict.reason or 'no reason given'}"
    return "; ".join(filter(None, (told, unsafe))) or None
