"""Ending a run early from the command line: the forecast, the run, what shows afterwards, what cannot change."""

import json
from pathlib import Path

from test_cli import echo, write_cases

from command import ok, steelyard
from server import serving


async def half(request, body, number):
    """Answers every other case right."""
    case = int(body["messages"][-1]["content"].removeprefix("Say "))
    body["messages"][-1]["content"] = f"Say {case if case % 2 else 'nothing'}"
    return await echo(request, body, number)


def test_the_forecast_says_what_is_watched_and_the_results_what_was_saved():
    write_cases(400)
    with serving(half) as server:
        named = ("run", "cases.jsonl", "-m", "openai/mine", "--base-url", server.url, "--price", "1/2")
        out = ok(*named, "--stop", "half_width=0.06", "--dry-run")
        assert "may end early by half_width: openai/mine; for this benchmark; looks at 50, then" in out
        [watched] = json.loads(ok(*named, "--stop", "half_width=0.06", "--dry-run", "--json"))["stop"]
        assert (watched["questions"], watched["planned"], watched["population"]) == ([["openai/mine"]], 400, 400)
        assert not server.requests
        out = ok(*named, "--stop", "half_width=0.06", "--yes")
        sent = len(server.requests)
    assert "Stopping rule half_width=0.06" in out
    assert f"openai/mine: {sent} of 400 items asked, {400 - sent} items saved (about 0.0" in out
    assert "400 items, at most" in out
    document = json.loads(ok("show", "--json"))
    stopped = document["cells"][0]["stopped"]
    assert (stopped["items"], stopped["is_early"], stopped["saved_items"]) == (sent, True, 400 - sent)
    assert stopped["saved_usd"] > 0
    assert document["run"]["stop"]["rule"] == "half_width"
    assert "stop.saved_items" in ok("show", "--all")


def test_a_run_that_its_budget_stopped_before_the_first_look_names_the_rule_and_says_that_none_took_place():
    write_cases(400)
    with serving(half) as server:
        named = ("run", "cases.jsonl", "-m", "openai/a", "-m", "openai/b", "--base-url", server.url)
        asked = steelyard(*named, "--price", "1000/1000", "--stop", "compare", "--budget", "0.2", "--max-tokens", "8")
    assert asked.returncode == 5
    document = json.loads(ok("show", "--json"))
    (n,) = {int(cell["estimates"]["attempted"]["value"]) for cell in document["cells"][:1]}
    assert 0 < n < 40
    for out in (asked.stdout, ok("show")):
        assert "Stopping rule compare (looks at 10/25/50/100 %" in out
        assert "): no look took place" in out
        assert f"a: {n} of 400 items asked, no look was taken; its scores ended nothing" in " ".join(out.split())
    report = Path("report.md")
    ok("report", "last", "--markdown", report)
    assert "no look took place" in report.read_text()
    assert "could end by a difference" not in ok("compare", "last")


def test_a_rule_and_its_items_cannot_change_when_a_run_goes_on():
    write_cases(100)
    with serving(echo) as server:
        ok(
            "run",
            "cases.jsonl",
            "-m",
            "openai/mine",
            "--base-url",
            server.url,
            "--limit",
            "80",
            "--stop",
            "variance=0.01",
        )
        for option in (("--stop", "half_width=0.1"), ("--limit", "90"), ("--runs", "2")):
            done = steelyard("run", "--resume", "last", *option)
            assert (done.returncode, "cannot change" in done.stderr) == (2, True)


def test_a_run_has_one_stopping_rule():
    two = ("--stop", "compare", "--stop", "half_width=0.1")
    done = steelyard("run", "starter", "-m", "baseline/random", *two, "--dry-run")
    assert (done.returncode, "one stopping rule, not compare and half_width=0.1" in done.stderr) == (2, True)


def test_a_cascade_from_the_command_line_skips_the_dearer_model():
    write_cases(60)
    with serving(echo) as server:
        Path("plan.yaml").write_text(
            f"""models:
  - {{id: dear, provider: openai, model: d, base_url: "{server.url}", price: {{input: 5, output: 5}}}}
  - {{id: cheap, provider: openai, model: c, base_url: "{server.url}", price: {{input: 1, output: 1}}}}
benchmarks: [cases.jsonl]
"""
        )
        out = ok("run", "plan.yaml", "--cascade", "success", "--success", "accuracy >= 0.8", "--yes")
        assert {request["model"] for request in server.requests} == {"c"}
    assert "dear: skipped, cheap meets the criteria; 60 items saved" in out
    assert "leans away from 0" not in out
