"""Calls on threads of their own: one whose loop has ended meanwhile is in nobody's way."""

import asyncio
import threading
from queue import SimpleQueue

from steelyard.threads import on_daemon_thread


class Closing(asyncio.SelectorEventLoop):
    """Closed just after somebody looked whether it is."""

    is_seen = True

    def is_closed(self):
        return self.is_seen and super().is_closed()


def test_a_thread_whose_loop_was_closed_meanwhile_serves_the_next_call():
    began, may_end = SimpleQueue(), threading.Event()

    def slow():
        began.put(threading.current_thread())
        may_end.wait()

    async def given_up():
        asked = asyncio.create_task(on_daemon_thread(slow))
        thread = await asyncio.to_thread(began.get)
        asked.cancel()
        return thread

    loop = Closing()
    thread = loop.run_until_complete(given_up())
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    loop.is_seen = False
    may_end.set()
    thread.join(0.3)
    loop.is_seen = True
    assert asyncio.run(asyncio.wait_for(on_daemon_thread(threading.current_thread), 10)) is thread
