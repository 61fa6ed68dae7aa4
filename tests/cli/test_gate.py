"""Gates, baselines and trends as a user and a CI job meet them: real processes, files and exit codes."""

import asyncio
import hashlib
import json
from pathlib import Path

import msgspec
import pytest

import steelyard as sy
from command import ok, steelyard, steelyard_process
from steelyard.benchmarks.benchmark import ask
from steelyard.cli import main
from steelyard.criteria import parse_margin
from steelyard.errors import UsageError
from steelyard.providers.function import Function
from steelyard.report.comparing.verdict import Asked, verdict_beforehand
from steelyard.store import Store


def prepared(n=200):
    lines = [json.dumps({"question": f"Say {i}", "answer": str(i), "id": f"c{i}"}) for i in range(n)]
    Path("cases.jsonl").write_text("\n".join(lines) + "\n")


def asked(day, fails=0.1, **options):
    """A run of a model that fails on a share of the items, on others each day."""

    async def answer(prompt):
        word = prompt.split()[-1]
        noise = hashlib.sha256((word + day).encode()).digest()[0] / 256
        return "no" if noise < fails else word

    model = Function(answer, name="toy")
    return sy.run(
        [model], **({"benchmarks": ["cases.jsonl"], "fresh": True, "on_message": lambda text: None} | options)
    )


@pytest.fixture
def said(capsys):
    """A command's exit code with what it printed, run in this process."""

    def run(*arguments):
        capsys.readouterr()
        code = main([*arguments])
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    return run


@pytest.fixture
def one_run(said):
    prepared(30)
    asked("monday")
    said("baseline", "set", "main")


def test_a_run_is_held_against_a_baseline_with_an_exit_code():
    prepared()
    asked("monday")
    assert "main@1" in ok("baseline", "set", "main")
    asked("monday")
    held = ("gate", "--baseline", "main", "--margin", "accuracy=0.02")
    done = steelyard(*held)
    assert (done.returncode, done.stdout.startswith("PASS: run #2 against main@1")) == (0, True)
    asked("monday", 0.5)
    done = steelyard_process(*held)
    assert (done.returncode, done.stdout.startswith("FAIL")) == (1, True)
    assert "Which items turned: steelyard compare 1 3 --flips" in done.stdout
    assert "with 95 % certainty worse than" in done.stdout
    document = json.loads(steelyard(*held, "--json").stdout)
    assert (document["verdict"], document["exit_code"]) == ("fail", 1)
    assert document["checks"][0]["high"] < -0.02
    assert document["sentence"].startswith("FAIL")


def test_times_of_another_load_are_said_to_be_so_by_a_gate_and_beside_a_comparison_of_scores(said):
    prepared(40)

    async def answer(prompt):
        await asyncio.sleep(0.004)
        return prompt.split()[-1]

    for at_once in (1, 20):
        model = Function(answer, name="toy")
        sy.run([model], ["cases.jsonl"], concurrency=at_once, fresh=True, on_message=lambda text: None)
    said("baseline", "set", "main", "1")
    load = "toy on cases@exact: their times were taken under different loads"
    assert load in said("gate", "2", "--baseline", "main", "--margin", "latency.p50=10%")[1]
    assert load not in said("gate", "2", "--baseline", "main", "--margin", "accuracy=0.02")[1]
    assert "taken under different loads" in said("compare", "1", "2")[1].replace("\n", " ")
    assert "! times were taken under different loads" in said("trend", "latency.p50")[1]
    assert "loads" not in said("trend", "accuracy")[1]
    assert json.loads(said("trend", "in_flight", "--json")[1])["series"][0]["points"][0]["estimate"]["value"] == 1


def test_too_few_items_warn_or_block_as_the_mode_says(said):
    prepared(60)
    asked("monday")
    said("baseline", "set", "main")
    asked("tuesday")
    held = ("gate", "--baseline", "main", "--margin", "accuracy=0.02")
    code, text = said(*held)
    assert (code, text.startswith("INCONCLUSIVE")) == (0, True)
    assert "more items would settle it" in text
    assert "only a change of" in text
    assert said(*held, "--mode", "noninferiority")[0] == 3
    assert said(*held, "--inconclusive", "block")[0] == 3
    assert said(*held, "--mode", "noninferiority", "--inconclusive", "warn")[0] == 0


