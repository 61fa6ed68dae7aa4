"""The command line as a user meets it: real HTTP, real signals, exit codes; processes where they show more."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from command import ok, ok_process, steelyard, steelyard_process
from forks import Started
from server import chunk, finish, say, serving, stream, usage


def write_cases(n=30):
    lines = [json.dumps({"question": f"Say {i}", "answer": str(i), "id": f"c{i}"}) for i in range(n)]
    Path("cases.jsonl").write_text("\n".join(lines) + "\n")


async def echo(request, body, number):
    """Answers "Say 7" with 7, streamed."""
    text = body["messages"][-1]["content"].removeprefix("Say ")
    return await stream(request, [chunk(content=text), finish(), usage()], gap_s=0.001)


def test_somebody_elses_questions_against_an_endpoint_of_their_own():
    write_cases()
    with serving(echo) as server:
        out = ok_process("run", "cases.jsonl", "-m", "openai/mine", "--base-url", server.url, "--quiet")
    assert "openai/mine  100.0 % (88.6 to 100.0)" in out
    document = json.loads(ok_process("show", "--json"))
    estimates = document["cells"][0]["estimates"]
    assert estimates["ttft.p50"]["value"] > 0
    assert estimates["output_tokens"]["value"] == 90
    assert estimates["cost.total"]["value"] is None
    assert document["run"]["status"] == "done"


def test_a_plan_runs_and_options_win_over_it():
    write_cases()
    with serving(echo) as server:
        Path("plan.yaml").write_text(
            "models:\n"
            f"  - {{id: a, provider: openai, model: m, base_url: {server.url}, price: {{input: 1, output: 2}}}}\n"
            f"  - {{id: b, provider: openai, model: m, base_url: {server.url}, system: Be brief}}\n"
            "benchmarks: [cases.jsonl]\nlimit: 4\n"
        )
        document = json.loads(ok("run", "plan.yaml", "--limit", 6, "--json"))
        systems = [turn["messages"][0]["role"] for turn in server.requests]
    assert [cell["items"] for cell in document["cells"]] == [6, 6]
    assert document["cells"][0]["estimates"]["cost.total"]["value"] == pytest.approx(6 * (7 * 1 + 3 * 2) / 1e6)
    assert systems.count("system") == 6


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "startr", "-m", "baseline/random"], "Did you mean 'starter'"),
        (["run", "starter@clos", "-m", "baseline/random"], "Did you mean 'cloze'"),
        (["run", "starter", "-m", "baselin/random"], "Did you mean 'baseline'"),
        (["run", "starter", "-m", "baseline/randon"], "Did you mean 'random'"),
        (["run", "starter"], "no model named"),
        (["run"], "no benchmark named"),
        (["run", "starter", "-m", "openai/gpt-4o-mini"], "OPENAI_API_KEY is not set"),
        (["run", "starter:arithmetic", "-m", "baseline/random"], "--limit 100"),
        (["run", "gsm8k", "-m", "baseline/random"], "STEELYARD_DATA names"),
        (["run", "starter@cloze", "-m", "python:json:dumps"], "gives no log-likelihoods"),
        (["run", "starter", "-m", "python:nowhere:f"], "cannot load 'nowhere:f'"),
        (["run", "gone.jsonl", "-m", "baseline/random"], "no such file: gone.jsonl"),
        (["run", "gone.yaml"], "cannot read the plan gone.yaml"),
        (["run", "starter", "-m", "local/smollm3"], "unknown local model 'smollm3'"),
    ],
)
def test_a_mistake_is_told_before_any_call_with_exit_code_2(arguments, words):
    done = steelyard(*arguments, env={"STEELYARD_DATA": "/nowhere"})
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert done.returncode == 2
    assert done.stdout == ""


def test_a_function_is_found_in_the_working_folder_by_the_installed_command():
    write_cases(3)
    Path("my_app.py").write_text("def answer(prompt):\n    return 'no'\n")
    command = [sys.executable, "-P", "-m", "steelyard", "run", "cases.jsonl", "-m", "python:my_app:answer", "--quiet"]
    assert subprocess.run(command, capture_output=True).returncode == 0


def test_all_missing_keys_are_told_at_once():
    done = steelyard("run", "starter", "-m", "openai/gpt-4o", "-m", "anthropic/claude-haiku-4-5")
    assert done.returncode == 2
    assert all(name in done.stderr for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"))


def test_asking_for_runs_before_there_are_any_says_what_to_do():
    done = steelyard_process("show")
    assert done.returncode == 4
    assert "no runs yet" in done.stderr


def test_a_provider_failure_exits_with_4_and_says_how_to_go_on():
    write_cases(40)

    async def unauthorised(request, body, number):
        from aiohttp import web

        return web.json_response({"error": {"message": "bad key sk-canary99999"}}, status=401)

    with serving(unauthorised) as server:
        done = steelyard(
            "run", "cases.jsonl", "-m", "openai/m", "--base-url", server.url, env={"OPENAI_API_KEY": "sk-canary99999"}
        )
        asked = len(server.requests)
    assert done.returncode == 4
    assert "HTTP 401" in done.stderr
    assert "Try: another key in OPENAI_API_KEY" in done.stderr
    assert "steelyard run --resume 1" in done.stderr
    assert "canary" not in done.stderr + done.stdout
    assert asked <= 16
    assert b"canary" not in b"".join(path.read_bytes() for path in Path(".steelyard").iterdir())


def test_what_is_told_to_go_on_or_read_on_works_as_it_stands_where_a_store_was_named():
    write_cases(4)
    is_down = True

    async def handle(request, body, number):
        from aiohttp import web

        return web.json_response({}, status=402) if is_down else await echo(request, body, number)

    with serving(handle) as server:
        where = ("--store", "some where.db")
        done = steelyard("run", "cases.jsonl", "-m", "openai/m", "--base-url", server.url, *where)
        is_down = False
        _, _, command = done.stderr.partition("Go on with: steelyard ")
        told = ok(*shlex.split(command))
    _, _, command = told.partition("Read answers: steelyard ")
    ok(*shlex.split(command))


def test_a_dry_run_counts_and_sends_nothing():
    models = ("-m", "openai/gpt-4o-mini", "-m", "baseline/random")
    document = json.loads(ok("run", "starter", *models, "--dry-run", "--json", env={"OPENAI_API_KEY": "sk-none"}))
    cell = document["cells"][0]
    assert (cell["items"], cell["requests"]) == (176, 176)
    assert 0 < cell["most_cost_usd"] < 0.1
    assert "nothing is sent" in ok("run", "starter", "-m", "baseline/random", "--dry-run")
    assert not Path(".steelyard").exists()


def test_a_dear_run_asks_first():
    write_cases(30)
    done = steelyard("run", "cases.jsonl", "-m", "openai/o1-pro", "--runs", 200, env={"OPENAI_API_KEY": "sk-none"})
    assert done.returncode == 2
    assert "--yes" in done.stderr
    assert not Path(".steelyard").exists() or json.loads(ok("runs", "--json")) == []


def test_prompts_are_printed_as_they_would_be_sent():
    lines = ok("prompts", "starter:geography@cloze", "--limit", 2).splitlines()
    first = json.loads(lines[0])
    assert len(lines) == 2
    assert set(first) == {"sample_id", "protocol", "prompt", "continuations"}
    assert first["sample_id"] == "starter/geography/0"
    assert json.loads(ok("prompts", "starter@letter", "--limit", 1))["messages"][0]["role"] == "user"


@pytest.mark.data
def test_gsm8k_few_shot_prompts_have_their_examples(data_folder):
    line = json.loads(ok("prompts", "gsm8k@lm-eval", "--limit", 1, env={"STEELYARD_DATA": str(data_folder)}))
    assert line["prompt"].count("Question:") == 6
    assert line["prompt"].endswith("every day at the farmers' market?\nAnswer:")


def test_check_says_ok_or_exits_with_1():
    results = json.loads(ok("check", "starter", "--json"))
    assert {result["ok"] for result in results} == {True}
    assert {"benchmark", "split", "items", "gold", "empty", "digest", "ok"} <= set(results[0])


@pytest.mark.parametrize("what", ["benchmarks", "protocols", "models", "metrics"])
def test_lists_are_readable_by_people_and_scripts(what):
    assert ok("list", what)
    assert len(json.loads(ok("list", what, "--json"))) > 2


def test_runs_are_listed_renamed_tagged_and_deleted():
    for _ in range(2):
        ok("run", "starter", "-m", "baseline/random", "--quiet", "--tag", "floor")
    ok("runs", "rename", "1", "first")
    ok("runs", "tag", "first", "kept")
    rows = json.loads(ok("runs", "--json"))
    assert [row["number"] for row in rows] == [2, 1]
    assert (rows[1]["name"], rows[1]["tags"]) == ("first", ["floor", "kept"])
    assert "first" in ok("show", "first")
    assert steelyard("runs", "delete", "first").returncode == 2
    ok("runs", "delete", "first", "--yes")
    assert [row["number"] for row in json.loads(ok("runs", "--json"))] == [2]
    assert "unknown run 'first'" in steelyard("show", "first").stderr


def test_an_answer_is_shown_with_the_command_that_sends_its_request():
    write_cases(2)
    evil = "\x1b[31m\n::error::\u202e"
    with serving(echo) as server:
        asked = ("--base-url", server.url, "--system", f"be {evil}", "--quiet", "--order", "file")
        ok("run", "cases.jsonl", "--grader", "number", "-m", "openai/m", *asked)
    shown = ok("show", "--item", "c1", "--curl")
    command = "curl --no-buffer --globoff" + shown.partition("curl --no-buffer --globoff")[2]
    assert shown.endswith("\nJSON\n\n")
    assert not set("\x1b\u202e") & set(shown)
    (line,) = ok("show", "--item", "c1", "--curl", "--json").splitlines()
    document = json.loads(line)
    assert document["by_hand"]["curl"] == command.strip()
    sent = [body for body in server.requests if body["messages"][-1]["content"] == "Say 1"]
    assert sent == [{"path": "/v1/chat/completions"} | json.loads(document["by_hand"]["body"])]
    ok("run", "cases.jsonl", "--grader", "number", "-m", "baseline/constant:42", "--quiet")
    assert "no request to send by hand" in ok("show", "--item", "c1", "--curl")
    assert json.loads(ok("show", "--item", "c1", "--curl", "--json"))["by_hand"] is None


def test_answers_and_provenance_can_be_read():
    write_cases()
    evil = "\x1b[31mred\u202e\x1b[0m\x07"
    with serving(say(f"{evil} 7", reason=f"end {evil}")) as server:
        named = ("--name", f"n\n::error::{evil}")
        ok("run", "cases.jsonl", "--grader", "number", "-m", "openai/m", "--base-url", server.url, "--quiet", *named)
    wrong = ok("show", "--wrong", "--most", 3)
    assert wrong.count("──") == 3
    assert ok("show", "--where", "score < 1 and output_tokens = 3", "--most", 3) == wrong
    assert ok("show", "--wrong", "--where", "item = c7") == "no such answers in run #1\n"
    assert "Filter, at character 1: " in steelyard("show", "--where", "colour = 3").stderr
    for shown in (wrong, ok("show", "--provenance"), ok("cache", "explain")):
        assert not set("\x1b\x07\u202e") & set(shown)
        assert not any(line.strip().startswith("::") for line in shown.splitlines())
    item = ok("show", "--item", "c7")
    assert "accuracy: 1" in item
    provenance = json.loads(ok("show", "--provenance", "--json"))
    cell = provenance["cells"][0]
    assert cell["reported"] == [{"model": "m-2026", "fingerprint": "fp1", "answers": 30}]
    assert len(cell["dataset_digest"]) == len(cell["prompt_digest"]) == 64
    assert provenance["sessions"][0]["python"]
    assert "machine:" in ok("show", "--provenance")


def test_exports_are_complete_and_safe_for_spreadsheets():
    import csv
    import io

    import duckdb

    write_cases()
    with serving(say("=cmd|' /C calc'!A0")) as server:
        ok("run", "cases.jsonl", "-m", "openai/m", "--base-url", server.url, "--quiet")
    rows = list(csv.DictReader(io.StringIO(ok("export", "--format", "csv"))))
    assert len(rows) == 30
    assert rows[0]["text"].startswith("'=cmd")
    lines = [json.loads(line) for line in ok("export", "--format", "jsonl").splitlines()]
    assert lines[0]["call"]["completion"]["text"].startswith("=cmd")
    ok("export", "--format", "parquet", "--output", "run.parquet")
    counted = duckdb.sql("SELECT count(*), avg(accuracy), count(latency_s) FROM 'run.parquet'").fetchall()
    assert counted == [(30, 0.0, 30)]
    assert steelyard("export", "--format", "parquet").returncode == 2


def started_run(server_url):
    return Started("run", "cases.jsonl", "-m", "openai/m", "--base-url", server_url, "--concurrency", "8")


def wait_for_requests(server, count):
    deadline_s = time.monotonic() + 120
    while len(server.requests) < count:
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


async def slow_echo(request, body, number):
    import asyncio

    await asyncio.sleep(0.02)
    return await echo(request, body, number)


def test_ctrl_c_keeps_everything_and_resume_asks_only_what_is_missing():
    write_cases(300)
    with serving(slow_echo) as server:
        process = started_run(server.url)
        wait_for_requests(server, 20)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
        assert process.returncode == 130, err
        assert "steelyard run --resume 1" in err
        asked = len(server.requests)
        assert 0 < asked < 300
        kept = json.loads(ok("show", "--json"))["cells"][0]["estimates"]["scored"]["value"]
        assert kept == asked  # what was in flight was let in
        ok("run", "--resume", "1", "--quiet")
        assert len(server.requests) == 300
    final = json.loads(ok("show", "--json"))
    assert final["cells"][0]["estimates"]["accuracy"]["value"] == 1.0
    assert final["cells"][0]["estimates"]["accuracy"]["n"] == 300
    assert final["run"]["status"] == "done"


def test_a_finished_run_can_be_extended_by_items_repeats_and_models():
    write_cases(60)
    with serving(echo) as server:
        ok("run", "cases.jsonl", "-m", "openai/a", "--base-url", server.url, "--limit", 20, "--quiet")
        assert len(server.requests) == 20
        ok("run", "--resume", "last", "--limit", 50, "--quiet")
        assert len(server.requests) == 50
        ok("run", "--resume", "last", "--runs", 2, "--quiet")
        assert len(server.requests) == 100
        ok("run", "--resume", "last", "-m", "openai/b", "--base-url", server.url, "--quiet")
        assert len(server.requests) == 200
    document = json.loads(ok("show", "--json"))
    assert [(c["model"], c["estimates"]["attempted"]["value"]) for c in document["cells"]] == [
        ("openai/a", 100),
        ("openai/b", 100),
    ]
    assert steelyard("run", "--resume", "last", "--limit", 10).returncode == 2
    assert steelyard("run", "--resume", "last", "--seed", 9).returncode == 2


def test_an_answer_that_came_when_its_run_went_on_was_not_given_at_the_first_try():
    write_cases(10)
    answer = "import os\n\ndef answer(prompt):\n    word = prompt.split()[-1]\n"
    Path("toy.py").write_text(f"{answer}    assert word < '7' or os.path.exists('up'), word\n    return word\n")
    ok_process("run", "cases.jsonl", "-m", "python:toy:answer", "--quiet")
    Path("up").touch()
    assert "3 answers only after a request had failed" in ok_process("run", "--resume", "1")
    estimates = json.loads(ok("show", "--json"))["cells"][0]["estimates"]
    found = [estimates[name]["value"] for name in ("accuracy", "accuracy.first_try", "retried")]
    assert found == [1.0, pytest.approx(0.7), 3]


def test_a_resumed_run_refuses_changed_questions():
    write_cases(10)
    with serving(echo) as server:
        ok("run", "cases.jsonl", "-m", "openai/a", "--base-url", server.url, "--quiet")
        write_cases(11)
        done = steelyard("run", "--resume", "last")
    assert done.returncode == 2
    assert "dataset digest was" in done.stderr


def test_help_has_an_example_for_every_verb():
    for verb in ("run", "show", "runs", "list", "prompts", "check", "export", "setup"):
        assert f"example: steelyard {verb}" in ok(verb, "--help")
    assert ok("--version").startswith("steelyard 0.")


def test_help_and_import_load_nothing_heavy():
    code = (
        "import sys, steelyard, steelyard.cli as c\n"
        "c.build_parser()\n"
        "heavy = {'asyncio', 'msgspec', 'rich', 'numpy', 'scipy', 'sqlalchemy', 'aiohttp', 'yaml', 'genai_prices'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_a_command_loads_no_other_verb_and_an_unknown_one_is_told_them_all():
    code = (
        "import sys, steelyard.cli as c\n"
        "c.build_parser('runs').parse_args(['runs'])\n"
        "print([name for name in c.VERBS if f'steelyard.cli.{c.FILES.get(name, name)}' in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "['runs']"
    unknown = steelyard("weigh")
    assert unknown.returncode == 2
    assert "'trend'" in unknown.stderr


def test_the_run_path_does_without_scipy_stats_and_prices_it_does_not_need():
    code = (
        "import sys, steelyard as sy\n"
        "sy.run(['baseline/random'], ['starter@letter'])\n"
        "print(sorted({'aiohttp', 'scipy.stats', 'genai_prices', 'duckdb', 'pandas', 'xllamacpp'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_a_run_of_one_item_loads_nothing_that_it_has_no_use_for():
    code = (
        "import sys, steelyard.cli as c\n"
        "assert c.main(['run', 'starter', '--limit', '1', '--quiet', *sys.argv[1:]]) == 0\n"
        "needless = {'aiohttp', 'scipy.special', 'scipy.stats', 'genai_prices', 'duckdb', 'pandas', 'xllamacpp', "
        "'yaml', 'sqlalchemy.dialects.postgresql', 'rich.progress', 'numpy.ma'}\n"
        "print(sorted(needless & set(sys.modules)))"
    )
    with serving(echo) as server:
        for model in (["-m", "baseline/random"], ["-m", "openai/a", "--base-url", server.url]):
            done = subprocess.run([sys.executable, "-c", code, *model], capture_output=True, text=True)
            assert done.stdout.splitlines()[-1:] == ["[]"], done.stdout + done.stderr


def test_a_command_that_writes_parquet_ends_without_a_word_of_leaks():
    ok("run", "starter", "--limit", "3", "-m", "baseline/random", "--quiet")
    done = steelyard_process("export", "--format", "parquet", "--output", "answers.parquet")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_server_named_by_its_process_is_weighed_and_a_resumed_run_asks_for_it_anew():
    write_cases(3)
    with serving(echo) as server:
        at = ("-m", "openai/mine", "--base-url", server.url)
        gone = steelyard("run", "cases.jsonl", *at, "--server-pid", 2**22 + 1)
        assert (gone.returncode, server.requests) == (2, [])
        assert "there is no process" in gone.stderr
        nobody = steelyard("run", "cases.jsonl", "-m", "baseline/constant:1", "--server-pid", os.getpid())
        assert nobody.returncode == 2
        assert "server_pid in the plan's entry" in nobody.stderr
        out = ok_process("run", "cases.jsonl", *at, "--server-pid", os.getpid(), "--limit", 2, "--json")
        assert json.loads(out)["cells"][0]["estimates"]["model_peak_rss_mb"]["value"] > 10
        ok("run", "--resume", "last", "--limit", 3, "--json")
        sessions = json.loads(ok("show", "--provenance", "--json"))["sessions"]
        weighed = ["model_cpu_s/openai/mine" in session["resources"] for session in sessions]
        assert weighed == [True, False]
