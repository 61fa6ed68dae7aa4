"""One zygote as seen from outside: started, asked one judgement at a time, killed when it does not answer."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import time
from contextlib import suppress

import msgspec

from steelyard.sandbox.backends import Recipe
from steelyard.sandbox.inside import frames
from steelyard.sandbox.verdict import Limits, Program, Verdict
from steelyard.types.ready import ready

MOST_ANSWER_BYTES = 1 << 16
GRACE_S = 10.0  # beyond the time of a judgement, for forking and killing on a busy machine


class ZygoteLost(Exception):
    """The zygote ended, or did not answer in time."""


class CheckerLost(Exception):
    """The test's own process died. Once, it is an accident; twice, the judged code has a hand in it."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.reason)
        self.verdict = verdict


class Zygote:
    """A running zygote. It lives no longer than the thread that started it."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._process = subprocess.Popen(  # noqa: S603 - our own words; what is judged goes through the pipe
            recipe.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={name: os.environ[name] for name in recipe.environment if name in os.environ},
            cwd="/",
            start_new_session=True,
            bufsize=0,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._asks, self._answers = self._process.stdin.fileno(), self._process.stdout.fileno()
        os.set_blocking(self._asks, False)
        try:
            self.has_landlock: bool = json.loads(self._receive(recipe.start_s))["landlock"]
        except ZygoteLost:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """The process that was started."""
        return self._process.pid

    def judge(self, program: Program, limits: Limits) -> Verdict:
        """Judge one program. ``ZygoteLost`` means that this zygote is of no more use."""
        header = {
            "entry_point": program.entry_point,
            "wall_s": limits.wall_s,
            "cpu_s": limits.cpu_s,
            "memory_bytes": limits.memory_bytes,
        }
        deadline = time.monotonic() + limits.wall_s + GRACE_S
        code = program.code.encode("utf-8", "surrogatepass")
        for part in (json.dumps(header).encode(), code, json.dumps([program.context, program.test]).encode()):
            self._send(len(part).to_bytes(4, "big") + part, deadline)
        answer = json.loads(self._receive(deadline - time.monotonic()))
        answer["reason"] = _printable(answer["reason"])
        if answer["outcome"] == "silent":
            raise CheckerLost(msgspec.convert(answer | {"outcome": "crashed"}, ready(Verdict)))
        return msgspec.convert(answer, ready(Verdict))

    def close(self) -> None:
        """Kill it with everything below it."""
        for kill in (os.killpg, os.kill):
            with suppress(ProcessLookupError, PermissionError):
                kill(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def _send(self, data: bytes, deadline: float) -> None:
        waiting = select.poll()  # select() would refuse the numbers of a process with many connections
        waiting.register(self._asks, select.POLLOUT)
        rest = memoryview(data)
        while rest:
            if not waiting.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise ZygoteLost("the sandbox's process does not read")
            try:
                rest = rest[os.write(self._asks, rest) :]
            except OSError as error:
                raise ZygoteLost(f"the sandbox's process is gone ({error.strerror})") from error

    def _receive(self, within_s: float) -> bytes:
        waiting = select.poll()
        waiting.register(self._answers, select.POLLIN)
        if not waiting.poll(max(0.0, within_s) * 1000):
            raise ZygoteLost("the sandbox's process did not answer in time")
        message = frames.receive(self._answers, MOST_ANSWER_BYTES)
        if message is None:
            raise ZygoteLost("the sandbox's process ended")
        return message


def _printable(reason: str | None) -> str | None:
    """A reason may quote what was judged; it must not steer a terminal."""
    return reason and "".join(letter if letter.isprintable() else " " for letter in reason)