def test_without_evidence_a_gate_is_never_green(said):
    prepared(40)
    asked("monday")
    held = ("gate", "--baseline", "main", "--margin", "accuracy=0.02")
    code, text = said(*held)
    assert (code, "there is no baseline 'main'" in text) == (3, True)
    assert said("gate", "--baseline", "gone.jsonl", "--margin", "accuracy=0.02")[0] == 3
    said("baseline", "set", "main")
    code, text = said(*held)
    assert (code, "is the baseline itself: nothing new was asked" in text) == (3, True)
    asked("monday")
    code, text = said("gate", "--baseline", "main", "--margin", "cost.per_item=10%")
    assert (code, "the cost is not known" in text) == (3, True)
    Path("cases.jsonl").write_text(Path("cases.jsonl").read_text().replace("Say 7", "Tell 7"))
    asked("monday")
    code, text = said(*held)
    assert (code, "dataset digest" in text) == (3, True)
    sy.run([lambda prompt: "4"], ["starter:arithmetic"], limit=10, on_message=lambda text: None)
    code, text = said(*held)
    assert (code, "the baseline has no" in text, "the run has no" in text) == (3, True, True)


def named(name, days="monday"):
    """A model by a name that is wrong on a tenth of the items, on the same ones each time."""

    async def answer(prompt):
        word = prompt.split()[-1]
        return "no" if hashlib.sha256((word + days).encode()).digest()[0] < 26 else word

    return Function(answer, name=name)


def asked_of_all(*names, benchmarks=("cases.jsonl",), **options):
    return sy.run(list(map(named, names)), list(benchmarks), fresh=True, on_message=lambda text: None, **options)


HELD = ("gate", "--baseline", "main", "--margin", "accuracy=0.05")


def test_a_model_of_the_baseline_that_is_gone_from_the_run_is_never_a_pass(said):
    prepared()
    asked_of_all("served", "spare")
    said("baseline", "set", "main")
    asked_of_all("spare")
    code, text = said(*HELD)
    assert (code, text.startswith("INCONCLUSIVE")) == (3, True), text
    assert "the run has no served on cases@exact, which the baseline has. Try: run it too, or gate with --model" in text
    document = json.loads(said(*HELD, "--json")[1])
    assert (document["exit_code"], "no served on cases" in document["sentence"]) == (3, True)
    code, text = said(*HELD, "--model", "spare")
    assert (code, text.startswith("PASS"), "served" in text) == (0, True, False), text
    assert said(*HELD, "--inconclusive", "warn")[0] == 0


@pytest.mark.parametrize("verb", ["gate", "trend", "show"])
def test_a_second_model_never_takes_the_place_of_the_first_without_a_word(verb):
    done = steelyard(verb, "--model", "served", "--model", "spare")
    assert done.returncode == 2
    assert "--model takes one, and is given 'served' and 'spare'" in done.stderr


def test_a_benchmark_of_the_baseline_that_is_gone_from_the_run_is_never_a_pass(said):
    prepared()
    Path("others.jsonl").write_text(Path("cases.jsonl").read_text())
    asked_of_all("served", benchmarks=("cases.jsonl", "others.jsonl"))
    said("baseline", "set", "main")
    asked_of_all("served")
    code, text = said(*HELD)
    assert (code, "no served on others@exact, which the baseline has" in text) == (3, True), text
    assert "gate with --benchmark cases@exact" in text
    assert said(*HELD, "--benchmark", "cases@exact")[0] == 0


def test_a_model_that_the_baseline_never_had_is_told_and_never_a_pass(said):
    prepared()
    asked_of_all("served")
    said("baseline", "set", "main")
    asked_of_all("served", "new")
    code, text = said(*HELD)
    assert (code, "the baseline has no new on cases@exact, so nothing is known of its change" in text) == (3, True)
    assert "gate with --model served" in text
    assert said(*HELD, "--model", "served")[0] == 0


