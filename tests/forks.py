"""Commands in processes of their own that begin with everything imported: forks of a process that has done so once.

For tests that kill, interrupt or watch what they start: each has its own signals, files and exit code, and is cheap.
What an interpreter does as it starts and ends is seen in `command.steelyard_process` alone.
"""

import contextlib
import importlib
import multiprocessing
import os
import sys
import tempfile
import threading
import time
from multiprocessing.connection import wait
from pathlib import Path

IMPORTED = """
aiohttp charset_normalizer platformdirs.unix rich._emoji_codes scipy.special uvloop
steelyard.api steelyard.benchmarks.judged steelyard.benchmarks.own steelyard.cli.forecast steelyard.cli.live
steelyard.cli.planning steelyard.cli.power steelyard.engine.asking.batch_lane steelyard.engine.asking.system
steelyard.engine.driving steelyard.engine.judging.judges steelyard.engine.processes.scribe
steelyard.engine.processes.shared_lane steelyard.engine.run steelyard.engine.summary
steelyard.engine.weight.calibration steelyard.plan.stopping steelyard.prices steelyard.providers.batches
steelyard.providers.function steelyard.providers.openai steelyard.report.comparing.verdict steelyard.report.short
steelyard.report.spending steelyard.report.terminal steelyard.sandbox steelyard.scoring.judge steelyard.scoring.number
steelyard.stats.intervals steelyard.stats.paired steelyard.stats.power steelyard.stats.quantiles steelyard.stats.ratios
steelyard.store.store
"""
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(IMPORTED.split())
LOOKING = threading.Lock()
"""How a process ended can be read once, and ``multiprocessing`` looks as it starts the next: one thread at a time."""


class Started:
    """``steelyard`` with these words, begun; ``settings`` are values of its modules by (module, name).

    As much of ``subprocess.Popen`` as is used.
    """

    def __init__(self, *words, settings=None):
        self._said = [Path(tempfile.mkstemp(prefix=name, dir=Path.cwd().parent)[1]) for name in ("stdout", "stderr")]
        told = ([str(word) for word in words], settings or {}, os.getcwd(), dict(os.environ), self._said)
        self._process = FORKS.Process(target=_carry_out, args=told, daemon=True)
        with LOOKING:
            self._process.start()
        self.pid, self.kill = self._process.pid, self._process.kill

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.wait()

    @property
    def returncode(self):
        with LOOKING:
            return self._process.exitcode

    def poll(self):
        return self.returncode

    def send_signal(self, number):
        """Have it take the signal: of two that wait to be taken only one would arrive."""
        os.kill(self.pid, number)
        while self._has_waiting(number):
            time.sleep(0.01)

    def _has_waiting(self, number):
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
            waiting = [line.split()[1] for line in lines if line.startswith(("SigPnd", "ShdPnd"))]
            return any(int(mask, 16) >> (number - 1) & 1 for mask in waiting)
        return False

    def wait(self, timeout=60):
        wait([self._process.sentinel], timeout)
        assert self.returncode is not None, f"still at work after {timeout} s"
        return self.returncode

    def communicate(self, timeout=60):
        self.wait(timeout)
        return tuple(path.read_text("utf-8") for path in self._said)


def _carry_out(words, settings, folder, environment, said):
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for number, path in enumerate(said, 1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_APPEND), number)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", encoding="utf-8", closefd=False) for number in (1, 2))
    sys.argv = ["steelyard", *words]
    for (module, name), value in settings.items():
        setattr(importlib.import_module(module), name, value)
    from steelyard.cli import main

    sys.exit(main(words))
