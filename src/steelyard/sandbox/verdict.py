"""What goes into the sandbox and what comes out: a program with its test, the limits, the verdict."""

from __future__ import annotations

import math
from typing import Literal

from msgspec import Struct

Outcome = Literal[
    "passed",  # control came past the last line of the test
    "failed",  # the test said no, or the code cannot be run
    "timed_out",  # no verdict within the time allowed
    "crashed",  # the code's process ended before its test did
    "fault",  # the sandbox failed: nothing is known of the code
]
Guarantee = Literal[
    "no network",
    "no file of yours is read",
    "no file is written",
    "no environment variable of yours is seen",
    "no other process is read, signalled or traced",
    "no process is started",
    "memory is capped",
    "time is capped",
    "nothing outlives the verdict",
    "no limit or privilege is raised",
    "the verdict cannot be forged",
]


class Limits(Struct, frozen=True, kw_only=True):
    """What one judgement may take. Processor time is capped a second above ``wall_s``."""

    wall_s: float = 5.0
    memory_bytes: int = 1 << 30

    @property
    def cpu_s(self) -> int:
        """Whole seconds, as the kernel counts them."""
        return math.ceil(self.wall_s) + 1


class Program(Struct, frozen=True, kw_only=True):
    """Code to be judged and the test that judges it.

    ``code`` defines ``entry_point`` and runs in a process of its own. ``test`` is trusted; it runs after ``context`` in
    another process, where ``entry_point`` is a function that asks the first process. Plain built-in values pass between
    the two, so a test may call the function and look at what it returns, not at its object.
    """

    code: str
    test: str
    entry_point: str
    context: str = ""


class Verdict(Struct, frozen=True, kw_only=True):
    """How a program fared. ``reason`` says why it did not pass; times and memory are those of the code's process."""

    outcome: Outcome
    reason: str | None = None
    wall_s: float | None = None
    cpu_s: float | None = None
    peak_rss_bytes: int | None = None

    @property
    def passed(self) -> bool:
        """Whether the test came to its end."""
        return self.outcome == "passed"


class Backend(Struct, frozen=True, kw_only=True):
    """The sandbox that was chosen and what it guarantees, as it is recorded with a run."""

    name: str
    guarantees: tuple[Guarantee, ...]
    has_landlock: bool
    is_unsafe: bool = False