def test_a_margin_on_a_score_of_one_benchmark_is_judged_there_whatever_else_the_baseline_has():
    items = [sy.Sample(id=f"i{i}", input=f"Say {i}", target=str(i)) for i in range(20)]

    def judge(sample, completion):
        score = sy.Score(value=float(completion.text == sample.target), answer=completion.text)
        return {"accuracy": score, "style": score}

    styled = sy.Protocol(
        name="styled", version="1", kind="chat", render=ask, grade=judge, metrics=("accuracy", "style")
    )
    both = [
        sy.Benchmark(name="one", version="1", load=lambda selection: items, protocols=(styled,)),
        sy.Benchmark(name="two", version="1", load=lambda selection: items, grade=lambda sample, completion: True),
    ]
    sy.run([named("served")], both, fresh=True, on_message=lambda text: None)
    ok("baseline", "set", "main")
    asked = Asked(baseline="main", margins=(parse_margin("style=0.05"),), benchmark="one")
    with Store.open() as store:
        assert verdict_beforehand(store, asked, ["served"]) is None
        everywhere = msgspec.structs.replace(asked, benchmark=None)
        with pytest.raises(UsageError, match=r"two@default has no style. Try: --benchmark"):
            verdict_beforehand(store, everywhere, ["served"])


def test_a_plan_without_a_model_of_its_baseline_is_told_before_anything_is_asked(said):
    plan_of_a_toy()
    asked_of_all("served", "spare")
    said("baseline", "set", "main")
    code, text = said("gate", "plan.yaml", "--baseline", "main", "--margin", "accuracy=0.05")
    assert (code, "INCONCLUSIVE: nothing was asked" in text) == (3, True), text
    assert "the plan has no served, which the baseline has. Try: add it to the plan" in text
    assert json.loads(said("runs", "--json")[1])[0]["number"] == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--baseline", "main"), "Try: --margin accuracy="),
        ((), "nothing to hold the run to"),
        (("--margin", "accuracy=0.02"), "a margin is to a baseline"),
        (("--baseline", "main", "--margin", "accuracy=2%"), "accuracy=0.02"),
        (("--baseline", "main", "--margin", "acuracy=0.02"), "Did you mean 'accuracy'"),
        (("--baseline", "main", "--margin", "answered=5%"), "neither better high nor low"),
        (("--baseline", "main", "--margin", "tokens_per_second=150%"), "would bear anything"),
        (("--require", "accuracy > 1"), "no criterion"),
    ],
)
def test_a_mistake_exits_with_2_and_says_what_to_try(arguments, words, one_run, said):
    code, text = said("gate", *arguments)
    assert (code, words in text) == (2, True), text


def test_a_committed_file_is_a_baseline_where_the_store_is_new(said):
    prepared()
    asked("monday")
    said("baseline", "set", "main", "--note", "release 1")
    said("baseline", "export", "main", "--output", "main.jsonl")
    asked("monday", store="ci.db")
    code, text = said("gate", "--store", "ci.db", "--baseline", "main.jsonl", "--margin", "accuracy=0.02")
    assert (code, "PASS" in text) == (0, True), text
    said("baseline", "import", "main.jsonl", "--store", "ci.db")
    listed = json.loads(said("baseline", "list", "--store", "ci.db", "--json")[1])
    assert [(one["name"], one["version"], one["note"]) for one in listed] == [("main", 1, "release 1")]
    assert json.loads(said("baseline", "show", "main", "--json")[1])["cells"][0]["requests"] == 200


def test_the_success_of_a_plan_is_held_without_a_baseline(said):
    prepared(100)
    Path("toy.py").write_text("def answer(prompt):\n    return prompt.split()[-1].replace('7', 'x')\n")
    plan = "models: ['python:toy:answer']\nbenchmarks: [cases.jsonl]\nsuccess: ['accuracy >= 0.70', 'errored <= 0']\n"
    Path("plan.yaml").write_text(plan)
    ok("run", "plan.yaml", "--quiet")
    code, text = said("gate")
    assert (code, text.count("PASS")) == (0, 3), text
    assert said("gate", "--require", "accuracy >= 0.99")[0] == 1
    Path("plan.yaml").write_text(plan.replace(">= 0.70", "> 0.70"))
    code, text = said("run", "plan.yaml")
    assert (code, "line 3" in text) == (2, True)


