"""A llama.cpp server in a process of its own: started on a free port, watched, weighed, ended.

The child runs this module as a program. Its threads, its memory and its crashes are its own; it inherits no API key,
and it ends when its parent does, even by ``kill -9``: then its standard input closes, and it exits.

Threads: as many as physical cores, with a short spin at OpenMP's barriers. With the default spin, a server that
shares its cores with a busy process drops from about 100 to 9 tokens/s.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.metadata
import importlib.util
import json
import os
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
from typing import IO, Any

from steelyard.errors import EnvironmentFault
from steelyard.threads import on_daemon_thread

SLOTS = 4
CONTEXT_PER_SLOT = 4096
SPIN_COUNT = "2000"
START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 5.0
DEATH_TIMEOUT_S = 5.0
HEALTH_TIMEOUT_S = 5.0
LOG_LINES = 6
LOG_VERBOSITY = 2  # warnings and errors: no line for each request
INHERITED = (
    *("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TMPDIR", "PYTHONPATH", "LD_LIBRARY_PATH"),
    *("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_PROC_BIND", "OMP_PLACES"),
    *("SYSTEMROOT", "TEMP", "TMP", "USERPROFILE"),
)


class LlamaServer:
    """One model served on 127.0.0.1 by a child process. Several models side by side are several of these.

    ``threads=None`` takes the physical cores; ``context_per_slot`` is what prompt and answer of one request share.
    """

    def __init__(
        self,
        weights: Path,
        *,
        alias: str | None = None,
        slots: int = SLOTS,
        context_per_slot: int = CONTEXT_PER_SLOT,
        threads: int | None = None,
        start_timeout_s: float = START_TIMEOUT_S,
    ) -> None:
        self.weights = weights
        self.alias = alias or weights.stem
        self.slots = slots
        self.context_per_slot = context_per_slot
        self.threads = threads or physical_cores()
        self.start_timeout_s = start_timeout_s
        self.url: str | None = None
        self.log: Path | None = None
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        """The child, while it runs."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    async def start(self) -> None:
        """Start the child and wait until it answers; raises ``EnvironmentFault`` with its last words where it dies."""
        if self.pid is not None:
            return
        runtime_version()
        with _log_file() as log:
            self.log = Path(log.name)
            self._process = await asyncio.create_subprocess_exec(
                *self._command(),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env=child_environment(),
            )
        try:
            async with asyncio.timeout(self.start_timeout_s):
                self.url = await self._address()
                await _until_healthy(self.url)
        except BaseException as error:
            words = self.last_words()
            await self.stop(keep_log=True)
            if isinstance(error, TimeoutError):
                waited = f"did not answer within {self.start_timeout_s:g} s"
                raise EnvironmentFault(f"llama.cpp with {self.weights} {waited}. {words}") from error
            raise

    async def stop(self, *, keep_log: bool = False) -> None:
        """End the child: asked first, then killed. Safe to call twice."""
        process, self._process, self.url = self._process, None, None
        if process is None:
            return
        crashed = process.returncode is not None
        await _end(process)
        if self.log is not None and not (keep_log or crashed):
            self.log.unlink(missing_ok=True)

    async def death(self, within_s: float = 1.0) -> str | None:
        """How the child ended, if it has or does so ``within_s`` seconds; ``None`` while it lives."""
        if self._process is None:
            return "it was stopped"
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), within_s)
        code = self._process.returncode
        return None if code is None else f"it ended with {_ending(code)}. {self.last_words()}"

    def last_words(self) -> str:
        """The last lines of the child's log, and where the rest stands."""
        try:
            lines = self.log.read_text(errors="replace").splitlines()[-LOG_LINES:] if self.log else []
        except OSError:
            lines = []
        said = " | ".join(line.strip() for line in lines if line.strip()) or "nothing"
        return f"It said: {said} (log: {self.log})"

    def _command(self) -> list[str]:
        return [
            *(sys.executable, "-P", "-m", "steelyard.providers.llamacpp"),
            *("--model", str(self.weights), "--alias", self.alias),
            *("--slots", str(self.slots), "--context-per-slot", str(self.context_per_slot)),
            *("--threads", str(self.threads)),
        ]

    async def _address(self) -> str:
        assert self._process is not None
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            how = await self.death(within_s=DEATH_TIMEOUT_S) or f"it gave no address. {self.last_words()}"
            raise EnvironmentFault(f"llama.cpp could not serve {self.weights}: {how}")
        return str(json.loads(line)["url"])


