"""Synchronous forms of what is asynchronous.

They also work inside a running event loop (a notebook): they then use a loop on a thread of their own.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextlib import closing
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from steelyard.engine.weight.loops import loop_factory

P = ParamSpec("P")
T = TypeVar("T")


def synchronous(name: str, twin: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """The form of an async function that returns when the work is done, with the same parameters and words."""

    @wraps(twin)
    def form(*given: P.args, **named: P.kwargs) -> T:
        try:
            work = twin(*given, **named)
        except TypeError as error:  # nothing has run yet: an argument is wrong, of the form that the caller knows
            raise TypeError(str(error).replace(twin.__name__, name)) from None
        return complete(work)

    form.__name__ = form.__qualname__ = name
    return form


def complete(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end from synchronous code, on a thread of its own where a loop is running already."""
    try:
        asyncio.get_running_loop()
        is_within = True
    except RuntimeError:
        is_within = False
    if not is_within:  # outside the clause above, or whatever fails in the run would seem to follow from it
        return _in_new_loop(work)
    result: list[T] = []
    errors: list[BaseException] = []

    def work_through() -> None:
        try:
            result.append(_in_new_loop(work))
        except BaseException as error:  # noqa: BLE001 - raised again on the caller's thread
            errors.append(error)

    thread = threading.Thread(target=work_through, name="steelyard-run")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return result[0]


def _in_new_loop(work: Coroutine[Any, Any, T]) -> T:
    with closing(work), asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(work)
