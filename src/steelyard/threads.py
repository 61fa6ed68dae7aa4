"""Foreign synchronous code from an event loop, on threads that cannot keep the process alive.

Threads that have come to the end of a call wait for the next one: starting one costs more than most calls take. A call
that never returns keeps its thread, and another one is started in its place.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")
Job = tuple[Callable[[], Any], Callable[[Any, BaseException | None], None]]

_idle: list[SimpleQueue[Job]] = []  # append and pop of a list are atomic
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_idle.clear)


async def on_daemon_thread(call: Callable[..., T], *arguments: Any) -> T:
    """Like ``asyncio.to_thread``, but a call that never returns does not keep the interpreter from ending."""
    loop = asyncio.get_running_loop()
    result: asyncio.Future[T] = loop.create_future()

    def settle(value: Any, error: BaseException | None) -> None:
        if result.done():
            return
        if error is None:
            result.set_result(value)
        else:
            result.set_exception(error)

    def done(value: Any, error: BaseException | None) -> None:
        with suppress(RuntimeError):  # the loop may be closed at any moment, and then nobody awaits the call
            loop.call_soon_threadsafe(settle, value, error)

    _inbox().put((lambda: call(*arguments), done))
    return await result


def _inbox() -> SimpleQueue[Job]:
    """The inbox of a thread that waits, else of a new one."""
    try:
        return _idle.pop()
    except IndexError:
        inbox: SimpleQueue[Job] = SimpleQueue()
        threading.Thread(target=_serve, args=(inbox,), name="steelyard-call", daemon=True).start()
        return inbox


def _serve(inbox: SimpleQueue[Job]) -> None:
    while True:
        call, done = inbox.get()
        value: Any = None
        error: BaseException | None = None
        try:
            value = call()
        except StopIteration as stop:
            error = RuntimeError(f"StopIteration left the call: {stop}")  # a future cannot hold StopIteration
        except BaseException as raised:  # noqa: BLE001 - whatever it is, it belongs to who awaits the call
            error = raised
        _idle.append(inbox)
        done(value, error)
        del call, done, value, error  # an idle thread holds nothing
