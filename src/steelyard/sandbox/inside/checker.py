"""The process of the test: it sees the judged function as a stub that sends arguments and receives plain values.

The verdict is *passed* only when control has come past the last line of the test.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable
from typing import Any, NoReturn

from steelyard.sandbox.inside import frames
from steelyard.sandbox.inside.candidate import RAISED, UNSENDABLE, VALUE, described
from steelyard.sandbox.inside.literals import MOST_BYTES, CannotCross, decode, encode

PASSED, FAILED, CRASHED = "passed", "failed", "crashed"
TEST = "<test>"


class _Ended(BaseException):
    """Nothing more can come of this test; no ``except Exception`` in it may hold that up."""

    def __init__(self, outcome: str, reason: str) -> None:
        super().__init__(reason)
        self.outcome = outcome
        self.reason = reason


class CandidateError(Exception):
    """The judged function raised something that is not a built-in exception."""


def judge(context: str, test: str, entry_point: str, calls: int, replies: int) -> tuple[str, str]:
    """Run ``context`` and ``test``, in which ``entry_point`` is the judged function. Outcome and reason."""
    namespace: dict[str, Any] = {}
    try:
        _await_definition(replies)
        exec(compile(context, "<context>", "exec"), namespace)  # noqa: S102 - the benchmark's own words
        namespace[entry_point] = _stub(calls, replies)
        exec(compile(test, TEST, "exec"), namespace)  # noqa: S102 - the benchmark's own test
    except _Ended as ended:
        return ended.outcome, ended.reason
    except BaseException as error:  # noqa: BLE001 - a test says no by raising, whatever it raises
        return FAILED, described(error).decode("utf-8", "replace") + _place(error)
    return PASSED, ""


def _place(error: BaseException) -> str:
    """The line of the test in which it was raised."""
    line, trace = 0, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == TEST:
            line = trace.tb_lineno
        trace = trace.tb_next
    return f" (line {line} of the test)" if line else ""


def _await_definition(replies: int) -> None:
    kind, text = _reply(replies)
    if kind == RAISED:
        raise _Ended(FAILED, f"the code cannot be run: {text.decode('utf-8', 'replace')}")


def _stub(calls: int, replies: int) -> Callable[..., Any]:
    def stub(*positional: Any, **named: Any) -> Any:
        try:
            frames.send(calls, encode((list(positional), named)))
        except OSError:
            _gone()
        kind, text = _reply(replies)
        if kind == RAISED:
            raise _as_builtin(text.decode("utf-8", "replace"))
        if kind != VALUE:
            reason = text.decode("utf-8", "replace") if kind == UNSENDABLE else "an unknown kind of reply"
            raise _Ended(FAILED, f"the returned value cannot be judged: {reason}")
        try:
            return decode(text)
        except CannotCross as error:
            raise _Ended(FAILED, f"the returned value cannot be judged: {error}") from None

    return stub


def _reply(replies: int) -> tuple[bytes, bytes]:
    try:
        message = frames.receive(replies, MOST_BYTES + 1)
    except frames.TooLong as error:
        raise _Ended(FAILED, f"the returned value cannot be judged: {error}") from None
    if message is None:
        _gone()
    return message[:1], message[1:]


def _gone() -> NoReturn:
    raise _Ended(CRASHED, "the code's process ended before its test did")


def _as_builtin(description: str) -> Exception:
    """The built-in exception of that name, so that a test which expects one sees it."""
    name, _, message = description.partition(": ")
    kind = getattr(builtins, name, None)
    if isinstance(kind, type) and issubclass(kind, Exception):
        try:
            return kind(message)
        except TypeError:
            pass  # UnicodeDecodeError and its like take more than a message
    return CandidateError(description)
