"""A local HTTP server that answers by a script: for tests of the client and the engine."""

import asyncio
import json
import threading
from contextlib import contextmanager

from aiohttp import web


class Server:
    """Runs on a thread of its own; ``handle(body, number)`` is an async function from the request to a response."""

    def __init__(self, handle):
        self._handle = handle
        self.requests = []
        self.headers = []
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def start(self):
        self._thread.start()
        assert self._ready.wait(60)

    def stop(self):
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/v1"

    def _serve(self):
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._start())
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(self._end())
        self._loop.close()

    async def _end(self):
        await self._runner.cleanup()
        answering = asyncio.all_tasks() - {asyncio.current_task()}
        for task in answering:
            task.cancel()
        await asyncio.gather(*answering, return_exceptions=True)

    async def _start(self):
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]

    async def _answer(self, request):
        body = await _body(request)
        self.requests.append({"path": request.path} | (body if isinstance(body, dict) else {}))
        self.headers.append(dict(request.headers))
        return await self._handle(request, body, len(self.requests))


async def _body(request):
    """The JSON of a request, or the JSON lines of the file in its form."""
    if request.content_type != "multipart/form-data":
        return await request.json() if request.can_read_body else {}
    form = await request.post()
    return [json.loads(line) for line in form["file"].file.read().splitlines()]


@contextmanager
def serving(handle):
    server = Server(handle)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def chunk(**delta):
    return {"model": "m-2026", "system_fingerprint": "fp1", "choices": [{"delta": delta, "finish_reason": None}]}


def finish(reason="stop"):
    return {"choices": [{"delta": {}, "finish_reason": reason}]}


def usage(prompt=7, completion=3):
    return {"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": completion}}


async def stream(request, parts, *, gap_s=0.0, done=True, raw=False):
    """Send ``parts`` as server-sent events, or as raw bytes."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for part in parts:
        await response.write(part if raw else f"data: {json.dumps(part)}\n\n".encode())
        if gap_s:
            await asyncio.sleep(gap_s)
    if done and not raw:
        await response.write(b"data: [DONE]\n\n")
    return response


def say(text, reason="stop"):
    """A handler that streams one answer."""

    async def handle(request, body, number):
        return await stream(
            request, [chunk(role="assistant", content=""), chunk(content=text), finish(reason), usage()]
        )

    return handle