def runtime_version() -> str:
    """The version of xllamacpp on this machine; its absence is an ``EnvironmentFault`` that names the extra."""
    try:
        return importlib.metadata.version("xllamacpp")
    except importlib.metadata.PackageNotFoundError as error:
        raise EnvironmentFault("local models need xllamacpp. Try: pip install 'steelyard[local]'") from error


def physical_cores() -> int:
    """The physical cores that this process may use, at least 1; a container's share counts."""
    import psutil

    cores: int = psutil.cpu_count(logical=False) or os.cpu_count() or 1
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cores
    return max(1, min(cores, allowed, _container_share() or cores))


def _container_share() -> int | None:
    """Cores granted by cgroup v2's ``cpu.max``, rounded up; ``None`` where nothing limits them."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return None if quota == "max" else -(-int(quota) // int(period))
    except (OSError, ValueError):
        return None


def child_environment() -> dict[str, str]:
    """What the child may know: where things are and how to spin, no key and no proxy."""
    kept = {name: os.environ[name] for name in INHERITED if name in os.environ}
    return {"GOMP_SPINCOUNT": SPIN_COUNT} | kept


def serve(options: argparse.Namespace) -> None:
    """Be the child: load the model, say where it answers as one line of JSON, stay until the parent is gone."""
    parent = os.getppid()
    threading.Thread(target=_exit_at_end_of_input, daemon=True).start()
    answers = _keep_stdout_clean()
    import xllamacpp

    try:
        server = xllamacpp.Server(_parameters(xllamacpp, options))
    except Exception as error:  # noqa: BLE001 - whatever it is, the parent quotes it from the log
        sys.stderr.write(f"{error}\n")
        sys.stderr.flush()
        os._exit(1)  # an orderly end would trip over the thread that reads standard input
    with answers:
        answers.write(json.dumps({"url": server.listening_address}) + "\n")
    while os.getppid() == parent:  # a forked sibling may hold the other end of standard input
        time.sleep(1.0)


def _parameters(xllamacpp: Any, options: argparse.Namespace) -> Any:
    """Our settings over llama.cpp's own. Its host-memory prompt cache is off: it would cost up to 8 GiB and time."""
    params = xllamacpp.CommonParams()
    params.model.path = options.model
    params.model_alias = {options.alias}
    params.n_parallel = options.slots
    params.n_ctx = options.slots * options.context_per_slot
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = options.threads
    params.endpoint_slots = params.endpoint_props = True
    params.cache_ram_mib = 0
    params.offline = True
    params.verbosity = LOG_VERBOSITY
    return params


def _exit_at_end_of_input() -> None:
    while os.read(0, 1024):
        pass
    os._exit(0)


def _keep_stdout_clean() -> IO[str]:
    """Our own line goes to standard output, everything the C++ side prints to standard error."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


async def _until_healthy(url: str) -> None:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def is_healthy() -> bool:
        with contextlib.suppress(OSError), direct.open(f"{url}/health", timeout=HEALTH_TIMEOUT_S) as reply:
            return bool(reply.status == 200)
        return False

    while True:
        if await on_daemon_thread(is_healthy):
            return
        await asyncio.sleep(0.05)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.stdin is not None:
        process.stdin.close()
    for end in (process.terminate, process.kill):
        if process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            end()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), STOP_TIMEOUT_S)


def _log_file() -> IO[bytes]:
    return tempfile.NamedTemporaryFile(prefix="steelyard-llamacpp-", suffix=".log", delete=False)


def _ending(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="steelyard.providers.llamacpp")
    parser.add_argument("--model", required=True)
    parser.add_argument("--alias", required=True)
    parser.add_argument("--slots", type=int, required=True)
    parser.add_argument("--context-per-slot", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    serve(_options())
