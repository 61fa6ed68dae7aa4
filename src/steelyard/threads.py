"""Foreign synchronous code from an event loop, on a thread that cannot keep the process alive."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


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

    def work() -> None:
        value: Any = None
        error: BaseException | None = None
        try:
            value = call(*arguments)
        except StopIteration as stop:
            error = RuntimeError(f"StopIteration left the call: {stop}")  # a future cannot hold StopIteration
        except BaseException as raised:  # noqa: BLE001 - whatever it is, it belongs to who awaits the call
            error = raised
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, value, error)

    threading.Thread(target=work, name="steelyard-call", daemon=True).start()
    return await result
