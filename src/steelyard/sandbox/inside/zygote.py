"""The process that forks: one that has loaded what solutions import, and is asked for one judgement after another.

It never holds what is judged nor the test: each child reads its own part from the control pipe, so that no later child
finds in its inherited memory what an earlier one was given. Both children are confined before they run a word of it.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from steelyard.sandbox.inside import candidate, checker, confinement, frames

PRELOADED = (
    "bisect cmath collections copy dataclasses datetime decimal enum fractions functools hashlib heapq itertools json "
    "math numbers operator random re statistics string textwrap time typing unicodedata"
)
MOST_SOURCE_BYTES = 1 << 24
MOST_VERDICT_BYTES = 4096
TAKEN = b"T"
START_S = 10.0


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How this zygote confines its children."""

    level: confinement.Level
    ruleset: int | None


def main() -> None:
    """Answer judgements until the control pipe closes."""
    asked = json.loads(sys.argv[1])
    confinement.die_with_parent()
    os.environ.clear()
    for name in PRELOADED.split():
        __import__(name)
    setting = prepare(asked["level"], asked["roots"])
    gc.collect()
    gc.freeze()
    frames.send(1, json.dumps({"landlock": setting.ruleset is not None}).encode())
    while (header := frames.receive(0, MOST_VERDICT_BYTES)) is not None:
        frames.send(1, json.dumps(judgement(setting, json.loads(header))).encode())


def prepare(level: confinement.Level, roots: list[str]) -> Setting:
    """What can be done once for all children."""
    if level == "limits":
        return Setting(level=level, ruleset=None)
    confinement.drop_privileges()
    has_landlock = confinement.landlock_version() > 0
    return Setting(level=level, ruleset=confinement.readable_only(roots) if has_landlock else None)


def judgement(setting: Setting, header: dict[str, Any]) -> dict[str, Any]:
    """Fork the code and its checker, wait for the verdict or the end of the time, kill both, say what was seen."""
    ceilings = confinement.Ceilings(cpu_s=header["cpu_s"], memory_bytes=header["memory_bytes"])
    calls_out, calls_in = os.pipe()
    replies_out, replies_in = os.pipe()

    def run_candidate(source: bytes, own: int) -> None:
        os.close(own)  # what is judged has no way to speak to the zygote
        candidate.serve(_text(source), header["entry_point"], calls_out, replies_in)

    def run_checker(source: bytes, verdict: int) -> None:
        context, test = json.loads(source)
        outcome = checker.judge(context, test, header["entry_point"], calls_in, replies_out)
        frames.send(verdict, json.dumps(outcome).encode())

    first = _fork(setting, ceilings, (calls_out, replies_in), run_candidate)
    second = _fork(setting, ceilings, (calls_in, replies_out), run_checker)
    for descriptor in (calls_out, calls_in, replies_out, replies_in):
        os.close(descriptor)
    started = time.monotonic()
    outcome, reason = _verdict(second, started + header["wall_s"])
    wall_s = time.monotonic() - started
    return _told(outcome, reason, wall_s, header, _end(first), _end(second))


@dataclass(frozen=True, kw_only=True)
class Child:
    """A child and the pipe on which it speaks to the zygote."""

    pid: int
    speaks: int


def _fork(
    setting: Setting, ceilings: confinement.Ceilings, keep: tuple[int, ...], work: Callable[[bytes, int], None]
) -> Child:
    """A confined child that has taken its own part from the control pipe."""
    speaks, says = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            _live(setting, ceilings, keep, says, work)
        finally:
            os._exit(1)
    os.close(says)
    ready, _, _ = select.select([speaks], [], [], START_S)
    if not ready or os.read(speaks, 1) != TAKEN:
        sys.exit("a child died before it took its part")  # what is left in the control pipe cannot be told apart
    return Child(pid=pid, speaks=speaks)


def _live(
    setting: Setting,
    ceilings: confinement.Ceilings,
    keep: tuple[int, ...],
    says: int,
    work: Callable[[bytes, int], None],
) -> None:
    os.setpgid(0, 0)
    confinement.die_with_parent()
    source = frames.receive(0, MOST_SOURCE_BYTES)
    if source is None:
        return
    os.write(says, TAKEN)
    for standard in (0, 1):
        os.dup2(2, standard)  # where nothing is read, and what is written is lost
    kept = sorted({0, 1, 2, says, *keep, *([] if setting.ruleset is None else [setting.ruleset])})
    for low, high in zip(kept, [*kept[1:], 1 << 16], strict=True):
        os.closerange(low + 1, high)
    try:
        confinement.confine(setting.level, ceilings, setting.ruleset)
    except BaseException as error:  # noqa: BLE001 - whatever stood in the way, nothing is run
        frames.send(says, json.dumps(("fault", f"confinement failed: {error}")).encode())
        return
    work(source, says)
    os._exit(0)


def _text(source: bytes) -> str:
    return source.decode("utf-8", "surrogatepass")


def _verdict(second: Child, deadline: float) -> tuple[str, str]:
    """What the checker wrote; a checker that died without a word has no verdict."""
    waiting = select.poll()
    waiting.register(second.speaks, select.POLLIN)
    waiting.register(0, select.POLLIN)
    while (left_s := deadline - time.monotonic()) > 0:
        for descriptor, _ in waiting.poll(1 + left_s * 1000):
            if descriptor == 0:
                sys.exit("whoever asked is gone")  # nobody writes now; the children die with this process
            message = frames.receive(second.speaks, MOST_VERDICT_BYTES)
            if message is None:
                return "silent", "the checker's process ended without a verdict"
            outcome, reason = json.loads(message)
            return outcome, reason
    return "timed_out", ""


@dataclass(frozen=True, kw_only=True)
class End:
    """How a child ended; ``code`` is negative for a signal."""

    code: int
    words: bytes | None
    cpu_s: float
    peak_rss_bytes: int


def _end(child: Child) -> End:
    """Kill a child with all its group, and read what it said and used."""
    for kill in (os.killpg, os.kill):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            kill(child.pid, signal.SIGKILL)
    _, status, usage = os.wait4(child.pid, 0)  # a child that was ending by itself keeps its own status
    words = frames.receive(child.speaks, MOST_VERDICT_BYTES)
    os.close(child.speaks)
    return End(
        code=os.waitstatus_to_exitcode(status),
        words=words,
        cpu_s=usage.ru_utime + usage.ru_stime,
        peak_rss_bytes=usage.ru_maxrss * 1024,
    )


def _told(outcome: str, reason: str, wall_s: float, header: dict[str, Any], code: End, check: End) -> dict[str, Any]:
    if code.words:  # the code's process says nothing here, except that it could not be confined
        outcome, reason = json.loads(code.words)
    elif outcome == "crashed":
        outcome, reason = _crash(code, header)
    elif outcome == "timed_out":
        reason = f"no verdict within {header['wall_s']:g} s"
    return {
        "outcome": outcome,
        "reason": reason or None,
        "wall_s": wall_s,
        "cpu_s": code.cpu_s,
        "peak_rss_bytes": code.peak_rss_bytes,
    }


def _crash(code: End, header: dict[str, Any]) -> tuple[str, str]:
    if code.cpu_s >= header["cpu_s"]:
        return "timed_out", f"used its {header['cpu_s']} s of processor time"
    if code.code == -signal.SIGKILL:
        return "crashed", "its process was killed, or cut itself off, before its test ended"
    if code.code < 0:
        return "crashed", f"died of {signal.Signals(-code.code).name} before its test ended"
    return "crashed", f"left with exit code {code.code} before its test ended"


if __name__ == "__main__":
    main()
