"""What a user sees while a run goes on: on a terminal as much as fits, in a log what has changed notably."""

import asyncio
import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

from command import steelyard
from server import chunk, finish, serving, stream, usage
from steelyard.cli.live import BatchLines, Display, cell_state, duration, names_that_fit
from steelyard.engine.progress import CellProgress, Progress
from steelyard.providers.batches import Progress as Told
from steelyard.types import Score


def test_a_log_hears_of_a_batch_when_it_changes_notably_and_not_else():
    lines, batch = BatchLines(), Progress().begin_batch("m", 1000)
    said = [lines.line(batch)]
    batch.begun()
    said.append(lines.line(batch))
    for answered, failed in ((0, 0), (0, 0), (40, 0), (90, 0), (340, 12), (341, 12), (988, 12)):
        batch.look(Told(is_over=False, answered=answered, failed=failed))
        said.append(lines.line(batch))
    assert said == [
        "m  batch 1: handing in 1,000 requests",
        "m  batch 1: 1,000 requests at the service",
        "m  batch 1: 0 of 1,000 answered",
        None,
        "m  batch 1: 40 of 1,000 answered",
        None,
        "m  batch 1: 340 of 1,000 answered, 12 failed",
        None,
        "m  batch 1: 988 of 1,000 answered, 12 failed",
    ]


def a_cell(**changes):
    cell = CellProgress(model="m", label="b@p", planned=100)
    for name, value in changes.items():
        setattr(cell, name, value)
    return cell


def test_a_cell_says_how_far_it_is_how_long_it_takes_what_it_costs_and_why_it_waits():
    gate = SimpleNamespace(waiting=7, held_for_s=3.2, is_closed=False, resting=0)
    cell = a_cell(scored=40, scored_anew=40, right=30.0, errored=2, retries=5, cost_usd=0.5, throttle=gate)
    cell.started_s, cell.ended_s = 0.0, 21.0
    said = "42/100  29 s left  2.0/s  75.0 % right  $0.5000  2 failed  5 retries  7 waiting for the rate limit, 3 s"
    assert cell_state(cell) == said
    assert cell_state(cell, 80) == "42/100  29 s left  2.0/s  $0.5000  2 failed  5 retries  limited 3 s"
    assert cell_state(cell, 40) == "42/100  29 s left  2 failed  limited 3 s"
    assert cell_state(cell, 20) == "42/100  29 s left"
    assert cell_state(cell, 3) == "42/100"


def test_requests_that_failed_and_rest_are_told_and_a_service_that_is_gone():
    gate = SimpleNamespace(waiting=0, held_for_s=0.0, is_closed=False, resting=3)
    assert cell_state(a_cell(throttle=gate)) == "0/100  3 to be tried again"
    gate.waiting, gate.is_closed = 4, True
    assert cell_state(a_cell(throttle=gate)) == "0/100  4 waiting for the service to come back"
    begun = a_cell(throttle=gate, scored=40, scored_anew=40, started_s=time.monotonic() - 20)
    assert "left" not in cell_state(begun), "no pace tells when a service comes back"
    begun.stopped = "HTTP 401: bad key"
    assert cell_state(begun) == "40/100  0.0 % right  stopped: HTTP 401: bad key"


def test_the_pace_of_a_cell_that_is_done_stays_what_it_was():
    cell = a_cell(planned=1)
    cell.started_s = time.monotonic() - 2.0
    cell.count_score(Score(value=1.0), is_reused=False)
    first = cell.per_second()
    time.sleep(0.02)
    assert cell.per_second() == first


def test_the_pace_is_that_of_the_last_minute_so_that_a_burst_before_a_limit_bends_it_not(monkeypatch):
    now_s = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now_s)
    cell = a_cell(planned=400, scored=100, scored_anew=100)
    cell.started_s = now_s - 120.0
    cell.marks.append((now_s - 60.0, 70))
    assert cell.per_second() == pytest.approx(0.5, rel=0.01)
    assert cell.remaining_s() == pytest.approx(600, rel=0.01)


def test_a_slow_pace_is_told_by_the_minute_or_the_hour():
    cell = a_cell(planned=10, scored=1, scored_anew=1)
    cell.started_s = 0.0
    for ended_s, said in ((20.0, "3.0/min"), (600.0, "6.0/h")):
        cell.ended_s = ended_s
        assert said in cell_state(cell)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.4, "0 s"), (59, "59 s"), (60, "1 min 0 s"), (3_599, "59 min 59 s"), (7_500, "2 h 5 min"), (93_600, "1 d 2 h")],
)
def test_a_time_that_is_left_is_told_in_two_units(seconds, said):
    assert duration(seconds) == said


def test_a_name_that_does_not_fit_loses_its_middle():
    assert names_that_fit(["short", "openai/a-model-with-a-rather-long-name"], 16) == ["short", "openai/…ong-name"]
    assert max(map(len, names_that_fit(["x" * 50], 16))) == 16


def test_a_terminal_that_cannot_be_drawn_over_is_told_what_a_log_is(monkeypatch, capsys):
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr("steelyard.cli.live.LINE_EVERY_S", 0.01)
    progress, said, deadline_s = Progress(), "", time.monotonic() + 60
    progress.cells.append(a_cell(scored=40, scored_anew=40))
    with Display(progress, quiet=False) as display:
        display.started(SimpleNamespace(number=1, name="run-1"))
        while "40/100" not in said and time.monotonic() < deadline_s:
            said += capsys.readouterr().err
    assert "m  b@p  40/100" in said
    assert "\x1b" not in said


@pytest.fixture
def a_run():
    """The words of a run that takes a second."""
    Path("q.jsonl").write_text("".join(json.dumps({"question": f"q{i}", "answer": "x"}) + "\n" for i in range(30)))

    async def slow(request, body, number):
        await asyncio.sleep(0.15)
        return await stream(request, [chunk(content="x"), finish(), usage()])

    with serving(slow) as server:
        where = ["-m", "openai/a-model-with-a-rather-long-name", "--base-url", server.url, "--concurrency", "4"]
        yield ["run", "q.jsonl", *where, "--price", "1/4"]


@pytest.mark.parametrize("columns", [60, 170])
def test_on_a_terminal_no_line_of_the_display_is_cut(a_run, columns):
    drawn = on_a_terminal([sys.executable, "-m", "steelyard", *a_run], columns)
    assert "\x1b[" in drawn
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", drawn)
    assert re.search(r"\d+/30  \d+ s left", plain)
    assert "left…" not in plain
    assert "…  " not in plain.replace("…ong-name", "")


def test_in_a_log_nothing_is_drawn(a_run):
    logged = steelyard(*a_run, env=environment())
    as_json, quiet = (steelyard(*a_run, "--fresh", option, env=environment()) for option in ("--json", "--quiet"))
    assert "\x1b" not in logged.stdout + logged.stderr
    assert json.loads(as_json.stdout)["run"]["status"] == "done"
    assert (logged.returncode, quiet.returncode) == (0, 0)
    assert (as_json.stderr, quiet.stderr) == ("", "")


def environment():
    return os.environ | {"OPENAI_API_KEY": "k", "TERM": "xterm-256color"}


def on_a_terminal(command, columns):
    """What the command writes to a terminal of so many columns."""
    main, other = pty.openpty()
    fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    with subprocess.Popen(command, stdin=other, stdout=other, stderr=other, env=environment()) as process:
        os.close(other)
        pieces = []
        with suppress(OSError):  # the far end is closed
            while piece := os.read(main, 65_536):
                pieces.append(piece)
        assert process.wait(60) == 0
    os.close(main)
    return b"".join(pieces).decode("utf-8", "replace")
