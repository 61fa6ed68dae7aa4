"""A model asked by batches from the command line: answered, scored, and handed in once though its process is killed."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

from batch_server import BatchServer
from server import serving

ROWS = [{"id": f"q{n}", "input": f"Say {n}", "target": "42"} for n in range(4)]


def command(*more):
    code = (
        "import sys; from steelyard.providers import batches; batches.FIRST_LOOK_S = 0.2; "
        "from steelyard.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    return [sys.executable, "-c", code, "run", *more, "--store", "s.db", "--json"]


def asked(url):
    with open("q.jsonl", "w") as file:
        file.writelines(json.dumps(row) + "\n" for row in ROWS)
    words = ("q.jsonl", "--grader", "contains", "-m", "openai/m", "--base-url", url, "--price", "1/2", "--batch")
    return command(*words)


def test_a_kill_between_submission_and_poll_is_resumed_without_a_second_submission(monkeypatch):
    server = BatchServer()
    server.polls = -1_000_000
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    with serving(server.handle) as http:
        process = subprocess.Popen(asked(http.url), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        until = time.monotonic() + 40
        while server.polls == -1_000_000 and process.poll() is None and time.monotonic() < until:
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
        said = process.communicate()
        assert server.submitted == 1, said
        server.polls = 2
        ended = subprocess.run(command("--resume", "1"), capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    assert server.submitted == 1
    lines = sqlite3.connect("s.db").execute("select failure, total_s, cost_usd from calls").fetchall()
    assert sorted(bool(failure) for failure, _, _ in lines) == [False, False, True, True]
    assert [total_s for _, total_s, _ in lines] == [None] * 4
    assert not list(Path("batches").glob("*.piece"))


def test_a_provider_without_batches_is_told_before_anything_is_sent():
    words = ("q.jsonl", "--grader", "contains", "-m", "groq/m", "--batch")
    Path("q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    ended = subprocess.run(command(*words), capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2, ended.stderr
