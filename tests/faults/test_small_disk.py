"""A disk that is full for real, twice in one run and with a judge: nothing is paid for meanwhile, nothing is lost."""

import asyncio
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pytest

from mounts import UNSHARE, need_mounts
from server import chunk, finish, serving, stream, usage

ITEMS, IN_FLIGHT = 300, 4
SIZE_KB, FILLERS_KB = 14_000, (1_400, 11_400)  # full at 1.2 MB, then at 2.6; the run writes 3.9 and more
ON_THEIR_WAY = 3 * IN_FLIGHT
FILLED = [f'head -c {size_kb}k /dev/zero > "$0/{number}"' for number, size_kb in enumerate(FILLERS_KB, start=1)]
MOUNTED = " && ".join([f'mount -t tmpfs -o size={SIZE_KB}k none "$0"', *FILLED])


@contextmanager
def in_a_small_disk(folder, command):
    """The command as a process with a small file system of its own at ``folder``, two files in it."""
    inside = [*UNSHARE, "sh", "-c", f'{MOUNTED} && exec "$@"', str(folder), *command]
    with subprocess.Popen(inside, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


class Service:
    """A model with long answers, and its judge."""

    def __init__(self):
        self.asked, self.judged = Counter(), Counter()
        self._chance = random.Random(1)

    def requests(self):
        return self.asked.total() + self.judged.total()

    async def reply(self, request, body, number):
        await asyncio.sleep(0.005)
        text = body["messages"][-1]["content"]
        if body["model"] == "judge":
            self.judged[text] += 1
            return await stream(request, [chunk(content="Verdict: CORRECT"), finish(), usage()])
        self.asked[text] += 1
        return await stream(request, [chunk(content=self._chance.randbytes(3_000).hex()), finish(), usage()])


class Told:
    """What a process says on standard error, line by line as it comes."""

    def __init__(self, process):
        self.lines = []
        self._thread = threading.Thread(target=self._read, args=(process.stderr,), daemon=True)
        self._thread.start()

    def _read(self, stderr):
        for line in stderr:
            self.lines.append(line)

    def count(self, words):
        return sum(words in line for line in self.lines)

    def wait_for(self, words, times):
        deadline_s = time.monotonic() + 60
        while self.count(words) < times and time.monotonic() < deadline_s:
            time.sleep(0.01)
        assert self.count(words) == times, self.lines


BY_A_THREAD = [sys.executable, "-m", "steelyard"]
BY_A_PROCESS = [  # as a run does whose answers come by the hundred a second
    sys.executable,
    "-c",
    "from steelyard.engine import writer; writer.PACE_OF_CALLS, writer.FAST_A_SECOND, writer.LEAST_TO_COME = 10, 1, 0; "
    "from steelyard.cli import main; main()",
]


@pytest.mark.parametrize(
    "written",
    [
        pytest.param(BY_A_THREAD, id="by a thread", marks=pytest.mark.long),
        pytest.param(BY_A_PROCESS, id="by a process"),
    ],
)
def test_a_disk_that_fills_twice_holds_model_and_judge_up_and_the_run_ends_as_if_nothing_had_been(tmp_path, written):
    folder = tmp_path / "small"
    folder.mkdir()
    need_mounts(folder)
    Path("q.jsonl").write_text("".join(json.dumps({"question": f"q{i}", "answer": "x"}) + "\n" for i in range(ITEMS)))
    service = Service()
    with serving(service.reply) as server:
        Path("q.yaml").write_text(
            f"benchmark: q\ndata: q.jsonl\njudge: {{model: openai/judge, base_url: '{server.url}'}}\n"
        )
        command = [*written, "run", "q.yaml", "-m", "openai/m", "--base-url", server.url]
        command += ["--concurrency", str(IN_FLIGHT), "--store", str(folder / "s.db"), "--quiet", "--json", "--yes"]
        with in_a_small_disk(folder, command) as process:
            told = Told(process)
            for time_full in (1, 2):
                told.wait_for("nothing more is sent", time_full)
                asked = service.requests()
                time.sleep(1.5)
                assert service.requests() - asked <= ON_THEIR_WAY
                os.unlink(f"/proc/{process.pid}/root{folder}/{time_full}")
                told.wait_for("the run goes on", time_full)
            out = process.stdout.read()
            assert process.wait(60) == 0, told.lines
    estimates = json.loads(out)["cells"][0]["estimates"]
    assert (estimates["accuracy"]["value"], estimates["accuracy"]["n"]) == (1.0, ITEMS)
    assert set(service.asked.values()) == {1}
    assert (len(service.asked), service.judged.total()) == (ITEMS, ITEMS)