def test_a_gate_is_tried_on_the_model_against_itself(said):
    prepared(80)
    asked("monday")
    code, text = said("gate", "--calibrate")
    assert (code, "--runs 2" in text) == (2, True)
    asked("monday", runs=2)
    tried = ("gate", "--calibrate", "--margin", "accuracy=0.05")
    [found] = json.loads(said(*tried, "--trials", "50", "--json")[1])
    assert (found["trials"], found["n"]) == (50, 80)
    assert found["fails"]["value"] <= 0.1
    assert found["detectable"] > 0
    asked("tuesday", runs=2)
    assert "each run of this plan against the one before" in said(*tried)[1]


def test_a_trend_has_an_arrow_only_where_something_changed(said):
    prepared()
    for day in ("monday", "tuesday", "wednesday"):
        asked(day)
    assert "down" not in said("trend", "accuracy")[1]
    asked("thursday", 0.45)
    assert "↓ down. #4" in said("trend", "accuracy")[1]
    [series] = json.loads(said("trend", "accuracy", "--json")[1])["series"]
    assert (series["state"], [point["is_signal"] for point in series["points"]]) == ("down", [False] * 3 + [True])
    code, text = said("trend", "acuracy")
    assert (code, "Did you mean" in text) == (2, True)


def test_a_baseline_that_no_gate_could_use_is_told_when_it_is_set(said):
    prepared(20)
    Path("toy.py").write_text("def answer(prompt):\n    assert prompt[-1] != '3'\n    return prompt.split()[-1]\n")
    sy.run(["python:toy:answer"], ["cases.jsonl"], on_message=lambda text: None)
    assert "2 of 20 requests failed" in said("baseline", "set", "main")[1]
    prepared(20)
    asked("monday", fresh=False)
    assert "failed" not in said("baseline", "set", "main")[1]


def test_a_gate_in_python_gives_the_verdict_and_its_sentence():
    prepared()
    assert sy.set_baseline("main", asked("monday")) == "main@1"
    found = sy.gate(asked("monday"), baseline="main", margins={"accuracy": 0.02}, require=["accuracy >= 0.5"])
    assert (found.verdict, found.exit_code, len(found.checks)) == ("pass", 0, 2)
    assert found.sentence.startswith("PASS: run #2 against main@1")
    assert sy.gate(asked("monday", 0.5), baseline="main", margins={"accuracy": "2points"}).verdict == "fail"


def test_a_gate_on_one_model_reads_no_items_of_another(monkeypatch):
    prepared(30)
    models = [Function(lambda prompt: prompt.split()[-1], name=name) for name in ("toy", "other")]
    run = sy.run(models, ["cases.jsonl"], on_message=lambda text: None)
    read, columns = [], Store.columns
    monkeypatch.setattr(Store, "columns", lambda self, *cell, **how: read.append(cell) or columns(self, *cell, **how))
    found = sy.gate(run, model="other", require=["accuracy >= 0.5"])
    assert [(check.model, check.verdict) for check in found.checks] == [("other", "pass")]
    assert len(read) == 1


CASES_PLAN = "models: ['python:toy:answer']\nbenchmarks: [cases.jsonl]\nsuccess: ['accuracy >= 0.70']\n"


def plan_of_a_toy(n=100, plan=CASES_PLAN):
    """A plan whose model is wrong wherever the answer holds a 7."""
    prepared(n)
    Path("toy.py").write_text("def answer(prompt):\n    return prompt.split()[-1].replace('7', 'x')\n")
    Path("plan.yaml").write_text(plan)


def test_a_run_ends_with_1_where_a_success_criterion_surely_fails():
    plan_of_a_toy()
    done = steelyard("run", "plan.yaml", "--quiet")
    assert (done.returncode, "PASS: run #1 by its criteria" in done.stdout) == (0, True), done.stdout
    done = steelyard("run", "plan.yaml", "--quiet", "--success", "accuracy >= 0.95")
    assert (done.returncode, "asked for: accuracy >= 0.95, which is not kept" in done.stdout) == (1, True), done.stdout
    done = steelyard("run", "plan.yaml", "--success", "accuracy >= 0.95", "--json")
    success = json.loads(done.stdout)["success"]
    assert (done.returncode, success["verdict"], success["checks"][0]["high"] < 0.95) == (1, "fail", True)
    done = steelyard("run", "plan.yaml", "--quiet", "--success", "accuracy >= 0.82")
    assert (done.returncode, "Inconclusive warns only" in done.stdout) == (0, True), done.stdout
    done = steelyard("run", "plan.yaml", "--quiet", "--success", "cost.per_item <= 0.01")
    assert (done.returncode, "the cost is not known" in done.stdout) == (3, True), done.stdout


