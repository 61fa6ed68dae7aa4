"""Samples a second, asked, scored and durably stored, beside what a bare aiohttp loop reaches in the same run.

An endpoint that answers at once runs in a process of its own. Turn by turn: a bare aiohttp+uvloop loop that posts and
decodes, then whole Steelyard runs over as many one-line items (exact match), 64 in flight: in one process, with one
worker (which asks and scores, while the run keeps), and with two. Plain replies first, then streamed ones with every
chunk stamped. The ratio of each turn is what counts; start-up is left out on all sides. Processor time a sample is that
of all processes of the run; the endpoint takes a core of its own where there is one. What a second worker takes beside
one drifts by more than it is: it needs ten turns or so.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import statistics
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import cast

import aiohttp
import msgspec
import uvloop

import steelyard as sy
from steelyard.store import Store

IN_FLIGHT = 64
WORKERS = (None, 1, 2)
CHUNKS = 20
TOKEN = "word "
TEXT = TOKEN * CHUNKS
USAGE = b'"usage":{"prompt_tokens":12,"completion_tokens":20,"total_tokens":32}'
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\n"
ORIGIN = b'"id":"chatcmpl-1","created":1764000000,"model":"instant"'
PLAIN = (
    b'{%s,"object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"%s"},'
    b'"finish_reason":"stop"}],%s}' % (ORIGIN, TEXT.encode(), USAGE)
)
DELTA = b'data: {%s,"object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"%s"}}]}\n\n' % (
    ORIGIN,
    TOKEN.encode(),
)
END = (
    b'data: {%s,"object":"chat.completion.chunk","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
    b'data: {%s,"object":"chat.completion.chunk","choices":[],%s}\n\ndata: [DONE]\n\n' % (ORIGIN, ORIGIN, USAGE)
)


def _chunked(pieces: list[bytes]) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


WHOLE = HEAD % b"application/json" + b"Content-Length: %d\r\n\r\n" % len(PLAIN) + PLAIN
STREAM = HEAD % b"text/event-stream" + b"Transfer-Encoding: chunked\r\n\r\n" + _chunked([*([DELTA] * CHUNKS), END])


class Instant(asyncio.Protocol):
    """Answers every request as soon as its body is there."""

    def __init__(self) -> None:
        self._pending = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep where to write."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Answer what is complete."""
        self._pending += data
        while (end := self._pending.find(b"\r\n\r\n")) >= 0:
            head = self._pending[:end].lower()
            size = end + 4 + int(head.partition(b"content-length:")[2].partition(b"\r")[0])
            if len(self._pending) < size:
                return
            is_streamed = b'"stream":true' in self._pending[end:size]
            self._pending = self._pending[size:]
            self._transport.write(STREAM if is_streamed else WHOLE)


def serve(pipe: Connection) -> None:
    """Be the endpoint: say the port, stay until the parent ends."""

    async def main() -> None:
        server = await asyncio.get_running_loop().create_server(Instant, "127.0.0.1", 0)
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    uvloop.run(main())


class Message(msgspec.Struct):
    """The part of a reply that is read."""

    content: str | None = None


class Choice(msgspec.Struct):
    """One choice, whole or a piece of it."""

    message: Message | None = None
    delta: Message | None = None


class Body(msgspec.Struct):
    """A reply."""

    choices: list[Choice]


async def bare(url: str, items: int, *, streamed: bool) -> None:
    """The yardstick: post, read, decode every chunk, keep nothing."""
    decode = msgspec.json.Decoder(Body).decode
    asked = iter(range(items))

    async def worker(session: aiohttp.ClientSession) -> None:
        for number in asked:
            body = {"model": "instant", "messages": [{"role": "user", "content": f"Item {number}"}], "stream": streamed}
            async with session.post(f"{url}/chat/completions", data=msgspec.json.encode(body)) as reply:
                if not streamed:
                    assert decode(await reply.read()).choices[0].message
                    continue
                stamps = []
                async for line in reply.content:
                    if line.startswith(b"data: {"):
                        stamps.append(time.perf_counter_ns())
                        decode(line[6:])
                assert len(stamps) == CHUNKS + 2

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await asyncio.gather(*(worker(session) for _ in range(IN_FLIGHT)))


def steelyard(url: str, items: int, workers: int | None, *, streamed: bool) -> tuple[float, float]:
    """Answers a second of a whole run (asked, stored, scored, stored again), and processor microseconds a sample."""
    extra = {} if streamed else {"stream": False}
    model = sy.ModelSpec(id="m", provider="openai", model="instant", base_url=url, concurrency=IN_FLIGHT, extra=extra)
    with tempfile.TemporaryDirectory() as folder:
        rows = ({"question": f"Item {number}", "answer": TEXT.strip()} for number in range(items))
        file, store = Path(folder) / "instant.jsonl", Path(folder) / "s.db"
        file.write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in rows))
        run = sy.run([model], [str(file)], store=store, workers=workers, on_message=lambda text: None)
        accuracy, rate = run.estimate("accuracy"), run.estimate("requests_per_second").value
        assert (accuracy.value, accuracy.n) == (1.0, items)
        assert rate is not None
        with Store.open(store) as opened:
            (session,) = opened.sessions(run.info.id)
        return rate, 1e6 * session.resources["cpu_s"] / items


def main() -> None:
    """Measure in turns and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--turns", type=int, default=11)
    options = parser.parse_args()
    pipe, child = multiprocessing.get_context("spawn").Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(child,), daemon=True)
    server.start()
    url = f"http://127.0.0.1:{pipe.recv()}/v1"
    for streamed in (False, True):
        steelyard(url, 100, None, streamed=streamed)
        floors: list[float] = []
        ours: dict[int | None, list[tuple[float, float]]] = {workers: [] for workers in WORKERS}
        for _ in range(options.turns):
            began = time.perf_counter()
            uvloop.run(bare(url, options.items, streamed=streamed))
            floors.append(options.items / (time.perf_counter() - began))
            for workers in WORKERS:
                ours[workers].append(steelyard(url, options.items, workers, streamed=streamed))
        kind = f"streamed, {CHUNKS} chunks" if streamed else "plain"
        print(f"{kind:20} bare aiohttp      {statistics.median(floors):7,.0f}/s")
        for workers, turns in ours.items():
            rate, cpu_us = (statistics.median(column) for column in zip(*turns, strict=True))
            ratio = statistics.median(rate / floor for (rate, _), floor in zip(turns, floors, strict=True))
            name = "one process" if workers is None else f"{workers} worker{'s' * (workers > 1)}"
            print(f"{'':20} {name:16}  {rate:7,.0f}/s   ratio {ratio:.2f}   {cpu_us:4.0f} us of processor a sample")
        dearer = [second / first - 1 for (_, first), (_, second) in zip(ours[1], ours[2], strict=True)]
        low, _, high = statistics.quantiles(dearer) if len(dearer) > 1 else dearer * 3
        print(f"{'':20} a second worker   {statistics.median(dearer):+.1%} of processor a sample", end="")
        print(f" (middle half of the turns {low:+.1%} to {high:+.1%})")
    server.terminate()


if __name__ == "__main__":
    main()
