"""A model asked by batches from the command line: answered, scored, and handed in once though its process is killed."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from batch_server import BatchServer
from server import serving

NEVER_OVER = -1_000_000
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


@pytest.mark.parametrize("ends_it", [signal.SIGKILL, signal.SIGINT])
def test_a_process_that_ends_before_its_batch_does_hands_it_in_once(monkeypatch, ends_it):
    server = BatchServer()
    server.polls = NEVER_OVER
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    with serving(server.handle) as http:
        process = subprocess.Popen(asked(http.url), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        until = time.monotonic() + 40
        while server.polls == NEVER_OVER and process.poll() is None and time.monotonic() < until:
            time.sleep(0.02)
        os.kill(process.pid, ends_it)
        said = process.communicate(timeout=30)
        assert server.submitted == 1, said
        assert process.returncode == (130 if ends_it == signal.SIGINT else -signal.SIGKILL), said
        server.polls = 2
        ended = subprocess.run(command("--resume", "1"), capture_output=True, text=True, timeout=60)
        assert ended.returncode == 0, ended.stderr
        assert server.submitted == 1
        with closing(sqlite3.connect("s.db")) as raw:
            rows = raw.execute("select failure, total_s, cost_usd from calls").fetchall()
        assert sorted(failure is not None for failure, _, _ in rows) == [False, False, True, True]
        assert [total_s for _, total_s, _ in rows] == [None] * 4
        assert not list(Path("batches").glob("*.piece"))
        again = subprocess.run(command("--resume", "1"), capture_output=True, text=True, timeout=60)
        assert again.returncode == 0, again.stderr
    assert server.submitted == 2  # what failed is asked again, by a batch of its own
    assert len(server.batches["batch_2"]["entries"]) == 2


def test_a_budget_lets_no_more_be_handed_in_than_it_holds(monkeypatch):
    server = BatchServer()
    server.polls = 2
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    with serving(server.handle) as http:
        words = [*asked(http.url), "--max-tokens", "100", "--budget", "0.0006"]
        ended = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 5, ended.stderr
    assert server.submitted >= 1
    assert len(server.batches["batch_1"]["entries"]) == 2


@pytest.mark.parametrize("model", ["groq/m", "local/smollm2-135m", "google/m"])
def test_a_provider_without_batches_is_told_before_anything_is_sent(model, monkeypatch):
    monkeypatch.setenv("GROQ_API_KEY", "k")
    monkeypatch.setenv("GEMINI_API_KEY", "k")
    words = ("q.jsonl", "--grader", "contains", "-m", model, "--batch")
    Path("q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    ended = subprocess.run(command(*words), capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2, ended.stderr
    assert "takes no batches" in ended.stderr