def test_a_criterion_about_an_unknown_metric_is_told_before_anything_is_asked(said):
    plan_of_a_toy()
    code, text = said("run", "plan.yaml", "--success", "acuracy >= 0.7")
    assert (code, "Did you mean 'accuracy'" in text) == (2, True)
    assert not Path(".steelyard/steelyard.db").exists() or json.loads(said("runs", "--json")[1]) == []


def test_a_gate_on_a_plan_asks_anew_and_judges():
    plan_of_a_toy()
    held = ("gate", "plan.yaml", "--baseline", "main", "--margin", "accuracy=0.05")
    done = steelyard(*held)
    assert (done.returncode, "nothing was asked" in done.stdout) == (3, True), done.stdout
    ok("run", "plan.yaml", "--quiet")
    ok("baseline", "set", "main")
    done = steelyard(*held, "--json")
    verdict = json.loads(done.stdout)
    assert (done.returncode, verdict["run"], verdict["verdict"]) == (0, 2, "pass"), done.stdout
    Path("toy.py").write_text("def answer(prompt):\n    return 'no idea'\n")
    done = steelyard(*held, "--quiet")
    assert (done.returncode, done.stdout.startswith("FAIL: run #3")) == (1, True), done.stdout
    done = steelyard("gate", "plan.yaml", "--baseline", "main", "--margin", "acuracy=0.02")
    assert (done.returncode, "Did you mean 'accuracy'" in done.stderr) == (2, True)
    done = steelyard("gate", "plan.yaml", "--baseline", "main")
    assert (done.returncode, "Try: --margin accuracy=" in done.stderr) == (2, True)
    done = steelyard("gate", "plan.yaml", "--baseline", "main", "--margin", "answered=5%")
    assert (done.returncode, "neither better high nor low" in done.stderr) == (2, True)
    done = steelyard("gate", "plan.yaml", "--require", "acuracy >= 0.7")
    assert (done.returncode, "Did you mean 'accuracy'" in done.stderr) == (2, True)
    assert json.loads(ok("runs", "--json"))[0]["number"] == 3


def test_a_gate_on_a_plan_is_tried_by_asking_twice():
    plan_of_a_toy()
    [found] = json.loads(
        ok("gate", "plan.yaml", "--calibrate", "--margin", "accuracy=0.05", "--trials", "20", "--json")
    )
    assert (found["trials"], found["fails"]["value"]) == (20, 0.0)


@pytest.mark.parametrize(
    ("option", "told"),
    [
        (("--calibrate", "--margin", "acuracy=0.05"), "Did you mean 'accuracy'"),
        (("--calibrate", "--margin", "accuracy=5%"), "could mean points"),
        (("--calibrate", "--margin", "answered=5%"), "neither better high nor low"),
        (("--calibrate", "--margin", "accuracy=0.05", "--benchmark", "gone"), "nothing in this run to judge"),
        (("--require", "accuracy >= 0.7", "--model", "gone"), "nothing in this run to judge"),
    ],
)
def test_what_a_gate_on_a_plan_cannot_be_is_told_before_anything_is_asked(option, told):
    plan_of_a_toy()
    done = steelyard("gate", "plan.yaml", *option)
    assert (done.returncode, told in done.stderr) == (2, True), done.stderr
    assert json.loads(ok("runs", "--json")) == []


def test_a_gate_is_tried_on_the_benchmark_that_is_named(said):
    prepared(20)
    Path("others.jsonl").write_text(Path("cases.jsonl").read_text())
    asked("monday", runs=2, benchmarks=["cases.jsonl", "others.jsonl"])
    tried = ("gate", "--calibrate", "--margin", "accuracy=0.05", "--trials", "5", "--json")
    assert len(json.loads(said(*tried)[1])) == 2
    assert [one["benchmark"] for one in json.loads(said(*tried, "--benchmark", "others")[1])] == ["others@exact"]
    assert said(*tried, "--model", "gone")[0] == 2


def test_python_holds_a_run_to_the_criteria_it_was_made_with():
    prepared()
    found = sy.gate(asked("monday", 0.5, success=["accuracy >= 0.9"]))
    assert (found.verdict, found.exit_code) == ("fail", 1)
