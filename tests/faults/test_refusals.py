"""Refusals of a whole run, by a server that follows a script: a used-up quota, a limit that says nothing, an outage."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from aiohttp import web

from command import ok
from server import chunk, finish, serving, stream, usage
from steelyard.cli import main

ITEMS = 60


@pytest.fixture(autouse=True)
def questions():
    lines = (json.dumps({"question": f"q{i}", "answer": "x"}) for i in range(ITEMS))
    Path("q.jsonl").write_text("\n".join(lines) + "\n")


@pytest.fixture
def estimates(capsys):
    def read():
        capsys.readouterr()
        assert main(["show", "--json"]) == 0
        document = json.loads(capsys.readouterr().out)
        return document["run"]["status"], {name: e["value"] for name, e in document["cells"][0]["estimates"].items()}

    return read


def run(server):
    return main(["run", "q.jsonl", "-m", "openai/m", "--base-url", server.url, "--concurrency", "4", "--quiet"])


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (429, {"code": "insufficient_quota", "message": "You exceeded your current quota."}),
        (402, {"message": "Payment required: out of credit."}),
    ],
)
def test_a_used_up_quota_stops_the_model_at_once_and_the_run_goes_on_when_there_is_more(
    status, error, estimates, capsys
):
    has_credit = False

    async def handle(request, body, number):
        await asyncio.sleep(0.01)
        if number > 20 and not has_credit:
            return web.json_response({"error": error}, status=status)
        return await stream(request, [chunk(content="x"), finish(), usage()])

    with serving(handle) as server:
        assert run(server) == 4
        assert "steelyard run --resume 1" in capsys.readouterr().err
        assert len(server.requests) <= 20 + 2 * 4  # those in flight, and no other
        status, found = estimates()
        assert (status, found["answered"]) == ("failed", 20)
        has_credit, asked = True, len(server.requests)
        assert main(["run", "--resume", "1", "--quiet"]) == 0
        assert len(server.requests) - asked == ITEMS - 20
    status, found = estimates()
    assert (status, found["accuracy"], found["scored"]) == ("done", 1.0, ITEMS)


def test_refusals_without_a_word_on_when_to_come_back_are_waited_out_and_are_no_latency(estimates):
    async def handle(request, body, number):
        if number in (10, 11, 30):
            return web.json_response({"error": {"message": "slow down"}}, status=429)
        return await stream(request, [chunk(content="x"), finish(), usage()])

    with serving(handle) as server:
        assert run(server) == 0
        refused = len(server.requests) - ITEMS
    _, found = estimates()
    assert (found["accuracy"], found["scored"], found["errored"]) == (1.0, ITEMS, 0)
    assert found["api_calls"] == ITEMS + refused
    assert found["latency.p50"] < 0.5


def test_an_outage_of_the_service_is_retried_and_its_share_is_reported(estimates):
    async def handle(request, body, number):
        if number % 4 == 0:
            return web.Response(status=(500, 502, 503, 529)[number // 4 % 4], text="<html>Bad Gateway</html>")
        return await stream(request, [chunk(content="x"), finish(), usage()])

    with serving(handle) as server:
        assert run(server) == 0
        retried = len(server.requests) - ITEMS
    _, found = estimates()
    assert (found["accuracy"], found["errored"], found["reliability"]) == (1.0, 0, 1.0)
    assert found["api_calls"] == ITEMS + retried
    assert 0 < found["retried"] <= retried


def test_times_are_told_in_utc_and_numbers_with_a_point_wherever_the_user_lives():
    async def handle(request, body, number):
        return await stream(request, [chunk(content="x"), finish(), usage()])

    def told(*words, **environment):
        command = [sys.executable, "-m", "steelyard", *words]
        return subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | environment).stdout

    abroad = {"TZ": "Pacific/Chatham", "LC_ALL": "de_DE.UTF-8", "LANG": "de_DE.UTF-8"}
    with serving(handle) as server:
        priced = ["-m", "openai/m", "--base-url", server.url, "--price", "0.5/1.5"]
        shown = told("run", "q.jsonl", *priced, "--quiet", **abroad)
    lines = told("export", "--format", "csv", **abroad)
    assert lines == ok("export", "--format", "csv")
    assert lines.count("+00:00") == ITEMS
    assert "100.0 %" in shown
    assert "0.000" in shown
    assert json.loads(told("runs", "--json", **abroad))[0]["created_at"].endswith("+00:00")
