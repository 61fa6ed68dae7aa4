"""Untrusted code, judged: ``choose`` a sandbox that holds on this machine, then ``judge`` programs in it.

The choice is made once in a process, by a self-test. Where nothing holds, it is refused; only ``allow_unsafe``, which
the command line calls for ``--unsafe-code-execution``, lets code run without a sandbox.
"""

from __future__ import annotations

import os
import threading

from msgspec import Struct

from steelyard.errors import EnvironmentFault
from steelyard.sandbox import backends
from steelyard.sandbox.probe import Finding, self_test
from steelyard.sandbox.sandbox import Sandbox
from steelyard.sandbox.verdict import Backend, Limits, Program, Verdict

__all__ = [
    "Backend",
    "Limits",
    "Program",
    "Sandbox",
    "Verdict",
    "allow_unsafe",
    "choose",
    "chosen",
    "is_unsafe_allowed",
    "judge",
    "judge_async",
]


class _Choice(Struct, frozen=True, kw_only=True):
    backend: Backend
    sandbox: Sandbox
    pid: int


_lock = threading.Lock()
_is_unsafe_allowed = False
_choice: _Choice | None = None


def allow_unsafe(allowed: bool = True) -> None:
    """From now on, in this process only, run code without a sandbox."""
    global _is_unsafe_allowed, _choice
    with _lock:
        _is_unsafe_allowed = allowed
        former, _choice = _choice, None
    if former is not None and former.pid == os.getpid():
        former.sandbox.close()


def is_unsafe_allowed() -> bool:
    """Whether this process may run code without a sandbox."""
    return _is_unsafe_allowed


def choose(*, unsafe: bool = False) -> Backend:
    """The strongest back end that passes its self-test here, or none at all if ``unsafe``.

    Raises ``EnvironmentFault`` where nothing holds. The first call takes a fraction of a second.
    """
    return _chosen(unsafe=unsafe).backend


def chosen() -> Backend | None:
    """The back end that this process uses, for the record; ``None`` while no code was to be judged."""
    return _choice.backend if _choice else None


def judge(program: Program, limits: Limits = Limits()) -> Verdict:  # noqa: B008 - a frozen value
    """Judge one program in the chosen sandbox, from any thread."""
    return _chosen().sandbox.judge(program, limits)


async def judge_async(program: Program, limits: Limits = Limits()) -> Verdict:  # noqa: B008 - a frozen value
    """The async twin of ``judge``."""
    import asyncio

    choice = await asyncio.to_thread(_chosen)  # the first one runs the self-test
    return await choice.sandbox.judge_async(program, limits)


def _chosen(*, unsafe: bool = False) -> _Choice:
    global _choice
    with _lock:
        wants_unsafe = unsafe or _is_unsafe_allowed
        is_ours = _choice is not None and _choice.pid == os.getpid()  # threads do not follow into a fork
        if _choice is None or not is_ours or _choice.backend.is_unsafe != wants_unsafe:
            _choice = _unsafe() if wants_unsafe else _strongest()
        return _choice


def _unsafe() -> _Choice:
    finding = self_test(backends.unsafe())
    if finding.backend is None:
        raise EnvironmentFault(f"code cannot be run here at all: {finding.problem}")
    return _used(finding, finding.backend)


def _strongest() -> _Choice:
    findings = []
    for recipe in backends.recipes():
        finding = self_test(recipe)
        if finding.backend is not None:
            return _used(finding, finding.backend)
        findings.append(finding)
    raise EnvironmentFault(_refusal(findings))


def _used(finding: Finding, backend: Backend) -> _Choice:
    return _Choice(backend=backend, sandbox=Sandbox(finding.recipe), pid=os.getpid())


def _refusal(findings: list[Finding]) -> str:
    """What is missing, and the one command that mends it most simply."""
    tried = "; ".join(f"{finding.recipe.name}: {finding.problem}" for finding in findings)
    needs = findings[0].recipe.needs if findings else "it needs Linux, or a container engine. Try: install docker"
    return (
        f"no sandbox for untrusted code holds on this machine ({tried or 'none is known for it'}). {needs}"
        "; or --unsafe-code-execution to run it unprotected"
    )
