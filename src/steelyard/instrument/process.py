"""The mock in a process of its own, so that it takes no time from the client that is measured against it."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import msgspec

from steelyard.engine.weight.loops import loop_factory
from steelyard.errors import EnvironmentFault, SteelyardError
from steelyard.instrument.mock import Mock
from steelyard.instrument.settings import Settings
from steelyard.types.ready import ready

GRACE_S = 5.0


@contextmanager
def spawned(settings: Settings) -> Iterator[str]:
    """A mock in a new process; yields its base URL. It ends with the block, and with this process."""
    process = subprocess.Popen(
        [sys.executable, "-m", "steelyard.instrument.process"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin
    assert process.stdout
    assert process.stderr
    try:
        process.stdin.write(msgspec.json.encode(settings) + b"\n")
        process.stdin.flush()
        base_url = process.stdout.readline().decode().strip()
        if not base_url:
            raise EnvironmentFault(f"the mock server did not start: {process.stderr.read().decode().strip()[-500:]}")
        yield base_url
    finally:
        process.stdin.close()
        try:
            process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
        process.stderr.close()


def serve(settings: Settings, *, until_end_of_input: bool = False, quietly: bool = False) -> None:
    """Serve in this process until interrupted, or until standard input ends."""

    async def work() -> None:
        async with Mock(settings) as mock:
            gc.collect()
            gc.freeze()  # rounds of the collector would make it late
            print(mock.base_url if quietly else f"mock at {mock.base_url}   figures: GET /stats", flush=True)
            if until_end_of_input:
                async with _end_of_input() as ended:
                    await ended.wait()
            else:
                await mock.serve_forever()

    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(work())


@asynccontextmanager
async def _end_of_input() -> AsyncIterator[asyncio.Event]:
    """Set when the parent closes our standard input, also by its death."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()

    def wait() -> None:
        sys.stdin.buffer.read()
        loop.call_soon_threadsafe(ended.set)

    waiting = loop.run_in_executor(None, wait)
    yield ended
    await waiting


def main() -> int:
    """Read settings as one line of JSON from standard input, print the base URL, serve until the input ends."""
    settings = msgspec.json.decode(sys.stdin.buffer.readline(), type=ready(Settings))
    try:
        serve(settings, until_end_of_input=True, quietly=True)
    except SteelyardError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
