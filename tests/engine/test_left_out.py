"""What a model was not asked with, and times that are not its own alone: recorded with the run, and shown."""

import json
from pathlib import Path

import pytest
from aiohttp import web

import steelyard as sy
import vendor_replies as replies
from command import steelyard
from server import serving
from steelyard.plan.plan import BenchmarkSpec
from steelyard.providers.interface import Done, Text

ROWS = [{"id": f"q{n}", "input": f"Say {n}", "target": "42"} for n in range(6)]


async def reasons(request, body, number):
    """A model that takes no temperature but its own."""
    if "temperature" in body:
        message = "Unsupported value: 'temperature' does not support 0 with this model."
        return web.json_response({"error": {"message": message, "code": "unsupported_value"}}, status=400)
    return web.json_response(replies.CHAT_WHOLE)


def carried_out(*words):
    done = steelyard(*words, "--store", "s.db")
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.parametrize("workers", [(), ("--workers", "2")])
def test_a_setting_that_a_model_refused_stands_with_the_run(monkeypatch, workers):
    monkeypatch.setenv("OPENAI_API_KEY", "k" * 20)
    Path("q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    with serving(reasons) as http:
        model = ("-m", "openai/o9", "--base-url", http.url, "--temperature", "0")
        ran = carried_out("run", "q.jsonl", "--grader", "contains", *model, *workers)
    assert "does not accept 'temperature'" in ran.stderr
    expected = {"openai/o9": {"temperature": "the model's own default stands"}}
    [session] = json.loads(carried_out("show", "--provenance", "--json").stdout)["sessions"]
    assert session["settings_left_out"] == expected
    assert "settings_left_out" in carried_out("show", "--provenance").stdout
    assert json.loads(carried_out("show", "--json").stdout)["settings_left_out"] == expected
    assert "openai/o9 was not asked with its temperature" in carried_out("show").stdout


class Through:
    """A model behind another client's clock."""

    name, origin, streams, concurrency, timing = "through", "through 1", False, 2, "indirect"

    async def generate(self, request):
        yield Text("42")
        yield Done(stop_reason="stop", streamed=False)


def test_indirect_times_are_recorded_with_the_cell_and_labelled_beside_each_figure():
    Path("q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    sy.run(
        models=[Through(), lambda prompt: "42"],
        benchmarks=[BenchmarkSpec(name="q.jsonl", grader="contains")],
        store="s.db",
    )
    told = json.loads(carried_out("show", "--json").stdout)
    assert [cell["settings"].get("timing") for cell in told["cells"]] == ["indirect", None]
    shown = carried_out("show").stdout
    assert "s (indirect)" in shown
    assert "times are indirect" in shown
    assert not [line for line in shown.splitlines() if "lambda" in line and "(indirect)" in line]
